//! Landlock: allows changes in one directory only, and no execution (`landlock(7)`).

use ::landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus,
};
use std::os::fd::BorrowedFd;

/// Landlock ABI whose access rights are restricted. Older kernels enforce those that they
/// support.
const ACCESS: ABI = ABI::V5;

/// Restricts the calling thread, and threads that it starts later, to changes in `output`.
///
/// Returns whether the kernel enforces the restriction.
pub(super) fn only_in(output: Option<BorrowedFd<'_>>) -> bool {
    restrict(output).unwrap_or(false)
}

fn restrict(output: Option<BorrowedFd<'_>>) -> Result<bool, RulesetError> {
    let handled: BitFlags<AccessFs> = AccessFs::from_write(ACCESS) | AccessFs::Execute;
    let mut ruleset = Ruleset::default().handle_access(handled)?.create()?;
    if let Some(output) = output {
        ruleset = ruleset.add_rule(PathBeneath::new(output, AccessFs::from_write(ACCESS)))?;
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

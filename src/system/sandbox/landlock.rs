//! Nothing is made, written or removed but in one directory, nor started anywhere (`landlock(7)`).

use ::landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus,
};
use std::os::fd::BorrowedFd;

/// The newest rights that are asked for; older kernels enforce those that they know.
const RIGHTS: ABI = ABI::V5;

/// Allows everything in the output directory, if there is one, for the calling thread and those that it will begin. Whether
/// the kernel enforces it.
pub(super) fn only_in(output: Option<BorrowedFd<'_>>) -> bool {
    let enforced = || {
        let ruleset = ruleset()?;
        match output {
            Some(output) => {
                enforce(ruleset.add_rule(PathBeneath::new(output, AccessFs::from_write(RIGHTS)))?)
            }
            None => enforce(ruleset),
        }
    };
    enforced().unwrap_or(false)
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    let handled: BitFlags<AccessFs> = AccessFs::from_write(RIGHTS) | AccessFs::Execute;
    Ruleset::default().handle_access(handled)?.create()
}

fn enforce(ruleset: RulesetCreated) -> Result<bool, RulesetError> {
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

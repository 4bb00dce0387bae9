//! What was written, read back from the disk: unpacked, taken apart and digested once more, before the context is sealed.

use super::files::{Changes, Shipped};
use crate::archive::{Reader, compression};
use crate::context;
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::hash::Source;
use crate::plan::Facts;
use crate::tree::{Kind, Sha256};
use std::collections::BTreeSet;
use std::io;

/// Proves that an archive holds the content of every file in `shipped` (indices of the tree), as it was read.
///
/// Code 5 where it does not, or cannot be taken apart; what was lost meanwhile (see `changes`) is not looked for.
pub(super) fn prove(
    archive: Source,
    name: &str,
    facts: Facts<'_>,
    changes: &Changes,
    shipped: &[usize],
) -> Result<()> {
    let damaged = |cause: io::Error| {
        Error::new(Code::Differs, format!("{name} cannot be read back: {cause}"))
            .hint("the disk or the memory of this machine is damaged; write to another disk")
    };
    let found = &facts.tree.found;
    let index_of = |path: &[u8]| found.binary_search_by(|found| (*found.node.path).cmp(path)).ok();
    let mut missing: BTreeSet<usize> =
        shipped.iter().copied().filter(|&index| expected(facts, changes, index).is_some()).collect();
    let (_, plain) = compression::decompress(archive).map_err(damaged)?;
    let mut members = Reader::new(plain);
    while let Some(mut member) = members.next_entry().map_err(damaged)? {
        let Some(index) = index_of(&member.node.path) else { continue };
        if missing.contains(&index) && member.hard_link.is_none() {
            let digest = context::digest(&mut member.content).map_err(damaged)?;
            if expected(facts, changes, index) == Some(digest) {
                missing.remove(&index);
            }
        }
    }
    match missing.first() {
        None if members.has_end_marker() => Ok(()),
        None => Err(damaged(io::ErrorKind::UnexpectedEof.into())),
        Some(&index) => {
            let path = escape::display(&found[index].node.path);
            let what = format!("{name}: {path} was read back otherwise than it was written");
            Err(Error::new(Code::Differs, what)
                .hint("write to another disk; this one, or the memory, is damaged"))
        }
    }
}

/// The digest of a regular file whose content has to be in an archive.
fn expected(facts: Facts<'_>, changes: &Changes, index: usize) -> Option<Sha256> {
    let node = match changes.get(&index) {
        Some(Shipped::Lost) => return None,
        Some(Shipped::Newer(node)) => node,
        None => &facts.tree.found[index].node,
    };
    let Kind::File { sha256, .. } = node.kind else { return None };
    let rewritten = facts.rewritten.get(&node.path).map(|rewritten| rewritten.sha256);
    rewritten.or(sha256)
}

//! Verification of the written context: reads it back from the disk, unpacks it and compares
//! digests before `COMPLETE` is written.

use super::files::{ArchiveOutcome, Changes, digest_of};
use crate::context::decompress;
use crate::context::output::ContextWriter;
use crate::context::reader::{BINARY, DELETIONS, DELTA, FINDINGS, MANIFEST, PACKAGES, SECRETS};
use crate::context::tar::Reader;
use crate::error::{Code, Error, Result};
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::holes;
use crate::model::tree;
use crate::plan::PlanInput;
use crate::policy::content::{Kind, Search, Tier};
use std::collections::BTreeSet;
use std::io::{self, Read};

/// The members of an archive.
pub(super) struct Members {
    /// Whether the archive has a member with the content that the walk read, by index of the tree.
    as_walked: Vec<bool>,
    /// Indices of the tree, with the digests of members that have another content.
    others: BTreeSet<(usize, Sha256)>,
    is_whole: bool,
}

fn damaged(name: &str, cause: io::Error) -> Error {
    Error::new(Code::NotEqual, format!("{name} cannot be read back: {cause}"))
        .hint("the disk or the memory of this machine is damaged; write to another disk")
}

/// Unpacks an archive of the machine's objects. Returns an error with code 5 if it cannot be
/// parsed.
pub(super) fn members(archive: impl Read + Send, name: &str, facts: PlanInput<'_>) -> Result<Members> {
    let found = &facts.tree.found;
    let damaged = |cause| damaged(name, cause);
    let index_of = |path: &[u8]| found.binary_search_by(|found| (*found.node.path).cmp(path)).ok();
    let (_, plain) = decompress::decompress(archive).map_err(damaged)?;
    let mut members = Reader::with_any_holes(plain);
    let (mut as_walked, mut others) = (vec![false; found.len()], BTreeSet::new());
    while let Some(mut member) = members.next_entry().map_err(damaged)? {
        let Some(index) = index_of(&member.node.path) else { continue };
        if member.hard_link.is_none() {
            let digest = holes::digest(&mut member.content, facts.coverage(index)).map_err(damaged)?;
            if digest_of(&found[index].node) == Some(digest) {
                as_walked[index] = true;
            } else {
                others.insert((index, digest));
            }
        }
    }
    Ok(Members { as_walked, others, is_whole: members.has_end_marker() })
}

impl Members {
    /// Verifies that the archive contains every file in `shipped` (indices of the tree) with the
    /// content that was read.
    ///
    /// Returns an error with code 5 if it does not. Files that were lost since the walk (see
    /// `changes`) do not count.
    pub(super) fn prove(
        &self,
        name: &str,
        facts: PlanInput<'_>,
        changes: &Changes,
        shipped: &[usize],
    ) -> Result<()> {
        let is_missing = |index: &&usize| {
            expected(facts, changes, **index).is_some_and(|digest| {
                let is_walked = digest_of(&facts.tree.found[**index].node) == Some(digest);
                let is_there =
                    is_walked && self.as_walked[**index] || self.others.contains(&(**index, digest));
                !is_there
            })
        };
        match shipped.iter().find(is_missing) {
            None if self.is_whole => Ok(()),
            None => Err(damaged(name, io::ErrorKind::UnexpectedEof.into())),
            Some(&index) => {
                let path = escape::display(&facts.tree.found[index].node.path);
                let what = format!("{name}: {path} was read back otherwise than it was written");
                Err(Error::new(Code::NotEqual, what)
                    .hint("write to another disk; this one, or the memory, is damaged"))
            }
        }
    }
}

/// Returns the digest of a regular file whose content must be in an archive.
fn expected(facts: PlanInput<'_>, changes: &Changes, index: usize) -> Option<Sha256> {
    let node = match changes.get(&index) {
        Some(ArchiveOutcome::Lost) => return None,
        Some(ArchiveOutcome::Newer(node)) => node,
        None => &facts.tree.found[index].node,
    };
    let tree::Kind::File { sha256, .. } = node.kind else { return None };
    let rewritten = facts.rewritten.get(&node.path).map(|rewritten| rewritten.sha256);
    rewritten.or(sha256)
}

/// Files that are not searched for secrets: lists of paths, because a machine's names are not
/// secrets, and packed files, because their contents were searched when they were read.
const UNSEARCHED: [&str; 8] =
    [BINARY, DELETIONS, DELTA, FINDINGS, MANIFEST, PACKAGES, SECRETS, "SECRETS.todo"];

/// Refuses (code 1) a context whose descriptions contain a secret. Rules keep secrets out of
/// them, and this verifies it.
pub(super) fn refuse_secrets(sink: &ContextWriter) -> Result<()> {
    let is_searched = |name: &&str| !UNSEARCHED.iter().any(|stem| name.starts_with(stem));
    for name in sink.names().filter(is_searched) {
        let failed = |cause| Error::io(name, cause);
        let mut search = Search::new(Kind::from(Tier::Code));
        let mut buffer = vec![0; 64 << 10];
        let mut text = sink.read_back(name)?;
        loop {
            match text.read(&mut buffer).map_err(failed)? {
                0 => break,
                got => search.feed(&buffer[..got]),
            }
        }
        if let Some(secret) = search.finish().filter(|secret| secret.certain) {
            let what = format!("{} would hold a secret: {}", escape::escape(name.as_bytes()), secret.name());
            return Err(Error::new(Code::Failed, what).hint(
                "if it is one service's, leave that out (--services); this should not happen: please report it",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::output::room::SpaceLimit;
    use crate::context::output::{CleanupHandle, OutputPath};

    #[test]
    fn refuse_secrets_key_in_description_returns_error() {
        let dir = tempfile::tempdir().unwrap();
        let place = OutputPath::open(&dir.path().join("ctx")).unwrap();
        let room = SpaceLimit::of(place.parent(), false).unwrap();
        let mut sink = ContextWriter::create(place, room, false, &CleanupHandle::default()).unwrap();
        let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n", "MIIEpAIBAAKCAQEAx4f1".repeat(9));
        sink.write("Dockerfile", b"FROM debian:12\n").unwrap();
        sink.write(DELETIONS, key.as_bytes()).unwrap();
        refuse_secrets(&sink).unwrap();
        sink.write("services/web/Dockerfile", format!("ENV KEY=\"{key}\"").as_bytes()).unwrap();
        let error = refuse_secrets(&sink).unwrap_err();
        assert_eq!(error.code, Code::Failed);
        assert!(error.to_string().contains("services/web/Dockerfile") && !error.to_string().contains("MIIE"));
    }
}

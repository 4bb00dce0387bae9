//! Secrets in archives: gzip, Zstandard, xz and tar, in each other.

use super::{AHEAD, Detection, Kind, LARGEST_ARCHIVE, Search, Secret};
use crate::context::decompress::{Compression, decompress, detect};
use crate::context::tar::{Reader, is_header};
use std::io::{self, Read};

/// Levels that are opened: the archive in a compressed file, and one in it.
pub(super) const DEPTH: u32 = 4;
/// All that is unpacked of one file; what is longer is searched up to here.
const MOST: u64 = 4 * LARGEST_ARCHIVE as u64;
/// Bytes that are unpacked at a time.
const PIECE: usize = 64 << 10;

/// Whether a file that begins so can be looked into.
pub(super) fn is_archive(head: &[u8]) -> bool {
    is_compressed(head) || is_tar(head)
}

fn is_compressed(head: &[u8]) -> bool {
    head.len() > AHEAD.min(17) && detect(head).is_ok_and(|format| format != Compression::None)
}

fn is_tar(head: &[u8]) -> bool {
    head.first_chunk::<512>().is_some_and(is_header)
}

/// Returns a secret in one of the members, or a note if some of them could not be read.
pub(super) fn search(archive: &[u8], kind: Kind, depth: u32) -> Option<Detection> {
    let mut budget = MOST;
    let found = look_into(archive, kind, depth, &mut budget);
    let found = found.unwrap_or_else(|_| Some(Detection::likely(Secret::Unsearched)));
    let unsearched = || (budget == 0).then_some(Detection::likely(Secret::Unsearched));
    found.map(|found| Detection { packed: true, ..found }).or_else(unsearched)
}

fn look_into(archive: &[u8], kind: Kind, depth: u32, budget: &mut u64) -> io::Result<Option<Detection>> {
    if !is_tar(archive) {
        let (_, mut content) = decompress(archive)?;
        return search_stream(&mut content, kind, depth - 1, budget);
    }
    let mut members = Reader::new(archive);
    let mut best: Option<Detection> = None;
    while let Some(mut member) = members.next_entry()? {
        // As for files, members with a name of configuration are read as such.
        let kind = if kind == Kind::Any { Kind::of(&member.node.path, false) } else { kind };
        let found = search_stream(&mut member.content, kind, depth - 1, budget)?;
        best = found.filter(|found| found.certain || best.is_none()).or(best);
        if best.is_some_and(|best| best.certain) || *budget == 0 {
            break;
        }
    }
    Ok(best)
}

fn search_stream(
    content: &mut dyn Read,
    kind: Kind,
    depth: u32,
    budget: &mut u64,
) -> io::Result<Option<Detection>> {
    let mut search = Search::at_depth(kind, depth);
    let mut piece = vec![0; PIECE];
    while *budget > 0 {
        let most = piece.len().min(usize::try_from(*budget).unwrap_or(usize::MAX));
        let got = match content.read(&mut piece[..most]) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            got => got?,
        };
        if got == 0 {
            break;
        }
        search.feed(&piece[..got]);
        *budget -= got as u64;
    }
    Ok(search.finish())
}

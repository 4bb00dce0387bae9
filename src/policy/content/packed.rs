//! Secrets in archives and compressed files, in each other: gzip, Zstandard, xz, bzip2, lz4, lzma,
//! tar, zip and what is a zip (jar, docx), objects and packs of git.

use super::{AHEAD, Detection, Kind, LARGEST_ARCHIVE, Search, Secret, Tier};
use crate::context::decompress::{Compression, decompress, detect};
use crate::context::tar::{Reader, is_header};
use std::io::{self, Cursor, Read};

/// Levels that are opened: the archive in a compressed file, and one in it.
pub(super) const DEPTH: u32 = 4;
/// All that is unpacked of one file; what is longer is searched up to here.
const MOST: u64 = 4 * LARGEST_ARCHIVE as u64;
/// Bytes that are unpacked at a time.
const PIECE: usize = 64 << 10;
/// Memory limit in KiB for lzma, as for xz.
const LZMA_MEMORY_KIB: u32 = 128 << 10;
/// Most members of a zip file that are opened.
const MEMBERS: usize = 1 << 16;

/// How a file is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A format that a context can be compressed with as well.
    Stream,
    Bzip2,
    Lz4,
    Lzma,
    Tar,
    Zip,
    /// One object of git: a zlib stream (`gitformat-loose(5)`).
    Object,
    /// A pack of git (`gitformat-pack(5)`).
    Pack,
}

impl Format {
    fn of(head: &[u8]) -> Option<Self> {
        let is_stream = || detect(head).is_ok_and(|format| format != Compression::None);
        match head {
            _ if head.len() <= AHEAD.min(17) => None,
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => Some(Format::Bzip2),
            [4, 0x22, 0x4d, 0x18, ..] => Some(Format::Lz4),
            // Properties of every encoder, a dictionary of a power of two, an unknown or small size.
            [0x5d, 0, 0, _, _, size @ ..] if size[..8] == [0xff; 8] || size[5..8] == [0; 3] => {
                Some(Format::Lzma)
            }
            [b'P', b'K', 3, 4, ..] => Some(Format::Zip),
            [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, ..] => Some(Format::Pack),
            [0x78, second, ..] if (0x7800 + u32::from(*second)).is_multiple_of(31) => Some(Format::Object),
            _ if is_stream() => Some(Format::Stream),
            _ => head.first_chunk::<512>().is_some_and(is_header).then_some(Format::Tar),
        }
    }
}

/// Whether a file that begins so can be looked into.
pub(super) fn is_archive(head: &[u8]) -> bool {
    Format::of(head).is_some()
}

/// Returns a secret in one of the members, or a note if some of them could not be read.
pub(super) fn search(archive: &[u8], kind: Kind, depth: u32) -> Option<Detection> {
    let mut opened = Opened { kind, depth: depth - 1, budget: MOST, best: None };
    let format = Format::of(archive)?;
    let read = opened.look_into(archive, format);
    // Other files begin like a zlib stream, too.
    let is_unread = read.is_err() && format != Format::Object || opened.budget == 0;
    let unsearched = is_unread.then_some(Detection::likely(Secret::Unsearched));
    let found = opened.best.filter(|found| found.certain).or(unsearched).or(opened.best);
    found.map(|found| Detection { packed: true, ..found })
}

/// An archive that is being searched.
struct Opened {
    kind: Kind,
    depth: u32,
    /// Bytes that can still be unpacked.
    budget: u64,
    best: Option<Detection>,
}

impl Opened {
    fn look_into(&mut self, archive: &[u8], format: Format) -> io::Result<()> {
        match format {
            Format::Stream => self.stream(&mut decompress(archive)?.1, self.kind),
            Format::Bzip2 => self.stream(&mut bzip2::bufread::MultiBzDecoder::new(archive), self.kind),
            Format::Lz4 => self.stream(&mut lz4_flex::frame::FrameDecoder::new(archive), self.kind),
            Format::Lzma => {
                let reader = lzma_rust2::LzmaReader::new_mem_limit(archive, LZMA_MEMORY_KIB, None)?;
                self.stream(&mut { reader }, self.kind)
            }
            Format::Object => self.stream(&mut flate2::bufread::ZlibDecoder::new(archive), self.kind),
            Format::Tar => self.tar(archive),
            Format::Zip => self.zip(archive),
            Format::Pack => self.pack(archive),
        }
    }

    fn is_done(&self) -> bool {
        self.budget == 0 || self.best.is_some_and(|best| best.certain)
    }

    /// As for files, members with a name of configuration are read as such.
    fn kind_of(&self, path: &[u8], mode: u16) -> Kind {
        match self.kind.tier {
            Tier::Code | Tier::Configuration => self.kind,
            Tier::Data | Tier::Settings => Kind::of(path, mode, false),
        }
    }

    fn tar(&mut self, archive: &[u8]) -> io::Result<()> {
        let mut members = Reader::new(archive);
        while let Some(mut member) = members.next_entry()? {
            let kind = self.kind_of(&member.node.path, member.node.stat.mode);
            self.stream(&mut member.content, kind)?;
            if self.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn zip(&mut self, archive: &[u8]) -> io::Result<()> {
        let mut members = zip::ZipArchive::new(Cursor::new(archive))?;
        let mut failed = Ok(());
        for index in 0..members.len().min(MEMBERS) {
            match members.by_index(index) {
                Ok(mut member) => {
                    // Most tools do not record modes, and some invent 0600. The directories in
                    // libraries say nothing about their files.
                    let kind = self.kind_of(member.name_raw(), 0o644);
                    let is_listed = kind.tier == Tier::Configuration;
                    let kind = if is_listed { kind } else { Kind::from(kind.tier.min(Tier::Data)) };
                    failed = failed.and(self.stream(&mut member, kind));
                }
                // Encrypted, or compressed in another way: the other members are still searched.
                Err(cause) => failed = Err(cause.into()),
            }
            if self.is_done() {
                break;
            }
        }
        failed
    }

    /// Objects that are deltas are searched as such: new text is literal in a delta.
    fn pack(&mut self, archive: &[u8]) -> io::Result<()> {
        /// `OBJ_OFS_DELTA` and `OBJ_REF_DELTA`.
        const DELTAS: [u8; 2] = [6, 7];
        let mut rest = archive.get(12..).unwrap_or_default();
        let number = |rest: &mut &[u8]| {
            while let Some((byte, tail)) = rest.split_first() {
                *rest = tail;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        };
        // The last 20 bytes are a checksum.
        while rest.len() > 20 && !self.is_done() {
            let kind = rest[0] >> 4 & 7;
            number(&mut rest);
            match DELTAS.iter().position(|delta| *delta == kind) {
                Some(0) => number(&mut rest),
                Some(_) => rest = rest.get(20..).unwrap_or_default(),
                None => {}
            }
            let mut object = flate2::bufread::ZlibDecoder::new(rest);
            self.stream(&mut object, self.kind)?;
            let taken = object.total_in() as usize;
            if taken == 0 {
                break;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn stream(&mut self, content: &mut dyn Read, kind: Kind) -> io::Result<()> {
        let mut search = Search::at_depth(kind, self.depth);
        let mut piece = vec![0; PIECE];
        let mut result = Ok(());
        while self.budget > 0 {
            let most = piece.len().min(usize::try_from(self.budget).unwrap_or(usize::MAX));
            match content.read(&mut piece[..most]) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    result = Err(cause);
                    break;
                }
                Ok(0) => break,
                Ok(got) => {
                    search.feed(&piece[..got]);
                    self.budget -= got as u64;
                }
            }
        }
        // The bytes before an error are searched.
        let found = search.finish();
        self.best = found.filter(|found| found.certain || self.best.is_none()).or(self.best);
        result
    }
}

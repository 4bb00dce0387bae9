//! Tar archives: what the context is written as and what base images are read from.
//!
//! Written: ustar headers with PAX records (POSIX.1-2001, `pax` utility, "ustar
//! Interchange Format" and "pax Header Block"), `SCHILY.xattr.` for extended
//! attributes. Read: the same, and what GNU tar, star, libarchive and Go write.
//! Names are bytes from end to end.
//!
//! - [`writer`]: nodes to an archive; the same nodes give the same bytes.
//! - [`reader`]: an archive to members, in the archive's order.
//! - [`assembly`]: members to a sorted tree, as if they had been unpacked.

pub mod assembly;
mod header;
mod pax;
pub mod reader;
mod sparse;
pub mod writer;

pub use assembly::{Contents, read_tree, read_tree_with};
pub use pax::XattrClasses;
pub use reader::Reader;
pub use writer::{Writer, Written};

/// A failure of the archive itself, not of the disk it lies on.
fn malformed(text: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text.into())
}

/// Whether the block is a tar header, by its checksum.
pub(crate) fn is_header(block: &[u8; 512]) -> bool {
    block != &[0; 512] && header::Header(*block).is_sealed()
}

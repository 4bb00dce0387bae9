//! The archive format of Debian packages (ar(5), "common format"; deb(5)): a sequence of members.

use std::io::{self, Read};

const MAGIC: &[u8] = b"!<arch>\n";
/// Length of a member's header in bytes.
const HEADER: usize = 60;
/// Maximum number of members. A package has three, and may have a few whose names begin with `_`.
const MAX_MEMBERS: usize = 16;

/// Returns the content of the first member whose name begins with `stem`. It reads nothing after
/// that member.
pub(super) fn member<R: Read>(mut reader: R, stem: &[u8]) -> io::Result<io::Take<R>> {
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(malformed("not a Debian package"));
    }
    for _ in 0..MAX_MEMBERS {
        let mut header = [0; HEADER];
        reader.read_exact(&mut header)?;
        let size = size(&header)?;
        if header.starts_with(stem) {
            return Ok(reader.take(size));
        }
        let padded = size.saturating_add(size & 1);
        if io::copy(&mut (&mut reader).take(padded), &mut io::sink())? < padded {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Err(malformed("a package with too many members"))
}

/// Returns the end of that member in bytes, from the beginning of an archive that contains its
/// header.
pub(super) fn end_of_member(begin: &[u8], stem: &[u8]) -> io::Result<u64> {
    let mut cursor = io::Cursor::new(begin);
    let size = member(&mut cursor, stem)?.limit();
    Ok(cursor.position().saturating_add(size))
}

fn size(header: &[u8; HEADER]) -> io::Result<u64> {
    let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim_ascii_end().parse().ok());
    size.filter(|_| header[58..] == *b"`\n").ok_or_else(|| malformed("not a member of a package"))
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

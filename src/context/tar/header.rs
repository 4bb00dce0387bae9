//! The 512 bytes in front of each member (POSIX.1-2001, "ustar Interchange Format").

use super::malformed;
use std::io;
use std::ops::Range;

/// Everything in a tar is a multiple of this.
pub(super) const BLOCK: usize = 512;

/// A field: its place in the header.
pub(super) type Field = Range<usize>;
pub(super) const NAME: Field = 0..100;
pub(super) const MODE: Field = 100..108;
pub(super) const UID: Field = 108..116;
pub(super) const GID: Field = 116..124;
pub(super) const SIZE: Field = 124..136;
pub(super) const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
const TYPE: usize = 156;
pub(super) const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
pub(super) const MAJOR: Field = 329..337;
pub(super) const MINOR: Field = 337..345;
pub(super) const PREFIX: Field = 345..500;
/// star's layout ends the prefix here and puts `tar` in the last bytes of the header.
const STAR_PREFIX: Field = 345..476;
const STAR_TRAILER: Field = 508..512;

/// Magic and version in one.
const USTAR: &[u8; 8] = b"ustar\x0000";
const OLD_GNU: &[u8; 8] = b"ustar  \0";

/// One header block.
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// Text up to the first NUL.
    pub(super) fn text(&self, field: Field) -> &[u8] {
        until_nul(&self.0[field])
    }

    /// A number: octal, or base-256 in two's complement (GNU and star).
    pub(super) fn number(&self, field: Field) -> io::Result<i64> {
        number(&self.0[field])
    }

    /// The path without regard to PAX records: prefix and name.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = self.text(NAME);
        let prefix = if self.0[MAGIC] != *USTAR {
            b""
        } else if self.0[STAR_TRAILER] == *b"tar\0" {
            self.text(STAR_PREFIX)
        } else {
            self.text(PREFIX)
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn is_old_gnu(&self) -> bool {
        self.0[MAGIC] == *OLD_GNU
    }

    /// Whether the checksum is right; historic archives summed signed bytes.
    pub(super) fn is_sealed(&self) -> bool {
        let (unsigned, signed) = self.sums();
        number(&self.0[CHECKSUM]).is_ok_and(|sum| sum == unsigned || sum == signed)
    }

    fn sums(&self) -> (i64, i64) {
        let mut sums = (0, 0);
        for (place, &byte) in self.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&place) { b' ' } else { byte };
            sums = (sums.0 + i64::from(byte), sums.1 + i64::from(byte as i8));
        }
        sums
    }
}

/// Octal with spaces or NULs around it, empty for 0; or base-256 when the first bit is set.
pub(super) fn number(field: &[u8]) -> io::Result<i64> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(*first as i8) };
            let value = rest.iter().take(12).fold(start, |value, &byte| value << 8 | i128::from(byte));
            i64::try_from(value).map_err(|_| malformed("a number that is too large"))
        }
        _ => {
            let digits = until_nul(field).trim_ascii();
            digits.iter().try_fold(0_i64, |value, &digit| match digit {
                b'0'..=b'7' => Ok(value << 3 | i64::from(digit - b'0')),
                _ => Err(malformed("a number that is not octal")),
            })
        }
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\x05", Some(5)),
            (b"\x80\0\0\0\xff\xff\xff\xff", Some(0xffff_ffff)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0", Some(-16)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"00009\0\0\0", None),
        ] {
            assert_eq!(number(field).ok(), value, "{field:?}");
        }
    }

    #[test]
    fn header_any_byte_changed_has_wrong_checksum() {
        let mut written = tar::Header::new_ustar();
        written.set_path("etc/passwd").unwrap();
        written.set_size((8 << 30) - 1);
        written.set_cksum();
        let mut header = Header(*written.as_bytes());
        assert!(header.is_sealed());
        assert_eq!(header.number(SIZE).unwrap(), (8 << 30) - 1);
        header.0[3] ^= 1;
        assert!(!header.is_sealed());
    }
}

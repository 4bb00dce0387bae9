//! Names the type of a file by its magic number, for the message that it is not an image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes to read: up to the volume descriptor of ISO 9660 at 32 KiB.
const HEAD: usize = 36 << 10;

/// File type, offset of its magic number, and the magic number.
const KINDS: [(&str, usize, &[u8]); 14] = [
    ("an ELF program", 0, b"\x7fELF"),
    ("a squashfs file system", 0, b"hsqs"),
    ("a qcow2 disk image", 0, b"QFI\xfb"),
    ("a VMDK disk image", 0, b"KDMV"),
    ("a VHDX disk image", 0, b"vhdxfile"),
    ("an ISO 9660 disc image", 0x8001, b"CD001"),
    ("an ext2, ext3 or ext4 file system", 0x438, b"\x53\xef"),
    ("an XFS file system", 0, b"XFSB"),
    ("a cpio archive", 0, b"0707"),
    ("a zip archive", 0, b"PK\x03\x04"),
    ("a Debian package or ar archive", 0, b"!<arch>\n"),
    ("an RPM package", 0, b"\xed\xab\xee\xdb"),
    ("a raw disk image", 510, b"\x55\xaa"),
    ("a JSON document", 0, b"{"),
];

/// Reads the first [`HEAD`] bytes of the file.
pub(super) fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut filled = 0;
    while filled < HEAD {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            got => filled += got,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// Whether the file starts with a tar header. Checks the checksum of the header because old
/// archives have no magic number.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<512>() else { return false };
    let empty = head.len() >= 1024 && head[..1024].iter().all(|&byte| byte == 0);
    empty || crate::context::tar::is_header(block)
}

/// Returns the type of the file with an article.
pub(super) fn name(head: &[u8]) -> &'static str {
    let known = KINDS
        .iter()
        .find(|(_, offset, magic)| head.get(*offset..).is_some_and(|rest| rest.starts_with(magic)));
    match known {
        Some((name, ..)) => name,
        None if head.is_empty() => "an empty file",
        None if head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => "text",
        None => "data of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_images_are_named() {
        let mut disk = vec![0; 512];
        disk[510..].copy_from_slice(b"\x55\xaa");
        for (head, expected) in [
            (&b""[..], "an empty file"),
            (b"\x7fELF\x02", "an ELF program"),
            (b"FROM debian:12\n", "text"),
            (b"\0\x01\x02", "data of an unknown kind"),
            (&disk, "a raw disk image"),
        ] {
            assert_eq!(name(head), expected);
            assert!(!is_tar(head));
        }
    }
}

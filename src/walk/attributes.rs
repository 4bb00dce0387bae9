//! Reads the extended attributes that an image can hold.

use crate::model::tree::{self, Xattrs};
use rustix::fs::{self, Mode, OFlags};
use std::io;
use std::os::fd::BorrowedFd;

/// Returns the portable attributes of a FIFO, device or socket without opening the object.
///
/// `open(2)` of such an object can block or change a device. `O_PATH` opens only its name, and
/// the link in `/proc/self/fd` leads to the object itself.
pub(super) fn attributes_of(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Xattrs>> {
    let fd = fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    read_attributes(|buffer| fs::listxattr(&path, buffer), |name, buffer| fs::getxattr(&path, name, buffer))
}

/// Returns the portable attributes of an open file; `None` if it has none.
pub(super) fn attributes(fd: BorrowedFd<'_>) -> io::Result<Option<Xattrs>> {
    read_attributes(|buffer| fs::flistxattr(fd, buffer), |name, buffer| fs::fgetxattr(fd, name, buffer))
}

fn read_attributes(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Xattrs>> {
    let names = match grow(&list) {
        // The file system does not support extended attributes (listxattr(2)).
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(None),
        names => names?,
    };
    let mut xattrs = Xattrs::new();
    for name in names.split(|&byte| byte == 0).filter(|name| tree::is_portable_xattr(name)) {
        match grow(|buffer| get(name, buffer)) {
            Ok(value) => drop(xattrs.insert(name.into(), value.into())),
            // Another process removed the attribute after it was listed.
            Err(rustix::io::Errno::NODATA) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok((!xattrs.is_empty()).then_some(xattrs))
}

/// Calls `fill` with larger buffers until the result fits, at most 2 MiB.
///
/// The kernel returns `ERANGE` if the buffer is too small (`getxattr(2)`).
fn grow(fill: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match fill(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 8, 0),
            Err(cause) => return Err(cause),
        }
    }
}

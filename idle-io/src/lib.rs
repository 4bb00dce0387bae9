//! The idle class of disk priorities (`ioprio_set(2)`), for which no maintained crate has a safe call.

use std::io;

/// `IOPRIO_WHO_PROCESS`: one thread, by its number; 0 is the caller.
const WHO_PROCESS: libc::c_int = 1;
/// `IOPRIO_CLASS_IDLE` in the place of the class (`linux/ioprio.h`).
const IDLE: libc::c_int = 3 << 13;

/// Lets the calling thread, and all that it starts from now on, use a disk only when nobody else wants it.
///
/// Only the kernel's schedulers mq-deadline and BFQ know priorities; with the others nothing changes.
///
/// # Errors
/// What `ioprio_set(2)` says; a kernel without block devices has no such call.
pub fn set() -> io::Result<()> {
    // SAFETY: all arguments are numbers; the call reads and writes no memory of this process.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_those_that_it_starts_are_idle() {
        // SAFETY: as above.
        let class = || unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) } >> 13;
        let test = std::thread::spawn(move || {
            assert_ne!(class(), 3, "from the beginning");
            set().unwrap();
            (class(), std::thread::spawn(class).join().unwrap())
        });
        assert_eq!(test.join().unwrap(), (3, 3));
        assert_ne!(class(), 3, "another thread");
    }
}

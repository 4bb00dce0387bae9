//! Idle I/O priority class (`ioprio_set(2)`), for which no maintained crate has a safe call.

use std::io;

/// `IOPRIO_WHO_PROCESS`: one thread, by its number; 0 is the caller.
const WHO_PROCESS: libc::c_int = 1;
/// `IOPRIO_CLASS_IDLE` in the place of the class (`linux/ioprio.h`).
const IDLE: libc::c_int = 3 << 13;

/// Sets the idle class for the calling thread and for all threads that it starts later. They use
/// a disk only if no other process does.
///
/// Only the I/O schedulers mq-deadline and BFQ support priorities. The call has no effect with
/// others.
///
/// # Errors
/// Returns the error of `ioprio_set(2)`. A kernel without block devices does not have the call.
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
    fn set_thread_and_its_children_are_idle() {
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

//! A call that a stopped thread is about to make: its arguments, and the files it would change.

use crate::syscalls;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const WRITING: i32 =
    libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// The call at which a thread has stopped.
pub struct Call {
    /// The thread.
    pub pid: Pid,
    /// The call's number.
    pub number: i64,
    /// Arguments of the call.
    pub arguments: [u64; 6],
}

/// Where a call names what it changes, by places in its arguments.
#[derive(Clone, Copy)]
enum Operand {
    Path(usize),
    At(usize, usize),
    Fd(usize),
}

impl Call {
    /// Reads it from the stopped thread.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let registers = ptrace::getregs(pid)?;
        let arguments =
            [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        Ok(Call { pid, number: registers.orig_rax as i64, arguments })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        syscalls::name(self.number)
    }

    /// Whether it changes something outside the process, if it is one of [`syscalls::CHANGING`].
    pub fn changes(&self) -> bool {
        match self.name() {
            "open" | "openat" | "openat2" => self.open_flags() & WRITING != 0,
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendfile" => self.is_file(0),
            "splice" | "copy_file_range" => self.is_file(2),
            _ => true,
        }
    }

    /// The flags of `open` and its kind.
    pub fn open_flags(&self) -> i32 {
        match self.name() {
            "open" => self.arguments[1] as i32,
            "openat" => self.arguments[2] as i32,
            "openat2" => self.number_at(self.arguments[2]) as i32,
            "creat" => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
            _ => 0,
        }
    }

    /// The files that it changes or opens; empty for a call that names none.
    pub fn files(&self) -> Vec<PathBuf> {
        let follows = !self.name().starts_with('l') && self.open_flags() & libc::O_NOFOLLOW == 0;
        operands(self.name()).iter().map(|operand| self.file(*operand, follows)).collect()
    }

    /// Returns the call and the files of its arguments as text.
    pub fn describe(&self) -> String {
        let files: Vec<String> = self.files().iter().map(|file| file.display().to_string()).collect();
        format!("{}({})", self.name(), files.join(", "))
    }

    /// A number of eight bytes in the thread's memory; 0 if there is none.
    pub fn number_at(&self, address: u64) -> u64 {
        let bytes = self.memory(address, 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// Whether the descriptor in this argument is a file with a name, not a pipe, a socket,
    /// memory or a terminal.
    pub fn is_file(&self, place: usize) -> bool {
        let path = self.descriptor(self.arguments[place] as i32);
        let path = path.as_os_str().as_bytes();
        let others: [&[u8]; 4] = [b"/dev/null", b"/dev/pts/", b"/dev/tty", b"/memfd:"];
        path.starts_with(b"/") && !others.iter().any(|other| path.starts_with(other))
    }

    /// The flags with which a descriptor was opened.
    pub fn descriptor_flags(&self, fd: i32) -> i32 {
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.pid)).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0)
    }

    fn file(&self, operand: Operand, follows: bool) -> PathBuf {
        match operand {
            Operand::Fd(place) => self.descriptor(self.arguments[place] as i32),
            Operand::Path(place) => self.resolve(libc::AT_FDCWD, place, follows),
            Operand::At(directory, place) => self.resolve(self.arguments[directory] as i32, place, follows),
        }
    }

    /// Resolves a path argument. Follows each link before the last name, and a link in the last
    /// name if the call follows it.
    fn resolve(&self, directory: i32, place: usize, follows: bool) -> PathBuf {
        let text = self.text(self.arguments[place]);
        let base = match directory {
            libc::AT_FDCWD => std::fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_default(),
            fd => self.descriptor(fd),
        };
        let given = base.join(Path::new(OsStr::from_bytes(&text)));
        // The thread's own links, not those of this process.
        let given = match given.strip_prefix("/proc/self") {
            Ok(rest) => PathBuf::from(format!("/proc/{}", self.pid)).join(rest),
            Err(_) => given,
        };
        if text.is_empty() {
            return base;
        }
        let whole = given.canonicalize().ok().filter(|_| follows);
        whole.unwrap_or_else(|| match (given.parent().map(Path::canonicalize), given.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => given,
        })
    }

    /// Returns the file of a descriptor.
    pub fn descriptor(&self, fd: i32) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).unwrap_or_default()
    }

    fn text(&self, address: u64) -> Vec<u8> {
        let mut text = Vec::new();
        // Never across a page in one go: what follows the text need not be mapped.
        while text.len() < libc::PATH_MAX as usize {
            let at = address + text.len() as u64;
            let Some(bytes) = self.memory(at, 4096 - (at % 4096) as usize) else { break };
            match bytes.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&bytes[..end]);
                    break;
                }
                None => text.extend(bytes),
            }
        }
        text
    }

    fn memory(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let remote = RemoteIoVec { base: address as usize, len: length };
        let got = process_vm_readv(self.pid, &mut [IoSliceMut::new(&mut bytes)], &[remote]).ok()?;
        bytes.truncate(got);
        Some(bytes)
    }
}

fn operands(name: &str) -> &'static [Operand] {
    use Operand::{At, Fd, Path};
    match name {
        "open" | "creat" | "mkdir" | "rmdir" | "unlink" | "mknod" | "chmod" | "chown" | "lchown"
        | "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" | "utime" | "utimes" | "truncate"
        | "stat" | "lstat" | "statfs" | "access" | "readlink" | "listxattr" | "llistxattr" | "getxattr"
        | "lgetxattr" => &[Path(0)],
        "openat" | "openat2" | "mkdirat" | "unlinkat" | "mknodat" | "fchmodat" | "fchmodat2" | "fchownat"
        | "futimesat" | "utimensat" | "setxattrat" | "removexattrat" | "file_setattr" | "newfstatat"
        | "statx" | "readlinkat" | "faccessat" | "faccessat2" => &[At(0, 1)],
        // A new name changes the inode that it is given to.
        "rename" | "link" => &[Path(0), Path(1)],
        "renameat" | "renameat2" | "linkat" => &[At(0, 1), At(2, 3)],
        "symlink" => &[Path(1)],
        "symlinkat" => &[At(1, 2)],
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendfile" | "fchmod" | "fchown"
        | "fsetxattr" | "fremovexattr" | "ftruncate" | "fallocate" | "fsync" | "fdatasync" | "syncfs"
        | "flock" | "read" | "pread64" | "readv" | "fstat" | "fstatfs" | "close" | "getdents64" | "lseek"
        | "fcntl" | "ioctl" | "flistxattr" | "fgetxattr" => &[Fd(0)],
        "splice" | "copy_file_range" => &[Fd(2)],
        _ => &[],
    }
}

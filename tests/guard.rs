//! Sandbox: each forbidden operation succeeds before the sandbox and fails in it.
//!
//! Uses no test harness because the sandbox restricts its whole process, so it needs its own.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a test")]

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Timestamps};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use vm2docker_self::context::output::room::SpaceLimit;
use vm2docker_self::context::output::{CleanupHandle, ContextWriter, OutputPath};
use vm2docker_self::system::sandbox::Sandbox;

/// Directory to change, with descriptors that were opened before the sandbox.
struct Victim {
    path: PathBuf,
    directory: OwnedFd,
    /// Opened read-only.
    file: File,
    /// Number of used objects, so that each attempt gets a new one.
    serial: usize,
}

impl Victim {
    fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let directory = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        std::fs::write(path.join("held"), "x").unwrap();
        let file = File::open(path.join("held")).unwrap();
        for number in 0..200 {
            std::fs::write(path.join(format!("f{number}")), "x").unwrap();
            std::fs::create_dir(path.join(format!("d{number}"))).unwrap();
        }
        Victim { path: path.to_owned(), directory, file, serial: 0 }
    }

    fn fresh(&mut self, kind: &str) -> PathBuf {
        self.serial += 1;
        self.path.join(format!("{kind}{}", self.serial))
    }
}

type Attempt = (&'static str, fn(&mut Victim) -> io::Result<()>);

/// Operations that the sandbox must deny, by path and through descriptors opened before.
const ATTEMPTS: &[Attempt] = &[
    ("write to a file", |v| File::options().write(true).open(v.fresh("f")).map(drop)),
    ("append to a file", |v| File::options().append(true).open(v.fresh("f")).map(drop)),
    ("truncate by opening", |v| File::options().write(true).truncate(true).open(v.fresh("f")).map(drop)),
    ("create a file", |v| File::create_new(v.fresh("new")).map(drop)),
    ("create a file without a name", |v| {
        fs::open(&v.path, OFlags::TMPFILE | OFlags::WRONLY, Mode::RWXU).map(drop).map_err(io::Error::from)
    }),
    ("create a directory", |v| std::fs::create_dir(v.fresh("new"))),
    ("remove a file", |v| std::fs::remove_file(v.fresh("f"))),
    ("remove a directory", |v| std::fs::remove_dir(v.fresh("d"))),
    ("rename", |v| std::fs::rename(v.fresh("f"), v.fresh("new"))),
    ("exchange", |v| Ok(fs::renameat_with(CWD, v.fresh("f"), CWD, v.fresh("f"), fs::RenameFlags::EXCHANGE)?)),
    ("link", |v| std::fs::hard_link(v.fresh("f"), v.fresh("new"))),
    ("create a symbolic link", |v| std::os::unix::fs::symlink("x", v.fresh("new"))),
    ("create a FIFO", |v| Ok(fs::mknodat(CWD, v.fresh("new"), FileType::Fifo, Mode::RWXU, 0)?)),
    ("create a device", |v| {
        Ok(fs::mknodat(CWD, v.fresh("new"), FileType::CharacterDevice, Mode::RWXU, fs::makedev(1, 3))?)
    }),
    ("change permissions", |v| Ok(fs::chmod(v.fresh("f"), Mode::empty())?)),
    ("change permissions by descriptor", |v| Ok(fs::fchmod(&v.file, Mode::RWXU)?)),
    ("change an owner", |v| Ok(fs::chownat(CWD, v.fresh("f"), None, None, AtFlags::empty())?)),
    ("change an owner by descriptor", |v| Ok(fs::fchown(&v.file, None, None)?)),
    ("set an extended attribute", |v| {
        Ok(fs::setxattr(v.fresh("f"), "user.x", b"x", fs::XattrFlags::empty())?)
    }),
    ("set an extended attribute by descriptor", |v| {
        Ok(fs::fsetxattr(&v.file, "user.x", b"x", fs::XattrFlags::empty())?)
    }),
    ("remove an extended attribute", |v| Ok(fs::fremovexattr(&v.file, "user.x")?)),
    ("set a timestamp", |v| Ok(fs::utimensat(CWD, v.fresh("f"), &now(), AtFlags::empty())?)),
    ("set a timestamp by descriptor", |v| Ok(fs::futimens(&v.file, &now())?)),
    ("create a file through an old descriptor", |v| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        fs::openat(&v.directory, "new", flags, Mode::RWXU).map(drop).map_err(io::Error::from)
    }),
    ("write to a file through an old descriptor", |v| {
        fs::openat(&v.directory, "held", OFlags::WRONLY, Mode::empty()).map(drop).map_err(io::Error::from)
    }),
    ("create a directory through an old descriptor", |v| Ok(fs::mkdirat(&v.directory, "newer", Mode::RWXU)?)),
    ("remove a file through an old descriptor", |v| {
        Ok(fs::unlinkat(&v.directory, "f100", AtFlags::empty())?)
    }),
    ("rename through an old descriptor", |v| Ok(fs::renameat(&v.directory, "f101", &v.directory, "newest")?)),
    ("open a file again through /proc/self/fd", |v| {
        use std::os::fd::AsRawFd;
        File::options().write(true).open(format!("/proc/self/fd/{}", v.file.as_raw_fd())).map(drop)
    }),
    ("start a program", |_| Command::new("/bin/true").status().map(drop)),
    ("start a shell", |_| Command::new("/bin/sh").args(["-c", ":"]).status().map(drop)),
    ("open a socket", |_| std::net::TcpListener::bind("127.0.0.1:0").map(drop)),
    ("send a datagram", |_| std::net::UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("create a socket pair", |_| std::os::unix::net::UnixStream::pair().map(drop)),
    ("send a signal", |_| Ok(rustix::process::test_kill_process(rustix::process::getpid())?)),
    ("mount", |v| Ok(rustix::mount::mount_bind(&v.path, &v.path)?)),
    ("change a mount", |_| {
        let flags = rustix::mount::MountFlags::BIND;
        Ok(rustix::mount::mount_remount("/", flags, "")?)
    }),
    (
        "change the root",
        |v| Ok(rustix::process::chroot(&v.path).and_then(|()| rustix::process::chroot("."))?),
    ),
    ("create an executable memory file", |_| {
        fs::memfd_create("x", fs::MemfdFlags::empty()).map(drop).map_err(io::Error::from)
    }),
    ("set the host name", |_| {
        let name = std::fs::read("/proc/sys/kernel/hostname")?;
        Ok(rustix::system::sethostname(name.trim_ascii_end())?)
    }),
];

fn now() -> Timestamps {
    let now = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
    Timestamps { last_access: now, last_modification: now }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        return try_everything(Path::new(&arguments.next().unwrap()));
    }
    if !rustix::process::geteuid().is_root() {
        println!("guard: FAILED: root privileges are required");
        std::process::exit(1);
    }
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap()).arg(CHILD).arg(dir.path()).status().unwrap();
    drop(dir);
    std::process::exit(if status.success() { 0 } else { 1 });
}

/// Argument of the process that enters the sandbox.
const CHILD: &str = "--in-sandbox";

fn try_everything(dir: &Path) {
    let mut free = Victim::new(&dir.join("free"));
    // A changed root would affect the rest of the test; a mount would outlive it.
    let skipped = ["change the root", "mount", "change a mount", "set the host name"];
    for (name, attempt) in ATTEMPTS.iter().filter(|(name, _)| !skipped.contains(name)) {
        attempt(&mut free).unwrap_or_else(|cause| panic!("{name}: fails without the sandbox too: {cause}"));
    }

    let mut victim = Victim::new(&dir.join("victim"));
    let place = OutputPath::open(&dir.join("ctx")).unwrap();
    let room = SpaceLimit::of(place.parent(), false).unwrap();
    let mut sink = ContextWriter::create(place, room, false, &CleanupHandle::default()).unwrap();
    let mut sandbox = Sandbox::enter(true).unwrap();
    sandbox.restrict_writes(sink.directory());
    assert!(sandbox.read_only > Some(0) && sandbox.calls && sandbox.writes, "{sandbox:?}");
    let allowed: Vec<&str> =
        ATTEMPTS.iter().filter(|(_, attempt)| attempt(&mut victim).is_ok()).map(|(name, _)| *name).collect();
    assert!(allowed.is_empty(), "not denied: {allowed:?}");

    // Reading, threads and the output must still work.
    assert_eq!(std::fs::read(victim.path.join("held")).unwrap(), b"x");
    std::thread::spawn(|| ()).join().unwrap();
    sink.write("a/b", b"x").unwrap();
    let mut program = sink.program("p").unwrap();
    program.write_all(b"x").unwrap();
    program.finish().unwrap();
    let fd = sink.directory().unwrap().try_clone_to_owned().unwrap();
    sink.finish().unwrap();
    assert!(fs::statat(&fd, "COMPLETE", AtFlags::empty()).is_ok());
    println!("guard: ok: {} operations denied, the output written", ATTEMPTS.len());
}

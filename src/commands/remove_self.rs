//! `--remove-self`: removes the executable, or the package that owns it, at the end of a run.
//!
//! Another process could replace the file between a check and unlink(2). So the file is first
//! renamed to a unique name and then checked by device and inode. Only the executable is removed;
//! any other file gets its name back.

use crate::cli::REMOVE_SELF;
use crate::context::output::place;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::pkg::Family;
use crate::system::child::{self, UnsandboxedChild};
use crate::system::mounts::{self, Class};
use crate::system::root::{self, Root};
use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Child process that removes the executable.
#[derive(Debug)]
pub struct SelfRemoval(UnsandboxedChild);

impl SelfRemoval {
    /// Starts the child, which waits for [`Self::run`]. Fails with exit code 1.
    pub fn spawn() -> Result<Self> {
        UnsandboxedChild::spawn("--remove-self", &[REMOVE_SELF.into()]).map(SelfRemoval)
    }

    /// Removes the executable. Returns exit code 13 if that failed; the child has printed the
    /// reason.
    pub fn run(mut self) -> Code {
        let started = self.0.start();
        match started.and_then(|()| self.0.wait()) {
            Ok(ended) if ended.code == Some(Code::Done as i32) => Code::Done,
            _ => Code::SelfRemovalFailed,
        }
    }
}

/// Waits for the start byte and removes the executable. Called in the child.
pub fn run_on_request() -> Result<Code> {
    let own = OwnExecutable::find()?;
    if child::wait_for_start() {
        own.remove()?;
    }
    Ok(Code::Done)
}

/// Executable of this process, by path and by device and inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnExecutable {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnExecutable {
    /// Reads path and identity from `/proc/self/exe` (`proc_pid_exe(5)`).
    pub fn find() -> Result<Self> {
        const LINK: &str = "/proc/self/exe";
        let failed = |cause| Error::io(LINK, cause);
        let path = std::fs::read_link(LINK).map_err(failed)?;
        Ok(OwnExecutable { path, identity: root::identity_of(Path::new(LINK)).map_err(failed)? })
    }

    /// Removes the executable, with the package manager if a package owns it.
    ///
    /// Fails with exit code 13 and the command to run as hint if the removal is not safe.
    pub fn remove(&self) -> Result<()> {
        let now = OwnExecutable::find().map_err(|error| kept(&error.to_string(), None))?;
        if now.path != self.path {
            return Err(kept("the file was moved, replaced or removed during the run", None));
        }
        match manager(&self.path)? {
            Some(manager) => manager.remove(),
            None => unlink(&self.path, self.identity),
        }
    }
}

/// Returns the error for an executable that was not removed. `command` is the command for the
/// hint.
fn kept(why: &str, command: Option<String>) -> Error {
    let error =
        Error::new(Code::SelfRemovalFailed, format!("--remove-self: vm2docker-self was not removed: {why}"));
    match command {
        Some(command) => error.hint(format!("everything else is done; to remove it, run: {command}")),
        None => error.hint("everything else is done; if the executable still exists, remove it"),
    }
}

/// Returns the shell command that removes a file.
fn removal_command(path: &Path) -> String {
    format!("rm -- {}", escape::shell_word(path.as_os_str().as_bytes()))
}

/// Whether other machines can use the file too: it is on a network or FUSE file system.
///
/// Uses the mount table only (`proc_pid_mountinfo(5)`).
fn is_shared(mountinfo: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let is_in = |point: &[u8]| {
        point.is_empty() || path.strip_prefix(point).is_some_and(|rest| rest.starts_with(b"/"))
    };
    let mounts = mounts::parse(mountinfo, b"/");
    let mount = mounts.iter().filter(|mount| is_in(&mount.point)).max_by_key(|mount| mount.point.len());
    mount.is_some_and(|mount| mount.class == Class::Remote)
}

/// Removes the file at `path` if it has this device and inode and no other hard link.
fn unlink(path: &Path, identity: (u64, u64)) -> Result<()> {
    let command = || Some(removal_command(path));
    let refused = |why: &str| kept(why, command());
    let failed = |cause: Errno| kept(&cause.to_string(), command());
    let (parent, name) =
        place::trusted_parent(path).map_err(|unsafe_path| refused(&unsafe_path.to_string()))?;
    match is_only_link(parent.as_fd(), name.as_bytes(), identity) {
        Ok(true) => {}
        // The other link can be in use, for example as a backup.
        Ok(false) => return Err(refused("the file has another name (a hard link)")),
        Err(Errno::NOENT) => return Err(kept("the file no longer exists at its path", None)),
        Err(Errno::STALE) => return Err(kept("another file exists at its path", None)),
        Err(cause) => return Err(failed(cause)),
    }
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(|cause| refused(&cause.to_string()))?;
    if is_shared(&mounts, path) {
        return Err(refused("the file is on a network or FUSE file system that other machines may use"));
    }
    let temporary = format!(".vm2docker-self-{}", std::process::id());
    fs::renameat_with(&parent, &name, &parent, &temporary, RenameFlags::NOREPLACE).map_err(failed)?;
    if is_only_link(parent.as_fd(), temporary.as_bytes(), identity) == Ok(true) {
        return fs::unlinkat(&parent, &temporary, AtFlags::empty()).map_err(failed);
    }
    let restored = fs::renameat_with(&parent, &temporary, &parent, &name, RenameFlags::NOREPLACE);
    Err(match restored {
        Ok(()) => kept("another file replaced it during the removal", None),
        Err(_) => kept(
            &format!("another file replaced it during the removal; that file is now named {temporary}"),
            None,
        ),
    })
}

/// Whether the entry has this device and inode and is the only hard link. `ESTALE` if it is
/// another file.
fn is_only_link(parent: BorrowedFd<'_>, name: &[u8], identity: (u64, u64)) -> rustix::io::Result<bool> {
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_dev, stat.st_ino) == identity { Ok(stat.st_nlink == 1) } else { Err(Errno::STALE) }
}

/// Command of a package manager that removes the package with the executable.
#[derive(Debug, PartialEq, Eq)]
struct Manager {
    program: String,
    arguments: Vec<String>,
}

/// Finds the package that owns a path, in the supported databases.
///
/// Fails with exit code 13 if the owner cannot be determined, because a file of a package must be
/// removed by the package manager.
fn manager(path: &Path) -> Result<Option<Manager>> {
    let root = Root::open(Path::new("/")).map_err(|cause| unknown_owner("/", &cause, path))?;
    for family in Family::ALL {
        let command = family.manager().removal_command(&root, path.as_os_str().as_bytes());
        let command = command.map_err(|(file, cause)| unknown_owner(&file, &cause, path))?;
        if let Some(command) = command {
            return Ok(Some(Manager::new(command)));
        }
    }
    Ok(None)
}

fn unknown_owner(what: &str, cause: &dyn std::fmt::Display, path: &Path) -> Error {
    let why = format!("cannot determine whether a package owns the file ({what}: {cause})");
    kept(&why, Some(format!("{} (if no package owns it)", removal_command(path))))
}

/// Returns a command for a package manager with a clean environment.
///
/// This is the only executable of the machine that vm2docker-self runs, and only with
/// `--remove-self`.
#[expect(clippy::disallowed_methods, reason = "the user asked for the package's removal")]
fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

impl Manager {
    fn new(mut command: Vec<String>) -> Self {
        let program = command.remove(0);
        Manager { program, arguments: command }
    }

    /// Runs the command.
    fn remove(&self) -> Result<()> {
        let command = || Some(format!("{} {}", self.program, self.arguments.join(" ")));
        let ran = program(&self.program).args(&self.arguments).output();
        let ran = ran.map_err(|cause| kept(&format!("{}: {cause}", self.program), command()))?;
        if ran.status.success() {
            return Ok(());
        }
        let line = ran.stderr.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Err(kept(&format!("{}: {}", self.program, escape::escape(line)), command()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as plain;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Creates a directory with a file to remove.
    fn own_file() -> (tempfile::TempDir, PathBuf, (u64, u64)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own");
        plain::write(&path, "own").unwrap();
        let identity = root::identity_of(&path).unwrap();
        (dir, path, identity)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = plain::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn unlink_removes_only_same_file() {
        let (dir, path, identity) = own_file();
        unlink(&path, identity).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);

        let refuses = |prepare: &dyn Fn(&Path, &Path), left: &[&str], says: &str| {
            let (dir, path, identity) = own_file();
            prepare(dir.path(), &path);
            let error = unlink(&path, identity).unwrap_err();
            assert_eq!(error.code, Code::SelfRemovalFailed);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(names(dir.path()), left);
        };
        refuses(
            &|dir, path| plain::hard_link(path, dir.join("other")).unwrap(),
            &["other", "own"],
            "hard link",
        );
        refuses(
            &|dir, path| {
                plain::write(dir.join("new"), "new").unwrap();
                plain::rename(dir.join("new"), path).unwrap();
            },
            &["own"],
            "another file",
        );
        refuses(
            &|dir, path| {
                plain::rename(path, dir.join("moved")).unwrap();
                symlink("moved", path).unwrap();
            },
            &["moved", "own"],
            "another file",
        );
        refuses(&|dir, path| plain::rename(path, dir.join("moved")).unwrap(), &["moved"], "no longer exists");
        let open = plain::Permissions::from_mode(0o777);
        refuses(&|dir, _| plain::set_permissions(dir, open.clone()).unwrap(), &["own"], "rm -- /");
    }

    struct Ending<'a>(&'a AtomicBool);

    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn unlink_concurrent_exchange_never_removes_other_file() {
        let (dir, path, identity) = own_file();
        let other = dir.path().join("other");
        plain::write(&other, "other").unwrap();
        let (done, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (mut refused, mut removed) = (0, 0);
        let mut identity = identity;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let here = plain::File::open(dir.path()).unwrap();
                while !done.load(Ordering::Relaxed) {
                    let exchanged = fs::renameat_with(&here, "own", &here, "other", RenameFlags::EXCHANGE);
                    exchanges.fetch_add(usize::from(exchanged.is_ok()), Ordering::Relaxed);
                }
            });
            // Ends the other thread even if an assertion below fails.
            let _end = Ending(&done);
            for _ in 0..10_000 {
                match unlink(&path, identity) {
                    Err(error) => {
                        assert_eq!(error.code, Code::SelfRemovalFailed);
                        refused += 1;
                    }
                    Ok(()) => {
                        removed += 1;
                        let left = names(dir.path());
                        let content = |name: &String| plain::read_to_string(dir.path().join(name)).unwrap();
                        assert_eq!(left.iter().map(content).collect::<Vec<_>>(), ["other"]);
                        // Creates the next file under the free name.
                        let free = if left == ["own"] { &other } else { &path };
                        let next = dir.path().join("next");
                        plain::write(&next, "own").unwrap();
                        identity = root::identity_of(&next).unwrap();
                        plain::rename(&next, free).unwrap();
                    }
                }
            }
        });
        assert!(refused > 100 && removed > 100, "{refused} {removed} {exchanges:?}");
    }

    #[test]
    fn is_shared_network_and_fuse_mounts_return_true() {
        const TABLE: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/vda1 rw\n\
            2 1 0:40 / /opt rw - nfs4 server:/opt rw\n\
            3 2 0:41 / /opt/here rw - tmpfs tmpfs rw\n\
            4 1 0:42 / /mnt/usb rw - fuse.sshfs host: rw\n";
        for (path, expected) in [
            ("/usr/bin/tool", false),
            ("/opt/tool", true),
            ("/opt/here/tool", false),
            ("/opt/hereafter/tool", true),
            ("/optional/tool", false),
            ("/mnt/usb/tool", true),
        ] {
            assert_eq!(is_shared(TABLE, Path::new(path)), expected, "{path}");
        }
    }
}

//! The end of a run that was asked to leave nothing: this program removes its own file, or the package that it came in.
//!
//! What stands at a name can be replaced between a look and the removal. So the file is first given a name that nobody else
//! uses, and only what is then found to be this very file, by device and inode, is removed; anything else gets its name back.

use crate::cli::REMOVE_SELF;
use crate::context::output::place;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::pkg::{Family, rpm};
use crate::system::child::{self, UnsandboxedChild};
use crate::system::mounts::{self, Class};
use crate::system::root::{self, Root};
use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The process that will remove this program.
#[derive(Debug)]
pub struct SelfRemoval(UnsandboxedChild);

impl SelfRemoval {
    /// Begins it. Code 1 where no process can be begun.
    pub fn spawn() -> Result<Self> {
        UnsandboxedChild::spawn("--remove-self", &[REMOVE_SELF.into()]).map(SelfRemoval)
    }

    /// Lets it go. Code 13 where the program is still there; it has said why.
    pub fn run(mut self) -> Code {
        let told = self.0.start();
        match told.and_then(|()| self.0.wait()) {
            Ok(ended) if ended.code == Some(Code::Done as i32) => Code::Done,
            _ => Code::SelfRemovalFailed,
        }
    }
}

/// In that process: waits until it is told, and removes this program.
pub fn run_on_request() -> Result<Code> {
    let own = OwnExecutable::find()?;
    if child::wait_for_start() {
        own.remove()?;
    }
    Ok(Code::Done)
}

/// The file that this program runs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnExecutable {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnExecutable {
    /// As the kernel knows it (`proc_pid_exe(5)`).
    pub fn find() -> Result<Self> {
        const LINK: &str = "/proc/self/exe";
        let failed = |cause| Error::io(LINK, cause);
        let path = std::fs::read_link(LINK).map_err(failed)?;
        Ok(OwnExecutable { path, identity: root::identity_of(Path::new(LINK)).map_err(failed)? })
    }

    /// Removes it, by the package manager if a package owns it. Code 13, and the command to type, where that is not safe.
    pub fn remove(&self) -> Result<()> {
        let now = OwnExecutable::find().map_err(|error| kept(&error.to_string(), None))?;
        if now.path != self.path {
            return Err(kept("it was moved, replaced or removed during the run", None));
        }
        match manager(&self.path)? {
            Some(manager) => manager.remove(),
            None => unlink(&self.path, self.identity),
        }
    }
}

fn kept(why: &str, command: Option<String>) -> Error {
    let error =
        Error::new(Code::SelfRemovalFailed, format!("--remove-self: vm2docker-self was not removed: {why}"));
    match command {
        Some(command) => error.hint(format!("everything else is done; to remove it: {command}")),
        None => error.hint("everything else is done; remove it yourself, if it is still somewhere"),
    }
}

fn removal_of(path: &Path) -> String {
    format!("rm -- {}", escape::shell_word(path.as_os_str().as_bytes()))
}

/// Whether a file may be other machines' too, by the mount that it is in (`proc_pid_mountinfo(5)`).
fn is_elsewhere(mountinfo: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let is_in = |point: &[u8]| {
        point.is_empty() || path.strip_prefix(point).is_some_and(|rest| rest.starts_with(b"/"))
    };
    let mounts = mounts::parse(mountinfo, b"/");
    let mount = mounts.iter().filter(|mount| is_in(&mount.point)).max_by_key(|mount| mount.point.len());
    mount.is_some_and(|mount| mount.class == Class::Remote)
}

/// Removes the file at `path` if it is the one of this `identity` (device and inode) and has no other name.
fn unlink(path: &Path, identity: (u64, u64)) -> Result<()> {
    let command = || Some(removal_of(path));
    let refused = |why: &str| kept(why, command());
    let failed = |cause: Errno| kept(&cause.to_string(), command());
    let (parent, name) = place::trusted_parent(path).map_err(|refusal| refused(&refusal.to_string()))?;
    match is_alone(parent.as_fd(), name.as_bytes(), identity) {
        Ok(true) => {}
        Ok(false) => {
            return Err(refused("it has another name too (a hard link), and what that is for is not known"));
        }
        Err(Errno::NOENT) => return Err(kept("no file has its name (any more)", None)),
        Err(Errno::STALE) => return Err(kept("another file has its name now", None)),
        Err(cause) => return Err(failed(cause)),
    }
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(|cause| refused(&cause.to_string()))?;
    if is_elsewhere(&mounts, path) {
        return Err(refused("it lies on a network file system, or one of FUSE, which others may see too"));
    }
    let aside = format!(".vm2docker-self-{}", std::process::id());
    fs::renameat_with(&parent, &name, &parent, &aside, RenameFlags::NOREPLACE).map_err(failed)?;
    if is_alone(parent.as_fd(), aside.as_bytes(), identity) == Ok(true) {
        return fs::unlinkat(&parent, &aside, AtFlags::empty()).map_err(failed);
    }
    let back = fs::renameat_with(&parent, &aside, &parent, &name, RenameFlags::NOREPLACE);
    Err(match back {
        Ok(()) => kept("another file took its name at that moment", None),
        Err(_) => {
            kept(&format!("another file took its name at that moment, and is now called {aside}"), None)
        }
    })
}

/// Whether the entry is the file of this identity and that file's only name; `ESTALE` if it is another file.
fn is_alone(parent: BorrowedFd<'_>, name: &[u8], identity: (u64, u64)) -> rustix::io::Result<bool> {
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_dev, stat.st_ino) == identity { Ok(stat.st_nlink == 1) } else { Err(Errno::STALE) }
}

/// A package manager and the package that the program came in.
#[derive(Debug, PartialEq, Eq)]
struct Manager {
    program: String,
    arguments: Vec<String>,
}

/// Which package a path belongs to, by the databases that this program reads, else by rpm's own answer. Code 13 where that
/// cannot be found out: what a package owns is not removed behind its manager's back.
fn manager(path: &Path) -> Result<Option<Manager>> {
    let root = Root::open(Path::new("/")).map_err(|cause| unknown_owner("/", &cause, path))?;
    for family in Family::ALL {
        let command = family.manager().removal_command(&root, path.as_os_str().as_bytes());
        let command = command.map_err(|(file, cause)| unknown_owner(&file, &cause, path))?;
        if let Some(command) = command {
            return Ok(Some(Manager::new(command)));
        }
    }
    by_rpm(&root, path, RPM)
}

fn unknown_owner(what: &str, cause: &dyn std::fmt::Display, path: &Path) -> Error {
    let why = format!("whether a package owns it is not known ({what}: {cause})");
    kept(&why, Some(format!("{}, if none does", removal_of(path))))
}

const RPM: &str = "/usr/bin/rpm";

fn by_rpm(root: &Root, path: &Path, rpm: &'static str) -> Result<Option<Manager>> {
    // Asked without a database, rpm would make one.
    if rpm::database(root).is_none() {
        return Ok(None);
    }
    let mut query = program(rpm);
    let answer = query.args(["-q", "--queryformat", "%{NAME}", "-f", "--"]).arg(path).output();
    let answer = answer.map_err(|cause| unknown_owner(rpm, &cause, path))?;
    let name = String::from_utf8_lossy(&answer.stdout).into_owned();
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if answer.status.success() && is_name {
        return Ok(Some(Manager {
            program: rpm.to_owned(),
            arguments: vec!["-e".to_owned(), "--".to_owned(), name],
        }));
    }
    let said = String::from_utf8_lossy(&answer.stderr).into_owned() + &name;
    // It says the same where it cannot open its database, and complains besides.
    if answer.stderr.is_empty() && said.contains("is not owned by any package") {
        return Ok(None);
    }
    let line = said.lines().next().unwrap_or("no answer");
    Err(unknown_owner(rpm, &escape::escape(line.as_bytes()), path))
}

/// The one thing of the machine that is run, because the user asked for it: what removes packages here.
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

    fn remove(&self) -> Result<()> {
        let command = || Some(format!("{} {}", self.program, self.arguments.join(" ")));
        let ran = program(&self.program).args(&self.arguments).output();
        let ran = ran.map_err(|cause| kept(&format!("{}: {cause}", self.program), command()))?;
        if ran.status.success() {
            return Ok(());
        }
        let line = ran.stderr.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Err(kept(&format!("{} says: {}", self.program, escape::escape(line)), command()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as plain;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// A directory with a file in it that is to go.
    fn own() -> (tempfile::TempDir, PathBuf, (u64, u64)) {
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
    fn only_the_very_file_goes() {
        let (dir, path, identity) = own();
        unlink(&path, identity).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);

        let refuses = |prepare: &dyn Fn(&Path, &Path), left: &[&str], says: &str| {
            let (dir, path, identity) = own();
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
        refuses(
            &|dir, path| plain::rename(path, dir.join("moved")).unwrap(),
            &["moved"],
            "no file has its name",
        );
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
    fn nothing_else_goes_whatever_takes_its_name_meanwhile() {
        let (dir, path, identity) = own();
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
            // Whatever fails below, the other thread ends.
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
                        // The next one, under the name that is free.
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
    fn what_other_machines_see_too_stays() {
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
            assert_eq!(is_elsewhere(TABLE, Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_rpm_cannot_tell_is_not_taken_for_no() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let tool = Path::new("/usr/bin/tool");
        assert_eq!(by_rpm(&root, tool, RPM).unwrap(), None, "there is no database, and none is made");
        plain::create_dir_all(dir.path().join("var/lib/rpm")).unwrap();
        plain::write(dir.path().join("var/lib/rpm/Packages"), "").unwrap();
        let script = |text: &str| {
            let path = dir.path().join(format!("rpm{}", text.len()));
            plain::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            plain::set_permissions(&path, plain::Permissions::from_mode(0o755)).unwrap();
            &*path.into_os_string().into_string().unwrap().leak()
        };
        let nobodys = "echo file /usr/bin/tool is not owned by any package; exit 1";
        assert_eq!(by_rpm(&root, tool, script(nobodys)).unwrap(), None);
        let own = by_rpm(&root, tool, script("printf tool; echo warning >&2")).unwrap().unwrap();
        assert_eq!(own.arguments, ["-e", "--", "tool"]);
        // What it says where it cannot open its database.
        let broken = script(&format!("echo error: cannot open Packages database >&2; {nobodys}"));
        // And: not there; fails; says nothing; says more than a name.
        for rpm in [broken, "/nowhere/rpm", "/bin/false", "/bin/true", "/bin/echo"] {
            let error = by_rpm(&root, tool, rpm).unwrap_err();
            assert_eq!(error.code, Code::SelfRemovalFailed);
            assert!(error.to_string().contains("whether a package owns it"), "{error}");
        }
    }
}

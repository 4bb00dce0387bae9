//! The end of a run that was asked to leave nothing: this program removes its own file, or the package that it came in.
//!
//! What stands at a name can be replaced between a look and the removal. So the file is first given a name that nobody else
//! uses, and only what is then found to be this very file, by device and inode, is removed; anything else gets its name back.

use crate::companion::{self, Companion};
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::out::place;
use crate::pkg::rpm;
use crate::root::{self, Root};
use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The subcommand of the process that does it.
pub const SUBCOMMAND: &str = "remove-self";

/// The process that will remove this program.
#[derive(Debug)]
pub struct Remover(Companion);

impl Remover {
    /// Begins it. Code 1 where no process can be begun.
    pub fn call() -> Result<Self> {
        Companion::begin("--remove-self", &[SUBCOMMAND.into()]).map(Remover)
    }

    /// Lets it go. Code 13 where the program is still there; it has said why.
    pub fn go(mut self) -> Code {
        let told = self.0.tell();
        match told.and_then(|()| self.0.wait()) {
            Ok(ended) if ended.code == Some(Code::Done as i32) => Code::Done,
            _ => Code::Kept,
        }
    }
}

/// In that process: waits until it is told, and removes this program.
pub fn when_told() -> Result<Code> {
    let own = Own::find()?;
    if companion::is_told() {
        own.remove()?;
    }
    Ok(Code::Done)
}

/// The file that this program runs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    path: PathBuf,
    identity: (u64, u64),
}

impl Own {
    /// As the kernel knows it (`proc_pid_exe(5)`).
    pub fn find() -> Result<Self> {
        const LINK: &str = "/proc/self/exe";
        let failed = |cause| Error::io(LINK, cause);
        let path = std::fs::read_link(LINK).map_err(failed)?;
        Ok(Own { path, identity: root::identity_of(Path::new(LINK)).map_err(failed)? })
    }

    /// Removes it, by the package manager if a package owns it. Code 13, and the command to type, where that is not safe.
    pub fn remove(&self) -> Result<()> {
        let now = Own::find().map_err(|error| kept(&error.to_string(), None))?;
        if now.path != self.path {
            return Err(kept("it was moved, replaced or removed during the run", None));
        }
        match manager(&self.path) {
            Some(manager) => manager.remove(),
            None => unlink(&self.path, self.identity),
        }
    }
}

fn kept(why: &str, command: Option<String>) -> Error {
    let error = Error::new(Code::Kept, format!("--remove-self: vm2docker-self was not removed: {why}"));
    match command {
        Some(command) => error.hint(format!("everything else is done; to remove it: {command}")),
        None => error.hint("everything else is done; remove it yourself, if it is still somewhere"),
    }
}

fn removal_of(path: &Path) -> String {
    format!("rm -- {}", escape::shell_word(path.as_os_str().as_bytes()))
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
    program: &'static str,
    arguments: Vec<String>,
}

/// Which package a path belongs to, by dpkg's database as this program reads it, else by rpm's own answer.
fn manager(path: &Path) -> Option<Manager> {
    let root = Root::open(Path::new("/")).ok()?;
    by_dpkg(&root, path).or_else(|| by_rpm(&root, path))
}

/// By the lists of files alone, which are opened so that reading them leaves no access time (`dpkg(1)`, "FILES").
fn by_dpkg(root: &Root, path: &Path) -> Option<Manager> {
    const LISTS: &[u8] = b"var/lib/dpkg/info";
    let path = path.as_os_str().as_bytes();
    let owns = |name: &&Vec<u8>| {
        let list = root.read(&[LISTS, b"/", name].concat()).unwrap_or_default();
        name.ends_with(b".list") && list.split(|&byte| byte == b'\n').any(|line| line == path)
    };
    let names = root.list(LISTS).ok()?;
    let package = names.iter().find(owns)?.strip_suffix(b".list")?;
    let package = String::from_utf8(package.to_vec()).ok()?;
    Some(Manager {
        program: "/usr/bin/dpkg",
        arguments: vec!["--purge".to_owned(), "--".to_owned(), package],
    })
}

fn by_rpm(root: &Root, path: &Path) -> Option<Manager> {
    const PROGRAM: &str = "/usr/bin/rpm";
    // Asked without a database, rpm would make one.
    rpm::database(root)?;
    let mut query = program(PROGRAM);
    let answer = query.args(["-q", "--queryformat", "%{NAME}", "-f", "--"]).arg(path).output().ok()?;
    let name = String::from_utf8(answer.stdout).ok().filter(|_| answer.status.success())?;
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    is_name.then(|| Manager { program: PROGRAM, arguments: vec!["-e".to_owned(), "--".to_owned(), name] })
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
    fn remove(&self) -> Result<()> {
        let command = || Some(format!("{} {}", self.program, self.arguments.join(" ")));
        let ran = program(self.program).args(&self.arguments).output();
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
            assert_eq!(error.code, Code::Kept);
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
                        assert_eq!(error.code, Code::Kept);
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
    fn a_package_is_asked_of_its_own_manager() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("var/lib/dpkg/info");
        plain::create_dir_all(&info).unwrap();
        plain::write(info.join("other.list"), "/.\n/usr/bin/tools\n").unwrap();
        plain::write(info.join("tool.md5sums"), "/usr/bin/tool\n").unwrap();
        plain::write(info.join("tool.list"), "/.\n/usr\n/usr/bin\n/usr/bin/tool\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let by_dpkg = by_dpkg(&root, Path::new("/usr/bin/tool")).unwrap();
        assert_eq!(by_dpkg.arguments, ["--purge", "--", "tool"]);
        assert_eq!(super::by_dpkg(&root, Path::new("/usr/bin/other")), None);
        assert_eq!(
            by_rpm(&root, Path::new("/usr/bin/tool")),
            None,
            "there is no rpm database, and none is made"
        );
    }
}

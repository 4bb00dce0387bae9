//! Partial directory next to the output path: locked by its run, and recognizable if the run is
//! killed.

use super::place::OutputPath;
use crate::context::reader::COMPLETE;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::system::root;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Marker file that identifies a partial directory. It is removed when the context is published.
const MARKER: &str = ".vm2docker-self";
const MARKER_TEXT: &[u8] =
    b"A context that is not finished. `vm2docker-self clean --out DIR` removes it if its run is over.\n";
/// Part of the name between the name of the output and the process ID.
const INFIX: &[u8] = b".partial-";

/// Partial directory of this run. Used by the signal handler to clean up.
pub type CleanupHandle = Arc<Mutex<Option<PartialDir>>>;

/// Directory that only this run writes to.
///
/// A thread renames and removes it. The thread starts before Landlock restricts the run to the
/// directory (see [`crate::system::sandbox`]), so it alone can still change the parent directory.
#[derive(Debug)]
pub struct PartialDir {
    directory: OwnedFd,
    requests: mpsc::Sender<(Request, mpsc::Sender<io::Result<()>>)>,
}

/// Request to the thread.
#[derive(Debug)]
enum Request {
    /// Rename the directory to this name.
    Publish(OsString),
    /// Remove the directory with its files.
    Remove,
}

/// Partial directory with its parent and name.
struct Entry {
    parent: OwnedFd,
    name: Vec<u8>,
    directory: OwnedFd,
}

impl PartialDir {
    /// Creates and locks a partial directory next to `place`.
    ///
    /// Fails with exit code 11 if another run writes the same context. Fails with 20 if the file
    /// system does not store owners and permissions, unless `insecure` allows that.
    pub fn create(place: &OutputPath, insecure: bool) -> Result<Self> {
        let shown = sibling_path(place, &prefix(place));
        let failed = |cause: Errno| {
            Error::io(format!("cannot create {shown}*"), cause.into())
                .hint("--out needs a parent directory that root can write to")
        };
        let parent = rustix::io::fcntl_dupfd_cloexec(place.parent(), 0).map_err(failed)?;
        let name = make_directory(parent.as_fd(), place).map_err(failed)?;
        let directory = open_directory(parent.as_fd(), &name)
            .inspect_err(|_| {
                // `Entry::remove` needs a descriptor. The new directory is empty, and REMOVEDIR
                // removes nothing else.
                let _ = fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
            })
            .map_err(failed)?;
        let entry = Entry { parent, name, directory };
        // Each run locks its own directory before it checks the others. So if two runs start at
        // the same time, at most one continues.
        let prepared = entry.prepare(insecure).and_then(|()| check_siblings(place, &entry.name));
        match prepared {
            Ok(()) => entry.into_partial_dir().map_err(|cause| Error::io(place.shown(), cause)),
            Err(error) => {
                let _ = entry.remove();
                Err(match error {
                    PrepareError::Locked(name) => {
                        let what = format!("another run is writing {}", sibling_path(place, &name));
                        Error::new(Code::Locked, what).hint("wait for it, or choose another --out")
                    }
                    PrepareError::Io(cause) => Error::io(sibling_path(place, &entry.name), cause),
                    PrepareError::Insecure => Error::new(
                        Code::NotStarted,
                        format!(
                            "--out {}: the file system does not store owners and permissions; \
                             anyone with access to the disk could read the context",
                            place.shown()
                        ),
                    )
                    .hint("choose another file system, or use --allow-insecure-target"),
                })
            }
        }
    }

    /// Returns the descriptor of the directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Renames the directory to the name of `place`. Replaces only an empty directory
    /// (`rename(2)`).
    pub(super) fn publish(&self, place: &OutputPath) -> io::Result<()> {
        self.request(Request::Publish(place.name().to_owned()))
    }

    /// Removes the directory with its files.
    pub fn remove(&self) -> io::Result<()> {
        self.request(Request::Remove)
    }

    /// Sends a request to the thread and waits for the result.
    fn request(&self, request: Request) -> io::Result<()> {
        let ended = || io::Error::other("internal error: the thread of the output directory has ended");
        let (reply, result) = mpsc::channel();
        self.requests.send((request, reply)).map_err(|_| ended())?;
        result.recv().map_err(|_| ended())?
    }
}

impl Entry {
    /// Locks the directory, removes access for other users, and writes the marker file.
    fn prepare(&self, insecure: bool) -> std::result::Result<(), PrepareError> {
        if fs::flock(&self.directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(PrepareError::Locked(self.name.clone()));
        }
        // A default ACL of the parent directory is inherited (acl(5)).
        for list in ["system.posix_acl_default", "system.posix_acl_access"] {
            match fs::fremovexattr(&self.directory, list) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        // The set-group-ID bit of the parent directory is inherited too (inode(7)).
        fs::fchmod(&self.directory, Mode::RWXU)?;
        let stat = fs::fstat(&self.directory)?;
        let is_private = Mode::from_raw_mode(stat.st_mode) == Mode::RWXU
            && stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_private && !insecure {
            return Err(PrepareError::Insecure);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marker = fs::openat(&self.directory, MARKER, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::io::write(&marker, MARKER_TEXT)?;
        Ok(())
    }

    /// Removes the marker file and renames the directory to `to`.
    fn publish(&self, to: &OsStr) -> io::Result<()> {
        fs::unlinkat(&self.directory, MARKER, AtFlags::empty())?;
        retry_on_intr(|| fs::fsync(&self.directory))?;
        if !self.is_at(&self.name)? {
            return Err(io::Error::other("another process has moved the partial directory"));
        }
        fs::renameat(&self.parent, self.name.as_slice(), &self.parent, to.as_bytes())?;
        // If fsync(2) fails, the new name may not be on the disk. Rename back: a run that reports
        // an error must not leave a context at the output path.
        retry_on_intr(|| fs::fsync(&self.parent)).or_else(|cause| {
            fs::renameat(&self.parent, to.as_bytes(), &self.parent, self.name.as_slice())?;
            Err(cause.into())
        })
    }

    /// Whether the name in the parent directory is still this directory's. Another process can have
    /// moved it and used its name.
    fn is_at(&self, name: &[u8]) -> io::Result<bool> {
        let opened = fs::fstat(&self.directory)?;
        let at_name = root::stat_at(self.parent.as_fd(), name);
        Ok(at_name.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (opened.st_dev, opened.st_ino)))
    }

    /// Removes the directory with its files.
    fn remove(&self) -> io::Result<()> {
        if !self.is_at(&self.name)? {
            return Ok(());
        }
        // When a signal arrives, the run can still create the file that it is about to create.
        for _ in 0..100 {
            empty(self.directory.as_fd())?;
            match fs::unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => std::thread::sleep(Duration::from_millis(1)),
                result => return Ok(result?),
            }
        }
        Err(Errno::NOTEMPTY.into())
    }

    /// Starts the thread that renames and removes the directory. Removes it if that fails.
    fn into_partial_dir(self) -> io::Result<PartialDir> {
        let entry = Arc::new(self);
        Entry::start_thread(&entry).inspect_err(|_| drop(entry.remove()))
    }

    fn start_thread(entry: &Arc<Self>) -> io::Result<PartialDir> {
        let directory = rustix::io::fcntl_dupfd_cloexec(&entry.directory, 0)?;
        let entry = Arc::clone(entry);
        let (requests, receiver) = mpsc::channel::<(Request, mpsc::Sender<io::Result<()>>)>();
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            for (request, reply) in receiver {
                let result = match request {
                    Request::Publish(name) => entry.publish(&name),
                    Request::Remove => entry.remove(),
                };
                // Cannot fail: `PartialDir::request` waits for the result.
                let _ = reply.send(result);
            }
        })?;
        Ok(PartialDir { directory, requests })
    }
}

/// Removes the partial directory of this run, if there is one.
pub fn remove_scratch(cleanup: &CleanupHandle) {
    if let Some(partial) = cleanup.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The run already reports an error of its own; `clean` can remove the directory later.
        let _ = partial.remove();
    }
}

/// Result of `clean` for one output path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Escaped paths of the removed directories.
    pub removed: Vec<String>,
    /// Escaped paths of the other directories, each with the reason why it was kept.
    pub left: Vec<(String, &'static str)>,
}

/// Removes partial directories that killed runs for `place` have left.
///
/// Removes only directories with the name of a partial directory that this user owns, that no run
/// has locked, and that are empty or contain the marker file or `COMPLETE`.
pub fn clean(place: &OutputPath) -> Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    for name in siblings(place).map_err(|cause| Error::io(place.shown(), cause))? {
        let shown = sibling_path(place, &name);
        match open_abandoned(place.parent(), &name) {
            Ok(partial) => {
                partial.remove().map_err(|cause| Error::io(&shown, cause))?;
                cleaned.removed.push(shown);
            }
            Err(why) => cleaned.left.push((shown, why)),
        }
    }
    Ok(cleaned)
}

/// Opens and locks a partial directory of a killed run, or returns why it is not one.
fn open_abandoned(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<Entry, &'static str> {
    let directory = open_directory(parent, name).map_err(|_| "not a directory")?;
    let stat = fs::fstat(&directory).map_err(|_| "cannot be opened")?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err("owned by another user");
    }
    let parent_stat = fs::fstat(parent).map_err(|_| "cannot be opened")?;
    if stat.st_dev != parent_stat.st_dev {
        return Err("on another file system");
    }
    fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|_| "its run is still active")?;
    let names = root::list_directory(directory.as_fd()).map_err(|_| "cannot be read")?;
    let is_partial = names.is_empty() || is_marked(directory.as_fd()) || names.contains(&COMPLETE.into());
    if !is_partial {
        return Err("has no marker file of a partial context");
    }
    let parent = rustix::io::fcntl_dupfd_cloexec(parent, 0).map_err(|_| "cannot be opened")?;
    Ok(Entry { parent, name: name.to_owned(), directory })
}

fn is_marked(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(marker) = fs::openat(directory, MARKER, flags, Mode::empty()) else { return false };
    let mut text = [0; 256];
    // A run can be killed while it writes the marker file, so a part of the text counts too.
    rustix::io::read(&marker, &mut text).is_ok_and(|length| MARKER_TEXT.starts_with(&text[..length]))
}

/// Fails if another run has locked a partial directory for the same output path.
fn check_siblings(place: &OutputPath, own: &[u8]) -> std::result::Result<(), PrepareError> {
    for name in siblings(place).map_err(PrepareError::Io)? {
        let Ok(directory) = open_directory(place.parent(), &name) else { continue };
        let lock = || fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
        if name != own && lock() == Err(Errno::WOULDBLOCK) {
            return Err(PrepareError::Locked(name));
        }
    }
    Ok(())
}

/// Returns the names of all partial directories for this output path, sorted.
fn siblings(place: &OutputPath) -> io::Result<Vec<Vec<u8>>> {
    let names = root::list_directory(place.parent())?;
    let prefix = prefix(place);
    let is_partial = |name: &Vec<u8>| {
        name.strip_prefix(prefix.as_slice())
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    Ok(names.into_iter().filter(is_partial).collect())
}

fn prefix(place: &OutputPath) -> Vec<u8> {
    [b".", place.name().as_bytes(), INFIX].concat()
}

/// Returns the path of a sibling of the output path, escaped for messages.
fn sibling_path(place: &OutputPath, name: &[u8]) -> String {
    let shown = place.shown();
    let directory = shown.strip_suffix(&escape::escape(OsStr::as_bytes(place.name()))).unwrap_or_default();
    format!("{directory}{}", escape::escape(name))
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Removes all entries of a directory without following symbolic links.
fn empty(directory: BorrowedFd<'_>) -> io::Result<()> {
    for name in root::list_directory(directory)? {
        let mode = root::stat_at(directory, &name)?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Directory {
            empty(open_directory(directory, &name)?.as_fd())?;
            match fs::unlinkat(directory, name.as_slice(), AtFlags::REMOVEDIR) {
                // A file was created meanwhile; the loop in `Entry::remove` tries again.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(cause) => return Err(cause.into()),
            }
        } else {
            fs::unlinkat(directory, name.as_slice(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Creates a directory with the process ID in its name.
///
/// If a killed run with the same process ID has left a directory, a multiple of 2^32 is added.
fn make_directory(parent: BorrowedFd<'_>, place: &OutputPath) -> std::result::Result<Vec<u8>, Errno> {
    let mut number = u64::from(std::process::id());
    loop {
        let name = [&prefix(place), number.to_string().as_bytes()].concat();
        match fs::mkdirat(parent, name.as_slice(), Mode::RWXU) {
            Err(Errno::EXIST) => number += 1 << 32,
            made => return made.map(|()| name),
        }
    }
}

/// Reason why a new directory cannot be used.
enum PrepareError {
    Io(io::Error),
    /// The file system does not store owners and permissions.
    Insecure,
    /// Another run has locked the directory with this name.
    Locked(Vec<u8>),
}

impl From<Errno> for PrepareError {
    fn from(cause: Errno) -> Self {
        PrepareError::Io(cause.into())
    }
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;

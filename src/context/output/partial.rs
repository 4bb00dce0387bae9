//! The directory that grows beside the final name: locked while its run lives, and known again when it has died.

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

/// A file in a partial directory that says whose it is; gone when the context gets its name.
const MARKER: &str = ".vm2docker-self";
const MARKER_TEXT: &[u8] =
    b"A context that is not finished. `vm2docker-self clean --out DIR` removes it if its run is over.\n";
/// Between the name of the output and the number of the run's process.
const INFIX: &[u8] = b".partial-";

/// The partial directory of this run, if there is one, for whoever has to clean up when a signal ends the run.
pub type CleanupHandle = Arc<Mutex<Option<PartialDir>>>;

/// A directory that only this run writes to.
///
/// Its name changes and goes by a thread of its own, begun before the run gives up all rights but those in the directory
/// (see [`crate::system::sandbox`]): so the rest of the run needs none in the parent.
#[derive(Debug)]
pub struct PartialDir {
    directory: OwnedFd,
    orders: mpsc::Sender<(Order, mpsc::Sender<io::Result<()>>)>,
}

/// What the thread can be told.
#[derive(Debug)]
enum Order {
    /// Give the directory this name.
    Settle(OsString),
    Remove,
}

/// A directory with its name, and how both go.
struct Named {
    parent: OwnedFd,
    name: Vec<u8>,
    directory: OwnedFd,
}

impl PartialDir {
    /// Makes and locks one beside `place`.
    ///
    /// Code 11 where another run is making the same context; 20 where the file system keeps nobody out and `insecure` does
    /// not allow that.
    pub fn create(place: &OutputPath, insecure: bool) -> Result<Self> {
        let shown = beside(place, &prefix(place));
        let failed = |cause: Errno| {
            Error::io(format!("cannot make {shown}*"), cause.into())
                .hint("--out needs a parent directory that root can write to")
        };
        let parent = rustix::io::fcntl_dupfd_cloexec(place.parent(), 0).map_err(failed)?;
        let name = make_directory(parent.as_fd(), place).map_err(failed)?;
        // Without a descriptor nobody can keep it. It was made just now, and is removed only if it is empty.
        let unmake = |_: &Errno| {
            let _ = fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
        };
        let directory = open_directory(parent.as_fd(), &name).inspect_err(unmake).map_err(failed)?;
        let partial = Named { parent, name, directory };
        // Of two runs that begin at once each has its own lock before it looks for the other's, so that never both go on.
        let prepared = partial.prepare(insecure).and_then(|()| check_siblings(place, &partial.name));
        match prepared {
            Ok(()) => partial.keep().map_err(|cause| Error::io(place.shown(), cause)),
            Err(error) => {
                let _ = partial.remove();
                Err(match error {
                    Unfit::Taken(name) => {
                        let what = format!("another run is writing {}", beside(place, &name));
                        Error::new(Code::Locked, what).hint("wait for it, or choose another --out")
                    }
                    Unfit::Io(cause) => Error::io(beside(place, &partial.name), cause),
                    Unfit::Open => Error::new(
                        Code::NotStarted,
                        format!("--out {}: the file system keeps no owners or permissions, so that whoever has it can read the context", place.shown()),
                    )
                    .hint("choose another file system, or accept it with --allow-insecure-target"),
                })
            }
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Gives the directory its final name, in place of an empty directory and nothing else (`rename(2)`).
    pub(super) fn settle(&self, place: &OutputPath) -> io::Result<()> {
        self.order(Order::Settle(place.name().to_owned()))
    }

    /// Removes the directory and what is in it.
    pub fn remove(&self) -> io::Result<()> {
        self.order(Order::Remove)
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let gone = || io::Error::other("the thread that keeps the output directory has ended");
        let (answer, answered) = mpsc::channel();
        self.orders.send((order, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Named {
    /// Locks, says whose it is, and closes what the parent's default list of rights (`acl(5)`) may have opened.
    fn prepare(&self, insecure: bool) -> std::result::Result<(), Unfit> {
        if fs::flock(&self.directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(Unfit::Taken(self.name.clone()));
        }
        for list in ["system.posix_acl_default", "system.posix_acl_access"] {
            match fs::fremovexattr(&self.directory, list) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        // A parent hands its own set-group bit down, too.
        fs::fchmod(&self.directory, Mode::RWXU)?;
        let stat = fs::fstat(&self.directory)?;
        let is_private = Mode::from_raw_mode(stat.st_mode) == Mode::RWXU
            && stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_private && !insecure {
            return Err(Unfit::Open);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marker = fs::openat(&self.directory, MARKER, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::io::write(&marker, MARKER_TEXT)?;
        Ok(())
    }

    /// Gives the directory its final name, in place of an empty directory and nothing else (`rename(2)`).
    fn settle(&self, to: &OsStr) -> io::Result<()> {
        fs::unlinkat(&self.directory, MARKER, AtFlags::empty())?;
        retry_on_intr(|| fs::fsync(&self.directory))?;
        fs::renameat(&self.parent, self.name.as_slice(), &self.parent, to.as_bytes())?;
        // Whether the new name is on the disk is not known: whoever is told of a failure finds nothing under it.
        retry_on_intr(|| fs::fsync(&self.parent)).or_else(|cause| {
            fs::renameat(&self.parent, to.as_bytes(), &self.parent, self.name.as_slice())?;
            Err(cause.into())
        })
    }

    /// Removes the directory and what is in it.
    fn remove(&self) -> io::Result<()> {
        // Its name may be another object's by now.
        let named = root::stat_at(self.parent.as_fd(), &self.name);
        let mine = fs::fstat(&self.directory)?;
        if !named.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (mine.st_dev, mine.st_ino)) {
            return Ok(());
        }
        // A signal may come while the run makes one more file; it makes no second one then.
        for _ in 0..100 {
            empty(self.directory.as_fd())?;
            match fs::unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => std::thread::sleep(Duration::from_millis(1)),
                result => return Ok(result?),
            }
        }
        Err(Errno::NOTEMPTY.into())
    }

    /// Hands the name to a thread.
    fn keep(self) -> io::Result<PartialDir> {
        let kept = Arc::new(self);
        Named::hand_over(&kept).inspect_err(|_| drop(kept.remove()))
    }

    fn hand_over(kept: &Arc<Self>) -> io::Result<PartialDir> {
        let directory = rustix::io::fcntl_dupfd_cloexec(&kept.directory, 0)?;
        let keeper = Arc::clone(kept);
        let (orders, ordered) = mpsc::channel::<(Order, mpsc::Sender<io::Result<()>>)>();
        let keep = move || {
            for (order, answer) in ordered {
                let done = match order {
                    Order::Settle(name) => keeper.settle(&name),
                    Order::Remove => keeper.remove(),
                };
                // Who has asked waits.
                let _ = answer.send(done);
            }
        };
        std::thread::Builder::new().name("output".to_owned()).spawn(keep)?;
        Ok(PartialDir { directory, orders })
    }
}

/// Removes the partial directory of this run, if there is one.
pub fn remove_scratch(scratch: &CleanupHandle) {
    if let Some(partial) = scratch.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing can be done about a failure here, and the run has its own error to report.
        let _ = partial.remove();
    }
}

/// What `clean` did beside one output directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Removed, by escaped name.
    pub removed: Vec<String>,
    /// Left alone, with the reason.
    pub left: Vec<(String, &'static str)>,
}

/// Removes what killed runs for `place` have left, and only what is provably theirs: a private directory of this user
/// under the name that a run gives, whose run is over, and which says itself what it is.
pub fn clean(place: &OutputPath) -> Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    for name in siblings(place).map_err(|cause| Error::io(place.shown(), cause))? {
        let shown = beside(place, &name);
        match claim(place.parent(), &name) {
            Ok(partial) => {
                partial.remove().map_err(|cause| Error::io(&shown, cause))?;
                cleaned.removed.push(shown);
            }
            Err(why) => cleaned.left.push((shown, why)),
        }
    }
    Ok(cleaned)
}

/// The directory if it is provably what a killed run left.
fn claim(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<Named, &'static str> {
    let directory = open_directory(parent, name).map_err(|_| "no directory")?;
    let stat = fs::fstat(&directory).map_err(|_| "cannot be looked at")?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err("of another user");
    }
    let above = fs::fstat(parent).map_err(|_| "cannot be looked at")?;
    if stat.st_dev != above.st_dev {
        return Err("another file system");
    }
    fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|_| "its run is not over")?;
    let names = root::list_directory(directory.as_fd()).map_err(|_| "cannot be read")?;
    let is_ours = names.is_empty() || is_marked(directory.as_fd()) || names.contains(&COMPLETE.into());
    if !is_ours {
        return Err("does not say that it is a context");
    }
    let parent = rustix::io::fcntl_dupfd_cloexec(parent, 0).map_err(|_| "cannot be looked at")?;
    Ok(Named { parent, name: name.to_owned(), directory })
}

fn is_marked(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(marker) = fs::openat(directory, MARKER, flags, Mode::empty()) else { return false };
    let mut text = [0; 256];
    // A run that was killed while it wrote this has written nothing else.
    rustix::io::read(&marker, &mut text).is_ok_and(|length| MARKER_TEXT.starts_with(&text[..length]))
}

/// Refuses to begin beside a run for the same output that is not over.
fn check_siblings(place: &OutputPath, own: &[u8]) -> std::result::Result<(), Unfit> {
    for name in siblings(place).map_err(Unfit::Io)? {
        let Ok(directory) = open_directory(place.parent(), &name) else { continue };
        let lock = || fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
        if name != own && lock() == Err(Errno::WOULDBLOCK) {
            return Err(Unfit::Taken(name));
        }
    }
    Ok(())
}

/// The names that runs for this output give, sorted.
fn siblings(place: &OutputPath) -> io::Result<Vec<Vec<u8>>> {
    let names = root::list_directory(place.parent())?;
    let prefix = prefix(place);
    let is_ours = |name: &Vec<u8>| {
        name.strip_prefix(prefix.as_slice())
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    Ok(names.into_iter().filter(is_ours).collect())
}

fn prefix(place: &OutputPath) -> Vec<u8> {
    [b".", place.name().as_bytes(), INFIX].concat()
}

fn beside(place: &OutputPath, name: &[u8]) -> String {
    let shown = place.shown();
    let directory = shown.strip_suffix(&escape::escape(OsStr::as_bytes(place.name()))).unwrap_or_default();
    format!("{directory}{}", escape::escape(name))
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Removes everything in a directory of ours; nobody else can write to it, and no link is followed.
fn empty(directory: BorrowedFd<'_>) -> io::Result<()> {
    for name in root::list_directory(directory)? {
        let mode = root::stat_at(directory, &name)?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Directory {
            empty(open_directory(directory, &name)?.as_fd())?;
            match fs::unlinkat(directory, name.as_slice(), AtFlags::REMOVEDIR) {
                // Found again by whoever empties the directory above.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(cause) => return Err(cause.into()),
            }
        } else {
            fs::unlinkat(directory, name.as_slice(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Makes a directory under a name of this process; of an earlier one with the same number something may be left.
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

/// Why a directory that was made cannot hold a context.
enum Unfit {
    Io(io::Error),
    /// Whoever has the disk can read it.
    Open,
    /// Another run has this one locked.
    Taken(Vec<u8>),
}

impl From<Errno> for Unfit {
    fn from(cause: Errno) -> Self {
        Unfit::Io(cause.into())
    }
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;

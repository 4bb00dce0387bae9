//! Snapshots of directories, to check afterwards that nothing in them changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Metadata that changes with an object's content or inode. Access times are included for files
/// only: reading a link always changes its access time, and taking the snapshot changes that of a
/// directory.
#[derive(PartialEq, Eq)]
struct Object {
    inode: (u64, u64),
    mode: u32,
    links: u64,
    owner: (u32, u32),
    size: u64,
    times: [(i64, i64); 3],
}

/// Directory trees and the mount table at one moment.
pub struct Snapshot {
    objects: BTreeMap<PathBuf, Object>,
    mounts: String,
}

impl Snapshot {
    /// Looks at everything in `directories`.
    pub fn take(directories: &[PathBuf]) -> io::Result<Self> {
        let mut objects = BTreeMap::new();
        for directory in directories {
            add(&mut objects, directory)?;
        }
        Ok(Snapshot { objects, mounts: fs::read_to_string("/proc/self/mountinfo")? })
    }

    /// Returns the differences, one per line.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let gone = self.objects.keys().filter(|path| !now.objects.contains_key(*path));
        let gone = gone.map(|path| format!("{} is gone", path.display()));
        let other = now.objects.iter().filter(|(path, object)| self.objects.get(*path) != Some(*object));
        let other = other.map(|(path, _)| match self.objects.contains_key(path) {
            true => format!("{} was changed", path.display()),
            false => format!("{} was made", path.display()),
        });
        let mounts = (self.mounts != now.mounts).then(|| "the mount table changed".to_owned());
        gone.chain(other).chain(mounts).collect()
    }
}

fn add(objects: &mut BTreeMap<PathBuf, Object>, path: &Path) -> io::Result<()> {
    let stat = fs::symlink_metadata(path)?;
    let object = Object {
        inode: (stat.dev(), stat.ino()),
        mode: stat.mode(),
        links: stat.nlink(),
        owner: (stat.uid(), stat.gid()),
        size: stat.size(),
        times: [
            if stat.is_file() { (stat.atime(), stat.atime_nsec()) } else { (0, 0) },
            (stat.mtime(), stat.mtime_nsec()),
            (stat.ctime(), stat.ctime_nsec()),
        ],
    };
    objects.insert(path.to_owned(), object);
    if stat.is_dir() {
        for entry in fs::read_dir(path)? {
            add(objects, &entry?.path())?;
        }
    }
    Ok(())
}

//! Finds files that processes write to through shared memory mappings.
//!
//! A write to a mapping updates the file's timestamps only if the page was clean before
//! (`mmap(2)`). While the page is dirty, further writes leave no trace. So the file itself does
//! not show whether its content is consistent, and this module finds the processes that can write
//! it.

use super::process_files;
use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{self, Receiver, Sender};

/// Maximum size in bytes of one process's `maps` file. A process can have 65,530 mappings of 100
/// bytes and a path each.
const MAX_TEXT: u64 = 64 << 20;

/// Files that a process has mapped shared and writable.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    /// Device and inode number as in `maps`. On Btrfs and overlayfs, `stat(2)` returns others.
    inodes: BTreeSet<(u64, u64)>,
    /// Absolute paths in the mount namespace of this process.
    paths: BTreeSet<Vec<u8>>,
}

impl Mappings {
    /// Whether a file is mapped, by device and inode number or by absolute path.
    pub fn holds(&self, identity: (u64, u64), path: &[u8]) -> bool {
        self.inodes.contains(&identity) || self.paths.contains(path)
    }

    /// Adds the files that processes have mapped now.
    ///
    /// Ignores processes that have ended, because they no longer write, and unreadable `maps`
    /// files, because the reader of processes reports them.
    fn look(&mut self) {
        let Ok(entries) = std::fs::read_dir("/proc") else { return };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            if is_process && let Ok(file) = File::open(std::path::Path::new("/proc").join(&name).join("maps"))
            {
                let mut text = Vec::new();
                let _ = file.take(MAX_TEXT).read_to_end(&mut text);
                self.add(&text);
            }
        }
    }

    fn add(&mut self, maps: &[u8]) {
        for (device, inode, path) in process_files::shared_and_writable(maps) {
            self.inodes.insert((device, inode));
            self.paths.insert(path);
        }
    }
}

/// Thread that reads the mappings twice: when it starts and on request.
///
/// The first write to a mapping that was created in between changes the file's timestamps. A
/// separate thread is necessary because a thread that `landlock(7)` restricts cannot read other
/// processes in `/proc`.
#[derive(Debug)]
pub struct Watch {
    ask: Sender<()>,
    answer: Receiver<Mappings>,
}

impl Watch {
    /// Starts the thread and the first read. Fails with exit code 1 if the thread cannot be
    /// started.
    pub fn start() -> Result<Self> {
        let (ask, asked) = mpsc::channel::<()>();
        let (send, answer) = mpsc::channel();
        let thread = std::thread::Builder::new().name("mappings".to_owned());
        let started = thread.spawn(move || answer_requests(&asked, &send));
        started.map_err(|cause| Error::new(Code::Failed, format!("a thread cannot be started: {cause}")))?;
        Ok(Watch { ask, answer })
    }

    /// Returns the files that were mapped at the start or are mapped now.
    pub fn finish(&self) -> Mappings {
        // Sending does not fail, because the thread runs until this object is dropped.
        let _ = self.ask.send(());
        self.answer.recv().unwrap_or_default()
    }
}

/// Reads the mappings at once and again for each request, and sends all that it has found.
fn answer_requests(asked: &Receiver<()>, answers: &Sender<Mappings>) {
    let mut mappings = Mappings::default();
    mappings.look();
    while asked.recv().is_ok() {
        mappings.look();
        if answers.send(mappings.clone()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_keeps_shared_writable_mappings() {
        let maps = b"55d0-55d1 rw-s 00000000 fd:10 77 /var/lib/a b\n\
            55d1-55d2 rw-p 00000000 fd:10 78 /var/lib/private\n\
            55d2-55d3 r--s 00000000 fd:10 79 /var/lib/read\n\
            55d3-55d4 rw-s 00000000 00:01 80 /dev/zero (deleted)\n\
            55d4-55d5 rw-s 00000000 fd:10 81 /srv/line\\012break\n\
            55d5-55d6 rw-s 00000000 00:00 0\n";
        let mut mappings = Mappings::default();
        mappings.add(maps);
        let device = rustix::fs::makedev(0xfd, 0x10);
        let inodes: Vec<(u64, u64)> =
            mappings.inodes.iter().copied().filter(|(at, _)| *at == device).collect();
        assert_eq!(inodes, [(device, 77), (device, 81)]);
        assert!(mappings.holds((0, 0), b"/var/lib/a b") && mappings.holds((0, 0), b"/srv/line\nbreak"));
        assert!(mappings.holds((device, 77), b"/another/name"));
        assert!(!mappings.holds((device, 78), b"/var/lib/private"));
        assert!(!mappings.holds((device, 79), b"/var/lib/read"));
    }

    #[test]
    fn watch_finish_returns_mappings() {
        assert!(!Watch::start().unwrap().finish().holds((0, 0), b"/nobody"));
    }
}

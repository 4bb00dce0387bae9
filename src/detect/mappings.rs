//! Files that processes write to through memory.
//!
//! A store to a shared map changes the file and nothing else: its times move when the page is first written after it was
//! clean, and then not for as long as it stays dirty (`mmap(2)`). No look at the file tells whether what was read is a state
//! that the writer meant, so its writers are looked for.

use super::process_files;
use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{self, Receiver, Sender};

/// Bytes of one process's maps; it may have 65,530 of 100 bytes and a path.
const MAX_TEXT: u64 = 64 << 20;

/// The files that some process has mapped shared and writable.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    /// Device and inode, as the kernel names them there: not what `stat(2)` says on Btrfs and overlays.
    inodes: BTreeSet<(u64, u64)>,
    /// Absolute, as this process sees them.
    paths: BTreeSet<Vec<u8>>,
}

impl Mappings {
    /// Whether a file is one of them, by device and inode or by its absolute path.
    pub fn holds(&self, identity: (u64, u64), path: &[u8]) -> bool {
        self.inodes.contains(&identity) || self.paths.contains(path)
    }

    /// Adds what processes have mapped now. Those that end meanwhile write nothing any more; whose maps this process may
    /// not read is told of by the reader of processes.
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

/// Looks for them twice: when it begins, and when it is asked. A map that was made in between makes the file's times move.
///
/// A thread of its own, because one that `landlock(7)` restricts may not look into others' processes.
#[derive(Debug)]
pub struct Watch {
    ask: Sender<()>,
    answer: Receiver<Mappings>,
}

impl Watch {
    /// Looks for the first time. Code 1 where there can be no thread.
    pub fn start() -> Result<Self> {
        let (ask, asked) = mpsc::channel::<()>();
        let (give, answer) = mpsc::channel();
        let watch = move || {
            let mut mappings = Mappings::default();
            mappings.look();
            while asked.recv().is_ok() {
                mappings.look();
                if give.send(mappings.clone()).is_err() {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("mappings".to_owned()).spawn(watch);
        started.map_err(|cause| Error::new(Code::Failed, format!("a thread cannot be started: {cause}")))?;
        Ok(Watch { ask, answer })
    }

    /// What was mapped then and is now.
    pub fn finish(&self) -> Mappings {
        // The thread ends only with this object.
        let _ = self.ask.send(());
        self.answer.recv().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_maps_that_can_be_written_count() {
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
    fn a_watch_ends_with_its_last_look() {
        assert!(!Watch::start().unwrap().finish().holds((0, 0), b"/nobody"));
    }
}

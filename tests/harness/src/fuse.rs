//! A small FUSE server without a library, over `/dev/fuse` (`fuse(4)`, `linux/fuse.h`), for file
//! systems with deliberate faults.

use crate::Result;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The part of a name that marks a file or directory as one that misbehaves.
pub const FAULTY: &str = "faulty";
/// Longest request: the least that the kernel accepts is 8 KiB (`FUSE_MIN_READ_BUFFER`).
const REQUEST: usize = 1 << 17;
/// Bytes of a request's header.
const HEADER: usize = 40;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is ever answered, but that it is there.
    Hang,
    /// Every answer takes this long.
    Slow(Duration),
    /// Faulty files cannot be read.
    Eio,
    /// Faulty files have other content at each read, and new timestamps.
    Changing,
}

/// How often each request was made, by name; `open NAME` for files.
pub type Counts = BTreeMap<String, usize>;

/// A mounted file system; dropped, it is gone.
pub struct Mounted {
    point: PathBuf,
    counts: Arc<Mutex<Counts>>,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Mounted {
    /// Serves what `tree` holds now at `point`.
    pub fn new(tree: &Path, point: &Path, mode: Mode, kind: &str) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        mount(Some("badfs"), point, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(&*options))?;
        let counts = Arc::new(Mutex::new(Counts::new()));
        let mut nodes = Vec::new();
        load(tree, 1, &mut nodes)?;
        let over = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&counts), Arc::clone(&over));
        let server = Server { device, mode, nodes, counts: shared.0, over: shared.1, moment: 0 };
        let server = Some(std::thread::spawn(move || server.serve()));
        Ok(Mounted { point: point.to_owned(), counts, over, server })
    }

    /// The requests so far, without the kernel's greeting.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // Ends requests that wait for an answer.
        let _ = umount2(&self.point, MntFlags::MNT_FORCE);
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct Node {
    name: Vec<u8>,
    parent: u64,
    mode: u32,
    content: Vec<u8>,
}

/// A node's number is its place plus one: FUSE's root has number 1.
fn load(path: &Path, parent: u64, nodes: &mut Vec<Node>) -> Result<()> {
    let stat = fs::symlink_metadata(path)?;
    let mode = std::os::unix::fs::MetadataExt::mode(&stat);
    let content = match mode & libc::S_IFMT {
        libc::S_IFREG => fs::read(path)?,
        libc::S_IFLNK => fs::read_link(path)?.into_os_string().into_encoded_bytes(),
        _ => Vec::new(),
    };
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    nodes.push(Node { name, parent, mode, content });
    let number = nodes.len() as u64;
    if stat.is_dir() {
        for entry in fs::read_dir(path)? {
            load(&entry?.path(), number, nodes)?;
        }
    }
    Ok(())
}

struct Server {
    device: File,
    mode: Mode,
    nodes: Vec<Node>,
    counts: Arc<Mutex<Counts>>,
    over: Arc<AtomicBool>,
    /// Goes on at every look at something that changes.
    moment: u64,
}

/// An answer: what follows the header, an error, or none at all.
type Answer = std::result::Result<Vec<u8>, Errno>;

impl Server {
    fn serve(mut self) {
        let mut request = vec![0; REQUEST];
        loop {
            match self.device.read(&mut request) {
                Ok(length) if length >= HEADER => self.answer(&request[..length]),
                // The kernel abandoned the request meanwhile.
                Err(cause) if cause.raw_os_error() == Some(libc::ENOENT) => {}
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                // ENODEV: it was unmounted.
                _ => return,
            }
        }
    }

    fn answer(&mut self, request: &[u8]) {
        let (code, unique, node) = (u32_at(request, 4), &request[8..16], u64_at(request, 16));
        let body = &request[HEADER..];
        let is_greeting = code == 26;
        if !is_greeting {
            self.count(code, node);
            match self.mode {
                Mode::Hang => return,
                Mode::Slow(pause) => self.dawdle(pause),
                Mode::Eio | Mode::Changing => {}
            }
        }
        // FORGET, INTERRUPT and BATCH_FORGET want no answer.
        if matches!(code, 2 | 36 | 42) {
            return;
        }
        let (error, content) = match self.content(code, node, body) {
            Ok(content) => (0, content),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let mut answer = ((16 + content.len()) as u32).to_le_bytes().to_vec();
        answer.extend(error.to_le_bytes());
        answer.extend(unique);
        answer.extend(content);
        // Ignored: ENOENT means that the request was interrupted and no process waits for the
        // answer.
        let _ = self.device.write(&answer);
    }

    /// Sleeps in short intervals, so that an unmount does not wait for the end of the pause.
    fn dawdle(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.over.load(Relaxed) {
            std::thread::sleep(pause.min(Duration::from_millis(10)));
        }
    }

    fn content(&mut self, code: u32, number: u64, body: &[u8]) -> Answer {
        match code {
            1 => self.look_up(number, body),
            3 => Ok([vec![0; 16], self.attributes(number)?].concat()),
            5 => Ok(self.node(number)?.content.clone()),
            // FOPEN_DIRECT_IO: every read comes to us.
            14 | 27 => Ok([&[0; 8], &1u32.to_le_bytes()[..], &[0; 4]].concat()),
            15 => self.read(number, body),
            17 => {
                Ok([vec![0; 40], 4096u32.to_le_bytes().to_vec(), 255u32.to_le_bytes().to_vec(), vec![0; 32]]
                    .concat())
            }
            18 | 25 | 29 => Ok(Vec::new()),
            26 => Ok(greeting(body)),
            28 => self.list(number, body),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn node(&self, number: u64) -> std::result::Result<&Node, Errno> {
        self.nodes.get(number as usize - 1).ok_or(Errno::ESTALE)
    }

    fn is_faulty(&self, number: u64) -> bool {
        self.node(number).is_ok_and(|node| String::from_utf8_lossy(&node.name).contains(FAULTY))
    }

    fn children(&self, number: u64) -> impl Iterator<Item = (u64, &Node)> {
        let numbered = self.nodes.iter().enumerate().map(|(place, node)| (place as u64 + 1, node));
        numbered.filter(move |(child, node)| node.parent == number && *child != 1)
    }

    fn look_up(&mut self, number: u64, body: &[u8]) -> Answer {
        let name = body.strip_suffix(b"\0").unwrap_or(body);
        let found = self.children(number).find(|(_, node)| node.name == name).map(|(child, _)| child);
        let child = found.ok_or(Errno::ENOENT)?;
        // Number, generation, and no time for which anything is valid.
        Ok([child.to_le_bytes().to_vec(), vec![0; 32], self.attributes(child)?].concat())
    }

    fn attributes(&mut self, number: u64) -> Answer {
        let changes = self.mode == Mode::Changing && self.is_faulty(number);
        self.moment += u64::from(changes);
        let time = 1_600_000_000 + if changes { self.moment } else { 0 };
        let node = self.node(number)?;
        let size = node.content.len() as u64;
        let mut attributes = Vec::new();
        for value in [number, size, size.div_ceil(512), time, time, time] {
            attributes.extend(value.to_le_bytes());
        }
        // Nanoseconds, mode, links, owner, device, block size, flags.
        for value in [0, 0, 0, node.mode, 1, 0, 0, 0, 4096, 0] {
            attributes.extend(value.to_le_bytes());
        }
        Ok(attributes)
    }

    fn read(&mut self, number: u64, body: &[u8]) -> Answer {
        let (offset, size) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
        let is_faulty = self.is_faulty(number);
        if is_faulty && self.mode == Mode::Eio {
            return Err(Errno::EIO);
        }
        let mut content = self.node(number)?.content.clone();
        if is_faulty && self.mode == Mode::Changing {
            self.moment += 1;
            content.fill(b'a' + (self.moment % 26) as u8);
        }
        let end = content.len().min(offset + size);
        Ok(content.get(offset..end).unwrap_or_default().to_vec())
    }

    fn list(&self, number: u64, body: &[u8]) -> Answer {
        if self.mode == Mode::Eio && self.is_faulty(number) {
            return Err(Errno::EIO);
        }
        let (offset, size) = (u64_at(body, 8), u32_at(body, 16) as usize);
        let mut entries = Vec::new();
        for (place, (child, node)) in self.children(number).enumerate().skip(offset as usize) {
            let mut entry = child.to_le_bytes().to_vec();
            entry.extend((place as u64 + 1).to_le_bytes());
            entry.extend((node.name.len() as u32).to_le_bytes());
            entry.extend((node.mode >> 12).to_le_bytes());
            entry.extend(&node.name);
            entry.resize(entry.len().next_multiple_of(8), 0);
            if entries.len() + entry.len() > size {
                break;
            }
            entries.extend(entry);
        }
        Ok(entries)
    }

    fn count(&self, code: u32, number: u64) {
        let name = match code {
            14 => {
                let node = self.node(number).map(|node| String::from_utf8_lossy(&node.name).into_owned());
                format!("open {}", node.unwrap_or_default())
            }
            code => format!("request {code}"),
        };
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }
}

/// Protocol 7.31 without any of its options.
fn greeting(body: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    for value in [7, 31, u32_at(body, 8), 0] {
        answer.extend(value.to_le_bytes());
    }
    // Requests in the background, and how much is written at once.
    answer.extend([16, 0, 12, 0]);
    answer.extend(65536u32.to_le_bytes());
    answer.resize(64, 0);
    answer
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

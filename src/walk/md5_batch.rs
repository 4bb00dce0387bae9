//! Reads several files at once in one thread, to compute their MD5s with SIMD (see [`md5_lanes`]).

use super::content::{Aspects, Reading, StableFile};
use crate::model::digest::{Algorithm, Digest, Md5, Sha256};
use crate::model::holes::Coverage;
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::file::{Moment, is_unchanged, open_with_stat};
use md5::Digest as _;
use md5_lanes::{BLOCK, LANES, START, State};
use rustix::fs;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Size of one read, in bytes. The buffers of eight files fit in the L2 cache of one core.
const CHUNK: usize = 64 << 10;
/// Space for the padding of MD5, at most 72 bytes (RFC 1321, section 3.1).
const PADDING: usize = 2 * BLOCK;

/// The same properties for a file that is read alone after an error in its lane.
const ALONE: Aspects = Aspects { coverage: Some(Coverage::All), claimed: Some(Algorithm::Md5), search: None };

/// A file to read.
pub trait Wanted {
    /// Returns the name of the file in its directory.
    fn name(&self) -> &[u8];
}

/// A queue of files, and the files that one thread reads at the same time.
pub struct Md5Batch<T> {
    waiting: VecDeque<(Arc<OwnedFd>, T)>,
    lanes: Vec<Lane<T>>,
    buffers: Vec<Box<[u8]>>,
}

impl<T> Default for Md5Batch<T> {
    fn default() -> Self {
        Md5Batch { waiting: VecDeque::new(), lanes: Vec::new(), buffers: Vec::new() }
    }
}

impl<T: Wanted> Md5Batch<T> {
    /// Adds a file in `directory` to the queue.
    pub fn add(&mut self, directory: Arc<OwnedFd>, wanted: T) {
        self.waiting.push_back((directory, wanted));
    }

    /// Reads while all lanes are in use. The remaining files wait for later ones, because full
    /// lanes make better use of the CPU.
    pub fn run(&mut self, done: &mut impl FnMut(BorrowedFd<'_>, T, io::Result<Reading>)) {
        while self.start(done) == LANES {
            self.advance(done);
        }
    }

    /// Reads all files in the queue.
    pub fn finish(&mut self, done: &mut impl FnMut(BorrowedFd<'_>, T, io::Result<Reading>)) {
        while self.start(done) > 0 {
            self.advance(done);
        }
    }

    /// Opens queued files into free lanes; returns the number of lanes in use.
    fn start(&mut self, done: &mut impl FnMut(BorrowedFd<'_>, T, io::Result<Reading>)) -> usize {
        while self.lanes.len() < LANES
            && let Some((directory, wanted)) = self.waiting.pop_front()
        {
            match open_with_stat(directory.as_fd(), wanted.name()) {
                Ok((file, before)) => {
                    let buffer = self.buffers.pop().unwrap_or_else(|| vec![0; CHUNK + PADDING].into());
                    self.lanes.push(Lane::new(
                        directory,
                        wanted,
                        CacheNeutralReader::new(file.into()),
                        before,
                        buffer,
                    ));
                }
                // Reading the file alone retries and reports the error in the usual way.
                Err(_) => done_alone(&directory, wanted, done),
            }
        }
        self.lanes.len()
    }

    /// Hashes as many blocks as every lane has read, and completes lanes at the end of their file.
    fn advance(&mut self, done: &mut impl FnMut(BorrowedFd<'_>, T, io::Result<Reading>)) {
        let mut at = 0;
        while at < self.lanes.len() {
            match self.lanes[at].refill() {
                Ok(true) => at += 1,
                Ok(false) => {
                    let (buffer, directory, wanted, reading) = self.lanes.swap_remove(at).end();
                    self.buffers.push(buffer);
                    match reading {
                        Some(reading) => done(directory.as_fd(), wanted, Ok(reading)),
                        None => done_alone(&directory, wanted, done),
                    }
                }
                // Reading the file alone retries and reports the error in the usual way.
                Err(_) => {
                    let lane = self.lanes.swap_remove(at);
                    self.buffers.push(lane.buffer);
                    done_alone(&lane.directory, lane.wanted, done);
                }
            }
        }
        match &mut self.lanes[..] {
            [] => {}
            [lane] => md5::block_api::compress(&mut lane.md5, lane.buffer[lane.at..lane.end].as_chunks().0),
            lanes => compress(lanes),
        }
        let blocks = self.lanes.iter().map(|lane| lane.end - lane.at).min().unwrap_or(0);
        self.lanes.iter_mut().for_each(|lane| lane.at += blocks);
    }
}

fn done_alone<T: Wanted>(
    directory: &OwnedFd,
    wanted: T,
    done: &mut impl FnMut(BorrowedFd<'_>, T, io::Result<Reading>),
) {
    let reading = super::content::read(directory.as_fd(), wanted.name(), ALONE);
    done(directory.as_fd(), wanted, reading);
}

fn compress<T>(lanes: &mut [Lane<T>]) {
    // The function needs a message in each lane: unused lanes repeat the first, without a result.
    let of = |at: usize| &lanes[if at < lanes.len() { at } else { 0 }];
    let mut states: [State; LANES] = std::array::from_fn(|at| of(at).md5);
    md5_lanes::compress(
        &mut states,
        std::array::from_fn(|at| of(at).buffer[of(at).at..of(at).end].as_chunks().0),
    );
    lanes.iter_mut().zip(states).for_each(|(lane, state)| lane.md5 = state);
}

/// A file that is being read.
struct Lane<T> {
    directory: Arc<OwnedFd>,
    wanted: T,
    file: CacheNeutralReader,
    before: fs::Stat,
    began: Moment,
    size: u64,
    sha256: sha2::Sha256,
    md5: State,
    /// The current chunk, followed by the padding if it is the last.
    buffer: Box<[u8]>,
    /// Range of the buffer, in whole blocks, that is not yet in the MD5.
    at: usize,
    end: usize,
    ended: bool,
}

impl<T> Lane<T> {
    fn new(
        directory: Arc<OwnedFd>,
        wanted: T,
        file: CacheNeutralReader,
        before: fs::Stat,
        buffer: Box<[u8]>,
    ) -> Self {
        Lane {
            directory,
            wanted,
            file,
            before,
            began: Moment::now(),
            size: 0,
            sha256: sha2::Sha256::new(),
            md5: START,
            buffer,
            at: 0,
            end: 0,
            ended: false,
        }
    }

    /// Reads the next chunk if the current one is hashed; returns `false` at the end of the file.
    fn refill(&mut self) -> io::Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        let mut end = 0;
        // Short reads are repeated: only the last chunk can end inside a block.
        while end < CHUNK && !self.ended {
            let got = self.file.read(&mut self.buffer[end..CHUNK])?;
            self.ended = got == 0 || self.size + (end + got) as u64 == self.before.st_size as u64;
            end += got;
        }
        self.sha256.update(&self.buffer[..end]);
        self.size += end as u64;
        (self.at, self.end) = (0, end);
        if self.ended {
            self.pad();
        }
        Ok(true)
    }

    /// Appends the padding: a one bit, zeros, and the message length in bits (RFC 1321, section 3).
    fn pad(&mut self) {
        let length = (self.end + 1 + 8).next_multiple_of(BLOCK);
        self.buffer[self.end..length].fill(0);
        self.buffer[self.end] = 0x80;
        self.buffer[length - 8..length].copy_from_slice(&self.size.wrapping_mul(8).to_le_bytes());
        self.end = length;
    }

    /// Returns the buffer, the file's identity and its reading; no reading if the file changed.
    fn end(self) -> (Box<[u8]>, Arc<OwnedFd>, T, Option<Reading>) {
        let Lane { directory, wanted, file, before, began, size, sha256, buffer, .. } = self;
        let mut md5 = Md5::default();
        md5.as_chunks_mut().0.iter_mut().zip(self.md5).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        let file = file.forget();
        let stat = fs::fstat(&file)
            .ok()
            .filter(|after| is_unchanged(&before, after) && after.st_size as u64 == size)
            .filter(|after| began.is_long_after(after));
        let reading = stat.map(|stat| {
            let sha256: Sha256 = sha256.finalize().into();
            Reading::Stable(Box::new(StableFile {
                file,
                stat,
                coverage: Coverage::All,
                size,
                sha256: Some(sha256),
                claimed: Some(Digest::Md5(md5)),
                secret: None,
                growing: false,
            }))
        });
        (buffer, directory, wanted, reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::File;

    impl Wanted for String {
        fn name(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn md5_batch_any_file_length_equals_single_read() {
        let dir = tempfile::tempdir().unwrap();
        let lengths = [
            0,
            1,
            55,
            56,
            63,
            64,
            65,
            119,
            120,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            3 * CHUNK + 57,
            1,
            0,
            9 * CHUNK,
        ];
        for (number, length) in lengths.iter().enumerate() {
            let content: Vec<u8> = (0..*length).map(|at| (at * 7 + at / 251 + number) as u8).collect();
            std::fs::write(dir.path().join(number.to_string()), content).unwrap();
        }
        std::fs::create_dir(dir.path().join("folder")).unwrap();

        let fd = Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
        let mut batch = Md5Batch::default();
        let mut seen = BTreeMap::new();
        let mut done = |_: BorrowedFd<'_>, name: String, reading: io::Result<Reading>| {
            drop(seen.insert(name, show(reading)))
        };
        let names = (0..lengths.len()).map(|number| number.to_string());
        for name in names.chain(["folder", "none"].map(str::to_owned)) {
            batch.add(Arc::clone(&fd), name);
            batch.run(&mut done);
        }
        batch.finish(&mut done);
        assert_eq!(seen.len(), lengths.len() + 2);
        for (name, reading) in seen {
            assert_eq!(
                reading,
                show(crate::walk::content::read(fd.as_fd(), name.as_bytes(), ALONE)),
                "{name}"
            );
        }
    }

    fn show(reading: io::Result<Reading>) -> String {
        match reading {
            Ok(Reading::Stable(file)) => {
                format!("{} {:?} {:?}", file.size, file.sha256, file.claimed)
            }
            other => format!("{other:?}"),
        }
    }
}

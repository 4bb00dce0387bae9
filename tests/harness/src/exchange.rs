//! `exchange`: replaces directories with links to a victim's directories outside the root, while
//! the root is converted. No context may contain files of the victim.

use crate::Result;
use crate::args::Args;
use crate::contents;
use crate::filter::Filter;
use crate::report::{self, Problems};
use crate::roots;
use crate::seal;
use crate::syscalls;
use crate::trial::{self, Trial};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Content of the victim's files, and the name of the files that only the victim has. No other
/// file has either text.
const CANARY: &str = "CANARY-5d8f0b7c1e9a4f36";
const VICTIM_ONLY: &str = "victim-only-83c41d";
/// Directories that are swapped: one that is walked, and those that the program looks into by
/// name.
const SWAPPED: &[&str] =
    &["home/eve/swap", "etc/systemd/system", "etc/cron.d", "var/lib/dpkg/info", "srv/a/b"];
/// A run with fewer exchanges than this has not been raced with.
const LEAST_IN_RUN: u64 = 10;

/// Runs `exchange --root DIR --victim DIR [--swaps N] [--runs N] [--resolver NAME] --
/// COMMAND...`. Creates both directories.
pub fn run(words: &[String]) -> Result<bool> {
    let known = [trial::OPTIONS, &["root", "victim", "swaps", "runs", "resolver"]].concat();
    let args = Args::parse(words, &known, &[])?;
    let path = |name: &str| args.one(name).map(PathBuf::from).ok_or(format!("--{name} DIR is missing"));
    let race = Race::prepare(&path("root")?, &path("victim")?)?;
    let resolver = args.one("resolver").unwrap_or_else(|| "openat2".to_owned());
    let mut trial = Trial::new(&args)?;
    let mut problems = Problems::default();
    let by_kernel = trial.reference()?;
    trial.filter = filter(&resolver)?;
    if trial.reference()? != by_kernel {
        problems.add("undisturbed, the other resolver makes another context", "");
    }
    let wanted: u64 = args.parsed("swaps")?.unwrap_or(100_000);
    let least_runs: u64 = args.parsed("runs")?.unwrap_or(1);
    let (mut inside, mut runs, mut raced) = (0, 0, 0);
    std::thread::scope(|threads| -> Result<()> {
        threads.spawn(|| race.swap());
        let result = (|| {
            while inside < wanted || runs < least_runs {
                let swaps = race.run(&trial, &mut problems)?;
                inside += swaps;
                runs += 1;
                raced += u64::from(swaps >= LEAST_IN_RUN);
            }
            Ok(())
        })();
        race.over.store(true, Relaxed);
        result
    })?;
    if raced * 10 < runs * 9 {
        problems.add(&format!("only {raced} of {runs} runs were raced with"), "");
    }
    report::end(&format!("exchange-{resolver}"), inside as usize, &format!("within {runs} runs"), &problems)
}

fn filter(resolver: &str) -> Result<Option<Filter>> {
    let openat2 = syscalls::numbers(&["openat2"]);
    match resolver {
        "openat2" => Ok(None),
        "enosys" => Ok(Some(Filter::failing(&openat2, Errno::ENOSYS as i32))),
        // The seccomp filters of old container engines return EPERM for unknown calls.
        "eperm" => Ok(Some(Filter::failing(&openat2, Errno::EPERM as i32))),
        _ => Err(format!("--resolver {resolver}: choose from openat2 enosys eperm").into()),
    }
}

struct Race {
    /// A directory and the link that takes its place.
    pairs: Vec<(PathBuf, PathBuf)>,
    digests: Vec<String>,
    swaps: AtomicU64,
    running: AtomicBool,
    over: AtomicBool,
}

impl Race {
    fn prepare(root: &Path, victim: &Path) -> Result<Self> {
        roots::make(root)?;
        let root = root.canonicalize()?;
        fs::create_dir_all(victim)?;
        let victim = victim.canonicalize()?;
        let mut digests = Vec::new();
        let mut pairs = Vec::new();
        for (number, place) in SWAPPED.iter().enumerate() {
            let directory = root.join(place);
            for file in 0..5 {
                roots::write(&directory.join(format!("data-{file}.conf")), b"harmless\n")?;
            }
            // The same names lead to something else there.
            for entry in fs::read_dir(&directory)? {
                let content = format!("{CANARY} {place} {:?}\n", entry.as_ref().map(fs::DirEntry::path));
                let name = entry?.file_name();
                roots::write(&victim.join(number.to_string()).join(name), content.as_bytes())?;
                digests.push(seal::hex(content.as_bytes()));
            }
            let there = victim.join(number.to_string());
            roots::write(&there.join(VICTIM_ONLY), CANARY.as_bytes())?;
            let link = directory.with_extension("link");
            // Absolute and relative in turn: both leave the root if they are followed.
            let up = "../".repeat(link.components().count() - 2);
            let relative = PathBuf::from(up).join(there.strip_prefix("/")?);
            symlink(if number % 2 == 0 { there } else { relative }, &link)?;
            pairs.push((directory, link));
        }
        digests.push(seal::hex(CANARY.as_bytes()));
        let (swaps, running, over) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Ok(Race { pairs, digests, swaps, running, over })
    }

    /// Swaps all pairs whenever a run is going on.
    fn swap(&self) {
        while !self.over.load(Relaxed) {
            if !self.running.load(Relaxed) {
                std::thread::yield_now();
                continue;
            }
            for (directory, link) in &self.pairs {
                if renameat2(AT_FDCWD, directory, AT_FDCWD, link, RenameFlags::RENAME_EXCHANGE).is_ok() {
                    self.swaps.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// One conversion; returns how many exchanges it saw.
    fn run(&self, trial: &Trial, problems: &mut Problems) -> Result<u64> {
        trial.clear()?;
        let before = self.swaps.load(Relaxed);
        let mut child = trial.start()?;
        self.running.store(true, Relaxed);
        let status = child.wait();
        self.running.store(false, Relaxed);
        let swaps = self.swaps.load(Relaxed) - before;
        let status = status?;
        let output = trial.output()?;
        if !matches!(status.code(), Some(0 | 3)) {
            problems.add(&format!("the run: {}", trial::ended(status)), &output);
        } else if let Err(what) = seal::check(&trial.out) {
            problems.add(&format!("not whole: {what}"), "");
        } else {
            for (name, content) in contents::files(&trial.out)? {
                self.search(&name, &content, problems);
            }
        }
        self.search("the terminal", output.as_bytes(), problems);
        Ok(swaps)
    }

    fn search(&self, name: &str, content: &[u8], problems: &mut Problems) {
        let digests = self.digests.iter().map(String::as_str);
        let mut found = [CANARY, VICTIM_ONLY].into_iter().chain(digests);
        if let Some(found) = found.find(|text| contents::holds(content, text.as_bytes())) {
            problems.add(&format!("{name} holds what is the victim's"), found);
        }
    }
}

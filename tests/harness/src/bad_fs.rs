//! `bad-fs`: converts a root with a file system that hangs, is slow, fails or changes, mounted
//! inside the root or as the root.

use crate::Result;
use crate::args::Args;
use crate::contents;
use crate::fuse::{FAULTY, Mode, Mounted};
use crate::report::{self, Problems};
use crate::roots;
use crate::trial::{self, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How much longer than undisturbed a run may take that has such a file system in its root.
const GRACE: Duration = Duration::from_secs(5);
/// Maximum time that a hanging run takes to end after a signal.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Where they are mounted: where the walk comes by, and where configuration is looked for by
/// name.
const PLACES: &[&str] = &[
    "mnt/bad",
    "home/eve/remote",
    "etc/cron.d",
    "etc/systemd/system",
    "etc/apt",
    "var/lib/dpkg/info",
    "home",
    "root",
];
/// Files that misbehave, where the file system is the root itself.
const FILES: usize = 20;
/// Number of attempts to read a changing file.
const TRIES: usize = 3;

/// Runs `bad-fs --root DIR [--modes NAME,...] -- COMMAND...`. `{root}` in the command is replaced
/// by the root. Creates DIR.
pub fn run(words: &[String]) -> Result<bool> {
    let args = Args::parse(words, &[trial::OPTIONS, &["root", "modes"]].concat(), &[])?;
    let root = args.one("root").map(PathBuf::from).ok_or("--root DIR is missing")?;
    roots::make(&root)?;
    for number in 0..FILES {
        roots::write(&root.join(format!("srv/{FAULTY}-{number:02}")), &vec![b'x'; 5000 * (number + 1)])?;
    }
    roots::write(&root.join(format!("srv/{FAULTY}-directory/inside")), b"hidden\n")?;
    for place in PLACES {
        fs::create_dir_all(root.join(place))?;
    }
    let place = root.with_extension("mounted");
    fs::create_dir_all(&place)?;
    let trial = Trial::new(&args)?;
    let modes = modes(&args.one("modes").unwrap_or_else(|| "hang,slow,eio,changing".to_owned()))?;
    let mut bad = BadFs { trial, modes, root, place, stuck: None, problems: Problems::default(), runs: 0 };
    bad.inside()?;
    bad.as_root()?;
    report::end(
        "bad-fs",
        bad.runs,
        "runs with a file system that hangs, dawdles, fails or changes",
        &bad.problems,
    )
}

fn modes(names: &str) -> Result<Vec<Mode>> {
    let mode = |name| match name {
        "hang" => Ok(Mode::Hang),
        // Longer than a run waits. If the file system is the root itself, the delay is shorter.
        "slow" => Ok(Mode::Slow(Duration::from_secs(60))),
        "eio" => Ok(Mode::Eio),
        "changing" => Ok(Mode::Changing),
        _ => Err(format!("--modes {name}: choose from hang slow eio changing").into()),
    };
    names.split(',').map(mode).collect()
}

struct BadFs {
    trial: Trial,
    modes: Vec<Mode>,
    root: PathBuf,
    place: PathBuf,
    /// A killed run that the kernel keeps until the file system is gone.
    stuck: Option<Child>,
    problems: Problems,
    runs: usize,
}

impl BadFs {
    /// Checks a mount inside the root: it is not one of the machine's disks, so the run does not
    /// read it and reports a finding.
    fn inside(&mut self) -> Result<()> {
        let usual = self.convert(&self.root.clone(), GRACE * 4)?.1;
        for mode in self.modes.clone() {
            for place in PLACES {
                let kind = if mode == Mode::Hang { "fuse" } else { "fuse.badfs" };
                let mounted = Mounted::new(&self.root.join("srv"), &self.root.join(place), mode, kind)?;
                let (status, took) = self.convert(&self.root.clone(), usual + GRACE)?;
                let touched = mounted.counts();
                self.unmount(mounted)?;
                let place = format!("{mode:?} at /{place}");
                match status {
                    None => self.problem(&format!("{place}: no end after {} s", took.as_secs())),
                    Some(status) if matches!(status.code(), Some(0 | 3)) => self.is_reported(&place),
                    Some(status) => self.problem(&format!("{place}: {}", trial::ended(status))),
                }
                if !touched.is_empty() {
                    let detail = format!("{touched:?}");
                    self.problems.add(&format!("{place}: was touched"), &detail);
                }
            }
        }
        Ok(())
    }

    fn is_reported(&mut self, place: &str) {
        let path = place.split_once('/').map_or("", |(_, path)| path);
        let findings = self.findings();
        if !findings.lines().any(|line| contents::value(line, "path") == Some(format!("/{path}"))) {
            self.problem(&format!("{place}: in no finding"));
        }
    }

    /// Checks a mount as the root: the run reads it and reports the files that it cannot read.
    fn as_root(&mut self) -> Result<()> {
        self.convert(&self.root.clone(), GRACE * 4)?;
        let expected = self.digests()?;
        for mode in self.modes.clone() {
            let mode = match mode {
                Mode::Hang => {
                    self.ends_after_signal()?;
                    continue;
                }
                Mode::Slow(_) => Mode::Slow(Duration::from_millis(1)),
                mode => mode,
            };
            let mounted = Mounted::new(&self.root, &self.place, mode, "fuse.badfs")?;
            let (status, _) = self.convert(&self.place.clone(), Duration::from_secs(120))?;
            let counts = mounted.counts();
            self.unmount(mounted)?;
            let code = status.and_then(|status| status.code());
            let wanted = if matches!(mode, Mode::Slow(_)) { 0 } else { 3 };
            if code != Some(wanted) {
                let output = self.trial.output()?;
                self.problems.add(&format!("{mode:?} as the root: {code:?} instead of {wanted}"), &output);
                continue;
            }
            self.compare(mode, &expected, &self.digests()?);
            if wanted == 3 {
                self.losses_are_reported(mode);
            }
            if mode == Mode::Changing {
                self.is_retried(&counts);
            }
        }
        Ok(())
    }

    /// Checks that the files without faults are unchanged.
    fn compare(&mut self, mode: Mode, expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) {
        let wanted = |path: &str| !path.contains(FAULTY) || matches!(mode, Mode::Slow(_));
        let wrong: Vec<&str> = expected
            .iter()
            .filter(|(path, digest)| wanted(path) && found.get(*path) != Some(*digest))
            .map(|(path, _)| path.as_str())
            .collect();
        if !wrong.is_empty() {
            self.problem(&format!("{mode:?} as the root: not as they were: {}", wrong.join(" ")));
        }
        let is_faulty = |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains(FAULTY));
        let invented = found.keys().find(|path| is_faulty(path) && !wanted(path));
        if let Some(path) = invented {
            self.problem(&format!("{mode:?} as the root: {path} has content"));
        }
    }

    fn losses_are_reported(&mut self, mode: Mode) {
        let findings = self.findings();
        let reported = |path: &str| {
            let is_loss = |line: &&str| line.contains(r#""severity":"loss""#);
            let is_it = |line: &str| contents::value(line, "path").as_deref() == Some(path);
            findings.lines().filter(is_loss).any(is_it)
        };
        let mut expected: Vec<String> =
            (0..FILES).map(|number| format!("/srv/{FAULTY}-{number:02}")).collect();
        if mode == Mode::Eio {
            expected.push(format!("/srv/{FAULTY}-directory"));
        }
        for path in expected.iter().filter(|path| !reported(path)) {
            self.problem(&format!("{mode:?} as the root: {path} is not reported as a loss"));
        }
    }

    fn is_retried(&mut self, counts: &BTreeMap<String, usize>) {
        for number in 0..FILES {
            let name = format!("{FAULTY}-{number:02}");
            let tries = counts.get(&format!("open {name}")).copied().unwrap_or(0);
            if tries < TRIES {
                self.problem(&format!("Changing as the root: {name} was read {tries} times only"));
            }
        }
    }

    /// Checks that a run that hangs in the kernel ends after a signal and leaves no files. If the
    /// FUSE server has accepted a request, the kernel interrupts the call only after the server
    /// has answered or ended.
    fn ends_after_signal(&mut self) -> Result<()> {
        self.trial.clear()?;
        let mounted = Mounted::new(&self.root, &self.place, Mode::Hang, "fuse.badfs")?;
        let mut child = self.start(&self.place.clone())?;
        std::thread::sleep(Duration::from_secs(1));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
        std::thread::sleep(Duration::from_secs(1));
        drop(mounted);
        let status = wait(&mut child, LAST_WORDS)?;
        self.runs += 1;
        match status {
            Some(status) if status.code() == Some(143) => {}
            Some(status) => self.problem(&format!("Hang as the root, SIGTERM: {}", trial::ended(status))),
            None => {
                child.wait()?;
                self.problem("Hang as the root, SIGTERM: no end");
            }
        }
        if !self.trial.left()?.is_empty() {
            self.problem("Hang as the root, SIGTERM: something is left");
        }
        Ok(())
    }

    fn unmount(&mut self, mounted: Mounted) -> Result<()> {
        drop(mounted);
        if let Some(mut child) = self.stuck.take() {
            child.wait()?;
        }
        Ok(())
    }

    fn start(&self, root: &Path) -> Result<Child> {
        let root = root.display().to_string();
        self.trial.start_with(|word| word.replace("{root}", &root))
    }

    /// One run with this root; no status if it did not end in time.
    fn convert(&mut self, root: &Path, limit: Duration) -> Result<(Option<ExitStatus>, Duration)> {
        self.trial.clear()?;
        let began = Instant::now();
        let mut child = self.start(root)?;
        let status = wait(&mut child, limit)?;
        let took = began.elapsed();
        self.stuck = status.is_none().then_some(child);
        self.runs += 1;
        Ok((status, took))
    }

    fn digests(&self) -> Result<BTreeMap<String, String>> {
        let files = contents::files(&self.trial.out)?;
        Ok(files.get("manifest.jsonl").map(|text| contents::digests(text)).unwrap_or_default())
    }

    fn findings(&self) -> String {
        fs::read_to_string(self.trial.out.join("findings.jsonl")).unwrap_or_default()
    }

    fn problem(&mut self, what: &str) {
        self.problems.add(what, "");
    }
}

/// Waits until the child ends; after `limit` it is killed, and still to be waited for.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    Ok(None)
}

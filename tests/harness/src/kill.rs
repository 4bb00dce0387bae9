//! `kill-points`: checks what a killed run leaves. It is killed at each call that changes
//! something, or at random times.

use crate::Result;
use crate::args::Args;
use crate::filter::Filter;
use crate::points;
use crate::random::Random;
use crate::report::{self, Problems};
use crate::seal::{self, Seal};
use crate::syscalls::{self, CHANGING};
use crate::tracer::{End, Step};
use crate::trial::{self, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Every so many kills, a run follows beside what the killed one left.
const NEXT_RUN_EVERY: usize = 50;
/// Part of the random kills that must hit a running program, in per cent.
const LEAST_INSIDE: usize = 80;
/// Part of the signals that may come before the program handles them, in per cent.
const MOST_UNPREPARED: usize = 20;
/// Maximum time that a run takes to end after a signal.
const LONGEST_END: Duration = Duration::from_secs(2);

/// Runs `kill-points [--limit N | --random N [--signal NAME]] [--clean PROGRAM] [--check SCRIPT]
/// -- COMMAND...`.
pub fn run(words: &[String]) -> Result<bool> {
    let known = [trial::OPTIONS, &["limit", "random", "seed", "signal", "clean", "check"]].concat();
    let args = Args::parse(words, &known, &[])?;
    let trial = Trial::new(&args)?;
    let cleaner = Cleaner::new(&args)?;
    let reference = trial.reference()?;
    match args.parsed("random")? {
        Some(count) => {
            let signal = args.parsed("signal")?.unwrap_or(Signal::SIGKILL);
            let random = Random::new(args.parsed("seed")?.unwrap_or(1));
            at_random(&trial, &cleaner, &reference, Shots { count, random, signal })
        }
        None => at_points(&trial, &cleaner, &reference, args.parsed("limit")?),
    }
}

fn at_points(trial: &Trial, cleaner: &Cleaner, reference: &Seal, limit: Option<usize>) -> Result<bool> {
    let filter = Filter::tracing(&syscalls::numbers(CHANGING));
    let mut calls = Vec::new();
    trial.trace(&filter, |call| {
        if call.changes() {
            calls.push(call.describe());
        }
        Step::Go
    })?;
    trial.clear()?;
    let mut problems = Problems::default();
    let mut killed = 0;
    for point in points::choose(&calls, limit) {
        let mut passed = 0;
        let mut at = String::new();
        let end = trial.trace(&filter, |call| {
            if !call.changes() {
                return Step::Go;
            }
            passed += 1;
            if passed <= point {
                return Step::Go;
            }
            at = call.describe();
            Step::Kill
        })?;
        match end {
            End::Signal(_) => killed += 1,
            // With threads the number of calls is not always the same.
            End::Exit(0) if at.is_empty() => {}
            end => problems.add(&format!("ended with {end:?} before it was killed"), &trial.output()?),
        }
        if point % NEXT_RUN_EVERY == 0 {
            next_run(trial, reference, &mut problems)?;
        }
        for problem in trial.after_kill(reference, cleaner)? {
            problems.add(&problem, &format!("killed at call {point}: {at}"));
        }
        trial.clear()?;
    }
    let note = format!("{} changing calls in a run{}", calls.len(), cleaner.note());
    report::end("kill-points", killed, &note, &problems)
}

/// Signals at random times.
struct Shots {
    count: usize,
    random: Random,
    signal: Signal,
}

fn at_random(trial: &Trial, cleaner: &Cleaner, reference: &Seal, shots: Shots) -> Result<bool> {
    let Shots { count, mut random, signal } = shots;
    let mut problems = Problems::default();
    let mut usual = usual_duration(trial)?;
    let (mut inside, mut unprepared) = (0, 0);
    for _ in 0..count {
        let mut child = trial.start()?;
        let pause = random.below(usual.as_micros() as u64);
        std::thread::sleep(Duration::from_micros(pause));
        // Still not waited for, so that the number is this child's.
        kill(Pid::from_raw(child.id() as i32), signal)?;
        let began = Instant::now();
        let status = child.wait()?;
        if began.elapsed() > LONGEST_END {
            problems.add(&format!("{signal}: the end took longer than {} s", LONGEST_END.as_secs()), "");
        }
        match (status.signal(), status.code()) {
            (Some(by), _) if by == signal as i32 => {
                inside += 1;
                unprepared += usize::from(signal != Signal::SIGKILL);
            }
            (None, Some(code)) if code == 128 + signal as i32 => {
                inside += 1;
                for path in trial.left()?.iter().filter(|path| **path != trial.out) {
                    let left = list(path);
                    problems.add(&format!("exit {code} leaves a partial directory"), &left);
                }
            }
            // Too late: runs have become faster than those that were measured.
            (None, Some(0)) => usual = (usual * 3 + Duration::from_micros(pause)) / 4,
            _ => problems.add(&trial::ended(status), &trial.output()?),
        }
        for problem in trial.after_kill(reference, cleaner)? {
            problems.add(&problem, &format!("{signal} after {pause} us"));
        }
        trial.clear()?;
    }
    let share = inside * 100 / count.max(1);
    if share < LEAST_INSIDE {
        problems.add(&format!("only {share} % of the kills hit a running program"), "");
    }
    // Before the run installs its handlers, there are no files to remove. That takes an instant,
    // not a share of the run.
    if unprepared * 100 > count * MOST_UNPREPARED {
        problems.add(&format!("{unprepared} of {count} signals were not handled"), "");
    }
    let note = format!("{share} % inside runs of {} ms{}", usual.as_millis(), cleaner.note());
    report::end(&format!("kill-random {signal}"), count, &note, &problems)
}

fn list(directory: &Path) -> String {
    seal::names(directory).unwrap_or_default().join(" ")
}

/// The shortest of some runs: most kills are to come before a run's end.
fn usual_duration(trial: &Trial) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        trial.clear()?;
        let began = Instant::now();
        trial.start()?.wait()?;
        shortest = shortest.min(began.elapsed());
    }
    trial.clear()?;
    Ok(shortest)
}

/// Checks that the files of a killed run do not disturb the next run, and that the next run does
/// not change them.
fn next_run(trial: &Trial, reference: &Seal, problems: &mut Problems) -> Result<()> {
    if trial.out.exists() {
        return Ok(());
    }
    let before = trial.left()?;
    let status = trial.start()?.wait()?;
    if !status.success() {
        problems.add(&format!("the next run: {}", trial::ended(status)), &trial.output()?);
    }
    match seal::check(&trial.out) {
        Ok(seal) if seal == *reference => {}
        Ok(_) => problems.add("the next run made another context", ""),
        Err(what) => problems.add(&format!("the next run: {what}"), ""),
    }
    let left = trial.left()?;
    if !before.iter().all(|path| left.contains(path)) {
        problems.add("the next run removed what another one left", "");
    }
    Ok(())
}

/// The program's own command that removes files of killed runs, if it has one, and the caller's
/// script.
pub struct Cleaner {
    program: Option<String>,
    check: Option<String>,
}

impl Cleaner {
    fn new(args: &Args) -> Result<Self> {
        let mut program = args.one("clean");
        if let Some(path) = &program {
            let help = Command::new(path).arg("--help").output()?;
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            if !help.lines().any(|line| line.trim_start().starts_with("clean ")) {
                program = None;
            }
        }
        Ok(Cleaner { program, check: args.one("check") })
    }

    /// Cleans and says what is wrong after it.
    pub fn clean(&self, trial: &Trial) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        if let Some(check) = &self.check {
            let status = Command::new("sh").args(["-c", check, "check"]).arg(&trial.out).status()?;
            if !status.success() {
                problems.push(format!("the check: {}", trial::ended(status)));
            }
        }
        let Some(program) = &self.program else { return Ok(problems) };
        let cleaned = Command::new(program).args(["clean", "--out"]).arg(&trial.out).output()?;
        if !cleaned.status.success() {
            problems.push(format!("clean: {}", trial::ended(cleaned.status)));
        }
        for path in trial.left()?.iter().filter(|path| **path != trial.out) {
            problems.push(format!("clean left {}", trial::name_of(path)));
        }
        Ok(problems)
    }

    fn note(&self) -> &'static str {
        if self.program.is_some() { ", each cleaned" } else { "; the program has no `clean`" }
    }
}

//! `error-points`: checks that a run fails cleanly or reports its losses if the kernel returns an
//! error from any of its calls.

use crate::Result;
use crate::args::Args;
use crate::filter::Filter;
use crate::points;
use crate::report::{self, Problems};
use crate::seal::{self, Seal};
use crate::syscalls;
use crate::tracer::{End, Step};
use crate::trial::{self, Trial};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;

/// Exit codes of vm2docker-self. Any other code is unexpected.
const CODES: &[i32] = &[0, 1, 2, 3, 5, 10, 20];

/// `error-points --class CLASS... --errno NAME... [--first N] -- COMMAND...`.
pub fn run(words: &[String]) -> Result<bool> {
    let known = [trial::OPTIONS, &["class", "errno", "first"]].concat();
    let args = Args::parse(words, &known, &[])?;
    let trial = Trial::new(&args)?;
    let reference = trial.reference()?;
    let errnos = args.all("errno").iter().map(|name| errno(name)).collect::<Result<Vec<_>>>()?;
    let mut problems = Problems::default();
    let mut total = 0;
    for class in args.all("class") {
        let probe = Probe::new(&trial, &reference, &class, args.parsed("first")?)?;
        for &errno in &errnos {
            let before = problems.count();
            let injected = probe.run(errno, &mut problems)?;
            total += injected;
            println!("{class} {errno:?}: {injected} injected, {} problems", problems.count() - before);
        }
    }
    let note = format!("{} classes x {} errors", args.all("class").len(), errnos.len());
    report::end("error-points", total, &note, &problems)
}

/// The calls of one class.
struct Probe<'a> {
    trial: &'a Trial,
    reference: &'a Seal,
    class: String,
    filter: Filter,
    points: Vec<usize>,
    usual_findings: BTreeSet<String>,
}

impl<'a> Probe<'a> {
    fn new(trial: &'a Trial, reference: &'a Seal, class: &str, first: Option<usize>) -> Result<Self> {
        let filter = Filter::tracing(&syscalls::numbers(syscalls::class(class)?));
        let mut calls = Vec::new();
        trial.clear()?;
        trial.trace(&filter, |call| {
            calls.push(call.describe());
            Step::Go
        })?;
        let points = points::choose(&calls, first);
        let class = class.to_owned();
        let mut probe = Probe { trial, reference, class, filter, points, usual_findings: BTreeSet::new() };
        probe.usual_findings = probe.findings().lines().map(str::to_owned).collect();
        Ok(probe)
    }

    /// Fails each of the calls once; returns how many were hit.
    fn run(&self, errno: Errno, problems: &mut Problems) -> Result<usize> {
        let mut injected = 0;
        for &point in &self.points {
            self.trial.clear()?;
            let mut passed = 0;
            let mut at = String::new();
            let end = self.trial.trace(&self.filter, |call| {
                passed += 1;
                if passed != point + 1 {
                    return Step::Go;
                }
                at = call.describe();
                // close(2) gives the descriptor up whatever it returns.
                if self.class == "close" { Step::FailAfter(errno) } else { Step::Fail(errno) }
            })?;
            injected += usize::from(!at.is_empty());
            for problem in self.judge(end)? {
                // Numbers of processes and descriptors would make every problem one of its own.
                let place = general(&at);
                let output = self.trial.output()?;
                let detail = format!("first {errno:?} from call {point} of class {}: {output}", self.class);
                problems.add(&format!("{place}: {problem}"), &detail);
            }
        }
        self.trial.clear()?;
        Ok(injected)
    }

    fn judge(&self, end: End) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let output = self.trial.output()?;
        match end {
            _ if output.contains("panicked") => problems.push(format!("panic, {end:?}")),
            End::Exit(0) => problems.extend(self.judge_success()),
            End::Exit(3) => problems.extend(self.judge_loss()),
            End::Exit(code) if CODES.contains(&code) => {}
            end => problems.push(format!("{end:?}")),
        }
        for path in self.trial.left()? {
            let name = trial::name_of(&path);
            let is_result = name == trial::NAME && matches!(end, End::Exit(0 | 3));
            if !is_result {
                let whole = if seal::check(&path).is_ok() { "whole" } else { "not whole" };
                problems.push(format!("{end:?} leaves {} ({whole})", general(&name)));
            }
        }
        problems.extend(self.trial.changed()?);
        Ok(problems)
    }

    /// Success means that the error made no difference at all.
    fn judge_success(&self) -> Option<String> {
        match seal::check(&self.trial.out) {
            Ok(seal) if seal == *self.reference => None,
            Ok(seal) => {
                let told = match self.new_findings() {
                    0 => "and says nothing",
                    _ => "and calls it a note",
                };
                let files = seal::differences(self.reference, &seal);
                Some(format!("exit 0 with other {files} {told}"))
            }
            Err(what) => Some(format!("exit 0, not whole: {what}")),
        }
    }

    fn findings(&self) -> String {
        fs::read_to_string(self.trial.out.join("findings.jsonl")).unwrap_or_default()
    }

    /// How many findings the undisturbed run has not.
    fn new_findings(&self) -> usize {
        let findings = self.findings();
        findings.lines().filter(|line| !self.usual_findings.contains(*line)).count()
    }

    /// Checks that the context is complete and that its findings report the loss.
    fn judge_loss(&self) -> Option<String> {
        if let Err(what) = seal::check(&self.trial.out) {
            return Some(format!("exit 3, not whole: {what}"));
        }
        let is_reported = self.findings().lines().any(|line| line.contains(r#""severity":"loss""#));
        (!is_reported).then(|| "exit 3 without a loss in findings.jsonl".to_owned())
    }
}

/// The text with every number replaced.
fn general(text: &str) -> String {
    let mut general = String::new();
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if general.ends_with('#') => {}
            true => general.push('#'),
            false => general.push(character),
        }
    }
    general
}

fn errno(name: &str) -> Result<Errno> {
    let known = (1..134).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
    Ok(known.ok_or_else(|| format!("--errno {name}: no name of an error"))?)
}

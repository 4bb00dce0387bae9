//! `mutate`: converts files while programs write to them. The content of each file in the context
//! must be a state that the file was in, or a finding must report the file.

use crate::Result;
use crate::args::Args;
use crate::contents;
use crate::report::{self, Problems};
use crate::roots;
use crate::seal;
use crate::trial::{self, Trial};
use crate::writers::{KINDS, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Files of each kind.
const FILES: usize = 6;
/// Part of the cases in which the file must have been changed during the run, in per cent.
const LEAST_HIT: usize = 80;

/// `mutate --root DIR [--kinds KIND,...] [--cases N] -- COMMAND...`; makes DIR.
pub fn run(words: &[String]) -> Result<bool> {
    let args = Args::parse(words, &[trial::OPTIONS, &["root", "kinds", "cases"]].concat(), &[])?;
    let root = args.one("root").map(PathBuf::from).ok_or("--root DIR is missing")?;
    roots::make(&root)?;
    let given = args.one("kinds").unwrap_or_else(|| KINDS.join(","));
    let mut writers = Vec::new();
    for &kind in KINDS.iter().filter(|kind| given.split(',').any(|given| given == **kind)) {
        for number in 0..FILES {
            writers.push(Writer::new(kind, root.join(format!("srv/{kind}-{number}")))?);
        }
    }
    let trial = Trial::new(&args)?;
    let mut tally = Tally::default();
    let cases: usize = args.parsed("cases")?.unwrap_or(1000);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| -> Result<()> {
        for (seed, writer) in writers.iter().enumerate() {
            let over = &over;
            threads.spawn(move || writer.go_on(over, seed as u64));
        }
        let mut result = Ok(());
        while tally.cases < cases && result.is_ok() {
            result = tally.run(&trial, &root, &writers);
        }
        over.store(true, Relaxed);
        result
    })?;
    if tally.hit * 100 < tally.cases * LEAST_HIT {
        tally
            .problems
            .add(&format!("only {} of {} files were changed meanwhile", tally.hit, tally.cases), "");
    }
    let Tally { cases, reported, torn, torn_reported, problems, .. } = tally;
    let note = format!("{torn} torn, {torn_reported} of them reported; {reported} reported in total");
    report::end(&format!("mutate ({given})"), cases, &note, &problems)
}

#[derive(Default)]
struct Tally {
    cases: usize,
    /// Changed during the run.
    hit: usize,
    /// Reported in the findings as lost or unstable.
    reported: usize,
    torn: usize,
    torn_reported: usize,
    problems: Problems,
}

impl Tally {
    fn run(&mut self, trial: &Trial, root: &Path, writers: &[Writer]) -> Result<()> {
        trial.clear()?;
        let before: Vec<u64> = writers.iter().map(Writer::changes).collect();
        let status = trial.start()?.wait()?;
        if !matches!(status.code(), Some(0 | 3)) {
            self.problems.add(&format!("the run: {}", trial::ended(status)), &trial.output()?);
        }
        let files = contents::files(&trial.out)?;
        let file = |name: &str| files.get(name).map(Vec::as_slice).unwrap_or_default();
        let digests = contents::digests(file("manifest.jsonl"));
        let members = contents::members(file("delta.tar"));
        let findings = String::from_utf8_lossy(file("findings.jsonl")).into_owned();
        for (writer, before) in writers.iter().zip(before) {
            self.cases += 1;
            self.hit += usize::from(writer.changes() != before);
            let path = writer.path().strip_prefix(root)?.to_string_lossy().into_owned();
            let is_reported = is_reported(&findings, &path);
            self.reported += usize::from(is_reported);
            self.judge(writer, &path, is_reported, &digests, &members);
        }
        Ok(())
    }

    /// Of several members under one name that counts whose digest the manifest has.
    fn judge(
        &mut self,
        writer: &Writer,
        path: &str,
        is_reported: bool,
        digests: &BTreeMap<String, String>,
        members: &BTreeMap<String, Vec<&[u8]>>,
    ) {
        let Some(digest) = digests.get(path) else { return };
        let named = members.get(path).map(Vec::as_slice).unwrap_or_default();
        let Some(content) = named.iter().find(|content| seal::hex(content) == *digest) else {
            return self.problems.add(&format!("{path}: no member is what the manifest says"), "");
        };
        if !writer.was_ever(content) {
            self.torn += 1;
            self.torn_reported += usize::from(is_reported);
            if !is_reported {
                let kind = path.rsplit_once('/').map_or(path, |(_, name)| name);
                let kind = kind.split_once('-').map_or(kind, |(kind, _)| kind);
                self.problems.add(&format!("{kind}: a torn copy that no finding reports"), path);
            }
        }
    }
}

/// A finding that says that this file is lost or that its content cannot be relied on.
fn is_reported(findings: &str, path: &str) -> bool {
    let of_file = |line: &&str| {
        contents::value(line, "path").is_some_and(|found| found.trim_start_matches('/').ends_with(path))
    };
    findings.lines().filter(of_file).any(|line| {
        let kind = contents::value(line, "kind").unwrap_or_default();
        line.contains(r#""severity":"loss""#) || matches!(kind.as_str(), "hot" | "unstable" | "growing")
    })
}

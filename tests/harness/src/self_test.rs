//! `self-test`: checks that each check can fail. Each check runs on a stand-in with the fault
//! that the check looks for and must report it. It also runs on a stand-in without a fault and
//! must pass.

use crate::Result;
use crate::args::Args;
use crate::report::{self, Problems};
use crate::roots;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A check, the fault of the stand-in, and a text of the report; without a text, the check must
/// pass.
struct Case {
    check: &'static str,
    fault: &'static str,
    expected: Option<&'static str>,
}

const fn case(check: &'static str, fault: &'static str, expected: &'static str) -> Case {
    Case { check, fault, expected: Some(expected) }
}

const fn content(check: &'static str) -> Case {
    Case { check, fault: "none", expected: None }
}

/// `ROOT` is replaced; what follows the options is the stand-in.
const AUDIT: &str = "trace-audit --quiet-root ROOT";
const LISTED: &str = "trace-audit --syscalls ROOT/etc/hostname";
const KILL: &str = "kill-points --limit 60";
const RANDOM: &str = "kill-points --random 60";
const WRITES: &str = "error-points --class write --errno ENOSPC --first 20";
const READS: &str = "error-points --class read --errno EIO --first 20";
const SYNCS: &str = "error-points --class fsync --errno EIO --first 20";
const EXCHANGE: &str = "exchange --root ROOT --victim ROOT-victim --swaps 20000 --runs 20";

const MAPPED: &str = "mutate --root ROOT --kinds mapped --cases 600";
const OVERWRITE: &str = "mutate --root ROOT --kinds overwrite --cases 600";

const CASES: &[Case] = &[
    case(LISTED, "none", "not in the list of expected calls"),
    case(AUDIT, "none", "leaves an access time"),
    case("trace-audit", "atime", "etc/hostname was changed"),
    case(AUDIT, "elsewhere", "/stray): changes"),
    case(AUDIT, "program", "starts a program"),
    case(AUDIT, "socket", "opens a socket"),
    case("trace-audit", "touch", "etc/hostname was changed"),
    content("trace-audit"),
    case(KILL, "elsewhere", "left behind: stray"),
    case(KILL, "in-place", "under the final name, and not whole"),
    case(KILL, "early-rename", "under the final name, and not whole"),
    case("kill-points --limit 9 --check false", "none", "the check: exit 1"),
    content(KILL),
    case(RANDOM, "in-place", "under the final name, and not whole"),
    case("kill-points --random 60 --signal SIGTERM", "none", "signals were not handled"),
    case(WRITES, "panic", "panic"),
    case(WRITES, "deaf", "exit 0, not whole"),
    case(WRITES, "litter", "leaves .ctx.partial"),
    content(WRITES),
    case(READS, "silent", "exit 0 with other"),
    case(READS, "untold", "exit 3 without a loss"),
    content(READS),
    case(SYNCS, "final", "leaves ctx (whole)"),
    content(SYNCS),
    case("short-io", "short", "not whole"),
    content("short-io"),
    case(EXCHANGE, "none", "delta.tar holds what is the victim's"),
    case(MAPPED, "none", "mapped: a torn copy"),
    case("bad-fs --root ROOT --modes eio", "none", "Eio at /mnt/bad: was touched"),
    case("bad-fs --root ROOT --modes eio", "silent", "Eio as the root: Some(0) instead of 3"),
    case("bad-fs --root ROOT --modes changing", "none", "Changing as the root: Some(0) instead of 3"),
    case(OVERWRITE, "none", "overwrite: a torn copy"),
];

/// `self-test --scratch DIR`.
pub fn run(words: &[String]) -> Result<bool> {
    let args = Args::parse(words, &["scratch"], &[])?;
    let scratch = args.one("scratch").map(PathBuf::from).ok_or("--scratch DIR is missing")?;
    fs::create_dir_all(&scratch)?;
    let mut problems = Problems::default();
    for (number, case) in CASES.iter().enumerate() {
        let place = scratch.join(number.to_string());
        if let Some(problem) = attempt(case, &place)? {
            problems.add(&format!("{} with fault {}", case.check, case.fault), &problem);
        }
        fs::remove_dir_all(&place)?;
    }
    report::end("self-test", CASES.len(), "faults reported, or good runs passed", &problems)
}

/// Runs the check and returns the problem with its result, if any.
fn attempt(case: &Case, place: &Path) -> Result<Option<String>> {
    let root = place.join("root");
    fs::create_dir_all(&root)?;
    let makes_its_own = ["exchange", "mutate", "bad-fs"].iter().any(|check| case.check.starts_with(check));
    if !makes_its_own {
        roots::make(&root)?;
    }
    let root = root.display().to_string();
    let harness = std::env::current_exe()?.display().to_string();
    let mut words: Vec<String> = case.check.split(' ').map(|word| word.replace("ROOT", &root)).collect();
    let scratch = place.join("scratch").display().to_string();
    words.extend(["--scratch", &scratch].map(str::to_owned));
    if !makes_its_own {
        words.extend(["--watch", &root].map(str::to_owned));
    }
    // The command's root is at times another one.
    let converted = if case.check.starts_with("bad-fs") { "{root}" } else { &root };
    let command = ["--", &harness, "stand-in", "--root", converted, "--out", "{out}", "--fault", case.fault];
    words.extend(command.map(str::to_owned));
    let output = Command::new(&harness).args(&words).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_right = match case.expected {
        None => output.status.code() == Some(0),
        Some(expected) => output.status.code() == Some(1) && text.contains(expected),
    };
    Ok((!is_right).then(|| format!("{}: {text}", output.status)))
}

//! Disturbs a program from outside and checks what it leaves. x86_64 Linux, as root.

mod args;
mod audit;
mod bad_fs;
mod call;
mod contents;
mod errors;
mod exchange;
mod filter;
mod fuse;
mod kill;
mod mutate;
mod points;
mod random;
mod report;
mod roots;
mod seal;
mod self_test;
mod short;
mod snapshot;
mod stand_in;
mod syscalls;
mod tracer;
mod trial;
mod writers;

use std::process::ExitCode;

/// Result of each part of the harness; errors are texts.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
harness trace-audit  --scratch DIR [--watch DIR]... [--quiet-root DIR]... [--syscalls FILE] [--exit CODE]...
                     [--list] -- COMMAND...
harness kill-points  --scratch DIR [--watch DIR]... [--limit N | --random N [--signal NAME] [--seed N]]
                     [--clean PROGRAM] [--check SCRIPT] -- COMMAND...
harness error-points --scratch DIR [--watch DIR]... --class CLASS... --errno NAME... [--first N] -- COMMAND...
harness short-io     --scratch DIR [--watch DIR]... -- COMMAND...
harness exchange     --scratch DIR --root DIR --victim DIR [--swaps N] [--runs N]
                     [--resolver openat2|enosys|eperm] -- COMMAND...
harness bad-fs       --scratch DIR --root DIR [--modes hang,slow,eio,changing] -- COMMAND...
harness mutate       --scratch DIR --root DIR [--kinds KIND,...] [--cases N] -- COMMAND...
harness self-test    --scratch DIR
harness stand-in     --root DIR --out DIR [--fault NAME]
harness make-root    DIR [--files N] [--bytes N]

{out} in COMMAND is where its output goes; for bad-fs, {root} is its root. Exit code: 0 nothing wrong, 1 something found, 2 it could not be tried.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if name == "stand-in" {
        return stand_in::run(rest).unwrap_or_else(|cause| {
            eprintln!("stand-in: {cause}");
            ExitCode::from(1)
        });
    }
    let done = match name.as_str() {
        "trace-audit" => audit::run(rest),
        "kill-points" => kill::run(rest),
        "error-points" => errors::run(rest),
        "bad-fs" => bad_fs::run(rest),
        "exchange" => exchange::run(rest),
        "mutate" => mutate::run(rest),
        "short-io" => short::run(rest),
        "self-test" => self_test::run(rest),
        "make-root" => roots::run(rest),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(cause) => {
            eprintln!("harness: {cause}");
            ExitCode::from(2)
        }
    }
}

//! What the program knows of its own making, and how it is linked.
#![expect(clippy::disallowed_methods, reason = "git is asked, cargo is answered")]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link");
    tell_commit();
    link_smaller();
}

/// Which commit it was built from and for what: `--version` prints it.
fn tell_commit() {
    // The log changes with every commit, the head with every checkout. Cargo runs this each time if a file is missing.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // The commit's date, not today's: the same source gives the same bytes on any day.
    let commit =
        git(&["log", "-1", "--abbrev=12", "--format=%h %cs"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=V2D_COMMIT={commit}");
    println!("cargo::rustc-env=V2D_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// What git answers, if this is a checkout: a repository further up is somebody else's.
fn git(arguments: &[&str]) -> Option<String> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let output = Command::new("git").args(arguments).env("GIT_CEILING_DIRECTORIES", above).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

fn link_smaller() {
    // By lld, with which the compiler links for the GNU C library; other linkers know nothing of this.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|library| library != "gnu") {
        return;
    }
    // Addresses that only move with the program take a bit each in place of 24 bytes (the C library's start knows that form
    // since 2.36), and what compiles to the same code is there once.
    let mut arguments = vec!["-z,pack-relative-relocs".to_owned(), "--icf=safe".to_owned()];
    // Where a panic ends the program nothing is unwound; who would walk the stack is kept off it by `no-backtrace`.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let script = env::var("CARGO_MANIFEST_DIR").unwrap_or_default() + "/link/no-unwinding.lds";
        arguments.extend(["--no-eh-frame-hdr".to_owned(), format!("-T,{script}")]);
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
}

//! Passes the commit and the target to the program, and chooses how it is linked.
#![expect(
    clippy::disallowed_methods,
    reason = "runs git on the build machine and prints directives for cargo"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    set_version();
    link_smaller();
}

/// Sets the commit and the target that `--version` prints.
fn set_version() {
    // The log changes with every commit, HEAD with every checkout. If a file is missing, Cargo
    // runs this script in each build.
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

/// Returns git's output if this directory is a checkout. A repository in a parent directory does
/// not count.
fn git(arguments: &[&str]) -> Option<String> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let output = Command::new("git").args(arguments).env("GIT_CEILING_DIRECTORIES", above).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

/// Links smaller relocations and merges equal functions.
fn link_smaller() {
    // Only lld knows these arguments: the compiler links with it for the GNU C library.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|library| library != "gnu") {
        return;
    }
    // A packed relative relocation takes one bit instead of 24 bytes. glibc's start-up code reads
    // that form since 2.36.
    for argument in ["-z,pack-relative-relocs", "--icf=safe"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
}

//! Contexts of other users: no command blocks, fills the memory or controls the terminal.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use support::tool::{Place, Ran, command, finish};

const MANIFEST: &str = "manifest.jsonl.zst";

/// The commands that read a context.
const COMMANDS: [&[&str]; 4] = [
    &["explain", "CTX", "/"],
    &["verify", "CTX", "--root", "SMALL"],
    &["apply", "CTX", "--root", "SMALL"],
    &["upload", "CTX", "http://127.0.0.1:9/x/"],
];

/// Converts a small machine to the context `ctx`.
fn context() -> Place {
    let place = Place::new();
    place.root("machine", "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    place.convert("ctx", &["--base-from", "none"]).ends(0);
    fs::create_dir(place.path("small")).unwrap();
    place
}

/// Replaces the manifest, and its checksum in `COMPLETE`.
fn write_manifest(context: &Path, mut content: impl Read) {
    let file = fs::File::create(context.join(MANIFEST)).unwrap();
    let mut encoder = zstd::stream::Encoder::new(file, 1).unwrap();
    io::copy(&mut content, &mut encoder).unwrap();
    encoder.finish().unwrap();
    let digest = Sha256::digest(fs::read(context.join(MANIFEST)).unwrap());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let complete = fs::read_to_string(context.join("COMPLETE")).unwrap();
    let line = |line: &str| match line.ends_with(MANIFEST) {
        true => format!("{hex}  {MANIFEST}\n"),
        false => format!("{line}\n"),
    };
    fs::write(context.join("COMPLETE"), complete.lines().map(line).collect::<String>()).unwrap();
}

/// Runs commands with 1 GB of memory and 60 s each.
fn run_all(place: &Place, commands: &[&[&str]]) -> Vec<Ran> {
    let limited = |words: &&[&str]| {
        let mut shell = command("timeout");
        shell.args(["60", "sh", "-c", "ulimit -v 1000000; exec \"$@\"", "-"]);
        shell.arg(env!("CARGO_BIN_EXE_vm2docker-self"));
        for word in *words {
            match *word {
                "CTX" => shell.arg(place.path("ctx")),
                "SMALL" => shell.arg(place.path("small")),
                word => shell.arg(word),
            };
        }
        finish(&mut shell)
    };
    commands.iter().map(limited).collect()
}

#[test]
fn commands_complete_of_other_type_return_error_at_once() {
    let place = context();
    let complete = place.path("ctx/COMPLETE");
    for is_link in [false, true] {
        fs::remove_file(&complete).unwrap();
        if is_link {
            std::os::unix::fs::symlink("/dev/zero", &complete).unwrap();
        } else {
            finish(command("mkfifo").arg(&complete)).ends(0);
        }
        for ran in run_all(&place, &COMMANDS) {
            ran.ends(1).says(&["COMPLETE: not a regular file", "hint: "]);
        }
    }
}

#[test]
fn commands_manifest_of_one_long_line_return_error() {
    let place = context();
    write_manifest(&place.path("ctx"), io::repeat(b'a').take(2_000_000_000));
    for ran in run_all(&place, &COMMANDS) {
        ran.ends(1).says(&["manifest.jsonl.zst, line 1: longer than 16.0 MiB", "hint: "]);
    }
}

#[test]
fn commands_manifest_of_many_long_reasons_return_error() {
    let place = context();
    let mut record = place.manifest("ctx")[0].clone();
    record["reason"] = Value::from("x".repeat(15 << 20));
    let mut text = Vec::new();
    for number in 0..100 {
        record["path"] = if number == 0 { "/".into() } else { format!("/a{number:03}").into() };
        serde_json::to_writer(&mut text, &record).unwrap();
        text.push(b'\n');
    }
    write_manifest(&place.path("ctx"), &text[..]);
    for ran in run_all(&place, &COMMANDS) {
        ran.ends(1).says(&["manifest.jsonl.zst, line ", "expands to too many bytes", "hint: "]);
    }
}

#[test]
fn commands_reason_with_control_sequences_is_escaped() {
    let place = context();
    let mut records = place.manifest("ctx");
    let reason = "why\u{1b}[2J\u{1b}]0;FORGED\u{7}\u{9b}31m\nerror: forged";
    for record in &mut records {
        record["reason"] = reason.into();
    }
    records.push(json!({
        "path": "/zz", "type": "file", "mode": "0644", "uid": 0, "gid": 0, "mtime": 0, "size": 3,
        "sha256": "00".repeat(32), "verdict": "keep", "layer": "base", "reason": reason
    }));
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    write_manifest(&place.path("ctx"), lines.as_bytes());
    let json: [&[&str]; 2] =
        [&["explain", "CTX", "/", "--json"], &["verify", "CTX", "--root", "SMALL", "--json"]];
    // Nothing listens at the address of `upload`, so that it would try again for minutes.
    let mut all = run_all(&place, &COMMANDS[..3]);
    assert!(all[0].out.contains("because: why\\x1b[2J"), "{}", all[0].out);
    assert!(all[2].err.contains("/zz: why\\x1b[2J"), "{}", all[2].err);
    all.extend(run_all(&place, &json));
    for ran in all {
        let text = ran.out + &ran.err;
        let is_control = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(is_control) && !text.contains("\nerror: forged"), "{text:?}");
    }
}

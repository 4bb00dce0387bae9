//! Every way to call it wrongly, and what it says then.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::fixture;
use support::schema::Schema;
use support::tool::{Place, binary, command, finish, from_file, run};

const DEBIAN: &str =
    "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\nPRETTY_NAME='Debian 12'\\n\"\n";

fn machine() -> Place {
    let place = Place::new();
    place.root(
        "machine",
        &(DEBIAN.to_owned()
            + "file 0644 0:0 /srv/kept x\nfile 0644 0:0 /var/log/dropped x\nfile 0600 0:0 /etc/wireguard/wg0.conf x\n\
               fifo 0600 0:0 /srv/pipe\n"),
    );
    fixture::dpkg(&place.path("machine"), &[]);
    place
}

fn args(words: &[&str], place: &Place) -> Vec<String> {
    let ctx = place.path("ctx").display().to_string();
    let machine = place.path("machine").display().to_string();
    words.iter().map(|word| word.replace("CTX", &ctx).replace("MACHINE", &machine)).collect()
}

fn is_empty(directory: PathBuf) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Command line, exit code, what standard error says. `FILE` is a text file.
const BAD: &[(&[&str], i32, &[&str])] = &[
    (&["--root", "MACHINE"], 2, &["--out <DIR>"]),
    (&["--out", "CTX", "--frobnicate"], 2, &["--frobnicate"]),
    (&["--out", "CTX", "--compress", "zstd:20"], 2, &["levels of zstd go from 1 to 19"]),
    (&["--out", "CTX", "--threads", "0"], 2, &["--threads"]),
    (&["--out", "CTX", "--packages", "none"], 2, &["install", "carry"]),
    (&["--out", "CTX", "--root", "MACHINE/none"], 1, &["--root", "No such file"]),
    (&["--out", "CTX", "--root", "MACHINE/srv/kept"], 1, &["--root", "Not a directory"]),
    (&["--out", "CTX/deep/er", "--root", "MACHINE"], 1, &["existing parent directory"]),
    (
        &["--out", "MACHINE/srv", "--root", "MACHINE"],
        2,
        &["exists and is not empty", "nothing is ever overwritten"],
    ),
    (&["--out", "MACHINE/srv/kept", "--root", "MACHINE"], 2, &["exists and is not a directory"]),
    (&["--out", "/", "--root", "MACHINE"], 2, &["does not name a directory"]),
    (
        &["--out", "CTX", "--root", "MACHINE", "--base", "debian:12\nRUN evil"],
        2,
        &["debian:12\\x0aRUN evil", "is not an image reference"],
    ),
    (&["--out", "CTX", "--root", "MACHINE", "--base=-x"], 2, &["-x is not an image reference"]),
    (
        &["--out", "CTX", "--root", "MACHINE", "--base-from", "MACHINE/none"],
        1,
        &["MACHINE/none", "No such file"],
    ),
    (
        &["--out", "CTX", "--root", "MACHINE", "--base-from", "MACHINE/etc/os-release"],
        20,
        &["not an image", "text"],
    ),
    (&["--out", "CTX", "--root", "MACHINE", "--base-from", "MACHINE/srv"], 20, &["not an OCI layout"]),
    (
        &["--out", "CTX", "--root", "MACHINE", "--base-from", "MACHINE/srv/pipe"],
        20,
        &["neither a regular file"],
    ),
    (
        &["--out", "CTX", "--root", "MACHINE", "--policy", "MACHINE/etc/os-release"],
        2,
        &["os-release, line 1: unknown action ID=debian"],
    ),
    (&["--out", "CTX", "--root", "MACHINE", "--policy", "MACHINE/none"], 1, &["--policy", "No such file"]),
    (&["verify", "CTX"], 2, &["--root", "--tar"]),
    (&["verify", "CTX", "--root", "/", "--tar", "-"], 2, &["cannot be used with"]),
    (&["verify", "CTX", "--root", "MACHINE"], 1, &["is not a complete context", "COMPLETE"]),
    (&["apply", "CTX", "--root", "MACHINE"], 1, &["is not a complete context"]),
    (&["apply", "CTX"], 20, &["would change the running system", "--root DIR"]),
    (&["apply", "CTX", "--root", "/etc"], 20, &["would change the running system", "it shares /etc"]),
    (&["explain", "CTX", "/srv"], 1, &["is not a complete context"]),
    (&["explain", "MACHINE/srv", "/srv"], 1, &["is not a complete context"]),
    (&["frobnicate"], 2, &["frobnicate"]),
];

#[test]
fn convert_impossible_request_fails_with_reason_and_leaves_no_files() {
    let place = machine();
    let before = support::look::look(&place.path("machine"));
    let name = place.path("machine").display().to_string();
    for (words, code, texts) in BAD {
        let ran = run(args(words, &place));
        assert_eq!(ran.code, Some(*code), "{words:?}\n{}", ran.err);
        assert!(ran.out.is_empty(), "{words:?}: {}", ran.out);
        for text in *texts {
            let text = text.replace("MACHINE", &name);
            assert!(ran.err.contains(&text), "{words:?}: no {text:?} in\n{}", ran.err);
        }
    }
    assert!(is_empty(place.path("ctx").parent().unwrap().to_owned()));
    assert_eq!(support::look::look(&place.path("machine")), before);
}

#[test]
fn convert_without_root_is_refused_with_hint() {
    let place = machine();
    let copy = place.path("vm2docker-self");
    fs::copy(env!("CARGO_BIN_EXE_vm2docker-self"), &copy).unwrap();
    for path in [place.dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut setpriv = command("setpriv");
    setpriv.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy);
    setpriv.args(args(&["--root", "MACHINE", "--out", "CTX"], &place));
    finish(&mut setpriv).ends(20).says(&["root privileges", "sudo", "inspect"]);
    let mut setpriv = command("setpriv");
    setpriv.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy);
    finish(setpriv.args(args(&["inspect", "--root", "MACHINE"], &place))).ends(0);
}

#[test]
fn convert_unknown_distribution_or_database_builds_from_scratch() {
    for (os, status, reason) in [
        ("ID=haiku\\nPRETTY_NAME=Haiku\\n", true, "no official image is known for this distribution"),
        ("ID=debian\\nVERSION_ID=12\\n", false, "the machine has no supported package database"),
    ] {
        let place = Place::new();
        let machine = place.root("machine", &format!("file 0644 0:0 /etc/os-release \"{os}\""));
        if status {
            fixture::dpkg(&machine, &[]);
        }
        place.convert("ctx", &[] as &[&str]).ends(0).says(&["base image", "scratch (", reason]);
        let dockerfile = String::from_utf8(place.unpacked("ctx", "Dockerfile")).unwrap();
        assert!(dockerfile.contains("\nFROM scratch AS base\n"), "{dockerfile}");
    }
}

#[test]
fn convert_full_file_system_returns_20_and_leaves_no_files() {
    let place = machine();
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    finish(command("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small)).ends(0);
    let out = small.join("ctx");
    let name = out.display().to_string();
    // The executable alone does not fit.
    let small_machine = run(args(&["--root", "MACHINE", "--out", &name], &place));
    fixture::lay(&place.path("machine"), "file 0644 0:0 /srv/large @random 9000000");
    let large_machine = run(args(&["--root", "MACHINE", "--out", &name], &place));
    let is_clean = is_empty(small.clone());
    finish(command("umount").arg(&small)).ends(0);
    small_machine.ends(20).says(&["needs at least", "are free", "--out"]);
    large_machine.ends(20).says(&["needs at least", "the largest is /srv/large (8.6 MiB)", "--out"]);
    assert!(is_clean);
}

#[test]
fn convert_terminated_by_signal_leaves_no_files() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let place = machine();
        fixture::lay(&place.path("machine"), "file 0644 0:0 /srv/large @random 60000000");
        let mut command = binary();
        command.args(args(
            &["--root", "MACHINE", "--out", "CTX", "--compress", "zstd:19", "--threads", "1"],
            &place,
        ));
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let parent = place.path("ctx").parent().unwrap().to_owned();
        let started = Instant::now();
        while is_empty(parent.clone()) {
            assert!(
                started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
                "no partial context"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = child.id().to_string();
        finish(support::tool::command("kill").args(["-s", signal, &pid])).ends(0);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert!(is_empty(parent), "{signal}: something was left");
    }
}

#[test]
fn verify_damaged_context_fails() {
    let place = machine();
    place.convert("ctx", &[] as &[&str]).ends(0);
    place.verify("ctx", "machine").ends(5);
    let ctx = place.path("ctx");
    let original = fs::read(ctx.join("manifest.jsonl.zst")).unwrap();
    fs::write(ctx.join("manifest.jsonl.zst"), &original[..original.len() - 1]).unwrap();
    place.verify("ctx", "machine").ends(1).says(&["manifest.jsonl.zst is damaged", "copy the context again"]);
    fs::write(ctx.join("manifest.jsonl.zst"), original).unwrap();
    let seal = fs::read_to_string(ctx.join("COMPLETE")).unwrap();
    fs::write(ctx.join("COMPLETE"), &seal[..30]).unwrap();
    place.verify("ctx", "machine").ends(1).says(&["COMPLETE, line 1"]);
    fs::write(ctx.join("COMPLETE"), seal.split_inclusive('\n').next().unwrap()).unwrap();
    place.verify("ctx", "machine").ends(1).says(&["COMPLETE is truncated", "copy the context again"]);
    fs::remove_file(ctx.join("COMPLETE")).unwrap();
    place.verify("ctx", "machine").ends(1).says(&["is not a complete context", "copy all of it"]);
}

#[test]
fn archives_are_verified_and_garbage_is_not() {
    let place = machine();
    place.convert("ctx", &["--packages", "carry"]).ends(0);
    place.build("ctx", "built").ends(0);
    let tar = place.pack("built");
    let verify = |file: PathBuf| run(["verify".into(), place.path("ctx"), "--tar".into(), file]);
    assert!(verify(tar.clone()).ends(0).out.contains("equal: "));
    let bytes = fs::read(&tar).unwrap();
    for (content, code) in [
        (&b"garbage"[..], 1),
        (&[], 1),
        (&[0; 10240][..], 1),
        (&bytes[..bytes.len() / 2], 1),
        (&bytes[512..], 1),
    ] {
        let file = place.path("bad.tar");
        fs::write(&file, content).unwrap();
        let ran = verify(file);
        assert!(
            ran.code == Some(code) && ran.err.contains("bad.tar") && ran.err.contains("hint: "),
            "{ran:?}"
        );
    }
    verify(place.path("none.tar")).ends(1).says(&["none.tar", "No such file"]);
}

#[test]
fn json_is_one_document_that_its_schema_allows() {
    let schema = Schema::load();
    let place = machine();
    for (words, code) in [
        (&["--root", "MACHINE", "--out", "CTX", "--dry-run", "--json"][..], 0),
        (&["--root", "MACHINE", "--out", "CTX", "--json", "--progress", "plain", "--verbose"], 0),
        (&["inspect", "--root", "MACHINE", "--json"], 0),
        (&["verify", "CTX", "--root", "MACHINE", "--json"], 5),
        (&["explain", "CTX", "/srv/kept", "--json"], 0),
    ] {
        let ran = run(args(words, &place)).ends(code);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        schema.check(document["schema"].as_str().unwrap(), &document);
        assert_eq!(ran.err, "", "{words:?}");
    }
    let plan: serde_json::Value = serde_json::from_slice(&place.unpacked("ctx", "plan.json")).unwrap();
    schema.check("plan", &plan);
    place.manifest("ctx").iter().for_each(|line| schema.check("manifest-line", line));
    let findings = String::from_utf8(place.unpacked("ctx", "findings.jsonl")).unwrap();
    findings.lines().for_each(|line| schema.check("finding", &serde_json::from_str(line).unwrap()));
    assert!(!findings.is_empty());
}

#[test]
fn inspect_running_machine_prints_what_its_schema_allows() {
    let ran = run(["inspect", "--json"]);
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(document["machine"]["live"].is_object());
    Schema::load().check("inspect", &document);
}

#[test]
fn progress_to_pipe_is_plain_text() {
    let place = machine();
    for (ctx, mode) in [("ctx1", "auto"), ("ctx2", "plain"), ("ctx3", "none")] {
        let ran = place.convert(ctx, &["--progress", mode]).ends(0);
        assert!(!ran.err.contains(['\r', '\x1b']) && ran.out.is_empty(), "{ran:?}");
        let phases = ran.err.lines().take_while(|line| line.starts_with('[')).count();
        assert_eq!(phases, if mode == "none" { 0 } else { 5 }, "{}", ran.err);
    }
    let quiet = place.convert("ctx4", &["--quiet"]).ends(0);
    assert_eq!((quiet.err.as_str(), quiet.out.as_str()), ("", ""));
}

#[test]
fn command_without_arguments_prints_short_help() {
    let ran = run([""; 0]).ends(0);
    let steps = ["inspect", "--dry-run", "build.sh", "docker compose up", "--help"];
    assert!(steps.iter().all(|step| ran.out.contains(step)), "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[test]
fn generate_writes_man_pages_and_completions() {
    let place = Place::new();
    let man = place.path("man");
    finish(binary().args(["generate", "man"]).arg(&man)).ends(0);
    assert!(
        fs::read_to_string(man.join("vm2docker-self-verify.1")).unwrap().contains("Compare a file system")
    );
    for shell in ["bash", "zsh", "fish"] {
        let text = run(["generate", "completions", shell]).ends(0).out;
        assert!(text.contains("include-secrets") && !text.contains("remove-self-"), "{text}");
    }
}

#[test]
fn help_names_every_option_and_the_exit_codes() {
    let help = run(["--help"]).ends(0).out;
    for option in [
        "--out",
        "--base",
        "--base-from",
        "--offline",
        "--ca-file",
        "--plain-http",
        "--packages",
        "--policy",
        "--exclude",
        "--compress",
        "--dry-run",
        "--threads",
        "--json",
        "--quiet",
        "--verbose",
        "--progress",
        "inspect",
        "verify",
        "apply",
        "explain",
        "--root",
        "--services",
        "--strict-secrets",
        "--include-secrets",
        "--upload",
        "--upload-as",
        "--token-file",
        "--remove-self",
        "--require-readonly",
        "--allow-insecure-target",
        "--full-speed",
        "VM2DOCKER_OUT",
        "VM2DOCKER_POLICY",
    ] {
        assert!(help.contains(option), "{option} is not in --help");
    }
    let (_, codes) = help.split_once("Exit codes:\n").expect("a table of them");
    let codes: Vec<&str> = codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "5", "10", "11", "12", "13", "20", "128+N"]);
    let verify = run(["verify", "--help"]).ends(0).out;
    assert!(verify.contains("--tar") && verify.contains("--root") && verify.contains("CONTEXT"));
    let version = run(["--version"]).ends(0).out;
    assert_eq!(version, format!("vm2docker-self {}\n", vm2docker_self::cli::VERSION));
    let built = version.split(['(', ')']).nth(1).expect("of which commit, and for what");
    let (commit, target) = built.split_once(", ").expect("two parts");
    assert!(target.starts_with(std::env::consts::ARCH) && target.contains("linux"), "{target}");
    // A commit and its date, or a source without its history.
    let known = commit.split_once(' ').is_some_and(|(commit, date)| commit.len() == 12 && date.len() == 10);
    assert!(known || commit == "unknown", "{commit}");
}

#[test]
fn options_command_line_overrides_environment() {
    let place = machine();
    let rules = place.path("rules");
    fs::write(&rules, "drop /srv/kept not wanted\n").unwrap();
    let mut command = binary();
    command.env("VM2DOCKER_OUT", place.path("ctx")).env("VM2DOCKER_ROOT", "/nonexistent");
    command.env("VM2DOCKER_POLICY", &rules);
    finish(command.args(args(&["--root", "MACHINE"], &place))).ends(0);
    let explained = run(args(&["explain", "CTX", "/srv/kept"], &place)).ends(0);
    assert!(explained.out.contains("because: not wanted"), "{}", explained.out);
}

#[test]
fn explain_tells_what_became_of_a_path() {
    let place = machine();
    place.root("base", &(DEBIAN.to_owned() + "file 0644 0:0 /usr/given x\n"));
    fixture::lay(&place.path("machine"), "file 0644 0:0 /usr/given x\nfile 0644 0:0 \"/srv/a\\nb\" x");
    fs::create_dir(place.path("machine/srv/mounted")).unwrap();
    let tar = place.pack("base");
    let mut unshare = command("unshare");
    unshare.args(["--mount", "sh", "-c", "mount -t tmpfs none \"$1\" && shift && exec \"$@\"", "-"]);
    unshare.arg(place.path("machine/srv/mounted")).arg(env!("CARGO_BIN_EXE_vm2docker-self"));
    unshare.args(args(&["--root", "MACHINE", "--out", "CTX", "--offline"], &place));
    finish(unshare.args(from_file(&tar))).ends(0);
    for (path, texts) in [
        (
            "/usr/given",
            &["/usr/given\n", "in the image, from the base image", "file, mode 0644, owner 0:0"][..],
        ),
        ("/srv/kept", &["in the image, from the delta", "because: no package ships it"]),
        ("srv/kept", &["/srv/kept\n", "from the delta"]),
        ("/srv/", &["/srv\n", "directory, mode 0755"]),
        ("/srv/a\nb", &["/srv/a\\x0ab\n", "from the delta"]),
        ("/var/log/dropped", &["not in the image", "because: logs; directories are kept"]),
        (
            "/etc/wireguard/wg0.conf",
            &[
                "withheld, see SECRETS.todo",
                "because: network key",
                "to change this, add to --policy: keep /etc/wireguard/wg0.conf\n",
            ],
        ),
        ("/", &["/\n", "because: the base image has it"]),
        ("/srv/mounted/x", &["/srv/mounted/x has no record", "/srv/mounted\n  in the image"]),
    ] {
        let ran = run(args(&["explain", "CTX", path], &place)).ends(0);
        for text in texts {
            assert!(ran.out.contains(text), "{path}: no {text:?} in\n{}", ran.out);
        }
    }
    for path in ["/nope", "/srv/none/at/all", "/srv/kept/x"] {
        let text = format!("cannot explain {path}: it was not on the machine");
        run(args(&["explain", "CTX", path], &place)).ends(2).says(&[&text, "hint: "]);
    }
}

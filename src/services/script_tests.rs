//! Runs generated scripts with the system's shell and checks what they do.
#![allow(clippy::disallowed_methods, reason = "the tests run a shell")]

use crate::detect::units::exec::{Piece, Word};
use crate::services::model::Variable;
use crate::services::script::*;
use proptest::prelude::*;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn word(text: &str) -> Word {
    Word::Joined(vec![Piece::Literal(text.as_bytes().to_vec())])
}

fn words(line: &[&str]) -> Vec<Word> {
    line.iter().map(|text| word(text)).collect()
}

fn step(line: &[&str]) -> Step {
    Step { words: words(line), may_fail: false, as_root: false }
}

fn script(main: Main) -> Script {
    Script { main, ..Script::new("x.service".to_owned()) }
}

fn shell(directory: &Path, script: &Script) -> Command {
    let file = directory.join("entry");
    std::fs::write(&file, script.render()).unwrap();
    let mut command = Command::new("/bin/sh");
    command.arg(file).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

fn run(script: &Script) -> Output {
    let dir = tempfile::tempdir().unwrap();
    shell(dir.path(), script).output().unwrap()
}

#[test]
fn render_special_characters_reach_the_command_unchanged() {
    let hostile =
        ["", "a b", "$HOME", "`id`", "a'b", "\"", "\\", "*", "-n", "x\ny", "\t", "#x", "~", "!", "a;b|c&d"];
    let line = [&["printf", "[%s]"][..], &hostile].concat();
    let output = run(&script(Main::Exec(words(&line))));
    let expected: String = hostile.iter().map(|text| format!("[{text}]")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn quote_any_bytes_survive_the_shell(bytes in proptest::collection::vec(1u8.., 0..40)) {
        let line = [b"printf %s ", &quote(&bytes)[..]].concat();
        let output = Command::new("/bin/sh").arg("-c").arg(std::ffi::OsStr::from_bytes(&line)).output().unwrap();
        prop_assert_eq!(output.stdout, bytes);
    }
}

#[test]
fn render_environment_files_follow_systemd_syntax() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    let text = "# comment\nA=one two\n  B=\"quoted # $A\"  \nC='single'\n;no\nexport D=1\nBAD-NAME=x\nE=last";
    std::fs::write(&file, text).unwrap();
    let path = file.as_os_str().as_bytes().to_vec();
    let missing = EnvironmentFile { path: b"/nonexistent/x".to_vec(), optional: true, is_shell: false };
    let show = |name: &str| {
        Word::Joined(vec![
            Piece::Literal(b"<".to_vec()),
            Piece::Variable(name.into()),
            Piece::Literal(b">".to_vec()),
        ])
    };
    let mut line = words(&["printf", "%s"]);
    line[1] = word("%s\n");
    line.extend(["A", "B", "C", "E", "UNSET"].map(show));
    line.push(Word::Split(b"A".to_vec()));
    let environment_files = vec![missing, EnvironmentFile { path, optional: false, is_shell: false }];
    let output = run(&Script { environment_files, ..script(Main::Exec(line)) });
    let expected = "<one two>\n<quoted # $A>\n<single>\n<last>\n<>\none\ntwo\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
}

#[test]
fn render_missing_secrets_are_listed_and_exit_78() {
    let required = vec![Variable::new(b"DB_PASSWORD").unwrap(), Variable::new(b"TOKEN").unwrap()];
    let required_files = vec![b"/nonexistent/key file".to_vec()];
    let output = run(&Script { required, required_files, ..script(Main::Exec(words(&["echo", "started"]))) });
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(
        message.contains("DB_PASSWORD TOKEN /nonexistent/key file") && output.stdout.is_empty(),
        "{message}"
    );
}

#[test]
fn render_failing_step_prevents_start_unless_ignored() {
    let main = || Main::Exec(words(&["echo", "started"]));
    let failing = Script { before: vec![step(&["false"])], ..script(main()) };
    assert!(!run(&failing).status.success());
    let lenient = Step { may_fail: true, ..step(&["false"]) };
    let output = run(&Script { before: vec![lenient], umask: Some(0o077), ..script(main()) });
    assert_eq!(output.stdout, b"started\n");
}

/// Returns whether the process exists and is not a zombie, which stays in /proc until its parent
/// waits for it.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn render_background_daemon_stops_on_term() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let start = format!("sleep 1000 >/dev/null 2>&1 & echo $! >{}", pid_file.display());
    let script = script(Main::Daemon {
        start: step(&["/bin/sh", "-c", &start]),
        stop: None,
        pid_file: Some(pid_file.as_os_str().as_bytes().to_vec()),
        name: b"sleep".to_vec(),
        signal: "TERM",
    });
    let mut child = shell(dir.path(), &script).stderr(Stdio::piped()).spawn().unwrap();
    let start_time = Instant::now();
    let pid = loop {
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
        if pid.ends_with('\n') {
            break pid.trim().to_owned();
        }
        assert!(start_time.elapsed() < Duration::from_secs(20), "the daemon was not started");
        std::thread::sleep(Duration::from_millis(20));
    };
    // The script polls. Give it time to find the daemon before it gets the signal.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(is_running(&pid) && child.try_wait().unwrap().is_none());
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!is_running(&pid));
}

#[test]
fn render_daemon_that_forks_twice_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let file = pid_file.display();
    let later = format!("sleep 1; sleep 1000 >/dev/null 2>&1 & echo $! >{file}");
    let start = format!("sleep 0.5 & echo $! >{file}; ({later}) >/dev/null 2>&1 &");
    let script = script(Main::Daemon {
        start: step(&["/bin/sh", "-c", &start]),
        stop: None,
        pid_file: Some(pid_file.as_os_str().as_bytes().to_vec()),
        name: b"no-such-daemon".to_vec(),
        signal: "TERM",
    });
    let mut child = shell(dir.path(), &script).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert!(child.try_wait().unwrap().is_none(), "the script followed the first process");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(!is_running(pid.trim()));
}

#[test]
fn render_daemon_that_exits_fails() {
    let script = script(Main::Daemon {
        start: step(&["true"]),
        stop: None,
        pid_file: Some(b"/nonexistent/pid".to_vec()),
        name: b"no-such-daemon".to_vec(),
        signal: "TERM",
    });
    let output = run(&script);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("daemon did not start"));
}

#[test]
fn render_repeated_command_continues_after_failure() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let line = format!("echo again >>{}; false", log.display());
    let script =
        script(Main::Repeat { first: 0, pause: Some(1), run: vec![step(&["/bin/sh", "-c", &line])] });
    let mut child = shell(dir.path(), &script).stderr(Stdio::null()).spawn().unwrap();
    let start_time = Instant::now();
    while std::fs::read_to_string(&log).unwrap_or_default().lines().count() < 2 {
        assert!(start_time.elapsed() < Duration::from_secs(20), "it did not run twice");
        std::thread::sleep(Duration::from_millis(50));
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn preparation_creates_directories_and_log_links() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/my app");
    let log = dir.path().join("error.log");
    let preparation = Preparation {
        directories: vec![(path.as_os_str().as_bytes().to_vec(), 0o2770, 0, 0)],
        logs: vec![(log.as_os_str().as_bytes().to_vec(), true)],
    };
    let text = preparation.render().unwrap();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if is_root {
        let file = dir.path().join("prepare");
        std::fs::write(&file, text).unwrap();
        assert!(Command::new("/bin/sh").arg(file).status().unwrap().success());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o2770);
        assert_eq!(std::fs::read_link(&log).unwrap(), Path::new("/dev/stderr"));
    }
    assert_eq!(Preparation::default().render(), None);
}

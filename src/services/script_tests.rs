//! Runs generated scripts with the system's shell and checks what they do.
#![allow(clippy::disallowed_methods, reason = "the tests run a shell")]

use crate::detect::units::environment;
use crate::detect::units::environment_tests::file;
use crate::detect::units::exec::{Piece, Word};
use crate::detect::units::service::KillMode;
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

/// Returns the control of a unit with these stop commands.
fn control(stop: Vec<Step>) -> Control {
    Control {
        reload: vec![],
        stop,
        stop_post: vec![],
        signal: "TERM",
        mode: KillMode::ControlGroup,
        hangup: false,
        kill: true,
        start_seconds: 3,
        stop_seconds: 2,
    }
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
    let present = EnvironmentFile { path, optional: false, is_shell: false };
    let environment_sources = [missing, present].map(EnvironmentSource::File).to_vec();
    let output = run(&Script { environment_sources, ..script(Main::Exec(line)) });
    let expected = "<one two>\n<quoted # $A>\n<single>\n<last>\n<>\none\ntwo\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn load_any_text_is_read_as_at_conversion(text in file()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, &text).unwrap();
        let names = ["A", "B1", "_C", "x"];
        let print: String = names.iter().map(|name| format!("printf '%s.\\0' \"${{{name}-unset}}\"\n")).collect();
        let main = Main::Exec(words(&["/bin/sh", "-c", &print]));
        let path = path.as_os_str().as_bytes().to_vec();
        let source = EnvironmentSource::File(EnvironmentFile { path, optional: false, is_shell: false });
        let output = run(&Script { environment_sources: vec![source], ..script(main) });
        let variables = environment::parse_file(text.as_bytes());
        let value = |name: &&str| variables.get(name.as_bytes()).unwrap_or(b"unset").to_vec();
        let expected: Vec<u8> = names.iter().flat_map(|name| [value(name), b".\0".to_vec()].concat()).collect();
        prop_assert_eq!(output.stdout, expected);
    }
}

#[test]
fn render_variables_of_files_follow_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env");
    std::fs::write(&path, "A=file\nB=file").unwrap();
    let path = path.as_os_str().as_bytes().to_vec();
    let variable = |name: &str, value: &str| {
        EnvironmentSource::Variable(Variable::new(name.as_bytes()).unwrap(), value.as_bytes().to_vec())
    };
    let file = EnvironmentSource::File(EnvironmentFile { path, optional: false, is_shell: false });
    let environment_sources =
        vec![variable("A", "first"), variable("C", "x\n $y"), file, variable("B", "last")];
    let main = Main::Exec(words(&["/bin/sh", "-c", "printf '%s|' \"$A\" \"$B\" \"$C\""]));
    let output = run(&Script { environment_sources, ..script(main) });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "file|last|x\n $y|");
}

#[test]
fn render_condition_decides_the_start() {
    for (code, expected, output) in [("0", 0, "started\n"), ("3", 0, ""), ("255", 255, "")] {
        let conditions = vec![step(&["/bin/sh", "-c", &format!("exit {code}")])];
        let result = run(&Script { conditions, ..script(Main::Exec(words(&["echo", "started"]))) });
        assert_eq!(result.status.code(), Some(expected), "{code}");
        assert_eq!(String::from_utf8_lossy(&result.stdout), output, "{code}");
    }
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
        main_process: MainProcess::PidFile(pid_file.as_os_str().as_bytes().to_vec()),
        control: control(vec![]),
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

/// Starts a script, sends it a signal after `file` ends in a newline, and returns the exit code
/// and the seconds until the end.
fn stopped(script: &Script, directory: &Path, file: &Path, signals: &[&str]) -> (Option<i32>, u64) {
    let mut child = shell(directory, script).spawn().unwrap();
    let start_time = Instant::now();
    while !std::fs::read_to_string(file).unwrap_or_default().ends_with('\n') {
        assert!(start_time.elapsed() < Duration::from_secs(20), "it did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The script polls. Give it time to find the daemon before it gets the signal.
    for signal in signals {
        std::thread::sleep(Duration::from_millis(1500));
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    }
    let stop_time = Instant::now();
    (child.wait().unwrap().code(), stop_time.elapsed().as_secs())
}

#[test]
fn render_control_commands_get_main_pid() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let log = dir.path().join("log");
    let start = format!("sleep 1000 >/dev/null 2>&1 & echo $! >{}", pid_file.display());
    let kill = vec![word("/bin/kill"), Word::Split(b"MAINPID".to_vec())];
    let say = |what: &str| {
        let line = format!("echo {what} $MAINPID $SERVICE_RESULT >>{}", log.display());
        step(&["/bin/sh", "-c", &line])
    };
    let script = script(Main::Daemon {
        start: step(&["/bin/sh", "-c", &start]),
        main_process: MainProcess::PidFile(pid_file.as_os_str().as_bytes().to_vec()),
        control: Control {
            mode: KillMode::None,
            reload: vec![say("reload")],
            stop_post: vec![say("post")],
            ..control(vec![Step { words: kill, may_fail: false, as_root: false }])
        },
    });
    let (code, seconds) = stopped(&script, dir.path(), &pid_file, &["HUP", "TERM"]);
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(code == Some(0) && seconds < 10 && !is_running(pid.trim()), "{code:?} {seconds}");
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log, format!("reload {0}\npost {0} success\n", pid.trim()));
}

#[test]
fn render_stop_command_without_effect_is_followed_by_signal() {
    for command in [vec![], vec!["false"], vec!["sleep", "1000"]] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let line = format!("sleep 1000 & echo $$ $! >{}; wait", file.display());
        let commands = if command.is_empty() { vec![] } else { vec![step(&command)] };
        let words = words(&["/bin/sh", "-c", &line]);
        let script = script(Main::Child { words, control: control(commands) });
        let (code, seconds) = stopped(&script, dir.path(), &file, &["TERM"]);
        let pids = std::fs::read_to_string(&file).unwrap();
        assert!(code == Some(0) && seconds < 15, "{code:?} {seconds} {command:?}");
        assert!(!pids.split_whitespace().any(is_running), "{command:?}");
    }
}

#[test]
fn render_stop_signals_follow_the_unit() {
    let trap = "trap 'echo INT >>LOG; exit' INT; trap 'echo HUP >>LOG' HUP; trap '' TERM; echo up >LOG; while :; do sleep 0.1; done";
    let deaf = "trap '' TERM INT; echo up >LOG; while :; do sleep 0.1; done";
    // The shell handles signals that arrive together by number.
    for (line, signal, hangup, expected) in
        [(trap, "INT", true, "up\nHUP\nINT\n"), (deaf, "TERM", false, "up\n")]
    {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let line = line.replace("LOG", &log.display().to_string());
        let control = Control { signal, hangup, mode: KillMode::Mixed, ..control(vec![]) };
        let words = words(&["/bin/sh", "-c", &line]);
        let (code, seconds) = stopped(&script(Main::Child { words, control }), dir.path(), &log, &["TERM"]);
        assert!(code == Some(0) && seconds < 10, "{code:?} {seconds}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
    }
}

#[test]
fn render_child_that_exits_passes_its_code() {
    for code in [0, 7] {
        let words = words(&["/bin/sh", "-c", &format!("exit {code}")]);
        let script = script(Main::Child { words, control: control(vec![]) });
        assert_eq!(run(&script).status.code(), Some(code));
    }
}

#[test]
fn render_main_process_without_pid_file_is_guessed() {
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user cannot create process namespaces");
        return;
    }
    for main_process in [MainProcess::Guess, MainProcess::Unknown] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let start = "setsid sh -c 'sleep 1000 & wait' </dev/null >/dev/null 2>&1 &";
        let line = format!("echo \"$(cat /proc/$MAINPID/comm)\" >{}", log.display());
        let script = script(Main::Daemon {
            start: step(&["/bin/sh", "-c", start]),
            main_process: main_process.clone(),
            control: control(vec![step(&["/bin/sh", "-c", &line])]),
        });
        let entry = dir.path().join("entry");
        std::fs::write(&entry, script.render()).unwrap();
        let mut command = Command::new("unshare");
        let mut unshared = command.args(unshare).arg("sh").arg(entry).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        // The signal goes to PID 1 of the namespace, as an engine sends it.
        let pid = unshared.id();
        let first = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        Command::new("kill").arg(first.trim()).status().unwrap();
        let status = unshared.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{main_process:?}");
        let expected = if main_process == MainProcess::Guess { "sh\n" } else { "\n" };
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected, "{main_process:?}");
    }
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
        main_process: MainProcess::PidFile(pid_file.as_os_str().as_bytes().to_vec()),
        control: control(vec![]),
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
        main_process: MainProcess::PidFile(b"/nonexistent/pid".to_vec()),
        control: control(vec![]),
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
        ..Preparation::default()
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

#[test]
fn render_empty_data_exits_78() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it's data");
    std::fs::create_dir_all(path.join("lost+found")).unwrap();
    let required_data = vec![std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()];
    let script = Script { required_data, ..script(Main::Exec(words(&["echo", "started"]))) };
    let output = run(&script);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(message.contains("volumes are empty") && message.contains("it's data"), "{message}");
    std::fs::write(path.join("base"), "x").unwrap();
    assert_eq!(run(&script).stdout, b"started\n");
}

//! Writes entry scripts in POSIX shell, which prepare a service and start it. Pure.
//!
//! One function, [`quote`], quotes every word that comes from the machine. The shell expands only
//! variables.

use super::model::{User, Variable};
use crate::detect::units::exec::{Piece, Word};
use crate::detect::units::service::KillMode;
use crate::model::escape;
use std::collections::{BTreeMap, BTreeSet};

/// A command that the script waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Executable and arguments.
    pub(super) words: Vec<Word>,
    /// Whether the script ignores a failure.
    pub(super) may_fail: bool,
    /// Whether the command runs as root if the service has a user.
    pub(super) as_root: bool,
}

/// A source of environment variables at the start of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EnvironmentSource {
    /// A file that is not in the image, or that is shell code.
    File(EnvironmentFile),
    /// A variable of a file that was read at conversion.
    Variable(Variable, Vec<u8>),
}

/// A file that sets environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnvironmentFile {
    /// Absolute path.
    pub(super) path: Vec<u8>,
    /// Whether the file can be missing.
    pub(super) optional: bool,
    /// Whether the file is shell code rather than lines of `NAME=VALUE`.
    pub(super) is_shell: bool,
}

/// The source of a daemon's main PID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MainProcess {
    /// A PID file, by its absolute path.
    PidFile(Vec<u8>),
    /// The only process of the service whose parent has ended, as systemd guesses it
    /// (`GuessMainPID=`).
    Guess,
    /// Unknown. The service runs as long as it has processes.
    Unknown,
}

/// Commands and signals that reload and stop a service (`systemd.service(5)`, `systemd.kill(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// `ExecReload=`; without commands, the main process gets SIGHUP.
    pub(super) reload: Vec<Step>,
    /// `ExecStop=`, before the signal.
    pub(super) stop: Vec<Step>,
    /// `ExecStopPost=`, after the end of the service.
    pub(super) stop_post: Vec<Step>,
    /// Stop signal without `SIG`.
    pub(super) signal: &'static str,
    /// Processes that get the signal.
    pub(super) mode: KillMode,
    /// Whether SIGHUP follows the signal (`SendSIGHUP=`).
    pub(super) hangup: bool,
    /// Whether SIGKILL follows after the timeout (`SendSIGKILL=`).
    pub(super) kill: bool,
    /// Seconds that the daemon has to write its PID file.
    pub(super) start_seconds: u64,
    /// Seconds that the stop commands have, and then again the processes after the signal.
    pub(super) stop_seconds: u64,
}

/// The command that the container exists for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Main {
    /// A command that stays in the foreground.
    Exec(Vec<Word>),
    /// A command that starts a daemon in the background and exits.
    Daemon {
        /// Command that starts the daemon.
        start: Step,
        /// Determines the main process.
        main_process: MainProcess,
        /// Commands and signals that control the daemon.
        control: Control,
    },
    /// A command that stays in the foreground, and commands that reload or stop it.
    Child {
        /// Executable and arguments.
        words: Vec<Word>,
        /// Commands and signals that control the command.
        control: Control,
    },
    /// Commands at calendar times, computed by `systemd-analyze calendar` (`systemd.time(7)`).
    Calendar {
        /// Calendar expressions.
        times: Vec<Vec<u8>>,
        /// Commands to run.
        run: Vec<Step>,
    },
    /// Commands that run repeatedly.
    Repeat {
        /// Seconds before the first run.
        first: u64,
        /// Seconds between the end of a run and the next start; `None` to run once.
        pause: Option<u64>,
        /// Commands to run.
        run: Vec<Step>,
    },
}

/// An entry script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// Name of the unit, escaped.
    pub(super) unit: String,
    /// File mode creation mask.
    pub(super) umask: Option<u16>,
    /// Variables that the operator must set.
    pub(super) required: Vec<Variable>,
    /// Absolute paths of withheld files that the operator must mount.
    pub(super) required_files: Vec<Vec<u8>>,
    /// Absolute paths of live data that the operator must copy from the machine.
    pub(super) required_data: Vec<Vec<u8>>,
    /// Variables whose values need quoting in a Dockerfile.
    pub(super) environment: BTreeMap<Variable, Vec<u8>>,
    /// Variables of environment files, in order. They override [`Script::environment`].
    pub(super) environment_sources: Vec<EnvironmentSource>,
    /// Working directory, if it is not the image's.
    pub(super) directory: Option<Vec<u8>>,
    /// Commands that decide whether the service starts (`ExecCondition=`).
    pub(super) conditions: Vec<Step>,
    /// Commands that run before the main command.
    pub(super) before: Vec<Step>,
    /// Main command.
    pub(super) main: Main,
    /// User for all commands that are not [`Step::as_root`], if the container starts as root.
    pub(super) run_as: Option<User>,
}

/// Shell function that reads an environment file.
const LOAD: &str = include_str!("load.sh");
/// Shell functions that find the processes of a service, reload and stop it.
const CONTROL: &str = include_str!("control.sh");

impl Script {
    /// Creates a script without commands.
    pub(super) fn new(unit: String) -> Self {
        Script {
            unit,
            umask: None,
            required: Vec::new(),
            required_files: Vec::new(),
            required_data: Vec::new(),
            environment: BTreeMap::new(),
            environment_sources: Vec::new(),
            directory: None,
            conditions: Vec::new(),
            before: Vec::new(),
            main: Main::Exec(Vec::new()),
            run_as: None,
        }
    }

    /// Returns the script's text.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = format!(
            "#!/bin/sh\n# Entry script of {}: prepares the service, then starts it.\nset -euf\n",
            self.unit
        )
        .into_bytes();
        if let Some(umask) = self.umask {
            text.extend(format!("umask {umask:04o}\n").bytes());
        }
        self.check_secrets(&mut text);
        self.check_data(&mut text);
        for (name, value) in &self.environment {
            line(&mut text, &[format!("export {}=", name.as_str()).as_bytes(), &quote(value)]);
        }
        self.load_files(&mut text);
        if let Some(directory) = &self.directory {
            line(&mut text, &[b"cd -- ", &quote(directory)]);
        }
        for step in &self.conditions {
            self.condition(step, &mut text);
        }
        for step in &self.before {
            self.step(step, &mut text);
        }
        self.main(&mut text);
        text
    }

    /// Appends the check for missing secrets. It lists all of them, then exits with 78
    /// (`EX_CONFIG` of sysexits.h).
    fn check_secrets(&self, text: &mut Vec<u8>) {
        if self.required.is_empty() && self.required_files.is_empty() {
            return;
        }
        text.extend(b"missing=\n");
        for name in &self.required {
            let name = name.as_str();
            text.extend(format!("[ -n \"${{{name}-}}\" ] || missing=\"$missing {name}\"\n").bytes());
        }
        for path in &self.required_files {
            // The message contains the escaped path, so that control characters do not reach a
            // terminal.
            let (path, shown) = (quote(path), quote(escape::escape(path).as_bytes()));
            line(text, &[b"[ -s ", &path, b" ] || missing=$missing' '", &shown]);
        }
        text.extend(b"[ -z \"$missing\" ] || {\n  echo \"error: secrets are missing:$missing\" >&2\n  echo 'hint: SECRETS.todo in the context has the commands that provide them' >&2\n  exit 78\n}\n");
    }

    /// Appends the check for empty volumes of live data. A daemon would create an empty database in
    /// one, and the application would start without its data.
    fn check_data(&self, text: &mut Vec<u8>) {
        if self.required_data.is_empty() {
            return;
        }
        text.extend(b"empty=\n");
        for path in &self.required_data {
            let (path, shown) = (quote(path), quote(escape::escape(path).as_bytes()));
            // File systems of their own have a directory lost+found.
            line(text, &[b"ls -A ", &path, b" | grep -qvx lost+found || empty=$empty' '", &shown]);
        }
        text.extend(
            b"[ -z \"$empty\" ] || {\n  echo \"error: the volumes are empty:$empty\" >&2\n  \
              echo 'hint: copy the data from the machine first: README.md, section Data' >&2\n  \
              exit 78\n}\n",
        );
    }

    /// Returns the environment files that are read when the container starts.
    pub(super) fn environment_files(&self) -> impl Iterator<Item = &EnvironmentFile> {
        self.environment_sources.iter().filter_map(|source| match source {
            EnvironmentSource::File(file) => Some(file),
            EnvironmentSource::Variable(..) => None,
        })
    }

    fn load_files(&self, text: &mut Vec<u8>) {
        if self.environment_files().any(|file| !file.is_shell) {
            text.extend(LOAD.bytes());
        }
        for source in &self.environment_sources {
            let file = match source {
                EnvironmentSource::File(file) => file,
                EnvironmentSource::Variable(name, value) => {
                    line(text, &[format!("export {}=", name.as_str()).as_bytes(), &quote(value)]);
                    continue;
                }
            };
            let path = quote(&file.path);
            let test: &[&[u8]] = if file.optional { &[b"[ ! -r ", &path, b" ] || "] } else { &[] };
            text.extend(test.concat());
            match file.is_shell {
                // Shell files can use unset variables, which `set -u` forbids.
                true => line(text, &[b"{ set +u; . ", &path, b"; set -u; }"]),
                false => line(text, &[b"load ", &path]),
            }
        }
    }

    fn step(&self, step: &Step, text: &mut Vec<u8>) {
        self.step_or(step, b"\n", text);
    }

    /// Appends a command, and `end` if a failure of the command counts.
    fn step_or(&self, step: &Step, end: &[u8], text: &mut Vec<u8>) {
        if !step.as_root {
            text.extend(self.user_prefix());
        }
        text.extend(command(&step.words));
        text.extend(if step.may_fail { &b" || :\n"[..] } else { end });
    }

    /// Appends a command of `ExecCondition=`: an exit code from 1 to 254 means that the service
    /// does not start, which is not a failure (`systemd.service(5)`).
    fn condition(&self, step: &Step, text: &mut Vec<u8>) {
        text.extend(b"code=0\n");
        self.step_or(&Step { may_fail: false, ..step.clone() }, b" || code=$?\n", text);
        text.extend(b"case $code in\n  0) ;;\n");
        text.extend(b"  255) exit 255 ;;\n");
        let message = "echo 'not started: its ExecCondition= is not met' >&2";
        text.extend(format!("  *) {message}; exit 0 ;;\nesac\n").bytes());
    }

    /// Returns the prefix that runs a command as the service's user (`setpriv(1)`).
    fn user_prefix(&self) -> Vec<u8> {
        let Some(user) = &self.run_as else { return Vec::new() };
        let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
        let groups = match groups.is_empty() {
            true => "--clear-groups".to_owned(),
            false => format!("--groups={}", groups.join(",")),
        };
        format!("setpriv --reuid={} --regid={} {groups} -- ", user.uid, user.gid).into_bytes()
    }

    fn main(&self, text: &mut Vec<u8>) {
        match &self.main {
            Main::Exec(words) => line(text, &[b"exec ", &self.user_prefix(), &command(words)]),
            Main::Daemon { start, main_process, control } => {
                self.control_functions(control, text);
                find_function(main_process, text);
                self.step(start, text);
                text.extend(b"v2d_watch\n");
            }
            Main::Child { words, control } => {
                self.control_functions(control, text);
                // A shell starts background commands with SIGINT and SIGQUIT ignored (POSIX 2018,
                // XCU 2.11). env restores them (coreutils 8.31).
                text.extend(b"v2d_env='env --default-signal=INT,QUIT'\n");
                text.extend(b"$v2d_env true 2>/dev/null || v2d_env=\n");
                line(text, &[b"$v2d_env ", &self.user_prefix(), &command(words), b" &"]);
                text.extend(b"pid=$!\nv2d_watch_child\n");
            }
            Main::Calendar { times, run } => {
                self.run_function(run, text);
                text.extend(b"trap 'exit 0' TERM INT\nnext() {\n");
                for time in times {
                    let spec = quote(time);
                    line(text, &[b"  systemd-analyze calendar --iterations=1 -- ", &spec]);
                }
                text.extend(NEXT.bytes());
            }
            Main::Repeat { first, pause, run } => {
                self.run_function(run, text);
                // The shell runs a trap only after a foreground command ends, so `sleep` runs in
                // the background (POSIX 2018, XCU 2.11).
                text.extend(format!("trap 'exit 0' TERM INT\nsleep {first} & wait $!\n").bytes());
                match pause {
                    Some(pause) => {
                        let again = format!(
                            "while :; do\n  run || echo 'error: a scheduled command failed' >&2\n  sleep {pause} & wait $!\ndone\n"
                        );
                        text.extend(again.bytes());
                    }
                    None => text.extend(b"run\n"),
                }
            }
        }
    }

    /// Appends the functions that control the service, and the values that they use.
    fn control_functions(&self, control: &Control, text: &mut Vec<u8>) {
        let mode = match control.mode {
            KillMode::ControlGroup => "control-group",
            KillMode::Mixed => "mixed",
            KillMode::Process => "process",
            KillMode::None => "none",
        };
        let Control { signal, hangup, kill, start_seconds, stop_seconds, .. } = control;
        let yes = |flag: &bool| if *flag { "yes" } else { "" };
        text.extend(
            format!(
                "pid= v2d_mode={mode} v2d_signal={signal} v2d_hangup={} v2d_kill={}\n",
                yes(hangup),
                yes(kill)
            )
            .bytes(),
        );
        text.extend(format!("v2d_start_seconds={start_seconds} v2d_stop_seconds={stop_seconds}\n").bytes());
        let has = |steps: &[Step]| if steps.is_empty() { "" } else { "yes" };
        text.extend(format!("v2d_reload={} v2d_stop={}\n", has(&control.reload), has(&control.stop)).bytes());
        for (name, steps) in [
            ("reload_commands", &control.reload),
            ("stop_commands", &control.stop),
            ("stop_post_commands", &control.stop_post),
        ] {
            text.extend(format!("{name}() {{\n  :\n").bytes());
            for step in steps {
                text.extend(b"  ");
                // After a failure, systemd skips the other commands (systemd.service(5)).
                self.step_or(step, b" || return\n", text);
            }
            text.extend(b"}\n");
        }
        text.extend(CONTROL.bytes());
    }

    fn run_function(&self, steps: &[Step], text: &mut Vec<u8>) {
        text.extend(b"run() (\n");
        for step in steps {
            text.extend(b"  ");
            self.step(step, text);
        }
        text.extend(b")\n");
    }
}

/// Shell code that waits for the earliest time that `next` prints, then calls `run`.
const NEXT: &str = r#"} 2>/dev/null
while :; do
  at=$(next | sed -n 's/^ *(in UTC): *[A-Za-z]* *\(.*\)$/\1/p; s/^ *Next elapse: *[A-Za-z]* *\(.* UTC\)$/\1/p' |
    while read -r time; do date -d "$time" +%s; done | sort -n | head -n 1)
  [ -n "$at" ] || { echo 'no calendar time is in the future' >&2; exit 0; }
  while now=$(date +%s) && [ "$now" -lt "$at" ]; do
    left=$((at - now))
    [ "$left" -lt 60 ] || left=60
    sleep "$left" & wait $!
  done
  run || echo 'error: a scheduled command failed' >&2
done
"#;

/// Appends the shell function `v2d_find`, which sets `pid` to the main process.
fn find_function(main_process: &MainProcess, text: &mut Vec<u8>) {
    match main_process {
        MainProcess::PidFile(path) => {
            let path = quote(path);
            text.extend(b"v2d_find() {\n  pid=\n");
            line(text, &[b"  [ ! -s ", &path, b" ] || read -r pid <", &path, b" || :"]);
            text.extend(b"  case $pid in '' | *[!0-9]*) pid= ;; esac\n  v2d_alive \"$pid\"\n}\n");
        }
        MainProcess::Guess => text.extend(b"v2d_find() { v2d_guess; }\n"),
        MainProcess::Unknown => text.extend(b"v2d_find() { v2d_any; }\n"),
    }
}

/// A script that the build of a service's image runs as root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// Directories: path, mode, UID, GID.
    pub(super) directories: Vec<(Vec<u8>, u16, u32, u32)>,
    /// Log files to link to the container's output: path, and whether to standard error.
    pub(super) logs: Vec<(Vec<u8>, bool)>,
    /// Accounts of directories that no account file has, with directory and file, escaped.
    pub(super) unknown_owners: BTreeSet<String>,
}

impl Preparation {
    /// Returns the script's text, or `None` if there is nothing to prepare.
    pub(super) fn render(&self) -> Option<Vec<u8>> {
        if self.directories.is_empty() && self.logs.is_empty() {
            return None;
        }
        let mut text = b"# Creates the paths that the service needs at start.\nset -eu\numask 022\n".to_vec();
        for (path, mode, uid, gid) in &self.directories {
            let path = quote(path);
            // A link could lead to a file of another user.
            line(&mut text, &[b"if ! [ -L ", &path, b" ]; then"]);
            line(&mut text, &[b"  mkdir -p -- ", &path]);
            line(&mut text, &[format!("  chown -h {uid}:{gid} -- ").as_bytes(), &path]);
            line(&mut text, &[format!("  chmod {mode:04o} -- ").as_bytes(), &path, b"\nfi"]);
        }
        for (path, is_error) in &self.logs {
            let target: &[u8] = if *is_error { b"ln -sf /dev/stderr " } else { b"ln -sf /dev/stdout " };
            line(&mut text, &[target, &quote(path)]);
        }
        Some(text)
    }
}

/// Returns a command line.
fn command(words: &[Word]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(word).collect();
    words.join(&b' ')
}

/// Returns a word in shell syntax. A variable whose name is invalid in shells expands to nothing,
/// like an unset one.
fn word(word: &Word) -> Vec<u8> {
    match word {
        Word::Split(name) => match Variable::new(name) {
            Some(name) => format!("${{{}-}}", name.as_str()).into_bytes(),
            None => Vec::new(),
        },
        Word::Joined(pieces) => {
            let word: Vec<u8> = pieces.iter().flat_map(piece).collect();
            if word.is_empty() { b"''".to_vec() } else { word }
        }
    }
}

fn piece(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Literal(text) if text.is_empty() => Vec::new(),
        Piece::Literal(text) => quote(text),
        Piece::Variable(name) => match Variable::new(name) {
            Some(name) => format!("\"${{{}-}}\"", name.as_str()).into_bytes(),
            None => Vec::new(),
        },
    }
}

/// Quotes arbitrary bytes as one shell word. Within single quotes, no character is special (POSIX
/// 2018, XCU 2.2.2).
pub(super) fn quote(bytes: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return bytes.to_vec();
    }
    let mut quoted = vec![b'\''];
    for &byte in bytes {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

fn line(text: &mut Vec<u8>, parts: &[&[u8]]) {
    text.extend(parts.concat());
    text.push(b'\n');
}

//! Entry scripts: what a unit does before its program, and around it, as POSIX shell. Pure.
//!
//! Every word that comes from the machine is quoted here, in one function; a
//! variable is the only thing that the shell expands.

use super::model::{User, Variable};
use crate::detect::units::exec::{Piece, Word};
use crate::model::escape;
use std::collections::BTreeMap;

/// A command that runs to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The program and its arguments.
    pub(super) words: Vec<Word>,
    /// Its failure does not matter.
    pub(super) may_fail: bool,
    /// It runs as root whoever the service runs as.
    pub(super) as_root: bool,
}

/// A file of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnvironmentFile {
    /// Absolute.
    pub(super) path: Vec<u8>,
    /// It need not be there.
    pub(super) optional: bool,
    /// It is a piece of shell rather than lines of `NAME=VALUE`.
    pub(super) is_shell: bool,
}

/// What the container is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Main {
    /// A program that stays in the foreground.
    Exec(Vec<Word>),
    /// A command that leaves a daemon behind and ends.
    Daemon {
        /// The command.
        start: Step,
        /// What ends it; nothing: the signal.
        stop: Option<Step>,
        /// Where it writes its number.
        pid_file: Option<Vec<u8>>,
        /// The daemon's name (`proc_pid_comm(5)`), for where there is no such file: unlike its program, everybody may read it.
        name: Vec<u8>,
        /// The signal that ends it, without `SIG`.
        signal: &'static str,
    },
    /// Commands at times that `systemd-analyze calendar` tells (`systemd.time(7)`).
    Calendar {
        /// Calendar expressions.
        times: Vec<Vec<u8>>,
        /// The commands.
        run: Vec<Step>,
    },
    /// Commands again and again.
    Repeat {
        /// Seconds before the first time.
        first: u64,
        /// Seconds between one end and the next start; nothing: once.
        pause: Option<u64>,
        /// The commands.
        run: Vec<Step>,
    },
}

/// Everything that an entry script does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// Whose container this is: the unit's name, escaped.
    pub(super) unit: String,
    /// File mode creation mask.
    pub(super) umask: Option<u16>,
    /// Variables that whoever starts the container has to give.
    pub(super) required: Vec<Variable>,
    /// Withheld files that have to be mounted, absolute.
    pub(super) required_files: Vec<Vec<u8>>,
    /// Variables whose values cannot stand in a Dockerfile.
    pub(super) environment: BTreeMap<Variable, Vec<u8>>,
    /// Files of variables, in order.
    pub(super) environment_files: Vec<EnvironmentFile>,
    /// Where to run, if not where the image says.
    pub(super) directory: Option<Vec<u8>>,
    /// What comes first.
    pub(super) before: Vec<Step>,
    /// The program.
    pub(super) main: Main,
    /// The container starts as root and becomes this user for everything that is not [`Step::as_root`].
    pub(super) becomes: Option<User>,
}

/// Reads lines of `NAME=VALUE` as `systemd.exec(5)` says for `EnvironmentFile=`.
const LOAD: &str = r#"
load() {
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line#"${line%%[![:space:]]*}"}
    line=${line%"${line##*[![:space:]]}"}
    case $line in [A-Za-z_]*=*) ;; *) continue ;; esac
    name=${line%%=*} value=${line#*=}
    case $name in *[!A-Za-z0-9_]*) continue ;; esac
    case $value in
      \"*\") value=${value#\"} value=${value%\"} ;;
      \'*\') value=${value#\'} value=${value%\'} ;;
    esac
    export "$name=$value"
  done <"$1"
}
"#;

impl Script {
    /// A script that runs nothing yet.
    pub(super) fn new(unit: String) -> Self {
        Script {
            unit,
            umask: None,
            required: Vec::new(),
            required_files: Vec::new(),
            environment: BTreeMap::new(),
            environment_files: Vec::new(),
            directory: None,
            before: Vec::new(),
            main: Main::Exec(Vec::new()),
            becomes: None,
        }
    }

    /// The script.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut text =
            format!("#!/bin/sh\n# {}: what it does before its program.\nset -euf\n", self.unit).into_bytes();
        if let Some(umask) = self.umask {
            text.extend(format!("umask {umask:04o}\n").bytes());
        }
        self.refuse_without(&mut text);
        for (name, value) in &self.environment {
            line(&mut text, &[format!("export {}=", name.as_str()).as_bytes(), &quote(value)]);
        }
        self.load_files(&mut text);
        if let Some(directory) = &self.directory {
            line(&mut text, &[b"cd -- ", &quote(directory)]);
        }
        for step in &self.before {
            self.step(step, &mut text);
        }
        self.main(&mut text);
        text
    }

    /// What is missing is named, all of it at once.
    fn refuse_without(&self, text: &mut Vec<u8>) {
        if self.required.is_empty() && self.required_files.is_empty() {
            return;
        }
        text.extend(b"missing=\n");
        for name in &self.required {
            let name = name.as_str();
            text.extend(format!("[ -n \"${{{name}-}}\" ] || missing=\"$missing {name}\"\n").bytes());
        }
        for path in &self.required_files {
            let (path, shown) = (quote(path), quote(escape::escape(path).as_bytes()));
            line(text, &[b"[ -e ", &path, b" ] || missing=$missing' '", &shown]);
        }
        text.extend(b"[ -z \"$missing\" ] || { echo \"withheld from the image, see SECRETS.todo; give it to this container:$missing\" >&2; exit 78; }\n");
    }

    fn load_files(&self, text: &mut Vec<u8>) {
        if self.environment_files.iter().any(|file| !file.is_shell) {
            text.extend(LOAD.bytes());
        }
        for file in &self.environment_files {
            let path = quote(&file.path);
            let test: &[&[u8]] = if file.optional { &[b"[ ! -r ", &path, b" ] || "] } else { &[] };
            text.extend(test.concat());
            match file.is_shell {
                true => line(text, &[b"{ set +u; . ", &path, b"; set -u; }"]),
                false => line(text, &[b"load ", &path]),
            }
        }
    }

    fn step(&self, step: &Step, text: &mut Vec<u8>) {
        if !step.as_root {
            text.extend(self.becoming());
        }
        text.extend(command(&step.words));
        text.extend(if step.may_fail { &b" || :\n"[..] } else { b"\n" });
    }

    /// What goes before a command so that it runs as the service's user (`setpriv(1)`).
    fn becoming(&self) -> Vec<u8> {
        let Some(user) = &self.becomes else { return Vec::new() };
        let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
        let groups = match groups.is_empty() {
            true => "--clear-groups".to_owned(),
            false => format!("--groups={}", groups.join(",")),
        };
        format!("setpriv --reuid={} --regid={} {groups} -- ", user.uid, user.gid).into_bytes()
    }

    fn main(&self, text: &mut Vec<u8>) {
        match &self.main {
            Main::Exec(words) => line(text, &[b"exec ", &self.becoming(), &command(words)]),
            Main::Daemon { start, stop, pid_file, name, signal } => {
                self.step(start, text);
                find_daemon(pid_file.as_deref(), name, text);
                text.extend(b"stop() {\n  trap '' TERM INT\n  ");
                match stop {
                    Some(step) => self.step(&Step { may_fail: true, ..step.clone() }, text),
                    None => text.extend(format!("kill -{signal} \"$pid\" || :\n").bytes()),
                }
                text.extend(b"  while running; do sleep 0.2; done\n  exit 0\n}\ntrap stop TERM INT\n");
                text.extend(b"while appears; do\n  while running; do sleep 1 & wait $! || :; done\ndone\n");
                text.extend(b"echo 'the daemon has ended' >&2\nexit 1\n");
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
                text.extend(format!("trap 'exit 0' TERM INT\nsleep {first} & wait $!\n").bytes());
                match pause {
                    Some(pause) => {
                        let again = format!(
                            "while :; do\n  run || echo 'failed' >&2\n  sleep {pause} & wait $!\ndone\n"
                        );
                        text.extend(again.bytes());
                    }
                    None => text.extend(b"run\n"),
                }
            }
        }
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

/// Waits for the nearest of the times that `next` prints, and runs.
const NEXT: &str = r#"} 2>/dev/null
while :; do
  at=$(next | sed -n 's/^ *(in UTC): *[A-Za-z]* *\(.*\)$/\1/p; s/^ *Next elapse: *[A-Za-z]* *\(.* UTC\)$/\1/p' |
    while read -r time; do date -d "$time" +%s; done | sort -n | head -n 1)
  [ -n "$at" ] || { echo 'none of the times is ever reached' >&2; exit 0; }
  while now=$(date +%s) && [ "$now" -lt "$at" ]; do
    left=$((at - now))
    [ "$left" -lt 60 ] || left=60
    sleep "$left" & wait $!
  done
  run || echo 'failed' >&2
done
"#;

/// The daemon has ten seconds to appear; so has its successor, for a daemon that forks twice is somebody else for a while.
const WATCH: &str = r#"appears() {
  tries=0
  until find && running; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || return 1
    sleep 0.2 & wait $! || :
  done
}
appears || { echo 'the daemon did not stay' >&2; exit 1; }
"#;

/// Shell functions that know the daemon: `pid`, whether it is running, and whether it comes to run.
fn find_daemon(pid_file: Option<&[u8]>, name: &[u8], text: &mut Vec<u8>) {
    text.extend(b"pid=\nfind() {\n  pid=\n");
    if let Some(pid_file) = pid_file {
        let pid_file = quote(pid_file);
        line(text, &[b"  [ ! -s ", &pid_file, b" ] || read -r pid <", &pid_file, b" || :"]);
        text.extend(b"  case $pid in '' | *[!0-9]*) pid= ;; esac\n  [ -z \"$pid\" ] || return 0\n");
    }
    text.extend(
        b"  set +f\n  for file in /proc/[0-9]*/comm; do\n    number=${file#/proc/} number=${number%/comm}\n",
    );
    text.extend(b"    [ \"$number\" != $$ ] && [ \"$number\" != 1 ] || continue\n");
    let read = b"    comm=; { IFS= read -r comm <\"$file\"; } 2>/dev/null || continue\n";
    line(text, &[&read[..], b"    [ \"$comm\" != ", &quote(name), b" ] || { pid=$number; break; }"]);
    text.extend(b"  done\n  set -f\n  [ -n \"$pid\" ]\n}\n");
    // A process that nobody waited for is still listed.
    text.extend(b"running() { [ -n \"$pid\" ] && [ -d \"/proc/$pid\" ] && ! grep -q '^State:.*Z' \"/proc/$pid/status\" 2>/dev/null; }\n");
    text.extend(WATCH.bytes());
}

/// A script that the build of a service's image runs as root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// Directories: path, permissions, owner, group.
    pub(super) directories: Vec<(Vec<u8>, u16, u32, u32)>,
    /// Log files that become links to the container's output: path, and whether it is that for errors.
    pub(super) logs: Vec<(Vec<u8>, bool)>,
}

impl Preparation {
    /// The script; nothing if there is nothing to do.
    pub(super) fn render(&self) -> Option<Vec<u8>> {
        if self.directories.is_empty() && self.logs.is_empty() {
            return None;
        }
        let mut text =
            b"# What the service finds on the machine before it starts.\nset -eu\numask 022\n".to_vec();
        for (path, mode, uid, gid) in &self.directories {
            let path = quote(path);
            line(&mut text, &[b"mkdir -p -- ", &path]);
            line(&mut text, &[format!("chown {uid}:{gid} -- ").as_bytes(), &path]);
            line(&mut text, &[format!("chmod {mode:04o} -- ").as_bytes(), &path]);
        }
        for (path, is_error) in &self.logs {
            let target: &[u8] = if *is_error { b"ln -sf /dev/stderr " } else { b"ln -sf /dev/stdout " };
            line(&mut text, &[target, &quote(path)]);
        }
        Some(text)
    }
}

/// A command of several words.
fn command(words: &[Word]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(word).collect();
    words.join(&b' ')
}

/// What the shell makes of a word. A name that no shell knows stands for nothing, as one that is not set.
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

/// One word of shell whatever the bytes are (POSIX 2018, XCU 2.2.2): nothing within single quotes means anything.
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

//! Determines how a service reloads and stops: commands, signals and processes. Pure.

use super::command::{Run, words_of};
use super::script::{Control, Main, MainProcess, Step};
use super::survey::{Candidate, Survey};
use crate::detect::units::amount::TimeSpan;
use crate::detect::units::exec::{Exec, Piece, Word};
use crate::detect::units::service::{KillMode, ServiceUnit};
use std::time::Duration;

/// Stop signals that a container can have, without `SIG`, with their numbers on Linux (signal(7)).
const SIGNALS: &[(&str, &str)] = &[
    ("HUP", "1"),
    ("INT", "2"),
    ("QUIT", "3"),
    ("ABRT", "6"),
    ("KILL", "9"),
    ("USR1", "10"),
    ("SEGV", "11"),
    ("USR2", "12"),
    ("PIPE", "13"),
    ("ALRM", "14"),
    ("TERM", "15"),
    ("CHLD", "17"),
    ("CONT", "18"),
    ("STOP", "19"),
    ("WINCH", "28"),
    ("IO", "29"),
    ("PWR", "30"),
    ("RTMIN+3", "37"),
    ("RTMIN", "34"),
];
/// Seconds that systemd waits if the unit sets no timeout (`DefaultTimeoutStopSec=`,
/// systemd-system.conf(5)).
const DEFAULT_SECONDS: u64 = 90;
/// Seconds instead of `infinity`, because engines require a number.
const UNLIMITED_SECONDS: u64 = 3600;
/// Seconds that a daemon without a PID file has to appear after its start command has exited.
const APPEARANCE_SECONDS: u64 = 10;

impl Control {
    /// Returns the control of a service without a unit: one command stops it.
    pub(super) fn command(stop: Step) -> Self {
        Control {
            reload: Vec::new(),
            stop: vec![stop],
            stop_post: Vec::new(),
            signal: "TERM",
            mode: KillMode::ControlGroup,
            hangup: false,
            kill: true,
            start_seconds: APPEARANCE_SECONDS,
            stop_seconds: DEFAULT_SECONDS,
        }
    }

    /// Returns all commands.
    pub(super) fn steps(&mut self) -> impl Iterator<Item = &mut Step> {
        self.reload.iter_mut().chain(&mut self.stop).chain(&mut self.stop_post)
    }

    /// Returns the time that the script needs at most after the stop signal.
    fn stop_time(&self) -> Duration {
        // The timeout applies to the stop commands, to the signal, and to the commands afterwards.
        let phases = [!self.stop.is_empty(), true, !self.stop_post.is_empty()];
        let phases = phases.into_iter().filter(|phase| *phase).count() as u64;
        let kill = if self.kill { self.stop_seconds } else { UNLIMITED_SECONDS };
        Duration::from_secs((self.stop_seconds * (phases - 1) + kill).min(UNLIMITED_SECONDS))
    }
}

impl Run {
    /// Returns how the unit reloads and stops. [`Run::signal`] sets the signal.
    fn control(&mut self, service: &ServiceUnit) -> Control {
        Control {
            reload: self.steps(service.exec_reload.iter()),
            stop: self.steps(service.exec_stop.iter()),
            stop_post: self.steps(service.exec_stop_post.iter()),
            signal: "TERM",
            mode: service.kill_mode,
            hangup: service.send_sighup,
            kill: service.send_sigkill,
            start_seconds: APPEARANCE_SECONDS,
            stop_seconds: seconds(service.timeout_stop),
        }
    }

    /// Returns the command of a unit whose main process stays in the foreground.
    ///
    /// A script controls it only if a signal to the main process does not do the same.
    pub(super) fn foreground(&mut self, service: &ServiceUnit, words: Vec<Word>) -> Main {
        // The table of daemons states the signal that stops a known daemon.
        if self.daemon.is_some() {
            if service.exec_stop.iter().any(|exec| kill_signal(exec).is_none()) {
                let note = "its stop commands (ExecStop=) are left out, because a signal stops it";
                self.notes.push(note.to_owned());
            }
            return Main::Exec(words);
        }
        let is_signal = service.exec_stop.iter().all(|exec| kill_signal(exec).is_some());
        if is_signal && service.exec_stop_post.is_empty() && !service.send_sighup {
            return Main::Exec(words);
        }
        let control = self.control(service);
        let has_commands = !control.stop.is_empty() || !control.stop_post.is_empty();
        if has_commands || control.hangup { Main::Child { words, control } } else { Main::Exec(words) }
    }

    /// Returns the command of a unit that leaves a daemon in the background.
    pub(super) fn background(
        &mut self,
        candidate: &Candidate<'_>,
        service: &ServiceUnit,
        exec: &Exec,
        survey: &Survey<'_>,
    ) -> Main {
        self.notes.push("it runs in the background: a script starts and watches it".to_owned());
        let mut control = self.control(service);
        let pid_file = service.pid_file.clone().or_else(|| survey.pid_file(candidate));
        let main_process = match pid_file {
            Some(path) => {
                control.start_seconds = seconds(service.timeout_start);
                MainProcess::PidFile(path)
            }
            None if service.guess_main_pid => MainProcess::Guess,
            None => MainProcess::Unknown,
        };
        let start = Step { words: words_of(exec), may_fail: exec.flags.ignore_failure, as_root: false };
        Main::Daemon { start, main_process, control }
    }

    /// Sets the stop signal.
    pub(super) fn signal(&mut self, candidate: &Candidate<'_>) {
        let unit = candidate.service.as_ref();
        // Without a script, `ExecStop=kill -QUIT $MAINPID` replaces KillSignal=, which comes later.
        let has_script = !matches!(self.script.main, Main::Exec(_));
        let command = unit.filter(|_| !has_script).and_then(|service| service.exec_stop.first());
        let from_command = command.and_then(kill_signal);
        let from_unit = unit.map(|service| service.kill_signal.trim_start_matches("SIG"));
        let known = from_unit.and_then(signal_named);
        if let Some(name) = from_unit.filter(|_| known.is_none()) {
            self.notes.push(format!("its stop signal SIG{name} is replaced by SIGTERM"));
        }
        let from_unit = from_command.or(known);
        let from_table = self.daemon.and_then(|daemon| daemon.signal);
        let is_default = from_unit.is_none_or(|signal| signal == "TERM");
        // A signal in the unit takes precedence over the table.
        self.signal = from_table.filter(|_| is_default).or(from_unit).unwrap_or("TERM");
        // systemd.kill(5): these modes let processes survive the stop of the unit.
        let mode = unit.map(|service| service.kill_mode);
        for (surviving, name) in [(KillMode::None, "none"), (KillMode::Process, "process")] {
            if mode == Some(surviving) {
                let note = format!("its unit has KillMode={name}, but all processes end with the container");
                self.notes.push(note);
            }
        }
        match &mut self.script.main {
            // The script traps TERM and sends the service's own signal to the processes.
            Main::Daemon { control, .. } | Main::Child { control, .. } => {
                (control.signal, self.signal) = (self.signal, "TERM");
            }
            Main::Calendar { .. } | Main::Repeat { .. } => self.signal = "TERM",
            Main::Exec(_) => {}
        }
    }
}

/// Returns the time between the stop signal and `SIGKILL` (`TimeoutStopSec=`, systemd.service(5)).
pub(super) fn stop_grace(candidate: &Candidate<'_>, run: &Run) -> Duration {
    match &run.script.main {
        Main::Daemon { control, .. } | Main::Child { control, .. } => control.stop_time(),
        Main::Exec(_) | Main::Calendar { .. } | Main::Repeat { .. } => {
            let unit = candidate.service.as_ref();
            let timeout = seconds(unit.and_then(|unit| unit.timeout_stop));
            let is_killed = unit.is_none_or(|unit| unit.send_sigkill);
            Duration::from_secs(if is_killed { timeout } else { UNLIMITED_SECONDS })
        }
    }
}

/// Returns a timeout in seconds. With a timeout of 0 s, engines kill a container immediately.
fn seconds(timeout: Option<TimeSpan>) -> u64 {
    match timeout {
        Some(span) => span.finite().map_or(UNLIMITED_SECONDS, |span| span.as_secs().max(1)),
        None => DEFAULT_SECONDS,
    }
}

/// Returns the signal with this name without `SIG`, or with this number.
fn signal_named(name: &str) -> Option<&'static str> {
    let known = SIGNALS.iter().find(|(known, number)| *known == name || *number == name);
    known.map(|(name, _)| *name)
}

/// Returns the signal if a command does nothing but send it to the main process.
fn kill_signal(exec: &Exec) -> Option<&'static str> {
    if crate::model::tree::file_name(&exec.program) != b"kill" {
        return None;
    }
    let is_main = |word: &Word| match word {
        Word::Split(name) => name == b"MAINPID",
        Word::Joined(pieces) => matches!(&pieces[..], [Piece::Variable(name)] if name == b"MAINPID"),
    };
    let (_, options) = exec.words.split_last().filter(|(last, _)| is_main(last))?;
    let options: Vec<String> =
        options.iter().map(|word| String::from_utf8(word.literal()?).ok()).collect::<Option<_>>()?;
    let options: Vec<&str> = options.iter().map(String::as_str).filter(|option| *option != "--").collect();
    let name = match options[..] {
        [] => "TERM",
        ["-s" | "-n" | "--signal", name] => name,
        [option] => option.strip_prefix('-')?,
        _ => return None,
    };
    signal_named(name.strip_prefix("SIG").unwrap_or(name))
}

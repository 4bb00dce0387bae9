//! Determines the command of a container: from the unit, or from the running process.

use super::daemons::{self, Daemon};
use super::model::{Command, User, Variable};
use super::script::{Control, EnvironmentFile, EnvironmentSource, Main, MainProcess, Script, Step};
use super::secrets;
use super::service_files::ServiceFiles;
use super::survey::{Candidate, Survey};
use super::users;
use crate::detect::units::OtherService;
use crate::detect::units::exec::{Exec, Piece, Word};
use crate::detect::units::other::Manager;
use crate::detect::units::service::{ServiceUnit, Type};
use crate::detect::units::socket::{Address, Kind, SocketUnit};
use crate::detect::units::timer::{Event, TimerUnit};
use crate::model::escape;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// The start of a service: command, preparation and identity.
#[derive(Debug)]
pub(super) struct Run {
    /// Complete script; [`Run::command`] reduces it to exec form if possible.
    pub(super) script: Script,
    /// User that the container starts as; `None` means root.
    pub(super) user: Option<User>,
    /// Environment variables that need no quoting in a Dockerfile.
    pub(super) environment: BTreeMap<Variable, Vec<u8>>,
    /// Working directory, if it needs no quoting in a Dockerfile.
    pub(super) directory: Option<Vec<u8>>,
    /// Environment files of the unit, absolute, without symbolic links.
    pub(super) environment_paths: Vec<Vec<u8>>,
    /// Required environment files that systemd cannot use, with the cause.
    pub(super) unusable_files: Vec<(Vec<u8>, String)>,
    /// Stop signal without `SIG`.
    pub(super) signal: &'static str,
    /// Known properties of the executable.
    pub(super) daemon: Option<&'static Daemon>,
    /// Steps that were left out or changed, as sentences for the report.
    pub(super) notes: Vec<String>,
    /// Settings whose account no file of the machine has, such as `User=ldapuser`.
    pub(super) unknown_accounts: Vec<String>,
}

/// Systemd's tool that opens sockets and passes them to a service (`systemd-socket-activate(1)`).
const SOCKET_ACTIVATE: &[u8] = b"/usr/bin/systemd-socket-activate";

impl Run {
    /// Determines how the service starts. Returns `None` if neither a unit, a script nor the
    /// arguments of the process state it.
    pub(super) fn of(
        candidate: &Candidate<'_>,
        survey: &Survey<'_>,
        service_files: &ServiceFiles<'_>,
    ) -> Option<Run> {
        let daemon = candidate.program().and_then(daemons::known);
        let mut run = Run {
            script: Script::new(escape::escape(&candidate.unit)),
            user: None,
            environment: BTreeMap::new(),
            directory: None,
            environment_paths: Vec::new(),
            unusable_files: Vec::new(),
            signal: "TERM",
            daemon,
            notes: Vec::new(),
            unknown_accounts: Vec::new(),
        };
        run.script.main = run.main(candidate, survey)?;
        run.identity(candidate, survey, service_files.root);
        run.environment(candidate, survey, service_files);
        run.start_steps(candidate);
        run.signal(candidate);
        run.withhold_arguments(candidate.stem());
        Some(run)
    }

    /// Returns the main command.
    fn main(&mut self, candidate: &Candidate<'_>, survey: &Survey<'_>) -> Option<Main> {
        if let Some(timer) = &candidate.timer {
            return Some(self.timed(timer, candidate.service.as_ref()?));
        }
        if let Some(service) = &candidate.service
            && let Some(exec) = service.exec_start.first()
        {
            let words = words_of(exec);
            if !candidate.sockets.is_empty() {
                return Some(Main::Exec(activated(&candidate.sockets, service, words)));
            }
            if !matches!(service.kind, Type::Forking | Type::Oneshot) {
                return Some(self.foreground(service, words));
            }
            return self.forking(candidate, service, exec, survey);
        }
        if let Some(other) = &candidate.other {
            return self.other(candidate, other, survey);
        }
        let argv = argv(candidate)?;
        self.known(candidate, None).or(Some(Main::Exec(literal(&argv))))
    }

    /// Returns the command of a service that another service manager starts.
    fn other(
        &mut self,
        candidate: &Candidate<'_>,
        other: &OtherService,
        survey: &Survey<'_>,
    ) -> Option<Main> {
        let script = [b"/", &other.script[..]].concat();
        match other.manager {
            Manager::Runit => return Some(Main::Exec(literal(&[script]))),
            Manager::Supervisor => {
                return Some(Main::Exec(literal(&other.words()))).filter(|_| other.command.is_some());
            }
            Manager::SysV | Manager::OpenRc => {}
        }
        if let Some(main) = self.known(candidate, None) {
            return Some(main);
        }
        let pid_file = other.pid_file.clone().or_else(|| survey.pid_file(candidate));
        Some(Main::Daemon {
            start: step(&[&script, b"start"], false),
            main_process: pid_file.map_or(MainProcess::Unknown, MainProcess::PidFile),
            control: Control::command(step(&[&script, b"stop"], true)),
        })
    }

    /// Returns the command of a unit with `Type=forking` or `Type=oneshot`, which leaves a daemon
    /// in the background.
    fn forking(
        &mut self,
        candidate: &Candidate<'_>,
        service: &ServiceUnit,
        exec: &Exec,
        survey: &Survey<'_>,
    ) -> Option<Main> {
        // The unit can start a wrapper, whose arguments are not the daemon's.
        let is_daemon = candidate.program() == Some(crate::model::tree::file_name(&exec.program));
        if let Some(main) = self.known(candidate, is_daemon.then_some(exec)) {
            return Some(main);
        }
        Some(self.background(candidate, service, exec, survey))
    }

    /// Returns the foreground command of a known daemon.
    fn known(&mut self, candidate: &Candidate<'_>, unit: Option<&Exec>) -> Option<Main> {
        let daemon = self.daemon?;
        if let Some(file) = daemon.shell {
            let file = EnvironmentFile { path: file.as_bytes().to_vec(), optional: true, is_shell: true };
            self.script.environment_sources.push(EnvironmentSource::File(file));
        }
        let from_unit = unit.map(|exec| {
            exec.words.iter().map(Word::literal).collect::<Option<Vec<_>>>().map(|mut words| {
                words.insert(0, exec.program.clone());
                words
            })
        });
        let command = from_unit.flatten().or_else(|| argv(candidate)).or_else(|| {
            let exe = candidate.main()?.exe.as_ref()?;
            Some(vec![exe.path.to_vec()])
        })?;
        Some(Main::Exec(literal(&daemon.foreground(&command))))
    }

    /// Returns the commands of a service that a timer starts.
    fn timed(&mut self, timer: &TimerUnit, service: &ServiceUnit) -> Main {
        let run: Vec<Step> = self.steps(service.exec_start_pre.iter().chain(&service.exec_start));
        if !timer.on_calendar.is_empty() {
            return Main::Calendar { times: timer.on_calendar.clone(), run };
        }
        let shortest = |wanted: &[Event]| {
            let spans = timer.after.iter().filter(|(event, _)| wanted.contains(event));
            spans.filter_map(|(_, span)| span.finite()).map(|span| span.as_secs()).min()
        };
        let first = shortest(&[Event::Boot, Event::ManagerStarted, Event::TimerStarted]);
        let pause = shortest(&[Event::UnitStarted, Event::UnitEnded]);
        Main::Repeat { first: first.or(pause).unwrap_or(0), pause: pause.map(|pause| pause.max(1)), run }
    }

    /// Converts commands to steps. Leaves out commands that need systemd.
    pub(super) fn steps<'e>(&mut self, commands: impl Iterator<Item = &'e Exec>) -> Vec<Step> {
        let mut steps = Vec::new();
        for exec in commands {
            if needs_manager(exec) {
                let program = escape::escape(&exec.program);
                self.notes.push(format!("a command is left out, because it needs systemd: {program} ..."));
                continue;
            }
            let as_root = exec.flags.full_privileges || exec.flags.no_setuid;
            steps.push(Step { words: words_of(exec), may_fail: exec.flags.ignore_failure, as_root });
        }
        steps
    }

    /// Sets the user that the service runs as, and the user's variables.
    fn identity(&mut self, candidate: &Candidate<'_>, survey: &Survey<'_>, root: &Root) {
        let refuses_root = self.daemon.is_some_and(|daemon| daemon.refuses_root);
        let identity = users::resolve(candidate, survey, root, refuses_root);
        if let Some(account) = identity.account {
            for (name, value) in
                [("HOME", &account.home), ("USER", &account.name), ("LOGNAME", &account.name)]
            {
                self.set(name.as_bytes(), value);
            }
        }
        (self.user, self.unknown_accounts) = (identity.user, identity.unknown);
    }

    /// Adds the unit's commands before the main command.
    fn start_steps(&mut self, candidate: &Candidate<'_>) {
        let Some(service) = &candidate.service else { return };
        if candidate.timer.is_none() {
            self.script.conditions = self.steps(service.exec_condition.iter());
            self.script.before = self.steps(service.exec_start_pre.iter());
        }
        let control = match &mut self.script.main {
            Main::Daemon { control, .. } | Main::Child { control, .. } => Some(control),
            Main::Exec(_) | Main::Calendar { .. } | Main::Repeat { .. } => None,
        };
        let others = control.into_iter().flat_map(Control::steps);
        let mut as_root = false;
        for step in self.script.conditions.iter_mut().chain(&mut self.script.before).chain(others) {
            step.as_root |= service.permissions_start_only;
            as_root |= step.as_root;
        }
        if !service.exec_start_post.is_empty() {
            self.notes.push("commands after the start (ExecStartPost=) are left out".to_owned());
        }
        as_root |=
            service.exec_start.first().is_some_and(|exec| exec.flags.full_privileges || exec.flags.no_setuid);
        if as_root {
            self.start_as_root();
        }
    }

    /// Makes the container start as root and change to its user later.
    pub(super) fn start_as_root(&mut self) {
        if let Some(user) = self.user.take() {
            self.script.run_as = Some(user);
        }
    }

    /// Replaces secret arguments by variables that the operator sets.
    fn withhold_arguments(&mut self, stem: &[u8]) {
        let mut required = Vec::new();
        let mut withhold = |words: &mut Vec<Word>| {
            let known: Vec<Vec<u8>> = words.iter().map(|word| word.literal().unwrap_or_default()).collect();
            for (index, secret) in secrets::secrets_in_arguments(&known).into_iter().enumerate() {
                let Some(range) = secret else { continue };
                let option =
                    known[index][..range.start].split(|&byte| byte == b'=').next().unwrap_or_default();
                let option = if option.is_empty() { &known[index.saturating_sub(1)] } else { option };
                let name = variable_for(stem, option);
                words[index] = Word::Joined(vec![
                    Piece::Literal(known[index][..range.start].to_vec()),
                    Piece::Variable(name.as_str().as_bytes().to_vec()),
                    Piece::Literal(known[index][range.end..].to_vec()),
                ]);
                required.push(name);
            }
        };
        for step in self.script.conditions.iter_mut().chain(&mut self.script.before) {
            withhold(&mut step.words);
        }
        match &mut self.script.main {
            Main::Exec(words) => withhold(words),
            Main::Daemon { start, control, .. } => {
                withhold(&mut start.words);
                control.steps().for_each(|step| withhold(&mut step.words));
            }
            Main::Child { words, control } => {
                withhold(words);
                control.steps().for_each(|step| withhold(&mut step.words));
            }
            Main::Calendar { run, .. } | Main::Repeat { run, .. } => {
                run.iter_mut().for_each(|step| withhold(&mut step.words))
            }
        }
        self.script.required.extend(required);
        self.script.required.sort();
        self.script.required.dedup();
    }

    /// Returns the command in exec form if nothing must happen before it, otherwise as a script.
    pub(super) fn command(&self) -> Command {
        match self.exec_form() {
            Some(words) => Command::Exec(words),
            None => Command::Script(self.script.render()),
        }
    }

    /// Returns the words in exec form if the script does nothing but start one command.
    ///
    /// The exec form is a JSON list in the Dockerfile, so that all words must be UTF-8.
    fn exec_form(&self) -> Option<Vec<String>> {
        let Main::Exec(words) = &self.script.main else { return None };
        let bare = Script { main: Main::Exec(words.clone()), ..Script::new(self.script.unit.clone()) };
        if self.script != bare {
            return None;
        }
        let text = |word: &Word| String::from_utf8(word.literal()?).ok().filter(|text| !text.contains('\0'));
        words.iter().map(text).collect()
    }
}

/// Returns the variable for a secret argument, named after the service and the option.
fn variable_for(stem: &[u8], option: &[u8]) -> Variable {
    let mut name = Vec::new();
    for &byte in stem.iter().chain(b"_").chain(option) {
        match byte {
            byte if byte.is_ascii_alphanumeric() => name.push(byte.to_ascii_uppercase()),
            _ if name.is_empty() || name.ends_with(b"_") => {}
            _ => name.push(b'_'),
        }
    }
    Variable::new(&name)
        .or_else(|| Variable::new(&[b"ARGUMENT_", &name[..]].concat()))
        .unwrap_or_else(Variable::argument)
}

/// Returns the `systemd-socket-activate` command that opens the sockets and starts the service.
fn activated(sockets: &[SocketUnit], service: &ServiceUnit, program: Vec<Word>) -> Vec<Word> {
    let mut words = vec![SOCKET_ACTIVATE.to_vec()];
    let accept = sockets.iter().any(|socket| socket.accept);
    if accept {
        words.push(b"--accept".to_vec());
    }
    if service.settings.standard_input.as_deref() == Some(b"socket") {
        words.push(b"--inetd".to_vec());
    }
    for listen in sockets.iter().flat_map(|socket| &socket.listen) {
        let address = match &listen.address {
            Address::Path(path) => path.clone(),
            Address::Abstract(name) => [b"@", &name[..]].concat(),
            Address::Inet(ip, port) if ip.is_unspecified() => port.to_string().into_bytes(),
            Address::Inet(ip, port) => std::net::SocketAddr::new(*ip, *port).to_string().into_bytes(),
            Address::Other(_) => continue,
        };
        if listen.kind == Kind::Datagram {
            words.push(b"--datagram".to_vec());
        }
        words.extend([b"--listen".to_vec(), address]);
    }
    // systemd-socket-activate passes only a few variables unless they are listed.
    let mut names: BTreeSet<Vec<u8>> =
        service.settings.environment.iter().map(|(name, _)| name.to_vec()).collect();
    names.extend([b"HOME".to_vec(), b"LOGNAME".to_vec()]);
    for name in names.into_iter().filter(|name| Variable::new(name).is_some()) {
        words.extend([b"--setenv".to_vec(), name]);
    }
    literal(&words).into_iter().chain(program).collect()
}

/// Returns whether a command calls systemd.
fn needs_manager(exec: &Exec) -> bool {
    let calls_systemd = |text: &[u8]| {
        memchr::memmem::find(text, b"systemctl").is_some()
            || memchr::memmem::find(text, b"systemd-run").is_some()
    };
    let is_in_word = |word: &Word| match word {
        Word::Split(_) => false,
        Word::Joined(pieces) => {
            pieces.iter().any(|piece| matches!(piece, Piece::Literal(text) if calls_systemd(text)))
        }
    };
    calls_systemd(&exec.program) || exec.words.iter().any(is_in_word)
}

/// Returns executable and arguments. The executable's path replaces an `argv[0]` set with `@`.
pub(super) fn words_of(exec: &Exec) -> Vec<Word> {
    let program = Word::Joined(vec![Piece::Literal(exec.program.clone())]);
    let keep = |word: &Word| match word {
        // systemd.service(5): the prefix `:` disables variable expansion.
        Word::Split(name) if exec.flags.no_expand => {
            Word::Joined(vec![Piece::Literal([b"$", &name[..]].concat())])
        }
        word => word.clone(),
    };
    std::iter::once(program).chain(exec.words.iter().map(keep)).collect()
}

/// Returns the main process's arguments, if the process has not overwritten them.
fn argv(candidate: &Candidate<'_>) -> Option<Vec<Vec<u8>>> {
    let process = candidate.main().filter(|process| !process.is_rewritten() && !process.argv.is_cut)?;
    let mut words: Vec<Vec<u8>> = process.argv.iter().map(<[u8]>::to_vec).collect();
    let exe = process.exe.as_ref()?;
    // A name found through PATH, or the start of a process title, becomes the full path.
    let first = words.first_mut()?;
    if !first.starts_with(b"/")
        && crate::model::tree::file_name(first) == crate::model::tree::file_name(&exe.path)
    {
        *first = exe.path.to_vec();
    }
    Some(words)
}

fn literal(words: &[Vec<u8>]) -> Vec<Word> {
    words.iter().map(|word| Word::Joined(vec![Piece::Literal(word.clone())])).collect()
}

fn step(words: &[&[u8]], may_fail: bool) -> Step {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
    Step { words: literal(&words), may_fail, as_root: false }
}

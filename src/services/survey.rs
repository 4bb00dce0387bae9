//! Finds every service that can become a container, from units, processes and sockets.

use super::model::{Name, SkippedService};
use super::{system_units, without_container};
use crate::detect::accounts::Accounts;
use crate::detect::process::Process;
use crate::detect::units::conditions::Conditions;
use crate::detect::units::cron::{self, Cron};
use crate::detect::units::directives::Directive;
use crate::detect::units::socket::SocketUnit;
use crate::detect::units::timer::TimerUnit;
use crate::detect::units::tmpfiles::{self, Line};
use crate::detect::units::{
    BootUnits, Enabled, Exec, Loaded, OtherService, ServiceUnit, names, other, supervisor, sysv,
};
use crate::detect::{RuntimeState, cgroup};
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::pkg::Catalog;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Services that become containers (`--services`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All application services.
    All,
    /// No service.
    None,
    /// These services, by unit name or container name. They can also be system services.
    Named(Vec<String>),
}

impl std::str::FromStr for Selection {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "all" => Selection::All,
            "none" => Selection::None,
            names => Selection::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }
}

/// A service of the machine.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Name of the unit, or of the executable if there is no unit.
    pub unit: Vec<u8>,
    /// Systemd unit.
    pub service: Option<ServiceUnit>,
    /// Files that define the service, relative to the root.
    pub sources: Vec<Vec<u8>>,
    /// Definition in another service manager.
    pub other: Option<OtherService>,
    /// Processes; the first is the main process.
    pub processes: Vec<&'a Process>,
    /// Sockets that systemd opens for the service.
    pub sockets: Vec<SocketUnit>,
    /// Timer that starts the service.
    pub timer: Option<TimerUnit>,
    /// Conditions of the unit, and of the socket or timer that starts it.
    pub conditions: Conditions,
    /// Directives of these units that containers do not have.
    pub directives: BTreeSet<Directive>,
}

/// All services, jobs and accounts of the machine.
#[derive(Debug)]
pub struct Survey<'a> {
    /// Services that become containers, sorted by unit.
    pub candidates: Vec<Candidate<'a>>,
    /// Services that do not, with reasons.
    pub skipped: Vec<SkippedService>,
    /// Services that stay on the machine. Their units can contain secrets.
    pub system_services: Vec<Candidate<'a>>,
    /// Local cron and at jobs: unpackaged, or in a packaged file that was changed.
    pub jobs: Cron,
    /// Lines of `tmpfiles.d`, each with its file.
    pub tmpfiles: Vec<(Vec<u8>, Line)>,
    /// Users and groups.
    pub accounts: Accounts,
    /// Absolute paths of PID files in `/run`, by PID.
    pub pid_files: BTreeMap<u32, Vec<u8>>,
}

impl Survey<'_> {
    /// Returns the PID file of a service's main process.
    pub fn pid_file(&self, candidate: &Candidate<'_>) -> Option<Vec<u8>> {
        self.pid_files.get(&candidate.main()?.pid).cloned()
    }
}

/// Daemons that do nothing but run jobs.
const JOB_DAEMONS: &[&str] = &["cron.service", "crond.service", "cronie.service", "atd.service"];

/// Whether a unit does nothing but run jobs.
pub(super) fn is_job_daemon(unit: &[u8]) -> bool {
    JOB_DAEMONS.iter().any(|daemon| unit == daemon.as_bytes())
}

/// Finds the services of the machine. `catalog` distinguishes packaged cron jobs from local ones.
///
/// Fails with exit code 2 if no service has a name that `selection` lists.
pub fn survey<'a>(
    root: &Root,
    boot: &BootUnits<'_>,
    live: Option<&'a RuntimeState>,
    selection: &Selection,
    catalog: Option<&Catalog>,
    findings: &mut Findings,
) -> Result<Survey<'a>> {
    let mut jobs = cron::load(root, findings);
    if let Some(catalog) = catalog {
        retain_local(&mut jobs, root, catalog);
    }
    let survey = Survey {
        candidates: Vec::new(),
        skipped: Vec::new(),
        system_services: Vec::new(),
        jobs,
        tmpfiles: tmpfiles::load(root, &boot.host, findings),
        accounts: Accounts::load(root),
        pid_files: if live.is_some() { pid_files(root) } else { BTreeMap::new() },
    };
    let mut surveyor = Surveyor { root, live, selection, boot, found: BTreeMap::new(), survey };
    surveyor.running(findings);
    surveyor.sockets(&boot.enabled, findings);
    surveyor.timers(&boot.enabled, findings);
    surveyor.paths(&boot.enabled);
    surveyor.not_running(&boot.enabled, findings);
    surveyor.without_systemd(findings);
    surveyor.without_unit();
    surveyor.check_names()?;
    let outside = without_container::outside_service_manager(root, &surveyor.survey.accounts, findings);
    surveyor.survey.skipped.extend(outside);
    Ok(surveyor.finish())
}

/// The survey while it is incomplete, and its sources.
struct Surveyor<'a, 'r> {
    root: &'r Root,
    live: Option<&'a RuntimeState>,
    selection: &'r Selection,
    boot: &'r BootUnits<'r>,
    found: BTreeMap<Vec<u8>, Candidate<'a>>,
    survey: Survey<'a>,
}

impl<'a> Surveyor<'a, '_> {
    /// Adds units that have processes.
    fn running(&mut self, findings: &mut Findings) {
        let Some(live) = self.live else { return };
        let unit_of = cgroup::units(&live.processes, &BTreeMap::new());
        let mut by_unit: BTreeMap<&[u8], Vec<&'a Process>> = BTreeMap::new();
        // This program and the processes that it starts are not services of the machine.
        let own_pid = std::process::id();
        let is_other = |process: &&Process| process.pid != own_pid && process.parent != own_pid;
        for process in live.processes.iter().filter(is_other) {
            let unit = unit_of.get(&process.pid).filter(|unit| unit.ends_with(b".service"));
            if let Some(unit) = unit {
                by_unit.entry(unit).or_default().push(process);
            }
        }
        for (unit, mut processes) in by_unit {
            let members: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
            processes
                // The main process is the oldest one whose parent is not in the unit.
                .sort_by_key(|process| (members.contains(&process.parent), process.started, process.pid));
            let candidate = Candidate { processes, ..self.load(unit, findings) };
            self.found.insert(unit.to_vec(), candidate);
        }
    }

    /// Loads the unit with this name, without processes.
    fn load(&self, name: &[u8], findings: &mut Findings) -> Candidate<'a> {
        let mut candidate = Candidate::named(name);
        if let Some(loaded) = self.boot.units.load(name, findings).filter(|loaded| loaded.path.is_some()) {
            candidate.service = Some(ServiceUnit::new(&loaded, &self.boot.host, findings));
            candidate.sources = sources(&loaded);
            candidate.conditions = Conditions::of(&loaded, self.root, &self.boot.host);
            candidate.directives = Directive::reported(&loaded);
        } else {
            findings.note(
                findings::Kind::Unit,
                b"",
                format!("{}: unit file not found", escape::escape(name)),
            );
        }
        candidate
    }

    /// Adds services that systemd opens sockets for.
    fn sockets(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".socket") {
            let socket = SocketUnit::new(loaded, &self.boot.host, findings);
            let reason = system_units::system_unit_reason(&socket.name);
            if let Some(reason) = reason.filter(|_| !self.is_named(&socket.name)) {
                self.skip(&socket.name, reason);
                continue;
            }
            let conditions = Conditions::of(loaded, self.root, &self.boot.host);
            if let Some(unmet) = &conditions.unmet {
                self.skip(&socket.name, &not_started(unmet));
                continue;
            }
            let service = match names::template(&socket.service).is_some() || socket.accept {
                // With Accept=yes, each connection is an instance (systemd.socket(5)). All of
                // them are one service.
                true => names::with_instance(&socket.service, b"connection"),
                false => self.boot.units.resolve(&socket.service),
            };
            if socket.accept {
                let prefix = [names::prefix(&socket.service), b"@"].concat();
                // A running instance serves only one connection.
                self.found.retain(|unit, _| !unit.starts_with(&prefix));
            }
            let mut candidate = self.found.remove(&service).unwrap_or_else(|| self.load(&service, findings));
            candidate.add(loaded, conditions);
            if socket.accept {
                candidate.unit = names::with_type(names::prefix(&socket.service), "service");
            }
            candidate.sockets.push(socket);
            self.found.insert(candidate.unit.clone(), candidate);
        }
    }

    /// Adds services that a timer starts.
    fn timers(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".timer") {
            let timer = TimerUnit::new(loaded, &self.boot.host, findings);
            let reason = system_units::system_unit_reason(&timer.name)
                .or_else(|| system_units::system_unit_reason(&timer.unit));
            if let Some(reason) = reason.filter(|_| !self.is_named(&timer.unit)) {
                self.skip(&timer.name, reason);
                continue;
            }
            let conditions = Conditions::of(loaded, self.root, &self.boot.host);
            if let Some(unmet) = &conditions.unmet {
                self.skip(&timer.name, &not_started(unmet));
                continue;
            }
            let service = self.boot.units.resolve(&timer.unit);
            let mut candidate = self.found.remove(&service).unwrap_or_else(|| self.load(&service, findings));
            candidate.add(loaded, conditions);
            candidate.timer = Some(timer);
            self.found.insert(service, candidate);
        }
    }

    /// Skips services that systemd starts when a file changes, because no process watches files
    /// in a container.
    fn paths(&mut self, enabled: &[Enabled]) {
        for loaded in of_type(enabled, b".path") {
            let reason = system_units::system_unit_reason(&loaded.name);
            self.skip(
                &loaded.name,
                reason.unwrap_or("started by file changes, which containers do not watch"),
            );
        }
    }

    /// Adds services that are enabled but have no process.
    ///
    /// On a running machine, an enabled service without a process has ended, so it stays on the
    /// machine. On a stopped machine, all services are of this kind.
    fn not_running(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".service") {
            if self.found.contains_key(&loaded.name) || self.is_connection(&loaded.name) {
                continue;
            }
            let candidate = self.load(&loaded.name, findings);
            let system = system_units::system_unit_reason(&loaded.name).map(str::to_owned);
            let own = || candidate.service.as_ref().and_then(without_container::starts_nothing_lasting);
            let ended = || self.live.map(|_| "enabled, but it was not running".to_owned());
            match system.or_else(own).or_else(ended).filter(|_| !self.is_named(&loaded.name)) {
                Some(reason) => {
                    self.skip(&loaded.name, &reason);
                    self.survey.system_services.push(candidate);
                }
                None => {
                    self.found.insert(loaded.name.clone(), candidate);
                }
            }
        }
    }

    /// Returns whether a socket starts the unit, one instance per connection.
    fn is_connection(&self, unit: &[u8]) -> bool {
        let accepting =
            self.found.values().flat_map(|candidate| &candidate.sockets).filter(|socket| socket.accept);
        let mut prefixes = accepting.map(|socket| names::prefix(&socket.service));
        unit.contains(&b'@') && prefixes.any(|prefix| prefix == names::prefix(unit))
    }

    /// Adds services of other service managers if systemd does not run: by PID file and by
    /// executable.
    fn without_systemd(&mut self, findings: &mut Findings) {
        if self.live.is_some() && !self.found.is_empty() {
            return;
        }
        let mut others = sysv::enabled(self.root, &self.boot.units, findings);
        others.extend(supervisor::programs(self.root, findings));
        others.extend(other::openrc(self.root, findings));
        others.extend(other::runit(self.root, findings));
        let Some(live) = self.live else {
            for other in others {
                let unit = other.name.clone();
                self.found.entry(unit).or_insert_with_key(|unit| Candidate::other(unit, other));
            }
            return;
        };
        let pid_of = |other: &OtherService| {
            let text = self.root.read(other.pid_file.as_deref()?.strip_prefix(b"/")?).ok()?;
            std::str::from_utf8(text.trim_ascii()).ok()?.parse::<u32>().ok()
        };
        let by_pid: BTreeMap<u32, Box<[u8]>> =
            others.iter().filter_map(|other| Some((pid_of(other)?, other.name.clone().into()))).collect();
        let unit_of = cgroup::units(&live.processes, &by_pid);
        for other in others {
            let mut candidate = Candidate::other(&other.name.clone(), other);
            let is_member = |process: &&'a Process| {
                unit_of.get(&process.pid).is_some_and(|unit| **unit == *candidate.unit)
            };
            candidate.processes = live.processes.iter().filter(is_member).collect();
            if !candidate.processes.is_empty() {
                self.found.insert(candidate.unit.clone(), candidate);
            }
        }
    }

    /// Adds listening processes that no service manager started: started by hand, or by a script
    /// at boot.
    fn without_unit(&mut self) {
        let Some(live) = self.live else { return };
        let known: BTreeSet<u32> = self
            .found
            .values()
            .flat_map(|candidate| &candidate.processes)
            .map(|process| process.pid)
            .collect();
        let unit_of = cgroup::units(&live.processes, &BTreeMap::new());
        let servers = live.sockets.inet.iter().filter(|socket| socket.is_server());
        let owners: BTreeSet<u32> = servers.filter_map(|socket| live.holders.owner(socket.inode)).collect();
        for process in owners.iter().filter_map(|pid| live.processes.get(*pid)) {
            let is_new =
                process.pid != 1 && !known.contains(&process.pid) && !unit_of.contains_key(&process.pid);
            let program = process.exe.as_ref().map_or(&process.comm, |exe| &exe.path);
            let program = crate::model::tree::file_name(program);
            // OpenSSH runs one sshd process per login session. It is not a service.
            if !is_new
                || process.contained.is_some()
                || system_units::system_unit_reason(program).is_some()
                || program.starts_with(b"sshd")
            {
                continue;
            }
            let mut unit = program.to_vec();
            while self.found.contains_key(&unit) {
                unit.push(b'+');
            }
            let descendants = live
                .processes
                .iter()
                .filter(|other| live.processes.ancestors(other.pid).any(|above| above.pid == process.pid));
            let processes = std::iter::once(process).chain(descendants).collect();
            self.found.insert(unit.clone(), Candidate { processes, ..Candidate::named(&unit) });
        }
    }

    /// Checks that each name of `--services` is that of a service that was found. Exit code 2 if
    /// not.
    fn check_names(&self) -> Result<()> {
        let Selection::Named(names) = self.selection else { return Ok(()) };
        let Some(unknown) = names.iter().find(|name| !self.found.keys().any(|unit| is_name_of(name, unit)))
        else {
            return Ok(());
        };
        let found = self.found.keys().filter(|unit| system_units::system_unit_reason(unit).is_none());
        let known: Vec<String> = found.map(|unit| escape::escape(stem(unit))).collect();
        let hint = match known.is_empty() {
            true => "use --services none: the machine has no application service".to_owned(),
            false => format!("use names of: {}", known.join(", ")),
        };
        let name = escape::escape(unknown.as_bytes());
        Err(Error::new(
            Code::Usage,
            format!("--services {name}: no enabled or running service has this name"),
        )
        .hint(hint))
    }

    /// Separates services that become containers from those that do not.
    fn finish(mut self) -> Survey<'a> {
        for (unit, candidate) in std::mem::take(&mut self.found) {
            match self.skip_reason(&unit, &candidate).or_else(|| self.condition_reason(&candidate)) {
                Some(reason) => {
                    self.skip(&unit, &reason);
                    self.survey.system_services.push(candidate);
                }
                None => self.survey.candidates.push(candidate),
            }
        }
        self.survey.skipped.sort();
        self.survey.skipped.dedup();
        self.survey
    }

    /// Returns the reason why a unit does not become a container.
    fn skip_reason(&self, unit: &[u8], candidate: &Candidate<'_>) -> Option<String> {
        match self.selection {
            Selection::None => Some("--services none".to_owned()),
            Selection::Named(_) => (!self.is_named(unit)).then(|| "not selected by --services".to_owned()),
            Selection::All if is_job_daemon(unit) => {
                let is_idle = if unit.starts_with(b"at") {
                    self.survey.jobs.at.is_empty()
                } else {
                    self.survey.jobs.jobs.is_empty()
                };
                is_idle.then(|| "no local jobs, only packaged maintenance jobs".to_owned())
            }
            Selection::All => {
                let system = system_units::system_unit_reason(unit).map(str::to_owned);
                system.or_else(|| candidate.service.as_ref().and_then(without_container::starts_containers))
            }
        }
    }

    /// Returns the condition because of which a boot does not start the service. A running service
    /// shows that its conditions were met, and `--services` selects a service in spite of them.
    fn condition_reason(&self, candidate: &Candidate<'_>) -> Option<String> {
        if !candidate.processes.is_empty() || self.is_named(&candidate.unit) {
            return None;
        }
        let is_false = |exec: &&Exec| crate::model::tree::file_name(&exec.program) == b"false";
        let commands = candidate.service.iter().flat_map(|service| &service.exec_condition);
        let command = commands.into_iter().find(is_false);
        let command = command.map(|exec| format!("ExecCondition={}", escape::escape(&exec.program)));
        candidate.conditions.unmet.clone().or(command).map(|unmet| not_started(&unmet))
    }

    /// Returns whether `--services` selects the unit.
    fn is_named(&self, unit: &[u8]) -> bool {
        let Selection::Named(names) = self.selection else { return false };
        names.iter().any(|name| is_name_of(name, unit))
    }

    /// Records that a unit does not become a container.
    fn skip(&mut self, unit: &[u8], reason: &str) {
        self.survey.skipped.push(SkippedService { unit: escape::escape(unit), reason: reason.to_owned() });
    }
}

impl<'a> Candidate<'a> {
    fn named(unit: &[u8]) -> Self {
        Candidate {
            unit: unit.to_vec(),
            service: None,
            sources: Vec::new(),
            other: None,
            processes: Vec::new(),
            sockets: Vec::new(),
            timer: None,
            conditions: Conditions::default(),
            directives: BTreeSet::new(),
        }
    }

    /// Adds the files, conditions and directives of a unit that starts the service.
    fn add(&mut self, loaded: &Loaded, conditions: Conditions) {
        self.sources.extend(sources(loaded));
        self.conditions.undecided.extend(conditions.undecided);
        self.directives.extend(Directive::reported(loaded));
    }

    fn other(unit: &[u8], other: OtherService) -> Self {
        Candidate { sources: vec![other.script.clone()], other: Some(other), ..Candidate::named(unit) }
    }

    /// Returns the unit's name without `.service`.
    pub fn stem(&self) -> &[u8] {
        stem(&self.unit)
    }

    /// Returns the main process.
    pub fn main(&self) -> Option<&'a Process> {
        self.processes.first().copied()
    }

    /// Returns the file name of the executable, if known.
    pub fn program(&self) -> Option<&[u8]> {
        let running = self.main().and_then(|process| process.exe.as_ref()).map(|exe| &*exe.path);
        let configured = self.service.as_ref().and_then(|service| service.exec_start.first());
        running.or(configured.map(|exec| &*exec.program)).map(crate::model::tree::file_name)
    }
}

fn stem(unit: &[u8]) -> &[u8] {
    unit.strip_suffix(b".service").unwrap_or(unit)
}

/// Whether a name of `--services` selects a unit: the unit's name or its container's.
fn is_name_of(name: &str, unit: &[u8]) -> bool {
    let stem = stem(unit);
    name.as_bytes() == unit || name.as_bytes() == stem || name == Name::from_bytes(stem).as_str()
}

/// Removes jobs of unchanged packaged files, because these only maintain the machine.
fn retain_local(jobs: &mut Cron, root: &Root, catalog: &Catalog) {
    let files: BTreeSet<Vec<u8>> = jobs.jobs.iter().map(|job| job.file.clone()).collect();
    let unchanged: BTreeSet<Vec<u8>> =
        files.into_iter().filter(|file| catalog.is_unchanged(root, file)).collect();
    jobs.jobs.retain(|job| !unchanged.contains(&job.file));
    jobs.anacrontab.take_if(|file| catalog.is_unchanged(root, file));
}

/// Returns the reason for skipping a unit with a condition that is not met.
fn not_started(condition: &str) -> String {
    format!("a boot does not start it: {condition} is not met")
}

/// Returns the enabled units of a type.
fn of_type<'e>(enabled: &'e [Enabled], ending: &'e [u8]) -> impl Iterator<Item = &'e Loaded> {
    enabled.iter().map(|enabled| &enabled.loaded).filter(move |loaded| loaded.name.ends_with(ending))
}

/// Returns the PID files in `/run` and its subdirectories, by PID.
fn pid_files(root: &Root) -> BTreeMap<u32, Vec<u8>> {
    let mut directories = vec![b"run".to_vec()];
    directories.extend(
        root.list(b"run").unwrap_or_default().iter().map(|name| crate::model::tree::join(b"run", name)),
    );
    let mut files = BTreeMap::new();
    for directory in directories {
        let names =
            root.list(&directory).unwrap_or_default().into_iter().filter(|name| name.ends_with(b".pid"));
        for path in names.map(|name| crate::model::tree::join(&directory, &name)) {
            let text = root.read(&path).unwrap_or_default();
            let number = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            if let Some(pid) = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()) {
                files.insert(pid, [b"/", &path[..]].concat());
            }
        }
    }
    files
}

/// Returns the unit file and its drop-in files.
fn sources(loaded: &Loaded) -> Vec<Vec<u8>> {
    loaded.path.iter().chain(&loaded.dropins).cloned().collect()
}

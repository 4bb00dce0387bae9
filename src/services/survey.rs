//! What could become a container: every service that runs or would be started, joined from units, processes and sockets.

use super::model::{Name, SkippedService};
use super::system_units;
use crate::detect::accounts::Accounts;
use crate::detect::process::Process;
use crate::detect::units::cron::{self, Cron};
use crate::detect::units::service::Type;
use crate::detect::units::socket::SocketUnit;
use crate::detect::units::timer::TimerUnit;
use crate::detect::units::tmpfiles::{self, Line};
use crate::detect::units::{
    Enabled, Host, Loaded, OtherService, ServiceUnit, Units, enabled, names, other, supervisor, sysv,
};
use crate::detect::{RuntimeState, cgroup};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::pkg::Catalog;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Which services become containers (`--services`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that the machine is there for.
    All,
    /// None.
    None,
    /// These, by the name of the unit or of the container, whether or not they belong to a machine.
    Named(Vec<String>),
}

impl std::str::FromStr for Selection {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "all" => Selection::All,
            "none" => Selection::None,
            names => Selection::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }
}

/// A service as the machine has it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The unit's name; without a unit the program's.
    pub unit: Vec<u8>,
    /// The unit.
    pub service: Option<ServiceUnit>,
    /// The files that define it, relative to the root.
    pub sources: Vec<Vec<u8>>,
    /// What it is without systemd.
    pub other: Option<OtherService>,
    /// Its processes; the first is the main one.
    pub processes: Vec<&'a Process>,
    /// Sockets that systemd opens for it.
    pub sockets: Vec<SocketUnit>,
    /// The timer that starts it.
    pub timer: Option<TimerUnit>,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Survey<'a> {
    /// What becomes containers, by unit.
    pub candidates: Vec<Candidate<'a>>,
    /// What does not.
    pub skipped: Vec<SkippedService>,
    /// Units that belong to the machine, for what they may hold.
    pub machines: Vec<Candidate<'a>>,
    /// Jobs of cron that no package ships.
    pub jobs: Cron,
    /// What is made at every boot: the file and its line.
    pub tmpfiles: Vec<(Vec<u8>, Line)>,
    /// Users and groups.
    pub accounts: Accounts,
    /// Files in `/run` that hold a process's number, absolute.
    pub pid_files: BTreeMap<u32, Vec<u8>>,
}

impl Survey<'_> {
    /// The file with the number of a service's main process.
    pub fn pid_file(&self, candidate: &Candidate<'_>) -> Option<Vec<u8>> {
        self.pid_files.get(&candidate.main()?.pid).cloned()
    }
}

/// Daemons that only start others at times.
const CRONS: &[&str] = &["cron.service", "crond.service", "cronie.service", "atd.service"];

/// Looks at the machine; `catalog` tells whose a file is.
pub fn survey<'a>(
    root: &Root,
    live: Option<&'a RuntimeState>,
    selection: &Selection,
    catalog: Option<&Catalog>,
    findings: &mut Findings,
) -> Survey<'a> {
    let host = Host::load(root);
    let units = Units::index(root, findings);
    let mut jobs = cron::load(root, findings);
    jobs.jobs.retain(|job| catalog.is_none_or(|catalog| catalog.owned.get(&job.file).is_none()));
    let survey = Survey {
        candidates: Vec::new(),
        skipped: Vec::new(),
        machines: Vec::new(),
        jobs,
        tmpfiles: tmpfiles::load(root, &host, findings),
        accounts: Accounts::load(root),
        pid_files: if live.is_some() { pid_files(root) } else { BTreeMap::new() },
    };
    let mut surveyor = Surveyor { root, live, selection, host, units, found: BTreeMap::new(), survey };
    surveyor.running(findings);
    let enabled = enabled(&surveyor.units, &surveyor.host, findings);
    surveyor.sockets(&enabled, findings);
    surveyor.timers(&enabled, findings);
    surveyor.paths(&enabled);
    surveyor.not_running(&enabled, findings);
    surveyor.without_systemd(findings);
    surveyor.without_unit();
    surveyor.finish()
}

struct Surveyor<'a, 'r> {
    root: &'r Root,
    live: Option<&'a RuntimeState>,
    selection: &'r Selection,
    host: Host,
    units: Units<'r>,
    found: BTreeMap<Vec<u8>, Candidate<'a>>,
    survey: Survey<'a>,
}

impl<'a> Surveyor<'a, '_> {
    /// Units that have processes.
    fn running(&mut self, findings: &mut Findings) {
        let Some(live) = self.live else { return };
        let unit_of = cgroup::units(&live.processes, &BTreeMap::new());
        let mut by_unit: BTreeMap<&[u8], Vec<&'a Process>> = BTreeMap::new();
        // What looks at the machine is no part of it.
        let own = std::process::id();
        let is_machines = |process: &&Process| process.pid != own && process.parent != own;
        for process in live.processes.iter().filter(is_machines) {
            let unit = unit_of.get(&process.pid).filter(|unit| unit.ends_with(b".service"));
            if let Some(unit) = unit {
                by_unit.entry(unit).or_default().push(process);
            }
        }
        for (unit, mut processes) in by_unit {
            let members: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
            processes
                .sort_by_key(|process| (members.contains(&process.parent), process.started, process.pid));
            let candidate = Candidate { processes, ..self.load(unit, findings) };
            self.found.insert(unit.to_vec(), candidate);
        }
    }

    /// The unit of this name, without processes.
    fn load(&self, name: &[u8], findings: &mut Findings) -> Candidate<'a> {
        let mut candidate = Candidate::named(name);
        if let Some(loaded) = self.units.load(name, findings).filter(|loaded| loaded.path.is_some()) {
            candidate.service = Some(ServiceUnit::new(&loaded, &self.host, findings));
            candidate.sources = sources(&loaded);
        } else {
            findings.note(findings::Kind::Unit, b"", format!("{} has no unit file", escape::escape(name)));
        }
        candidate
    }

    /// Services that systemd opens sockets for.
    fn sockets(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".socket") {
            let socket = SocketUnit::new(loaded, &self.host, findings);
            if system_units::belongs(&socket.name).is_some() && !self.is_named(&socket.name) {
                continue;
            }
            let service = match names::template(&socket.service).is_some() || socket.accept {
                // Each connection is an instance: all of them are one service.
                true => names::with_instance(&socket.service, b"connection"),
                false => self.units.resolve(&socket.service),
            };
            if socket.accept {
                let prefix = [names::prefix(&socket.service), b"@"].concat();
                self.found.retain(|unit, _| !unit.starts_with(&prefix));
            }
            let mut candidate = self.found.remove(&service).unwrap_or_else(|| self.load(&service, findings));
            candidate.sources.extend(sources(loaded));
            if socket.accept {
                candidate.unit = names::with_type(names::prefix(&socket.service), "service");
            }
            candidate.sockets.push(socket);
            self.found.insert(candidate.unit.clone(), candidate);
        }
    }

    /// Services that a timer starts.
    fn timers(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".timer") {
            let timer = TimerUnit::new(loaded, &self.host, findings);
            let reason = system_units::belongs(&timer.name).or_else(|| system_units::belongs(&timer.unit));
            if let Some(reason) = reason.filter(|_| !self.is_named(&timer.unit)) {
                self.leave_out(&timer.name, reason);
                continue;
            }
            let service = self.units.resolve(&timer.unit);
            let mut candidate = self.found.remove(&service).unwrap_or_else(|| self.load(&service, findings));
            candidate.sources.extend(sources(loaded));
            candidate.timer = Some(timer);
            self.found.insert(service, candidate);
        }
    }

    /// Services that systemd starts when a file changes: nothing watches for that in a container.
    fn paths(&mut self, enabled: &[Enabled]) {
        for loaded in of_type(enabled, b".path") {
            let reason = system_units::belongs(&loaded.name);
            self.leave_out(
                &loaded.name,
                reason.unwrap_or("started when a file changes, which nothing watches in a container"),
            );
        }
    }

    /// Services that a boot starts. On a running machine those that have ended are not what it is there for; a machine
    /// that is off has no other.
    fn not_running(&mut self, enabled: &[Enabled], findings: &mut Findings) {
        for loaded in of_type(enabled, b".service") {
            if self.found.contains_key(&loaded.name) || self.is_connection(&loaded.name) {
                continue;
            }
            let candidate = self.load(&loaded.name, findings);
            let kind = candidate.service.as_ref().map(|service| service.kind);
            let is_machines = system_units::belongs(&loaded.name).is_some() || self.live.is_some();
            if is_machines && !self.is_named(&loaded.name) {
                self.survey.machines.push(candidate);
            } else if kind.is_some_and(|kind| kind != Type::Oneshot) {
                self.found.insert(loaded.name.clone(), candidate);
            }
        }
    }

    /// Whether the unit is what a socket starts for each connection.
    fn is_connection(&self, unit: &[u8]) -> bool {
        let accepting =
            self.found.values().flat_map(|candidate| &candidate.sockets).filter(|socket| socket.accept);
        let mut prefixes = accepting.map(|socket| names::prefix(&socket.service));
        unit.contains(&b'@') && prefixes.any(|prefix| prefix == names::prefix(unit))
    }

    /// Services of other managers, where systemd does not run: by their pid files, and by the programs they name.
    fn without_systemd(&mut self, findings: &mut Findings) {
        if self.live.is_some() && !self.found.is_empty() {
            return;
        }
        let mut others = sysv::enabled(self.root, &self.units, findings);
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
        let pids = |other: &OtherService| {
            let text = self.root.read(other.pid_file.as_deref()?.strip_prefix(b"/")?).ok()?;
            std::str::from_utf8(text.trim_ascii()).ok()?.parse::<u32>().ok()
        };
        let by_pid: BTreeMap<u32, Box<[u8]>> =
            others.iter().filter_map(|other| Some((pids(other)?, other.name.clone().into()))).collect();
        let unit_of = cgroup::units(&live.processes, &by_pid);
        for other in others {
            let mut candidate = Candidate::other(&other.name.clone(), other);
            let is_its = |process: &&'a Process| {
                unit_of.get(&process.pid).is_some_and(|unit| **unit == *candidate.unit)
            };
            candidate.processes = live.processes.iter().filter(is_its).collect();
            if !candidate.processes.is_empty() {
                self.found.insert(candidate.unit.clone(), candidate);
            }
        }
    }

    /// Processes that listen and that no manager started: by hand, or by a script at boot.
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
            // Who is logged in has a server of his own.
            if !is_new
                || process.contained.is_some()
                || system_units::belongs(program).is_some()
                || program.starts_with(b"sshd")
            {
                continue;
            }
            let mut unit = program.to_vec();
            while self.found.contains_key(&unit) {
                unit.push(b'+');
            }
            let family = live
                .processes
                .iter()
                .filter(|other| live.processes.ancestors(other.pid).any(|above| above.pid == process.pid));
            let processes = std::iter::once(process).chain(family).collect();
            self.found.insert(unit.clone(), Candidate { processes, ..Candidate::named(&unit) });
        }
    }

    fn finish(mut self) -> Survey<'a> {
        for (unit, candidate) in std::mem::take(&mut self.found) {
            match self.why_not(&unit) {
                Some(reason) => {
                    self.leave_out(&unit, &reason);
                    self.survey.machines.push(candidate);
                }
                None => self.survey.candidates.push(candidate),
            }
        }
        self.survey.skipped.sort();
        self.survey.skipped.dedup();
        self.survey
    }

    /// Why a unit does not become a container.
    fn why_not(&self, unit: &[u8]) -> Option<String> {
        match self.selection {
            Selection::None => Some("--services none".to_owned()),
            Selection::Named(_) => (!self.is_named(unit)).then(|| "not named by --services".to_owned()),
            Selection::All if CRONS.iter().any(|cron| unit == cron.as_bytes()) => {
                let is_idle = if unit.starts_with(b"at") {
                    self.survey.jobs.at.is_empty()
                } else {
                    self.survey.jobs.jobs.is_empty()
                };
                is_idle.then(|| "it has no job but those that packages ship to keep a machine".to_owned())
            }
            Selection::All => system_units::belongs(unit).map(str::to_owned),
        }
    }

    fn is_named(&self, unit: &[u8]) -> bool {
        let Selection::Named(names) = self.selection else { return false };
        let stem = unit.strip_suffix(b".service").unwrap_or(unit);
        names.iter().any(|name| {
            name.as_bytes() == unit || name.as_bytes() == stem || name == Name::from_bytes(stem).as_str()
        })
    }

    fn leave_out(&mut self, unit: &[u8], reason: &str) {
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
        }
    }

    fn other(unit: &[u8], other: OtherService) -> Self {
        Candidate { sources: vec![other.script.clone()], other: Some(other), ..Candidate::named(unit) }
    }

    /// The unit's name without its ending.
    pub fn stem(&self) -> &[u8] {
        self.unit.strip_suffix(b".service").unwrap_or(&self.unit)
    }

    /// The process that the others come from.
    pub fn main(&self) -> Option<&'a Process> {
        self.processes.first().copied()
    }

    /// File name of the program, as far as it is known.
    pub fn program(&self) -> Option<&[u8]> {
        let exe = self.main().and_then(|process| process.exe.as_ref()).map(|exe| &*exe.path);
        let started = || {
            self.service.as_ref().and_then(|service| service.exec_start.first()).map(|exec| &*exec.program)
        };
        exe.or_else(started).map(crate::model::tree::file_name)
    }
}

fn of_type<'e>(enabled: &'e [Enabled], ending: &'e [u8]) -> impl Iterator<Item = &'e Loaded> {
    enabled.iter().map(|enabled| &enabled.loaded).filter(move |loaded| loaded.name.ends_with(ending))
}

/// Files named `*.pid` in `/run` and the directories there.
fn pid_files(root: &Root) -> BTreeMap<u32, Vec<u8>> {
    let mut places = vec![b"run".to_vec()];
    places.extend(
        root.list(b"run").unwrap_or_default().iter().map(|name| crate::model::tree::join(b"run", name)),
    );
    let mut files = BTreeMap::new();
    for place in places {
        let names = root.list(&place).unwrap_or_default().into_iter().filter(|name| name.ends_with(b".pid"));
        for path in names.map(|name| crate::model::tree::join(&place, &name)) {
            let text = root.read(&path).unwrap_or_default();
            let number = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            if let Some(pid) = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()) {
                files.insert(pid, [b"/", &path[..]].concat());
            }
        }
    }
    files
}

fn sources(loaded: &Loaded) -> Vec<Vec<u8>> {
    loaded.path.iter().chain(&loaded.dropins).cloned().collect()
}

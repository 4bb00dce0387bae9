//! Parses `.service` units (`systemd.service(5)`, `systemd.kill(5)`). Execution settings are in
//! [`ExecSettings`].

use super::amount::TimeSpan;
use super::exec::Exec;
use super::exec_settings::ExecSettings;
use super::load::Loaded;
use super::section::Section;
use super::specifiers::Host;
use crate::model::findings::Findings;
use std::collections::BTreeSet;

/// The condition for a service to count as started (`Type=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Immediately.
    Simple,
    /// After the executable was started.
    Exec,
    /// After the start command exited and left a daemon running.
    Forking,
    /// After the command exited.
    Oneshot,
    /// After the service acquired its D-Bus name.
    Dbus,
    /// After the service sent `READY=1` (sd_notify(3)).
    Notify,
    /// As `Notify`, also for reloads.
    NotifyReload,
    /// Immediately, but after other start jobs.
    Idle,
}

/// The condition for restarting a service (`Restart=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// After a clean exit.
    OnSuccess,
    /// After a nonzero exit code, a signal, a timeout or a watchdog timeout.
    OnFailure,
    /// After a signal, a timeout or a watchdog timeout.
    OnAbnormal,
    /// After a watchdog timeout.
    OnWatchdog,
    /// After a signal.
    OnAbort,
    /// Always.
    Always,
}

/// The processes that get `KillSignal=` (`KillMode=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// All processes of the service.
    ControlGroup,
    /// The main process. The final `SIGKILL` goes to all processes.
    Mixed,
    /// The main process.
    Process,
    /// No process.
    None,
}

/// A service with the settings that a container needs.
///
/// Lists are in the order of the files. `None` for a time means the manager's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUnit {
    /// Name after following aliases.
    pub name: Vec<u8>,
    /// `Description=`.
    pub description: Option<Vec<u8>>,
    /// `Type=`.
    pub kind: Type,
    /// `ExecCondition=`.
    pub exec_condition: Vec<Exec>,
    /// `ExecStartPre=`.
    pub exec_start_pre: Vec<Exec>,
    /// Whether only `ExecStart=` runs as the service's user (`PermissionsStartOnly=`, in older
    /// units).
    pub permissions_start_only: bool,
    /// `ExecStart=`; only [`Type::Oneshot`] can have several.
    pub exec_start: Vec<Exec>,
    /// `ExecStartPost=`.
    pub exec_start_post: Vec<Exec>,
    /// `ExecReload=`.
    pub exec_reload: Vec<Exec>,
    /// `ExecStop=`.
    pub exec_stop: Vec<Exec>,
    /// `ExecStopPost=`.
    pub exec_stop_post: Vec<Exec>,
    /// `PIDFile=`, as an absolute path.
    pub pid_file: Option<Vec<u8>>,
    /// `BusName=`.
    pub bus_name: Option<Vec<u8>>,
    /// Whether the service stays active after its command exited (`RemainAfterExit=`).
    pub remain_after_exit: bool,
    /// `Restart=`.
    pub restart: Restart,
    /// `RestartSec=`.
    pub restart_sec: Option<TimeSpan>,
    /// `TimeoutStartSec=`; 0 means infinity in systemd.
    pub timeout_start: Option<TimeSpan>,
    /// `TimeoutStopSec=`; 0 means infinity in systemd.
    pub timeout_stop: Option<TimeSpan>,
    /// `KillSignal=`: `SIGTERM`, `SIGRTMIN+3`, or a number.
    pub kill_signal: String,
    /// `KillMode=`.
    pub kill_mode: KillMode,
    /// Whether the processes also get SIGHUP (`SendSIGHUP=`).
    pub send_sighup: bool,
    /// Whether the processes get SIGKILL after the timeout (`SendSIGKILL=`).
    pub send_sigkill: bool,
    /// Whether systemd guesses the main process without a PID file (`GuessMainPID=`).
    pub guess_main_pid: bool,
    /// `Sockets=`.
    pub sockets: Vec<Vec<u8>>,
    /// Execution settings.
    pub settings: ExecSettings,
    /// Relations to other units.
    pub relations: Relations,
}

/// Relations of a unit to others, from `[Unit]` and from directories of links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// `Requires=` and `.requires/`.
    pub requires: Vec<Vec<u8>>,
    /// `Requisite=`.
    pub requisite: Vec<Vec<u8>>,
    /// `Wants=` and `.wants/`.
    pub wants: Vec<Vec<u8>>,
    /// `BindsTo=`.
    pub binds_to: Vec<Vec<u8>>,
    /// `PartOf=`.
    pub part_of: Vec<Vec<u8>>,
    /// `Upholds=` and `.upholds/`.
    pub upholds: Vec<Vec<u8>>,
    /// `Conflicts=`.
    pub conflicts: Vec<Vec<u8>>,
    /// `After=`.
    pub after: Vec<Vec<u8>>,
    /// `Before=`.
    pub before: Vec<Vec<u8>>,
}

impl ServiceUnit {
    /// Interprets a loaded `.service` unit. Invalid values are notes and get their defaults.
    pub fn new(loaded: &Loaded, host: &Host, findings: &mut Findings) -> Self {
        let mut section = Section::new(loaded, "Unit", host, findings);
        let description = section.text("Description");
        let relations = Relations::read(&mut section, loaded);
        section.switch("Service");
        let settings = ExecSettings::read(&mut section);
        let exec_start = section.commands("ExecStart");
        let bus_name = section.text("BusName");
        // Defaults of Type= in systemd.service(5).
        let default = match (exec_start.is_empty(), &bus_name) {
            (true, _) => Type::Oneshot,
            (false, Some(_)) => Type::Dbus,
            (false, None) => Type::Simple,
        };
        let mut timeout = |key| {
            let span = section.span(key).or_else(|| section.span("TimeoutSec"));
            span.map(|span| match span {
                TimeSpan::Finite(span) if span.is_zero() => TimeSpan::Infinite,
                span => span,
            })
        };
        let (timeout_start, timeout_stop) = (timeout("TimeoutStartSec"), timeout("TimeoutStopSec"));
        let service = ServiceUnit {
            name: loaded.name.clone(),
            description,
            kind: section.parsed("Type", Type::parse).unwrap_or(default),
            exec_condition: section.commands("ExecCondition"),
            exec_start_pre: section.commands("ExecStartPre"),
            permissions_start_only: section.flag("PermissionsStartOnly").unwrap_or(false),
            exec_start,
            exec_start_post: section.commands("ExecStartPost"),
            exec_reload: section.commands("ExecReload"),
            exec_stop: section.commands("ExecStop"),
            exec_stop_post: section.commands("ExecStopPost"),
            pid_file: section.text("PIDFile").map(below_run),
            bus_name,
            remain_after_exit: section.flag("RemainAfterExit").unwrap_or(false),
            restart: section.parsed("Restart", Restart::parse).unwrap_or(Restart::No),
            restart_sec: section.span("RestartSec"),
            timeout_start,
            timeout_stop,
            kill_signal: section.parsed("KillSignal", signal).unwrap_or_else(|| "SIGTERM".to_owned()),
            kill_mode: section.parsed("KillMode", KillMode::parse).unwrap_or(KillMode::ControlGroup),
            sockets: section.unit_names("Sockets"),
            send_sighup: section.flag("SendSIGHUP").unwrap_or(false),
            send_sigkill: section.flag("SendSIGKILL").unwrap_or(true),
            guess_main_pid: section.flag("GuessMainPID").unwrap_or(true),
            settings,
            relations,
        };
        section.finish();
        service
    }
}

impl Relations {
    /// Reads the relations. The section must be `[Unit]`.
    pub(super) fn read(section: &mut Section<'_>, loaded: &Loaded) -> Self {
        let mut read = |key: &str, directory: &str| {
            let mut names = section.unit_names(key);
            let linked = loaded.linked.iter().filter(|(kind, _)| *kind == directory);
            names.extend(linked.map(|(_, name)| name.clone()));
            let mut seen = BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        };
        Relations {
            requires: read("Requires", "requires"),
            requisite: read("Requisite", ""),
            wants: read("Wants", "wants"),
            binds_to: read("BindsTo", ""),
            part_of: read("PartOf", ""),
            upholds: read("Upholds", "upholds"),
            conflicts: read("Conflicts", ""),
            after: read("After", ""),
            before: read("Before", ""),
        }
    }
}

/// Returns the path of a PID file. A relative path is below `/run` (systemd.service(5)).
fn below_run(path: Vec<u8>) -> Vec<u8> {
    if path.starts_with(b"/") { path } else { [b"/run/", path.as_slice()].concat() }
}

/// Normalizes `SIGTERM`, `TERM`, `RTMIN+3` or a number.
fn signal(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number).then(|| number.to_string());
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let is_valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "+-".contains(c);
    (!name.is_empty() && name.chars().all(is_valid)).then(|| format!("SIG{name}"))
}

impl Type {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"simple" => Type::Simple,
            b"exec" => Type::Exec,
            b"forking" => Type::Forking,
            b"oneshot" => Type::Oneshot,
            b"dbus" => Type::Dbus,
            b"notify" => Type::Notify,
            b"notify-reload" => Type::NotifyReload,
            b"idle" => Type::Idle,
            _ => return None,
        })
    }
}

impl Restart {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"no" => Restart::No,
            b"on-success" => Restart::OnSuccess,
            b"on-failure" => Restart::OnFailure,
            b"on-abnormal" => Restart::OnAbnormal,
            b"on-watchdog" => Restart::OnWatchdog,
            b"on-abort" => Restart::OnAbort,
            b"always" => Restart::Always,
            _ => return None,
        })
    }
}

impl KillMode {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"control-group" => KillMode::ControlGroup,
            b"mixed" => KillMode::Mixed,
            b"process" => KillMode::Process,
            b"none" => KillMode::None,
            _ => return None,
        })
    }
}

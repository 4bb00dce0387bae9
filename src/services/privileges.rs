//! Determines a container's capabilities, devices and limits, from the unit and the running
//! process. Pure.

use super::model::Privileges;
use super::survey::Candidate;
use crate::detect::process::{Process, Target};
use crate::detect::units::amount::Limit;
use crate::detect::units::exec_settings::Capabilities;
use std::collections::{BTreeMap, BTreeSet};

/// Capabilities by number (`include/uapi/linux/capability.h`), without `CAP_`.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// Capabilities that both Docker and Podman grant by default.
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SETFCAP",
];
/// Capabilities that only Docker grants by default. Docker needs no option for them.
const DOCKER_DEFAULT: &[&str] = &["NET_RAW", "MKNOD", "AUDIT_WRITE"];
/// Capabilities that change the machine itself. Packaged units often list them, but services in
/// containers do not need them. The engine sets limits (`SYS_RESOURCE`) before the process starts.
const KERNEL_CONTROL: &[&str] =
    &["SYS_ADMIN", "SYS_MODULE", "SYS_BOOT", "SYS_RAWIO", "SYS_RESOURCE", "MAC_ADMIN", "MAC_OVERRIDE"];
/// Devices that every container has.
const USUAL_DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
];

/// Returns the privileges beyond an engine's default. A service that does not start as root gets
/// only capabilities that its processes have.
pub(super) fn of(candidate: &Candidate<'_>, starts_as_user: bool) -> Privileges {
    let mut add: BTreeSet<&'static str> = BTreeSet::new();
    let settings = candidate.service.as_ref().map(|service| &service.settings);
    let is_root = match candidate.main() {
        Some(process) => process.credentials.user.effective == 0,
        None => settings.is_none_or(|settings| settings.user.is_none()),
    };
    // The bounding set limits a process. A process that stays root has all of it.
    let sets = settings.map(|settings| {
        [
            settings.ambient_capabilities.as_ref(),
            settings.capability_bounding_set.as_ref().filter(|_| is_root),
        ]
    });
    for set in sets.into_iter().flatten().flatten() {
        if let Capabilities::Only(names) = set {
            add.extend(names.iter().filter_map(|name| named(name)));
        }
    }
    // Root has all capabilities by default, which shows nothing about its needs.
    let held = candidate.processes.iter().filter(|process| process.credentials.user.effective != 0);
    for process in held {
        let bits = process.credentials.capabilities.effective;
        add.extend(
            CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name),
        );
    }
    add.retain(|name| {
        !DEFAULT.contains(name) && !DOCKER_DEFAULT.contains(name) && !KERNEL_CONTROL.contains(name)
    });
    Privileges {
        drop_all: starts_as_user && add.is_empty() && needs_nothing(candidate),
        add,
        devices: devices(candidate),
        privileged: None,
    }
}

/// Returns whether every process of the service runs without root's privileges.
fn needs_nothing(candidate: &Candidate<'_>) -> bool {
    let is_plain = |process: &&Process| {
        let credentials = &process.credentials;
        credentials.user.effective != 0
            // A process with the saved set-user-ID 0 can become root again (setuid(2)).
            && credentials.user.saved != 0
            && credentials.capabilities.effective == 0
    };
    let as_root = candidate.service.as_ref().is_some_and(|service| {
        let mut all = service.exec_start_pre.iter().chain(&service.exec_start);
        all.any(|exec| exec.flags.full_privileges || exec.flags.no_setuid)
    });
    !candidate.processes.is_empty() && candidate.processes.iter().all(is_plain) && !as_root
}

fn named(name: &[u8]) -> Option<&'static str> {
    let name = name.strip_prefix(b"CAP_").unwrap_or(name);
    CAPABILITIES.iter().find(|known| known.as_bytes() == name).copied()
}

/// Returns the devices that the service's processes have open, without those of every container.
fn devices(candidate: &Candidate<'_>) -> Vec<Vec<u8>> {
    let mut devices = BTreeSet::new();
    for file in candidate.processes.iter().flat_map(|process| &process.files) {
        let Target::File(file) = &file.target else { continue };
        let is_usual = USUAL_DEVICES.iter().any(|usual| *file.path == *usual.as_bytes())
            || [&b"/dev/pts/"[..], b"/dev/shm/", b"/dev/mqueue/", b"/dev/hugepages/"]
                .iter()
                .any(|place| file.path.starts_with(place));
        if file.path.starts_with(b"/dev/") && !is_usual && !file.is_deleted {
            devices.insert(file.path.to_vec());
        }
    }
    devices.into_iter().collect()
}

/// Limits by resource: soft and hard; `None` for unlimited.
type Ulimits = BTreeMap<&'static str, (Option<u64>, Option<u64>)>;

/// Returns the limits that the unit sets (`Limit*=`, systemd.exec(5)).
pub(super) fn ulimits(candidate: &Candidate<'_>) -> Ulimits {
    let limits = candidate.service.iter().flat_map(|service| &service.settings.limits);
    limits.map(|limit| (limit.resource, (limit.soft, limit.hard))).collect()
}

/// Returns a limit as an absolute number. `whole` is the machine's total, for a limit in percent.
pub(super) fn absolute(limit: Option<&Limit>, whole: Option<u64>) -> Option<u64> {
    match limit? {
        Limit::Absolute(value) => Some(*value),
        Limit::Share(share) => whole.map(|whole| whole / 10_000 * u64::from(*share)),
        Limit::Infinite => None,
    }
}

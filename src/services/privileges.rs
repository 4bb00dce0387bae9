//! What a container may do and use, from the unit and from the process as it was seen. Pure.

use super::model::Privileges;
use super::survey::Candidate;
use crate::detect::process::{Process, Target};
use crate::detect::units::amount::Limit;
use crate::detect::units::exec_settings::Capabilities;
use std::collections::{BTreeMap, BTreeSet};

/// By number (`include/uapi/linux/capability.h`), without `CAP_`.
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
/// What Docker and Podman both grant by themselves.
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
/// Granted by Docker alone; asking for them changes nothing there.
const OF_DOCKER: &[&str] = &["NET_RAW", "MKNOD", "AUDIT_WRITE"];
/// What lets a machine be changed: packagers list it for the whole of a unit, and a container has no use for it. Limits
/// (`SYS_RESOURCE`) are set by the engine before the program starts.
const OF_MACHINES: &[&str] =
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

/// What a service may do beyond an engine's default. One that does not start as root never needs more than was seen.
pub(super) fn of(candidate: &Candidate<'_>, starts_as_user: bool) -> Privileges {
    let mut add: BTreeSet<&'static str> = BTreeSet::new();
    let context = candidate.service.as_ref().map(|service| &service.context);
    let is_root = match candidate.main() {
        Some(process) => process.credentials.user.effective == 0,
        None => context.is_none_or(|context| context.user.is_none()),
    };
    // The bounding set is what it may have at most: of a program that stays root, that is what it has.
    let sets = context.map(|context| {
        [context.ambient_capabilities.as_ref(), context.capability_bounding_set.as_ref().filter(|_| is_root)]
    });
    for set in sets.into_iter().flatten().flatten() {
        if let Capabilities::Only(names) = set {
            add.extend(names.iter().filter_map(|name| named(name)));
        }
    }
    let held = candidate.processes.iter().filter(|process| process.credentials.user.effective != 0);
    for process in held {
        let bits = process.credentials.capabilities.effective;
        add.extend(
            CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name),
        );
    }
    add.retain(|name| !DEFAULT.contains(name) && !OF_DOCKER.contains(name) && !OF_MACHINES.contains(name));
    Privileges {
        drop_all: starts_as_user && add.is_empty() && needs_nothing(candidate),
        add,
        devices: devices(candidate),
        privileged: None,
    }
}

/// All its processes were seen, and none had any right of root's.
fn needs_nothing(candidate: &Candidate<'_>) -> bool {
    let is_plain = |process: &&Process| {
        let credentials = &process.credentials;
        credentials.user.effective != 0
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

/// Devices that its processes hold open, and that not every container has.
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

/// Limits by name, soft and hard; nothing for no limit.
type Ulimits = BTreeMap<&'static str, (Option<u64>, Option<u64>)>;

/// Limits that the unit sets (`Limit*=`).
pub(super) fn ulimits(candidate: &Candidate<'_>) -> Ulimits {
    let limits = candidate.service.iter().flat_map(|service| &service.context.limits);
    limits.map(|limit| (limit.resource, (limit.soft, limit.hard))).collect()
}

/// A limit in bytes or in number, of a machine that has `whole`.
pub(super) fn absolute(limit: Option<&Limit>, whole: Option<u64>) -> Option<u64> {
    match limit? {
        Limit::Absolute(value) => Some(*value),
        Limit::Share(share) => whole.map(|whole| whole / 10_000 * u64::from(*share)),
        Limit::Infinite => None,
    }
}

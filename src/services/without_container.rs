//! Decides which enabled units become no container although they are not of the operating system.

use super::model::SkippedService;
use crate::detect::accounts::Accounts;
use crate::detect::units::service::Type;
use crate::detect::units::user_units::{self, UserUnit};
use crate::detect::units::{Exec, ServiceUnit};
use crate::model::escape;
use crate::model::findings::Findings;
use crate::system::root::Root;

/// Programs that start containers of another engine. A unit that runs one only waits for its
/// container.
pub(super) const CONTAINER_CLIENTS: &[&str] = &[
    "apptainer",
    "crictl",
    "ctr",
    "docker",
    "docker-compose",
    "flatpak",
    "incus",
    "lxc",
    "lxc-execute",
    "lxc-start",
    "machinectl",
    "nerdctl",
    "podman",
    "podman-compose",
    "runc",
    "singularity",
    "snap",
    "systemd-nspawn",
];

/// Returns the name of the container client that a command runs.
pub(super) fn container_client(exec: &Exec) -> Option<&'static str> {
    CONTAINER_CLIENTS.iter().copied().find(|client| exec.runs(client.as_bytes()))
}

/// Returns the reason why a service that starts containers becomes none itself.
pub(super) fn starts_containers(service: &ServiceUnit) -> Option<String> {
    let client = service.exec_start.iter().find_map(container_client)?;
    Some(format!("starts containers with {client}: move their images and data separately"))
}

/// Returns the reason why a service without a process becomes no container.
pub(super) fn starts_nothing_lasting(service: &ServiceUnit) -> Option<String> {
    let once = "runs once at boot (Type=oneshot): start what its commands start another way";
    starts_containers(service).or_else(|| (service.kind == Type::Oneshot).then(|| once.to_owned()))
}

/// Returns what starts outside the service manager of the machine: units of users, and boot
/// scripts.
pub(super) fn outside_service_manager(
    root: &Root,
    accounts: &Accounts,
    findings: &mut Findings,
) -> Vec<SkippedService> {
    let units = user_units::user_units(root, accounts, findings);
    let mut skipped: Vec<SkippedService> = units.iter().map(skipped_user_unit).collect();
    skipped.extend(user_units::boot_scripts(root, findings).iter().map(|path| SkippedService {
        unit: escape::display(path),
        reason: "script that runs at boot: write units for the programs that it starts".to_owned(),
    }));
    skipped
}

fn skipped_user_unit(unit: &UserUnit) -> SkippedService {
    let start = if unit.at_boot { "at boot" } else { "at login" };
    let name = escape::escape(&unit.name);
    match &unit.user {
        Some(user) => SkippedService {
            unit: format!("{name} (user {})", escape::escape(user)),
            reason: format!("unit of a user, starts {start}: write a system unit with User= for it"),
        },
        None => SkippedService {
            unit: format!("{name} (all users)"),
            reason: format!("unit of all users, starts {start}: part of login sessions"),
        },
    }
}

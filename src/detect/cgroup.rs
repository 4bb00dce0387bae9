//! Determines the unit or container of a process from its control group.
//!
//! systemd puts every service into a control group with the name of the unit (`systemd.slice(5)`,
//! "Control Group APIs and Delegation"). Child processes stay in the control group, so it
//! identifies all processes of a service.

use super::process::{Container, Process, Processes};
use std::collections::BTreeMap;

/// Location of a control group in systemd's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupLocation {
    /// In a system unit, with the name of the unit file.
    Unit(Box<[u8]>),
    /// In a user's session or service manager.
    Session,
    /// In no unit: a machine without systemd, or systemd itself.
    Outside,
}

/// Returns the control group of `/proc/PID/cgroup` (`cgroups(7)`) that systemd manages: that of
/// the unified hierarchy or, if that is not in use, that of `name=systemd`. Empty if there is
/// neither.
pub fn path_of(text: &[u8]) -> &[u8] {
    let mut unified: &[u8] = b"";
    let mut named: &[u8] = b"";
    for (controllers, path) in hierarchies(text) {
        match controllers {
            b"" => unified = path,
            b"name=systemd" => named = path,
            _ => {}
        }
    }
    if unified.len() > 1 || named.is_empty() { unified } else { named }
}

/// Returns the container engine that one of the process's control groups names, in any hierarchy.
///
/// The name alone is not sufficient: a process is in a container if its namespaces also differ
/// from the machine's.
pub fn container_of(text: &[u8]) -> Option<Container> {
    hierarchies(text).find_map(|(_, path)| container_in(path))
}

/// Returns the location of a control group. The first component that is not a slice determines
/// it, because the service itself creates the groups below.
pub fn place_of(path: &[u8]) -> CgroupLocation {
    let mut components = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b"..");
    let mut is_users = false;
    let first = components.find(|name| {
        is_users |= *name == b"user.slice";
        !name.ends_with(b".slice")
    });
    let Some(first) = first else { return CgroupLocation::Outside };
    // systemd prefixes names with `_` that could collide with files of the kernel.
    let name = first.strip_prefix(b"_").unwrap_or(first);
    match () {
        _ if is_users => CgroupLocation::Session,
        _ if name == b"init.scope" => CgroupLocation::Outside,
        _ if is_unit_name(name) => CgroupLocation::Unit(name.into()),
        _ => CgroupLocation::Outside,
    }
}

/// Returns the unit of every process that has one, by PID.
///
/// The sources are, in this order, the control group, the PID file (`by_pid_file`), and the
/// nearest ancestor with a unit. Processes of sessions, containers and the kernel have no unit.
pub fn units(processes: &Processes, by_pid_file: &BTreeMap<u32, Box<[u8]>>) -> BTreeMap<u32, Box<[u8]>> {
    let units = processes.iter().map(|process| (process.pid, unit_of(process, processes, by_pid_file)));
    units.filter_map(|(pid, unit)| Some((pid, unit?))).collect()
}

/// Returns the unit of a process or of its nearest ancestor with a unit.
fn unit_of(
    process: &Process,
    processes: &Processes,
    by_pid_file: &BTreeMap<u32, Box<[u8]>>,
) -> Option<Box<[u8]>> {
    if process.is_kernel || process.contained.is_some() {
        return None;
    }
    for ancestor in std::iter::once(process).chain(processes.ancestors(process.pid)) {
        // All processes descend from process 1, so its control group says nothing about them.
        if ancestor.pid == 1 && process.pid != 1 {
            return None;
        }
        match place_of(&ancestor.cgroup) {
            CgroupLocation::Unit(unit) => return Some(unit),
            CgroupLocation::Session => return None,
            CgroupLocation::Outside => {
                if let Some(unit) = by_pid_file.get(&ancestor.pid) {
                    return Some(unit.clone());
                }
            }
        }
    }
    None
}

/// Returns controllers and path of each line.
fn hierarchies(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

fn is_unit_name(name: &[u8]) -> bool {
    // Only units of these types contain processes.
    [&b".service"[..], b".scope", b".socket", b".mount", b".swap"]
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

fn container_in(path: &[u8]) -> Option<Container> {
    let components: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    let engine = components.iter().enumerate().rev().find_map(|(at, name)| {
        let above = if at == 0 { b"" } else { components[at - 1] };
        engine_in(above, name)
    });
    let is_pod = |name: &&[u8]| name.starts_with(b"kubepods");
    engine.or_else(|| components.iter().any(is_pod).then_some(Container::Kubernetes))
}

/// Returns the engine that the names of a control group and its parent indicate.
fn engine_in(above: &[u8], name: &[u8]) -> Option<Container> {
    let scoped = |prefix: &[u8]| {
        let id = name.strip_prefix(prefix)?;
        is_identifier(id.strip_suffix(b".scope").unwrap_or(id)).then_some(())
    };
    let named = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| scoped(prefix).is_some());
    match () {
        _ if named(&[b"docker-", b"docker:"]) || above == b"docker" && is_identifier(name) => {
            Some(Container::Docker)
        }
        _ if named(&[b"cri-containerd-", b"cri-containerd:", b"nerdctl-"]) => Some(Container::Containerd),
        _ if above == b"containerd" && is_identifier(name) => Some(Container::Containerd),
        _ if named(&[b"libpod-"]) || above == b"libpod_parent" => Some(Container::Podman),
        _ if named(&[b"crio-"]) => Some(Container::Crio),
        _ if name.starts_with(b"lxc.payload") || above == b"lxc" => Some(Container::Lxc),
        // A QEMU virtual machine is an ordinary process of this machine.
        _ if above == b"machine.slice" && !name.starts_with(b"machine-qemu") => Some(Container::Machine),
        _ => None,
    }
}

/// Whether a name is a container ID: at least 12 hexadecimal digits.
fn is_identifier(name: &[u8]) -> bool {
    name.len() >= 12 && name.iter().all(u8::is_ascii_hexdigit)
}

//! Whose a process is: the unit or the container that its control group names.
//!
//! systemd keeps every service in a control group named after the unit
//! (`systemd.slice(5)`, "Control Group APIs and Delegation"), so the kernel
//! itself remembers which processes belong together, whatever they forked.

use super::process::{Container, Process, Processes};
use std::collections::BTreeMap;

/// Where in systemd's tree a control group lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupLocation {
    /// In a unit of the system: its name as the unit file has it.
    Unit(Box<[u8]>),
    /// In a user's session or service manager.
    Session,
    /// In none: there is no systemd, or it is the manager itself.
    Outside,
}

/// The control group of `/proc/PID/cgroup` (`cgroups(7)`) that systemd manages: of the unified hierarchy,
/// or, where that is not in use, of the named one. Empty where there is neither.
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

/// What kind of container one of the process's control groups names, whatever the hierarchy.
///
/// A name alone is no proof: a process is in a container if its namespaces also differ from the machine's.
pub fn container_of(text: &[u8]) -> Option<Container> {
    hierarchies(text).find_map(|(_, path)| container_in(path))
}

/// Where a control group lies. The first component that is no slice decides; what is below it the service made itself.
pub fn place_of(path: &[u8]) -> CgroupLocation {
    let mut components = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b"..");
    let mut is_users = false;
    let first = components.find(|name| {
        is_users |= *name == b"user.slice";
        !name.ends_with(b".slice")
    });
    let Some(first) = first else { return CgroupLocation::Outside };
    // systemd puts an underscore before names that the kernel's own files could have.
    let name = first.strip_prefix(b"_").unwrap_or(first);
    match () {
        _ if is_users => CgroupLocation::Session,
        _ if name == b"init.scope" => CgroupLocation::Outside,
        _ if is_unit_name(name) => CgroupLocation::Unit(name.into()),
        _ => CgroupLocation::Outside,
    }
}

/// The unit of every process that has one, by process number.
///
/// By control group; where that names none, by the pid files that `by_pid_file` was made from; else that of the
/// nearest ancestor that has one. Processes of sessions, containers and the kernel have none.
pub fn units(processes: &Processes, by_pid_file: &BTreeMap<u32, Box<[u8]>>) -> BTreeMap<u32, Box<[u8]>> {
    let own = |process: &Process| match place_of(&process.cgroup) {
        CgroupLocation::Unit(unit) => Some(Some(unit)),
        CgroupLocation::Session => Some(None),
        CgroupLocation::Outside => by_pid_file.get(&process.pid).cloned().map(Some),
    };
    let unit = |process: &Process| {
        if process.is_kernel || process.contained.is_some() {
            return None;
        }
        let line = std::iter::once(process).chain(processes.ancestors(process.pid));
        // Process 1 is everybody's ancestor: what it is in says nothing about others.
        line.take_while(|ancestor| ancestor.pid == process.pid || ancestor.pid != 1).find_map(own).flatten()
    };
    processes.iter().filter_map(|process| Some((process.pid, unit(process)?))).collect()
}

/// Controllers and path of each line.
fn hierarchies(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

fn is_unit_name(name: &[u8]) -> bool {
    // Only these types of units hold processes of their own.
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

/// The engine that a control group and the one above it name.
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
        // Whole machines under a hypervisor of this machine are one process here.
        _ if above == b"machine.slice" && !name.starts_with(b"machine-qemu") => Some(Container::Machine),
        _ => None,
    }
}

/// Container engines number what they run by long hexadecimal digits.
fn is_identifier(name: &[u8]) -> bool {
    name.len() >= 12 && name.iter().all(u8::is_ascii_hexdigit)
}

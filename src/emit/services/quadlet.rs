//! Writes `quadlet/`: units for Podman 5, which become systemd services
//! (`podman-systemd.unit(5)`). Pure.
//!
//! Each name begins with the project's name. Without this prefix, a unit could replace a unit of
//! the host.

use super::groups::{self, Group};
use super::unit::Unit;
use super::{compose, image};
use crate::services::model::{Name, Restart, Service, Workload};
use std::collections::BTreeMap;

/// Seconds that systemd waits after Podman's own stop timeout.
const EXTRA_STOP_SECONDS: u64 = 15;

/// Returns the files by name.
pub(super) fn files(workload: &Workload, project: &Name) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut network = Unit::default();
    network.section("Network");
    network.set("NetworkName", project.as_str());
    files.insert(format!("{project}.network"), network.into_bytes());
    for volume in &workload.volumes {
        let mut unit = Unit::default();
        unit.section("Volume");
        unit.set("VolumeName", format!("{project}_{}", volume.name));
        files.insert(format!("{project}-{}.volume", volume.name), unit.into_bytes());
    }
    for group in groups::by_network(workload) {
        if group.network.is_some() {
            files.insert(format!("{project}-{}.pod", group.name), pod(workload, &group, project));
        }
        for service in &group.members {
            files.insert(
                format!("{project}-{}.container", service.name),
                container(workload, &group, service, project),
            );
        }
    }
    files
}

fn pod(workload: &Workload, group: &Group<'_>, project: &Name) -> Vec<u8> {
    let mut unit = Unit::default();
    unit.section("Pod");
    unit.set("PodName", format!("{project}-{}-pod", group.name));
    network(&mut unit, group, project);
    let sysctls: BTreeMap<&String, &String> = group
        .members
        .iter()
        .flat_map(|service| &service.sysctls)
        .filter(|(name, _)| compose::is_network_sysctl(name))
        .collect();
    let sysctls = sysctls.iter().map(|(name, value)| format!("--sysctl={name}={value}"));
    unit.list(
        "PodmanArgs",
        [format!("--hostname={}", group.name)].into_iter().chain(sysctls).chain(hosts(workload)),
    );
    install(&mut unit);
    unit.into_bytes()
}

/// Adds the settings of a network namespace.
fn network(unit: &mut Unit, group: &Group<'_>, project: &Name) {
    unit.set("Network", format!("{project}.network"));
    for service in &group.members {
        unit.set("NetworkAlias", service.name.as_str());
    }
    for &(number, protocol) in &group.published {
        unit.set("PublishPort", format!("{number}:{number}/{}", groups::protocol(protocol)));
    }
}

fn install(unit: &mut Unit) {
    unit.section("Install");
    // multi-user.target applies to root's units, default.target to those of other users.
    unit.list("WantedBy", ["multi-user.target".to_owned(), "default.target".to_owned()]);
}

fn container(workload: &Workload, group: &Group<'_>, service: &Service, project: &Name) -> Vec<u8> {
    let mut unit = Unit::default();
    let others = &groups::dependencies(workload)[&service.name];
    if !others.is_empty() {
        let others = || others.iter().map(|other| format!("{project}-{other}.service"));
        unit.section("Unit");
        unit.list("Wants", others());
        unit.list("After", others());
    }
    unit.section("Container");
    unit.set("ContainerName", format!("{project}-{}", service.name));
    unit.set("Image", format!("localhost/{}", super::tag(project, service)));
    unit.set("RunInit", "true");
    match group.network {
        Some(_) => unit.set("Pod", format!("{project}-{}.pod", group.name)),
        None => {
            unit.set("HostName", service.name.as_str());
            network(&mut unit, group, project);
        }
    }
    storage(&mut unit, workload, service, project);
    security(&mut unit, service);
    arguments(&mut unit, workload, group, service);
    unit.section("Service");
    let restart = match service.restart {
        Restart::No => "no",
        Restart::OnFailure => "on-failure",
        Restart::Always => "always",
    };
    unit.set("Restart", restart);
    unit.set("TimeoutStopSec", (groups::stop_seconds(service) + EXTRA_STOP_SECONDS).to_string());
    install(&mut unit);
    unit.into_bytes()
}

/// Adds variables, volumes and secrets.
fn storage(unit: &mut Unit, workload: &Workload, service: &Service, project: &Name) {
    for (name, value) in image::environment(service) {
        unit.set("Environment", format!("{name}={value}"));
    }
    for name in &service.secrets {
        let name = name.as_str();
        unit.set("Secret", format!("{}--{name},type=env,target={name}", service.name));
    }
    for &index in &service.secret_files {
        let Some(secret) = workload.secret_files.get(index) else { continue };
        if let Some(path) = groups::plain_path(&secret.path) {
            let (uid, gid, mode) = secret.owner;
            let name = &secret.name;
            unit.set(
                "Secret",
                format!("{name},type=mount,target={path},uid={uid},gid={gid},mode={mode:04o}"),
            );
        }
    }
    for (volume, path) in groups::mounts(workload, service) {
        if let Some(path) = groups::plain_path(path.as_bytes()) {
            unit.set("Volume", format!("{project}-{}.volume:{path}", volume.name));
        }
    }
    for path in groups::memory_directories(service) {
        if let Some(path) = groups::plain_path(path.as_bytes()) {
            unit.set("Tmpfs", path);
        }
    }
    if service.read_only {
        unit.set("ReadOnly", "true");
    }
}

/// Adds groups, limits, capabilities and devices.
fn security(unit: &mut Unit, service: &Service) {
    for group in service.user.iter().flat_map(|user| &user.groups) {
        unit.set("GroupAdd", group.to_string());
    }
    for (name, (soft, hard)) in &service.ulimits {
        unit.set("Ulimit", format!("{name}={}:{}", super::limit(*soft), super::limit(*hard)));
    }
    if let Some(tasks) = service.tasks {
        unit.set("PidsLimit", tasks.to_string());
    }
    unit.set("StopTimeout", groups::stop_seconds(service).to_string());
    let privileges = &service.privileges;
    if privileges.drop_all {
        unit.set("DropCapability", "all");
    }
    unit.list("AddCapability", privileges.add.iter().map(|&name| name.to_owned()));
    for device in compose::devices(service) {
        unit.set("AddDevice", device);
    }
}

/// Returns options for the names of the machine's `/etc/hosts`. Podman 5.0 has no key for them.
fn hosts(workload: &Workload) -> impl Iterator<Item = String> {
    groups::hosts(workload).map(|host| format!("--add-host={host}"))
}

/// Adds options for settings without a key in Podman 5.0. Kernel parameters are also options,
/// because their key cannot contain quoted values.
fn arguments(unit: &mut Unit, workload: &Workload, group: &Group<'_>, service: &Service) {
    let memory = service.memory.map(|bytes| format!("--memory={}b", bytes.max(super::MIN_MEMORY)));
    let cpus = service.cpu_millis.map(|millis| format!("--cpus={}", super::cpus(millis)));
    let adjustment = service.oom_score_adj.map(|score| format!("--oom-score-adj={score}"));
    let privileged = service.privileges.privileged.is_some().then(|| "--privileged".to_owned());
    // A pod sets the parameters of its network namespace itself.
    let sysctls = service
        .sysctls
        .iter()
        .filter(|(name, _)| group.network.is_none() || !compose::is_network_sysctl(name));
    let sysctls = sysctls.map(|(name, value)| format!("--sysctl={name}={value}"));
    // The containers of a pod share its /etc/hosts.
    let hosts = hosts(workload).filter(|_| group.network.is_none());
    let options = [memory, cpus, adjustment, privileged].into_iter().flatten();
    unit.list("PodmanArgs", options.chain(sysctls).chain(hosts));
}

//! Writes `compose.yaml` (Compose specification). Pure.
//!
//! The file leaves out what the image defines: user, command, stop signal and health check. It
//! also leaves out what engines without `CAP_SYS_RESOURCE` refuse ([`limits`](super::limits)).

use super::groups::{self, Group};
use super::limits::{self, Limit};
use super::{image, yaml};
use crate::services::model::{Name, Protocol, Restart, Service, Workload};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
struct Compose<'a> {
    name: &'a str,
    services: BTreeMap<&'a str, Container<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<&'a str, DefaultVolume>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<&'a str, SecretSource>,
}

/// A volume with default settings.
#[derive(Serialize)]
struct DefaultVolume {}

#[derive(Serialize)]
struct SecretSource {
    file: String,
}

#[derive(Default, Serialize)]
struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<Build>,
    image: String,
    platform: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    command: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<&'static str, Aliases<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_mode: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    depends_on: BTreeMap<&'a str, Condition>,
    /// Whether a minimal init runs as PID 1. Without it, the service gets no default signal
    /// action (pid_namespaces(7)) and must reap orphans.
    init: bool,
    restart: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_grace_period: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Secret<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    group_add: BTreeSet<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ulimits: BTreeMap<&'static str, Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cap_add: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cap_drop: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    privileged: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy: Option<Deploy>,
}

#[derive(Serialize)]
struct Build {
    context: String,
    args: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Aliases<'a> {
    aliases: Vec<&'a str>,
}

#[derive(Serialize)]
struct Condition {
    condition: &'static str,
}

const STARTED: Condition = Condition { condition: "service_started" };

#[derive(Serialize)]
struct Secret<'a> {
    source: &'a str,
    target: String,
}

#[derive(Serialize)]
struct Mount<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    target: String,
}

#[derive(Serialize)]
struct Deploy {
    resources: Resources,
}

#[derive(Serialize)]
struct Resources {
    limits: Limits,
}

#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
}

/// Names of the images, with variables of `.env`.
struct Images {
    prefix: String,
    platform: String,
}

/// Returns the file's text.
pub(super) fn compose(workload: &Workload, platform: &str, project: &Name) -> String {
    let images = &Images {
        prefix: format!("${{IMAGE_PREFIX:-{project}}}"),
        platform: format!("${{IMAGE_PLATFORM:-{platform}}}"),
    };
    let dependencies = groups::dependencies(workload);
    let groups = groups::by_network(workload);
    let mut services = BTreeMap::new();
    for group in &groups {
        if group.network.is_some() {
            services.insert(group.name.as_str(), network_container(workload, group, images));
        }
        for service in &group.members {
            let mut container = container(workload, service, images);
            let others = dependencies[&service.name].iter().map(|other| (other.as_str(), STARTED));
            container.depends_on.extend(others);
            match group.network {
                Some(_) => {
                    container.network_mode = Some(format!("service:{}", group.name));
                    container.depends_on.insert(group.name.as_str(), STARTED);
                }
                None => {
                    container.hostname = Some(group.name.as_str());
                    container.extra_hosts = groups::hosts(workload).collect();
                    container.ports = published(&group.published);
                    container.sysctls.extend(network_sysctls(service));
                }
            }
            services.insert(service.name.as_str(), container);
        }
    }
    let volumes = workload.volumes.iter().map(|volume| (volume.name.as_str(), DefaultVolume {}));
    let secrets = workload
        .secret_files
        .iter()
        .map(|secret| (secret.name.as_str(), SecretSource { file: format!("./secrets/{}", secret.name) }));
    let (volumes, secrets) = (volumes.collect(), secrets.collect());
    yaml::document(&Compose { name: project.as_str(), services, volumes, secrets })
}

/// Returns the container that owns the network namespace of a group. It only sleeps.
fn network_container<'a>(workload: &Workload, group: &'a Group<'_>, images: &Images) -> Container<'a> {
    let aliases = group.members.iter().map(|service| service.name.as_str()).collect();
    Container {
        image: super::system_image(&images.prefix),
        platform: images.platform.clone(),
        // Only the local build provides the image.
        pull_policy: Some("never"),
        command: &["sleep", "infinity"],
        hostname: Some(group.name.as_str()),
        // Containers that join its network namespace get its /etc/hosts.
        extra_hosts: groups::hosts(workload).collect(),
        networks: BTreeMap::from([("default", Aliases { aliases })]),
        ports: published(&group.published),
        init: true,
        restart: "unless-stopped",
        read_only: true,
        cap_drop: vec!["ALL"],
        sysctls: group.members.iter().flat_map(|service| network_sysctls(service)).collect(),
        ..Container::default()
    }
}

fn container<'a>(workload: &'a Workload, service: &'a Service, images: &Images) -> Container<'a> {
    let plain = image::environment(service).map(|(name, value)| (name, literal(value)));
    let withheld = service.secrets.iter().map(|name| {
        let name = name.as_str();
        (name, format!("${{{name}:?withheld: see SECRETS.todo}}"))
    });
    let secret = |index: &usize| {
        let secret = workload.secret_files.get(*index)?;
        Some(Secret { source: secret.name.as_str(), target: literal(groups::text(&secret.path)?) })
    };
    let own_sysctls = service.sysctls.iter().filter(|(name, _)| !is_network_sysctl(name));
    let privileges = &service.privileges;
    Container {
        build: Some(Build {
            context: format!("./services/{}", service.name),
            args: BTreeMap::from([("SYSTEM", super::system_image(&images.prefix))]),
        }),
        image: super::tag(&images.prefix, service),
        platform: images.platform.clone(),
        init: true,
        restart: match service.restart {
            Restart::No => "no",
            Restart::OnFailure => "on-failure",
            // With `always`, a restart of Docker also starts containers that the user stopped.
            Restart::Always => "unless-stopped",
        },
        stop_grace_period: Some(format!("{}s", groups::stop_seconds(service))),
        environment: plain.chain(withheld).collect(),
        secrets: service.secret_files.iter().filter_map(secret).collect(),
        volumes: mounts(workload, service),
        read_only: service.read_only,
        group_add: service.user.iter().flat_map(|user| user.groups.iter().copied()).collect(),
        ulimits: limits::ulimits(service, false),
        oom_score_adj: limits::oom_score_adj(service, false),
        cap_add: privileges.add.iter().copied().collect(),
        cap_drop: if privileges.drop_all { vec!["ALL"] } else { Vec::new() },
        devices: devices(service).map(|path| format!("{path}:{path}")).collect(),
        privileged: privileges.privileged.is_some(),
        sysctls: own_sysctls.map(|(name, value)| (name.as_str(), literal(value))).collect(),
        deploy: deploy(service),
        ..Container::default()
    }
}

fn mounts<'a>(workload: &'a Workload, service: &'a Service) -> Vec<Mount<'a>> {
    let volumes = groups::mounts(workload, service).map(|(volume, path)| Mount {
        r#type: "volume",
        source: Some(volume.name.as_str()),
        target: literal(path),
    });
    let memory = groups::memory_directories(service);
    let memory = memory.map(|path| Mount { r#type: "tmpfs", source: None, target: literal(path) });
    volumes.chain(memory).collect()
}

/// Returns the devices whose paths need no escaping.
pub(super) fn devices(service: &Service) -> impl Iterator<Item = &str> {
    service.privileges.devices.iter().filter_map(|path| groups::plain_path(path))
}

fn published(ports: &BTreeSet<(u16, Protocol)>) -> Vec<String> {
    ports
        .iter()
        .map(|&(number, protocol)| format!("{number}:{number}/{}", groups::protocol(protocol)))
        .collect()
}

fn network_sysctls(service: &Service) -> impl Iterator<Item = (&str, String)> {
    let network = service.sysctls.iter().filter(|(name, _)| is_network_sysctl(name));
    network.map(|(name, value)| (name.as_str(), literal(value)))
}

/// Returns whether a kernel parameter belongs to the network namespace. A container that joins
/// another's namespace cannot set it.
pub(super) fn is_network_sysctl(sysctl: &str) -> bool {
    sysctl.starts_with("net.")
}

fn deploy(service: &Service) -> Option<Deploy> {
    let limits = Limits {
        cpus: service.cpu_millis.map(super::cpus),
        memory: service.memory.map(|bytes| format!("{}b", bytes.max(super::MIN_MEMORY))),
        pids: service.tasks,
    };
    let is_some = limits.cpus.is_some() || limits.memory.is_some() || limits.pids.is_some();
    is_some.then_some(Deploy { resources: Resources { limits } })
}

/// Escapes `$`, because Compose expands variables.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

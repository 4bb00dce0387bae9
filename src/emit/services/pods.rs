//! Writes pod templates for Kubernetes. Pure.

use super::groups::{self, Group};
use super::image;
use crate::services::model::{Health, Name, Purpose, Service, Volume, Workload};
use petgraph::unionfind::UnionFind;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Services that must run on one node because they share a network, sockets or data. Their ports
/// cannot collide, because they ran on one machine.
pub(super) struct Pod<'a> {
    /// Name, unique among the pods and at most [`MAX_NAME`] bytes.
    pub name: Name,
    /// Services of the pod, at least one.
    pub members: Vec<&'a Service>,
}

/// Maximum length of a pod name in bytes. Kubernetes appends up to 11 bytes to the name of a
/// StatefulSet to form a label of at most 63 bytes.
const MAX_NAME: usize = 52;

/// Script of the init container: copies the image's files to empty volumes and sets owners and
/// modes. Each four arguments are source, target, owner with group, and mode. It contains no
/// `$(`, because Kubernetes expands `$(VAR)` in commands.
const FILL: &str = r#"set -eu
umask 077
while [ "$#" -gt 0 ]; do
  if [ -f "$1" ]; then
    cp "$1" "$2"
  elif [ -d "$1" ] && ! ls -A "$2" | grep -qvx lost+found; then
    cp -a "$1/." "$2/"
  fi
  [ -z "$3" ] || chown -h "$3" "$2"
  [ -z "$4" ] || chmod "$4" "$2"
  shift 4
done
"#;

/// Directory where the init container mounts the pod's volumes.
const FILL_DIRECTORY: &str = "/vm2docker";
/// Volumes with the withheld files: as Kubernetes provides them, and with owners and modes set.
/// Their names are unique, because no [`Name`] contains two hyphens in a row.
const SECRET_SOURCE: &str = "secret--source";
const SECRET_FILES: &str = "secret--files";

/// Returns the names of the machine's `/etc/hosts`, one object per address. Kubernetes merges this
/// list by address, so two objects must not have the same one.
fn host_aliases(workload: &Workload) -> Vec<Value> {
    let mut names: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    for entry in &workload.hosts {
        names.entry(entry.address).or_default().extend(entry.dns_names());
    }
    names.retain(|_, names| !names.is_empty());
    names.iter().map(|(address, names)| json!({"ip": address, "hostnames": names})).collect()
}

/// Returns all pods.
pub(super) fn pods(workload: &Workload) -> Vec<Pod<'_>> {
    let groups = groups::by_network(workload);
    let mut sets = UnionFind::<usize>::new(groups.len());
    let mut first_with: BTreeMap<&Name, usize> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        for mount in group.members.iter().flat_map(|service| &service.mounts) {
            sets.union(*first_with.entry(&mount.volume).or_insert(index), index);
        }
    }
    let mut parts: BTreeMap<usize, Vec<&Group<'_>>> = BTreeMap::new();
    for (label, group) in sets.into_labeling().into_iter().zip(&groups) {
        parts.entry(label).or_default().push(group);
    }
    let mut pods = Vec::new();
    for (number, parts) in parts.into_values().enumerate() {
        let name = &parts.iter().find(|group| group.network.is_some()).unwrap_or(&parts[0]).name;
        let name = match name.as_str() {
            long if long.len() > MAX_NAME => {
                Name::from_bytes(&long.as_bytes()[..MAX_NAME - 8]).numbered(number)
            }
            _ => name.clone(),
        };
        let names: BTreeSet<&Name> =
            parts.iter().flat_map(|group| group.members.iter().map(|service| &service.name)).collect();
        let members = workload.services.iter().filter(|service| names.contains(&service.name)).collect();
        pods.push(Pod { name, members });
    }
    pods
}

impl<'a> Pod<'a> {
    /// Returns the names of the mounted volumes whose content must be kept.
    pub(super) fn claims(&self, workload: &'a Workload) -> BTreeSet<&'a str> {
        let volumes = self.volumes(workload);
        volumes
            .into_iter()
            .filter(|volume| groups::is_persistent(volume))
            .map(|volume| volume.name.as_str())
            .collect()
    }

    fn volumes(&self, workload: &'a Workload) -> Vec<&'a Volume> {
        let mounted: BTreeSet<&str> = self
            .members
            .iter()
            .flat_map(|service| mounts(workload, service).map(|(volume, _)| volume.name.as_str()))
            .collect();
        workload.volumes.iter().filter(|volume| mounted.contains(volume.name.as_str())).collect()
    }

    /// Returns the `spec` of the pod template.
    pub(super) fn spec(&self, workload: &Workload, project: &Name) -> Value {
        let mut memory = Vec::new();
        let containers: Vec<Value> =
            self.members.iter().map(|service| container(workload, service, project, &mut memory)).collect();
        let fillers: Vec<Value> =
            self.members.iter().filter_map(|service| filler(workload, service, project)).collect();
        let sysctls: BTreeMap<&String, &String> =
            self.members.iter().flat_map(|service| &service.sysctls).collect();
        let sysctls: Vec<Value> =
            sysctls.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let users = self.members.iter().filter_map(|service| service.user.as_ref());
        // Kubernetes sets supplementary groups only for a whole pod.
        let groups: BTreeSet<u32> = users.flat_map(|user| user.groups.iter().copied()).collect();
        // All containers of a pod share one grace period.
        let grace = self.members.iter().map(|service| groups::stop_seconds(service)).max();
        let mut spec = json!({
            // The services do not use the Kubernetes API.
            "automountServiceAccountToken": false,
            // Otherwise Kubernetes sets variables for each Service object, which a service could
            // read as its configuration.
            "enableServiceLinks": false,
            "hostname": self.name,
            // The pause process becomes PID 1: it reaps orphans, and signals have their default
            // action in daemons.
            "shareProcessNamespace": true,
            "terminationGracePeriodSeconds": grace,
            "securityContext": {"supplementalGroups": groups, "sysctls": sysctls},
            "initContainers": fillers,
            "containers": containers,
            "volumes": self.pod_volumes(workload, &memory),
        });
        let hosts = host_aliases(workload);
        if !hosts.is_empty() {
            spec["hostAliases"] = hosts.into();
        }
        spec
    }

    fn pod_volumes(&self, workload: &Workload, memory: &[String]) -> Vec<Value> {
        let volume = |volume: &Volume| match volume.purpose {
            Purpose::Sockets => json!({"name": volume.name, "emptyDir": {}}),
            Purpose::LiveData | Purpose::Data => {
                json!({"name": volume.name, "persistentVolumeClaim": {"claimName": volume.name}})
            }
        };
        let mut volumes: Vec<Value> = self.volumes(workload).into_iter().map(volume).collect();
        volumes.extend(memory.iter().map(|name| json!({"name": name, "emptyDir": {"medium": "Memory"}})));
        let secrets: BTreeSet<&str> = self
            .members
            .iter()
            .flat_map(|service| secret_files(workload, service).map(|(secret, _)| secret.name.as_str()))
            .collect();
        if !secrets.is_empty() {
            let source = |name: &str| json!({"secret": {"name": secret_file(name), "items": [{"key": "content", "path": name}]}});
            let sources: Vec<Value> = secrets.into_iter().map(source).collect();
            volumes.push(json!({"name": SECRET_SOURCE, "projected": {"sources": sources}}));
            volumes.push(json!({"name": SECRET_FILES, "emptyDir": {"medium": "Memory"}}));
        }
        volumes
    }
}

fn container(workload: &Workload, service: &Service, project: &Name, memory: &mut Vec<String>) -> Value {
    let mut from = Vec::new();
    let variables = environment(&service.name);
    if image::environment(service).next().is_some() {
        from.push(json!({"configMapRef": {"name": variables}}));
    }
    if !service.secrets.is_empty() {
        from.push(json!({"secretRef": {"name": variables}}));
    }
    let mut volume_mounts: Vec<Value> = mounts(workload, service)
        .map(|(volume, path)| json!({"name": volume.name, "mountPath": path}))
        .collect();
    for path in groups::memory_directories(service).filter_map(|path| groups::plain_path(path.as_bytes())) {
        let name = format!("memory--{}", memory.len());
        volume_mounts.push(json!({"name": name, "mountPath": path}));
        memory.push(name);
    }
    volume_mounts.extend(secret_files(workload, service).map(|(secret, path)| {
        json!({"name": SECRET_FILES, "mountPath": path, "subPath": secret.name, "readOnly": true})
    }));
    let health = service.health.as_ref();
    let ports = groups::public_ports(service);
    let ports = ports.iter().map(|&(number, protocol)| {
        let protocol = groups::protocol(protocol);
        json!({"name": format!("{protocol}-{number}"), "containerPort": number, "protocol": protocol.to_uppercase()})
    });
    json!({
        "name": service.name,
        "image": super::tag(project, service),
        "imagePullPolicy": "IfNotPresent",
        "envFrom": from,
        "ports": ports.collect::<Vec<_>>(),
        "startupProbe": health.map(|health| probe(health, 5, 60)),
        "readinessProbe": health.map(|health| probe(health, 10, 3)),
        "livenessProbe": health.map(|health| probe(health, 30, 3)),
        "resources": resources(service),
        "securityContext": security(service),
        "volumeMounts": volume_mounts,
    })
}

fn probe(health: &Health, period: u32, failures: u32) -> Value {
    json!({
        "exec": {"command": image::check(health)},
        "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 10,
    })
}

/// Returns limits and small requests. The machine does not show how much a service needs.
fn resources(service: &Service) -> Value {
    const CPU_MILLIS: u64 = 50;
    const MEMORY: u64 = 64 << 20;
    let cpu = service.cpu_millis.map(|millis| millis.max(super::MIN_CPU_MILLIS));
    let memory = service.memory.map(|bytes| bytes.max(super::MIN_MEMORY));
    let mut limits = Map::new();
    limits.extend(cpu.map(|millis| ("cpu".to_owned(), json!(format!("{millis}m")))));
    limits.extend(memory.map(|bytes| ("memory".to_owned(), json!(bytes.to_string()))));
    let limits = (!limits.is_empty()).then_some(limits);
    let cpu = cpu.unwrap_or(CPU_MILLIS).min(CPU_MILLIS);
    let memory = memory.unwrap_or(MEMORY).min(MEMORY);
    json!({"limits": limits, "requests": {"cpu": format!("{cpu}m"), "memory": memory.to_string()}})
}

fn security(service: &Service) -> Value {
    let privileges = &service.privileges;
    let mut context = Map::new();
    if let Some(user) = &service.user {
        context.insert("runAsUser".to_owned(), json!(user.uid));
        context.insert("runAsGroup".to_owned(), json!(user.gid));
    }
    let drop: &[&str] = if privileges.drop_all { &["ALL"] } else { &[] };
    if privileges.drop_all || !privileges.add.is_empty() {
        context.insert("capabilities".to_owned(), json!({"add": privileges.add, "drop": drop}));
    }
    // Kubernetes rejects it for privileged containers and with CAP_SYS_ADMIN.
    if privileges.drop_all && privileges.add.is_empty() && privileges.privileged.is_none() {
        context.insert("allowPrivilegeEscalation".to_owned(), json!(false));
    }
    if privileges.privileged.is_some() {
        context.insert("privileged".to_owned(), json!(true));
    }
    context.insert("readOnlyRootFilesystem".to_owned(), json!(service.read_only));
    Value::Object(context)
}

/// Returns the init container that fills a service's volumes, as root in the service's image.
fn filler(workload: &Workload, service: &Service, project: &Name) -> Option<Value> {
    let mut arguments: Vec<String> = Vec::new();
    let mut volume_mounts = Vec::new();
    let mut fill = |from: &str, to: String, owner: Option<(u32, u32, u16)>| {
        let names = owner.map(|(uid, gid, _)| format!("{uid}:{gid}"));
        let mode = owner.map(|(_, _, mode)| format!("{mode:04o}"));
        arguments.extend([from.to_owned(), to, names.unwrap_or_default(), mode.unwrap_or_default()]);
    };
    for (volume, path) in mounts(workload, service) {
        let target = format!("{FILL_DIRECTORY}/{}", volume.name);
        volume_mounts.push(json!({"name": volume.name, "mountPath": target}));
        fill(path, target, volume.owner);
    }
    let mut secrets = secret_files(workload, service).peekable();
    if secrets.peek().is_some() {
        for name in [SECRET_SOURCE, SECRET_FILES] {
            volume_mounts.push(json!({"name": name, "mountPath": format!("{FILL_DIRECTORY}/{name}")}));
        }
    }
    for (secret, _) in secrets {
        let path = |volume: &str| format!("{FILL_DIRECTORY}/{volume}/{}", secret.name);
        fill(&path(SECRET_SOURCE), path(SECRET_FILES), Some(secret.owner));
    }
    let command = ["/bin/sh", "-c", FILL, "fill"].map(str::to_owned).into_iter().chain(arguments);
    (!volume_mounts.is_empty()).then(|| {
        json!({
            "name": format!("fill--{}", service.name).chars().take(Name::MAX).collect::<String>().trim_end_matches('-'),
            "image": super::tag(project, service),
            "imagePullPolicy": "IfNotPresent",
            "command": command.collect::<Vec<_>>(),
            "securityContext": {"runAsUser": 0, "runAsGroup": 0},
            "volumeMounts": volume_mounts,
        })
    })
}

/// Returns a service's volumes and mount points. Kubernetes rejects colons in mount points.
fn mounts<'a>(workload: &'a Workload, service: &'a Service) -> impl Iterator<Item = (&'a Volume, &'a str)> {
    let all = groups::mounts(workload, service);
    all.filter(|(_, path)| groups::plain_path(path.as_bytes()).is_some())
}

/// Returns the name of the objects with a service's variables. It is unique, because no [`Name`]
/// contains two hyphens in a row.
pub(super) fn environment(service: &Name) -> String {
    format!("{service}--environment")
}

/// Returns the name of the object with a withheld file.
pub(super) fn secret_file(name: &str) -> String {
    format!("file--{name}")
}

fn secret_files<'a>(
    workload: &'a Workload,
    service: &'a Service,
) -> impl Iterator<Item = (&'a crate::services::model::SecretFile, &'a str)> {
    let files = service.secret_files.iter().filter_map(|&index| workload.secret_files.get(index));
    files.filter_map(|secret| Some((secret, groups::plain_path(&secret.path)?)))
}

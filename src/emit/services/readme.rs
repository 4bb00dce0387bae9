//! Writes the sections about services in `README.md`. Pure.

use super::{groups, limits};
use crate::emit::text::cell;
use crate::model::escape;
use crate::model::size::bytes;
use crate::services::model::{Name, Purpose, Volume, Workload};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Returns the sections, or an empty string.
pub(super) fn readme(workload: &Workload, project: &Name) -> String {
    let mut text = String::new();
    if !workload.services.is_empty() {
        text += &services(workload);
        text += &start(project);
        text += &privileged_limits(workload);
        text += &data(workload, project);
        text += &withheld(workload);
        text += &unsupported_paths(workload);
    }
    text += &issues(workload);
    text += &skipped(workload);
    text
}

fn services(workload: &Workload) -> String {
    let mut text = "\n## Services\n\nEach service runs in a container. `services/NAME` builds its image from the machine's image.\n\n\
         | service | unit | ports | volumes | network |\n|---|---|---|---|---|\n"
        .to_owned();
    for service in &workload.services {
        let ports = groups::public_ports(service).into_iter();
        let ports = ports.map(|(number, protocol)| format!("{number}/{}", groups::protocol(protocol)));
        let volumes = service.mounts.iter().map(|mount| format!("`{}`", mount.volume));
        let network = service.network.as_ref().map_or(String::new(), |network| format!("`{network}`"));
        let unit = match service.description.as_str() {
            "" => cell(&service.unit),
            description => format!("{}: {}", cell(&service.unit), cell(description)),
        };
        let _ = writeln!(
            text,
            "| `{}` | {unit} | {} | {} | {network} |",
            service.name,
            list(ports),
            list(volumes)
        );
    }
    if !workload.networks.is_empty() {
        text += "\nThese services share a network namespace, so that `127.0.0.1` is the same for all of them:\n\n";
        for network in &workload.networks {
            let reasons = network.reasons.iter().map(|reason| cell(reason));
            let _ = writeln!(text, "- `{}`: {}", network.name, list(reasons));
        }
    }
    text
}

fn start(project: &Name) -> String {
    format!(
        "\nRun `./build.sh`, fill the volumes and provide the secrets (see below). Then use one of these:\n\n    \
         docker compose up -d\n\n    \
         # Podman 5; then reboot, or run systemctl start {project}-NAME\n    \
         cp quadlet/* /etc/containers/systemd/ && systemctl daemon-reload\n\n    \
         # push the images to a registry first, and set it in kustomization.yaml\n    \
         kubectl apply -k kubernetes\n\n\
         `.env` sets the first part of the images' names for `build.sh` and Compose. With another value, also change \
         `Image=` in copies of `quadlet/` and `images` in a copy of `kubernetes/kustomization.yaml`.\n\
         `COMPLETE` contains the digests of the other files: make changes in `compose.override.yaml` or in a copy.\n\
         Memory and CPU limits are those of the machine. Docker rejects more CPUs than its host has.\n\
         Kubernetes pods cannot set limits of open files and tasks, devices and `oom_score_adj`: configure the nodes. \
         The nodes must also allow the `sysctls`.\n"
    )
}

fn privileged_limits(workload: &Workload) -> String {
    if !limits::is_needed(workload) {
        return String::new();
    }
    "\nA rootless engine and one inside a container refuse some limits of open files, processes and locked memory, and \
     protection from the OOM killer (`CAP_SYS_RESOURCE`). These are in `compose.limits.yaml`. If your engine accepts \
     them, set this in `.env`; a `compose.override.yaml` must then also be in the list:\n\n    \
     COMPOSE_FILE=compose.yaml:compose.limits.yaml\n"
        .to_owned()
}

fn data(workload: &Workload, project: &Name) -> String {
    let is_live = |volume: &&Volume| volume.purpose == Purpose::LiveData;
    let image = super::system_image(project);
    let mut text = String::new();
    for volume in workload.volumes.iter().filter(is_live) {
        let name = &volume.name;
        let _ = write!(
            text,
            "\n### Volume `{name}`\n\n{}, {}: {}\n\n    # on the machine, after stopping its services\n    tar -C {} --numeric-owner -cpf {name}.tar .\n    \
             # on the container host, one of\n    \
             docker compose create && docker run --rm -i -v {project}_{name}:/volume {image} tar -C /volume --numeric-owner -xpf - < {name}.tar\n    \
             podman volume create {project}_{name} && podman run --rm -i -v {project}_{name}:/volume {image} tar -C /volume --numeric-owner -xpf - < {name}.tar\n",
            code(&volume.path),
            bytes(volume.bytes),
            cell(&volume.reason),
            escape::shell_word(&volume.path),
        );
    }
    let live = if text.is_empty() {
        text
    } else {
        format!(
            "\n## Data\n\nThe image contains no live data. Fill each volume before its services start. On Kubernetes, mount its \
             claim (`kubernetes/`) in a pod of the machine's image and send the same archive with `kubectl exec -i`.\n{text}"
        )
    };
    let mut rest = String::new();
    for volume in workload.volumes.iter().filter(|volume| !is_live(volume)) {
        let _ = writeln!(rest, "- `{}`, {}: {}", volume.name, code(&volume.path), cell(&volume.reason));
    }
    if !rest.is_empty() {
        rest = format!(
            "\n## Other volumes\n\nEngines fill these from the image, or they contain only sockets:\n\n{rest}"
        );
    }
    live + &rest
}

fn withheld(workload: &Workload) -> String {
    let mut text = String::new();
    let with_secrets = workload.services.iter().filter(|service| !service.secrets.is_empty());
    for service in with_secrets {
        let names = service.secrets.iter().map(|name| format!("`{}`", name.as_str()));
        let _ = writeln!(text, "- `{}` needs the variables {}", service.name, list(names));
    }
    if !text.is_empty() {
        text += "\nFor Compose, set them in `.env`. For Podman, run `podman secret create SERVICE--VARIABLE FILE` for each. For Kubernetes, set them in \
                 a copy of `kubernetes/SERVICE--environment.secret.yaml` and apply it.\n";
    }
    if !workload.secret_files.is_empty() {
        text += "\nThe commands in `SECRETS.todo` copy these files from the machine to `secrets/`, with owner and mode, \
                 for Compose, Podman and Kubernetes:\n\n";
        for (index, secret) in workload.secret_files.iter().enumerate() {
            let users = workload.services.iter().filter(|service| service.secret_files.contains(&index));
            let users = list(users.map(|service| format!("`{}`", service.name)));
            let _ = writeln!(text, "- {}: `secrets/{}`, for {users}", code(&secret.path), secret.name);
        }
    }
    if text.is_empty() {
        text
    } else {
        format!(
            "\n## Secrets\n\nThese secrets are not in the images. The services do not start without them:\n\n{text}"
        )
    }
}

/// Returns the paths that some formats cannot express: not text, or with separator characters.
fn unsupported_paths(workload: &Workload) -> String {
    let mut text = String::new();
    for service in &workload.services {
        let paths = service.mounts.iter().map(|mount| &mount.path).chain(&service.memory_directories);
        let secrets = service.secret_files.iter().filter_map(|&index| workload.secret_files.get(index));
        let paths =
            paths.chain(secrets.map(|secret| &secret.path)).map(|path| (path, "for Podman and Kubernetes"));
        let devices = service.privileges.devices.iter().map(|path| (path, ""));
        for (path, place) in paths.chain(devices).filter(|(path, _)| groups::plain_path(path).is_none()) {
            let place = if groups::text(path).is_none() { "" } else { place };
            let _ = writeln!(text, "- `{}`: {} {place}", service.name, code(path));
        }
    }
    let head = "\n## Paths to mount by hand\n\nThese paths are not valid text, or contain characters that engines read as separators:\n\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn issues(workload: &Workload) -> String {
    let mut text = String::new();
    for issue in &workload.compatibility {
        let severity = issue.severity.as_str();
        let service = issue.service.as_ref().map_or(String::new(), |name| format!("`{name}`"));
        let _ =
            writeln!(text, "| {severity} | {service} | {} | {} |", cell(&issue.evidence), cell(issue.advice));
    }
    let head = "\n## Differences in containers\n\n| | service | observation | action |\n|---|---|---|---|\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn skipped(workload: &Workload) -> String {
    let mut units: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for unit in &workload.skipped {
        units.entry(&unit.reason).or_default().push(cell(&unit.unit));
    }
    let mut text = String::new();
    for (reason, units) in units {
        let _ = writeln!(text, "| {} | {} |", cell(reason), list(units.into_iter()));
    }
    let head = "\n## Units without a container\n\n| reason | units |\n|---|---|\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn code(path: &[u8]) -> String {
    format!("`{}`", escape::escape(path).replace('`', "'").replace('|', "\\|"))
}

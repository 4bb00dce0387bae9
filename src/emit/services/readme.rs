//! What `README.md` says about services. Pure.

use super::groups;
use crate::emit::text::cell;
use crate::model::escape;
use crate::model::size::bytes;
use crate::services::model::{Name, Purpose, Volume, Workload};
use std::fmt::Write;

/// The sections; nothing if there is nothing to say.
pub(super) fn readme(workload: &Workload, project: &Name) -> String {
    let mut text = String::new();
    if !workload.services.is_empty() {
        text += &services(workload);
        text += &start(project);
        text += &data(workload, project);
        text += &withheld(workload);
        text += &unwritable(workload);
    }
    text += &fit(workload);
    text += &skipped(workload);
    text
}

fn services(workload: &Workload) -> String {
    let mut text = "\n## Services\n\nEvery service is a container with an image of its own, made from the machine's: `services/NAME`.\n\n\
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
        text += "\nServices share a network, where `127.0.0.1` is the same to all of them:\n\n";
        for network in &workload.networks {
            let reasons = network.reasons.iter().map(|reason| cell(reason));
            let _ = writeln!(text, "- `{}`: {}", network.name, list(reasons));
        }
    }
    text
}

fn start(project: &Name) -> String {
    format!(
        "\nAfter `./build.sh`, volumes filled and secrets given (below), with one of:\n\n    \
         docker compose up -d\n\n    \
         # Podman 5; then reboot or systemctl start {project}-NAME\n    \
         cp quadlet/* /etc/containers/systemd/ && systemctl daemon-reload\n\n    \
         # after the images were pushed to a registry that kustomization.yaml names\n    \
         kubectl apply -k kubernetes\n\n\
         `COMPLETE` has the digests of these files: put changes into `compose.override.yaml` or into a copy.\n\
         Limits of memory and processors are the machine's; Docker refuses more processors than its host has.\n\
         Kubernetes knows no limits of open files and of tasks, no devices and no `oom_score_adj`: its nodes have to be set up for those. \
         They also have to allow the kernel settings (`sysctls`).\n"
    )
}

fn data(workload: &Workload, project: &Name) -> String {
    let is_live = |volume: &&Volume| volume.purpose == Purpose::LiveData;
    let mut text = String::new();
    for volume in workload.volumes.iter().filter(is_live) {
        let name = &volume.name;
        let _ = write!(
            text,
            "\n### Volume `{name}`\n\n{}, {}: {}\n\n    # on the machine, its services stopped\n    tar -C {} --numeric-owner -cpf {name}.tar .\n    \
             # where it goes, one of\n    \
             docker compose create && docker run --rm -i -v {project}_{name}:/volume vm2docker/machine tar -C /volume --numeric-owner -xpf - < {name}.tar\n    \
             podman volume create {project}_{name} && podman run --rm -i -v {project}_{name}:/volume vm2docker/machine tar -C /volume --numeric-owner -xpf - < {name}.tar\n",
            code_of(&volume.path),
            bytes(volume.bytes),
            cell(&volume.reason),
            escape::shell_word(&volume.path),
        );
    }
    let live = if text.is_empty() {
        text
    } else {
        format!(
            "\n## Data\n\nThe image has no live data. Fill each volume before its services start. On Kubernetes, mount its \
             claim (`kubernetes/`) into a pod of the machine's image and send it the same archive with `kubectl exec -i`.\n{text}"
        )
    };
    let mut rest = String::new();
    for volume in workload.volumes.iter().filter(|volume| !is_live(volume)) {
        let _ = writeln!(rest, "- `{}`, {}: {}", volume.name, code_of(&volume.path), cell(&volume.reason));
    }
    if !rest.is_empty() {
        rest = format!(
            "\n## Other volumes\n\nThese fill themselves from the image, or hold only sockets:\n\n{rest}"
        );
    }
    live + &rest
}

fn withheld(workload: &Workload) -> String {
    let mut text = String::new();
    let withholding = workload.services.iter().filter(|service| !service.secrets.is_empty());
    for service in withholding {
        let names = service.secrets.iter().map(|name| format!("`{}`", name.as_str()));
        let _ = writeln!(text, "- `{}` needs the variables {}", service.name, list(names));
    }
    if !text.is_empty() {
        text += "\nfor Compose in a file `.env` here, for Podman each with `podman secret create SERVICE--VARIABLE FILE`, for Kubernetes in \
                 `kubernetes/SERVICE--environment.secret.yaml`.\n";
    }
    if !workload.secret_files.is_empty() {
        text += "\nFiles, with the owner and mode that they have on the machine:\n\n";
        for secret in &workload.secret_files {
            let (uid, gid, mode) = secret.owner;
            let (name, path) = (&secret.name, code_of(&secret.path));
            let _ = writeln!(
                text,
                "- {path}: for Compose `install -D -o {uid} -g {gid} -m {mode:04o} FILE secrets/{name}`, for Podman \
                 `podman secret create {name} FILE`, for Kubernetes `kubectl create secret generic file--{name} --from-file=content=FILE --dry-run=client -o yaml > \
                 kubernetes/file--{name}.secret.yaml`"
            );
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n## Secrets\n\nNot in the images; the services do not start without:\n\n{text}")
    }
}

/// What some format cannot hold: names that are no text, or have characters that mean something else there.
fn unwritable(workload: &Workload) -> String {
    let mut text = String::new();
    for service in &workload.services {
        let paths = service.mounts.iter().map(|mount| &mount.path).chain(&service.memory_directories);
        let secrets = service.secret_files.iter().filter_map(|&index| workload.secret_files.get(index));
        let paths =
            paths.chain(secrets.map(|secret| &secret.path)).map(|path| (path, "for Podman and Kubernetes"));
        let devices = service.privileges.devices.iter().map(|path| (path, ""));
        for (path, place) in paths.chain(devices).filter(|(path, _)| groups::plain_path(path).is_none()) {
            let place = if groups::text(path).is_none() { "" } else { place };
            let _ = writeln!(text, "- `{}`: {} {place}", service.name, code_of(path));
        }
    }
    let head = "\n## Paths that have to be mounted by hand\n\nTheir names are no text, or mean something else to an engine:\n\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn fit(workload: &Workload) -> String {
    let mut text = String::new();
    for issue in &workload.compatibility {
        let severity = format!("{:?}", issue.severity).to_lowercase();
        let service = issue.service.as_ref().map_or(String::new(), |name| format!("`{name}`"));
        let _ =
            writeln!(text, "| {severity} | {service} | {} | {} |", cell(&issue.evidence), cell(issue.advice));
    }
    let head =
        "\n## What is different in a container\n\n| | service | seen | what to do |\n|---|---|---|---|\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn skipped(workload: &Workload) -> String {
    let mut text = String::new();
    for skipped in &workload.skipped {
        let _ = writeln!(text, "| {} | {} |", cell(&skipped.unit), cell(&skipped.reason));
    }
    let head = "\n## What does not become a container\n\n| unit | why |\n|---|---|\n";
    if text.is_empty() { text } else { format!("{head}{text}") }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn code_of(path: &[u8]) -> String {
    format!("`{}`", escape::escape(path).replace('`', "'").replace('|', "\\|"))
}

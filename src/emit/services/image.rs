//! Writes `services/NAME/`, the build context of a service's image. Pure.
//!
//! The Dockerfile contains numbers, fixed words, plain values ([`is_plain`]) and one JSON list. A
//! line has at most 64 KiB, because BuildKit and Buildah read lines into a buffer of that size.
//! Engines expand no variables in `CMD`.

use super::groups;
use crate::context::MOUNT;
use crate::services::model::{Command, Health, Service, Workload, is_plain};
use std::borrow::Cow;
use std::fmt::Write;

/// Path of the entry script. It is in the root directory, because no symbolic link can redirect
/// it there.
pub(super) const ENTRY: &str = "/vm2docker-entry";

/// Maximum size of a command in JSON, in bytes. A longer command becomes a script.
const MAX_COMMAND: usize = 32 << 10;

/// Returns the Dockerfile of a service's image, based on `system`.
pub(super) fn dockerfile(workload: &Workload, service: &Service, system: &str) -> String {
    let mut text = format!("ARG SYSTEM={system}\nFROM ${{SYSTEM}}\n");
    if entry(service).is_some() {
        text += &format!("COPY --chmod=0555 entry {ENTRY}\n");
    }
    if service.prepare.is_some() {
        let script = format!("{MOUNT}/prepare");
        text +=
            &format!("RUN --mount=type=bind,source=prepare,target={script} [\"/bin/sh\", \"{script}\"]\n");
    }
    if let Some(user) = &service.user {
        let _ = writeln!(text, "USER {}:{}", user.uid, user.gid);
    }
    if let Some(directory) =
        service.working_directory.as_deref().filter(|path| is_plain(path)).and_then(groups::text)
    {
        let _ = writeln!(text, "WORKDIR {directory}");
    }
    for (name, value) in environment(service) {
        let _ = writeln!(text, "ENV {name}=\"{value}\"");
    }
    let ports = groups::public_ports(service);
    let ports: String =
        ports.iter().map(|&(number, protocol)| format!(" {number}/{}", groups::protocol(protocol))).collect();
    if !ports.is_empty() {
        let _ = writeln!(text, "EXPOSE{ports}");
    }
    for path in persistent_directories(workload, service) {
        let _ = writeln!(text, "VOLUME {path}");
    }
    let _ = writeln!(text, "STOPSIGNAL {}", service.stop_signal.0);
    if let Some(health) = &service.health {
        let check = json(&self::check(health));
        let _ = writeln!(text, "HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD {check}");
    }
    // An entry point of the base image would take CMD as its arguments.
    text + &format!("ENTRYPOINT []\nCMD {}\n", json(&command(service)))
}

/// Returns the directories that must be volumes even if the user mounts none.
fn persistent_directories<'a>(workload: &'a Workload, service: &'a Service) -> impl Iterator<Item = &'a str> {
    let persistent_directories =
        groups::mounts(workload, service).filter(|(volume, _)| groups::is_persistent(volume));
    persistent_directories.filter_map(|(_, path)| groups::plain_path(path.as_bytes()))
}

/// Returns the variables that the image sets.
pub(super) fn environment(service: &Service) -> impl Iterator<Item = (&str, &str)> {
    let plain = service.environment.iter().filter(|(_, value)| is_plain(value));
    plain.filter_map(|(name, value)| Some((name.as_str(), groups::text(value)?)))
}

/// Returns the command of a health check. It contains only a port number or a checked path of the
/// machine.
pub(super) fn check(health: &Health) -> [String; 3] {
    // Fields: local address, remote address, state (proc_net(5)). 0A is LISTEN. Without IPv6,
    // tcp6 does not exist.
    let script = match health {
        Health::Tcp(port) => {
            format!(
                "grep -qsE '^ *[0-9]+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A ' /proc/net/tcp /proc/net/tcp6"
            )
        }
        Health::Udp(port) => {
            format!("grep -qsE '^ *[0-9]+: [0-9A-F]+:{port:04X} ' /proc/net/udp /proc/net/udp6")
        }
        Health::Socket(path) => format!("test -S {path}"),
    };
    ["/bin/sh".to_owned(), "-c".to_owned(), script]
}

/// Returns the command of the image.
fn command(service: &Service) -> Vec<&str> {
    match &service.command {
        Command::Exec(words) if entry(service).is_none() => words.iter().map(String::as_str).collect(),
        _ => vec!["/bin/sh", ENTRY],
    }
}

/// Returns the entry script, if the command needs one.
pub(super) fn entry(service: &Service) -> Option<Cow<'_, [u8]>> {
    match &service.command {
        Command::Script(script) => Some(Cow::Borrowed(script)),
        Command::Exec(words) => (json(words).len() > MAX_COMMAND).then(|| {
            let quoted = words.iter().map(|word| format!(" '{}'", word.replace('\'', "'\\''")));
            Cow::Owned(format!("exec{}\n", quoted.collect::<String>()).into_bytes())
        }),
    }
}

fn json(words: &[impl serde::Serialize]) -> String {
    serde_json::to_string(words).expect("strings can be serialized")
}

//! `services/NAME/`: what an engine builds a service's image from. Pure.
//!
//! The Dockerfile has numbers, words of this program, values that mean themselves ([`is_plain`]) and one list in JSON. A line
//! may have 64 KiB (BuildKit and Buildah read lines into a buffer of that size), and no variable is replaced in `CMD`.

use super::groups;
use crate::context::MOUNT;
use crate::services::model::{Command, Health, Service, Workload, is_plain};
use std::borrow::Cow;
use std::fmt::Write;

/// The script that a container runs if its command needs one. In the root directory, for no link can lead elsewhere from there.
pub(super) const ENTRY: &str = "/vm2docker-entry";

/// A longer list of words becomes a script.
const LONGEST_LINE: usize = 32 << 10;

/// The Dockerfile of a service's image, built from `system`.
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
    for path in kept(workload, service) {
        let _ = writeln!(text, "VOLUME {path}");
    }
    let _ = writeln!(text, "STOPSIGNAL {}", service.stop_signal.0);
    if let Some(health) = &service.health {
        let check = json(&self::check(health));
        let _ = writeln!(text, "HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD {check}");
    }
    text + &format!("ENTRYPOINT []\nCMD {}\n", json(&command(service)))
}

/// The directories that a container keeps even if nobody names a volume for them.
fn kept<'a>(workload: &'a Workload, service: &'a Service) -> impl Iterator<Item = &'a str> {
    let kept = groups::mounts(workload, service).filter(|(volume, _)| groups::stays(volume));
    kept.filter_map(|(_, path)| groups::plain_path(path.as_bytes()))
}

/// The variables that the image has.
pub(super) fn environment(service: &Service) -> impl Iterator<Item = (&str, &str)> {
    let plain = service.environment.iter().filter(|(_, value)| is_plain(value));
    plain.filter_map(|(name, value)| Some((name.as_str(), groups::text(value)?)))
}

/// What asks whether a service serves; words without anything from the machine but numbers and a checked path.
pub(super) fn check(health: &Health) -> [String; 3] {
    // Local address, foreign address, state (proc_net(5)); 0A is LISTEN. A machine without IPv6 has no tcp6.
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

/// What the container runs, as words.
fn command(service: &Service) -> Vec<&str> {
    match &service.command {
        Command::Exec(words) if entry(service).is_none() => words.iter().map(String::as_str).collect(),
        _ => vec!["/bin/sh", ENTRY],
    }
}

/// The script that it runs, if it needs one.
pub(super) fn entry(service: &Service) -> Option<Cow<'_, [u8]>> {
    match &service.command {
        Command::Script(script) => Some(Cow::Borrowed(script)),
        Command::Exec(words) => (json(words).len() > LONGEST_LINE).then(|| {
            let quoted = words.iter().map(|word| format!(" '{}'", word.replace('\'', "'\\''")));
            Cow::Owned(format!("exec{}\n", quoted.collect::<String>()).into_bytes())
        }),
    }
}

fn json(words: &[impl serde::Serialize]) -> String {
    serde_json::to_string(words).expect("a list of strings has a form in JSON")
}

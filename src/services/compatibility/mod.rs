//! Reports what does not work in a container, or differs from the machine. Pure.

mod machine;

use crate::detect::Inventory;
use crate::detect::sockets::UnixName;
use crate::detect::units::directives::Treatment;
use crate::detect::units::exec::{Word, line_runs};
use crate::detect::units::service::Type;
use crate::model::{escape, tree};
use crate::services::connections::{Connection, Need, Text};
use crate::services::data;
use crate::services::draft::Draft;
use crate::services::listening::canonical;
use crate::services::model::{
    CompatibilityIssue, IssueKind, IssueSeverity, Name, Protocol, SecretFile, Service,
};
use crate::services::service_files::{ServiceFiles, relative};
use crate::services::survey::{Candidate, Survey};
use crate::services::without_container::{self, CONTAINER_CLIENTS};
use crate::system::mounts::Class;
use machine::MachineAddresses;
use memchr::memmem;
use std::collections::BTreeSet;

/// Commands that change kernel state, with the kind of issue and the advice.
const KERNEL_COMMANDS: &[(&str, IssueKind, &str)] = &[
    ("modprobe", IssueKind::KernelModule, "load the module on the container host"),
    ("insmod", IssueKind::KernelModule, "load the module on the container host"),
    (
        "iptables",
        IssueKind::PacketFilter,
        "put the rules on the container host or into network policies: containers have an empty filter",
    ),
    (
        "nft",
        IssueKind::PacketFilter,
        "put the rules on the container host or into network policies: containers have an empty filter",
    ),
    (
        "ipset",
        IssueKind::PacketFilter,
        "put the rules on the container host or into network policies: containers have an empty filter",
    ),
    ("sysctl", IssueKind::Sysctl, "set it on the container host, or per container if it is namespaced"),
    ("mount", IssueKind::Mount, "mount it on the container host and pass it to the container as a volume"),
    ("losetup", IssueKind::Mount, "mount it on the container host and pass it to the container as a volume"),
];
/// Servers that open further ports at run time.
const DYNAMIC_PORTS: &[&str] =
    &["vsftpd", "proftpd", "pure-ftpd", "rpcbind", "asterisk", "freeswitch", "turnserver", "coturn"];
/// Directories where services usually write.
const WRITABLE_DIRECTORIES: &[&str] =
    &["/var", "/run", "/tmp", "/dev", "/proc", "/sys", "/srv", "/home", "/data", "/opt", "/mnt", "/media"];

/// Returns all issues to resolve before the containers start.
pub(in crate::services) fn issues(
    drafts: &[Draft<'_>],
    services: &[Service],
    survey: &Survey<'_>,
    inventory: &Inventory,
    service_files: &ServiceFiles<'_>,
    needs: &BTreeSet<Need>,
    secret_files: &[SecretFile],
) -> Vec<CompatibilityIssue> {
    let mut issues = Issues(Vec::new());
    let addresses = MachineAddresses::of(inventory, service_files);
    for (draft, service) in drafts.iter().zip(services) {
        issues.units(draft);
        issues.commands(draft, service_files);
        issues.scripts(draft);
        issues.manager(draft, inventory);
        issues.network(draft, service, needs, drafts);
        issues.files(draft, inventory, service_files);
        issues.addresses(draft, &addresses);
        issues.privileges(service);
        issues.withheld(service, secret_files);
    }
    issues.collisions(services);
    issues.machine(survey, inventory, service_files);
    issues.name_resolution(inventory, &addresses, services.is_empty());
    issues.0
}

/// Issues found so far.
struct Issues(Vec<CompatibilityIssue>);

impl CompatibilityIssue {
    /// Returns the issue for a service whose start command is unknown.
    pub(in crate::services) fn unknown_start(candidate: &Candidate<'_>) -> Self {
        let cause = match candidate.main() {
            Some(_) => "the process overwrote its arguments, and no unit or script exists",
            None => "its definition contains no valid command",
        };
        CompatibilityIssue {
            severity: IssueSeverity::Blocker,
            service: None,
            kind: IssueKind::UnknownStart,
            evidence: format!("{}: start command unknown: {cause}", escape::escape(&candidate.unit)),
            advice: "write services/NAME/Dockerfile: FROM the system image, CMD with the start command",
        }
    }
}

impl Issues {
    /// Adds an issue.
    fn add(
        &mut self,
        severity: IssueSeverity,
        service: Option<&Name>,
        kind: IssueKind,
        evidence: String,
        advice: &'static str,
    ) {
        self.0.push(CompatibilityIssue { severity, service: service.cloned(), kind, evidence, advice });
    }

    /// Reports conditions, directives, accounts and environment files of the units.
    fn units(&mut self, draft: &Draft<'_>) {
        let name = Some(&draft.name);
        for setting in &draft.run.unknown_accounts {
            self.add(
                IssueSeverity::Blocker,
                name,
                IssueKind::UnknownAccount,
                format!(
                    "{setting}: in no account file, so the service runs as UID 65534 or without the group"
                ),
                "set UID and GID with USER in services/NAME/Dockerfile; `id NAME` on the machine prints them",
            );
        }
        for owner in &draft.preparation.unknown_owners {
            let evidence = format!("{owner}: in no account file, so the directory belongs to ID 65534");
            let advice = "set the owner in services/NAME/prepare; `ls -n` on the machine prints it";
            self.add(IssueSeverity::Blocker, name, IssueKind::UnknownAccount, evidence, advice);
        }
        let candidate = draft.candidate;
        for directive in &candidate.directives {
            let severity = match directive.treatment {
                Treatment::Blocker => IssueSeverity::Blocker,
                Treatment::Warning => IssueSeverity::Warning,
                Treatment::Info | Treatment::Translated | Treatment::Harmless => IssueSeverity::Info,
            };
            let evidence = match directive.is_known {
                true => format!("its unit sets {}", directive.name),
                false => format!("its unit sets {}, which is unknown", directive.name),
            };
            self.add(severity, name, IssueKind::Directive, evidence, directive.advice);
        }
        for (path, cause) in &draft.run.unusable_files {
            let evidence = format!("its unit reads variables from {}: {cause}", escape::escape(path));
            let advice =
                "set the variables in the container: the service did not start on the machine either";
            self.add(IssueSeverity::Blocker, name, IssueKind::EnvironmentFile, evidence, advice);
        }
        // A running service shows that its conditions were met.
        if !candidate.processes.is_empty() {
            return;
        }
        let advice = "check on the machine whether the unit starts: its files do not decide it";
        for condition in &candidate.conditions.undecided {
            let evidence = format!("the machine starts it only if {condition} is met");
            self.add(IssueSeverity::Warning, name, IssueKind::Condition, evidence, advice);
        }
        if let Some(unmet) = &candidate.conditions.unmet {
            let evidence = format!("the machine does not start it: {unmet} is not met");
            let advice = "remove it from --services if it is not needed";
            self.add(IssueSeverity::Warning, name, IssueKind::Condition, evidence, advice);
        }
        for exec in candidate.service.iter().flat_map(|service| &service.exec_condition) {
            let program = escape::escape(&exec.program);
            let evidence = format!("the machine starts it only if ExecCondition={program} succeeds");
            let advice = "check that the container starts: it runs the command, and exits with 0 if it fails";
            self.add(IssueSeverity::Warning, name, IssueKind::Condition, evidence, advice);
        }
    }

    /// Reports changed start steps, missing executables and commands that change kernel state.
    fn commands(&mut self, draft: &Draft<'_>, service_files: &ServiceFiles<'_>) {
        let name = Some(&draft.name);
        for note in &draft.run.notes {
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::Start,
                note.clone(),
                "check whether the service needs this step",
            );
        }
        let Some(unit) = &draft.candidate.service else { return };
        for exec in unit.exec_start.iter().filter(|exec| exec.program.starts_with(b"/")) {
            if !service_files.has_program(&exec.program) {
                let evidence =
                    format!("its unit runs {}, which does not exist", escape::escape(&exec.program));
                self.add(
                    IssueSeverity::Blocker,
                    name,
                    IssueKind::MissingProgram,
                    evidence,
                    "fix or mask the unit: it did not start on the machine either",
                );
            }
        }
        let commands = unit.exec_start_pre.iter().chain(&unit.exec_start).chain(&unit.exec_start_post);
        for exec in commands {
            if let Some(client) = without_container::container_client(exec) {
                self.container_client(name, format!("its unit runs {client}"));
            }
            for (program, kind, advice) in KERNEL_COMMANDS {
                if exec.runs(program.as_bytes()) {
                    self.add(IssueSeverity::Warning, name, *kind, format!("its unit runs {program}"), advice);
                }
            }
        }
    }

    /// Reports that a service starts containers: the engine is not in its container.
    fn container_client(&mut self, name: Option<&Name>, evidence: String) {
        let advice = "run its containers from their own images next to this one";
        self.add(IssueSeverity::Blocker, name, IssueKind::Containers, evidence, advice);
    }

    /// Reports scripts of the start command that start containers.
    fn scripts(&mut self, draft: &Draft<'_>) {
        let commands = draft.candidate.service.iter().flat_map(|unit| &unit.exec_start);
        let named = commands
            .flat_map(|exec| exec.words.iter().filter_map(Word::literal).chain([exec.program.clone()]));
        let named: BTreeSet<Vec<u8>> = named.map(|word| relative(&word).to_vec()).collect();
        let is_script =
            |text: &&Text| named.contains(&text.path) && std::str::from_utf8(&text.content).is_ok();
        for script in draft.texts.iter().filter(is_script) {
            let clients =
                CONTAINER_CLIENTS.iter().filter(|client| line_runs(&script.content, client.as_bytes()));
            for client in clients {
                let evidence = format!("{} runs {client}", escape::display(&script.path));
                self.container_client(Some(&draft.name), evidence);
            }
        }
    }

    /// Reports use of D-Bus and syslog, which containers do not have.
    fn manager(&mut self, draft: &Draft<'_>, inventory: &Inventory) {
        let name = Some(&draft.name);
        if draft.candidate.service.as_ref().is_some_and(|unit| unit.kind == Type::Dbus) {
            let advice = "run dbus-daemon in the same container, or disable D-Bus in the service";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::MessageBus,
                "its unit has Type=dbus, and containers have no D-Bus".to_owned(),
                advice,
            );
        }
        let Some(live) = &inventory.live else { return };
        let pids: BTreeSet<u32> = draft.candidate.processes.iter().map(|process| process.pid).collect();
        let uses_syslog = live.peers.iter().filter(|peer| pids.contains(&peer.client)).any(|peer| {
            matches!(&peer.endpoint, crate::detect::peers::Endpoint::Unix(UnixName::Path(path)) if canonical(path).ends_with(b"/dev-log"))
        });
        if uses_syslog {
            let advice = "configure it to log to standard output";
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::Syslog,
                "it logs to /dev/log, which containers do not have".to_owned(),
                advice,
            );
        }
    }

    /// Reports ports and sockets that are unreachable or unsuitable in containers.
    fn network(
        &mut self,
        draft: &Draft<'_>,
        service: &Service,
        needs: &BTreeSet<Need>,
        drafts: &[Draft<'_>],
    ) {
        let name = Some(&draft.name);
        let program = draft.candidate.program().unwrap_or_default();
        if DYNAMIC_PORTS.iter().any(|dynamic| program == dynamic.as_bytes()) {
            let advice = "configure a fixed port range and publish it, or use the host's network";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::DynamicPorts,
                "it opens further ports at run time".to_owned(),
                advice,
            );
        }
        let index = drafts.iter().position(|other| other.name == draft.name);
        let is_used = needs.iter().any(|need| Some(need.server) == index);
        let is_loopback_only = !service.ports.is_empty()
            && service.ports.iter().all(|port| !port.public)
            && draft.listening.paths.is_empty();
        if is_loopback_only && !is_used {
            let advice = "if another container needs it, configure it to listen on 0.0.0.0, or share a network namespace";
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::LoopbackOnly,
                "it listens only on loopback, and no other service was seen to use it".to_owned(),
                advice,
            );
        }
        for need in needs.iter().filter(|need| Some(need.client) == index) {
            if let Connection::Unix(path) = &need.at
                && matches!(tree::parent(path), b"/run" | b"/tmp")
            {
                let evidence =
                    format!("it connects to {} at {}", drafts[need.server].name, escape::escape(path));
                let advice =
                    "configure a socket path in a separate directory, which both containers can share";
                self.add(IssueSeverity::Blocker, name, IssueKind::SocketPlace, evidence, advice);
            }
        }
        if draft.listening.is_raw {
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::RawSocket,
                "it has a raw socket open".to_owned(),
                "add the capability NET_RAW if the engine does not grant it",
            );
        }
    }

    /// Reports unusual writes, network file systems and graphical libraries.
    fn files(&mut self, draft: &Draft<'_>, inventory: &Inventory, service_files: &ServiceFiles<'_>) {
        let name = Some(&draft.name);
        let written: BTreeSet<&[u8]> =
            data::written(draft.candidate).filter(|path| service_files.node(path).is_some()).collect();
        for path in &written {
            if !WRITABLE_DIRECTORIES.iter().any(|usual| tree::is_within(path, usual.as_bytes())) {
                let advice =
                    "add a volume for the directory, because files in the container are lost with it";
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::SelfRewriting,
                    format!("it has {} open for writing", escape::escape(path)),
                    advice,
                );
            }
        }
        let remote = inventory.mounts.iter().filter(|mount| mount.class == Class::Remote);
        for mount in remote {
            let point = [b"/", &*mount.point].concat();
            let is_used = draft.texts.iter().any(|text| memmem::find(&text.content, &point).is_some());
            if is_used && point.len() > 1 {
                let evidence = format!(
                    "its configuration mentions {}, a {} mount",
                    escape::escape(&point),
                    mount.fstype
                );
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::NetworkMount,
                    evidence,
                    "mount it on the container host and pass it to the container as a volume",
                );
            }
        }
        for process in &draft.candidate.processes {
            if process.mapped.iter().any(|mapped| {
                memmem::find(&mapped.path, b"/libX11.so").is_some()
                    || memmem::find(&mapped.path, b"/libwayland-").is_some()
            }) {
                let advice = "run it without a display, or pass the host's display to the container";
                return self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::Display,
                    "it uses X11 or Wayland libraries, and containers have no display".to_owned(),
                    advice,
                );
            }
        }
    }

    /// Reports configurations that name an IP or MAC address of this machine.
    fn addresses(&mut self, draft: &Draft<'_>, addresses: &MachineAddresses) {
        let name = Some(&draft.name);
        for Text { path, content: text, .. } in
            draft.texts.iter().filter(|text| !text.path.starts_with(b"proc/"))
        {
            let shown = escape::display(path);
            for address in &addresses.ip {
                if crate::services::connections::holds_word(text, address.as_bytes()) {
                    let advice = "use a host name, or 0.0.0.0 to listen: the container has another address";
                    self.add(
                        IssueSeverity::Warning,
                        name,
                        IssueKind::OwnAddress,
                        format!("{shown} contains this machine's IP address {address}"),
                        advice,
                    );
                }
            }
            let lower = text.to_ascii_lowercase();
            for address in
                addresses.mac.iter().filter(|address| memmem::find(&lower, address.as_bytes()).is_some())
            {
                let advice = "if a license depends on it, set mac_address of the container";
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::HardwareAddress,
                    format!("{shown} contains this machine's MAC address {address}"),
                    advice,
                );
            }
        }
    }

    /// Reports devices and capabilities.
    fn privileges(&mut self, service: &Service) {
        let name = Some(&service.name);
        if !service.privileges.devices.is_empty() {
            let shown: Vec<String> =
                service.privileges.devices.iter().map(|path| escape::escape(path)).collect();
            let advice = "run the container on a host that has the device";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::Device,
                format!("it has {} open", shown.join(", ")),
                advice,
            );
        }
        if !service.privileges.add.is_empty() {
            let names: Vec<&str> = service.privileges.add.iter().copied().collect();
            let advice = "remove capabilities that the service does not need";
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::Capability,
                format!("it has the capabilities {}", names.join(", ")),
                advice,
            );
        }
    }

    /// Reports secrets that the operator must provide.
    fn withheld(&mut self, service: &Service, secret_files: &[SecretFile]) {
        /// Maximum number of names. `SECRETS.todo` lists all.
        const SHOWN: usize = 10;
        let variables = service.secrets.iter().map(|variable| variable.as_str().to_owned());
        let paths = service.secret_files.iter().map(|&index| escape::escape(&secret_files[index].path));
        let mut names: Vec<String> = variables.chain(paths).collect();
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        if !names.is_empty() {
            let advice = "provide them with the commands in SECRETS.todo: without them the container exits";
            self.add(
                IssueSeverity::Warning,
                Some(&service.name),
                IssueKind::Secret,
                format!("secrets not in the image: {}", names.join(", ")),
                advice,
            );
        }
    }

    /// Reports ports that several services publish, on different addresses of the machine.
    fn collisions(&mut self, services: &[Service]) {
        let mut seen: BTreeSet<(u16, Protocol)> = BTreeSet::new();
        for service in services {
            for port in service.ports.iter().filter(|port| port.public) {
                if !seen.insert((port.number, port.protocol)) {
                    let advice =
                        "publish one of them on another port: a host port can be published only once";
                    self.add(
                        IssueSeverity::Blocker,
                        Some(&service.name),
                        IssueKind::PortCollision,
                        format!("another service also publishes port {}", port.number),
                        advice,
                    );
                }
            }
        }
    }
}

//! Reports what does not work in a container, or differs from the machine. Pure.

use super::connections::{Connection, Need, Text};
use super::data;
use super::draft::Draft;
use super::listening::canonical;
use super::model::{CompatibilityIssue, IssueKind, IssueSeverity, Name, Protocol, SecretFile, Service};
use super::service_files::{ServiceFiles, relative};
use super::survey::{Candidate, Survey};
use super::without_container::{self, CONTAINER_CLIENTS};
use crate::detect::name_resolution::HostEntry;
use crate::detect::sockets::UnixName;
use crate::detect::units::directives::Treatment;
use crate::detect::units::exec::{Word, line_runs};
use crate::detect::units::service::Type;
use crate::detect::{Inventory, RuntimeState};
use crate::model::{escape, tree};
use crate::system::mounts::Class;
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
pub(super) fn issues(
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
    pub(super) fn unknown_start(candidate: &Candidate<'_>) -> Self {
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

/// Addresses of this machine, as configurations write them.
struct MachineAddresses {
    /// IP addresses without loopback.
    ip: Vec<String>,
    /// MAC addresses, six hexadecimal bytes with colons.
    mac: Vec<String>,
}

impl MachineAddresses {
    fn of(inventory: &Inventory, service_files: &ServiceFiles<'_>) -> Self {
        let Some(live) = &inventory.live else { return MachineAddresses { ip: Vec::new(), mac: Vec::new() } };
        let local = live.sockets.inet.iter().map(|socket| socket.local.ip().to_canonical());
        let addresses: BTreeSet<_> =
            local.filter(|ip| !ip.is_loopback() && !ip.is_unspecified()).map(|ip| ip.to_string()).collect();
        let cards = service_files.root.list(b"sys/class/net").unwrap_or_default();
        let mac = cards.iter().filter(|card| *card != b"lo").filter_map(|card| {
            let text = service_files.root.read(&[b"sys/class/net/", &card[..], b"/address"].concat()).ok()?;
            let address = String::from_utf8_lossy(&text).trim().to_owned();
            // Other link types, such as InfiniBand, have longer addresses.
            (address.len() == 17 && address != "00:00:00:00:00:00").then_some(address)
        });
        MachineAddresses { ip: addresses.into_iter().collect(), mac: mac.collect() }
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
                if super::connections::holds_word(text, address.as_bytes()) {
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
        let variables = service.secrets.iter().map(|variable| variable.as_str().to_owned());
        let paths = service.secret_files.iter().map(|&index| escape::escape(&secret_files[index].path));
        let names: Vec<String> = variables.chain(paths).collect();
        if !names.is_empty() {
            let advice = "provide them at start as described in README.md: without them the container exits";
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

    /// Reports issues of the machine as a whole.
    fn machine(&mut self, survey: &Survey<'_>, inventory: &Inventory, service_files: &ServiceFiles<'_>) {
        self.schedules(survey);
        self.system_units(survey, service_files);
        let config = service_files.root.read(b"etc/selinux/config").unwrap_or_default();
        if memmem::find(&config, b"\nSELINUX=enforcing").is_some() {
            let advice = "add :Z or :z to volumes if the container host enforces SELinux";
            self.add(
                IssueSeverity::Info,
                None,
                IssueKind::Selinux,
                "SELinux is enforcing".to_owned(),
                advice,
            );
        }
        if let Some(live) = &inventory.live {
            self.kernel(live, service_files);
            let contained = live.processes.iter().filter(|process| process.contained.is_some()).count();
            if contained > 0 {
                let evidence = format!("{contained} processes run in containers on this machine");
                let advice = "run them from their existing images";
                self.add(IssueSeverity::Info, None, IssueKind::Containers, evidence, advice);
            }
        }
    }

    /// Reports cron and at jobs.
    fn schedules(&mut self, survey: &Survey<'_>) {
        let jobs: BTreeSet<String> = survey.jobs.jobs.iter().map(|job| escape::display(&job.file)).collect();
        if !jobs.is_empty() {
            let list: Vec<String> = jobs.into_iter().collect();
            let evidence = format!("local cron jobs: {}", list.join(", "));
            let is_cron = |unit: &[u8]| super::survey::is_job_daemon(unit) && !unit.starts_with(b"at");
            let (severity, advice) = match survey.candidates.iter().any(|found| is_cron(&found.unit)) {
                true => (
                    IssueSeverity::Info,
                    "check that the jobs reach the services they need: they run in cron's container",
                ),
                false => (IssueSeverity::Warning, "start the jobs another way: no container runs them"),
            };
            self.add(severity, None, IssueKind::Cron, evidence, advice);
        }
        if let Some(file) = &survey.jobs.anacrontab {
            let evidence = format!("local jobs of anacron: {}", escape::display(file));
            let advice = "write the jobs into a crontab: no container runs anacron";
            self.add(IssueSeverity::Warning, None, IssueKind::Cron, evidence, advice);
        }
        if !survey.jobs.at.is_empty() {
            let evidence = format!("{} pending at jobs, which are not in the image", survey.jobs.at.len());
            self.add(
                IssueSeverity::Warning,
                None,
                IssueKind::At,
                evidence,
                "schedule them again in the container",
            );
        }
    }

    /// Reports entries of `/etc/hosts` and `/etc/resolv.conf`, because engines mount their own.
    fn name_resolution(&mut self, inventory: &Inventory, machine: &MachineAddresses, is_empty: bool) {
        let settings = &inventory.name_resolution;
        for entry in &settings.hosts {
            let HostEntry { address, names } = entry;
            let evidence = format!("/etc/hosts: {address} {}", names.join(" "));
            let is_machine = address.is_loopback() || machine.ip.contains(&address.to_string());
            let (severity, advice) = if is_empty {
                (IssueSeverity::Warning, "pass --add-host to the engine: it mounts its own /etc/hosts")
            } else if is_machine {
                (IssueSeverity::Warning, "name the service instead: containers have other addresses")
            } else if entry.dns_names().count() < names.len() {
                (IssueSeverity::Warning, "rename it for Kubernetes, which accepts only DNS names")
            } else {
                (IssueSeverity::Info, "check that containers reach the address: they have the name too")
            };
            self.add(severity, None, IssueKind::NameResolution, evidence, advice);
        }
        for line in &settings.unsupported_hosts {
            let advice = "provide the name in DNS: the engine mounts its own /etc/hosts";
            let evidence = format!("/etc/hosts: {line}");
            self.add(IssueSeverity::Warning, None, IssueKind::NameResolution, evidence, advice);
        }
        for line in &settings.resolver {
            let advice = "set dns_search, dns_opt or dnsConfig: the engine mounts its own resolv.conf";
            let evidence = format!("/etc/resolv.conf: {line}");
            self.add(IssueSeverity::Warning, None, IssueKind::NameResolution, evidence, advice);
        }
    }

    /// Reports units that stay on the machine although they have local changes.
    fn system_units(&mut self, survey: &Survey<'_>, service_files: &ServiceFiles<'_>) {
        for candidate in &survey.system_services {
            let unit = escape::escape(&candidate.unit);
            let is_system = super::system_units::system_unit_reason(&candidate.unit).is_some();
            let files = candidate.sources.iter().filter(|path| service_files.is_local(path));
            let files: Vec<String> = files.map(|path| escape::display(path)).collect();
            if is_system && !files.is_empty() {
                let evidence = format!("{unit} runs in no container, but is changed by {}", files.join(", "));
                let advice = "move the commands that the services need to a unit of their own";
                self.add(IssueSeverity::Warning, None, IssueKind::LocalChange, evidence, advice);
            }
        }
    }

    /// Reports settings that apply to the whole kernel.
    fn kernel(&mut self, live: &RuntimeState, service_files: &ServiceFiles<'_>) {
        for sysctl in &live.sysctls {
            if !sysctl.is_namespaced && service_files.is_local(&sysctl.file) && sysctl.current.is_some() {
                let evidence =
                    format!("{} sets {}", escape::display(&sysctl.file), escape::escape(&sysctl.name()));
                let advice =
                    "set it on the container host if the services need it: it applies to the whole kernel";
                self.add(IssueSeverity::Info, None, IssueKind::Sysctl, evidence, advice);
            }
        }
        let mut numbers =
            live.hardware.kernel.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (3, 8) {
            let evidence = format!("the machine's kernel is {}", live.hardware.kernel);
            let advice =
                "check programs that depend on the kernel version: container engines need 3.10 or later";
            self.add(IssueSeverity::Info, None, IssueKind::Kernel, evidence, advice);
        }
    }
}

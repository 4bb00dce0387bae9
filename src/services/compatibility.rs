//! What will not work in a container, or not as on the machine, with evidence and advice. Pure.

use super::connections::{Connection, Need, Text};
use super::data;
use super::draft::Draft;
use super::listening::canonical;
use super::model::{CompatibilityIssue, IssueKind, IssueSeverity, Name, Protocol, SecretFile, Service};
use super::service_files::ServiceFiles;
use super::survey::Survey;
use crate::detect::sockets::UnixName;
use crate::detect::units::exec::{Exec, Word};
use crate::detect::units::service::Type;
use crate::detect::{Inventory, RuntimeState};
use crate::model::{escape, tree};
use crate::system::mounts::Class;
use memchr::memmem;
use std::collections::BTreeSet;

/// Programs that change the kernel, with the kind of finding and what to do.
const OF_THE_KERNEL: &[(&str, IssueKind, &str)] = &[
    ("modprobe", IssueKind::KernelModule, "load the module on the host that runs the container"),
    ("insmod", IssueKind::KernelModule, "load the module on the host that runs the container"),
    (
        "iptables",
        IssueKind::PacketFilter,
        "a container has its own, empty packet filter: put rules on the host or into network policies",
    ),
    (
        "nft",
        IssueKind::PacketFilter,
        "a container has its own, empty packet filter: put rules on the host or into network policies",
    ),
    (
        "ipset",
        IssueKind::PacketFilter,
        "a container has its own, empty packet filter: put rules on the host or into network policies",
    ),
    (
        "sysctl",
        IssueKind::Sysctl,
        "set it on the host, or as sysctls of the container where the kernel has it per namespace",
    ),
    ("mount", IssueKind::Mount, "mount it on the host and hand it to the container as a volume"),
    ("losetup", IssueKind::Mount, "mount it on the host and hand it to the container as a volume"),
];
/// Servers that open further ports while they run.
const DYNAMIC_PORTS: &[&str] =
    &["vsftpd", "proftpd", "pure-ftpd", "rpcbind", "asterisk", "freeswitch", "turnserver", "coturn"];
/// Where a service may write without anybody wondering.
const USUAL_WRITES: &[&str] =
    &["/var", "/run", "/tmp", "/dev", "/proc", "/sys", "/srv", "/home", "/data", "/opt", "/mnt", "/media"];

/// Everything that is worth knowing before the containers are started.
pub(super) fn fit(
    drafts: &[Draft<'_>],
    services: &[Service],
    survey: &Survey<'_>,
    inventory: &Inventory,
    ground: &ServiceFiles<'_>,
    needs: &BTreeSet<Need>,
    files: &[SecretFile],
) -> Vec<CompatibilityIssue> {
    let mut found = Issues(Vec::new());
    let texts = Own::of(inventory, ground);
    for (draft, service) in drafts.iter().zip(services) {
        found.commands(draft, ground);
        found.manager(draft, inventory);
        found.network(draft, service, needs, drafts);
        found.files(draft, inventory, ground);
        found.identity(draft, &texts);
        found.privileges(service);
        found.withheld(service, files);
    }
    found.collisions(services);
    found.machine(survey, inventory, ground);
    found.0
}

struct Issues(Vec<CompatibilityIssue>);

impl CompatibilityIssue {
    /// A unit of which nobody can tell how it is started.
    pub(super) fn unknown_start(unit: &[u8]) -> Self {
        CompatibilityIssue {
            severity: IssueSeverity::Blocker,
            service: None,
            kind: IssueKind::UnknownStart,
            evidence: format!(
                "{}: its program wrote over its arguments, and no unit or script tells how it is started",
                escape::escape(unit)
            ),
            advice: "write services/NAME/Dockerfile by hand: FROM the system image, CMD what starts it",
        }
    }
}

/// How the machine itself is written in configurations.
struct Own {
    addresses: Vec<String>,
    hardware: Vec<String>,
}

impl Own {
    fn of(inventory: &Inventory, ground: &ServiceFiles<'_>) -> Self {
        let Some(live) = &inventory.live else { return Own { addresses: Vec::new(), hardware: Vec::new() } };
        let local = live.sockets.inet.iter().map(|socket| socket.local.ip().to_canonical());
        let addresses: BTreeSet<_> =
            local.filter(|ip| !ip.is_loopback() && !ip.is_unspecified()).map(|ip| ip.to_string()).collect();
        let cards = ground.root.list(b"sys/class/net").unwrap_or_default();
        let hardware = cards.iter().filter(|card| *card != b"lo").filter_map(|card| {
            let text = ground.root.read(&[b"sys/class/net/", &card[..], b"/address"].concat()).ok()?;
            let address = String::from_utf8_lossy(&text).trim().to_owned();
            (address.len() == 17 && address != "00:00:00:00:00:00").then_some(address)
        });
        Own { addresses: addresses.into_iter().collect(), hardware: hardware.collect() }
    }
}

impl Issues {
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

    /// What the unit runs, and what became of it.
    fn commands(&mut self, draft: &Draft<'_>, ground: &ServiceFiles<'_>) {
        let name = Some(&draft.name);
        for note in &draft.run.notes {
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::Start,
                note.clone(),
                "look whether the service misses it",
            );
        }
        let Some(unit) = &draft.candidate.service else { return };
        for exec in unit.exec_start.iter().filter(|exec| exec.program.starts_with(b"/")) {
            if !ground.has_program(&exec.program) {
                let evidence = format!("its unit runs {}, which is not there", escape::escape(&exec.program));
                self.add(
                    IssueSeverity::Blocker,
                    name,
                    IssueKind::MissingProgram,
                    evidence,
                    "it did not run on the machine either: mend or mask the unit",
                );
            }
        }
        let commands = unit.exec_start_pre.iter().chain(&unit.exec_start).chain(&unit.exec_start_post);
        for exec in commands {
            for (program, kind, advice) in OF_THE_KERNEL {
                if runs(exec, program.as_bytes()) {
                    self.add(IssueSeverity::Warning, name, *kind, format!("its unit runs {program}"), advice);
                }
            }
        }
    }

    /// What of systemd's the service talks to.
    fn manager(&mut self, draft: &Draft<'_>, inventory: &Inventory) {
        let name = Some(&draft.name);
        if draft.candidate.service.as_ref().is_some_and(|unit| unit.kind == Type::Dbus) {
            let advice = "run dbus-daemon beside it, or do without: no message bus runs in a container";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::MessageBus,
                "its unit has a name on the message bus".to_owned(),
                advice,
            );
        }
        let Some(live) = &inventory.live else { return };
        let whose: BTreeSet<u32> = draft.candidate.processes.iter().map(|process| process.pid).collect();
        let log = live.peers.iter().filter(|peer| whose.contains(&peer.client)).any(|peer| {
            matches!(&peer.endpoint, crate::detect::peers::Endpoint::Unix(UnixName::Path(path)) if canonical(path).ends_with(b"/dev-log"))
        });
        if log {
            let advice = "nobody listens on /dev/log in a container: let it log to its output";
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::Syslog,
                "it logs through /dev/log".to_owned(),
                advice,
            );
        }
    }

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
            let advice = "fix its range of ports in its configuration and publish that range, or use the host's network";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::DynamicPorts,
                "it opens further ports while it runs".to_owned(),
                advice,
            );
        }
        let index = drafts.iter().position(|other| other.name == draft.name);
        let is_used = needs.iter().any(|need| Some(need.server) == index);
        let only_here = !service.ports.is_empty()
            && service.ports.iter().all(|port| !port.public)
            && draft.listening.paths.is_empty();
        if only_here && !is_used {
            let advice = "if another container needs it, let it listen on 0.0.0.0, or put both into one network namespace";
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::LoopbackOnly,
                "it listens on this machine's own address only, and nobody was seen to use it".to_owned(),
                advice,
            );
        }
        for need in needs.iter().filter(|need| Some(need.client) == index) {
            if let Connection::Unix(path) = &need.at
                && matches!(tree::parent(path), b"/run" | b"/tmp")
            {
                let evidence = format!("it reaches {} at {}", drafts[need.server].name, escape::escape(path));
                let advice = "move the socket into a directory of its own, which both containers can share";
                self.add(IssueSeverity::Blocker, name, IssueKind::SocketPlace, evidence, advice);
            }
        }
        if draft.listening.is_raw {
            self.add(
                IssueSeverity::Info,
                name,
                IssueKind::RawSocket,
                "it has a raw socket open".to_owned(),
                "add the capability NET_RAW where the engine does not grant it",
            );
        }
    }

    /// Where its files are, and what it does with them.
    fn files(&mut self, draft: &Draft<'_>, inventory: &Inventory, ground: &ServiceFiles<'_>) {
        let name = Some(&draft.name);
        let written: BTreeSet<&[u8]> =
            data::written(draft.candidate).filter(|path| ground.node(path).is_some()).collect();
        for path in &written {
            if !USUAL_WRITES.iter().any(|usual| tree::is_within(path, usual.as_bytes())) {
                let advice = "what it writes is lost with the container: make a volume of the directory";
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::SelfRewriting,
                    format!("it holds {} open for writing", escape::escape(path)),
                    advice,
                );
            }
        }
        let remote = inventory.mounts.iter().filter(|mount| mount.class == Class::Remote);
        for mount in remote {
            let point = [b"/", &*mount.point].concat();
            let is_used = draft.texts.iter().any(|text| memmem::find(&text.content, &point).is_some());
            if is_used && point.len() > 1 {
                let evidence =
                    format!("its configuration names {}, a {} mount", escape::escape(&point), mount.fstype);
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::NetworkMount,
                    evidence,
                    "mount it on the host and hand it to the container as a volume",
                );
            }
        }
        for process in &draft.candidate.processes {
            if process.mapped.iter().any(|mapped| {
                memmem::find(&mapped.path, b"/libX11.so").is_some()
                    || memmem::find(&mapped.path, b"/libwayland-").is_some()
            }) {
                let advice = "a container has no display: run it without, or hand it the host's";
                return self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::Display,
                    "it has the libraries of a display open".to_owned(),
                    advice,
                );
            }
        }
    }

    /// Addresses and licences of this very machine.
    fn identity(&mut self, draft: &Draft<'_>, own: &Own) {
        let name = Some(&draft.name);
        for Text { path, content: text, .. } in
            draft.texts.iter().filter(|text| !text.path.starts_with(b"proc/"))
        {
            let shown = escape::display(path);
            for address in &own.addresses {
                if super::connections::holds_address_alone(text, address.as_bytes()) {
                    let advice =
                        "a container has an address of its own: use a name, or the address 0.0.0.0 to listen";
                    self.add(
                        IssueSeverity::Warning,
                        name,
                        IssueKind::OwnAddress,
                        format!("{shown} names this machine's address {address}"),
                        advice,
                    );
                }
            }
            let lower = text.to_ascii_lowercase();
            for address in
                own.hardware.iter().filter(|address| memmem::find(&lower, address.as_bytes()).is_some())
            {
                let advice = "a licence may be bound to the network card: give the container this hardware address (mac_address)";
                self.add(
                    IssueSeverity::Warning,
                    name,
                    IssueKind::HardwareAddress,
                    format!("{shown} names this machine's network card {address}"),
                    advice,
                );
            }
        }
    }

    fn privileges(&mut self, service: &Service) {
        let name = Some(&service.name);
        if !service.privileges.devices.is_empty() {
            let shown: Vec<String> =
                service.privileges.devices.iter().map(|path| escape::escape(path)).collect();
            let advice = "the host that runs the container has to have the device";
            self.add(
                IssueSeverity::Warning,
                name,
                IssueKind::Device,
                format!("it holds {} open", shown.join(", ")),
                advice,
            );
        }
        if !service.privileges.add.is_empty() {
            let names: Vec<&str> = service.privileges.add.iter().copied().collect();
            let advice = "its unit or process has these rights: take them away if it works without";
            self.add(IssueSeverity::Info, name, IssueKind::Capability, names.join(", "), advice);
        }
    }

    fn withheld(&mut self, service: &Service, files: &[SecretFile]) {
        let variables = service.secrets.iter().map(|variable| variable.as_str().to_owned());
        let paths = service.secret_files.iter().map(|&index| escape::escape(&files[index].path));
        let names: Vec<String> = variables.chain(paths).collect();
        if !names.is_empty() {
            let advice =
                "give them when the containers are started: README.md says how; they refuse to start without";
            self.add(
                IssueSeverity::Warning,
                Some(&service.name),
                IssueKind::Secret,
                format!("withheld: {}", names.join(", ")),
                advice,
            );
        }
    }

    /// Ports that more than one service has, at different addresses.
    fn collisions(&mut self, services: &[Service]) {
        let mut seen: BTreeSet<(u16, Protocol)> = BTreeSet::new();
        for service in services {
            for port in service.ports.iter().filter(|port| port.public) {
                if !seen.insert((port.number, port.protocol)) {
                    let advice =
                        "two containers cannot publish the same port of one host: give one of them another";
                    self.add(
                        IssueSeverity::Blocker,
                        Some(&service.name),
                        IssueKind::PortCollision,
                        format!("another service has port {} as well", port.number),
                        advice,
                    );
                }
            }
        }
    }

    fn machine(&mut self, survey: &Survey<'_>, inventory: &Inventory, ground: &ServiceFiles<'_>) {
        self.schedules(survey);
        let config = ground.root.read(b"etc/selinux/config").unwrap_or_default();
        if memmem::find(&config, b"\nSELINUX=enforcing").is_some() {
            let advice = "labels are the host's: volumes need :Z or :z there";
            self.add(
                IssueSeverity::Info,
                None,
                IssueKind::Selinux,
                "SELinux is enforcing".to_owned(),
                advice,
            );
        }
        if let Some(live) = &inventory.live {
            self.kernel(live, ground);
            let contained = live.processes.iter().filter(|process| process.contained.is_some()).count();
            if contained > 0 {
                let evidence = format!("{contained} processes run in containers on this machine");
                let advice = "they have images already: run those beside these";
                self.add(IssueSeverity::Info, None, IssueKind::Containers, evidence, advice);
            }
        }
    }

    fn schedules(&mut self, survey: &Survey<'_>) {
        let jobs: BTreeSet<String> = survey.jobs.jobs.iter().map(|job| escape::display(&job.file)).collect();
        if !jobs.is_empty() {
            let list: Vec<String> = jobs.into_iter().collect();
            let evidence = format!("jobs that no package ships: {}", list.join(", "));
            let advice = "they run in the container of cron; what they need of other services has to be reachable from there";
            self.add(IssueSeverity::Info, None, IssueKind::Cron, evidence, advice);
        }
        if !survey.jobs.at.is_empty() {
            let evidence = format!("{} jobs of at wait for their time", survey.jobs.at.len());
            self.add(
                IssueSeverity::Warning,
                None,
                IssueKind::At,
                evidence,
                "they are not in the image: queue them again",
            );
        }
    }

    /// What belongs to the whole kernel.
    fn kernel(&mut self, live: &RuntimeState, ground: &ServiceFiles<'_>) {
        for sysctl in &live.sysctls {
            if !sysctl.is_namespaced && ground.is_own(&sysctl.file) && sysctl.current.is_some() {
                let evidence =
                    format!("{} sets {}", escape::display(&sysctl.file), escape::escape(&sysctl.name()));
                let advice = "it is the whole kernel's: set it on the host if the services need it";
                self.add(IssueSeverity::Info, None, IssueKind::Sysctl, evidence, advice);
            }
        }
        let mut numbers =
            live.hardware.kernel.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (3, 8) {
            let evidence = format!("the machine's kernel is {}", live.hardware.kernel);
            let advice = "engines need 3.10: programs that look for the old version may behave otherwise";
            self.add(IssueSeverity::Info, None, IssueKind::Kernel, evidence, advice);
        }
    }
}

/// Whether a command runs a program, by itself or in a line of shell.
fn runs(exec: &Exec, program: &[u8]) -> bool {
    let is_it = |text: &[u8]| tree::file_name(text) == program;
    let in_line = |word: &Word| {
        let text = word.literal().unwrap_or_default();
        text.split(|byte| byte.is_ascii_whitespace() || b";&|()`".contains(byte)).any(is_it)
    };
    let is_shell = matches!(tree::file_name(&exec.program), b"sh" | b"bash" | b"dash");
    is_it(&exec.program) || is_shell && exec.words.iter().any(in_line)
}

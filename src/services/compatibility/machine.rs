//! Reports what concerns the machine as a whole: jobs, units of the system, names, the kernel.

use super::Issues;
use crate::detect::name_resolution::HostEntry;
use crate::detect::{Inventory, RuntimeState};
use crate::model::escape;
use crate::services::model::{IssueKind, IssueSeverity};
use crate::services::service_files::ServiceFiles;
use crate::services::survey::Survey;
use memchr::memmem;
use std::collections::BTreeSet;

/// Addresses of this machine, as configurations write them.
pub(super) struct MachineAddresses {
    /// IP addresses without loopback.
    pub(super) ip: Vec<String>,
    /// MAC addresses, six hexadecimal bytes with colons.
    pub(super) mac: Vec<String>,
}

impl MachineAddresses {
    pub(super) fn of(inventory: &Inventory, service_files: &ServiceFiles<'_>) -> Self {
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
    /// Reports issues of the machine as a whole.
    pub(super) fn machine(
        &mut self,
        survey: &Survey<'_>,
        inventory: &Inventory,
        service_files: &ServiceFiles<'_>,
    ) {
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
            let is_cron =
                |unit: &[u8]| crate::services::survey::is_job_daemon(unit) && !unit.starts_with(b"at");
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
    pub(super) fn name_resolution(
        &mut self,
        inventory: &Inventory,
        machine: &MachineAddresses,
        is_empty: bool,
    ) {
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
            let is_system = crate::services::system_units::system_unit_reason(&candidate.unit).is_some();
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

//! The machine: what its release files, account files, mount table and `/proc` say. Executes no
//! file of the machine.

pub mod units;

pub mod accounts;
pub mod architecture;
pub mod cgroup;
#[cfg(test)]
mod fixtures;
pub mod foreign_root;
pub mod hardware;
#[cfg(test)]
mod hardware_tests;
pub mod mappings;
pub mod name_resolution;
pub mod os_release;
pub mod peers;
pub mod process;
mod process_files;
mod process_reader;
mod processes;
#[cfg(test)]
mod processes_tests;
#[cfg(test)]
mod procfs_tests;
mod sock_diag;
pub mod sockets;
#[cfg(test)]
mod sockets_tests;
pub mod storage;
pub mod sysctl;

use crate::model::findings::{self, Findings};
use crate::model::manifest::Names;
use crate::system::mounts::Mounts;
use crate::system::root::Root;
use hardware::Hardware;
use name_resolution::NameResolution;
use os_release::OsRelease;
use peers::{Holders, Peer};
use process::Processes;
use serde::Serialize;
use sockets::Sockets;
use std::path::Path;
use storage::Storage;
use sysctl::Sysctl;
use units::Enabled;

/// Properties of the machine, except its files and packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inventory {
    /// Distribution and release.
    pub os: OsRelease,
    /// Docker's name of the CPU architecture (`amd64`).
    pub architecture: &'static str,
    /// Content of `/etc/hostname`, or empty.
    pub hostname: String,
    /// Local settings of name resolution.
    #[serde(skip)]
    pub name_resolution: NameResolution,
    /// Runtime state; `None` if the root is not the running machine's.
    pub live: Option<RuntimeState>,
    /// Mounts at and below the root.
    #[serde(skip)]
    pub mounts: Mounts,
    /// Places of swap and of container storage in the machine's configuration.
    #[serde(skip)]
    pub storage: Storage,
    /// User and group names by UID and GID.
    #[serde(skip)]
    pub names: Names,
    /// Home directories, relative to the root.
    #[serde(skip)]
    pub homes: Vec<Vec<u8>>,
}

/// State of a running machine that is not in its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuntimeState {
    /// Kernel, memory, CPUs and hypervisor.
    pub hardware: Hardware,
    /// Kernel parameters that files of the machine set.
    pub sysctls: Vec<Sysctl>,
    /// All processes.
    #[serde(skip)]
    pub processes: Processes,
    /// All sockets.
    #[serde(skip)]
    pub sockets: Sockets,
    /// Processes that hold each socket.
    #[serde(skip)]
    pub holders: Holders,
    /// Pairs of processes that communicate.
    #[serde(skip)]
    pub peers: Vec<Peer>,
}

/// Detects the properties of the machine under `root`. Reads the [`RuntimeState`] only if `root`
/// is the root of the running machine.
///
/// `enabled` are the units that start at boot: mount and swap units are among them.
pub fn detect(root: &Root, enabled: &[Enabled], findings: &mut Findings) -> Inventory {
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_else(|cause| {
        findings.loss(
            findings::Kind::Mounts,
            b"",
            format!("/proc/self/mountinfo cannot be read, mounts are not known: {cause}"),
        );
        Vec::new()
    });
    let hostname = root.read(b"etc/hostname").unwrap_or_default();
    let mounts = crate::system::mounts::parse(&mountinfo, root.absolute());
    let hostname = String::from_utf8_lossy(&hostname).trim().to_owned();
    Inventory {
        os: OsRelease::load(root, findings),
        architecture: architecture::load(root, findings).docker,
        name_resolution: NameResolution::load(root, &hostname, findings),
        hostname,
        live: root.is_live().then(|| live(root, findings)),
        storage: Storage::load(root, &mounts, enabled, findings),
        mounts,
        names: accounts::names(root, findings),
        homes: accounts::homes(root, findings),
    }
}

fn live(root: &Root, findings: &mut Findings) -> RuntimeState {
    let (processes, sockets) = processes_and_sockets(findings);
    let holders = Holders::of(&processes);
    let peers = peers::peers(&sockets, &holders, &sock_diag::unix_peers(root, findings));
    RuntimeState {
        hardware: Hardware::load(root, findings),
        sysctls: sysctl::load(root, findings),
        processes,
        sockets,
        holders,
        peers,
    }
}

/// Reads all processes, and the sockets of the network namespace of process 1.
fn processes_and_sockets(findings: &mut Findings) -> (Processes, Sockets) {
    match Root::open(Path::new("/proc")) {
        Ok(proc) => (Processes::load(&proc, findings), Sockets::load(&proc, b"1/net", findings)),
        Err(cause) => {
            findings.loss(findings::Kind::Processes, b"proc", format!("no service is known: {cause}"));
            Default::default()
        }
    }
}

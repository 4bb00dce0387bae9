//! The machine: what its release files, account files, mount table and `/proc` say. Nothing of it is executed.

pub mod accounts;
pub mod mounts;
pub mod os_release;
mod release_files;
pub mod service;

use crate::findings::Findings;
use crate::manifest::Names;
use crate::root::Root;
use mounts::Mounts;
use os_release::OsRelease;
use serde::Serialize;
use service::Service;

/// What was found out about the machine, apart from its files and packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Distribution and release.
    pub os: OsRelease,
    /// Docker's name of the architecture (`amd64`).
    pub architecture: String,
    /// `/etc/hostname`, or empty.
    pub hostname: String,
    /// What only a running machine tells.
    pub live: Option<Live>,
    /// Mounts at and beneath the root.
    #[serde(skip)]
    pub mounts: Mounts,
    /// Users and groups by number.
    #[serde(skip)]
    pub names: Names,
    /// Home directories, relative to the root.
    #[serde(skip)]
    pub homes: Vec<Vec<u8>>,
}

/// What only a running machine tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// The kernel's release.
    pub kernel: String,
    /// Main memory in bytes.
    pub memory: u64,
    /// Processors that are online.
    pub processors: usize,
    /// The daemon that a container runs.
    pub service: Option<Service>,
}

/// Looks at the machine under `root`; a root that is not running has no [`Live`].
pub fn detect(root: &Root, findings: &mut Findings) -> Inventory {
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_else(|cause| {
        findings.loss(
            "mounts",
            b"",
            format!("/proc/self/mountinfo cannot be read, mounts are not known: {cause}"),
        );
        Vec::new()
    });
    let hostname = root.read(b"etc/hostname").unwrap_or_default();
    Inventory {
        os: OsRelease::load(root, findings),
        architecture: architecture().to_owned(),
        hostname: String::from_utf8_lossy(&hostname).trim().to_owned(),
        live: root.is_live().then(|| live(findings)),
        mounts: mounts::parse(&mountinfo, root.absolute()),
        names: accounts::names(root, findings),
        homes: accounts::homes(root, findings),
    }
}

fn live(findings: &mut Findings) -> Live {
    let info = rustix::system::sysinfo();
    Live {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        memory: info.totalram as u64 * u64::from(info.mem_unit),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        service: service::main_service(findings),
    }
}

/// Docker's name for the architecture this binary was built for, which is the machine's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

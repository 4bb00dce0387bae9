//! Parses the execution settings of a unit: user, directories, limits, capabilities
//! (`systemd.exec(5)`, `systemd.resource-control(5)`).

use super::amount::{self, Limit, ResourceLimit};
use super::environment::{self, EnvironmentFile, Variables};
use super::section::Section;
use super::words;
use std::collections::BTreeSet;

/// The working directory of a service (`WorkingDirectory=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingDirectory {
    /// Directory; `None` means the user's home directory (`~`).
    pub path: Option<Vec<u8>>,
    /// Whether the service starts in `/` if the directory does not exist (prefix `-`).
    pub optional: bool,
}

/// The kind of a service's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectoryKind {
    /// `RuntimeDirectory=`, below `/run`, created at every start.
    Runtime,
    /// `StateDirectory=`, below `/var/lib`.
    State,
    /// `CacheDirectory=`, below `/var/cache`.
    Cache,
    /// `LogsDirectory=`, below `/var/log`.
    Logs,
    /// `ConfigurationDirectory=`, below `/etc`, not owned by the service's user.
    Configuration,
}

impl DirectoryKind {
    const ALL: [(DirectoryKind, &'static str, &'static str); 5] = [
        (DirectoryKind::Runtime, "RuntimeDirectory", "RUNTIME_DIRECTORY"),
        (DirectoryKind::State, "StateDirectory", "STATE_DIRECTORY"),
        (DirectoryKind::Cache, "CacheDirectory", "CACHE_DIRECTORY"),
        (DirectoryKind::Logs, "LogsDirectory", "LOGS_DIRECTORY"),
        (DirectoryKind::Configuration, "ConfigurationDirectory", "CONFIGURATION_DIRECTORY"),
    ];

    /// Returns the parent directory, relative to the root.
    pub fn base(self) -> &'static str {
        match self {
            DirectoryKind::Runtime => "run",
            DirectoryKind::State => "var/lib",
            DirectoryKind::Cache => "var/cache",
            DirectoryKind::Logs => "var/log",
            DirectoryKind::Configuration => "etc",
        }
    }
}

/// A directory that systemd creates before a service starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceDirectory {
    /// Kind of the directory.
    pub kind: DirectoryKind,
    /// Path relative to the root.
    pub path: Vec<u8>,
    /// Mode of the directory.
    pub mode: u16,
    /// Symbolic links to the directory, relative to the root (`name:link`).
    pub links: Vec<Vec<u8>>,
}

/// A set of capabilities (`capabilities(7)`), by names such as `CAP_NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// Only these capabilities.
    Only(BTreeSet<Vec<u8>>),
    /// All capabilities of the kernel except these.
    AllBut(BTreeSet<Vec<u8>>),
}

/// The part of the file system that is read-only (`ProtectSystem=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectSystem {
    /// None.
    No,
    /// `/usr` and the boot loader.
    Yes,
    /// `/usr`, the boot loader and `/etc`.
    Full,
    /// Everything except `/dev`, `/proc` and `/sys`.
    Strict,
}

/// A line of `DeviceAllow=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A path, or a device group such as `char-pts`.
    pub name: Vec<u8>,
    /// Letters of `rwm`; all of them if the line has none.
    pub access: Vec<u8>,
}

/// The execution settings of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// `User=`, a name or a UID.
    pub user: Option<Vec<u8>>,
    /// `Group=`.
    pub group: Option<Vec<u8>>,
    /// `SupplementaryGroups=`.
    pub supplementary_groups: Vec<Vec<u8>>,
    /// Whether systemd allocates a user for the service (`DynamicUser=`).
    pub dynamic_user: bool,
    /// `WorkingDirectory=`.
    pub working_directory: Option<WorkingDirectory>,
    /// `RootDirectory=`.
    pub root_directory: Option<Vec<u8>>,
    /// `UMask=`.
    pub umask: Option<u16>,
    /// `Nice=`.
    pub nice: Option<i32>,
    /// `OOMScoreAdjust=`.
    pub oom_score_adjust: Option<i32>,
    /// `Limit*=`, by resource.
    pub limits: Vec<ResourceLimit>,
    /// `Environment=`.
    pub environment: Variables,
    /// `EnvironmentFile=`, which overrides `Environment=`.
    pub environment_files: Vec<EnvironmentFile>,
    /// Files and directories of `LoadCredential=` and `LoadCredentialEncrypted=`, relative to the
    /// root.
    pub credential_files: Vec<Vec<u8>>,
    /// Names of `PassEnvironment=`.
    pub pass_environment: Vec<Vec<u8>>,
    /// Names or assignments of `UnsetEnvironment=`, applied last.
    pub unset_environment: Vec<Vec<u8>>,
    /// Directories of the service (`RuntimeDirectory=` and others).
    pub directories: Vec<ServiceDirectory>,
    /// `CapabilityBoundingSet=`; `None` means all capabilities.
    pub capability_bounding_set: Option<Capabilities>,
    /// `AmbientCapabilities=`.
    pub ambient_capabilities: Option<Capabilities>,
    /// `ProtectSystem=`.
    pub protect_system: ProtectSystem,
    /// `ReadWritePaths=`, with the prefixes `-` and `+`.
    pub read_write_paths: Vec<Vec<u8>>,
    /// Whether the service has its own `/tmp` (`PrivateTmp=`).
    pub private_tmp: bool,
    /// `StandardInput=`, as written.
    pub standard_input: Option<Vec<u8>>,
    /// `StandardOutput=`.
    pub standard_output: Option<Vec<u8>>,
    /// `MemoryMax=`, or `MemoryLimit=` in older units.
    pub memory_max: Option<Limit>,
    /// `CPUQuota=` in hundredths of a percent of one CPU.
    pub cpu_quota: Option<u32>,
    /// `TasksMax=`.
    pub tasks_max: Option<Limit>,
    /// `DeviceAllow=`.
    pub devices: Vec<Device>,
    /// `Slice=`.
    pub slice: Option<Vec<u8>>,
}

impl ExecSettings {
    /// Returns the variables with the service's directories, absolute and separated by colons
    /// (`systemd.exec(5)`, "$RUNTIME_DIRECTORY").
    pub fn directory_variables(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut variables = Vec::new();
        for (kind, _, name) in DirectoryKind::ALL {
            let directories = self.directories.iter().filter(|directory| directory.kind == kind);
            let paths: Vec<Vec<u8>> =
                directories.map(|directory| [b"/", &directory.path[..]].concat()).collect();
            if !paths.is_empty() {
                variables.push((name, paths.join(&b':')));
            }
        }
        variables
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let limits = ResourceLimit::keys();
        let limits = limits.filter_map(|key| section.parsed(key, |value| ResourceLimit::parse(key, value)));
        let limits = limits.collect();
        let protect = section.parsed("ProtectSystem", ProtectSystem::parse);
        let memory = section.parsed("MemoryMax", amount::limit);
        ExecSettings {
            user: section.text("User"),
            group: section.text("Group"),
            supplementary_groups: section.words("SupplementaryGroups"),
            dynamic_user: section.flag("DynamicUser").unwrap_or(false),
            working_directory: section.parsed("WorkingDirectory", WorkingDirectory::parse),
            root_directory: section.text("RootDirectory"),
            umask: section.parsed("UMask", amount::mode),
            nice: section.parsed("Nice", amount::integer),
            oom_score_adjust: section.parsed("OOMScoreAdjust", amount::integer),
            limits,
            environment: read_environment(section),
            environment_files: read_environment_files(section),
            credential_files: read_credential_files(section),
            pass_environment: section.words("PassEnvironment"),
            unset_environment: section.words("UnsetEnvironment"),
            directories: read_directories(section),
            capability_bounding_set: Capabilities::read(section, "CapabilityBoundingSet"),
            ambient_capabilities: Capabilities::read(section, "AmbientCapabilities"),
            protect_system: protect.unwrap_or(ProtectSystem::No),
            read_write_paths: section.words("ReadWritePaths"),
            private_tmp: section.parsed("PrivateTmp", private).unwrap_or(false),
            standard_input: section.text("StandardInput"),
            standard_output: section.text("StandardOutput"),
            memory_max: memory.or_else(|| section.parsed("MemoryLimit", amount::limit)),
            cpu_quota: section.parsed("CPUQuota", |text| amount::percent(text.strip_suffix(b"%")?)),
            tasks_max: section.parsed("TasksMax", amount::limit),
            devices: section.lines("DeviceAllow").iter().filter_map(|line| Device::parse(line)).collect(),
            slice: section.text("Slice"),
        }
    }
}

fn read_environment(section: &mut Section<'_>) -> Variables {
    let mut variables = Variables::default();
    for value in section.values("Environment") {
        if value.is_empty() {
            variables = Variables::default();
            continue;
        }
        match environment::assignments(value, section.specifiers(), &mut variables) {
            Ok(0) => {}
            Ok(_) => section.invalid("Environment", "word is not an assignment"),
            Err(cause) => section.invalid("Environment", &cause.to_string()),
        }
    }
    variables
}

fn read_environment_files(section: &mut Section<'_>) -> Vec<EnvironmentFile> {
    let mut files = Vec::new();
    for line in section.lines("EnvironmentFile") {
        match EnvironmentFile::parse(&line) {
            Some(file) => files.push(file),
            None => section.invalid("EnvironmentFile", "path is not absolute"),
        }
    }
    files
}

/// A path that is not absolute names a credential of the system manager.
fn read_credential_files(section: &mut Section<'_>) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for line in ["LoadCredential", "LoadCredentialEncrypted"].into_iter().flat_map(|key| section.lines(key)) {
        let path = memchr::memchr(b':', &line).and_then(|colon| line[colon + 1..].strip_prefix(b"/"));
        files.extend(path.map(<[u8]>::to_vec));
    }
    files
}

fn read_directories(section: &mut Section<'_>) -> Vec<ServiceDirectory> {
    let mut directories = Vec::new();
    for (kind, key, _) in DirectoryKind::ALL {
        // systemd.exec(5): the default mode of these directories is 0755.
        let mode = section.parsed(&format!("{key}Mode"), amount::mode).unwrap_or(0o755);
        for word in section.words(key) {
            let mut parts = word.split(|&byte| byte == b':');
            let name = parts.next().unwrap_or_default();
            let full_path = |name: &[u8]| [kind.base().as_bytes(), b"/", name].concat();
            if !is_relative(name) {
                section.invalid(key, "invalid directory path");
                continue;
            }
            let links = parts.filter(|link| is_relative(link)).map(full_path).collect();
            directories.push(ServiceDirectory { kind, path: full_path(name), mode, links });
        }
    }
    directories
}

/// Returns whether the path is relative and contains no `..`.
fn is_relative(path: &[u8]) -> bool {
    !path.is_empty() && path.split(|&byte| byte == b'/').all(|part| !part.is_empty() && part != b"..")
}

/// Parses `PrivateTmp=`: a boolean, or `disconnected` since systemd 257.
fn private(text: &[u8]) -> Option<bool> {
    if text == b"disconnected" { Some(true) } else { super::parse::boolean(text) }
}

impl ProtectSystem {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"full" => Some(ProtectSystem::Full),
            b"strict" => Some(ProtectSystem::Strict),
            _ => match super::parse::boolean(text)? {
                true => Some(ProtectSystem::Yes),
                false => Some(ProtectSystem::No),
            },
        }
    }
}

impl WorkingDirectory {
    fn parse(text: &[u8]) -> Option<Self> {
        let (optional, path) = text.strip_prefix(b"-").map_or((false, text), |path| (true, path));
        match path {
            b"~" => Some(WorkingDirectory { path: None, optional }),
            [b'/', ..] => Some(WorkingDirectory { path: Some(path.to_vec()), optional }),
            _ => None,
        }
    }
}

impl Device {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = words::split(line).ok()?.into_iter();
        let name = words.next()?;
        Some(Device { name, access: words.next().unwrap_or_else(|| b"rwm".to_vec()) })
    }
}

impl Capabilities {
    /// Merges the lists of a key. A `~` subtracts a list. The first list determines whether the
    /// set starts empty or full.
    fn read(section: &mut Section<'_>, key: &'static str) -> Option<Self> {
        let mut set: Option<Capabilities> = None;
        for value in section.values(key) {
            let (inverted, list) = value.strip_prefix(b"~").map_or((false, value), |list| (true, list));
            let Ok(words) = words::split(list) else {
                section.invalid(key, "unclosed quote");
                continue;
            };
            let list: BTreeSet<Vec<u8>> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
            set = Some(match (set, list.is_empty(), inverted) {
                (_, true, false) | (None, false, false) => Capabilities::Only(list),
                (_, true, true) | (None, false, true) => Capabilities::AllBut(list),
                (Some(Capabilities::Only(set)), _, false) => Capabilities::Only(&set | &list),
                (Some(Capabilities::Only(set)), _, true) => Capabilities::Only(&set - &list),
                (Some(Capabilities::AllBut(set)), _, false) => Capabilities::AllBut(&set - &list),
                (Some(Capabilities::AllBut(set)), _, true) => Capabilities::AllBut(&set | &list),
            });
        }
        set
    }
}

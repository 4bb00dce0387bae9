//! Under whom, where and within which bounds the programs of a unit run (`systemd.exec(5)`, `systemd.resource-control(5)`).

use super::amount::{self, Limit, ResourceLimit};
use super::environment::{self, EnvironmentFile, Variables};
use super::section::Section;
use super::words;
use std::collections::BTreeSet;

/// Where the program starts (`WorkingDirectory=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingDirectory {
    /// The directory; `None` is the user's home (`~`).
    pub path: Option<Vec<u8>>,
    /// `-`: if it is not there, the program starts in `/`.
    pub optional: bool,
}

/// Where directories of a service lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectoryKind {
    /// `RuntimeDirectory=`, below `/run`: made at every start.
    Runtime,
    /// `StateDirectory=`, below `/var/lib`.
    State,
    /// `CacheDirectory=`, below `/var/cache`.
    Cache,
    /// `LogsDirectory=`, below `/var/log`.
    Logs,
    /// `ConfigurationDirectory=`, below `/etc`; not given to the service's user.
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

    /// The directory that it lies in, relative to the root.
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

/// A directory that systemd makes for a service before it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceDirectory {
    /// Where.
    pub place: DirectoryKind,
    /// Relative to the root.
    pub path: Vec<u8>,
    /// Its permissions.
    pub mode: u16,
    /// Links to it, relative to the root (`name:link`).
    pub links: Vec<Vec<u8>>,
}

/// A set of capabilities (`capabilities(7)`), by names such as `CAP_NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// These.
    Only(BTreeSet<Vec<u8>>),
    /// All that the kernel has, without these.
    AllBut(BTreeSet<Vec<u8>>),
}

/// How much of the file system is read-only (`ProtectSystem=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectSystem {
    /// Nothing.
    No,
    /// `/usr` and the boot loader.
    Yes,
    /// And `/etc`.
    Full,
    /// Everything but `/dev`, `/proc`, `/sys`.
    Strict,
}

/// A line of `DeviceAllow=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A path, or a group such as `char-pts`.
    pub name: Vec<u8>,
    /// Letters of `rwm`; all of them if the line has none.
    pub access: Vec<u8>,
}

/// Under whom, where and within which bounds a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecContext {
    /// `User=`, a name or a number.
    pub user: Option<Vec<u8>>,
    /// `Group=`.
    pub group: Option<Vec<u8>>,
    /// `SupplementaryGroups=`.
    pub supplementary_groups: Vec<Vec<u8>>,
    /// `DynamicUser=`: the user is made for the service.
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
    /// `EnvironmentFile=`; they count more than `Environment=`.
    pub environment_files: Vec<EnvironmentFile>,
    /// `PassEnvironment=`: names.
    pub pass_environment: Vec<Vec<u8>>,
    /// `UnsetEnvironment=`: names or assignments; they count last.
    pub unset_environment: Vec<Vec<u8>>,
    /// `RuntimeDirectory=` and its like.
    pub directories: Vec<ServiceDirectory>,
    /// `CapabilityBoundingSet=`; `None` is no bound.
    pub capability_bounding_set: Option<Capabilities>,
    /// `AmbientCapabilities=`.
    pub ambient_capabilities: Option<Capabilities>,
    /// `ProtectSystem=`.
    pub protect_system: ProtectSystem,
    /// `ReadWritePaths=`, with their prefixes `-` and `+`.
    pub read_write_paths: Vec<Vec<u8>>,
    /// `PrivateTmp=`.
    pub private_tmp: bool,
    /// `StandardInput=`, as written.
    pub standard_input: Option<Vec<u8>>,
    /// `StandardOutput=`.
    pub standard_output: Option<Vec<u8>>,
    /// `MemoryMax=`, or its old form `MemoryLimit=`.
    pub memory_max: Option<Limit>,
    /// `CPUQuota=` in hundredths of a percent of one processor.
    pub cpu_quota: Option<u32>,
    /// `TasksMax=`.
    pub tasks_max: Option<Limit>,
    /// `DeviceAllow=`.
    pub devices: Vec<Device>,
    /// `Slice=`.
    pub slice: Option<Vec<u8>>,
}

impl ExecContext {
    /// The variables that tell a program its directories, absolute, with colons between (`systemd.exec(5)`,
    /// "$RUNTIME_DIRECTORY").
    pub fn directory_variables(&self) -> Vec<(&'static str, Vec<u8>)> {
        let of = |place: DirectoryKind| {
            let own = self.directories.iter().filter(|directory| directory.place == place);
            own.map(|directory| [b"/", &directory.path[..]].concat()).collect::<Vec<_>>()
        };
        let named = DirectoryKind::ALL.map(|(place, _, name)| (name, of(place).join(&b':')));
        named.into_iter().filter(|(_, paths)| !paths.is_empty()).collect()
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let limits = ResourceLimit::keys();
        let limits = limits.filter_map(|key| section.parsed(key, |value| ResourceLimit::parse(key, value)));
        let limits = limits.collect();
        let protect = section.parsed("ProtectSystem", ProtectSystem::parse);
        let memory = section.parsed("MemoryMax", amount::limit);
        ExecContext {
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
            Ok(_) => section.mistake("Environment", "a word that is no assignment"),
            Err(cause) => section.mistake("Environment", &cause.to_string()),
        }
    }
    variables
}

fn read_environment_files(section: &mut Section<'_>) -> Vec<EnvironmentFile> {
    let mut files = Vec::new();
    for line in section.lines("EnvironmentFile") {
        match EnvironmentFile::parse(&line) {
            Some(file) => files.push(file),
            None => section.mistake("EnvironmentFile", "no absolute path"),
        }
    }
    files
}

fn read_directories(section: &mut Section<'_>) -> Vec<ServiceDirectory> {
    let mut directories = Vec::new();
    for (place, key, _) in DirectoryKind::ALL {
        let mode = section.parsed(&format!("{key}Mode"), amount::mode).unwrap_or(0o755);
        for word in section.words(key) {
            let mut parts = word.split(|&byte| byte == b':');
            let name = parts.next().unwrap_or_default();
            let beneath = |name: &[u8]| [place.base().as_bytes(), b"/", name].concat();
            if !is_beneath(name) {
                section.mistake(key, "a directory that is not beneath its place");
                continue;
            }
            let links = parts.filter(|link| is_beneath(link)).map(beneath).collect();
            directories.push(ServiceDirectory { place, path: beneath(name), mode, links });
        }
    }
    directories
}

/// A relative path without `..`.
fn is_beneath(path: &[u8]) -> bool {
    !path.is_empty() && path.split(|&byte| byte == b'/').all(|part| !part.is_empty() && part != b"..")
}

/// `PrivateTmp=` is a boolean, or `disconnected` since systemd 257.
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
    /// Lists add up, those with `~` are taken away; the first one says whether the set starts empty or full.
    fn read(section: &mut Section<'_>, key: &'static str) -> Option<Self> {
        let mut set: Option<Capabilities> = None;
        for value in section.values(key) {
            let (inverted, list) = value.strip_prefix(b"~").map_or((false, value), |list| (true, list));
            let Ok(words) = words::split(list) else {
                section.mistake(key, "a quote is not closed");
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

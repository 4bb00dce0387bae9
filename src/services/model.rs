//! The containers of a machine, decided: what `services/`, `compose.yaml`, `kubernetes/` and `quadlet/` are written from.
//!
//! Names that other programs read are checked where they are made: [`Name`] and [`Variable`] hold nothing that a file
//! format could take for something else. Everything else that comes from the machine is bytes.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A name for a service, a volume or a network: a DNS label (RFC 1123), which all orchestrators accept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The longest label.
    pub const MAX: usize = 63;

    /// `text` with every run of other bytes as one hyphen, in lower case, cut to [`Name::MAX`]; `x` if nothing is left.
    pub fn from_bytes(text: &[u8]) -> Self {
        let mut name = String::new();
        for &byte in text {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' => name.push(char::from(byte)),
                b'A'..=b'Z' => name.push(char::from(byte.to_ascii_lowercase())),
                _ if name.is_empty() || name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        name.truncate(Self::MAX);
        let name = name.trim_end_matches('-');
        Name(if name.is_empty() { "x".to_owned() } else { name.to_owned() })
    }

    /// This name with a number, for the second thing that would have it.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        let ending = format!("-{number}");
        let stem: String = self.0.chars().take(Self::MAX - ending.len()).collect();
        Name(stem.trim_end_matches('-').to_owned() + &ending)
    }

    /// This name, or the first number of it that is not taken.
    #[must_use]
    pub fn unless(self, is_taken: impl Fn(&Name) -> bool) -> Self {
        let mut name = self.clone();
        let mut number = 1;
        while is_taken(&name) {
            number += 1;
            name = self.numbered(number);
        }
        name
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an environment variable that every shell accepts (POSIX 2018, XBD 3.231).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Variable(String);

impl Variable {
    /// `name`, if it is one.
    pub fn new(name: &[u8]) -> Option<Self> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let first = *name.first()?;
        let is_name = !first.is_ascii_digit() && name.iter().all(is_word);
        is_name.then(|| Variable(String::from_utf8_lossy(name).into_owned()))
    }

    /// The name for an argument that has none.
    pub fn argument() -> Self {
        Variable("ARGUMENT".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All containers and what they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Workload {
    /// By name.
    pub services: Vec<Service>,
    /// Groups of services that share one network namespace, as they did on the machine.
    pub networks: Vec<SharedNetwork>,
    /// By name.
    pub volumes: Vec<Volume>,
    /// Files that are withheld from the image and that a container cannot start without.
    pub secret_files: Vec<SecretFile>,
    /// Units and processes that do not become containers, with the reason; by unit.
    pub skipped: Vec<SkippedService>,
    /// What will not work in a container and what to do; the gravest first.
    pub compatibility: Vec<CompatibilityIssue>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Service {
    /// Unique among the services.
    pub name: Name,
    /// The unit it was on the machine, or the program; escaped.
    pub unit: String,
    /// For people, escaped; may be empty.
    pub description: String,
    /// What the container runs.
    pub command: Command,
    /// A shell script that the build of this service's image runs as root: directories below `/run`, links of logs.
    #[serde(skip)]
    pub prepare: Option<Vec<u8>>,
    /// Who runs it; root if nobody is named.
    pub user: Option<User>,
    /// Absolute, without `..`.
    #[serde(serialize_with = "escaped_option")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub working_directory: Option<Vec<u8>>,
    /// Variables with their values, none of them secret.
    #[serde(skip)]
    pub environment: BTreeMap<Variable, Vec<u8>>,
    /// Variables whose values are withheld: whoever starts the container has to give them.
    pub secrets: BTreeSet<Variable>,
    /// Withheld files that it needs: indexes of [`Workload::secret_files`].
    pub secret_files: BTreeSet<usize>,
    /// What it listens on.
    pub ports: BTreeSet<Port>,
    /// Volumes by the absolute path they are mounted on.
    pub mounts: Vec<Mount>,
    /// Directories in memory, absolute: what a read-only root needs to be writable and need not stay.
    #[serde(serialize_with = "escaped_all")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub memory_directories: Vec<Vec<u8>>,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Which signal ends it.
    pub stop_signal: Signal,
    /// How long it may take to end.
    pub stop_grace: Duration,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// Whether it serves.
    pub health: Option<Health>,
    /// Services that have to be there first.
    pub depends_on: BTreeSet<Name>,
    /// The [`SharedNetwork`] it lives in.
    pub network: Option<Name>,
    /// Limits that differ from the engines' defaults, by the name of `setrlimit(2)` in lower case (`nofile`): soft, hard;
    /// nothing for no limit.
    pub ulimits: BTreeMap<&'static str, (Option<u64>, Option<u64>)>,
    /// `oom_score_adj` of `proc_pid_oom_score_adj(5)`.
    pub oom_score_adj: Option<i16>,
    /// What it may do beyond an engine's default.
    pub privileges: Privileges,
    /// Memory in bytes it may use at most: the unit's limit, else the machine's memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor it may use at most: the unit's limit, else the machine's.
    pub cpu_millis: Option<u64>,
    /// Processes and threads at most.
    pub tasks: Option<u64>,
    /// Kernel settings of its own namespaces (`sysctl.d(5)`).
    pub sysctls: BTreeMap<String, String>,
}

/// What a container runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transform = script_is_a_word))]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// A program and its arguments, by themselves (exec form).
    Exec(Vec<String>),
    /// A POSIX shell script: what has to happen before, then `exec`.
    Script(#[serde(skip)] Vec<u8>),
}

/// serde writes a variant without its skipped content as a word, which schemars does not know.
#[cfg(test)]
fn script_is_a_word(schema: &mut schemars::Schema) {
    let script = &mut schema.get_mut("oneOf").unwrap()[1];
    *script = serde_json::json!({"description": script["description"], "const": "script"});
}

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct User {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Numbers of supplementary groups, without `gid`.
    pub groups: BTreeSet<u32>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// An address that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether others than the machine itself could reach it: published.
    pub public: bool,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mount {
    /// The volume's name.
    pub volume: Name,
    /// Where, absolute.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
}

/// A directory that outlives containers or that several of them share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Volume {
    /// Its name.
    pub name: Name,
    /// Where it is on the machine, absolute.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// What it is for.
    pub purpose: Purpose,
    /// Why, and what to do.
    pub reason: String,
    /// Bytes on the machine.
    pub bytes: u64,
    /// Owner, group and permissions on the machine, where known.
    pub owner: Option<(u32, u32, u16)>,
}

/// What a volume is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Live data that is not in the image: has to be copied.
    LiveData,
    /// Data that the image has as it was, and that the service changes.
    Data,
    /// Sockets that services meet at; nothing in it has to stay.
    Sockets,
}

/// Services in one network namespace: addresses like `127.0.0.1` mean the same to all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SharedNetwork {
    /// Its name.
    pub name: Name,
    /// Why they share it.
    pub reasons: Vec<String>,
}

/// A withheld file that containers need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecretFile {
    /// Its name among secrets.
    pub name: Name,
    /// Where it is, absolute.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// Owner, group and permissions on the machine.
    pub owner: (u32, u32, u16),
}

/// How a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Signal(pub &'static str);

/// What happens when a service ends by itself (`Restart=` of `systemd.service(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    No,
    /// It is started again if it failed.
    OnFailure,
    /// It is started again.
    Always,
}

/// How to see that a service serves, without talking to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Something listens on this TCP port.
    Tcp(u16),
    /// A socket has this UDP port.
    Udp(u16),
    /// There is a socket under this absolute path, whose bytes are `[A-Za-z0-9/._@+-]`.
    Socket(String),
}

/// What a container may do beyond an engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Privileges {
    /// Capabilities to add, without `CAP_`, upper case.
    pub add: BTreeSet<&'static str>,
    /// It needs none of the default ones.
    pub drop_all: bool,
    /// Devices, absolute.
    #[serde(serialize_with = "escaped_all")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub devices: Vec<Vec<u8>>,
    /// It cannot work otherwise: why.
    pub privileged: Option<String>,
}

/// A unit that does not become a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SkippedService {
    /// Its name, escaped.
    pub unit: String,
    /// Why.
    pub reason: String,
}

/// How grave a [`CompatibilityIssue`] is; the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IssueSeverity {
    /// It will not work without a change.
    Blocker,
    /// It may not work, or not as on the machine.
    Warning,
    /// Worth knowing.
    Info,
}

impl IssueSeverity {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            IssueSeverity::Blocker => "blocker",
            IssueSeverity::Warning => "warning",
            IssueSeverity::Info => "info",
        }
    }
}

/// The kind of a [`CompatibilityIssue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum IssueKind {
    /// Jobs of at(1) wait for their time.
    At,
    /// The service has capabilities that containers do not have.
    Capability,
    /// The machine runs containers itself.
    Containers,
    /// Jobs of cron(8) run in one container.
    Cron,
    /// The service uses a device.
    Device,
    /// The service uses a display.
    Display,
    /// The service opens further ports while it runs.
    DynamicPorts,
    /// A configuration file names a network card's hardware address.
    HardwareAddress,
    /// The machine's kernel is older than 3.8.
    Kernel,
    /// The unit loads a kernel module.
    KernelModule,
    /// The service listens on loopback only.
    LoopbackOnly,
    /// The service uses D-Bus.
    MessageBus,
    /// The unit's program does not exist.
    MissingProgram,
    /// The unit mounts a file system.
    Mount,
    /// The service uses files on a network file system.
    NetworkMount,
    /// A configuration file names the machine's own address.
    OwnAddress,
    /// The unit changes the packet filter.
    PacketFilter,
    /// Two services listen on the same port.
    PortCollision,
    /// The service uses raw sockets.
    RawSocket,
    /// Variables or files are withheld.
    Secret,
    /// The service writes outside the usual data directories.
    SelfRewriting,
    /// SELinux is enforcing on the machine.
    Selinux,
    /// A Unix socket is in a directory that cannot be shared.
    SocketPlace,
    /// A step of the start is left out or changed.
    Start,
    /// The unit or a file sets a kernel parameter.
    Sysctl,
    /// The service logs through `/dev/log`.
    Syslog,
    /// How the service is started is unknown.
    UnknownStart,
}

/// Something about a container that differs from a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CompatibilityIssue {
    /// How grave.
    pub severity: IssueSeverity,
    /// Which service; none: the machine as a whole.
    pub service: Option<Name>,
    /// For programs.
    pub kind: IssueKind,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub advice: &'static str,
}

/// Whether `value` means itself in a Dockerfile: at most 4096 bytes, letters and digits of ASCII and `/._:@%+,=-`. There
/// are no quotes among them, no backslash, no `$`, nothing blank. Environment and working directory of a service that
/// are not plain are set by its [`Command::Script`]; the image has only plain ones.
pub fn is_plain(value: &[u8]) -> bool {
    value.len() <= 4096
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._:@%+,=-".contains(byte))
}

fn escaped<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::model::escape::escape(bytes))
}

fn escaped_option<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| crate::model::escape::escape(bytes)).serialize(serializer)
}

fn escaped_all<S: serde::Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|bytes| crate::model::escape::escape(bytes)))
}

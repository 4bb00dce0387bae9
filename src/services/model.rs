//! Data model of the containers that this machine's services become.
//!
//! The modules of [`crate::emit`] write `services/`, `compose.yaml`, `kubernetes/` and `quadlet/`
//! from it.
//!
//! The constructors of [`Name`] and [`Variable`] admit only characters without special meaning in
//! these formats. All other text from the machine is stored as bytes and quoted by the writer.

use crate::detect::name_resolution::HostEntry;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A name for a service, a volume or a network: a DNS label (RFC 1123), which all orchestrators
/// accept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Maximum length of a DNS label in bytes.
    pub const MAX: usize = 63;

    /// Converts `text` to a label: lower case, each run of other bytes as one hyphen, at most
    /// [`Name::MAX`] bytes. Returns `x` if no letter or digit remains.
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

    /// Returns this name with `-number` appended, shortened to [`Name::MAX`] bytes.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        let ending = format!("-{number}");
        let stem: String = self.0.chars().take(Self::MAX - ending.len()).collect();
        Name(stem.trim_end_matches('-').to_owned() + &ending)
    }

    /// Returns this name, or the first numbered variant of it that is free.
    #[must_use]
    pub fn make_unique(self, is_taken: impl Fn(&Name) -> bool) -> Self {
        let mut name = self.clone();
        let mut number = 1;
        while is_taken(&name) {
            number += 1;
            name = self.numbered(number);
        }
        name
    }

    /// Returns the label.
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
    /// Returns the variable if `name` is a valid name.
    pub fn new(name: &[u8]) -> Option<Self> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let first = *name.first()?;
        let is_name = !first.is_ascii_digit() && name.iter().all(is_word);
        is_name.then(|| Variable(String::from_utf8_lossy(name).into_owned()))
    }

    /// Returns the variable for a secret argument without an option name.
    pub fn argument() -> Self {
        Variable("ARGUMENT".to_owned())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All containers of the machine and the resources that they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Workload {
    /// Containers, sorted by name.
    pub services: Vec<Service>,
    /// Groups of services that share one network namespace, as on the machine.
    pub networks: Vec<SharedNetwork>,
    /// Volumes, sorted by name.
    pub volumes: Vec<Volume>,
    /// Withheld files that a container needs to start.
    pub secret_files: Vec<SecretFile>,
    /// Names of `/etc/hosts` that each container gets.
    pub hosts: Vec<HostEntry>,
    /// Units and processes without a container and the reasons, sorted by unit.
    pub skipped: Vec<SkippedService>,
    /// Differences from the machine that need attention, most severe first.
    pub compatibility: Vec<CompatibilityIssue>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Service {
    /// Name, unique among the services.
    pub name: Name,
    /// Unit on the machine, or the executable's name without a unit; escaped.
    pub unit: String,
    /// Description of the unit, escaped; can be empty.
    pub description: String,
    /// Command that the container runs.
    pub command: Command,
    /// POSIX shell script that the build of this service's image runs as root. It creates
    /// directories below `/run` and links log files to the output.
    #[serde(skip)]
    pub prepare: Option<Vec<u8>>,
    /// User that runs the container; `None` means root.
    pub user: Option<User>,
    /// Absolute path without `..`.
    #[serde(serialize_with = "escaped_option")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub working_directory: Option<Vec<u8>>,
    /// Environment variables without secrets.
    #[serde(skip)]
    pub environment: BTreeMap<Variable, Vec<u8>>,
    /// Variables whose values are withheld. The operator sets them when starting the container.
    pub secrets: BTreeSet<Variable>,
    /// Withheld files that the service needs: indexes of [`Workload::secret_files`].
    pub secret_files: BTreeSet<usize>,
    /// Ports that the service listens on.
    pub ports: BTreeSet<Port>,
    /// Volumes, by mount point.
    pub mounts: Vec<Mount>,
    /// Absolute paths of tmpfs directories. A service with a read-only root writes temporary
    /// files there.
    #[serde(serialize_with = "escaped_all")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub memory_directories: Vec<Vec<u8>>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Signal that stops the container.
    pub stop_signal: Signal,
    /// Time between the stop signal and `SIGKILL`.
    pub stop_grace: Duration,
    /// Restart policy.
    pub restart: Restart,
    /// Health check, if the service has an address to check.
    pub health: Option<Health>,
    /// Services that must start first.
    pub depends_on: BTreeSet<Name>,
    /// [`SharedNetwork`] that the service joins.
    pub network: Option<Name>,
    /// Resource limits that the unit sets: soft and hard, `None` for unlimited. The key is the
    /// resource of `setrlimit(2)` in lower case, without `RLIMIT_` (`nofile`).
    pub ulimits: BTreeMap<&'static str, (Option<u64>, Option<u64>)>,
    /// `oom_score_adj` of `proc_pid_oom_score_adj(5)`, from -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Privileges that differ from the engine's default.
    pub privileges: Privileges,
    /// Maximum memory in bytes: the limit of the unit, or the memory of the machine.
    pub memory: Option<u64>,
    /// Maximum CPU time in thousandths of a CPU: the limit of the unit, or all CPUs of the
    /// machine.
    pub cpu_millis: Option<u64>,
    /// Maximum number of processes and threads.
    pub tasks: Option<u64>,
    /// Kernel parameters of the container's own namespaces (`sysctl.d(5)`).
    pub sysctls: BTreeMap<String, String>,
}

/// The command of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transform = script_is_a_word))]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// A command and its arguments in exec form.
    Exec(Vec<String>),
    /// A POSIX shell script that prepares the service, then starts it.
    Script(#[serde(skip)] Vec<u8>),
}

/// serde writes a variant without its skipped content as a word, which schemars does not know.
#[cfg(test)]
fn script_is_a_word(schema: &mut schemars::Schema) {
    let script = &mut schema.get_mut("oneOf").unwrap()[1];
    *script = serde_json::json!({"description": script["description"], "const": "script"});
}

/// The identity of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct User {
    /// UID.
    pub uid: u32,
    /// Primary GID.
    pub gid: u32,
    /// Supplementary GIDs, without `gid`.
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

/// A port that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Port {
    /// Port number.
    pub number: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local IP addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether other machines can reach the port. If so, the port is published.
    pub public: bool,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mount {
    /// Name of the volume.
    pub volume: Name,
    /// Absolute path of the mount point.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
}

/// A directory that outlives containers or that several of them share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Volume {
    /// Name of the volume.
    pub name: Name,
    /// Absolute path on the machine.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// Purpose of the volume.
    pub purpose: Purpose,
    /// Reason for the volume, with instructions if data must be copied.
    pub reason: String,
    /// Total size of the files on the machine, in bytes.
    pub bytes: u64,
    /// UID, GID and mode on the machine, if known.
    pub owner: Option<(u32, u32, u16)>,
}

/// The purpose of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Live data, which is not in the image and must be copied.
    LiveData,
    /// Data that the image contains and that the service changes.
    Data,
    /// Sockets that services share; no data that must be kept.
    Sockets,
}

/// Services in one network namespace. An address like `127.0.0.1` is the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SharedNetwork {
    /// Name of the network.
    pub name: Name,
    /// Connections that require a shared namespace, as text.
    pub reasons: Vec<String>,
}

/// A withheld file that containers need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecretFile {
    /// Name of the secret.
    pub name: Name,
    /// Absolute path.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// UID, GID and mode on the machine.
    pub owner: (u32, u32, u16),
}

/// A signal name without `SIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Signal(pub &'static str);

/// Restart policy of a service (`Restart=` of `systemd.service(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// The container is not restarted.
    No,
    /// The container is restarted after a failure.
    OnFailure,
    /// The container is always restarted.
    Always,
}

/// A health check that sends no data to the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// A socket listens on this TCP port.
    Tcp(u16),
    /// A socket is bound to this UDP port.
    Udp(u16),
    /// A socket exists at this absolute path, whose bytes are `[A-Za-z0-9/._@+-]`.
    Socket(String),
}

/// Privileges that differ from an engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Privileges {
    /// Capabilities to add, in upper case, without `CAP_`.
    pub add: BTreeSet<&'static str>,
    /// Whether all default capabilities can be dropped.
    pub drop_all: bool,
    /// Absolute paths of devices.
    #[serde(serialize_with = "escaped_all")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub devices: Vec<Vec<u8>>,
    /// Reason for a privileged container, if the service needs one.
    pub privileged: Option<String>,
}

/// A unit that does not become a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SkippedService {
    /// Name of the unit, escaped.
    pub unit: String,
    /// Reason for skipping it.
    pub reason: String,
}

/// Severity of a [`CompatibilityIssue`]; the first variant is the most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IssueSeverity {
    /// The service cannot work without a change.
    Blocker,
    /// The service can fail, or behave differently from the machine.
    Warning,
    /// Information only.
    Info,
}

impl IssueSeverity {
    /// Returns the severity as printed in reports.
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
    /// A condition decides whether the machine starts the service.
    Condition,
    /// The machine runs containers itself.
    Containers,
    /// Jobs of cron(8) run in one container.
    Cron,
    /// The service uses a device.
    Device,
    /// The unit has a directive that containers do not have.
    Directive,
    /// The service uses a display.
    Display,
    /// The service opens further ports while it runs.
    DynamicPorts,
    /// A required environment file cannot be used.
    EnvironmentFile,
    /// A configuration file names a network card's hardware address.
    HardwareAddress,
    /// The machine's kernel is older than 3.8.
    Kernel,
    /// The unit loads a kernel module.
    KernelModule,
    /// A unit of the operating system, which runs in no container, has local changes.
    LocalChange,
    /// The service listens on loopback only.
    LoopbackOnly,
    /// The service uses D-Bus.
    MessageBus,
    /// The unit's program does not exist.
    MissingProgram,
    /// The unit mounts a file system.
    Mount,
    /// Entries of `/etc/hosts` or `/etc/resolv.conf` that engines mount their own files over.
    NameResolution,
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
    /// The service's user or group is in no account file.
    UnknownAccount,
    /// How the service is started is unknown.
    UnknownStart,
}

/// A difference between a container and the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CompatibilityIssue {
    /// Severity of the issue.
    pub severity: IssueSeverity,
    /// Affected service; `None` for the machine as a whole.
    pub service: Option<Name>,
    /// Kind of the issue for programs.
    pub kind: IssueKind,
    /// Observation that led to the issue.
    pub evidence: String,
    /// Recommended action.
    pub advice: &'static str,
}

/// Returns whether `value` needs no quoting in a Dockerfile.
///
/// A plain value has at most 4096 bytes, only ASCII letters, digits and `/._:@%+,=-`. The image
/// sets only plain variables and working directories; [`Command::Script`] sets all others.
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

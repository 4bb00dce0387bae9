//! Services of OpenRC and runit, and the type that System V scripts and supervisor use too.

use super::environment::{self, Variables};
use super::load::{list, read};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;
use std::fmt;

/// A service manager other than systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// System V init: links in run level directories to init scripts.
    SysV,
    /// OpenRC: run levels below `/etc/runlevels`.
    OpenRc,
    /// runit: `runsv` runs the file `run` of each service directory.
    Runit,
    /// supervisor: `supervisord` runs commands of its configuration.
    Supervisor,
}

/// A service that starts at boot. The command can contain secrets, so `Debug` omits it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherService {
    /// Service manager.
    pub manager: Manager,
    /// Name of the service in its manager.
    pub name: Vec<u8>,
    /// Script of the service, or the file that defines it, relative to the root.
    pub script: Vec<u8>,
    /// Command line, if the file states it. For OpenRC it is shell code with unexpanded
    /// variables.
    pub command: Option<Vec<u8>>,
    /// Absolute path of the PID file.
    pub pid_file: Option<Vec<u8>>,
    /// User name or UID; for OpenRC `user:group`.
    pub user: Option<Vec<u8>>,
    /// Working directory.
    pub directory: Option<Vec<u8>>,
    /// Environment variables: of supervisor's configuration, or of OpenRC's `/etc/conf.d`.
    pub environment: Variables,
    /// Description for users.
    pub description: Option<Vec<u8>>,
}

impl OtherService {
    /// Returns the words of the command without expanding variables.
    pub fn words(&self) -> Vec<Vec<u8>> {
        self.command.as_deref().map(super::words::split_relaxed).unwrap_or_default()
    }

    pub(super) fn new(manager: Manager, name: &[u8], script: Vec<u8>) -> Self {
        OtherService {
            manager,
            name: name.to_vec(),
            script,
            command: None,
            pid_file: None,
            user: None,
            directory: None,
            environment: Variables::default(),
            description: None,
        }
    }
}

impl fmt::Debug for OtherService {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = crate::model::escape::escape;
        write!(out, "{:?} {} by {}", self.manager, shown(&self.name), shown(&self.script))
    }
}

/// OpenRC run levels with services for containers. `sysinit` and `boot` only prepare the machine.
const OPENRC_LEVELS: &[&str] = &["etc/runlevels/default"];

/// Returns the services of OpenRC's default run level, by name.
pub fn openrc(root: &Root, findings: &mut Findings) -> Vec<OtherService> {
    let mut services = Vec::new();
    for level in OPENRC_LEVELS {
        for name in list(root, level.as_bytes(), findings) {
            let script = tree::join(b"etc/init.d", &name);
            let Some(text) = read(root, &script, findings) else { continue };
            let variables = assignments(&text);
            let mut service = OtherService::new(Manager::OpenRc, &name, script);
            let variable =
                |key: &str| variables.get(key.as_bytes()).filter(|value| !value.is_empty()).cloned();
            service.command = variable("command").map(|command| match variable("command_args") {
                Some(arguments) => [command, arguments].join(&b' '),
                None => command,
            });
            // Only the service's own name can be expanded without executing the script.
            let pid_file = variable("pidfile").map(|path| replace_name(&path, &name));
            service.pid_file = pid_file.filter(|path| !path.contains(&b'$'));
            service.user = variable("command_user");
            service.directory = variable("directory");
            service.description = variable("description").or_else(|| variable("name"));
            let conf = root.read(&tree::join(b"etc/conf.d", &name)).unwrap_or_default();
            service.environment = environment::parse_file(&conf);
            services.push(service);
        }
    }
    services
}

/// Returns the assignments at the start of a line in a shell script. For each name the last one
/// applies.
///
/// Values are unexpanded and without their outer quotes.
pub fn assignments(script: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut rest = script;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        let equals = line.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        if let Some(equals) = equals.filter(|&at| at > 0 && line[at] == b'=') {
            let value = shell_value(&rest[equals + 1..]);
            found.insert(line[..equals].to_vec(), value.to_vec());
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

/// Returns the first word: up to the closing quote, which can be on another line, or up to white
/// space.
fn shell_value(text: &[u8]) -> &[u8] {
    match text {
        [quote @ (b'"' | b'\''), tail @ ..] => {
            let end = tail.iter().position(|byte| byte == quote);
            end.map_or(b"", |end| &tail[..end])
        }
        _ => {
            let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b';');
            &text[..end.unwrap_or(text.len())]
        }
    }
}

/// Expands OpenRC's variables for the service name.
fn replace_name(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for variable in ["${RC_SVCNAME}", "$RC_SVCNAME", "${SVCNAME}", "$SVCNAME"] {
        if let Some(at) = memchr::memmem::find(&text, variable.as_bytes()) {
            text.splice(at..at + variable.len(), name.iter().copied());
        }
    }
    text
}

/// Service directories of `runsvdir` on Debian, on Void and of daemontools.
const RUNIT_DIRECTORIES: &[&str] = &["etc/service", "var/service", "etc/runit/runsvdir/default", "service"];

/// Returns runit's services that are not marked `down`, by name.
pub fn runit(root: &Root, findings: &mut Findings) -> Vec<OtherService> {
    let mut services = BTreeMap::new();
    for directory in RUNIT_DIRECTORIES {
        for name in list(root, directory.as_bytes(), findings) {
            let path = tree::join(directory.as_bytes(), &name);
            let target = root.read_link(&path).map(|target| tree::link_target(&path, &target));
            let path = target.unwrap_or(path);
            let has = |file: &[u8]| root.open_file(&tree::join(&path, file)).is_ok();
            // runsv(8): with a file `down`, runsv does not start the service.
            if name.starts_with(b".") || !has(b"run") || has(b"down") {
                continue;
            }
            let service = OtherService::new(Manager::Runit, &name, tree::join(&path, b"run"));
            services.entry(name).or_insert(service);
        }
    }
    services.into_values().collect()
}

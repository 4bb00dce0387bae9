//! Services that another manager than systemd starts: OpenRC, runit; and the type for those of System V and supervisor.

use super::environment::{self, Variables};
use super::load::{self, list, read};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;
use std::fmt;

/// Who starts a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Links of run levels to init scripts.
    SysV,
    /// OpenRC's run levels.
    OpenRc,
    /// runit's `runsv`, a directory with `run` for each.
    Runit,
    /// `supervisord`.
    Supervisor,
}

/// A service that is started at boot. The command may hold secrets, so the debugging form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherService {
    /// Who starts it.
    pub manager: Manager,
    /// Its name there.
    pub name: Vec<u8>,
    /// The script that is run, or the file that defines it; relative to the root.
    pub script: Vec<u8>,
    /// The command line, where the file tells it: of OpenRC in the shell's syntax, with variables as they are written.
    pub command: Option<Vec<u8>>,
    /// The file with the main process's number, absolute.
    pub pid_file: Option<Vec<u8>>,
    /// The user, a name or a number; of OpenRC `user:group`.
    pub user: Option<Vec<u8>>,
    /// The working directory.
    pub directory: Option<Vec<u8>>,
    /// Variables: of supervisor its environment, of OpenRC what `/etc/conf.d` sets.
    pub environment: Variables,
    /// A line for people.
    pub description: Option<Vec<u8>>,
}

impl OtherService {
    /// The words of the command, without variables being replaced.
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

/// OpenRC's run levels whose services a container may be; `sysinit` and `boot` are the machine's own.
const OPENRC_LEVELS: &[&str] = &["etc/runlevels/default"];

/// The services of OpenRC's default run level, by name.
pub fn openrc(root: &Root, findings: &mut Findings) -> Vec<OtherService> {
    let mut services = Vec::new();
    for level in OPENRC_LEVELS {
        for name in list(root, level.as_bytes(), findings) {
            let script = tree::join(b"etc/init.d", &name);
            let Some(text) = read(root, &script, findings) else { continue };
            let facts = assignments(&text);
            let mut service = OtherService::new(Manager::OpenRc, &name, script);
            let fact = |key: &str| facts.get(key.as_bytes()).filter(|value| !value.is_empty()).cloned();
            service.command = fact("command").map(|command| match fact("command_args") {
                Some(arguments) => [command, arguments].join(&b' '),
                None => command,
            });
            // Of what is computed, only the service's own name can be told.
            let pid_file = fact("pidfile").map(|path| replace_name(&path, &name));
            service.pid_file = pid_file.filter(|path| !path.contains(&b'$'));
            service.user = fact("command_user");
            service.directory = fact("directory");
            service.description = fact("description").or_else(|| fact("name"));
            let settings = root.read(&tree::join(b"etc/conf.d", &name)).unwrap_or_default();
            service.environment = environment::parse_file(&settings);
            services.push(service);
        }
    }
    services
}

/// The assignments of a shell script that stand at the beginning of a line, of several for a name the last.
///
/// The values are as they are written, without the quotes around them.
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

/// The first word of a text: what stands between quotes, over several lines too, or up to white space.
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

/// OpenRC's variables for a service's name, replaced.
fn replace_name(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for variable in ["${RC_SVCNAME}", "$RC_SVCNAME", "${SVCNAME}", "$SVCNAME"] {
        if let Some(at) = memchr::memmem::find(&text, variable.as_bytes()) {
            text.splice(at..at + variable.len(), name.iter().copied());
        }
    }
    text
}

/// Where `runsvdir` of Debian, Void and daemontools looks.
const RUNIT_DIRECTORIES: &[&str] = &["etc/service", "var/service", "etc/runit/runsvdir/default", "service"];

/// The services of runit that are not marked `down`, by name.
pub fn runit(root: &Root, findings: &mut Findings) -> Vec<OtherService> {
    let mut services = BTreeMap::new();
    for directory in RUNIT_DIRECTORIES {
        for name in list(root, directory.as_bytes(), findings) {
            let path = tree::join(directory.as_bytes(), &name);
            let target = root.read_link(&path).map(|target| load::absolute(directory.as_bytes(), &target));
            let path = target.unwrap_or(path);
            let has = |file: &[u8]| root.open_file(&tree::join(&path, file)).is_ok();
            if name.starts_with(b".") || !has(b"run") || has(b"down") {
                continue;
            }
            let service = OtherService::new(Manager::Runit, &name, tree::join(&path, b"run"));
            services.entry(name).or_insert(service);
        }
    }
    services.into_values().collect()
}

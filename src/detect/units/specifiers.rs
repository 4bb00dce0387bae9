//! `%i` and its like in unit files ("SPECIFIERS" in `systemd.unit(5)`).

use super::names;
use crate::detect::architecture;
use crate::system::root::Root;

/// What specifiers tell about the machine, and about the user whose service manager it is: root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host name.
    pub hostname: Vec<u8>,
    /// `/etc/machine-id`, if there is one.
    pub machine_id: Option<Vec<u8>>,
    /// The kernel's release, on a running machine.
    pub kernel: Option<Vec<u8>>,
    /// The architecture as systemd writes it (`x86-64`).
    pub architecture: Vec<u8>,
    /// Whom `%u`, `%h` and their like mean.
    pub user: Account,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: Vec<u8>,
    /// The number.
    pub uid: u32,
    /// The primary group's name.
    pub group: Vec<u8>,
    /// The primary group's number.
    pub gid: u32,
    /// The home directory.
    pub home: Vec<u8>,
    /// The login shell.
    pub shell: Vec<u8>,
}

impl Account {
    /// Root, as systemd takes it to be whatever `/etc/passwd` says (`get_home_dir`, `get_shell`).
    pub fn root() -> Self {
        let text = |text: &[u8]| text.to_vec();
        let (name, group) = (text(b"root"), text(b"root"));
        Account { name, uid: 0, group, gid: 0, home: text(b"/root"), shell: text(b"/bin/sh") }
    }
}

impl Host {
    /// What the machine's files tell. A machine without a name is `localhost`, as systemd has it.
    pub fn load(root: &Root) -> Self {
        let line = |path: &[u8]| {
            let text = root.read(path).ok()?;
            let line = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            line.into_iter().find(|line| !line.is_empty() && line[0] != b'#').map(<[u8]>::to_vec)
        };
        let kernel = root.is_live().then(|| rustix::system::uname().release().to_bytes().to_vec());
        // systemd asks the kernel, which may run other programs than the machine's; what the image has are the programs.
        let architecture = architecture::find(root).unwrap_or(architecture::OWN).systemd;
        Host {
            hostname: line(b"etc/hostname").unwrap_or_else(|| b"localhost".to_vec()),
            machine_id: line(b"etc/machine-id").filter(|id| id.len() == 32),
            kernel,
            architecture: architecture.into(),
            user: Account::root(),
        }
    }
}

/// Replaces the specifiers of one unit's values.
#[derive(Debug)]
pub struct Specifiers<'a> {
    unit: &'a [u8],
    host: &'a Host,
    /// The letters of those that could not be replaced, in order of appearance.
    pub unknown: Vec<u8>,
}

impl<'a> Specifiers<'a> {
    /// For the unit of this name.
    pub fn new(unit: &'a [u8], host: &'a Host) -> Self {
        Specifiers { unit, host, unknown: Vec::new() }
    }

    /// `text` with its specifiers replaced. One that is not known stays as it is written, as in systemd,
    /// and so do those that only a boot tells; their letters are kept in [`Specifiers::unknown`].
    pub fn expand(&mut self, text: &[u8]) -> Vec<u8> {
        let mut result = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match (byte, tail.split_first()) {
                (b'%', Some((&letter, tail))) => {
                    rest = tail;
                    match self.value(letter) {
                        Some(value) => result.extend(value),
                        None => {
                            if !self.unknown.contains(&letter) {
                                self.unknown.push(letter);
                            }
                            result.extend([b'%', letter]);
                        }
                    }
                }
                _ => result.push(byte),
            }
        }
        result
    }

    fn value(&self, letter: u8) -> Option<Vec<u8>> {
        let (unit, host) = (self.unit, self.host);
        let instance = names::instance(unit).unwrap_or_default();
        let prefix = names::prefix(unit);
        let last_part = memchr::memrchr(b'-', prefix).map_or(prefix, |dash| &prefix[dash + 1..]);
        let value: &[u8] = match letter {
            b'%' => b"%",
            b'C' => b"/var/cache",
            b'E' => b"/etc",
            b'L' => b"/var/log",
            b'S' => b"/var/lib",
            b'T' => b"/tmp",
            b'V' => b"/var/tmp",
            b't' => b"/run",
            b'i' => instance,
            b'I' => return Some(names::unescape(instance)),
            b'f' => {
                let name = if names::instance(unit).is_some() { instance } else { prefix };
                return Some(names::unescape_path(name));
            }
            b'n' => unit,
            b'N' => names::stem(unit),
            b'p' => prefix,
            b'P' => return Some(names::unescape(prefix)),
            b'j' => last_part,
            b'J' => return Some(names::unescape(last_part)),
            b'H' => &host.hostname,
            b'l' => host.hostname.split(|&byte| byte == b'.').next().unwrap_or_default(),
            b'm' => host.machine_id.as_deref()?,
            b'v' => host.kernel.as_deref()?,
            b'a' => &host.architecture,
            b'u' => &host.user.name,
            b'g' => &host.user.group,
            b'h' => &host.user.home,
            b's' => &host.user.shell,
            b'U' => return Some(host.user.uid.to_string().into_bytes()),
            b'G' => return Some(host.user.gid.to_string().into_bytes()),
            _ => return None,
        };
        Some(value.to_vec())
    }
}

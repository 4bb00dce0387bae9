//! Expands specifiers such as `%i` in unit files ("SPECIFIERS" in `systemd.unit(5)`).

use super::names;
use crate::detect::architecture;
use crate::system::root::Root;

/// Values of specifiers for the machine and for the user of the service manager, root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name.
    pub hostname: Vec<u8>,
    /// Content of `/etc/machine-id`, if the file exists.
    pub machine_id: Option<Vec<u8>>,
    /// Kernel release; `None` on a stopped machine.
    pub kernel: Option<Vec<u8>>,
    /// Architecture in systemd's notation (`x86-64`).
    pub architecture: Vec<u8>,
    /// User for `%u`, `%h` and similar specifiers.
    pub user: Account,
}

/// A user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: Vec<u8>,
    /// UID.
    pub uid: u32,
    /// Name of the primary group.
    pub group: Vec<u8>,
    /// Primary GID.
    pub gid: u32,
    /// Home directory.
    pub home: Vec<u8>,
    /// Login shell.
    pub shell: Vec<u8>,
}

impl Account {
    /// Returns root. Systemd uses fixed values for root and ignores `/etc/passwd`
    /// (`get_home_dir`, `get_shell`).
    pub fn root() -> Self {
        let text = |text: &[u8]| text.to_vec();
        let (name, group) = (text(b"root"), text(b"root"));
        Account { name, uid: 0, group, gid: 0, home: text(b"/root"), shell: text(b"/bin/sh") }
    }
}

impl Host {
    /// Reads the values from files. A machine without a host name is `localhost`, as in systemd.
    pub fn load(root: &Root) -> Self {
        let line = |path: &[u8]| {
            let text = root.read(path).ok()?;
            let line = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            line.into_iter().find(|line| !line.is_empty() && line[0] != b'#').map(<[u8]>::to_vec)
        };
        let kernel = root.is_live().then(|| rustix::system::uname().release().to_bytes().to_vec());
        // Systemd uses the kernel's architecture, which can differ from that of the executables.
        // The image contains only the executables.
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

/// An expander of specifiers for the values of one unit.
#[derive(Debug)]
pub struct Specifiers<'a> {
    unit: &'a [u8],
    host: &'a Host,
    /// Letters of unsupported specifiers, in order of appearance.
    pub unknown: Vec<u8>,
}

impl<'a> Specifiers<'a> {
    /// Creates an expander for the unit of this name.
    pub fn new(unit: &'a [u8], host: &'a Host) -> Self {
        Specifiers { unit, host, unknown: Vec::new() }
    }

    /// Expands the specifiers in `text`. Unknown ones stay as written, as in systemd. So do those
    /// that depend on a boot; [`Specifiers::unknown`] collects their letters.
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

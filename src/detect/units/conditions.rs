//! Evaluates the conditions of a unit (`Condition...=` and `Assert...=` of `systemd.unit(5)`) as a
//! boot of the machine would.

use super::load::Loaded;
use super::parse;
use super::patterns;
use super::specifiers::{Host, Specifiers};
use crate::glob::{Dialect, Glob};
use crate::model::escape::escape;
use crate::model::tree;
use crate::system::root::Root;
use rustix::fs::{FileType, Stat};
use std::io;

/// The conditions of a unit that decide whether it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Assignment that is not met, escaped: `ConditionPathExists=/etc/app.conf`.
    pub unmet: Option<String>,
    /// Assignments that the files of the machine do not decide, escaped.
    pub undecided: Vec<String>,
}

/// Paths whose content a boot creates, relative to the root.
const VOLATILE: &[&str] = &["dev", "proc", "run", "sys", "tmp", "var/run", "var/lock"];
/// Names that systemd ignores in a directory (`hidden_or_backup_file`).
const IGNORED_NAMES: &[&str] = &["lost+found", "aquota.user", "aquota.group"];
/// File name extensions that systemd ignores in a directory.
const IGNORED_EXTENSIONS: &[&str] = &[
    "rpmnew",
    "rpmsave",
    "rpmorig",
    "dpkg-old",
    "dpkg-new",
    "dpkg-tmp",
    "dpkg-dist",
    "dpkg-bak",
    "dpkg-backup",
    "dpkg-remove",
    "ucf-new",
    "ucf-old",
    "ucf-dist",
    "swp",
    "bak",
    "old",
    "new",
];
/// Values of `ConditionVirtualization=` that name containers.
const CONTAINERS: &[&str] = &[
    "container",
    "openvz",
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "rkt",
    "wsl",
    "proot",
    "pouch",
    "acrn",
];

impl Conditions {
    /// Evaluates the conditions of a unit.
    pub fn of(loaded: &Loaded, root: &Root, host: &Host) -> Self {
        let mut result = Conditions::default();
        for kind in ["Condition", "Assert"] {
            let (mut unmet, mut undecided) = (Vec::new(), Vec::new());
            // An alternative (`|`): the unit starts if one of them is met.
            let (mut alternatives, mut is_met) = (Vec::new(), false);
            for (key, value) in assignments(loaded, kind) {
                let mut value = value;
                let is_alternative = strip(&mut value, b'|');
                let is_negated = strip(&mut value, b'!');
                let parameter = Specifiers::new(&loaded.name, host).expand(value);
                let subject = key.strip_prefix(kind.as_bytes()).unwrap_or(key);
                let met = evaluate(subject, &parameter, root, host).map(|met| met != is_negated);
                let sign = if is_negated { "!" } else { "" };
                let text = format!("{}={sign}{}", escape(key), escape(&parameter));
                match (met, is_alternative) {
                    (Some(met), true) => {
                        is_met |= met;
                        alternatives.push((text, met));
                    }
                    (None, true) => {
                        undecided.push(text.clone());
                        alternatives.push((text, true));
                    }
                    (Some(false), false) => unmet.push(text),
                    (None, false) => undecided.push(text),
                    (Some(true), false) => {}
                }
            }
            // If one alternative is met, the others do not matter.
            if is_met {
                undecided.retain(|text| !alternatives.iter().any(|(other, _)| other == text));
            } else if !alternatives.is_empty() && alternatives.iter().all(|(_, met)| !met) {
                unmet.extend(alternatives.into_iter().map(|(text, _)| text));
            }
            result.unmet = result.unmet.or_else(|| unmet.into_iter().next());
            result.undecided.extend(undecided);
        }
        result
    }
}

/// Returns the conditions of a kind in order. An empty value resets all of the kind.
fn assignments<'a>(loaded: &'a Loaded, kind: &str) -> Vec<(&'a [u8], &'a [u8])> {
    let mut list = Vec::new();
    for (key, value) in loaded.unit.assignments("Unit") {
        if key.starts_with(kind.as_bytes()) {
            if value.is_empty() {
                list.clear();
            } else {
                list.push((key, value));
            }
        }
    }
    list
}

fn strip(value: &mut &[u8], sign: u8) -> bool {
    let rest = value.strip_prefix(&[sign]);
    *value = rest.map_or(*value, <[u8]>::trim_ascii_start);
    rest.is_some()
}

/// Returns whether a condition is met, or `None` if files do not decide it.
fn evaluate(subject: &[u8], parameter: &[u8], root: &Root, host: &Host) -> Option<bool> {
    if let Some(path) = parameter.strip_prefix(b"/") {
        return path_condition(subject, path, root);
    }
    match subject {
        b"Architecture" if parameter == b"native" => Some(true),
        b"Architecture" => Some(parameter == host.architecture),
        b"Host" => Some(is_host(parameter, host)),
        b"FirstBoot" => parse::boolean(parameter).map(|wanted| wanted == is_first_boot(root)),
        // The service manager of the machine runs as root.
        b"User" => Some(matches!(parameter, b"root" | b"0" | b"@system")),
        b"Group" if matches!(parameter, b"root" | b"0") => Some(true),
        b"Virtualization" => {
            let is_container = CONTAINERS.iter().any(|name| parameter == name.as_bytes());
            (is_container && has_kernel(root)).then_some(false)
        }
        // The first process of a machine has all capabilities.
        b"Capability" if has_kernel(root) => Some(true),
        b"KernelCommandLine" if root.is_live() => Some(is_on_command_line(parameter, root)),
        _ => None,
    }
}

/// Evaluates a condition about a path, relative to the root.
fn path_condition(subject: &[u8], path: &[u8], root: &Root) -> Option<bool> {
    let is_volatile = VOLATILE.iter().any(|place| tree::is_within(path, place.as_bytes()));
    if is_volatile && !root.is_live() {
        return None;
    }
    let is = |kind: FileType| move |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == kind;
    let is_absent =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let stat = root.stat(path);
    // An object that cannot be read decides nothing.
    if stat.as_ref().is_err_and(|cause| !is_absent(cause)) {
        return None;
    }
    Some(match subject {
        b"PathExists" => stat.is_ok(),
        // A brace expands to alternatives, which patterns of this program do not have.
        b"PathExistsGlob" if !path.contains(&b'{') => !patterns::matching(root, path).is_empty(),
        b"PathIsDirectory" => stat.is_ok_and(|stat| is(FileType::Directory)(&stat)),
        b"PathIsSymbolicLink" => root.read_link(path).is_ok(),
        b"DirectoryNotEmpty" => match root.list(path) {
            Ok(names) => names.iter().any(|name| !is_ignored(name)),
            Err(cause) if is_absent(&cause) => false,
            Err(_) => return None,
        },
        b"FileNotEmpty" => stat.is_ok_and(|stat| is(FileType::RegularFile)(&stat) && stat.st_size > 0),
        b"FileIsExecutable" => {
            stat.is_ok_and(|stat| is(FileType::RegularFile)(&stat) && stat.st_mode & 0o111 != 0)
        }
        b"PathIsMountPoint" | b"PathIsReadWrite" | b"PathIsEncrypted" if stat.is_err() => false,
        b"PathIsMountPoint" if path.is_empty() => true,
        _ => return None,
    })
}

/// Returns whether systemd ignores a name in a directory.
fn is_ignored(name: &[u8]) -> bool {
    let extension = memchr::memrchr(b'.', name).map(|dot| &name[dot + 1..]);
    name.starts_with(b".")
        || name.ends_with(b"~")
        || IGNORED_NAMES.iter().any(|ignored| name == ignored.as_bytes())
        || extension.is_some_and(|end| IGNORED_EXTENSIONS.iter().any(|ignored| end == ignored.as_bytes()))
}

/// Returns whether the machine has this ID, or a host name that matches the pattern.
fn is_host(parameter: &[u8], host: &Host) -> bool {
    let id: Vec<u8> = parameter.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_lowercase).collect();
    let is_id = id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit);
    if is_id {
        return host.machine_id.as_ref() == Some(&id);
    }
    Glob::new(&parameter.to_ascii_lowercase(), Dialect::Fnmatch).matches(&host.hostname.to_ascii_lowercase())
}

/// Returns whether the next boot is the first one (machine-id(5)).
fn is_first_boot(root: &Root) -> bool {
    let id = root.read(b"etc/machine-id").unwrap_or_default();
    matches!(id.trim_ascii(), b"" | b"uninitialized")
}

/// Returns whether the root has a kernel or its modules, so that it is not that of a container.
fn has_kernel(root: &Root) -> bool {
    let has = |directory: &[u8], start: &[u8]| {
        root.list(directory).unwrap_or_default().iter().any(|name| name.starts_with(start))
    };
    has(b"boot", b"vmlinu") || has(b"usr/lib/modules", b"") || has(b"lib/modules", b"")
}

/// Returns whether the kernel's command line has this word, or an assignment to this name.
fn is_on_command_line(parameter: &[u8], root: &Root) -> bool {
    let line = root.read(b"proc/cmdline").unwrap_or_default();
    line.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        let is_assignment = !parameter.contains(&b'=')
            && word.strip_prefix(parameter).is_some_and(|rest| rest.starts_with(b"="));
        word == parameter || is_assignment
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::units::Units;
    use crate::detect::units::machine::{TestRoot, host};
    use crate::model::findings::Findings;

    /// Evaluates the conditions of a unit in a root with some files.
    fn conditions(lines: &str) -> Conditions {
        let unit = format!("[Unit]\n{lines}\n[Service]\nExecStart=/bin/x\n");
        let machine = TestRoot::new(&[
            ("etc/systemd/system/x.service", unit.as_str()),
            ("etc/app/file", "content"),
            ("etc/app/empty", ""),
            ("etc/old/.hidden", "x"),
            ("etc/old/a.dpkg-old", "x"),
            ("etc/link", "-> /etc/app"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("boot/vmlinuz-6.1", "x"),
        ]);
        let mut findings = Findings::default();
        let units = Units::index(&machine.root, &mut findings);
        let loaded = units.load(b"x.service", &mut findings).unwrap();
        Conditions::of(&loaded, &machine.root, &host())
    }

    #[test]
    fn conditions_that_files_decide_are_met_or_not() {
        for (line, met) in [
            ("ConditionPathExists=/etc/app/absent", false),
            ("ConditionPathExists=!/etc/app/absent", true),
            ("ConditionPathExists=/etc/link/file", true),
            ("AssertPathExists=/etc/app/absent", false),
            ("ConditionPathExistsGlob=/etc/a*/f?le", true),
            ("ConditionPathExistsGlob=/etc/a*/nothing*", false),
            ("ConditionPathIsDirectory=/etc/link", true),
            ("ConditionPathIsDirectory=/etc/app/file", false),
            ("ConditionPathIsSymbolicLink=/etc/link", true),
            ("ConditionPathIsSymbolicLink=/etc/app", false),
            ("ConditionDirectoryNotEmpty=/etc/app", true),
            ("ConditionDirectoryNotEmpty=/etc/old", false),
            ("ConditionDirectoryNotEmpty=!/etc/absent", true),
            ("ConditionFileNotEmpty=/etc/app/file", true),
            ("ConditionFileNotEmpty=/etc/app/empty", false),
            ("ConditionFileIsExecutable=/etc/app/file", false),
            ("ConditionArchitecture=x86-64", true),
            ("ConditionArchitecture=riscv64", false),
            ("ConditionHost=VM.*.org", true),
            ("ConditionHost=other", false),
            ("ConditionHost=0123456789ABCDEF0123456789abcdef", true),
            ("ConditionFirstBoot=yes", false),
            ("ConditionFirstBoot=no", true),
            ("ConditionUser=root", true),
            ("ConditionUser=alice", false),
            ("ConditionVirtualization=!container", true),
            ("ConditionVirtualization=docker", false),
            ("ConditionCapability=CAP_SYS_TIME", true),
            ("ConditionPathExists=/absent\nConditionUser=", true),
            ("ConditionPathExists=|/absent\nConditionPathExists=|/etc/app", true),
            ("ConditionPathExists=|/absent\nConditionPathExists=|!/etc/app", false),
            ("ConditionPathExists=|/etc/app\nConditionPathExists=/absent", false),
            ("ConditionPathExists=| ! /absent\nConditionKernelCommandLine=|x", true),
        ] {
            let result = conditions(line);
            assert_eq!((result.unmet.is_none(), &*result.undecided), (met, &[][..]), "{line}");
        }
    }

    #[test]
    fn conditions_that_files_do_not_decide_are_listed() {
        for line in [
            "ConditionPathExists=/run/x",
            "ConditionVirtualization=vm",
            "ConditionKernelCommandLine=quiet",
            "ConditionMemory=1G",
            "ConditionNewKind=x",
            "ConditionPathIsMountPoint=/etc/app",
        ] {
            let result = conditions(line);
            assert_eq!((result.unmet, result.undecided), (None, vec![line.to_owned()]));
        }
        let both = conditions("ConditionMemory=|1G\nConditionPathExists=|/absent\nAssertPathExists=/absent");
        assert_eq!(both.unmet.as_deref(), Some("AssertPathExists=/absent"));
        assert_eq!(both.undecided, ["ConditionMemory=1G"]);
    }
}

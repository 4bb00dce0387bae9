//! Finds units of users, which a service manager of each user starts ("USER UNIT SEARCH PATH" in
//! `systemd.unit(5)`), and scripts that an init system runs at boot.

use super::load::list;
use super::names;
use crate::detect::accounts::Accounts;
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;

/// A unit that a user enabled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserUnit {
    /// Name of the unit.
    pub name: Vec<u8>,
    /// User whose service manager starts it; `None` if that of every user does.
    pub user: Option<Vec<u8>>,
    /// Whether it starts at boot (`loginctl enable-linger`), or else when the user logs in.
    pub at_boot: bool,
}

/// Directories below a home directory in which users enable units.
const OWN_DIRECTORIES: &[&str] = &[".config/systemd/user", ".local/share/systemd/user"];
/// Directory in which administrators enable units for all users. The units of
/// `/usr/lib/systemd/user` belong to login sessions.
const GLOBAL_DIRECTORY: &[u8] = b"etc/systemd/user";
/// A file per user whose service manager starts at boot (`systemd-logind.service(8)`).
const LINGER: &[u8] = b"var/lib/systemd/linger";

/// Returns the units that users enabled, sorted. An unreadable directory is a loss.
pub fn user_units(root: &Root, accounts: &Accounts, findings: &mut Findings) -> Vec<UserUnit> {
    let lingering = list(root, LINGER, findings);
    let mut units = Vec::new();
    for account in accounts.users() {
        let at_boot = lingering.contains(&account.name);
        let home = account.home.strip_prefix(b"/").unwrap_or(&account.home);
        for directory in OWN_DIRECTORIES {
            let directory = tree::join(home, directory.as_bytes());
            for name in wanted(root, &directory, findings) {
                units.push(UserUnit { name, user: Some(account.name.clone()), at_boot });
            }
        }
    }
    let at_boot = !lingering.is_empty();
    for name in wanted(root, GLOBAL_DIRECTORY, findings) {
        units.push(UserUnit { name, user: None, at_boot });
    }
    units.sort();
    units.dedup();
    units
}

/// Returns the units in the `.wants/` and `.requires/` directories of a directory.
fn wanted(root: &Root, directory: &[u8], findings: &mut Findings) -> Vec<Vec<u8>> {
    let names = list(root, directory, findings).into_iter();
    let links = names.filter(|name| name.ends_with(b".wants") || name.ends_with(b".requires"));
    let units = links.flat_map(|name| list(root, &tree::join(directory, &name), findings));
    units.filter(|name| names::unit_type(name).is_some()).collect()
}

/// Scripts that `rc-local.service` and other init systems run at boot: on Debian, Red Hat and SUSE.
const BOOT_SCRIPTS: &[&str] = &[
    "etc/rc.local",
    "etc/rc.d/rc.local",
    "etc/init.d/boot.local",
    "etc/init.d/after.local",
    "etc/rc.d/rc.M",
];
/// Directories with scripts of the same purpose, and the ending of those that run: OpenRC.
const BOOT_DIRECTORIES: &[(&str, &str)] = &[("etc/local.d", ".start")];

/// Returns the boot scripts that are executable and contain a command, relative to the root.
///
/// On Red Hat, `rc.local` is a link to `rc.d/rc.local`; the result contains the file only.
pub fn boot_scripts(root: &Root, findings: &mut Findings) -> Vec<Vec<u8>> {
    let mut scripts: Vec<Vec<u8>> = BOOT_SCRIPTS.iter().map(|path| path.as_bytes().to_vec()).collect();
    for (directory, ending) in BOOT_DIRECTORIES {
        let names = list(root, directory.as_bytes(), findings).into_iter();
        let names = names.filter(|name| name.ends_with(ending.as_bytes()));
        scripts.extend(names.map(|name| tree::join(directory.as_bytes(), &name)));
    }
    scripts.retain(|path| {
        let is_executable = root.stat(path).is_ok_and(|stat| stat.st_mode & 0o111 != 0);
        let is_link = root.read_link(path).is_ok();
        // A script that cannot be read can contain a command.
        is_executable && !is_link && root.read(path).map_or(true, |text| has_command(&text))
    });
    scripts
}

/// Whether a script does more than to end: distributions install it with comments and `exit 0`.
fn has_command(script: &[u8]) -> bool {
    let lines = script.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.into_iter().any(|line| {
        let is_idle = line.is_empty()
            || line.starts_with(b"#")
            || line.starts_with(b"exit")
            || matches!(line, b":" | b"true" | b"touch /var/lock/subsys/local");
        !is_idle
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixtures::tree;
    use crate::model::escape::escape;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn user_units_are_found_in_each_directory() {
        let (_dir, root) = tree(&[
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\na:x:1:1::/home/a:/bin/sh\nb:x:2:2::/srv/b:/bin/sh\n"),
            ("home/a/.config/systemd/user/default.target.wants/bot.service", ""),
            ("home/a/.config/systemd/user/idle.service", ""),
            ("srv/b/.local/share/systemd/user/timers.target.wants/job.timer", ""),
            ("etc/systemd/user/default.target.wants/agent.socket", ""),
            ("var/lib/systemd/linger/a", ""),
        ]);
        let units = user_units(&root, &Accounts::load(&root), &mut Findings::default());
        let shown = units.iter().map(|unit| {
            let user = unit.user.as_deref().map_or("all".to_owned(), escape);
            format!("{} {user} {}", escape(&unit.name), unit.at_boot)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            ["agent.socket all true", "bot.service a true", "job.timer b false"]
        );
    }

    #[test]
    fn boot_scripts_without_command_are_left_out() {
        let (dir, root) = tree(&[
            ("etc/rc.d/rc.local", "#!/bin/sh\n/opt/app &\n"),
            ("etc/init.d/boot.local", "#!/bin/sh\n# nothing\n\nexit 0\n"),
            ("etc/init.d/after.local", "#!/bin/sh\n/opt/not-executable\n"),
            ("etc/local.d/app.start", "/opt/app\n"),
            ("etc/local.d/README", "text\n"),
        ]);
        symlink("rc.d/rc.local", dir.path().join("etc/rc.local")).unwrap();
        for path in ["etc/rc.d/rc.local", "etc/init.d/boot.local", "etc/local.d/app.start"] {
            std::fs::set_permissions(dir.path().join(path), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let scripts = boot_scripts(&root, &mut Findings::default());
        assert_eq!(scripts, [b"etc/rc.d/rc.local".to_vec(), b"etc/local.d/app.start".to_vec()]);
    }
}

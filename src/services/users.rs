//! Resolves the user that a service runs as. An unknown account never becomes root.

use super::model::User;
use super::survey::{Candidate, Survey};
use crate::detect::accounts::Account;
use crate::detect::units::exec_settings::{DirectoryKind, ExecSettings};
use crate::model::escape;
use crate::system::root::Root;
use std::collections::BTreeSet;

/// UID and GID without permissions, which the kernel uses for IDs that it cannot map.
pub(super) const OVERFLOW: u32 = 65534;

/// Result of resolving a service's user and groups.
pub(super) struct Identity<'a> {
    /// User of the service; `None` if it starts as root in root's group.
    pub(super) user: Option<User>,
    /// Account of the user, if an account file has it.
    pub(super) account: Option<&'a Account>,
    /// Settings with an account that no file of the machine has, such as `User=ldapuser`.
    pub(super) unknown: Vec<String>,
}

/// Resolves `User=`, `Group=` and `SupplementaryGroups=` of a unit, or the user of another manager.
///
/// The first source that knows the user counts: account files, a number, the running process, the
/// owner of the state directory (`DynamicUser=`). If all fail, the overflow UID is used.
pub(super) fn resolve<'a>(
    candidate: &Candidate<'_>,
    survey: &'a Survey<'_>,
    root: &Root,
    refuses_root: bool,
) -> Identity<'a> {
    let accounts = &survey.accounts;
    let settings = candidate.service.as_ref().map(|service| &service.settings);
    let process = candidate.main().map(|process| {
        let credentials = &process.credentials;
        let gid = credentials.group.effective;
        let groups = credentials.groups.iter().copied().filter(|group| *group != gid).collect();
        User { uid: credentials.user.effective, gid, groups }
    });
    // A process that still is root says nothing about the user that it will have.
    let process = process.filter(|user| user.uid != 0);
    let named = settings.and_then(|settings| settings.user.as_deref());
    let named = named.or_else(|| candidate.other.as_ref().and_then(|other| other.user.as_deref()));
    let account = named.and_then(|name| accounts.user(name));
    let mut unknown = Vec::new();
    let mut user = match (named, account) {
        (_, Some(account)) => {
            let mut groups = accounts.groups_of(&account.name);
            groups.remove(&account.gid);
            User { uid: account.uid, gid: account.gid, groups }
        }
        (Some(name), None) if let Some(uid) = number(name) => {
            process.filter(|user| user.uid == uid).unwrap_or(User { uid, gid: uid, groups: BTreeSet::new() })
        }
        (_, None) if settings.is_some_and(|settings| settings.dynamic_user) => {
            process.or_else(|| state_owner(settings?, root)).unwrap_or(overflow_user())
        }
        (Some(name), None) => process.unwrap_or_else(|| {
            unknown.push(format!("User={}", escape::escape(name)));
            overflow_user()
        }),
        // Without User=, a service manager starts the service as root, and the service changes its
        // user later. Only a daemon that refuses root must start as its user.
        (None, None) => {
            let is_managed = candidate.service.is_some() || candidate.other.is_some();
            match process.filter(|_| refuses_root || !is_managed) {
                Some(user) => return Identity { user: Some(user), account, unknown },
                None => User { uid: 0, gid: 0, groups: BTreeSet::new() },
            }
        }
    };
    if let Some(settings) = settings {
        add_groups(&mut user, settings, survey, &mut unknown);
    }
    // Root with a group of its own is not the engine's default user (Group= without User=).
    let is_default = user.uid == 0 && user.gid == 0;
    Identity { user: Some(user).filter(|_| !is_default), account, unknown }
}

/// Sets the groups of the unit.
fn add_groups(user: &mut User, settings: &ExecSettings, survey: &Survey<'_>, unknown: &mut Vec<String>) {
    if let Some(name) = settings.group.as_deref() {
        match survey.accounts.group(name) {
            Some(gid) => {
                // systemd gives the groups of an account only with User=.
                if user.uid != 0 {
                    user.groups.insert(user.gid);
                }
                user.gid = gid;
            }
            None => {
                unknown.push(format!("Group={}", escape::escape(name)));
                // Root's group never replaces another group.
                user.gid = if user.gid == 0 { OVERFLOW } else { user.gid };
            }
        }
    }
    for name in &settings.supplementary_groups {
        match survey.accounts.group(name) {
            Some(gid) => drop(user.groups.insert(gid)),
            None => unknown.push(format!("SupplementaryGroups={}", escape::escape(name))),
        }
    }
    user.groups.remove(&user.gid);
}

/// Returns the owner of the first persistent directory of the unit that root does not own.
fn state_owner(settings: &ExecSettings, root: &Root) -> Option<User> {
    let kinds = [DirectoryKind::State, DirectoryKind::Cache, DirectoryKind::Logs];
    let directories = settings.directories.iter().filter(|directory| kinds.contains(&directory.kind));
    let owners = directories.filter_map(|directory| root.stat(&directory.path).ok());
    let owner = owners.map(|stat| (stat.st_uid, stat.st_gid)).find(|(uid, _)| *uid != 0);
    owner.map(|(uid, gid)| User { uid, gid, groups: BTreeSet::new() })
}

fn overflow_user() -> User {
    User { uid: OVERFLOW, gid: OVERFLOW, groups: BTreeSet::new() }
}

/// Returns the UID of a user name or a number.
pub(super) fn uid(name: &[u8], survey: &Survey<'_>) -> Option<u32> {
    survey.accounts.user(name).map(|account| account.uid).or_else(|| number(name))
}

/// Parses a UID. 65535 and 4294967295 mean "no user" (systemd's user-util.c).
fn number(name: &[u8]) -> Option<u32> {
    let uid = std::str::from_utf8(name).ok()?.parse().ok()?;
    (uid != u32::from(u16::MAX) && uid != u32::MAX).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_reserved_uid_returns_none() {
        assert_eq!(number(b"1234"), Some(1234));
        for name in ["65535", "4294967295", "4294967296", "-1", "svcad", ""] {
            assert_eq!(number(name.as_bytes()), None, "{name}");
        }
    }
}

//! Reads users and groups from the machine's files as bytes (`passwd(5)`, `group(5)`).
//!
//! Does not use the C library, because it would load name-service modules of the machine.

use crate::model::findings::{self, Findings};
use crate::model::manifest::Names;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the names of all users and groups by UID and GID. If an ID has several names, returns
/// the first, as `getpwuid(3)` does.
pub fn names(root: &Root, findings: &mut Findings) -> Names {
    Names {
        users: names_by_id(&read(root, b"etc/passwd", findings)),
        groups: names_by_id(&read(root, b"etc/group", findings)),
    }
}

/// Users and groups by name, as units name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<Vec<u8>, Account>,
    groups: BTreeMap<Vec<u8>, (u32, Vec<Vec<u8>>)>,
}

/// A line of `passwd(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: Vec<u8>,
    /// UID.
    pub uid: u32,
    /// GID of the primary group.
    pub gid: u32,
    /// Absolute path of the home directory.
    pub home: Vec<u8>,
    /// Login shell.
    pub shell: Vec<u8>,
}

impl Accounts {
    /// Reads `etc/passwd` and `etc/group`. Ignores read errors, because [`names`] reports them.
    pub fn load(root: &Root) -> Self {
        let text = |path: &[u8]| root.read(path).unwrap_or_default();
        let (passwd, group) = (text(b"etc/passwd"), text(b"etc/group"));
        let users = lines(&passwd).filter_map(|fields| {
            let [name, _, uid, gid, _, home, shell, ..] = fields[..] else { return None };
            let (uid, gid) = (number(uid)?, number(gid)?);
            let account = Account { name: name.into(), uid, gid, home: home.into(), shell: shell.into() };
            Some((name.to_vec(), account))
        });
        let groups = lines(&group).filter_map(|fields| {
            let [name, _, gid, members, ..] = fields[..] else { return None };
            let members = members.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
            Some((name.to_vec(), (number(gid)?, members)))
        });
        Accounts { users: users.collect(), groups: groups.collect() }
    }

    /// Returns all users, sorted by name.
    pub fn users(&self) -> impl Iterator<Item = &Account> {
        self.users.values()
    }

    /// Returns the user with this name or UID.
    pub fn user(&self, name: &[u8]) -> Option<&Account> {
        let by_number = || number(name).and_then(|uid| self.users.values().find(|user| user.uid == uid));
        self.users.get(name).or_else(by_number)
    }

    /// Returns the GID of the group with this name or GID. 65535 and 4294967295 mean "no group"
    /// (systemd's user-util.c).
    pub fn group(&self, name: &[u8]) -> Option<u32> {
        let by_number = || number(name).filter(|gid| *gid != u32::from(u16::MAX) && *gid != u32::MAX);
        self.groups.get(name).map(|(gid, _)| *gid).or_else(by_number)
    }

    /// Returns the GIDs of the groups that list this user as a member.
    pub fn groups_of(&self, user: &[u8]) -> BTreeSet<u32> {
        let is_member = |members: &Vec<Vec<u8>>| members.iter().any(|member| member == user);
        self.groups.values().filter(|(_, members)| is_member(members)).map(|(gid, _)| *gid).collect()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':').collect())
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns home directories, relative to the root: those of all accounts, and `root` and `home/*`
/// for deleted accounts.
pub fn homes(root: &Root, findings: &mut Findings) -> Vec<Vec<u8>> {
    let passwd = read(root, b"etc/passwd", findings);
    let listed = passwd.split(|&byte| byte == b'\n').filter_map(|line| {
        let home = line.split(|&byte| byte == b':').nth(5)?.strip_prefix(b"/")?;
        let home = home.strip_suffix(b"/").unwrap_or(home);
        // The result is used as a pattern, so a pattern character would match other directories.
        let is_plain = !home.is_empty() && !home.iter().any(|byte| b"*?[{\\".contains(byte));
        is_plain.then(|| home.to_vec())
    });
    let usual = [real(root, b"root"), tree::join(&real(root, b"home"), b"*")];
    let listed: Vec<Vec<u8>> = listed.collect();
    let led_to =
        listed.iter().map(|home| real(root, home)).filter(|home| !home.is_empty()).collect::<Vec<_>>();
    let homes: BTreeSet<Vec<u8>> =
        listed.into_iter().chain(led_to).chain(usual).chain([b"root".to_vec(), b"home/*".to_vec()]).collect();
    homes.into_iter().collect()
}

/// Returns a path with all symbolic links resolved, relative to the root. For example, `/home` can
/// be a link to a larger disk.
pub fn real(root: &Root, path: &[u8]) -> Vec<u8> {
    tree::resolve(path, |link| root.read_link(link).ok())
}

fn read(root: &Root, path: &[u8], findings: &mut Findings) -> Vec<u8> {
    root.read(path).unwrap_or_else(|cause| {
        findings.note(findings::Kind::Accounts, path, format!("owners have no names: {cause}"));
        Vec::new()
    })
}

fn names_by_id(text: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let mut names = BTreeMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
        if let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
            names.entry(id).or_insert_with(|| name.to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_id_returns_first_name_and_skips_invalid_lines() {
        let names = names_by_id(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n+::::::\nj\xf6rg:x:7:7::/home/j:\nbad:x:y:\n",
        );
        assert_eq!(names, BTreeMap::from([(0, b"root".to_vec()), (7, b"j\xf6rg".to_vec())]));
    }

    #[test]
    fn homes_include_all_accounts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "a:x:1:1::/srv/a/:\nb:x:2:2::/:\nc:x:3:3::/odd*:\n")
            .unwrap();
        let homes = homes(&Root::open(dir.path()).unwrap(), &mut Findings::default());
        assert_eq!(homes, [b"home/*".to_vec(), b"root".to_vec(), b"srv/a".to_vec()]);
    }

    #[test]
    fn homes_symlinks_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let link =
            |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("data/people")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "a:x:1:1::/home/a:\nb:x:2:2::/loop/b:\n").unwrap();
        link("/data/people", "home");
        link("../../away/./a/", "data/people/a");
        link("loop", "loop");
        let homes = homes(&Root::open(dir.path()).unwrap(), &mut Findings::default());
        let homes: Vec<&str> = homes.iter().map(|home| std::str::from_utf8(home).unwrap()).collect();
        assert_eq!(homes, ["away/a", "data/people/*", "home/*", "home/a", "loop/b", "root"]);
    }
}

//! Users and groups from the machine's own files, read as bytes (`passwd(5)`, `group(5)`).
//!
//! Never through the C library: its name-service modules belong to the machine.

use crate::model::findings::{self, Findings};
use crate::model::manifest::Names;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Names of all users and groups by number; of several names for a number the first, as `getpwuid(3)` answers.
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
    /// Its name.
    pub name: Vec<u8>,
    /// Its number.
    pub uid: u32,
    /// Its primary group's number.
    pub gid: u32,
    /// Its home directory, absolute.
    pub home: Vec<u8>,
    /// Its shell.
    pub shell: Vec<u8>,
}

impl Accounts {
    /// Reads `etc/passwd` and `etc/group`; what cannot be read has been told by [`names`].
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

    /// The user with this name or number.
    pub fn user(&self, name: &[u8]) -> Option<&Account> {
        let by_number = || number(name).and_then(|uid| self.users.values().find(|user| user.uid == uid));
        self.users.get(name).or_else(by_number)
    }

    /// The number of the group with this name or number.
    pub fn group(&self, name: &[u8]) -> Option<u32> {
        self.groups.get(name).map(|(gid, _)| *gid).or_else(|| number(name))
    }

    /// The numbers of the groups that have this user as a member.
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

/// Home directories, relative to the root: of every account, and the usual places of accounts that are gone.
pub fn homes(root: &Root, findings: &mut Findings) -> Vec<Vec<u8>> {
    let passwd = read(root, b"etc/passwd", findings);
    let listed = passwd.split(|&byte| byte == b'\n').filter_map(|line| {
        let home = line.split(|&byte| byte == b':').nth(5)?.strip_prefix(b"/")?;
        let home = home.strip_suffix(b"/").unwrap_or(home);
        // A pattern character would make a rule for other directories of it.
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

/// Where a directory lies if links lead to it, as `/home` to a larger disk: files have no other name there.
fn real(root: &Root, path: &[u8]) -> Vec<u8> {
    /// As many as Linux follows (`path_resolution(7)`).
    const MOST_LINKS: usize = 40;
    let components =
        |path: &[u8]| path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut real, mut rest, mut links) = (Vec::new(), components(path), 0);
    while let Some(name) = rest.pop() {
        let next = tree::join(&real, &name);
        match &*name {
            b"" | b"." => {}
            b".." => real = tree::parent(&real).to_vec(),
            _ => match root.read_link(&next) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    rest.extend(components(&target));
                }
                _ => real = next,
            },
        }
    }
    real
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
    fn the_first_name_of_a_number_counts_and_odd_lines_are_passed_over() {
        let names = names_by_id(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n+::::::\nj\xf6rg:x:7:7::/home/j:\nbad:x:y:\n",
        );
        assert_eq!(names, BTreeMap::from([(0, b"root".to_vec()), (7, b"j\xf6rg".to_vec())]));
    }

    #[test]
    fn homes_are_those_of_all_accounts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "a:x:1:1::/srv/a/:\nb:x:2:2::/:\nc:x:3:3::/odd*:\n")
            .unwrap();
        let homes = homes(&Root::open(dir.path()).unwrap(), &mut Findings::default());
        assert_eq!(homes, [b"home/*".to_vec(), b"root".to_vec(), b"srv/a".to_vec()]);
    }

    #[test]
    fn homes_are_also_where_links_lead() {
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

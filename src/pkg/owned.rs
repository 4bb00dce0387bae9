//! Every path that installed packages own, in little memory.

use super::aliases::{Aliases, normal};
use super::dpkg::admin::{Diversion, lines};
use super::dpkg::status::Conffile;
use crate::model::escape::unhex;
use crate::model::problem::{Problem, note};
use crate::model::tree::Md5;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// What is known about an owned path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    /// Indices into [`Catalog::packages`](super::Catalog::packages), ascending.
    pub packages: &'a [u32],
    /// Digest of the content as shipped; `None` for what is no regular file, where the package records none, and where
    /// its owners disagree.
    pub md5: Option<Md5>,
    /// A configuration file of dpkg's.
    pub conffile: bool,
    /// A configuration file that the installed version does not ship any more.
    pub obsolete: bool,
    /// Shipped under another name and moved here by a diversion.
    pub diverted: bool,
}

/// Map from path (relative to the root, in the tree's own names) to owner and digest; about 45 bytes an entry and its name.
#[derive(Clone, Debug, Default)]
pub struct OwnedFiles {
    /// All names, sorted.
    names: Vec<u8>,
    entries: Vec<Entry>,
    owners: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: usize,
    length: u32,
    first_owner: u32,
    owners: u32,
    facts: Facts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    md5: Md5,
    flags: u8,
}

const HAS_MD5: u8 = 1;
const CONFFILE: u8 = 2;
const OBSOLETE: u8 = 4;
const DIVERTED: u8 = 8;
const DISAGREE: u8 = 16;

impl OwnedFiles {
    /// What is known about a path, or `None` if no package owns it.
    pub fn get(&self, path: &[u8]) -> Option<Owned<'_>> {
        let found = self.entries.binary_search_by(|entry| self.name(entry).cmp(path)).ok()?;
        Some(self.owned(&self.entries[found]))
    }

    /// All paths, sorted bytewise.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Owned<'_>)> {
        self.entries.iter().map(|entry| (self.name(entry), self.owned(entry)))
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no path is owned.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Joins the packages' files.
    pub(super) fn join(packages: &[PackageFiles]) -> Self {
        let mut order: Vec<(u32, u32)> =
            Vec::with_capacity(packages.iter().map(|files| files.records.len()).sum());
        for (file, files) in packages.iter().enumerate() {
            order.extend((0..files.records.len()).map(|record| (file as u32, record as u32)));
        }
        let path = |&(file, record): &(u32, u32)| packages[file as usize].path(record as usize);
        order.par_sort_unstable_by(|a, b| {
            let owner = |item: &(u32, u32)| packages[item.0 as usize].package;
            path(a).cmp(path(b)).then_with(|| (owner(a), a.1).cmp(&(owner(b), b.1)))
        });
        let mut owned = OwnedFiles::default();
        for item in &order {
            let files = &packages[item.0 as usize];
            owned.push(path(item), files.package, files.records[item.1 as usize].facts);
        }
        owned.names.shrink_to_fit();
        owned.entries.shrink_to_fit();
        owned.owners.shrink_to_fit();
        owned
    }

    /// Appends a path that is not less than the last one.
    fn push(&mut self, path: &[u8], package: u32, facts: Facts) {
        let same = self.entries.last().is_some_and(|entry| self.name(entry) == path);
        if !same {
            let (name, first_owner) = (self.names.len(), self.owners.len() as u32);
            self.names.extend_from_slice(path);
            self.entries.push(Entry { name, length: path.len() as u32, first_owner, owners: 0, facts });
        }
        let Some(entry) = self.entries.last_mut() else { return };
        if self.owners[entry.first_owner as usize..].last() != Some(&package) {
            self.owners.push(package);
            entry.owners += 1;
        }
        entry.facts = entry.facts.and(facts);
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name..entry.name + entry.length as usize]
    }

    fn owned(&self, entry: &Entry) -> Owned<'_> {
        let Facts { md5, flags } = entry.facts;
        let owners = entry.first_owner as usize;
        Owned {
            packages: &self.owners[owners..owners + entry.owners as usize],
            md5: (flags & (HAS_MD5 | DISAGREE) == HAS_MD5).then_some(md5),
            conffile: flags & CONFFILE != 0,
            obsolete: flags & OBSOLETE != 0,
            diverted: flags & DIVERTED != 0,
        }
    }
}

impl Facts {
    /// What two owners say of one path.
    fn and(self, other: Facts) -> Facts {
        let both = self.flags & other.flags & HAS_MD5 != 0;
        let disagree = if both && self.md5 != other.md5 { DISAGREE } else { 0 };
        let md5 = if self.flags & HAS_MD5 != 0 { self.md5 } else { other.md5 };
        // Obsolete for one owner is not obsolete while another one ships it.
        let obsolete = self.flags & other.flags & OBSOLETE;
        Facts { md5, flags: ((self.flags | other.flags | disagree) & !OBSOLETE) | obsolete }
    }
}

/// The files of one package before they are joined with all others'.
#[derive(Debug, Default)]
pub(super) struct PackageFiles {
    package: u32,
    names: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    name: u32,
    length: u32,
    facts: Facts,
}

/// What applies to all packages alike.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) aliases: &'a Aliases,
    /// By the path that is diverted.
    pub(super) diversions: &'a HashMap<&'a [u8], &'a Diversion>,
}

/// The package that a list of files is read for.
pub(super) struct Owner<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
    /// Their paths are canonical.
    pub(super) conffiles: &'a [Conffile],
}

impl PackageFiles {
    /// From the content of `.list` and the digests of `.md5sums`.
    pub(super) fn read(
        list: &[u8],
        md5sums: &Md5Sums<'_>,
        owner: &Owner<'_>,
        rules: Rules<'_>,
    ) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut files = PackageFiles { package: owner.index, ..Self::default() };
        files.names.reserve(list.len());
        let conffiles: HashMap<&[u8], &Conffile> = owner.conffiles.iter().map(|c| (&*c.path, c)).collect();
        let mut listed = HashSet::new();
        for (index, line) in lines(list).enumerate() {
            let Some(path) = normal(line).filter(|_| line.first() == Some(&b'/')) else {
                note(&mut problems, index + 1, "not an absolute path");
                continue;
            };
            let path = canonical(path, rules.aliases);
            let conffile = conffiles.get(&*path);
            if conffile.is_some() {
                listed.insert(path.to_vec());
            }
            let md5 = conffile.map_or_else(|| md5sums.get(&*path).copied(), |conffile| conffile.md5);
            files.push(&path, md5, conffile.copied(), owner, rules);
        }
        for conffile in owner.conffiles {
            if !conffile.remove_on_upgrade && !listed.contains(&*conffile.path) {
                files.push(&conffile.path, conffile.md5, Some(conffile), owner, rules);
            }
        }
        (files, problems)
    }

    fn push(
        &mut self,
        path: &[u8],
        md5: Option<Md5>,
        conffile: Option<&Conffile>,
        owner: &Owner<'_>,
        rules: Rules<'_>,
    ) {
        let moved =
            rules.diversions.get(path).filter(|diversion| diversion.by.as_deref() != Some(owner.name));
        let path = moved.map_or(path, |diversion| &diversion.to);
        let flag = |flag, set| if set { flag } else { 0 };
        let flags = flag(HAS_MD5, md5.is_some())
            | flag(CONFFILE, conffile.is_some())
            | flag(OBSOLETE, conffile.is_some_and(|conffile| conffile.obsolete))
            | flag(DIVERTED, moved.is_some());
        // NOTE(u32): a list is at most 256 MiB; paths that diversions lengthen beyond 4 GiB are left out.
        let (Ok(name), Ok(length)) = (u32::try_from(self.names.len()), u32::try_from(path.len())) else {
            return;
        };
        self.names.extend_from_slice(path);
        self.records.push(Record { name, length, facts: Facts { md5: md5.unwrap_or_default(), flags } });
    }

    fn path(&self, record: usize) -> &[u8] {
        let Record { name, length, .. } = self.records[record];
        let range: Range<usize> = name as usize..name as usize + length as usize;
        &self.names[range]
    }
}

/// The digests of one package by canonical path.
pub type Md5Sums<'a> = HashMap<Cow<'a, [u8]>, Md5>;

/// The lines `digest  path` of a `.md5sums` file (deb-md5sums(5)); a path may begin with `/` or `./`.
pub fn parse_md5sums<'a>(bytes: &'a [u8], aliases: &Aliases) -> (Md5Sums<'a>, Vec<Problem>) {
    let mut sums = Md5Sums::with_capacity(bytes.len() / 64);
    let mut problems = Vec::new();
    for (index, line) in lines(bytes).enumerate() {
        match read_md5sum(line) {
            Some((path, md5)) => {
                sums.insert(canonical(path, aliases), md5);
            }
            None => note(&mut problems, index + 1, "not a digest and a path"),
        }
    }
    (sums, problems)
}

fn read_md5sum(line: &[u8]) -> Option<(Cow<'_, [u8]>, Md5)> {
    let (digest, rest) = line.split_at_checked(32)?;
    // The second character is `*` where md5sum wrote in binary mode.
    let path = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let path = normal(path).filter(|path| !path.is_empty())?;
    Some((path, unhex(digest)?))
}

pub(super) fn canonical<'a>(path: Cow<'a, [u8]>, aliases: &Aliases) -> Cow<'a, [u8]> {
    match path {
        Cow::Borrowed(path) => aliases.canonical(path),
        Cow::Owned(path) => Cow::Owned(aliases.canonical(&path).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conffile(path: &str, digit: &str, obsolete: bool) -> Conffile {
        let md5 = unhex(digit.repeat(32).as_bytes());
        Conffile { path: path.as_bytes().into(), md5, obsolete, remove_on_upgrade: false }
    }

    /// `path owners first-digit flags` of every entry.
    fn show(owned: &OwnedFiles) -> Vec<String> {
        let one = |(path, o): (&[u8], Owned<'_>)| {
            let digit = o.md5.map_or("-".to_owned(), |md5| format!("{:x}", md5[0] >> 4));
            let flags: String = [(o.conffile, 'c'), (o.obsolete, 'o'), (o.diverted, 'd')]
                .iter()
                .filter_map(|(set, letter)| set.then_some(*letter))
                .collect();
            format!("{} {:?} {digit} {flags}", path.escape_ascii(), o.packages).trim_end().to_owned()
        };
        owned.iter().map(one).collect()
    }

    fn files(index: u32, name: &str, list: &str, sums: &str, conffiles: &[Conffile]) -> PackageFiles {
        let aliases = Aliases::from_links([("bin", "usr/bin")]);
        let diversion = |from: &str, to: &str, by: Option<&str>| Diversion {
            from: from.as_bytes().into(),
            to: to.as_bytes().into(),
            by: by.map(str::to_owned),
        };
        let diversions =
            [diversion("usr/bin/sh", "usr/bin/sh.distrib", Some("dash")), diversion("man", "man.REAL", None)];
        let diversions = diversions.iter().map(|d| (&*d.from, d)).collect();
        let (sums, problems) = parse_md5sums(sums.as_bytes(), &aliases);
        assert_eq!(problems, []);
        let rules = Rules { aliases: &aliases, diversions: &diversions };
        let (files, problems) =
            PackageFiles::read(list.as_bytes(), &sums, &Owner { index, name, conffiles }, rules);
        assert_eq!(problems, []);
        files
    }

    #[test]
    fn aliases_diversions_and_conffiles_meet_at_one_name() {
        let a = "a".repeat(32);
        let sums = format!("{a}  bin/sh\n{a}  usr/bin/ls\n{a} *./man\n{a}  etc/conf\n");
        let list = "/.\n/bin\n/bin/sh\n/bin/ls\n/man\n/etc\n/etc/conf\n";
        let conffiles = [conffile("etc/conf", "b", false), conffile("etc/old", "c", true)];
        let coreutils = files(0, "coreutils", list, &sums, &conffiles);
        let dash = files(1, "dash", "/.\n/bin/sh\n/man\n/etc\n", &format!("{a}  bin/sh\n"), &[]);
        let owned = OwnedFiles::join(&[coreutils, dash]);
        assert_eq!(
            show(&owned),
            [
                " [0, 1] -",
                "bin [0] -",
                "etc [0, 1] -",
                "etc/conf [0] b c",
                "etc/old [0] c co",
                "man.REAL [0, 1] a d",
                "usr/bin/ls [0] a",
                "usr/bin/sh [1] a",
                "usr/bin/sh.distrib [0] a d",
            ]
        );
        assert_eq!(owned.get(b"usr/bin/sh").map(|o| o.packages), Some(&[1][..]));
        assert_eq!(owned.get(b"usr/bin/zsh"), None);
        assert_eq!((owned.len(), owned.is_empty()), (9, false));
    }

    #[test]
    fn owners_that_disagree_leave_no_digest() {
        let sums = |digit: &str| format!("{}  x\n", digit.repeat(32));
        let of = |index, digit| files(index, "p", "/x\n/x\n", &sums(digit), &[]);
        assert_eq!(show(&OwnedFiles::join(&[of(0, "1"), of(3, "1")])), ["x [0, 3] 1"]);
        assert_eq!(show(&OwnedFiles::join(&[of(3, "1"), of(0, "2")])), ["x [0, 3] -"]);
    }

    #[test]
    fn damaged_lines_are_named_and_passed_over() {
        let none = Aliases::default();
        let sums = b"00\n\n0123456789abcdef0123456789abcdeg  x\n0123456789abcdef0123456789ABCDEF  y z\n0123456789abcdef0123456789abcdef  ../x";
        let (sums, problems) = parse_md5sums(sums, &none);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert!(sums.contains_key(&b"y z"[..]));
        let rules = Rules { aliases: &none, diversions: &HashMap::new() };
        let owner = Owner { index: 0, name: "p", conffiles: &[] };
        let (files, problems) = PackageFiles::read(b"/a\nrelative\n\n/../x\n/b", &sums, &owner, rules);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(files.records.len(), 2);
    }
}

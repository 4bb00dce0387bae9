//! The files of packages: `info/*.list` with the digests of `info/*.md5sums` (dpkg(1),
//! deb-md5sums(5)).

use super::admin::Diversion;
use super::status::Conffile;
use crate::model::digest::{Digest, Md5};
use crate::model::escape::unhex;
use crate::model::problem::{Problem, note};
use crate::pkg::aliases::{Aliases, normal};
use crate::pkg::alternatives::lines;
use crate::pkg::claim::{Claim, ClaimState, FileRole};
use crate::pkg::owned::PackageFiles;
use crate::pkg::package::PackageId;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Settings that apply to all packages.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) aliases: &'a Aliases,
    /// Diversions by the diverted path.
    pub(super) diversions: &'a HashMap<&'a [u8], &'a Diversion>,
}

/// The package that a list of files belongs to.
pub(super) struct Owner<'a> {
    pub(super) package: PackageId,
    pub(super) name: &'a str,
    /// Conffiles with canonical paths.
    pub(super) conffiles: &'a [Conffile],
}

/// Parses the content of `.list` with the digests of `.md5sums`.
pub(super) fn read(
    list: &[u8],
    md5sums: &Md5Sums<'_>,
    owner: &Owner<'_>,
    rules: Rules<'_>,
) -> (PackageFiles, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut files = PackageFiles::new(owner.package, list.len());
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
        push(&mut files, &path, md5, conffile.copied(), owner, rules);
    }
    for conffile in owner.conffiles {
        if !conffile.remove_on_upgrade && !listed.contains(&*conffile.path) {
            push(&mut files, &conffile.path, conffile.md5, Some(conffile), owner, rules);
        }
    }
    (files, problems)
}

/// Appends a path, or the path that its diversion moves it to.
fn push(
    files: &mut PackageFiles,
    path: &[u8],
    md5: Option<Md5>,
    conffile: Option<&Conffile>,
    owner: &Owner<'_>,
    rules: Rules<'_>,
) {
    let moved = rules.diversions.get(path).filter(|diversion| diversion.by.as_deref() != Some(owner.name));
    let path = moved.map_or(path, |diversion| &diversion.to);
    let state = if conffile.is_some_and(|conffile| conffile.obsolete) {
        ClaimState::Obsolete
    } else if moved.is_some() {
        ClaimState::Diverted
    } else {
        ClaimState::Shipped
    };
    let role = if conffile.is_some() { FileRole::Configuration } else { FileRole::Ordinary };
    files.push(path, Claim { digest: md5.map(Digest::Md5), metadata: None, role, state });
}

/// Digests of one package by canonical path.
pub type Md5Sums<'a> = HashMap<Cow<'a, [u8]>, Md5>;

/// Parses the lines `digest  path` of a `.md5sums` file (deb-md5sums(5)). A path may begin with
/// `/` or `./`.
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
    // md5sum writes `*` as the second character for files that it read in binary mode.
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
    use crate::pkg::owned::{Owned, OwnedFiles};

    fn conffile(path: &str, digit: &str, obsolete: bool) -> Conffile {
        let md5 = unhex(digit.repeat(32).as_bytes());
        Conffile { path: path.as_bytes().into(), md5, obsolete, remove_on_upgrade: false }
    }

    /// Shows `path owners first-digit flags` of every entry.
    fn show(owned: &OwnedFiles) -> Vec<String> {
        let one = |(path, o): (&[u8], Owned<'_>)| {
            let digit = match o.claim.digest {
                Some(Digest::Md5(md5)) => format!("{:x}", md5[0] >> 4),
                _ => "-".to_owned(),
            };
            let state = match o.claim.state {
                ClaimState::Shipped => "",
                ClaimState::Obsolete => "o",
                ClaimState::Diverted => "d",
            };
            let flags = if o.claim.is_configuration() { "c" } else { "" }.to_owned() + state;
            let packages: Vec<usize> = o.packages.iter().map(|package| package.index()).collect();
            format!("{} {packages:?} {digit} {flags}", path.escape_ascii()).trim_end().to_owned()
        };
        owned.iter().map(one).collect()
    }

    fn files(index: usize, name: &str, list: &str, sums: &str, conffiles: &[Conffile]) -> PackageFiles {
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
            read(list.as_bytes(), &sums, &Owner { package: PackageId::new(index), name, conffiles }, rules);
        assert_eq!(problems, []);
        files
    }

    #[test]
    fn read_aliases_diversions_and_conffiles_get_one_name() {
        let a = "a".repeat(32);
        let sums = format!("{a}  bin/sh\n{a}  usr/bin/ls\n{a} *./man\n{a}  etc/conf\n");
        let list = "/.\n/bin\n/bin/sh\n/bin/ls\n/man\n/etc\n/etc/conf\n";
        let conffiles = [conffile("etc/conf", "b", false), conffile("etc/old", "c", true)];
        let coreutils = files(0, "coreutils", list, &sums, &conffiles);
        let dash = files(1, "dash", "/.\n/bin/sh\n/man\n/etc\n", &format!("{a}  bin/sh\n"), &[]);
        let owned = OwnedFiles::merge(vec![coreutils, dash]);
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
        assert_eq!(owned.get(b"usr/bin/sh").map(|o| o.packages), Some(&[PackageId::new(1)][..]));
        assert_eq!(owned.get(b"usr/bin/zsh"), None);
        assert_eq!((owned.len(), owned.is_empty()), (9, false));
    }

    #[test]
    fn merge_owners_with_other_digests_leave_no_digest() {
        let sums = |digit: &str| format!("{}  x\n", digit.repeat(32));
        let of = |index, digit| files(index, "p", "/x\n/x\n", &sums(digit), &[]);
        assert_eq!(show(&OwnedFiles::merge(vec![of(0, "1"), of(3, "1")])), ["x [0, 3] 1"]);
        assert_eq!(show(&OwnedFiles::merge(vec![of(3, "1"), of(0, "2")])), ["x [0, 3] -"]);
    }

    #[test]
    fn parse_damaged_lines_are_reported_and_skipped() {
        let none = Aliases::default();
        let sums = b"00\n\n0123456789abcdef0123456789abcdeg  x\n0123456789abcdef0123456789ABCDEF  y z\n0123456789abcdef0123456789abcdef  ../x";
        let (sums, problems) = parse_md5sums(sums, &none);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert!(sums.contains_key(&b"y z"[..]));
        let rules = Rules { aliases: &none, diversions: &HashMap::new() };
        let owner = Owner { package: PackageId::new(0), name: "p", conffiles: &[] };
        let (files, problems) = read(b"/a\nrelative\n\n/../x\n/b", &sums, &owner, rules);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(files.len(), 2);
    }
}

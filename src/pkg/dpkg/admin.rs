//! Local settings made with dpkg's tools: diversions and stat overrides.
//!
//! Paths are relative to the root and as written; [`Catalog`](crate::pkg::Catalog) maps them by
//! the machine's aliases.

use crate::model::problem::{Problem, note};
use crate::pkg::alternatives::{lines, relative};

/// A path at which one package, or the administrator, replaces the file of other packages
/// (dpkg-divert(1)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diversion {
    /// Path at which other packages ship their file.
    pub from: Box<[u8]>,
    /// Path that their file gets.
    pub to: Box<[u8]>,
    /// Package whose file stays at `from`; `None` for local diversions.
    pub by: Option<String>,
}

/// Owner and permissions that dpkg sets on a path instead of the packaged ones
/// (dpkg-statoverride(1)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatOverride {
    /// User: a name, or `#` and a UID.
    pub user: String,
    /// Group: a name, or `#` and a GID.
    pub group: String,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// The path.
    pub path: Box<[u8]>,
}

/// Parses `diversions`: three lines each. The third is `:` for a local diversion.
pub fn parse_diversions(bytes: &[u8]) -> (Vec<Diversion>, Vec<Problem>) {
    let lines: Vec<&[u8]> = lines(bytes).collect();
    let mut problems = Vec::new();
    let mut diversions = Vec::new();
    for (index, triple) in lines.chunks(3).enumerate() {
        let diversion = match triple {
            [from, to, by] => read_diversion(from, to, by),
            _ => None,
        };
        match diversion {
            Some(diversion) => diversions.push(diversion),
            None => note(&mut problems, index * 3 + 1, "not a diversion"),
        }
    }
    (diversions, problems)
}

fn read_diversion(from: &[u8], to: &[u8], by: &[u8]) -> Option<Diversion> {
    let by = (by != b":").then(|| std::str::from_utf8(by).map(str::to_owned)).transpose().ok()?;
    Some(Diversion { from: relative(from)?, to: relative(to)?, by })
}

/// Parses `statoverride`: `user group mode path` per line. The path may contain spaces.
pub fn parse_statoverrides(bytes: &[u8]) -> (Vec<StatOverride>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut overrides = Vec::new();
    for (index, line) in lines(bytes).enumerate() {
        match read_statoverride(line) {
            Some(entry) => overrides.push(entry),
            None => note(&mut problems, index + 1, "not a stat override"),
        }
    }
    (overrides, problems)
}

fn read_statoverride(line: &[u8]) -> Option<StatOverride> {
    let mut words = line.splitn(4, |&byte| byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok().filter(|word| !word.is_empty());
    let (user, group, mode) = (word()?.to_owned(), word()?.to_owned(), word()?);
    let mode = u16::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
    Some(StatOverride { user, group, mode, path: relative(words.next()?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_diversions_incomplete_group_is_reported() {
        let text = b"/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/man\n/usr/bin/man.REAL\n:\n";
        let (diversions, problems) = parse_diversions(text);
        let by: Vec<_> = diversions.iter().map(|d| (&*d.from, &*d.to, d.by.as_deref())).collect();
        assert_eq!(
            by,
            [
                (&b"bin/sh"[..], &b"bin/sh.distrib"[..], Some("dash")),
                (b"usr/bin/man", b"usr/bin/man.REAL", None)
            ]
        );
        assert_eq!(problems, []);
        let (diversions, problems) = parse_diversions(b"a\nb\nc\n/d\n/e\n:\n/f\n");
        assert_eq!(diversions.len(), 1);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 7]);
    }

    #[test]
    fn parse_statoverrides_names_and_numbers_are_kept() {
        let (overrides, problems) = parse_statoverrides(
            b"root messagebus 4754 /usr/lib/a b\n#0 #5 02755 /x\nroot root 99999 /y\nroot\n\n",
        );
        let show: Vec<_> = overrides.iter().map(|o| (o.user.as_str(), o.mode, &*o.path)).collect();
        assert_eq!(show, [("root", 0o4754, &b"usr/lib/a b"[..]), ("#0", 0o2755, b"x")]);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [3, 4, 5]);
    }
}

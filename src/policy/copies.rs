//! Names of copies that editors, packagers and administrators leave. A copy of a secret is a
//! secret, so the rules for the original apply to it.

use crate::model::tree;
use std::borrow::Cow;

/// Endings of copies (`shadow.bak`, `site.key~`).
const ENDINGS: &[&str] = &[
    "~",
    "-",
    ".backup",
    ".bak",
    ".bk",
    ".bkp",
    ".copy",
    ".dpkg-bak",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-tmp",
    ".old",
    ".orig",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".sav",
    ".save",
    ".saved",
    ".swo",
    ".swp",
    ".ucf-dist",
    ".ucf-new",
    ".ucf-old",
];
/// Maximum number of endings that are removed from a name (`netrc.bak.2024-01-31T12:30`). Each
/// number counts as one.
const MOST: usize = 8;

/// Returns the paths of which this one can be a copy, by its name. Removes one ending after the
/// other.
pub fn originals(path: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let name = tree::file_name(path);
    let directory = &path[..path.len() - name.len()];
    let mut originals = Vec::new();
    // Emacs saves `#name#`, vim `.name.swp`.
    if let [b'#', saved @ .., b'#'] = name {
        originals.push([directory, saved].concat().into());
    }
    let mut stem = name;
    while let Some(shorter) = without_ending(stem).filter(|stem| !stem.is_empty() && originals.len() < MOST) {
        let is_vims = name.starts_with(b".") && [&b".swp"[..], b".swo"].contains(&&stem[shorter.len()..]);
        if is_vims && shorter.len() > 1 {
            originals.push([directory, &shorter[1..]].concat().into());
        }
        stem = shorter;
        originals.push(Cow::Borrowed(&path[..directory.len() + stem.len()]));
    }
    originals
}

fn without_ending(name: &[u8]) -> Option<&[u8]> {
    let ending = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending.as_bytes()));
    ending.or_else(|| {
        // The last part of a number, a date, a time: `.1`, `-20240131`, `_2024-01-31T12:00`.
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (stem, separator) = name.split_at_checked((name.len() - digits).checked_sub(1)?)?;
        (digits > 0 && b"-_.:T".contains(&separator[0])).then_some(stem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lead_to_what_they_are_copies_of() {
        for (copy, of) in [
            ("etc/shadow.bak", "etc/shadow"),
            ("etc/shadow-", "etc/shadow"),
            ("etc/shadow-.bak", "etc/shadow-"),
            ("root/.netrc~", "root/.netrc"),
            ("root/.netrc.rpmsave", "root/.netrc"),
            ("root/.netrc.20240131", "root/.netrc"),
            ("root/.netrc-2024-01-31T12:30", "root/.netrc"),
            ("root/.netrc.bak.1", "root/.netrc"),
            ("root/..netrc.swp", "root/.netrc"),
            ("root/.netrc.swp", "root/.netrc"),
            ("etc/.krb5.keytab.swp", "etc/krb5.keytab"),
            ("etc/#krb5.keytab#", "etc/krb5.keytab"),
            ("srv/site.p12.1", "srv/site.p12"),
            ("key.old", "key"),
        ] {
            let found = originals(copy.as_bytes());
            assert!(found.iter().any(|path| **path == *of.as_bytes()), "{copy}: {found:?}");
        }
        for name in [
            "etc/shadow",
            "srv/2024",
            "srv/~",
            "srv/-",
            "srv/#",
            "srv/.bak",
            "srv/version-1.2.tar",
            "",
            "1",
            "-1",
        ] {
            assert!(originals(name.as_bytes()).is_empty(), "{name}");
        }
    }
}

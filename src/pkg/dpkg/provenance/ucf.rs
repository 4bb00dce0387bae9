//! ucf's records (ucf(1)): configuration files that packages created without dpkg, and the digest
//! of the original content.

use crate::model::digest::Md5;
use crate::model::escape;
use crate::pkg::provenance::input::ProvenanceInput;
use crate::pkg::provenance::{ContentState, Provenance};
use std::collections::BTreeMap;

/// Files that ucf manages.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Digest of the package's version, by path.
    digests: BTreeMap<Vec<u8>, Md5>,
    packages: BTreeMap<Vec<u8>, String>,
}

impl Registry {
    pub(super) fn load(machine: &ProvenanceInput<'_>) -> Self {
        let read =
            |name: &str| machine.root.read(format!("var/lib/ucf/{name}").as_bytes()).unwrap_or_default();
        Registry { digests: parse_hashfile(&read("hashfile")), packages: parse_registry(&read("registry")) }
    }

    pub(super) fn knows(&self, path: &[u8]) -> bool {
        self.digests.contains_key(path)
    }

    /// Returns the provenance of a file that ucf manages, with the comparison to the package's
    /// version.
    pub(super) fn provenance(&self, path: &[u8], md5: &Md5) -> Option<Provenance> {
        let state =
            if self.digests.get(path)? == md5 { ContentState::Unchanged } else { ContentState::Changed };
        Some(Provenance::new(self.packages.get(path).cloned(), "ucf", state))
    }
}

/// Parses `hashfile`: a hexadecimal digest, two spaces, an absolute path. The last line of a path
/// counts.
fn parse_hashfile(text: &[u8]) -> BTreeMap<Vec<u8>, Md5> {
    let lines = text.split(|&byte| byte == b'\n');
    let entries = lines.filter_map(|line| {
        let (digest, rest) = line.split_at_checked(32)?;
        let path = rest.trim_ascii_start().strip_prefix(b"/")?;
        let mut md5 = Md5::default();
        for (byte, pair) in md5.iter_mut().zip(digest.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some((path.to_vec(), md5))
    });
    entries.collect()
}

/// Parses `registry`: a package, white space, an absolute path.
fn parse_registry(text: &[u8]) -> BTreeMap<Vec<u8>, String> {
    let lines = text.split(|&byte| byte == b'\n');
    let entries = lines.filter_map(|line| {
        let at = line.iter().position(u8::is_ascii_whitespace)?;
        let path = line[at..].trim_ascii_start().strip_prefix(b"/")?;
        Some((path.to_vec(), escape::escape(&line[..at])))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Format of ucf 3.0043 on Debian 12.
    #[test]
    fn provenance_records_of_a_server_return_package_and_state() {
        let hashfile = b"fbc910d4bc9889530c92c7e8b101689b  /etc/postgresql-common/createcluster.conf\n\
            e6fd6e8e29210c5678181f33177d5433  /etc/ssh/sshd_config\n";
        let registry = b"postgresql-common \t /etc/postgresql-common/createcluster.conf\nopenssh-server \t /etc/ssh/sshd_config\n";
        let ucf = Registry { digests: parse_hashfile(hashfile), packages: parse_registry(registry) };
        assert!(ucf.knows(b"etc/ssh/sshd_config") && !ucf.knows(b"etc/ssh/ssh_config"));
        let pristine = ucf.digests[&b"etc/ssh/sshd_config"[..]];
        assert_eq!(pristine[..2], [0xe6, 0xfd]);
        let shown = |md5: &Md5| ucf.provenance(b"etc/ssh/sshd_config", md5).unwrap().to_string();
        assert_eq!(shown(&pristine), "created by package openssh-server (ucf), unchanged");
        assert_eq!(shown(&Md5::default()), "changed since package openssh-server created it (ucf)");
        assert_eq!(ucf.provenance(b"etc/hosts", &pristine), None);
    }

    #[test]
    fn parse_damaged_lines_are_skipped() {
        for line in [
            "",
            "fbc9  /etc/x",
            "fbc910d4bc9889530c92c7e8b101689b",
            "fbc910d4bc9889530c92c7e8b10168zz  /etc/x",
            "fbc910d4bc9889530c92c7e8b101689b  etc/x",
        ] {
            assert!(parse_hashfile(line.as_bytes()).is_empty(), "{line}");
        }
        for line in ["", "openssh-server", "openssh-server etc/x", "/etc/x"] {
            assert!(parse_registry(line.as_bytes()).is_empty(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn parse_any_bytes_never_panics(text: Vec<u8>) {
            parse_hashfile(&text);
            parse_registry(&text);
        }
    }
}

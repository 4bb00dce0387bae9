//! Release files: description of a suite, and the digests of its indexes.

use super::date;
use crate::model::digest::Sha256;
use crate::model::escape::{self, unhex};
use std::collections::BTreeMap;

/// Maximum size in bytes, apt's own (`Acquire::MaxReleaseFileSize`); Ubuntu's files have 300 KB.
pub const MAX_SIZE: u64 = 10 << 20;

/// A release file (`Release`, or the text of `InRelease`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Distributor, such as `Debian`.
    pub origin: String,
    /// Repository of the distributor, such as `Debian-Security`.
    pub label: String,
    /// Current name of the suite, such as `oldstable`.
    pub suite: String,
    /// Permanent name of the suite, such as `bookworm`.
    pub codename: String,
    /// Date in seconds since 1970.
    pub date: Option<i64>,
    /// Expiry date in seconds since 1970.
    pub valid_until: Option<i64>,
    /// Whether indexes are also available by their digests.
    pub by_hash: bool,
    /// URL of snapshots; it contains `@SNAPSHOTID@`.
    pub snapshots: Option<String>,
    /// Whether packages of `all` have their own index. Otherwise they are in the index of each
    /// architecture.
    pub has_all: bool,
    /// Digest and length in bytes of each index, by its path below the release file's directory.
    pub files: BTreeMap<String, (Sha256, u64)>,
}

impl Release {
    /// Parses the fields; text without any of them is an empty release.
    pub fn parse(text: &[u8]) -> Self {
        let mut release = Release::default();
        let mut field = &b""[..];
        let (mut lists_all, mut all_in_each) = (false, false);
        for line in text.split(|&byte| byte == b'\n') {
            if line.starts_with(b" ") {
                if field == b"SHA256" {
                    release.files.extend(digest(line));
                }
                continue;
            }
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            // Messages contain these values, so terminal escape sequences of a repository must
            // not get through.
            let value = escape::escape(line[colon + 1..].trim_ascii());
            field = &line[..colon];
            match field {
                b"Origin" => release.origin = value,
                b"Label" => release.label = value,
                b"Suite" => release.suite = value,
                b"Codename" => release.codename = value,
                b"Date" => release.date = date::parse(&value),
                b"Valid-Until" => release.valid_until = date::parse(&value),
                b"Acquire-By-Hash" => release.by_hash = value.eq_ignore_ascii_case("yes"),
                b"Snapshots" => release.snapshots = Some(value).filter(|value| value.contains(SNAPSHOT_ID)),
                b"Architectures" => lists_all = value.split(' ').any(|name| name == "all"),
                b"No-Support-for-Architecture-all" => all_in_each = value == "Packages",
                _ => {}
            }
        }
        // This is apt's rule: Debian's security repository lists an index for `all` but does not
        // serve it.
        release.has_all = lists_all && !all_in_each;
        release
    }

    /// Whether the distribution is the distributor.
    pub fn is_of_distribution(&self) -> bool {
        matches!(self.origin.as_str(), "Debian" | "Debian Backports" | "Ubuntu")
    }

    /// Whether the release file has expired.
    pub fn is_expired(&self, now: i64) -> bool {
        self.valid_until.is_some_and(|end| end < now)
    }
}

/// Placeholder of the time in [`Release::snapshots`].
pub const SNAPSHOT_ID: &str = "@SNAPSHOTID@";

fn digest(line: &[u8]) -> Option<(String, (Sha256, u64))> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (digest, size, path) = (words.next()?, words.next()?, words.next()?);
    Some((path.to_owned(), (unhex(digest.as_bytes())?, size.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_returns_fields_and_digests() {
        let digest = "00".repeat(31) + "ff";
        let text = format!(
            "Origin: Debian\nLabel: Debian-Security\nSuite: stable\nCodename: x\nDate: Sat, 09 Sep 2023 10:00:01 UTC\n\
             Valid-Until: Sat, 16 Sep 2023 10:00:01 UTC\nMD5Sum:\n 0123 5 main/binary-amd64/Packages\nSHA256:\n \
             {digest}        7 main/binary-amd64/Packages.xz\n nonsense\nAcquire-By-Hash: yes\n\
             Architectures: amd64 all\nSnapshots: https://snapshot.example.org/@SNAPSHOTID@/\n"
        );
        let release = Release::parse(text.as_bytes());
        assert_eq!((release.label.as_str(), release.codename.as_str()), ("Debian-Security", "x"));
        assert_eq!(release.date, Some(1_694_253_601));
        assert!(release.by_hash && release.has_all && release.is_of_distribution());
        assert!(!release.is_expired(1_694_858_401) && release.is_expired(1_694_858_402));
        assert_eq!(release.snapshots.as_deref(), Some("https://snapshot.example.org/@SNAPSHOTID@/"));
        let paths: Vec<_> = release.files.iter().map(|(path, (_, size))| (path.as_str(), *size)).collect();
        assert_eq!(paths, [("main/binary-amd64/Packages.xz", 7)]);
        for (fields, has_all) in [
            ("Architectures: all amd64\n", true),
            ("Architectures: amd64\n", false),
            ("Architectures: all amd64\nNo-Support-for-Architecture-all: Packages\n", false),
        ] {
            assert_eq!(Release::parse(fields.as_bytes()).has_all, has_all, "{fields}");
        }
        assert_eq!(Release::parse(b"<html>404: not here</html>"), Release::default());
    }

    proptest! {
        #[test]
        fn parse_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Release::parse(&[b"SHA256:\n ".as_slice(), &bytes].concat());
        }
    }
}

//! Reads release files that are older than `os-release(5)`: one line of text, or the assignments
//! of `lsb-release`.

use super::{OsRelease, assignments};
use crate::system::root::Root;

/// Files with a line of text. Files of a single distribution come first, because rebuilds of Red
/// Hat Enterprise Linux also have `redhat-release`.
const FILES: &[&[u8]] = &[
    b"etc/oracle-release",
    b"etc/enterprise-release",
    b"etc/centos-release",
    b"etc/rocky-release",
    b"etc/almalinux-release",
    b"etc/sl-release",
    b"etc/fedora-release",
    b"etc/mageia-release",
    b"etc/mandriva-release",
    b"etc/SuSE-release",
    b"etc/photon-release",
    b"etc/altlinux-release",
    b"etc/gentoo-release",
    b"etc/slackware-version",
    b"etc/system-release",
    b"etc/redhat-release",
];

/// Start of such a line, and the corresponding `ID` in `os-release(5)`. If one entry is a prefix
/// of another, the longer one comes first.
const NAMES: &[(&str, &str)] = &[
    ("Red Hat Enterprise Linux", "rhel"),
    ("Oracle Linux", "ol"),
    ("Enterprise Linux Enterprise Linux", "ol"),
    ("CentOS", "centos"),
    ("Rocky Linux", "rocky"),
    ("AlmaLinux", "almalinux"),
    ("Scientific Linux", "scientific"),
    ("CloudLinux", "cloudlinux"),
    ("Amazon Linux", "amzn"),
    ("Fedora", "fedora"),
    ("Mageia", "mageia"),
    ("Mandriva", "mandriva"),
    ("SUSE Linux Enterprise Desktop", "sled"),
    ("SUSE Linux Enterprise Server", "sles"),
    ("openSUSE", "opensuse"),
    ("VMware Photon", "photon"),
    ("ALT", "altlinux"),
    ("Gentoo", "gentoo"),
    ("Slackware", "slackware"),
];

/// Rebuilds of Red Hat Enterprise Linux that are not in the table of images.
const LIKE_RED_HAT: &[&str] = &["cloudlinux"];

/// Reads the first of these files that exists and identifies the distribution.
pub(super) fn load(root: &Root) -> Option<OsRelease> {
    let lsb = root.read(b"etc/lsb-release").ok();
    if let Some(os) = lsb.and_then(|text| lsb_release(&text, root)) {
        return Some(os);
    }
    if let Some(os) = FILES.iter().find_map(|file| line(&root.read(file).ok()?)) {
        return Some(os);
    }
    let mut os = OsRelease::default();
    if let Ok(version) = root.read(b"etc/alpine-release") {
        os.id = "alpine".to_owned();
        os.version_id = String::from_utf8_lossy(&version).trim().to_owned();
    } else if root.read(b"etc/arch-release").is_ok() {
        os.id = "arch".to_owned();
    } else {
        // The caller adds the point release of Debian.
        root.read(b"etc/debian_version").ok()?;
        os.id = "debian".to_owned();
    }
    Some(os)
}

/// Parses `lsb-release`. Returns `None` if it contains no name, as on Red Hat.
fn lsb_release(text: &[u8], root: &Root) -> Option<OsRelease> {
    let mut os = OsRelease::default();
    for (name, value) in assignments(text) {
        match name.as_str() {
            "DISTRIB_ID" => {
                os.id = value.to_ascii_lowercase();
                os.name = value;
            }
            "DISTRIB_RELEASE" => os.version_id = value,
            "DISTRIB_CODENAME" => os.codename = value.to_ascii_lowercase(),
            "DISTRIB_DESCRIPTION" => os.pretty_name = value,
            _ => {}
        }
    }
    // Linux Mint keeps the `lsb-release` of Ubuntu here.
    let parent = root.read(b"etc/upstream-release/lsb-release").unwrap_or_default();
    let parent = assignments(&parent);
    let codename = parent.into_iter().find(|(name, _)| name == "DISTRIB_CODENAME");
    os.ubuntu_codename = codename.map(|(_, codename)| codename.to_ascii_lowercase()).unwrap_or_default();
    (!os.id.is_empty()).then_some(os)
}

/// Parses `NAME [release] VERSION [(CODENAME)] ...`. SUSE has `PATCHLEVEL = N` on a separate
/// line.
fn line(text: &[u8]) -> Option<OsRelease> {
    let text = String::from_utf8_lossy(text);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let (_, id) = NAMES.iter().find(|(name, _)| first.starts_with(name))?;
    let starts_with_digit = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let number = first.split_whitespace().find(starts_with_digit).unwrap_or_default();
    let name = first.split(" release ").next().unwrap_or_default();
    let patch_level = text.lines().filter_map(|line| line.split_once('=')).find_map(|(name, value)| {
        (name.trim() == "PATCHLEVEL" && value.trim() != "0").then(|| format!(".{}", value.trim()))
    });
    Some(OsRelease {
        id: (*id).to_owned(),
        version_id: format!("{number}{}", patch_level.unwrap_or_default()),
        pretty_name: first.to_owned(),
        name: name.to_owned(),
        id_like: LIKE_RED_HAT.contains(id).then(|| "rhel".to_owned()).into_iter().collect(),
        ..OsRelease::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_each_distribution_returns_id_and_version() {
        for (text, id, version) in [
            ("CentOS release 5.11 (Final)\n", "centos", "5.11"),
            ("CentOS Linux release 7.8.2003 (Core)", "centos", "7.8.2003"),
            ("Red Hat Enterprise Linux Server release 6.5 (Santiago)\n", "rhel", "6.5"),
            ("Enterprise Linux Enterprise Linux Server release 5.11 (Carthage)\n", "ol", "5.11"),
            ("Fedora release 12 (Constantine)\n", "fedora", "12"),
            ("Mageia release 2 (Official) for x86_64\n", "mageia", "2"),
            ("SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n", "sles", "11.3"),
            ("openSUSE 11.4 (x86_64)\nVERSION = 11.4\nCODENAME = Celadon\n", "opensuse", "11.4"),
            ("Slackware 14.2\n", "slackware", "14.2"),
            ("Rocky Linux release\n", "rocky", ""),
        ] {
            let os = line(text.as_bytes()).unwrap();
            assert_eq!((os.id.as_str(), os.version_id.as_str()), (id, version), "{text}");
        }
        assert_eq!(line(b"\xff\xfe\n"), None);
        assert_eq!(line(b""), None);
        assert_eq!(line(b"CentOS Stream release 8\n").unwrap().name, "CentOS Stream");
    }
}

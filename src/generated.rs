//! Files that package scripts and triggers make: nobody's in dpkg's database, and yet not the administrator's.
//!
//! Where the build runs the same scripts at the same versions they come out
//! the same. The delta carries them in case they do not, and equality covers their
//! content, owner and mode like any other's; but not their time, because
//! setting a time copies the whole file into the top layer. Only caches and
//! records are here, nothing that people edit.

use crate::policy::matches;

/// Patterns of [`crate::policy`], from what installing on Debian was seen to leave behind.
const PATTERNS: &[&str] = &[
    // Compiled from files of the same packages.
    "**/__pycache__/*.pyc",
    "etc/ld.so.cache",
    "etc/udev/hwdb.bin",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/locale/locale-archive",
    "usr/share/glib-2.0/schemas/gschemas.compiled",
    "usr/share/info/dir",
    "usr/share/mime/**",
    "var/lib/systemd/catalog/database",
    "**/gconv-modules.cache",
    "**/giomodule.cache",
    "**/icon-theme.cache",
    "**/loaders.cache",
    "**/mimeinfo.cache",
    // Certificates and their names by hash.
    "etc/ssl/certs/*",
    // What the package tools note down.
    "var/cache/debconf/*",
    "var/lib/apt/*",
    "var/lib/dpkg/**",
    "var/lib/emacsen-common/**",
    "var/lib/pam/*",
    "var/lib/python/*",
    "var/lib/shells.state",
    "var/lib/systemd/deb-systemd-*/**",
    "var/lib/ucf/**",
    "var/lib/xml-core/**",
    // Links that they make.
    "etc/alternatives/*",
    "etc/rc?.d/*",
];

/// Whether package scripts make this path.
pub fn is_generated(path: &[u8]) -> bool {
    PATTERNS.iter().any(|pattern| matches(pattern.as_bytes(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_and_records_are_told_from_what_people_write() {
        for (path, expected) in [
            ("usr/lib/python3.11/__pycache__/typing.cpython-311.pyc", true),
            ("var/lib/dpkg/info/nginx.list", true),
            ("etc/ssl/certs/ca-certificates.crt", true),
            ("etc/ssl/private/site.key", false),
            ("etc/pam.d/common-auth", false),
            ("etc/systemd/system/own.service", false),
            ("opt/app/main.pyc", false),
        ] {
            assert_eq!(is_generated(path.as_bytes()), expected, "{path}");
        }
    }
}

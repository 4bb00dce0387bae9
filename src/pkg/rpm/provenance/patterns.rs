//! Caches and records of package tools: paths that only tools write.

use crate::pkg::provenance::tools::Tools;
use std::sync::LazyLock;

/// Patterns of [`crate::policy`] with the tool that creates the matching paths, by the
/// documentation of the tools. The list contains only caches and records, and no files that users
/// edit.
const PATTERNS: &[(&str, &str)] = &[
    ("etc/pki/ca-trust/extracted/**", "update-ca-trust"),
    ("etc/pki/java/cacerts", "update-ca-trust"),
    ("var/lib/ca-certificates/**", "update-ca-certificates"),
    ("etc/crypto-policies/back-ends/**", "update-crypto-policies"),
    ("etc/crypto-policies/state/**", "update-crypto-policies"),
    ("etc/authselect/system-auth", "authselect"),
    ("etc/authselect/password-auth", "authselect"),
    ("etc/authselect/fingerprint-auth", "authselect"),
    ("etc/authselect/smartcard-auth", "authselect"),
    ("etc/authselect/postlogin", "authselect"),
    ("etc/authselect/nsswitch.conf", "authselect"),
    ("etc/authselect/dconf-db", "authselect"),
    ("etc/authselect/dconf-locks", "authselect"),
    ("var/lib/authselect/**", "authselect"),
    ("etc/selinux/*/contexts/files/**", "semodule"),
    ("etc/selinux/*/modules/**", "semodule"),
    ("etc/selinux/*/policy/**", "semodule"),
    ("var/lib/selinux/**", "semodule"),
    ("usr/lib/locale/locale-archive", "build-locale-archive"),
    ("usr/lib/sysimage/rpm/**", "rpm"),
    ("usr/lib/sysimage/libdnf5/**", "dnf"),
    ("usr/share/rpm/**", "rpm"),
    ("var/cache/ldconfig/**", "ldconfig"),
    ("var/lib/PackageKit/**", "PackageKit"),
    ("var/lib/alternatives/*", "alternatives"),
    ("var/lib/dnf/**", "dnf"),
    ("var/lib/rpm/**", "rpm"),
    ("var/lib/rpm-state/**", "rpm"),
    ("var/lib/urpmi/**", "urpmi"),
    ("var/lib/yum/**", "yum"),
    ("var/lib/zypp/**", "zypper"),
];

/// Returns the tool that creates this path.
pub(super) fn tool(path: &[u8]) -> Option<&'static str> {
    static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools::new(PATTERNS));
    TOOLS.creator(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_edited_files_return_none() {
        for (path, expected) in [
            ("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", Some("update-ca-trust")),
            ("etc/crypto-policies/back-ends/openssl.config", Some("update-crypto-policies")),
            ("etc/authselect/system-auth", Some("authselect")),
            ("var/lib/rpm/rpmdb.sqlite", Some("rpm")),
            ("var/lib/dnf/history.sqlite-wal", Some("dnf")),
            ("usr/share/icons/hicolor/icon-theme.cache", Some("gtk-update-icon-cache")),
            ("srv/chroot/usr/share/icons/hicolor/icon-theme.cache", None),
            ("etc/pki/ca-trust/source/anchors/site.pem", None),
            ("etc/crypto-policies/config", None),
            ("etc/authselect/custom/site/system-auth", None),
            ("etc/authselect/user-nsswitch.conf", None),
            ("etc/nginx/nginx.conf.rpmnew", None),
            ("etc/yum.repos.d/site.repo", None),
        ] {
            assert_eq!(tool(path.as_bytes()), expected, "{path}");
        }
    }
}

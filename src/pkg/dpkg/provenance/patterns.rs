//! Caches and records of package tools: paths that only tools write.

use crate::pkg::provenance::tools::Tools;
use std::sync::LazyLock;

/// Patterns of [`crate::policy`] with the tool that creates the matching paths, observed in
/// installations on Debian. The list contains only caches and records, and no files that users
/// edit.
const PATTERNS: &[(&str, &str)] = &[
    ("lib[ox]32", "usrmerge"),
    ("lib32", "usrmerge"),
    ("lib64", "usrmerge"),
    ("usr/lib[ox]32", "usrmerge"),
    ("usr/lib32", "usrmerge"),
    ("usr/lib/locale/locale-archive", "locale-gen"),
    ("etc/mailcap", "update-mime"),
    ("etc/ssl/certs/ca-certificates.crt", "update-ca-certificates"),
    ("etc/ssl/certs/java/cacerts", "update-ca-certificates"),
    ("etc/apt/apt.conf.d/01autoremove-kernels", "apt"),
    ("etc/apt/apt.conf.d/0[12]autoremove-postgresql", "pg_updateaptconfig"),
    ("var/cache/debconf/*", "debconf"),
    ("var/cache/ldconfig", "ldconfig"),
    ("var/cache/postgresql/", "pg_updatedicts"),
    ("var/lib/apache2/**", "a2enmod"),
    ("var/lib/apt/*", "apt"),
    ("var/lib/apt/lists/*", "apt"),
    ("var/lib/binfmts/*", "update-binfmts"),
    ("var/lib/dpkg/**", "dpkg"),
    ("var/lib/emacsen-common/**", "emacs-package-install"),
    ("var/lib/pam/*", "pam-auth-update"),
    ("var/lib/php/**", "phpenmod"),
    ("var/lib/python/*", "py3compile"),
    ("var/lib/sgml-base/*", "update-catalog"),
    ("var/lib/shells.state", "update-shells"),
    ("var/lib/systemd/deb-systemd-*/**", "deb-systemd-helper"),
    ("var/lib/ucf/**", "ucf"),
    ("var/lib/xml-core/**", "update-xmlcatalog"),
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
            ("var/lib/dpkg/info/nginx.list", Some("dpkg")),
            ("etc/ssl/certs/ca-certificates.crt", Some("update-ca-certificates")),
            ("usr/share/icons/hicolor/icon-theme.cache", Some("gtk-update-icon-cache")),
            // Another root file system inside this one.
            ("srv/chroot/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", None),
            ("etc/ssl/certs/site.pem", None),
            ("etc/ssl/private/site.key", None),
            ("etc/pam.d/common-auth", None),
            ("etc/systemd/system/own.service", None),
            ("opt/app/main.pyc", None),
        ] {
            assert_eq!(tool(path.as_bytes()), expected, "{path}");
        }
    }
}

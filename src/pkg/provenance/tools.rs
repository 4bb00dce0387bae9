//! Caches and records of tools: paths that only tools write.

use crate::glob::GlobSet;

/// Patterns of [`crate::policy`] with the tool that creates the matching paths in every family.
///
/// The list contains only caches and records, and no files that users edit. Caches of libraries
/// are below `/usr`: elsewhere they belong to another root file system, such as a chroot.
const COMMON: &[(&str, &str)] = &[
    ("etc/ld.so.cache", "ldconfig"),
    ("etc/udev/hwdb.bin", "systemd-hwdb"),
    ("usr/lib/udev/hwdb.bin", "systemd-hwdb"),
    ("usr/share/glib-2.0/schemas/gschemas.compiled", "glib-compile-schemas"),
    ("usr/share/info/dir", "install-info"),
    ("usr/share/mime/**", "update-mime-database"),
    ("usr/**/gconv-modules.cache", "iconvconfig"),
    ("usr/**/giomodule.cache", "gio-querymodules"),
    ("usr/**/icon-theme.cache", "gtk-update-icon-cache"),
    ("usr/**/loaders.cache", "gdk-pixbuf-query-loaders"),
    ("usr/**/mimeinfo.cache", "update-desktop-database"),
    ("var/lib/systemd/catalog/database", "journalctl"),
];

/// The tools of a family.
pub(in crate::pkg) struct Tools {
    patterns: GlobSet,
    /// Tools by the position of the pattern.
    names: Vec<&'static str>,
}

impl Tools {
    /// Returns the tools of all families with those of one.
    pub fn new(own: &[(&'static str, &'static str)]) -> Self {
        let all = || COMMON.iter().chain(own);
        Tools {
            patterns: GlobSet::new(all().map(|(pattern, _)| pattern.as_bytes())),
            names: all().map(|(_, tool)| *tool).collect(),
        }
    }

    /// Returns the tool that creates this path.
    pub fn creator(&self, path: &[u8]) -> Option<&'static str> {
        self.patterns.first(path, |_| true).map(|id| self.names[id as usize])
    }
}

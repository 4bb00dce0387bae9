//! Known differences between the images of a family and the plain installation of their packages.

use crate::pkg::PathFilters;

/// Differences of an image family. Paths are relative to the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Whether `/bin`, `/lib` and `/sbin` are links into `/usr`.
    pub merged_usr: bool,
    /// Lines of dpkg.cfg(5) that apply to the image's packages and to later installations; `None`
    /// if they are unknown.
    pub path_filters: Option<&'static [&'static str]>,
    /// Files that dpkg-divert(1) moved: the packaged path, and the path in the image.
    pub diversions: &'static [(&'static str, &'static str)],
    /// Unpackaged files that the image adds.
    pub added: &'static [&'static str],
}

/// Files that the official images of Debian and its derivatives add for the package tools.
const DOCKER_FILES: &[&str] = &[
    "etc/apt/apt.conf.d/docker-autoremove-suggests",
    "etc/apt/apt.conf.d/docker-clean",
    "etc/apt/apt.conf.d/docker-gzip-indexes",
    "etc/apt/apt.conf.d/docker-no-languages",
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
    "usr/sbin/policy-rc.d",
];

/// Images of debuerreotype 0.15, `scripts/debuerreotype-minimizing-config`.
const DEBIAN: Profile =
    Profile { merged_usr: true, path_filters: Some(&[]), diversions: &[], added: DOCKER_FILES };

/// Images of releases past their end of life, `scripts/debuerreotype-init` and
/// `examples/debian.sh`.
const DEBIAN_EOL: Profile = Profile {
    added: &[
        "etc/apt/apt.conf.d/check-valid-until.conf",
        "etc/apt/apt.conf.d/debuerreotype-gpgv-ignore-expiration",
        "etc/apt/apt.conf.d/docker-autoremove-suggests",
        "etc/apt/apt.conf.d/docker-clean",
        "etc/apt/apt.conf.d/docker-gzip-indexes",
        "etc/apt/apt.conf.d/docker-no-languages",
        "etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
        "usr/local/bin/.debuerreotype-gpgv-ignore-expiration",
        "usr/sbin/policy-rc.d",
    ],
    ..DEBIAN
};

/// Filters of `debian:*-slim`: `scripts/.slimify-excludes` and `.slimify-includes` of
/// debuerreotype.
const SLIM_FILTERS: &[&str] = &[
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/linda/*",
    "path-exclude=/usr/share/lintian/overrides/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/kde/HTML/*/*",
    "path-exclude=/usr/share/gnome/help/*/*",
    "path-exclude=/usr/share/omf/*/*-*.emf",
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/locale/locale.alias",
    "path-include=/usr/share/locale/languages",
    "path-include=/usr/share/locale/all_languages",
    "path-include=/usr/share/locale/currency/*",
    "path-include=/usr/share/locale/l10n/*",
    "path-include=/usr/share/doc/kde/HTML/C/*",
    "path-include=/usr/share/gnome/help/*/C/*",
    "path-include=/usr/share/omf/*/*-C.emf",
];

/// Filters that livecd-rootfs, `auto/build`, writes to `/etc/dpkg/dpkg.cfg.d/excludes`.
const UBUNTU_FILTERS: &[&str] = &[
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*/LC_MESSAGES/*.mo",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/doc/*/changelog.*",
];

/// Files of livecd-rootfs, `configure_oci`.
const UBUNTU_FILES: &[&str] = &[
    "etc/apt/apt.conf.d/docker-autoremove-suggests",
    "etc/apt/apt.conf.d/docker-clean",
    "etc/apt/apt.conf.d/docker-disable-periodic-update",
    "etc/apt/apt.conf.d/docker-gzip-indexes",
    "etc/apt/apt.conf.d/docker-no-languages",
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
    "etc/dpkg/dpkg.cfg.d/excludes",
    "etc/update-motd.d/60-unminimize",
    "usr/bin/man",
    "usr/sbin/policy-rc.d",
];

/// Images since 18.04.
const UBUNTU: Profile = Profile {
    merged_usr: true,
    path_filters: Some(UBUNTU_FILTERS),
    diversions: &[("usr/bin/man", "usr/bin/man.REAL"), ("sbin/initctl", "sbin/initctl.distrib")],
    added: UBUNTU_FILES,
};

/// Images before 18.04. It was not checked whether they exclude documentation. If it counts as
/// excluded, the delta contains it, so the result is correct in both cases.
const UBUNTU_OLD: Profile =
    Profile { diversions: &[("sbin/initctl", "sbin/initctl.distrib")], added: DOCKER_FILES, ..UBUNTU };

/// Returns a profile by its name in `images.tsv`.
pub fn by_name(name: &str) -> Option<Profile> {
    Some(match name {
        "-" => Profile::default(),
        "debian" => DEBIAN,
        "debian-eol" => DEBIAN_EOL,
        "ubuntu" => UBUNTU,
        "ubuntu-old" => UBUNTU_OLD,
        _ => return None,
    })
}

/// Usual filters of small images, used if an image's own filters are unknown. A file that counts
/// as excluded is in the delta, so the result is correct in both cases.
const USUAL_FILTERS: &[&str] = &[
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
    "path-exclude=/usr/share/gnome/help/*",
    "path-exclude=/usr/share/bug/*",
];

impl Profile {
    /// Returns the filters of the files that the image excludes, or may exclude.
    pub fn filters(&self) -> PathFilters {
        let mut filters = PathFilters::default();
        filters.add(self.path_filters.unwrap_or(USUAL_FILTERS).join("\n").as_bytes());
        filters
    }

    /// Returns the profile of the smaller variant, such as `debian:12-slim`.
    pub fn slim(self) -> Self {
        Profile { path_filters: Some(SLIM_FILTERS), ..self }
    }
}

//! How the images of a family differ from the plain installation of their packages, as far as is known without the image.

use crate::pkg::PathFilters;

/// The differences. Paths are relative to the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Whether `/bin`, `/lib` and `/sbin` are links into `/usr`.
    pub merged_usr: bool,
    /// Lines of `dpkg.cfg(5)` that hold when the image is built and for what is installed in it later; nothing where they
    /// are not known.
    pub path_filters: Option<&'static [&'static str]>,
    /// Files of packages that are elsewhere in the image, because of `dpkg-divert(1)`: the package's path, and the file's.
    pub diversions: &'static [(&'static str, &'static str)],
    /// Files that the image adds and no package owns.
    pub added: &'static [&'static str],
}

/// What the official images of Debian and its derivatives add for the package tools.
const DOCKER_FILES: &[&str] = &[
    "etc/apt/apt.conf.d/docker-autoremove-suggests",
    "etc/apt/apt.conf.d/docker-clean",
    "etc/apt/apt.conf.d/docker-gzip-indexes",
    "etc/apt/apt.conf.d/docker-no-languages",
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
    "usr/sbin/policy-rc.d",
];

/// debuerreotype 0.15, `scripts/debuerreotype-minimizing-config`.
const DEBIAN: Profile =
    Profile { merged_usr: true, path_filters: Some(&[]), diversions: &[], added: DOCKER_FILES };

/// The same with the archive of old releases, `scripts/debuerreotype-init` and `examples/debian.sh`.
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

/// `scripts/.slimify-excludes` and `.slimify-includes` of debuerreotype: the images `debian:*-slim`.
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

/// livecd-rootfs, `auto/build`: written into `/etc/dpkg/dpkg.cfg.d/excludes`.
const UBUNTU_FILTERS: &[&str] = &[
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*/LC_MESSAGES/*.mo",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/doc/*/changelog.*",
];

/// livecd-rootfs, `configure_oci`.
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

/// Since 18.04.
const UBUNTU: Profile = Profile {
    merged_usr: true,
    path_filters: Some(UBUNTU_FILTERS),
    diversions: &[("usr/bin/man", "usr/bin/man.REAL"), ("sbin/initctl", "sbin/initctl.distrib")],
    added: UBUNTU_FILES,
};

/// Before 18.04. Whether these leave out documentation was not seen; taken for left out, it is carried, which is never wrong.
const UBUNTU_OLD: Profile =
    Profile { diversions: &[("sbin/initctl", "sbin/initctl.distrib")], added: DOCKER_FILES, ..UBUNTU };

/// A profile by its name in `images.tsv`.
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

/// What small images leave out; taken for left out where an image's own filters are not known, for that is never wrong.
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
    /// What the image leaves out of packages, or may leave out.
    pub fn filters(&self) -> PathFilters {
        let mut filters = PathFilters::default();
        filters.add(self.path_filters.unwrap_or(USUAL_FILTERS).join("\n").as_bytes());
        filters
    }

    /// That of the image's smaller sibling, `debian:12-slim`.
    pub fn slim(self) -> Self {
        Profile { path_filters: Some(SLIM_FILTERS), ..self }
    }
}

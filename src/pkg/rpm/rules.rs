//! Names of packages that rules refer to.

/// Configuration files that base images have without documentation, with one language, or with the
/// repositories of containers.
pub(super) const CHANGED_IN_IMAGES: &[&str] = &[
    "etc/dnf/dnf.conf",
    "etc/yum.conf",
    "etc/zypp/zypp.conf",
    "etc/locale.conf",
    "etc/fstab",
    "etc/blkid.conf",
];

/// Packages that a container does not need, with the reason. A pattern may end in `*`.
pub(super) const UNNEEDED: &[(&str, &str)] = &[
    ("kernel", KERNEL),
    ("kernel-core", KERNEL),
    ("kernel-modules*", KERNEL),
    ("kernel-devel*", KERNEL),
    ("kernel-uek*", KERNEL),
    ("kernel-default*", KERNEL),
    ("kernel-desktop*", KERNEL),
    ("kernel-server*", KERNEL),
    ("kernel-lt*", KERNEL),
    ("kernel-ml*", KERNEL),
    ("kernel-rt*", KERNEL),
    ("kernel-debug*", KERNEL),
    ("kernel6*", KERNEL),
    ("kmod-*", KERNEL),
    ("linux-firmware*", FIRMWARE),
    ("*-firmware", FIRMWARE),
    ("kernel-firmware*", FIRMWARE),
    ("microcode_ctl", FIRMWARE),
    ("ucode-*", FIRMWARE),
    ("dracut*", INITIAL),
    ("grubby*", BOOT),
    ("grub2*", BOOT),
    ("grub", BOOT),
    ("shim", BOOT),
    ("shim-*", BOOT),
    ("efibootmgr", BOOT),
    ("efi-filesystem", BOOT),
    ("os-prober", BOOT),
    ("syslinux*", BOOT),
    (env!("CARGO_PKG_NAME"), "vm2docker-self: not part of the machine"),
];

const KERNEL: &str = "kernel: a container runs on the host's";
const FIRMWARE: &str = "firmware: a container has no hardware";
const INITIAL: &str = "initial RAM disk: a container does not boot";
const BOOT: &str = "boot loader: a container does not boot";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::GlobSet;

    #[test]
    fn unneeded_hardware_packages_only() {
        let patterns = GlobSet::new(UNNEEDED.iter().map(|(pattern, _)| pattern.as_bytes()));
        let is_unneeded = |name: &str| patterns.first(name.as_bytes(), |_| true).is_some();
        for name in
            ["kernel", "kernel-core", "iwl1000-firmware", "grub2-tools", "shim-x64", "dracut-config-generic"]
        {
            assert!(is_unneeded(name), "{name}");
        }
        for name in ["kernel-headers", "kernel-tools-libs", "kmod", "shimmer", "firmware-tools"] {
            assert!(!is_unneeded(name), "{name}");
        }
    }
}

//! Names and files of Debian's packages that rules refer to.

use crate::pkg::package::Package;

/// Packages that a container does not need, with the reason. A pattern may end in `*`.
pub(super) const UNNEEDED: &[(&str, &str)] = &[
    ("linux-image-*", "kernel: a container runs on the host's"),
    ("linux-modules-*", "kernel: a container runs on the host's"),
    ("linux-headers-*", "kernel: a container runs on the host's"),
    ("linux-kbuild-*", "kernel: a container runs on the host's"),
    ("linux-base", "kernel: a container runs on the host's"),
    ("linux-generic*", "kernel: a container runs on the host's"),
    ("linux-virtual*", "kernel: a container runs on the host's"),
    ("linux-firmware", "firmware: a container has no hardware"),
    ("firmware-*", "firmware: a container has no hardware"),
    ("amd64-microcode", "firmware: a container has no hardware"),
    ("intel-microcode", "firmware: a container has no hardware"),
    ("iucode-tool", "firmware: a container has no hardware"),
    ("initramfs-tools*", "initial RAM disk: a container does not boot"),
    ("dracut*", "initial RAM disk: a container does not boot"),
    ("klibc-utils", "initial RAM disk: a container does not boot"),
    ("libklibc", "initial RAM disk: a container does not boot"),
    ("grub-*", "boot loader: a container does not boot"),
    ("grub2-common", "boot loader: a container does not boot"),
    ("shim-*", "boot loader: a container does not boot"),
    ("efibootmgr", "boot loader: a container does not boot"),
    ("os-prober", "boot loader: a container does not boot"),
    (env!("CARGO_PKG_NAME"), "vm2docker-self: not part of the machine"),
];

/// Returns dpkg's own files about one package (dpkg(1), "FILES"), with and without the
/// architecture in the name.
pub(super) fn record_files(package: &Package) -> Vec<Vec<u8>> {
    const KINDS: [&str; 12] = [
        "list",
        "md5sums",
        "conffiles",
        "preinst",
        "postinst",
        "prerm",
        "postrm",
        "config",
        "templates",
        "triggers",
        "shlibs",
        "symbols",
    ];
    let names = [package.name.clone(), format!("{}:{}", package.name, package.architecture)];
    let files = names.iter().flat_map(|name| KINDS.map(|kind| format!("var/lib/dpkg/info/{name}.{kind}")));
    files.map(String::into_bytes).collect()
}

//! Storage that the machine's configuration names: file systems, swap files, container storage.
//!
//! The usual places are rules of the policy. The places here come from `fstab(5)`, from enabled
//! mount and swap units (`systemd.mount(5)`, `systemd.swap(5)`), from `/proc/swaps` and from the
//! configuration of container engines ([`containers`]).

mod containers;

use super::units::{self, Enabled, Loaded};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::system::mounts::{Class, Mounts, classify, unescape_octal};
use crate::system::root::Root;

/// Paths that the machine's configuration gives a special meaning. All are relative to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Swap files, sorted.
    pub swap_files: Vec<Vec<u8>>,
    /// Directories in which container engines keep images and containers, sorted.
    pub container_storage: Vec<Vec<u8>>,
}

impl Storage {
    /// Reads the configuration. Reports swap files, and configured file systems that are not in
    /// `mounts`: as a loss, because files of the machine are missing, except with `noauto` and for
    /// bind mounts.
    pub fn load(root: &Root, mounts: &Mounts, enabled: &[Enabled], findings: &mut Findings) -> Self {
        let mut entries = fstab(&read(root, b"etc/fstab", findings));
        for entry in enabled.iter().filter_map(|enabled| mount_unit(&enabled.loaded)) {
            // systemd-fstab-generator(8) writes a unit for each line of fstab(5).
            if !entries.iter().any(|known| (&known.point, &known.source) == (&entry.point, &entry.source)) {
                entries.push(entry);
            }
        }
        entries.iter().for_each(|entry| entry.report_unmounted(mounts, findings));
        let mut swap_files: Vec<Vec<u8>> = entries.iter().filter_map(FstabEntry::swap_file).collect();
        if root.is_live() {
            swap_files.extend(active_swap_files(&std::fs::read("/proc/swaps").unwrap_or_default()));
        }
        swap_files.sort();
        swap_files.dedup();
        for path in swap_files.iter().filter(|path| root.stat(path).is_ok()) {
            findings.note(findings::Kind::Swap, path, "swap space, which holds memory of the machine");
        }
        Storage { swap_files, container_storage: containers::load(root, enabled, findings) }
    }
}

/// One line of `fstab(5)`, or the mount or swap unit that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FstabEntry {
    /// File with the entry, relative to the root.
    file: Vec<u8>,
    /// First field: device, label, server or file.
    source: Vec<u8>,
    /// Second field, relative to the root.
    point: Vec<u8>,
    fstype: Vec<u8>,
    options: Vec<Vec<u8>>,
}

/// Parses `fstab(5)`. Lines with fewer than three fields are not entries.
fn fstab(text: &[u8]) -> Vec<FstabEntry> {
    text.split(|&byte| byte == b'\n').filter_map(fstab_entry).collect()
}

fn fstab_entry(line: &[u8]) -> Option<FstabEntry> {
    let fields = line.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let mut fields = fields.map(unescape_octal);
    let source = fields.next().filter(|field| !field.starts_with(b"#"))?;
    let point = relative(&fields.next()?);
    let fstype = fields.next()?;
    let options = fields.next().unwrap_or_default();
    let options = options.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
    Some(FstabEntry { file: b"etc/fstab".to_vec(), source, point, fstype, options })
}

/// Returns the entry of a mount or swap unit; `None` for other units.
fn mount_unit(loaded: &Loaded) -> Option<FstabEntry> {
    let file = loaded.path.clone()?;
    let (section, fstype) = match units::names::unit_type(&loaded.name)? {
        "mount" => ("Mount", loaded.unit.last("Mount", "Type").unwrap_or(b"auto")),
        "swap" => ("Swap", &b"swap"[..]),
        _ => return None,
    };
    let source = loaded.unit.last(section, "What")?.to_vec();
    // snapd mounts its packages, which are not in the image.
    if source.starts_with(b"/var/lib/snapd/") {
        return None;
    }
    let point = relative(loaded.unit.last(section, "Where").unwrap_or(b"none"));
    let options = loaded.unit.last(section, "Options").unwrap_or_default();
    let options = options.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
    Some(FstabEntry { file, source, point, fstype: fstype.to_vec(), options })
}

impl FstabEntry {
    fn has_option(&self, name: &[u8]) -> bool {
        self.options.iter().any(|option| option == name)
    }

    /// Returns the path of a swap file; `None` for a partition and for other file systems.
    fn swap_file(&self) -> Option<Vec<u8>> {
        let is_file = self.source.starts_with(b"/") && !self.source.starts_with(b"/dev/");
        (self.fstype == b"swap" && is_file).then(|| relative(&self.source))
    }

    /// Whether the image misses files if this file system is not mounted.
    fn has_files(&self) -> bool {
        let fstype = String::from_utf8_lossy(&self.fstype);
        let is_stored = !matches!(classify(&fstype), Class::Pseudo | Class::Volatile);
        // The kernel and the boot loader do not belong to an image.
        let is_boot = self.point == b"boot" || self.point.starts_with(b"boot/") || self.point == b"efi";
        let is_place = !["", "none", "swap"].iter().any(|name| self.point == name.as_bytes());
        is_place && !is_boot && is_stored && !matches!(&*fstype, "swap" | "ignore")
    }

    fn report_unmounted(&self, mounts: &Mounts, findings: &mut Findings) {
        if !self.has_files() || mounts.at(&self.point).is_some() {
            return;
        }
        let text = format!(
            "not mounted, so its files are not in the context: {} ({}) in {}; mount it and run again",
            escape::escape(&self.source),
            escape::escape(&self.fstype),
            escape::display(&self.file)
        );
        // The files of a bind mount are in the context under their other name.
        let is_note = ["noauto", "bind", "rbind"].iter().any(|name| self.has_option(name.as_bytes()));
        let record = if is_note { Findings::note } else { Findings::loss };
        record(findings, findings::Kind::Unmounted, &self.point, text);
    }
}

/// Returns the swap files that the kernel uses (`proc_swaps(5)`).
fn active_swap_files(swaps: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let lines = swaps.split(|&byte| byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let mut fields = line.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
        let path = unescape_octal(fields.next()?);
        (fields.next()? == b"file").then(|| relative(&path))
    })
}

/// Returns an absolute path relative to the root.
fn relative(path: &[u8]) -> Vec<u8> {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    path[start..].strip_suffix(b"/").unwrap_or(&path[start..]).to_vec()
}

/// Reads a file; one that does not exist is empty. Reports other errors.
fn read(root: &Root, path: &[u8], findings: &mut Findings) -> Vec<u8> {
    root.read(path).unwrap_or_else(|cause| {
        if cause.kind() != std::io::ErrorKind::NotFound {
            findings.loss(findings::Kind::Unreadable, path, cause.to_string());
        }
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixtures::tree;
    use crate::detect::units::BootUnits;
    use crate::system::mounts;

    const FSTAB: &str = "\
# a comment
/dev/mapper/vg-root / ext4 defaults 0 1
/dev/mapper/vg-home /home ext4 defaults 0 2
UUID=0a0a /srv/two\\040words xfs noatime
nas.example.org:/export /mnt/nas/ nfs4 _netdev 0 0
LABEL=usb /media/usb vfat noauto,user 0 0
/srv/data /export none rw,bind 0 0
debugfs /sys/kernel/debug debugfs defaults 0 0
UUID=0b0b /boot/efi vfat umask=0077 0 1
tmpfs /tmp tmpfs defaults 0 0
/var/swap.1 none swap sw 0 0
/dev/sdb2 none swap sw 0 0
short
";

    fn found(findings: &Findings) -> Vec<String> {
        let shown = |finding: &findings::Finding| {
            format!("{:?} {} {}", finding.severity, finding.kind.name(), escape::escape(&finding.path))
        };
        findings.sorted().iter().map(shown).collect()
    }

    #[test]
    fn load_unmounted_file_systems_are_reported() {
        let (dir, root) = tree(&[("etc/fstab", FSTAB), ("var/swap.1", "x")]);
        let table = format!("1 1 8:1 / {0}/home rw - ext4 /dev/sdb1 rw\n", dir.path().display());
        let mut findings = Findings::default();
        let mounts = mounts::parse(table.as_bytes(), root.absolute());
        let storage = Storage::load(&root, &mounts, &[], &mut findings);
        assert_eq!(storage.swap_files, [b"var/swap.1".to_vec()]);
        assert_eq!(
            found(&findings),
            [
                "Note unmounted export",
                "Note unmounted media/usb",
                "Loss unmounted mnt/nas",
                "Loss unmounted srv/two words",
                "Note swap var/swap.1",
            ]
        );
    }

    #[test]
    fn load_unmounted_mount_units_are_reported() {
        let (_dir, root) = tree(&[
            ("etc/fstab", "/dev/sdb1 /home ext4 defaults 0 2\n"),
            (
                "usr/lib/systemd/system/multi-user.target",
                "[Unit]\nWants=home.mount srv-a\\x20b.mount var-s.swap\n",
            ),
            ("run/systemd/generator/home.mount", "[Mount]\nWhat=/dev/sdb1\nWhere=/home\nType=ext4\n"),
            ("etc/systemd/system/srv-a\\x20b.mount", "[Mount]\nWhat=/dev/sdc1\nWhere=/srv/a b\n"),
            ("etc/systemd/system/off.mount", "[Mount]\nWhat=/dev/sdd1\nWhere=/off\n"),
            ("etc/systemd/system/var-s.swap", "[Swap]\nWhat=/var/s\n"),
        ]);
        let mut findings = Findings::default();
        let enabled = BootUnits::load(&root, &mut findings).enabled;
        let storage = Storage::load(&root, &mounts::parse(b"", root.absolute()), &enabled, &mut findings);
        assert_eq!(storage.swap_files, [b"var/s".to_vec()]);
        assert_eq!(found(&findings), ["Loss unmounted home", "Loss unmounted srv/a b"]);
    }

    #[test]
    fn active_swap_files_skips_partitions() {
        let swaps =
            b"Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 9 0 -2\n/swap\\040file file 9 0 -3\n";
        assert_eq!(active_swap_files(swaps).collect::<Vec<_>>(), [b"swap file".to_vec()]);
    }
}

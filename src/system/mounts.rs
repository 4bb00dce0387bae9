//! Parses the mount table and classifies file systems.
//!
//! Uses the mount table only. Mount points that are not walked are never opened or passed to
//! stat(2), because a network or FUSE server that does not respond would block the run.

use crate::model::tree;
use std::collections::{BTreeMap, HashSet};

/// Types of file systems on local disks. Only these are walked.
const LOCAL: &[&str] = &[
    "aufs", "bcachefs", "btrfs", "ecryptfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs",
    "minix", "nilfs2", "ntfs", "ntfs3", "overlay", "reiserfs", "ufs", "vfat", "xfs", "zfs",
];
/// Types of file systems in memory; their content is lost at a reboot.
const VOLATILE: &[&str] = &["ramfs", "tmpfs"];
/// Types of file systems that another machine or a user process serves.
const REMOTE: &[&str] = &[
    "9p",
    "afs",
    "autofs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
];
/// Types of read-only images, attached through a loop device or a drive.
const IMAGE: &[&str] = &["cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"];

/// Types of kernel interfaces (`filesystems(5)`, `Documentation/filesystems` of Linux).
const PSEUDO: &[&str] = &[
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "functionfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "oprofilefs",
    "proc",
    "pstore",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
    "usbfs",
    "xenfs",
];

/// Class of a mounted file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Local disk; walked.
    Local,
    /// Memory; the content is lost at a reboot.
    Volatile,
    /// Network, FUSE or automounted file system; never accessed.
    Remote,
    /// Read-only image or drive.
    Image,
    /// Kernel interface.
    Pseudo,
    /// Unknown type; not walked, and reported as a loss.
    Unknown,
}

/// Line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Mount point relative to the converted root; empty for the root itself.
    pub point: Box<[u8]>,
    /// File system type as the kernel names it.
    pub fstype: String,
    /// Device or server of the mount.
    pub source: Vec<u8>,
    /// Class of the file system type.
    pub class: Class,
    /// Device number of the file system as `MAJOR:MINOR`.
    pub device: Box<[u8]>,
    /// Directory of the file system that is mounted, relative to its root. Empty unless this is a
    /// bind mount or a subvolume.
    pub directory: Box<[u8]>,
}

/// Visible mounts at and below the converted root, by mount point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(BTreeMap<Box<[u8]>, Mount>);

impl Mounts {
    /// Returns the mount with this mount point.
    pub fn at(&self, path: &[u8]) -> Option<&Mount> {
        self.0.get(path)
    }

    /// Returns the mount with this mount point, if it must not be walked.
    pub fn foreign_at(&self, path: &[u8]) -> Option<&Mount> {
        self.at(path).filter(|mount| mount.class != Class::Local)
    }

    /// Returns all mounts, sorted by mount point.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.values()
    }
}

/// Parses `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`). `root` is the absolute path of the
/// converted root.
///
/// Skips lines in another format, which the kernel does not write.
pub fn parse(mountinfo: &[u8], root: &[u8]) -> Mounts {
    let root = root.strip_prefix(b"/").unwrap_or(root);
    let lines: Vec<Line> = mountinfo.split(|&byte| byte == b'\n').filter_map(parse_line).collect();
    let known: HashSet<&[u8]> = lines.iter().map(|line| line.id).collect();
    // The parent of the topmost mount is not in the table, or is the mount itself.
    let tops = lines.iter().filter(|line| line.parent == line.id || !known.contains(line.parent));
    let mut mounts = BTreeMap::new();
    let mut visible: Vec<&Line> = tops.collect();
    while let Some(line) = visible.pop() {
        let children: Vec<&Line> =
            lines.iter().filter(|other| other.parent == line.id && other.id != line.id).collect();
        // A mount on the root of another mount hides it and all mounts in it.
        if let Some(over) = children.iter().rev().find(|child| child.mount.point == line.mount.point) {
            visible.push(over);
            continue;
        }
        // A mount below the mount point of a sibling is older and hidden. If it were newer, the
        // sibling would be its parent.
        let is_hidden = |child: &Line| {
            let covers = |other: &&Line| {
                other.mount.point != child.mount.point
                    && tree::is_within(&child.mount.point, &other.mount.point)
            };
            children.iter().any(covers)
        };
        visible.extend(children.iter().filter(|child| !is_hidden(child)));
        if let Some(point) = beneath(&line.mount.point, root) {
            mounts.insert(point.clone(), Mount { point, ..line.mount.clone() });
        }
    }
    Mounts(mounts)
}

/// Line of the table with the IDs. The mount point is relative to `/`.
struct Line<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    mount: Mount,
}

/// Returns the mount point relative to the converted root, or `None` if it is outside.
fn beneath(point: &[u8], root: &[u8]) -> Option<Box<[u8]>> {
    let relative = if root.is_empty() { point } else { point.strip_prefix(root)? };
    match relative.strip_prefix(b"/") {
        Some(relative) => Some(relative.into()),
        None => (root.is_empty() || relative.is_empty()).then(|| relative.into()),
    }
}

fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let point: Box<[u8]> = unescape_octal(fields.get(4)?).strip_prefix(b"/")?.into();
    let fstype = String::from_utf8_lossy(fields.get(separator + 1)?).into_owned();
    let class = classify(&fstype);
    let source = unescape_octal(fields.get(separator + 2)?);
    let directory = unescape_octal(fields[3]);
    let directory = directory.strip_prefix(b"/").unwrap_or(&directory).into();
    let mount = Mount { point, fstype, source, class, device: fields[2].into(), directory };
    Some(Line { id: fields[0], parent: fields[1], mount })
}

/// Returns the class of a file system type.
pub(crate) fn classify(fstype: &str) -> Class {
    let listed = |list: &[&str]| list.contains(&fstype);
    match fstype {
        _ if listed(LOCAL) => Class::Local,
        _ if listed(VOLATILE) => Class::Volatile,
        _ if listed(REMOTE) || fstype.starts_with("fuse.") => Class::Remote,
        _ if listed(IMAGE) => Class::Image,
        _ if listed(PSEUDO) => Class::Pseudo,
        _ => Class::Unknown,
    }
}

/// Decodes the escapes of the mount table and of `fstab(5)`: space, tab, newline and backslash as
/// three octal digits.
pub(crate) fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => bytes.push(first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755
25 22 254:2 / /srv/two\\040words rw - xfs /dev/vdb rw
26 22 0:40 / /mnt/nfs rw - nfs4 server:/export rw
27 22 0:41 / /mnt/ssh rw - fuse.sshfs me@there: rw
28 22 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
29 22 0:50 / /misc rw - autofs /etc/auto.misc rw
30 22 254:3 / /hidden/below rw - ext4 /dev/vdc rw
31 22 254:4 / /hidden rw - ext4 /dev/vdd rw
32 31 254:5 / /hidden/seen rw - ext4 /dev/vde rw
33 32 254:6 / /hidden/seen rw - tmpfs tmpfs rw
not a line
";

    #[test]
    fn parse_table_classifies_visible_mounts() {
        let mounts = parse(TABLE, b"/");
        let class = |path: &[u8]| mounts.at(path).map(|mount| mount.class);
        assert_eq!(class(b""), Some(Class::Local));
        assert_eq!(class(b"proc"), Some(Class::Pseudo));
        assert_eq!(class(b"run"), Some(Class::Volatile));
        assert_eq!(class(b"srv/two words"), Some(Class::Local));
        assert_eq!(class(b"mnt/nfs"), Some(Class::Remote));
        assert_eq!(class(b"mnt/ssh"), Some(Class::Remote));
        assert_eq!(class(b"misc"), Some(Class::Remote));
        assert_eq!(class(b"snap/core/1"), Some(Class::Image));
        assert_eq!((class(b"hidden/below"), class(b"hidden")), (None, Some(Class::Local)));
        assert_eq!(class(b"hidden/seen"), Some(Class::Volatile));
    }

    #[test]
    fn parse_mounts_listed_before_root_are_visible() {
        let table = b"24 28 0:5 / /dev rw - devtmpfs udev rw\n26 28 0:21 / /run rw - tmpfs tmpfs rw\n\
            28 1 254:1 / / rw - ext4 /dev/vda1 rw\n30 24 0:26 / /dev/shm rw - tmpfs tmpfs rw\n";
        let mounts = parse(table, b"/");
        let points: Vec<&[u8]> = mounts.iter().map(|mount| &*mount.point).collect();
        assert_eq!(points, [&b""[..], b"dev", b"dev/shm", b"run"]);
    }

    #[test]
    fn parse_chroot_table_without_root_mount_is_complete() {
        let mounts = parse(b"5 4 0:5 / /proc rw - proc proc rw\n6 4 0:6 / /sys rw - sysfs sysfs rw\n", b"/");
        assert_eq!(mounts.iter().count(), 2);
    }

    #[test]
    fn parse_bind_mount_returns_device_and_directory() {
        let mounts = parse(b"5 1 254:1 /srv/a\\040b /mnt ro,nosuid - ext4 /dev/vda1 rw\n", b"/");
        let mount = mounts.at(b"mnt").unwrap();
        assert_eq!((&*mount.device, &*mount.directory), (&b"254:1"[..], &b"srv/a b"[..]));
    }

    #[test]
    fn parse_other_root_returns_relative_mount_points() {
        let table = b"1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:2 / /mnt/disk rw - ext4 /dev/vdb rw\n\
            3 2 0:5 / /mnt/disk/proc rw - proc proc rw\n4 1 0:6 / /mnt/disk2 rw - tmpfs tmpfs rw\n";
        let mounts = parse(table, b"/mnt/disk");
        let points: Vec<&[u8]> = mounts.iter().map(|mount| &*mount.point).collect();
        assert_eq!(points, [&b""[..], b"proc"]);
    }

    #[test]
    fn unescape_octal_escapes_are_decoded() {
        assert_eq!(unescape_octal(b"a\\040b\\011c\\134d\\9"), b"a b\tc\\d\\9");
    }
}

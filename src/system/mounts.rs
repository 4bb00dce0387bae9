//! What is mounted where, and whether it is the machine's own storage.
//!
//! Decided from the mount table alone: a mount point that is not walked is
//! never opened, not even `stat`ed, because a dead network or FUSE server would
//! hang the run there.

use crate::model::tree;
use std::collections::{BTreeMap, HashSet};

/// File systems on the machine's own disks. Everything else is left alone.
const LOCAL: &[&str] = &[
    "aufs", "bcachefs", "btrfs", "ecryptfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs",
    "minix", "nilfs2", "ntfs", "ntfs3", "overlay", "reiserfs", "ufs", "vfat", "xfs", "zfs",
];
/// Memory, gone at the next boot.
const VOLATILE: &[&str] = &["ramfs", "tmpfs"];
/// Files served by another machine or a process.
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
/// Read-only images of other products, attached through a loop device or a drive.
const IMAGE: &[&str] = &["cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"];

/// Interfaces of the kernel (`filesystems(5)`, `Documentation/filesystems` of Linux).
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

/// What a mounted file system is to a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The machine's own storage: walked.
    Local,
    /// Memory: nothing in it outlives a reboot.
    Volatile,
    /// A network, FUSE or automounted file system: never touched.
    Remote,
    /// A read-only image or medium.
    Image,
    /// An interface of the kernel.
    Pseudo,
    /// A type that is not known: left alone, and a loss.
    Unknown,
}

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted, relative to the root that is converted; empty for the root itself.
    pub point: Box<[u8]>,
    /// The kernel's name of the file system type.
    pub fstype: String,
    /// The device or server that the mount names.
    pub source: Vec<u8>,
    /// What this means for the conversion.
    pub class: Class,
}

/// The mounts at and beneath the root that is converted; of mounts over each other, the visible one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(BTreeMap<Box<[u8]>, Mount>);

impl Mounts {
    /// The mount whose root this path is, if one is.
    pub fn at(&self, path: &[u8]) -> Option<&Mount> {
        self.0.get(path)
    }

    /// The mount at this path if its content must not be touched.
    pub fn foreign_at(&self, path: &[u8]) -> Option<&Mount> {
        self.at(path).filter(|mount| mount.class != Class::Local)
    }

    /// Every mount, by mount point.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.values()
    }
}

/// Parses `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`); `root` is the absolute path that is converted.
///
/// Lines that do not have the format are left out: the kernel writes none.
pub fn parse(mountinfo: &[u8], root: &[u8]) -> Mounts {
    let root = root.strip_prefix(b"/").unwrap_or(root);
    let lines: Vec<Line> = mountinfo.split(|&byte| byte == b'\n').filter_map(parse_line).collect();
    let known: HashSet<&[u8]> = lines.iter().map(|line| line.id).collect();
    // Of the first mount of all the parent is no line, or the mount itself.
    let tops = lines.iter().filter(|line| line.parent == line.id || !known.contains(line.parent));
    let mut mounts = BTreeMap::new();
    let mut visible: Vec<&Line> = tops.collect();
    while let Some(line) = visible.pop() {
        let children: Vec<&Line> =
            lines.iter().filter(|other| other.parent == line.id && other.id != line.id).collect();
        // A mount on a mount's own root hides it with all that is mounted in it.
        if let Some(over) = children.iter().rev().find(|child| child.mount.point == line.mount.point) {
            visible.push(over);
            continue;
        }
        // What lies beneath another mount of the same parent was there before and is hidden now:
        // a later mount would be that other one's child.
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

/// A line of the table; the mount's point is relative to `/`.
struct Line<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    mount: Mount,
}

/// The mount point relative to the root that is converted.
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
    Some(Line { id: fields[0], parent: fields[1], mount: Mount { point, fstype, source, class } })
}

fn classify(fstype: &str) -> Class {
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

/// Space, tab, newline and backslash are written as three octal digits in the mount table.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
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
    fn mounts_are_classed_by_type_and_the_hidden_ones_are_gone() {
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
    fn what_an_initial_ram_disk_mounted_first_is_listed_before_the_root_and_is_visible() {
        let table = b"24 28 0:5 / /dev rw - devtmpfs udev rw\n26 28 0:21 / /run rw - tmpfs tmpfs rw\n\
            28 1 254:1 / / rw - ext4 /dev/vda1 rw\n30 24 0:26 / /dev/shm rw - tmpfs tmpfs rw\n";
        let mounts = parse(table, b"/");
        let points: Vec<&[u8]> = mounts.iter().map(|mount| &*mount.point).collect();
        assert_eq!(points, [&b""[..], b"dev", b"dev/shm", b"run"]);
    }

    #[test]
    fn a_changed_root_does_not_list_the_mount_it_lies_on() {
        let mounts = parse(b"5 4 0:5 / /proc rw - proc proc rw\n6 4 0:6 / /sys rw - sysfs sysfs rw\n", b"/");
        assert_eq!(mounts.iter().count(), 2);
    }

    #[test]
    fn a_root_elsewhere_sees_its_own_mounts_relative_to_itself() {
        let table = b"1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:2 / /mnt/disk rw - ext4 /dev/vdb rw\n\
            3 2 0:5 / /mnt/disk/proc rw - proc proc rw\n4 1 0:6 / /mnt/disk2 rw - tmpfs tmpfs rw\n";
        let mounts = parse(table, b"/mnt/disk");
        let points: Vec<&[u8]> = mounts.iter().map(|mount| &*mount.point).collect();
        assert_eq!(points, [&b""[..], b"proc"]);
    }

    #[test]
    fn kernel_escapes_are_undone() {
        assert_eq!(unescape_octal(b"a\\040b\\011c\\134d\\9"), b"a b\tc\\d\\9");
    }
}

//! Mount namespace in which the machine's file systems are read-only (`mount_namespaces(7)`).
//!
//! The namespace has a copy of each mount, which is remounted read-only. The flags of the
//! original mounts do not change, and the kernel removes the copies when the process ends. The
//! copies are also `noatime`, because `O_NOATIME` does not cover reading a symbolic link.

use crate::model::escape;
use crate::system::mounts::{self, Class};
use nix::sched::CloneFlags;
use rustix::mount::{self, MountFlags, MountPropagationFlags};

/// Makes file systems read-only and returns their number, or the reason why it failed.
pub(super) fn make_read_only() -> Result<usize, String> {
    let mountinfo = std::fs::read("/proc/self/mountinfo")
        .map_err(|cause| format!("cannot read /proc/self/mountinfo: {cause}"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|cause| format!("cannot create a mount namespace: {cause}"))?;
    // MS_SLAVE: if the administrator unmounts a file system during the run, the copy is unmounted
    // too. Changes in this namespace do not propagate back (mount_namespaces(7)).
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount::mount_change("/", slave).map_err(|cause| format!("cannot set mount propagation: {cause}"))?;
    let table = mounts::parse(&mountinfo, b"/");
    let mut count = 0;
    for mount in table.iter().filter(|mount| is_reachable(mount, &table)) {
        let point = [b"/", &*mount.point].concat();
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOATIME
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        mount::mount_remount(point.as_slice(), flags, "").map_err(|cause| {
            format!("cannot remount {} read-only: {cause}", escape::display(&mount.point))
        })?;
        count += 1;
    }
    Ok(count)
}

/// Whether to remount this file system. Excludes mounts below a remote one, because resolving
/// their path could block on a server that does not respond.
fn is_reachable(mount: &mounts::Mount, table: &mounts::Mounts) -> bool {
    matches!(mount.class, Class::Local | Class::Volatile | Class::Image)
        && !table.iter().any(|other| {
            other.class == Class::Remote && crate::model::tree::is_within(&mount.point, &other.point)
        })
}

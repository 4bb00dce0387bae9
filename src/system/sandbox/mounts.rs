//! A mount namespace in which the machine's file systems are read-only (`mount_namespaces(7)`).
//!
//! The copy of each mount is remounted where it is: its flags are this process's alone, nothing is mounted anew, and all is
//! gone with the process, however it ends. Reading then leaves no access time either, not even that of a link, which
//! `O_NOATIME` does not cover.

use crate::model::escape;
use crate::system::mounts::{self, Class};
use nix::sched::CloneFlags;
use rustix::mount::{self, MountFlags, MountPropagationFlags};

/// Returns the number of file systems, or why nothing was changed.
pub(super) fn make_read_only() -> Result<usize, String> {
    let mountinfo =
        std::fs::read("/proc/self/mountinfo").map_err(|cause| format!("the mount table: {cause}"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(|cause| format!("a mount namespace: {cause}"))?;
    // What the administrator unmounts meanwhile goes here too; nothing goes the other way.
    let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount::mount_change("/", follow).map_err(|cause| format!("its propagation: {cause}"))?;
    let table = mounts::parse(&mountinfo, b"/");
    let mut count = 0;
    for mount in table.iter().filter(|mount| is_reached(mount, &table)) {
        let point = [b"/", &*mount.point].concat();
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOATIME
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        mount::mount_remount(point.as_slice(), flags, "")
            .map_err(|cause| format!("{} read-only: {cause}", escape::display(&mount.point)))?;
        count += 1;
    }
    Ok(count)
}

/// Only what is read is looked for: the way to a mount below a dead server does not end.
fn is_reached(mount: &mounts::Mount, table: &mounts::Mounts) -> bool {
    let is_read = matches!(mount.class, Class::Local | Class::Volatile | Class::Image);
    let above = |other: &mounts::Mount| {
        other.class == Class::Remote && crate::model::tree::is_within(&mount.point, &other.point)
    };
    is_read && !table.iter().any(above)
}

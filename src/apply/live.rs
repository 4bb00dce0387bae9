//! Refuses to change the running system: `apply` removes each path that its context does not have.

use crate::context::MOUNT;
use crate::error::{Code, Error, Result};
use crate::model::tree;
use crate::system::mounts::{self, Mounts};
use crate::system::root::{Root, identity_of};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Directories of a running system, of which a root must be no other name.
const DIRECTORIES: [&str; 11] =
    ["", "bin", "boot", "etc", "home", "opt", "root", "sbin", "srv", "usr", "var"];
/// Files that a copy of the system by hard links has in common with it.
const FILES: [&str; 5] =
    ["etc/os-release", "etc/passwd", "usr/bin/env", "usr/lib/os-release", "var/lib/dpkg/status"];

/// Fails (code 20) unless `root` is a directory apart from the running system, or `/` in a build
/// step of the generated Dockerfile.
pub fn refuse_running_system(root: &Root, context: &Path) -> Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(root.absolute()));
    if path != Path::new("/") {
        return match shared_path(root, path) {
            None => Ok(()),
            Some(shared) => Err(refusal(&format!("--root {}", root.name()), &format!("it shares {shared}"))),
        };
    }
    let context = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    if !is_mounted_by_build(context.as_os_str().as_bytes(), &mounts::parse(&mountinfo, b"/")) {
        return Err(refusal("/", "the context is not mounted as in a build"));
    }
    if !runs_apart_from_init() {
        return Err(refusal("/", "process 1 is the init system of this root"));
    }
    Ok(())
}

fn refusal(object: &str, why: &str) -> Error {
    Error::new(Code::NotStarted, format!("{object}: apply would change the running system: {why}"))
        .hint("build the image with build.sh, or name an unpacked root with --root DIR")
}

/// Whether the context is where the Dockerfile mounts it: the first sign of a build step.
fn is_mounted_by_build(context: &[u8], mounts: &Mounts) -> bool {
    let Some(place) = context.strip_prefix(b"/") else { return false };
    let whole = format!("{MOUNT}-context");
    if context == whole.as_bytes() {
        return mounts.at(place).is_some();
    }
    // The package stage mounts only the files that it needs.
    context == MOUNT.as_bytes() && mounts.iter().any(|mount| tree::is_within(&mount.point, place))
}

/// Whether no init system runs on this root: the second sign of a build step.
///
/// An engine starts the step as process 1 of a PID namespace, or its shell. An engine without such
/// a namespace runs it on another root than process 1.
fn runs_apart_from_init() -> bool {
    let is_first = std::process::id() == 1 || std::os::unix::process::parent_id() == 1;
    let root_of = |process: &str| identity_of(Path::new(&format!("/proc/{process}/root/."))).ok();
    let is_elsewhere = root_of("1").zip(root_of("self")).is_some_and(|(first, own)| first != own);
    // A daemon's child of a machine's init has process 1 as its parent too.
    let is_init = std::fs::read("/proc/1/comm").is_ok_and(|name| INIT.contains(&name.trim_ascii()));
    is_elsewhere || is_first && !is_init
}

/// Names of the processes that are process 1 of a machine (`/proc/1/comm`).
const INIT: [&[u8]; 9] = [
    b"systemd",
    b"init",
    b"openrc-init",
    b"runit",
    b"runit-init",
    b"s6-svscan",
    b"dinit",
    b"finit",
    b"shepherd",
];

/// Returns what a root has in common with the running system: the same directory or file.
fn shared_path(root: &Root, path: &Path) -> Option<String> {
    let of_system = |name: &str| identity_of(&Path::new("/").join(name)).ok();
    let own = identity_of(path).ok();
    let is_directory_of_system = |name: &&&str| own.is_some() && of_system(name) == own;
    let is_shared = |name: &&&str| {
        // Links of the root are followed inside of it, not into the running system.
        let below = root.stat(name.as_bytes()).ok().map(|stat| (stat.st_dev, stat.st_ino));
        below.is_some() && below == of_system(name)
    };
    let directory = DIRECTORIES.iter().find(is_directory_of_system);
    let shared = directory.or_else(|| DIRECTORIES[1..].iter().chain(&FILES).find(is_shared));
    shared.map(|name| format!("/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_mounted_by_build_needs_the_place_and_the_mount() {
        let table = |points: &[&str]| {
            let lines = points
                .iter()
                .enumerate()
                .map(|(at, point)| format!("{} 1 8:1 / {point} ro - ext4 /dev/sda1 ro\n", at + 2));
            let text = "1 0 8:1 / / rw - overlay overlay rw\n".to_owned() + &lines.collect::<String>();
            mounts::parse(text.as_bytes(), b"/")
        };
        let parts = table(&["/dev/vm2docker/vm2docker-self", "/dev/vm2docker/packages"]);
        let whole = table(&["/dev/vm2docker-context"]);
        assert!(is_mounted_by_build(b"/dev/vm2docker", &parts));
        assert!(is_mounted_by_build(b"/dev/vm2docker-context", &whole));
        assert!(!is_mounted_by_build(b"/dev/vm2docker-context", &parts));
        assert!(!is_mounted_by_build(b"/dev/vm2docker", &whole));
        assert!(!is_mounted_by_build(b"/ctx", &table(&["/ctx"])));
    }

    #[test]
    fn refuse_running_system_refuses_its_directories_and_hard_links() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let root = Root::open(path).unwrap();
            refuse_running_system(&root, Path::new("/ctx")).err().map(|error| error.code)
        };
        assert_eq!(refused(dir.path()), None);
        for path in ["/", "/etc", "/usr", "/proc/self/root/", "/proc/self/root/var"] {
            assert_eq!(refused(Path::new(path)), Some(Code::NotStarted), "{path}");
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        assert_eq!(refused(dir.path()), None, "a link is a link of the root");
    }
}

//! Refuses to change the running system: `apply` removes each path that its context does not have.

use crate::context::MOUNT;
use crate::error::{Code, Error, Result};
use crate::model::{escape, tree};
use crate::system::mounts::{self, Mounts};
use crate::system::root::{Root, identity_of};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Directories of a running system, of which a root must be no other name.
const DIRECTORIES: [&str; 11] =
    ["", "bin", "boot", "etc", "home", "opt", "root", "sbin", "srv", "usr", "var"];
/// Those of them that contain no root of another system.
const SYSTEM: [&str; 5] = ["bin", "boot", "etc", "sbin", "usr"];
/// Files that a copy of the system by hard links has in common with it.
const FILES: [&str; 5] =
    ["etc/os-release", "etc/passwd", "usr/bin/env", "usr/lib/os-release", "var/lib/dpkg/status"];

/// Fails (code 20) unless `root` is a directory apart from the running system, or `/` in a build
/// step of the generated Dockerfile.
pub fn refuse_running_system(root: &Root, context: &Path) -> Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(root.absolute()));
    let object = format!("--root {}", root.name());
    let mountinfo = std::fs::read("/proc/self/mountinfo")
        .map_err(|cause| refusal(&object, &format!("cannot read /proc/self/mountinfo: {cause}")))?;
    let mounts = mounts::parse(&mountinfo, b"/");
    if path != Path::new("/") {
        let shared = shared_path(root, path).map(|shared| format!("it shares {shared}"));
        let why = shared.or_else(|| shared_mount(root.absolute(), &mounts));
        let why = why.or_else(|| root_of_process(root, path));
        return why.map_or(Ok(()), |why| Err(refusal(&object, &why)));
    }
    let context = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    if !is_mounted_by_build(context.as_os_str().as_bytes(), &mounts) {
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

/// Directory as the mount table locates it: device, and path in the file system.
struct Location<'a> {
    device: &'a [u8],
    path: Vec<u8>,
}

impl<'a> Location<'a> {
    /// Locates a path that is relative to `/`.
    ///
    /// In a chroot the table can lack the mount of `/`. Then paths on it have no device.
    fn of(path: &[u8], mounts: &'a Mounts) -> Self {
        let around = mounts.iter().filter(|mount| tree::is_within(path, &mount.point));
        let Some(mount) = around.max_by_key(|mount| mount.point.len()) else {
            return Location { device: b"", path: path.to_vec() };
        };
        let rest = &path[mount.point.len()..];
        let path = match rest.strip_prefix(b"/").unwrap_or(rest) {
            b"" => mount.directory.to_vec(),
            rest => tree::join(&mount.directory, rest),
        };
        Location { device: &mount.device, path }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.device == other.device && tree::is_within(&self.path, &other.path)
    }
}

/// Returns what the root or a mount in it has in common with the running system, as the mount table
/// states it: bind mounts and other mounts of one file system have the same device.
fn shared_mount(root: &[u8], mounts: &Mounts) -> Option<String> {
    let root = root.strip_prefix(b"/").unwrap_or(root);
    let own = Location::of(root, mounts);
    let live = |name: &str| Location::of(name.as_bytes(), mounts);
    let covered = DIRECTORIES.iter().find(|name| live(name).is_within(&own));
    if let Some(name) = covered.or_else(|| SYSTEM.iter().find(|name| own.is_within(&live(name)))) {
        return Some(format!("it shares /{name}"));
    }
    for mount in mounts.iter().filter(|mount| tree::is_within(&mount.point, root)) {
        let mounted = Location { device: &mount.device, path: mount.directory.to_vec() };
        // `/` contains most other directories, also roots of other systems.
        let is_shared = |name: &&&str| {
            live(name).is_within(&mounted) || !name.is_empty() && mounted.is_within(&live(name))
        };
        let shared = DIRECTORIES.iter().find(is_shared).filter(|_| !mounted.is_within(&own));
        if let Some(name) = shared {
            return Some(format!("the mount at {} shares /{name}", escape::display(&mount.point)));
        }
    }
    None
}

/// Returns a process that has its root directory in the root: it is a running container or service.
///
/// A process that ends meanwhile, or whose root this process may not read, is skipped.
fn root_of_process(root: &Root, path: &Path) -> Option<String> {
    let own = identity_of(Path::new("/")).ok()?;
    let target = identity_of(path).ok()?;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let link = entry.path().join("root");
        let (Ok(place), Ok(found)) = (std::fs::read_link(&link), identity_of(&link)) else { continue };
        let is_below = tree::is_within(place.as_os_str().as_bytes(), root.absolute());
        if found != own && (found == target || is_below) {
            let process = escape::escape(entry.file_name().as_bytes());
            return Some(format!("process {process} has its root directory there"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with subvolumes, bind mounts and a second disk.
    const MACHINE: &[u8] = b"\
22 1 254:1 /@ / rw - btrfs /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 254:2 / /srv/disk rw - ext4 /dev/vdb rw
25 22 254:1 / /mnt/whole rw - btrfs /dev/vda1 rw
26 22 254:1 /@/usr/lib /mnt/lib rw - btrfs /dev/vda1 rw
27 22 254:1 /@/srv/copy /mnt/copy rw - btrfs /dev/vda1 rw
28 24 254:1 /@/home/me /srv/disk/other/x/home rw - btrfs /dev/vda1 rw
29 24 0:21 / /srv/disk/proc rw - proc proc rw
";

    #[test]
    fn shared_mount_finds_directories_of_the_running_system() {
        let mounts = mounts::parse(MACHINE, b"/");
        for (root, expected) in [
            ("/usr", "it shares /usr"),
            ("/etc/x", "it shares /etc"),
            ("/mnt/whole", "it shares /"),
            ("/mnt/whole/@/var", "it shares /var"),
            ("/mnt/lib/x", "it shares /usr"),
            ("/srv/disk/other", "the mount at /srv/disk/other/x/home shares /home"),
            ("/srv/disk", "the mount at /srv/disk/other/x/home shares /home"),
            ("/mnt", "the mount at /mnt/copy shares /srv"),
            ("/mnt/copy", ""),
            ("/srv/disk/third", ""),
            ("/var/lib/machines/x", ""),
            ("/tmp/x", ""),
        ] {
            let found = shared_mount(root.as_bytes(), &mounts).unwrap_or_default();
            assert_eq!(found, expected, "{root}");
        }
    }

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
    fn refuse_running_system_refuses_its_directories() {
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

//! Finds a service's data directories and the paths to create before it starts.

use super::command::Run;
use super::draft::Draft;
use super::listening::canonical;
use super::model::User;
use super::script::Preparation;
use super::service_files::{ServiceFiles, relative};
use super::survey::{Candidate, Survey};
use super::users;
use crate::detect::process::{OpenFile, Target};
use crate::detect::units::exec_settings::DirectoryKind;
use crate::detect::units::tmpfiles::Line;
use crate::model::escape;
use crate::model::tree::{self, Kind};
use crate::pkg::PackageId;
use crate::system::root::Root;
use rustix::fs::{FileType, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

/// Directories for persistent data (file-hierarchy(7)). Each subdirectory belongs to one service.
const DATA_ROOTS: &[&str] = &["/var/lib", "/var/spool", "/var/opt", "/var/cache"];
/// Subdirectories that belong to the package manager or to the system.
const SYSTEM_DATA: &[&str] = &[
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/systemd",
    "/var/lib/dbus",
    "/var/lib/ucf",
    "/var/lib/pam",
    "/var/lib/misc",
    "/var/lib/python",
    "/var/lib/private",
    "/var/lib/update-rc.d",
    "/var/lib/polkit-1",
    "/var/cache/apt",
    "/var/cache/man",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/cache/private",
    "/var/spool/cron",
    "/var/spool/rsyslog",
];
/// Prefixes of interpreters, whose packages do not identify the service.
const INTERPRETERS: &[&str] = &["python", "perl", "ruby", "node", "java", "php7", "php8", "lua", "tclsh"];
/// Interpreters by exact name, because their names are prefixes of other executables.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ksh", "zsh", "busybox", "php"];
/// Mail servers, which all deliver to `/var/mail`.
const MAIL_SERVERS: &[&str] = &["master", "exim4", "exim", "dovecot"];
/// Directories in `/run` that belong to the operating system.
const SYSTEM_RUN_DIRECTORIES: &[&str] = &[
    "systemd",
    "udev",
    "user",
    "dbus",
    "log",
    "mount",
    "lock",
    "credentials",
    "network",
    "initctl",
    "sudo",
    "sshd",
    "shm",
    "initramfs",
    "blkid",
    "lvm",
    "cryptsetup",
    "cloud-init",
    "NetworkManager",
    "resolvconf",
    "agetty.reload",
    "needrestart",
];

/// Returns a service's persistent data directories, absolute. Leaves out subdirectories of
/// another result.
pub(super) fn directories(
    candidate: &Candidate<'_>,
    service_files: &ServiceFiles<'_>,
    live_data: &BTreeSet<Vec<u8>>,
    others: &BTreeSet<&[u8]>,
) -> BTreeSet<Vec<u8>> {
    let mut found: BTreeSet<Vec<u8>> =
        unit_directories(candidate, &[DirectoryKind::State, DirectoryKind::Cache])
            .into_iter()
            .map(|path| match service_files.node(&path).map(|node| &node.kind) {
                Some(Kind::Symlink(target)) => {
                    [b"/", &tree::link_target(relative(&path), target)[..]].concat()
                }
                _ => path,
            })
            .collect();
    let uids = uids(candidate);
    let packages = packages(candidate, service_files);
    for node in DATA_ROOTS.iter().flat_map(|data_root| service_files.directories(data_root.as_bytes())) {
        let owners = service_files.packages(&node.path);
        let is_other_service = others.contains(tree::file_name(&node.path));
        let is_own = uids.contains(&node.stat.uid) && !is_other_service;
        if is_own || owners.iter().any(|package| packages.contains(package)) {
            found.insert([b"/", &*node.path].concat());
        }
    }
    for file in written(candidate) {
        found.extend(persistent_directory(file));
    }
    if candidate.program().is_some_and(|program| MAIL_SERVERS.iter().any(|mail| program == mail.as_bytes())) {
        found.insert(b"/var/mail".to_vec());
    }
    found.retain(|path| {
        let is_system_data = SYSTEM_DATA.iter().any(|place| path == place.as_bytes());
        let is_live_data =
            live_data.iter().any(|live| tree::is_within(live, path) || tree::is_within(path, live));
        let is_directory = service_files.node(path).is_some_and(|node| node.kind == Kind::Directory);
        !is_system_data && !is_live_data && is_directory
    });
    let all = found.clone();
    found.retain(|path| !all.iter().any(|other| other != path && tree::is_within(path, other)));
    found
}

/// Returns the names that identify a service's directories and configuration: the unit's and the
/// executable's.
pub(super) fn names<'a>(candidate: &'a Candidate<'_>) -> BTreeSet<&'a [u8]> {
    let stem = candidate.stem();
    let own = stem.split(|&byte| byte == b'@').next().unwrap_or(stem);
    let program = candidate.program().filter(|program| !is_interpreter(program));
    [Some(own), program].into_iter().flatten().collect()
}

/// Returns the packages of a service's executable. An interpreter's packages say nothing about
/// the service.
pub(super) fn packages(candidate: &Candidate<'_>, service_files: &ServiceFiles<'_>) -> BTreeSet<PackageId> {
    let running = candidate.main().and_then(|process| process.exe.as_ref()).map(|exe| &*exe.path);
    let configured = candidate.service.iter().flat_map(|service| &service.exec_start);
    let program = running.or(configured.map(|exec| &*exec.program).next());
    let program = program.filter(|path| !is_interpreter(tree::file_name(path)));
    // The executable of an init script is not known without a process.
    let script = candidate.other.as_ref().map(|other| &*other.script).filter(|_| running.is_none());
    let files = program.into_iter().chain(script);
    files.flat_map(|path| service_files.packages(path)).copied().collect()
}

pub(super) fn is_interpreter(program: &[u8]) -> bool {
    let starts = INTERPRETERS.iter().any(|name| program.starts_with(name.as_bytes()));
    starts || SHELLS.iter().any(|name| program == name.as_bytes())
}

/// Returns the UIDs of the service's processes, without root.
fn uids(candidate: &Candidate<'_>) -> BTreeSet<u32> {
    let uids = candidate.processes.iter().map(|process| process.credentials.user.effective);
    uids.filter(|uid| *uid != 0).collect()
}

/// Returns the directories that systemd creates for the unit, absolute.
fn unit_directories(candidate: &Candidate<'_>, kinds: &[DirectoryKind]) -> BTreeSet<Vec<u8>> {
    let directories = candidate.service.iter().flat_map(|service| &service.settings.directories);
    let selected = directories.filter(|directory| kinds.contains(&directory.kind));
    selected.map(|directory| [b"/", &directory.path[..]].concat()).collect()
}

/// Returns the directories that a unit with a read-only root can write to, absolute.
pub(super) fn writable(candidate: &Candidate<'_>, service_files: &ServiceFiles<'_>) -> BTreeSet<Vec<u8>> {
    let mut paths = unit_directories(
        candidate,
        &[DirectoryKind::Runtime, DirectoryKind::State, DirectoryKind::Cache, DirectoryKind::Logs],
    );
    let named = candidate.service.iter().flat_map(|service| &service.settings.read_write_paths);
    paths.extend(named.map(|path| canonical(path.strip_prefix(b"-").unwrap_or(path))));
    paths.retain(|path| {
        let is_directory = service_files.node(path).is_some_and(|node| node.kind == Kind::Directory);
        is_directory || path.starts_with(b"/run/")
    });
    paths
}

/// Returns the directory of one service's data that contains a relative path.
pub(super) fn data_directory(path: &[u8]) -> Option<&[u8]> {
    let directory = DATA_ROOTS.iter().find_map(|data_root| {
        let rest = path.strip_prefix(relative(data_root.as_bytes()))?.strip_prefix(b"/")?;
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        Some(&path[..path.len() - rest.len() + end])
    });
    directory.filter(|path| !SYSTEM_DATA.iter().any(|place| *path == relative(place.as_bytes())))
}

/// Returns the directory that must be persistent to keep this file.
fn persistent_directory(path: &[u8]) -> Option<Vec<u8>> {
    let below_data_root = DATA_ROOTS.iter().find_map(|data_root| {
        let rest = path.strip_prefix(data_root.as_bytes())?.strip_prefix(b"/")?;
        let end = memchr::memchr(b'/', rest)?;
        Some(path[..data_root.len() + 1 + end].to_vec())
    });
    let is_local_data = [&b"/srv/"[..], b"/opt/", b"/home/", b"/data/", b"/var/www/"]
        .iter()
        .any(|place| path.starts_with(place));
    below_data_root.or_else(|| is_local_data.then(|| tree::parent(path).to_vec()))
}

/// Returns the regular files that the service's processes have open for writing, absolute.
pub(super) fn written<'a>(candidate: &Candidate<'a>) -> impl Iterator<Item = &'a [u8]> {
    open_files(candidate).filter(|(file, _)| file.is_writable).map(|(_, path)| path)
}

/// Returns the regular files that the service's processes have open, absolute.
fn open_files<'a>(candidate: &Candidate<'a>) -> impl Iterator<Item = (&'a OpenFile, &'a [u8])> {
    let files = candidate.processes.clone().into_iter().flat_map(|process| &process.files);
    files.filter_map(|file| match &file.target {
        Target::File(target) if !target.is_deleted => Some((file, &*target.path)),
        _ => None,
    })
}

/// Returns whether the service uses a directory of live data: its processes work in it, have
/// files open in it, or run as its owner.
pub(super) fn uses(candidate: &Candidate<'_>, path: &[u8], service_files: &ServiceFiles<'_>) -> bool {
    let is_inside = candidate.processes.iter().any(|process| {
        let is_cwd = process.cwd.as_deref().is_some_and(|cwd| tree::is_within(cwd, path));
        let is_argument = process.argv.iter().any(|word| word == path);
        is_cwd || is_argument
    });
    let owner = service_files.node(path).map(|node| node.stat.uid).filter(|uid| *uid != 0);
    let is_owner =
        candidate.processes.iter().any(|process| Some(process.credentials.user.effective) == owner);
    is_inside || is_owner || open_files(candidate).any(|(_, open)| tree::is_within(open, path))
}

/// Returns whether a service without a process claims a directory of live data: by its name, by its
/// user or by its configuration.
pub(super) fn claims(draft: &Draft<'_>, path: &[u8], service_files: &ServiceFiles<'_>) -> bool {
    let user = draft.run.user.as_ref().or(draft.run.script.run_as.as_ref());
    let owner = service_files.node(path).map(|node| node.stat.uid).filter(|uid| *uid != 0);
    draft.candidate.processes.is_empty()
        && (names(draft.candidate).contains(tree::file_name(path))
            || user.is_some_and(|user| Some(user.uid) == owner)
            || draft.texts.iter().any(|text| super::connections::holds_path(&text.content, path)))
}

/// Returns the paths to create before a service starts: directories of `/run`, links from log
/// files to the output.
pub(super) fn preparation(
    candidate: &Candidate<'_>,
    run: &Run,
    survey: &Survey<'_>,
    root: &Root,
    is_live: bool,
    logs: bool,
) -> Preparation {
    let mut directories: BTreeMap<Vec<u8>, (u16, u32, u32)> = BTreeMap::new();
    let mut unknown_owners = BTreeSet::new();
    // A container that starts as root changes to the service's user later.
    let user = run.user.as_ref().or(run.script.run_as.as_ref());
    let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
    if let Some(service) = &candidate.service {
        for directory in service
            .settings
            .directories
            .iter()
            .filter(|directory| directory.kind != DirectoryKind::Configuration)
        {
            let target = root.read_link(&directory.path).ok();
            let path = target.map(|target| tree::link_target(&directory.path, &target));
            let path = [b"/", &path.unwrap_or_else(|| directory.path.clone())[..]].concat();
            // systemd lets only root enter this directory, and mounts its entries for their
            // services (systemd.exec(5), DynamicUser=).
            let private = format!("/{}/private", directory.kind.base());
            if service.settings.dynamic_user && tree::parent(&path) == private.as_bytes() {
                directories.insert(private.into_bytes(), (0o711, 0, 0));
            }
            directories.insert(path, (directory.mode, uid, gid));
        }
    }
    let uids = uids(candidate);
    let names = [candidate.stem(), candidate.program().unwrap_or_default()];
    let live = is_live.then(|| run_directories(root)).into_iter().flatten();
    let live = live.map(|(path, mode, uid, gid)| (path, mode, uid, gid, None));
    for (path, mode, uid, gid, unknown) in
        tmpfiles_directories(candidate, user, survey).into_iter().chain(live)
    {
        let below = path.strip_prefix(b"/run/").unwrap_or_default();
        let top = below.split(|&byte| byte == b'/').next().unwrap_or_default();
        let is_named =
            names.iter().any(|name| !name.is_empty() && (name.starts_with(top) || top.starts_with(name)));
        let is_lock = top == b"lock" && names.iter().any(|name| tree::file_name(&path) == *name);
        let is_open = open_files(candidate).any(|(_, open)| tree::is_within(open, &path));
        let is_owner = uids.contains(&uid) && top != b"lock" && top != b"user";
        let is_system_directory = SYSTEM_RUN_DIRECTORIES.iter().any(|name| top == name.as_bytes())
            && !is_lock
            && !(top == b"lock" && uids.contains(&uid));
        if !top.is_empty()
            && !is_system_directory
            && (is_named || is_open || is_owner || is_lock || top == b"lock")
        {
            unknown_owners.extend(unknown.filter(|_| !directories.contains_key(&path)));
            directories.entry(path).or_insert((mode, uid, gid));
        }
    }
    let logs = if logs { log_files(candidate) } else { Vec::new() };
    let directories =
        directories.into_iter().map(|(path, (mode, uid, gid))| (path, mode, uid, gid)).collect();
    Preparation { directories, logs, unknown_owners }
}

/// Returns the log files to link to the output, and whether each is for errors.
///
/// These are files that processes of the main user have open in append mode. The engine stores
/// the output instead.
fn log_files(candidate: &Candidate<'_>) -> Vec<(Vec<u8>, bool)> {
    let main_user = candidate.main().map(|process| process.credentials.user.effective);
    let mut logs = BTreeSet::new();
    for process in
        candidate.processes.iter().filter(|process| Some(process.credentials.user.effective) == main_user)
    {
        for file in process.files.iter().filter(|file| file.is_writable && file.appends) {
            if let Target::File(target) = &file.target
                && target.path.starts_with(b"/var/log/")
                && !target.is_deleted
            {
                logs.insert(target.path.to_vec());
            }
        }
    }
    logs.into_iter()
        .map(|path| {
            let is_error = memchr::memmem::find(tree::file_name(&path), b"err").is_some();
            (path, is_error)
        })
        .collect()
}

/// A directory: path, mode, UID, GID, and the setting whose account is in no account file.
type Directory = (Vec<u8>, u16, u32, u32, Option<String>);

/// Returns the directories below `/run` that `tmpfiles.d` creates.
///
/// Such an account is the service's own if its unit names it. Otherwise the overflow UID is used.
fn tmpfiles_directories(
    candidate: &Candidate<'_>,
    user: Option<&User>,
    survey: &Survey<'_>,
) -> Vec<Directory> {
    let settings = candidate.service.as_ref().map(|service| &service.settings);
    let own_user = settings.and_then(|settings| settings.user.as_deref());
    let own_group = settings.and_then(|settings| settings.group.as_deref()).or(own_user);
    let (own_uid, own_gid) = (user.map(|user| user.uid), user.map(|user| user.gid));
    let lines = survey.tmpfiles.iter().filter(|(_, line)| matches!(line.kind, b'd' | b'D'));
    let directory = |(file, line): &(Vec<u8>, Line)| {
        let path = canonical(&line.path);
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let mut unknown = None;
        let mut owner = |name: Option<&[u8]>, known: &dyn Fn(&[u8]) -> Option<u32>, own: Option<u32>| {
            // The prefix limits the owner to new directories (tmpfiles.d(5)).
            let Some(name) = name.map(|name| name.strip_prefix(b":").unwrap_or(name)) else { return 0 };
            known(name).or(own.filter(|_| Some(name) == own_user || Some(name) == own_group)).unwrap_or_else(
                || {
                    let (file, name) = (escape::display(file), escape::escape(name));
                    unknown = Some(format!("{} of {} in {file}", name, escape::escape(&path)));
                    users::OVERFLOW
                },
            )
        };
        let uid = owner(line.user.as_deref(), &|name| users::uid(name, survey), own_uid);
        let gid = owner(line.group.as_deref(), &|name| survey.accounts.group(name), own_gid);
        let mode = line.mode.map_or(0o755, |mode| mode.bits);
        path.starts_with(b"/run/").then_some((path, mode, uid, gid, unknown))
    };
    lines.filter_map(directory).collect()
}

/// Returns the current directories in `/run`, two levels deep.
fn run_directories(root: &Root) -> Vec<(Vec<u8>, u16, u32, u32)> {
    let mut directories = Vec::new();
    let mut todo = vec![b"/run".to_vec()];
    while let Some(parent) = todo.pop() {
        let Ok(directory) = root.open_directory_exactly(relative(&parent)) else { continue };
        for name in crate::system::root::list_directory(directory.as_fd()).unwrap_or_default() {
            let path = tree::join(&parent, &name);
            let is_system_directory = parent == b"/run"
                && SYSTEM_RUN_DIRECTORIES.iter().any(|own| name == own.as_bytes() && name != b"lock");
            let stat =
                crate::system::root::stat_at(directory.as_fd(), &name).ok().filter(|_| !is_system_directory);
            let Some(stat) = stat.filter(is_directory) else { continue };
            directories.push((path.clone(), (stat.st_mode & 0o7777) as u16, stat.st_uid, stat.st_gid));
            if parent.iter().filter(|&&byte| byte == b'/').count() < 3 {
                todo.push(path);
            }
        }
    }
    directories.sort();
    directories
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

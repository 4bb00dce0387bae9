//! System calls by name and number (x86_64), and which of them belong together.

use std::sync::LazyLock;

/// `NUMBER NAME`, a line each, from the kernel's `asm/unistd_64.h`.
const TABLE: &str = include_str!("../syscalls.txt");

/// Calls that can change something outside the process. `open` and similar calls change something
/// only with certain flags, and `write` and similar calls only in a file with a name
/// (`Call::changes`).
pub const CHANGING: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "creat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "sendfile",
    "splice",
    "copy_file_range",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "truncate",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "syncfs",
    "flock",
    "umount2",
];

/// Calls for which there is no reason at all in a conversion of a directory without network.
pub const FORBIDDEN: &[&str] = &[
    "umount2",
    "mount_setattr",
    "move_mount",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "open_tree",
    "open_tree_attr",
    "pivot_root",
    "chroot",
    "swapon",
    "swapoff",
    "reboot",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "quotactl",
    "quotactl_fd",
    "acct",
    "bpf",
    "perf_event_open",
    "ptrace",
    "process_vm_writev",
    "setns",
    "io_uring_setup",
    "io_uring_enter",
    "shmget",
    "msgget",
    "semget",
    "mq_open",
    "add_key",
    "keyctl",
    "request_key",
    "fanotify_init",
    "inotify_init",
    "inotify_init1",
    "ioperm",
    "iopl",
    "connect",
    "bind",
    "listen",
    "vhangup",
    "syslog",
    "fork",
    "vfork",
];

/// Calls that fail alike, by the name that `error-points --class` takes.
const CLASSES: &[(&str, &[&str])] = &[
    ("open", &["open", "openat", "openat2", "creat"]),
    ("read", &["read", "pread64", "readv", "preadv", "preadv2"]),
    ("write", &["write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile"]),
    ("fsync", &["fsync", "fdatasync", "syncfs", "sync_file_range"]),
    ("rename", &["rename", "renameat", "renameat2"]),
    ("stat", &["stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs"]),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("close", &["close"]),
    ("getdents", &["getdents", "getdents64"]),
    ("chmod", &["chmod", "fchmod", "fchmodat", "fchmodat2"]),
    ("readlink", &["readlink", "readlinkat"]),
    ("seek", &["lseek"]),
    ("dup", &["fcntl", "dup", "dup2", "dup3"]),
    (
        "xattr",
        &["listxattr", "llistxattr", "flistxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattrat"],
    ),
    ("thread", &["clone", "clone3"]),
];

static NAMES: LazyLock<Vec<(i64, &'static str)>> = LazyLock::new(|| {
    let entry = |line: &'static str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    };
    TABLE.lines().filter_map(entry).collect()
});

/// The name of a call; `?` for one that is newer than the table, which no list has.
pub fn name(number: i64) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == number).map_or("?", |(_, name)| name)
}

/// The numbers of those of `names` that this architecture has.
pub fn numbers(names: &[&str]) -> Vec<i64> {
    NAMES.iter().filter(|(_, name)| names.contains(name)).map(|(number, _)| *number).collect()
}

/// The calls of a class, or the names of all classes.
pub fn class(wanted: &str) -> Result<&'static [&'static str], String> {
    let found = CLASSES.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, calls)| *calls).ok_or_else(|| {
        let known: Vec<&str> = CLASSES.iter().map(|(name, _)| *name).collect();
        format!("--class {wanted}: choose from {}", known.join(" "))
    })
}

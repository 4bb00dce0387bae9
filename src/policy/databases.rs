//! Live databases, detected by the files on the disk instead of the path.
//!
//! A database that is in use cannot be copied file by file. Its files stay out
//! of the image; the directory becomes a volume.

use memchr::memmem;

/// Directories in which package managers keep their own databases and histories, relative to a
/// root.
///
/// Their formats are those of live databases (rpm and dnf use SQLite with a log), but the image
/// needs them: without them its package manager knows no package.
const PACKAGE_MANAGERS: &[&str] = &[
    "lib/apk/db",
    "usr/lib/apk/db",
    "usr/lib/sysimage",
    "usr/share/rpm",
    "var/db/pkg",
    "var/db/xbps",
    "var/guix",
    "var/lib/PackageKit",
    "var/lib/apk",
    "var/lib/apt",
    "var/lib/aptitude",
    "var/lib/dnf",
    "var/lib/dpkg",
    "var/lib/flatpak",
    "var/lib/opkg",
    "var/lib/pacman",
    "var/lib/portage",
    "var/lib/rpm",
    "var/lib/rpm-state",
    "var/lib/smart",
    "var/lib/snapd",
    "var/lib/swupd",
    "var/lib/urpmi",
    "var/lib/yum",
    "var/lib/zypp",
    "nix/var/nix/db",
];

/// Whether a file belongs to a package manager, also of a root below this one (a chroot).
pub(super) fn is_package_managers(path: &[u8]) -> bool {
    PACKAGE_MANAGERS.iter().any(|directory| {
        memmem::find_iter(path, directory).any(|start| {
            let begins = start == 0 || path[start - 1] == b'/';
            begins && path.get(start + directory.len()) == Some(&b'/')
        })
    })
}

/// Database files in a directory, by its listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Everything in this directory is the data of the named engine.
    Directory(Engine),
    /// These names in it, sorted, are the engine's data; others beside them are not.
    Files(Engine, Vec<Vec<u8>>),
}

/// A database engine, by its on-disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL cluster: `PG_VERSION`, `base`, `global` (PostgreSQL manual, "Database File
    /// Layout").
    PostgreSql,
    /// MySQL or MariaDB: InnoDB system tablespace with its log, or Aria log with its control
    /// file.
    MySql,
    /// MongoDB: the WiredTiger storage engine's own files.
    MongoDb,
    /// Redis: a snapshot with the magic `REDIS` next to the append-only directory, or an
    /// append-only file.
    Redis,
    /// SQLite: the magic `SQLite format 3` with a `-wal` or `-journal` next to it.
    Sqlite,
}

impl Engine {
    /// All engines, in the order of their rules.
    pub(super) const ALL: [Engine; 5] =
        [Engine::PostgreSql, Engine::MySql, Engine::MongoDb, Engine::Redis, Engine::Sqlite];

    /// Returns the reason in the plan.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Engine::PostgreSql => "live PostgreSQL data: a volume; copy it with pg_dumpall or pg_basebackup",
            Engine::MySql => "live MySQL or MariaDB data: a volume; copy it with mysqldump or mariadb-backup",
            Engine::MongoDb => "live MongoDB data: a volume; copy it with mongodump",
            Engine::Redis => "live Redis data: a volume; copy it after redis-cli SAVE",
            Engine::Sqlite => "live SQLite database with its log: a volume; copy it with .backup",
        }
    }
}

/// Returns the database files among the sorted `names` of one directory. `head` returns the first
/// bytes of one of its files.
pub fn signs(names: &[Vec<u8>], head: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Sign> {
    let has = |name: &str| names.binary_search_by(|other| other.as_slice().cmp(name.as_bytes())).is_ok();
    let begins =
        |name: &str, magic: &[u8]| has(name) && head(name.as_bytes()).is_some_and(|h| h.starts_with(magic));
    if has("PG_VERSION") && has("base") && has("global") {
        return Some(Sign::Directory(Engine::PostgreSql));
    }
    let innodb = ["ibdata1", "mysql.ibd"].iter().any(|name| has(name))
        && ["ib_logfile0", "#innodb_redo"].iter().any(|name| has(name));
    if innodb || has("aria_log_control") && has("aria_log.00000001") {
        return Some(Sign::Directory(Engine::MySql));
    }
    if has("WiredTiger") && has("WiredTiger.wt") {
        return Some(Sign::Directory(Engine::MongoDb));
    }
    let mut redis: Vec<Vec<u8>> = Vec::new();
    if begins("dump.rdb", b"REDIS") {
        redis.extend([b"appendonlydir".to_vec(), b"dump.rdb".to_vec()]);
    }
    if begins("appendonly.aof", b"*2\r\n$6\r\nSELECT") || begins("appendonly.aof", b"REDIS") {
        redis.push(b"appendonly.aof".to_vec());
    }
    if !redis.is_empty() {
        redis.sort_unstable();
        return Some(Sign::Files(Engine::Redis, redis));
    }
    let mut sqlite: Vec<Vec<u8>> = names.iter().flat_map(|name| sqlite_files(name, names, &head)).collect();
    sqlite.sort_unstable();
    (!sqlite.is_empty()).then_some(Sign::Files(Engine::Sqlite, sqlite))
}

/// The files of the database whose log `name` is, if it is one.
fn sqlite_files(name: &[u8], names: &[Vec<u8>], head: &impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let Some(database) = name.strip_suffix(b"-wal").or_else(|| name.strip_suffix(b"-journal")) else {
        return Vec::new();
    };
    let is_database = names.binary_search_by(|other| other.as_slice().cmp(database)).is_ok()
        && head(database).is_some_and(|bytes| memmem::find(&bytes, b"SQLite format 3\0") == Some(0));
    if !is_database {
        return Vec::new();
    }
    [&b""[..], b"-wal", b"-journal", b"-shm"].map(|suffix| [database, suffix].concat()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs_of(files: &[(&str, &str)]) -> Option<Sign> {
        let mut names: Vec<Vec<u8>> = files.iter().map(|(name, _)| name.as_bytes().to_vec()).collect();
        names.sort();
        signs(&names, |name| {
            files.iter().find(|(other, _)| other.as_bytes() == name).map(|(_, head)| head.as_bytes().to_vec())
        })
    }

    #[test]
    fn is_package_managers_knows_databases_of_each_root() {
        for path in [
            "var/lib/rpm/rpmdb.sqlite-wal",
            "srv/chroot/var/lib/dnf/history.sqlite",
            "nix/var/nix/db/db.sqlite",
        ] {
            assert!(is_package_managers(path.as_bytes()), "{path}");
        }
        for path in ["var/lib/rpmx/a", "srv/var/lib/rpm", "var/lib/app/data.sqlite", "xvar/lib/rpm/a"] {
            assert!(!is_package_managers(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn engines_are_known_by_their_files() {
        let directory = |files: &[&str]| signs_of(&files.iter().map(|name| (*name, "")).collect::<Vec<_>>());
        assert_eq!(
            directory(&["PG_VERSION", "base", "global", "x"]),
            Some(Sign::Directory(Engine::PostgreSql))
        );
        assert_eq!(directory(&["PG_VERSION", "base"]), None);
        assert_eq!(directory(&["ib_logfile0", "ibdata1"]), Some(Sign::Directory(Engine::MySql)));
        assert_eq!(directory(&["ibdata1"]), None, "a name alone is not a database");
        assert_eq!(directory(&["appendonlydir"]), None);
        assert_eq!(directory(&["WiredTiger", "WiredTiger.wt"]), Some(Sign::Directory(Engine::MongoDb)));
        let redis = vec![b"appendonlydir".to_vec(), b"dump.rdb".to_vec()];
        let found = signs_of(&[("dump.rdb", "REDIS0010"), ("home", "")]);
        assert_eq!(found, Some(Sign::Files(Engine::Redis, redis)));
        assert_eq!(signs_of(&[("dump.rdb", "notes about rdb")]), None);
    }

    #[test]
    fn sqlite_needs_the_magic_and_a_log() {
        let magic = "SQLite format 3\0...";
        assert_eq!(signs_of(&[("a.db", magic)]), None);
        assert_eq!(signs_of(&[("a.db", "text"), ("a.db-wal", "")]), None);
        let Some(Sign::Files(Engine::Sqlite, files)) =
            signs_of(&[("a.db", magic), ("a.db-wal", ""), ("b.txt", "")])
        else {
            panic!("no sign")
        };
        assert!(files.contains(&b"a.db".to_vec()) && files.contains(&b"a.db-wal".to_vec()));
        assert!(!files.contains(&b"b.txt".to_vec()));
    }
}

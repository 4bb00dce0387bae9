//! Places where a root can have its package database, and the choice among several.
//!
//! The directory is rpm's macro `_dbpath`; distributions moved it several times, and tools that
//! were built for another distribution create empty databases at other places.

use crate::pkg::rpm::database::Format;

/// Directories of databases, relative to the root, in the order of preference.
const DIRECTORIES: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"];
/// Main files in the order of preference: rpm creates the later ones in older versions.
const FILES: [(&str, Format); 3] =
    [("rpmdb.sqlite", Format::Sqlite), ("Packages.db", Format::Ndb), ("Packages", Format::BerkeleyDb)];
/// Other files next to the main file: locks, logs, and the indexes of Berkeley DB and NDB.
const BESIDE: [&str; 30] = [
    ".dbenv.lock",
    ".rpm.lock",
    "Basenames",
    "Conflictname",
    "Depends",
    "Dirnames",
    "Enhancename",
    "Filedigests",
    "Filemd5s",
    "Filetriggername",
    "Group",
    "Index.db",
    "Installtid",
    "Name",
    "Obsoletename",
    "Providename",
    "Provideversion",
    "Pubkeys",
    "Recommendname",
    "Requirename",
    "Requireversion",
    "Sha1header",
    "Sigmd5",
    "Suggestname",
    "Supplementname",
    "Transfiletriggername",
    "Triggername",
    "rpmdb.sqlite-journal",
    "rpmdb.sqlite-shm",
    "rpmdb.sqlite-wal",
];
/// Macros that the values of `_dbpath` use in practice.
const MACROS: [(&[u8], &[u8]); 6] = [
    (b"_var", b"/var"),
    (b"_localstatedir", b"/var"),
    (b"_sharedstatedir", b"/var/lib"),
    (b"_usr", b"/usr"),
    (b"_prefix", b"/usr"),
    (b"_datadir", b"/usr/share"),
];

/// Whether a file can define `_dbpath`; `path` is relative to the root.
///
/// rpm reads these files in this order: `usr/lib/rpm/macros`, `usr/lib/rpm/macros.d`,
/// `usr/lib/rpm/platform`, `etc/rpm`.
pub fn is_macro_file(path: &[u8]) -> bool {
    let name = |directory: &[u8]| path.strip_prefix(directory).filter(|name| !name.contains(&b'/'));
    path == b"usr/lib/rpm/macros"
        || name(b"usr/lib/rpm/macros.d/").is_some_and(|name| name.starts_with(b"macros."))
        || name(b"etc/rpm/").is_some_and(|name| name == b"macros" || name.starts_with(b"macros."))
}

/// Returns the directories that can have a database, relative to the root. `macro_files` are the
/// contents of the files of [`is_macro_file`], in any order.
pub fn directories(macro_files: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut directories: Vec<Vec<u8>> = DIRECTORIES.iter().map(|path| path.as_bytes().to_vec()).collect();
    for path in macro_files.iter().flat_map(|content| database_paths(content)) {
        if !directories.contains(&path) {
            directories.push(path);
        }
    }
    directories
}

/// Returns the values of `_dbpath` in a macro file, relative to the root. Values with unknown
/// macros are left out.
fn database_paths(content: &[u8]) -> Vec<Vec<u8>> {
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let values = lines.filter_map(|line| {
        let value = line.strip_prefix(b"%_dbpath")?;
        value.first().filter(|first| first.is_ascii_whitespace())?;
        Some(value.trim_ascii())
    });
    values.filter_map(expand).collect()
}

/// Replaces macros in a path. Returns it relative to the root, without empty parts. `None` if it is
/// not a path in the root.
fn expand(value: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'%', rest) {
        path.extend_from_slice(&rest[..at]);
        let name = &rest[at + 1..];
        let (name, tail) = match name.strip_prefix(b"{") {
            Some(name) => (name, memchr::memchr(b'}', name)?),
            None => {
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                (name, name.iter().position(|byte| !is_name(byte)).unwrap_or(name.len()))
            }
        };
        let (name, after) = name.split_at(tail);
        let (_, text) = MACROS.iter().find(|(known, _)| *known == name)?;
        path.extend_from_slice(text);
        rest = after.strip_prefix(b"}").unwrap_or(after);
    }
    path.extend_from_slice(rest);
    let parts: Vec<&[u8]> =
        path.strip_prefix(b"/")?.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
    let is_safe = !parts.is_empty() && parts.iter().all(|part| *part != b"." && *part != b"..");
    is_safe.then(|| parts.join(&b'/'))
}

/// Whether the path is a file of a database at one of the usual places.
pub fn is_database_file(path: &[u8]) -> bool {
    let name =
        DIRECTORIES.iter().find_map(|directory| path.strip_prefix(directory.as_bytes())?.strip_prefix(b"/"));
    name.is_some_and(|name| {
        FILES.iter().any(|(file, _)| file.as_bytes() == name)
            || BESIDE.iter().any(|file| file.as_bytes() == name)
            || name.strip_prefix(b"__db.").is_some_and(|number| number.iter().all(u8::is_ascii_digit))
    })
}

/// Device and inode of a file.
pub type FileId = (u64, u64);

/// A database file that a root has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Path relative to the root.
    pub path: Vec<u8>,
    /// Format that rpm expects under this name.
    pub format: Format,
    /// Device and inode of the file.
    pub identity: FileId,
}

impl Candidate {
    /// Returns the path of the write-ahead log of an SQLite database, whether it exists or not.
    pub fn log(&self) -> Option<Vec<u8>> {
        (self.format == Format::Sqlite).then(|| [&self.path, &b"-wal"[..]].concat())
    }
}

/// Returns the files that can be the database in a directory, with the format that rpm expects.
pub fn files(directory: &[u8]) -> impl Iterator<Item = (Vec<u8>, Format)> + use<> {
    let directory = directory.to_vec();
    FILES.into_iter().map(move |(name, format)| ([&directory, &b"/"[..], name.as_bytes()].concat(), format))
}

/// Returns the database files of a root in the order of preference. `identity` returns the device
/// and the inode of a regular file, following links in the root, and `None` for any other path.
///
/// The directories are often links to each other, so each file is returned once.
pub fn candidates(directories: &[Vec<u8>], identity: &dyn Fn(&[u8]) -> Option<FileId>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for directory in directories {
        for (path, format) in files(directory) {
            let Some(identity) = identity(&path) else { continue };
            if found.iter().all(|candidate| candidate.identity != identity) {
                found.push(Candidate { path, format, identity });
            }
        }
    }
    found
}

/// Contents of a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Labels of the packages (name, version, architecture), sorted. Keys are left out.
    pub packages: Vec<Vec<u8>>,
    /// Time of the latest installation, in seconds since 1970.
    pub latest_install: u64,
}

/// The choice among candidates, as positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The database of the root.
    pub chosen: usize,
    /// Databases with other packages, which must be reported. Empty ones are left out.
    pub differing: Vec<usize>,
}

/// Chooses the database with packages; of several, the one with the latest installation, then the
/// first. An unreadable candidate is `None`; it is chosen only if no other one has packages. `None`
/// if there are no candidates.
pub fn choose(candidates: &[Option<Contents>]) -> Option<Choice> {
    let key = |contents: &Option<Contents>| match contents {
        Some(contents) if !contents.packages.is_empty() => (2, contents.latest_install),
        None => (1, 0),
        Some(_) => (0, 0),
    };
    // max_by_key returns the last maximum; the first one is wanted.
    let (chosen, best) = candidates.iter().enumerate().rev().max_by_key(|(_, contents)| key(contents))?;
    let is_other = |contents: &Option<Contents>| match (contents, best) {
        (None, _) => true,
        (Some(contents), Some(best)) => !contents.packages.is_empty() && contents.packages != best.packages,
        (Some(contents), None) => !contents.packages.is_empty(),
    };
    let others = candidates.iter().enumerate().filter(|(at, contents)| *at != chosen && is_other(contents));
    Some(Choice { chosen, differing: others.map(|(at, _)| at).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_database_file_other_files_are_not() {
        for path in
            ["var/lib/rpm/rpmdb.sqlite-wal", "usr/lib/sysimage/rpm/Packages.db", "var/lib/rpm/__db.001"]
        {
            assert!(is_database_file(path.as_bytes()), "{path}");
        }
        for path in
            ["var/lib/rpm/alternatives/x", "var/lib/rpm/Packages/x", "var/lib/rpm", "var/lib/rpm/a.list"]
        {
            assert!(!is_database_file(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn directories_macro_files_add_their_paths() {
        let show = |content: &str| {
            let directories = directories(&[content.as_bytes()]);
            let texts: Vec<_> =
                directories[3..].iter().map(|path| String::from_utf8(path.clone()).unwrap()).collect();
            texts.join(" ")
        };
        for (content, expected) in [
            ("", ""),
            ("%_dbpath\t\t%{_var}/lib/rpm", ""),
            ("%_dbpath %{_usr}/lib/sysimage/rpm\n", ""),
            ("# x\n  %_dbpath  /srv//rpm/ \n%_dbpath_rebuild /a", "srv/rpm"),
            ("%_dbpath %_localstatedir/lib/rpmdb\n%_dbpath /opt/rpm", "var/lib/rpmdb opt/rpm"),
            ("%_dbpath %(echo /x)\n%_dbpath %{getenv:HOME}/.rpmdb\n%_dbpath %{_var", ""),
            ("%_dbpath relative\n%_dbpath /a/../b\n%_dbpath /\n%_dbpath\n%_dbpath_x /y", ""),
        ] {
            assert_eq!(show(content), expected, "{content}");
        }
        assert_eq!(directories(&[]), DIRECTORIES.map(|path| path.as_bytes().to_vec()));
    }

    #[test]
    fn is_macro_file_only_of_rpm_directories() {
        for path in
            ["usr/lib/rpm/macros", "usr/lib/rpm/macros.d/macros.x", "etc/rpm/macros", "etc/rpm/macros.db"]
        {
            assert!(is_macro_file(path.as_bytes()), "{path}");
        }
        for path in ["etc/rpm/platform", "usr/lib/rpm/macros.d/x", "etc/rpm/macros.d/a", "etc/macros"] {
            assert!(!is_macro_file(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn candidates_linked_directory_is_used_once() {
        let files = [
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", 7),
            ("var/lib/rpm/rpmdb.sqlite", 7),
            ("var/lib/rpm/Packages", 8),
        ];
        let identity = |path: &[u8]| {
            files.iter().find(|(name, _)| name.as_bytes() == path).map(|(_, inode)| (1, *inode))
        };
        let found = candidates(&directories(&[]), &identity);
        let show: Vec<_> = found.iter().map(|one| (String::from_utf8_lossy(&one.path), one.format)).collect();
        assert_eq!(
            show,
            [
                ("usr/lib/sysimage/rpm/rpmdb.sqlite".into(), Format::Sqlite),
                ("var/lib/rpm/Packages".into(), Format::BerkeleyDb)
            ]
        );
        assert_eq!(found[0].log().unwrap(), b"usr/lib/sysimage/rpm/rpmdb.sqlite-wal");
        assert_eq!(found[1].log(), None);
    }

    #[test]
    fn choose_database_with_packages_wins() {
        let contents = |packages: &str, latest_install| {
            let packages = packages.split_whitespace().map(|label| label.as_bytes().to_vec()).collect();
            Some(Contents { packages, latest_install })
        };
        for (candidates, expected) in [
            (vec![], None),
            (vec![contents("", 0)], Some((0, vec![]))),
            (vec![contents("", 9), contents("a", 1)], Some((1, vec![]))),
            (vec![contents("a", 1), contents("a b", 2)], Some((1, vec![0]))),
            (vec![contents("a", 2), contents("b", 2)], Some((0, vec![1]))),
            (vec![contents("a", 1), contents("a", 1)], Some((0, vec![]))),
            (vec![contents("", 0), None], Some((1, vec![]))),
            (vec![None, contents("a", 1)], Some((1, vec![0]))),
        ] {
            let expected = expected.map(|(chosen, differing)| Choice { chosen, differing });
            assert_eq!(choose(&candidates), expected, "{candidates:?}");
        }
    }
}

//! Recorded databases with what rpm reads from them: `tests/data/rpm`.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Returns a directory of the data.
pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rpm").join(name)
}

/// Returns the decompressed content of a file `NAME.xz`. `None` if there is no such file.
pub fn unpacked(path: &Path) -> Option<Vec<u8>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".xz");
    let file = std::fs::File::open(Path::new(&name)).ok()?;
    let mut content = Vec::new();
    crate::context::decompress::decompress(file).unwrap().1.read_to_end(&mut content).unwrap();
    Some(content)
}

/// A database with its write-ahead log.
pub struct Case {
    /// Directory.
    pub directory: PathBuf,
    /// Name of the directory.
    pub name: String,
    /// Content of the database file.
    pub file: Vec<u8>,
    /// Content of the write-ahead log.
    pub log: Option<Vec<u8>>,
}

/// Names of all databases.
pub const NAMES: [&str; 7] = [
    "cbl-mariner-2.0",
    "claircore-no-packages",
    "libuuid-el8",
    "made-sqlite-live-log",
    "mandriva-urpm-btree",
    "scalibr-epoch",
    "sle15-bci",
];

/// Returns one database.
pub fn case(name: &str) -> Case {
    let directory = directory(name);
    let file =
        ["rpmdb.sqlite", "Packages.db", "Packages"].iter().find_map(|file| unpacked(&directory.join(file)));
    let log = unpacked(&directory.join("rpmdb.sqlite-wal"));
    Case { name: name.to_owned(), file: file.unwrap(), log, directory }
}

//! A package database in any of its formats.

use crate::pkg::rpm::source::{Damage, Damages, Source, fill};
use crate::pkg::rpm::{bdb, ndb, sqlite};

/// Format of a database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Berkeley DB, `Packages`.
    BerkeleyDb,
    /// NDB, `Packages.db`.
    Ndb,
    /// SQLite, `rpmdb.sqlite`.
    Sqlite,
}

impl Format {
    /// Determines the format from the first 16 bytes of the file, whatever its name is.
    pub fn of(head: &[u8]) -> Option<Self> {
        if sqlite::is_format(head) {
            Some(Format::Sqlite)
        } else if ndb::is_format(head) {
            Some(Format::Ndb)
        } else {
            bdb::is_format(head).then_some(Format::BerkeleyDb)
        }
    }
}

/// Reads a database file and passes the number and the header of each package to `visit`, in the
/// order of the file. `log` is the write-ahead log next to an SQLite database, the file with the
/// suffix `-wal`. Returns the damaged parts; the other ones were passed to `visit`.
///
/// The error is the reason why nothing can be read. Memory and time are proportional to the sizes
/// of the files. If a package manager is running, the files can change meanwhile: compare their
/// sizes and times afterwards.
pub fn read(
    file: &dyn Source,
    log: Option<&dyn Source>,
    visit: &mut dyn FnMut(u32, &[u8]),
) -> Result<Damages, Damage> {
    let mut head = [0; 16];
    fill(file, 0, &mut head)?;
    match Format::of(&head) {
        Some(Format::BerkeleyDb) => bdb::read(file, visit),
        Some(Format::Ndb) => ndb::read(file, visit),
        Some(Format::Sqlite) => sqlite::read(file, log, visit),
        None => Err(Damage::at(0, "the format of the database is unknown")),
    }
}

//! Finds and opens the database of a root.

use super::database;
use super::place::{self, Candidate, Contents};
use super::{Damage, Damages, Package, Source};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use rustix::fs::FileType;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Name of the keys that are imported into the database, which are not packages.
const KEY: &[u8] = b"gpg-pubkey";

/// The database of a root, open for reading.
#[derive(Debug)]
pub struct Location {
    /// Path of the main file relative to the root.
    pub path: Vec<u8>,
    file: OpenFile,
    log: Option<OpenFile>,
}

/// An open file; the database is read page by page, because it can be larger than memory.
#[derive(Debug)]
struct OpenFile {
    file: File,
    length: u64,
}

impl Source for OpenFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl OpenFile {
    fn open(root: &Root, path: &[u8]) -> io::Result<Self> {
        let file = File::from(root.open_file(path)?);
        let length = file.metadata()?.len();
        Ok(OpenFile { file, length })
    }
}

impl Location {
    /// Passes the header of each package, and of each key, to `visit`.
    pub fn read(&self, visit: &mut dyn FnMut(&[u8])) -> Result<Damages, Damage> {
        let log = self.log.as_ref().map(|log| log as &dyn Source);
        database::read(&self.file, log, &mut |_, header| visit(header))
    }

    fn open(root: &Root, candidate: &Candidate) -> io::Result<Self> {
        let file = OpenFile::open(root, &candidate.path)?;
        let log = match candidate.log() {
            None => None,
            Some(path) => match OpenFile::open(root, &path) {
                Ok(log) => Some(log),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
                Err(cause) => return Err(cause),
            },
        };
        Ok(Location { path: candidate.path.clone(), file, log })
    }

    fn contents(&self) -> Option<Contents> {
        let mut contents = Contents::default();
        let read = self.read(&mut |header| {
            let Ok(package) = Package::parse(header) else { return };
            if !is_key(&package) {
                let architecture = package.architecture.unwrap_or_default();
                contents.packages.push([package.name, &package.full_version(), architecture].join(&b' '));
                let time = package.install_time.unwrap_or_default();
                contents.latest_install = contents.latest_install.max(time);
            }
        });
        contents.packages.sort_unstable();
        read.ok().map(|_| contents)
    }
}

/// Whether the header is an imported key.
pub fn is_key(package: &Package<'_>) -> bool {
    package.name == KEY
}

/// Returns the database files of a root, in the order of preference.
pub fn candidates(root: &Root) -> Vec<Candidate> {
    let directories = [&b"usr/lib/rpm"[..], b"usr/lib/rpm/macros.d", b"etc/rpm"];
    let names = |directory: &[u8]| root.list(directory).unwrap_or_default();
    let paths = directories.into_iter().flat_map(|directory| {
        names(directory).into_iter().map(move |name| [directory, b"/", &name].concat())
    });
    let macros = paths.filter(|path| place::is_macro_file(path)).filter_map(|path| root.read(&path).ok());
    let macros: Vec<Vec<u8>> = macros.collect();
    let macros: Vec<&[u8]> = macros.iter().map(Vec::as_slice).collect();
    let identity = |path: &[u8]| {
        let stat = root.stat(path).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then_some((stat.st_dev, stat.st_ino))
    };
    place::candidates(&place::directories(&macros), &identity)
}

/// Opens the database of a root. Files that cannot be read, and databases with other packages, are
/// findings. `None` if there is no readable database.
pub fn locate(root: &Root, findings: &mut Findings) -> Option<Location> {
    let candidates = candidates(root);
    let mut open: Vec<Option<Location>> = Vec::new();
    for candidate in &candidates {
        open.push(Location::open(root, candidate).map(Some).unwrap_or_else(|cause| {
            findings.loss(findings::Kind::Unreadable, &candidate.path, cause.to_string());
            None
        }));
    }
    let chosen = if open.len() == 1 { 0 } else { chosen(&candidates, &open, findings)? };
    report_journal(root, &candidates[chosen].path, findings);
    open.swap_remove(chosen)
}

fn chosen(candidates: &[Candidate], open: &[Option<Location>], findings: &mut Findings) -> Option<usize> {
    let contents: Vec<Option<Contents>> =
        open.iter().map(|location| location.as_ref().and_then(Location::contents)).collect();
    let choice = place::choose(&contents)?;
    for other in choice.differing {
        let text = format!(
            "another package database, which is not used: {} was changed later or has packages",
            escape::display(&candidates[choice.chosen].path)
        );
        findings.note(findings::Kind::PackageDatabase, &candidates[other].path, text);
    }
    Some(choice.chosen)
}

/// Reports a rollback journal: SQLite would undo changes of the database with it
/// (sqlite.org/atomiccommit.html).
fn report_journal(root: &Root, path: &[u8], findings: &mut Findings) {
    let journal = [path, b"-journal"].concat();
    if root.stat(&journal).is_ok_and(|stat| stat.st_size > 0) {
        let text = "the package database is in the middle of a transaction; run `rpm -qa` on the machine, which \
                    ends it, and run again";
        findings.loss(findings::Kind::PackageDatabase, &journal, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data::case;

    fn labels(root: &std::path::Path) -> (String, usize, Vec<String>) {
        let mut findings = Findings::default();
        let root = Root::open(root).unwrap();
        let location = locate(&root, &mut findings).unwrap();
        let mut number = 0;
        location.read(&mut |_| number += 1).unwrap();
        let findings = findings.sorted().into_iter().map(|finding| escape::display(&finding.path)).collect();
        (String::from_utf8(location.path).unwrap(), number, findings)
    }

    #[test]
    fn locate_several_databases_the_one_with_packages_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        assert!(locate(&Root::open(dir.path()).unwrap(), &mut Findings::default()).is_none());
        let (hash, live) = (case("libuuid-el8"), case("made-sqlite-live-log"));
        write("usr/lib/sysimage/rpm/rpmdb.sqlite", &case("claircore-no-packages").file);
        write("var/lib/rpm/Packages", &hash.file);
        let unusable = "/usr/lib/sysimage/rpm/rpmdb.sqlite".to_owned();
        assert_eq!(labels(dir.path()), ("var/lib/rpm/Packages".to_owned(), 1, vec![unusable.clone()]));
        write("var/lib/rpm/rpmdb.sqlite", &live.file);
        let (path, packages, others) = labels(dir.path());
        assert_eq!((path.as_str(), packages), ("var/lib/rpm/Packages", 1));
        assert_eq!(others, [unusable, "/var/lib/rpm/rpmdb.sqlite".to_owned()]);
    }

    #[test]
    fn locate_log_and_journal_are_considered() {
        let dir = tempfile::tempdir().unwrap();
        let live = case("made-sqlite-live-log");
        std::fs::create_dir_all(dir.path().join("srv/db")).unwrap();
        std::fs::create_dir_all(dir.path().join("etc/rpm")).unwrap();
        std::fs::write(dir.path().join("etc/rpm/macros.path"), "%_dbpath /srv/db\n").unwrap();
        std::fs::write(dir.path().join("srv/db/rpmdb.sqlite"), &live.file).unwrap();
        assert_eq!(labels(dir.path()), ("srv/db/rpmdb.sqlite".to_owned(), 9, vec![]));
        std::fs::write(dir.path().join("srv/db/rpmdb.sqlite-wal"), live.log.unwrap()).unwrap();
        std::fs::write(dir.path().join("srv/db/rpmdb.sqlite-journal"), "x").unwrap();
        let journal = "/srv/db/rpmdb.sqlite-journal".to_owned();
        assert_eq!(labels(dir.path()), ("srv/db/rpmdb.sqlite".to_owned(), 10, vec![journal]));
    }
}

//! Where rpm has its database, and whether that names this program.

use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use memchr::memmem;

/// Its folders, in the words of rpm's macro `_dbpath`.
const FOLDERS: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// The file of each of its three formats.
const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// The file with the packages.
pub fn database(root: &Root) -> Option<String> {
    let mut files = FOLDERS.iter().flat_map(|at| FILES.map(|file| format!("{at}/{file}")));
    files.find(|file| root.stat(file.as_bytes()).is_ok())
}

/// Notes that the database, which travels as the file that it is, says that this program is installed.
pub fn note_own_entry(root: &Root, findings: &mut Findings) {
    const NAME: &str = env!("CARGO_PKG_NAME");
    if root.stat(format!("usr/bin/{NAME}").as_bytes()).is_err() {
        return;
    }
    let Some(database) = database(root) else { return };
    // What SQLite has written last lies beside it.
    let names = |file: String| {
        root.read(file.as_bytes()).is_ok_and(|text| memmem::find(&text, NAME.as_bytes()).is_some())
    };
    if [database.clone(), format!("{database}-wal")].into_iter().any(names) {
        let text = format!(
            "says that the package {NAME} is installed; in the image, `rpm -e --justdb {NAME}` takes that out of it"
        );
        findings.note(findings::Kind::OwnPackage, database.as_bytes(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_entry_is_told_where_there_is_one() {
        const PROGRAM: &str = "usr/bin/vm2docker-self";
        for (files, told) in [
            (
                &[(PROGRAM, ""), ("var/lib/rpm/Packages", "\0vm2docker-self\0")][..],
                Some("var/lib/rpm/Packages"),
            ),
            (
                &[
                    (PROGRAM, ""),
                    ("usr/lib/sysimage/rpm/rpmdb.sqlite", "SQLite"),
                    ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "vm2docker-self"),
                ],
                Some("usr/lib/sysimage/rpm/rpmdb.sqlite"),
            ),
            (&[(PROGRAM, ""), ("var/lib/rpm/Packages", "\0bash\0")], None),
            // Removed, and its place in the database is free but not empty.
            (&[("var/lib/rpm/Packages", "\0vm2docker-self\0")], None),
            (&[(PROGRAM, "")], None),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = directory.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let mut findings = Findings::default();
            note_own_entry(&Root::open(directory.path()).unwrap(), &mut findings);
            let paths: Vec<_> = findings.sorted().into_iter().map(|finding| finding.path).collect();
            assert_eq!(paths, told.iter().map(|path| path.as_bytes().into()).collect::<Vec<Box<[u8]>>>());
        }
    }
}

//! The database of a base image, from the files that the image reader keeps.

use super::place::Contents;
use super::{Package, Source, database, load, location, place};
use crate::pkg::Pin;

/// Whether the image reader keeps this file.
pub(super) fn reads(path: &[u8]) -> bool {
    let directories = place::directories(&[]);
    let mut files = directories.iter().flat_map(|directory| place::files(directory));
    files.any(|(file, _)| path == file || path.strip_suffix(b"-wal") == Some(&file))
}

/// Returns the packages in the image's database. `read` returns a file by path.
pub(super) fn installed(read: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Pin> {
    let mut databases: Vec<(Vec<Pin>, Contents)> = Vec::new();
    for directory in place::directories(&[]) {
        for (path, _) in place::files(&directory) {
            let Some(file) = read(&path) else { continue };
            let log = read(&[&path[..], b"-wal"].concat());
            databases.push(pins(&file, log.as_deref()));
        }
    }
    let contents: Vec<Option<Contents>> =
        databases.iter().map(|(_, contents)| Some(contents.clone())).collect();
    place::choose(&contents).map(|choice| databases.swap_remove(choice.chosen).0).unwrap_or_default()
}

fn pins(file: &[u8], log: Option<&[u8]>) -> (Vec<Pin>, Contents) {
    let (mut pins, mut contents) = (Vec::new(), Contents::default());
    let log = log.as_ref().map(|log| log as &dyn Source);
    // A damaged package counts as absent: the build installs it, or it is in the delta.
    let _ = database::read(&file, log, &mut |_, header| {
        let Ok(package) = Package::parse(header) else { return };
        if location::is_key(&package) {
            return;
        }
        if let Ok(Some(pin)) = load::pin(&package) {
            contents.latest_install = contents.latest_install.max(package.install_time.unwrap_or_default());
            contents.packages.push(pin.to_string().into_bytes());
            pins.push(pin);
        }
    });
    contents.packages.sort_unstable();
    pins.sort();
    pins.dedup();
    (pins, contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data::case;

    #[test]
    fn installed_every_format_returns_packages() {
        for (name, path, packages) in [
            ("sle15-bci", "usr/lib/sysimage/rpm/Packages.db", 35),
            ("cbl-mariner-2.0", "var/lib/rpm/rpmdb.sqlite", 129),
            ("scalibr-epoch", "var/lib/rpm/Packages", 1),
            ("made-sqlite-live-log", "usr/share/rpm/rpmdb.sqlite", 10),
            ("claircore-no-packages", "var/lib/rpm/rpmdb.sqlite", 0),
        ] {
            let case = case(name);
            let log = format!("{path}-wal");
            let read = |wanted: &[u8]| match wanted {
                wanted if wanted == path.as_bytes() => Some(case.file.clone()),
                wanted if wanted == log.as_bytes() => case.log.clone(),
                _ => None,
            };
            assert_eq!(installed(&read).len(), packages, "{name}");
            assert!(reads(path.as_bytes()) && reads(log.as_bytes()), "{path}");
        }
        assert!(!reads(b"var/lib/rpm/Name") && !reads(b"var/lib/rpm/rpmdb.sqlite-shm"));
    }
}

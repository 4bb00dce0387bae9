//! Determines which package owns a path, and the command that removes the package.

use super::location::locate;
use super::{Damage, Package, load};
use crate::model::escape;
use crate::model::findings::Findings;
use crate::pkg::aliases::{Aliases, normal};
use crate::system::root::Root;
use std::io;

/// Returns the command that removes the package that owns the file at `path`, an absolute path.
/// `None` if the file is unpackaged.
///
/// A part of the database that cannot be read may be the owner, so it is an error.
pub(super) fn removal_command(root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)> {
    let mut findings = Findings::default();
    let location = locate(root, &mut findings);
    if findings.losses() > 0 {
        let first = findings.sorted().swap_remove(0);
        return Err((escape::escape(&first.path), io::Error::other(first.text)));
    }
    let Some(location) = location else { return Ok(None) };
    let aliases = Aliases::read(root);
    let canonical = |path: &[u8]| normal(path).map(|path| aliases.canonical(&path).into_owned());
    let wanted = canonical(path);
    let (mut owner, mut damage) = (None, None);
    let read = location.read(&mut |header| match Package::parse(header) {
        Err(cause) => damage = Some(cause.to_string()),
        Ok(package) if package.files.iter().any(|file| canonical(&file.path()) == wanted) => {
            match load::pin(&package) {
                Ok(pin) => owner = pin.map(|pin| pin.name),
                Err(why) => damage = Some(why),
            }
        }
        Ok(_) => {}
    });
    if let Some(name) = owner {
        return Ok(Some(vec!["/usr/bin/rpm".to_owned(), "-e".to_owned(), "--".to_owned(), name]));
    }
    let unread = match read {
        Ok(damages) => damages.list.first().map(Damage::to_string),
        Err(damage) => Some(damage.to_string()),
    };
    match damage.or(unread) {
        None => Ok(None),
        Some(cause) => Err((escape::escape(&location.path), io::Error::other(cause))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data::case;

    #[test]
    fn removal_command_owned_unowned_and_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(removal_command(&root, b"/usr/bin/tool").unwrap(), None, "there is no database");
        let path = dir.path().join("var/lib/rpm/Packages");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let database = case("libuuid-el8").file;
        std::fs::write(&path, &database).unwrap();
        let command = removal_command(&root, b"/usr/lib64/libuuid.so.1").unwrap().unwrap();
        assert_eq!(command, ["/usr/bin/rpm", "-e", "--", "libuuid"]);
        assert_eq!(removal_command(&root, b"/usr/bin/tool").unwrap(), None);
        for damaged in [&database[..database.len() / 2], b""] {
            std::fs::write(&path, damaged).unwrap();
            let (file, _) = removal_command(&root, b"/usr/bin/tool").unwrap_err();
            assert_eq!(file, "var/lib/rpm/Packages");
        }
    }
}

//! The `packages/` directory of a context for rpm: the input of the build step that writes the
//! database.

use super::load;
use super::location;
use super::package::Package;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::pkg::Pin;
use crate::pkg::manager::BuildFile;
use crate::pkg::plan::PlannedPackages;
use crate::system::root::Root;
use std::collections::BTreeSet;

/// Script that writes the database. It is constant: the machine's data is in the files that it
/// reads.
const DATABASE: &str = include_str!("database.sh");
/// Bytes before each header in a list of headers (rpm's `headerRead`), which the database does not
/// have.
const HEADER_MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// Returns the files of the build step that writes the database.
///
/// The build imports the headers of the machine's packages, so the format of the machine's
/// database and its write-ahead log do not matter.
pub(super) fn database_files(
    root: &Root,
    packages: PlannedPackages<'_>,
    findings: &mut Findings,
) -> Vec<BuildFile> {
    // Loading the catalog has reported what follows from the choice of the database.
    let Some(location) = location::locate(root, &mut Findings::default()) else { return Vec::new() };
    let kept: BTreeSet<Pin> = packages.plan.kept().map(|id| Pin::from(&packages.catalog[id])).collect();
    let mut headers = Vec::new();
    let mut listed = BTreeSet::new();
    let read = location.read(&mut |header| {
        let Ok(package) = Package::parse(header) else { return };
        let is_kept = match load::pin(&package) {
            Ok(None) => true,
            Ok(Some(pin)) => kept.contains(&pin) && listed.insert(pin),
            Err(_) => false,
        };
        if is_kept {
            headers.extend_from_slice(&HEADER_MAGIC);
            headers.extend_from_slice(header);
        }
    });
    if let Err(damage) = read {
        findings.loss(findings::Kind::PackageDatabase, &location.path, damage.to_string());
    }
    let directory = [b"/", tree::parent(&location.path), b"\n"].concat();
    let mut files = Files::default();
    files.add("headers", headers);
    files.add("database.list", lines(listed.iter().map(Pin::to_string)));
    files.add("database.directory", directory);
    files.add("database.sh", DATABASE);
    files.0
}

/// Returns sorted lines.
fn lines(lines: impl Iterator<Item = String>) -> String {
    let lines: BTreeSet<String> = lines.collect();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The files collected so far.
#[derive(Default)]
struct Files(Vec<BuildFile>);

impl Files {
    fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.push(BuildFile { name: name.to_owned(), content: content.into() });
    }
}

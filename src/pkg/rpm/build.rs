//! The `packages/` directory of a context for rpm: all input of the build stage that installs the
//! packages and writes their database.

use super::load;
use super::location;
use super::package::Package;
use super::repository::config::Repository;
use super::repository::written::{self, Source};
use crate::context::MOUNT;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::pkg::dpkg::repository::keyring;
use crate::pkg::manager::{BuildFile, BuildInput};
use crate::pkg::plan::{PackageVerdict, PlannedPackages};
use crate::pkg::{Pin, seeds};
use crate::system::root::Root;
use std::collections::BTreeSet;

/// Scripts. They are constant: the machine's data is in the files that they read.
const INSTALL: &str = include_str!("install.sh");
const DATABASE: &str = include_str!("database.sh");
/// Bytes before each header in a list of headers (rpm's `headerRead`), which the database does not
/// have.
const HEADER_MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// CA certificates of the machine, by distribution.
const CERTIFICATES: [&[u8]; 3] = [
    b"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    b"etc/pki/tls/certs/ca-bundle.crt",
    b"etc/ssl/ca-bundle.pem",
];

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

/// Input of the build step that installs packages.
pub(super) struct Build<'a> {
    pub root: &'a Root,
    /// Repositories that the build can use.
    pub repositories: &'a [&'a Repository],
    /// Value of `$releasever`; empty if unknown.
    pub release: &'a str,
    /// Keys in the machine's database, armored.
    pub imported_keys: &'a [u8],
}

impl Build<'_> {
    /// Returns the files of the build step.
    pub fn files(&self, input: &BuildInput<'_>, findings: &mut Findings) -> Vec<BuildFile> {
        let PlannedPackages { catalog, plan } = input.packages;
        let from_repository =
            |verdict: &PackageVerdict| matches!(verdict, PackageVerdict::Install(_) | PackageVerdict::Base);
        let line = |id| identity(&Pin::from(&catalog[id]));
        let mut files = Files::default();
        files.add("install.list", lines(plan.named.iter().map(|&id| line(id))));
        files.add("wanted.list", lines(plan.with(from_repository).map(line)));
        files.add("release", format!("{}\n", self.release));
        files.add("install.sh", INSTALL);
        if !plan.base_known {
            files.add("reinstall", "");
        }
        self.sources(&mut files, findings);
        files.0.extend(seeds::accounts(self.root, input.rewritten));
        files.0
    }

    /// Adds the repositories with their keys and the machine's CA certificates.
    fn sources(&self, files: &mut Files, findings: &mut Findings) {
        let has_tls = self
            .repositories
            .iter()
            .any(|repository| repository.urls().iter().any(|url| url.starts_with("https:")));
        let certificates = CERTIFICATES.iter().filter(|_| has_tls).find_map(|path| self.root.read(path).ok());
        let has_certificates = certificates.is_some();
        if let Some(content) = certificates {
            files.add("ca-certificates.crt", content);
        }
        if keyring::is_public(self.imported_keys) {
            files.add("keys/imported", self.imported_keys);
        }
        let mut keys = Vec::new();
        for repository in self.repositories {
            let mut urls: Vec<String> =
                repository.keys.iter().filter(|url| !url.starts_with("file:")).cloned().collect();
            for (number, (path, content)) in key_files(self.root, repository).into_iter().enumerate() {
                if !keyring::is_public(&content) {
                    findings.note(
                        findings::Kind::PackageIndex,
                        &path,
                        "not a public key; it is left out of the build",
                    );
                    continue;
                }
                let name = format!("keys/{}-{number}", repository.id);
                urls.push(format!("file://{MOUNT}/packages/{name}"));
                files.add(&name, content);
            }
            keys.push(urls);
        }
        let sources = self.repositories.iter().zip(&keys);
        let sources: Vec<Source<'_>> =
            sources.map(|(repository, keys)| Source { repository, keys, has_certificates }).collect();
        files.add("repos.d/vm2docker-self.repo", written::write(&sources));
    }
}

/// Returns the key files of a repository that are on the machine: paths relative to the root, and
/// contents.
pub(super) fn key_files(root: &Root, repository: &Repository) -> Vec<(Vec<u8>, Vec<u8>)> {
    let paths = repository.keys.iter().filter_map(|url| url.strip_prefix("file://"));
    let paths = paths.map(|path| path.trim_start_matches('/').as_bytes().to_vec());
    paths.filter_map(|path| root.read(&path).ok().map(|content| (path, content))).collect()
}

/// Writes name, version with an epoch, and architecture, as `install.sh` compares them.
fn identity(pin: &Pin) -> String {
    let epoch = if pin.version.contains(':') { "" } else { "0:" };
    format!("{} {epoch}{} {}", pin.name, pin.version, pin.architecture)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::plan::{Availability, BasePackages, PackageMode, VersionSource, decide};
    use crate::pkg::rpm::tests_data::case;
    use crate::pkg::{Catalog, Family};

    fn machine() -> (tempfile::TempDir, Root, Catalog) {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("usr/lib/sysimage/rpm");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("Packages.db"), case("sle15-bci").file).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let catalog = Family::Rpm.manager().load(&root, &mut Findings::default()).unwrap();
        (directory, root, catalog)
    }

    fn text(files: &[BuildFile], name: &str) -> String {
        let file = files.iter().find(|file| file.name == name).unwrap();
        String::from_utf8_lossy(&file.content).into_owned()
    }

    #[test]
    fn database_files_have_header_of_each_package() {
        let (_directory, root, catalog) = machine();
        let plan = decide(&catalog, &BasePackages::Unknown, &Availability::new(), PackageMode::Carry);
        let packages = PlannedPackages { catalog: &catalog, plan: &plan };
        let files = database_files(&root, packages, &mut Findings::default());
        assert_eq!(text(&files, "database.directory"), "/usr/lib/sysimage/rpm\n");
        let list = text(&files, "database.list");
        assert_eq!(list.lines().count(), plan.kept().count());
        assert!(list.lines().any(|line| line.starts_with("bash:x86_64=")), "{list}");
        let headers = &files.iter().find(|file| file.name == "headers").unwrap().content;
        let count = memchr::memmem::find_iter(headers, &HEADER_MAGIC).count();
        assert!(headers.starts_with(&HEADER_MAGIC) && count >= list.lines().count(), "{count}");
    }

    #[test]
    fn files_unknown_base_requests_exact_versions() {
        let (_directory, root, catalog) = machine();
        let everywhere = |id| (Pin::from(&catalog[id]), Ok(VersionSource::Repository));
        let available = catalog.installed().map(everywhere).collect();
        let plan = decide(&catalog, &BasePackages::Unknown, &available, PackageMode::Install);
        let packages = PlannedPackages { catalog: &catalog, plan: &plan };
        let names = crate::model::manifest::Names::default();
        let input = BuildInput { packages, rewritten: &|_| None, names: &names };
        let build = Build { root: &root, repositories: &[], release: "15.3", imported_keys: b"" };
        let files = build.files(&input, &mut Findings::default());
        let wanted = text(&files, "wanted.list");
        assert_eq!(wanted.lines().count(), plan.kept().count());
        // Epoch, version and release; the order is that of `sort` in the C locale.
        assert!(wanted.lines().all(|line| line.split(' ').count() == 3 && line.contains(':')), "{wanted}");
        assert!(wanted.lines().is_sorted());
        assert_eq!(text(&files, "release"), "15.3\n");
        assert!(files.iter().any(|file| file.name == "reinstall"));
        assert!(!files.iter().any(|file| file.name == "installed.list"));
    }
}

use super::*;
use crate::model::digest::Algorithm;
use crate::pkg::claim::FileRole;
use crate::pkg::rpm::tests_data::case;
use std::path::Path;

/// Loads a recorded database as that of a root.
fn loaded(name: &str, path: &str) -> (Catalog, usize) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), path, &case(name).file);
    let mut findings = Findings::default();
    let catalog = load(&Root::open(dir.path()).unwrap(), &mut findings).unwrap();
    (catalog, findings.losses())
}

fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn load_recorded_databases_return_packages_files_and_dependencies() {
    for (name, path, packages, owned, architecture) in [
        ("sle15-bci", "usr/lib/sysimage/rpm/Packages.db", 35, 2758, "x86_64"),
        ("cbl-mariner-2.0", "var/lib/rpm/rpmdb.sqlite", 129, 7047, "x86_64"),
        ("scalibr-epoch", "var/lib/rpm/Packages", 1, 1, "x86_64"),
    ] {
        let (catalog, losses) = loaded(name, path);
        assert_eq!(
            (catalog.packages.len(), catalog.owned.len(), catalog.architecture.as_str(), losses),
            (packages, owned, architecture, 0),
            "{name}"
        );
    }
}

#[test]
fn load_files_have_claims_of_the_header() {
    let (catalog, _) = loaded("sle15-bci", "usr/lib/sysimage/rpm/Packages.db");
    let bash = catalog.owned.get(b"bin/bash").unwrap();
    assert_eq!(catalog.label(bash.packages[0]), "bash");
    let metadata = bash.claim.metadata.as_ref().unwrap();
    assert_eq!(metadata.kind, crate::model::tree::Kind::Symlink(b"/usr/bin/bash"[..].into()));
    let shell = catalog.owned.get(b"usr/bin/bash").unwrap();
    assert_eq!(shell.claim.digest.unwrap().algorithm(), Algorithm::Sha256);
    assert_eq!(
        (shell.claim.metadata.as_ref().unwrap().mode, &*shell.claim.metadata.as_ref().unwrap().user),
        (0o755, "root")
    );
    let roles = |role| catalog.owned.iter().filter(|(_, owned)| owned.claim.role == role).count();
    assert!(roles(FileRole::Configuration) > 10 && roles(FileRole::Ghost) > 1);
    let ghosts = catalog.owned.iter().filter(|(_, owned)| owned.claim.role == FileRole::Ghost);
    assert!(
        ghosts.into_iter().all(|(_, owned)| owned.claim.digest.is_none() && owned.claim.metadata.is_none())
    );
    // The image's makers left out documentation.
    assert!(catalog.owned.get(b"usr/share/man/man1/bash.1.gz").is_none());
}

#[test]
fn load_dependencies_lead_to_the_packages_that_provide_them() {
    let (catalog, _) = loaded("sle15-bci", "usr/lib/sysimage/rpm/Packages.db");
    let bash = catalog.find("bash", "x86_64").unwrap();
    let needs = &catalog.dependencies.requires[bash.index()];
    let libc = needs.iter().find(|need| need.text.starts_with("libc.so.6")).unwrap();
    let labels: Vec<_> = libc.satisfiers.iter().map(|&id| catalog.label(id)).collect();
    assert_eq!(labels, ["glibc"]);
    assert_eq!(catalog.dependencies.recommends.iter().map(Vec::len).sum::<usize>(), 0);
}

#[test]
fn load_damaged_database_returns_the_readable_packages_and_losses() {
    let dir = tempfile::tempdir().unwrap();
    let database = case("cbl-mariner-2.0").file;
    put(dir.path(), "var/lib/rpm/rpmdb.sqlite", &database[..database.len() / 2]);
    let mut findings = Findings::default();
    let root = Root::open(dir.path()).unwrap();
    let catalog = load(&root, &mut findings).unwrap();
    assert!(catalog.packages.len() > 10 && findings.losses() > 0);
    put(dir.path(), "var/lib/rpm/rpmdb.sqlite", b"not a database");
    let mut findings = Findings::default();
    assert!(load(&root, &mut findings).unwrap().packages.is_empty());
    assert_eq!(findings.losses(), 1);
}

#[test]
fn pin_epoch_and_unsafe_texts() {
    let listed = |name: &str, path: &str| {
        let (catalog, _) = loaded(name, path);
        catalog.packages.iter().map(|package| Pin::from(package).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed("scalibr-epoch", "var/lib/rpm/Packages"), ["hello:x86_64=1:0.0.1-rls"]);
    let keys = listed("sle15-bci", "var/lib/rpm/Packages.db");
    assert!(!keys.iter().any(|pin| pin.starts_with("gpg-pubkey")));
}

#[test]
fn compare_versions_as_rpm_orders_them() {
    use std::cmp::Ordering::{Greater, Less};
    for (a, b, order) in [
        ("1.10-1", "1.9-1", Greater),
        ("1:1-1", "2-1", Greater),
        ("1.0~rc1-1", "1.0-1", Less),
        ("1.0^git1-1", "1.0-1", Greater),
    ] {
        assert_eq!(compare(a, b), order, "{a} {b}");
    }
}

#[test]
fn named_paths_plain_and_rich_dependencies() {
    let paths = |name: &str| {
        let mut paths = HashSet::new();
        named_paths(name.as_bytes(), &mut paths);
        let mut paths: Vec<_> = paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect();
        paths.sort();
        paths.join(" ")
    };
    assert_eq!(paths("/bin/sh"), "/bin/sh");
    assert_eq!(paths("(/usr/bin/a or (b with /usr/bin/c))"), "/usr/bin/a /usr/bin/c");
    assert_eq!(paths("config(bash)"), "");
}

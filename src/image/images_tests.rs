use crate::detect::os_release;
use crate::image::images::*;
use crate::model::findings::Findings;
use crate::system::root::Root;
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::symlink;
use std::path::Path;

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/data/osrelease/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the members of a txtar archive by name.
fn members(archive: &str) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    let mut name = String::new();
    for line in archive.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("-- ").and_then(|line| line.strip_suffix(" --\n")) {
            name = next.to_owned();
            members.insert(name.clone(), String::new());
        } else {
            members.get_mut(&name).unwrap().push_str(line);
        }
    }
    members
}

fn reference(os: &OsRelease) -> String {
    of(os).map_or("-".to_owned(), |image| image.reference)
}

fn expected() -> BTreeMap<String, String> {
    let text = fixture("expected.tsv");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, image)| (name.to_owned(), image.to_owned()))
        .collect()
}

/// Creates a root with the release files of one tree.
fn plant(top: &Path, files: &BTreeMap<String, String>, tree: &str) -> Root {
    let root = top.join(tree);
    for (path, content) in files
        .iter()
        .filter_map(|(path, content)| Some((path.strip_prefix(tree)?.strip_prefix('/')?, content)))
    {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        match path.strip_suffix(".symlink") {
            Some(path) => symlink(content.trim(), root.join(path)).unwrap(),
            None => std::fs::write(file, content).unwrap(),
        }
    }
    Root::open(&root).unwrap()
}

#[test]
fn image_of_each_release_file_returns_expected_image() {
    let expected = expected();
    let files = members(&fixture("files.txtar"));
    for (name, content) in &files {
        assert_eq!(reference(&os_release::parse(content.as_bytes())), expected[name], "{name}");
    }
    let trees = members(&fixture("trees.txtar"));
    let names: HashSet<&str> = trees.keys().filter_map(|path| path.split('/').next()).collect();
    let top = tempfile::tempdir().unwrap();
    for name in &names {
        let mut findings = Findings::default();
        let os = OsRelease::load(&plant(top.path(), &trees, name), &mut findings);
        assert_eq!(reference(&os), expected[*name], "{name}: {os:?}");
        assert_eq!(os.id.is_empty(), !findings.sorted().is_empty(), "{name}");
    }
    assert_eq!(files.len() + names.len(), expected.len());
}

/// Distributions and releases without a file in `tests/data`.
const OTHERS: &[(&str, &str)] = &[
    ("ID=debian\nVERSION_CODENAME=forky\n", "debian:forky"),
    ("ID=debian\nVERSION_ID=14\nVERSION_CODENAME=forky\n", "debian:forky"),
    ("ID=debian\nVERSION_CODENAME=sid\n", "debian:sid"),
    ("ID=debian\nVERSION_ID=\"23.12\"\nNAME=Puppy\nVERSION_CODENAME=bookworm\n", "debian:12"),
    ("ID=debian\nVERSION_ID=10.0.8\nNAME=Puppy\nVERSION_CODENAME=bookworm\n", "debian:12"),
    ("ID=debian\nVERSION_ID=3.1\n", "debian/eol:sarge"),
    ("ID=debian\nVERSION_ID=\"12; rm -rf /\"\n", "-"),
    ("ID=debian\nVERSION_CODENAME=\"x y\"\n", "-"),
    ("ID=debian\n", "-"),
    ("ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n", "ubuntu:24.04"),
    ("ID=ubuntu\nVERSION_ID=\"26.10\"\n", "ubuntu:26.10"),
    ("ID=ubuntu\nVERSION_ID=\"28.04\"\n", "ubuntu:28.04"),
    ("ID=ubuntu\nVERSION_ID=\"11.10\"\n", "-"),
    (
        "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=21\nVERSION_CODENAME=vanessa\nUBUNTU_CODENAME=jammy\n",
        "ubuntu:22.04",
    ),
    (
        "ID=linuxmint\nID_LIKE=debian\nVERSION_ID=6\nVERSION_CODENAME=faye\nDEBIAN_CODENAME=bookworm\n",
        "debian:12",
    ),
    (
        "ID=pop\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22.04\"\nVERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\n",
        "ubuntu:22.04",
    ),
    ("ID=devuan\nID_LIKE=debian\nVERSION_ID=4\nVERSION_CODENAME=\"chimaera\"\n", "debian:11"),
    ("ID=devuan\nID_LIKE=debian\nVERSION=\"3 (beowulf)\"\nVERSION_ID=3\n", "debian/eol:buster"),
    ("ID=raspbian\nID_LIKE=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n", "debian:12"),
    ("ID=steamos\nVERSION_ID=2\nVERSION=\"2 (brewmaster)\"\nID_LIKE=debian\n", "debian/eol:jessie"),
    ("ID=steamos\nVERSION_ID=3.5.7\nID_LIKE=arch\n", "archlinux:base"),
    (
        "ID=centos\nNAME=\"CentOS Stream\"\nVERSION_ID=9\nPLATFORM_ID=platform:el9\n",
        "quay.io/centos/centos:stream9",
    ),
    ("ID=almalinux\nVERSION_ID=\"9.6\"\nID_LIKE=\"rhel centos fedora\"\n", "almalinux:9.6"),
    ("ID=ol\nVERSION_ID=\"8.10\"\nID_LIKE=fedora\n", "oraclelinux:8"),
    ("ID=scientific\nVERSION_ID=\"7.9\"\nID_LIKE=\"rhel centos fedora\"\n", "sl:7"),
    (
        "ID=eurolinux\nVERSION_ID=\"8.5\"\nID_LIKE=\"rhel fedora centos\"\nPLATFORM_ID=platform:el8\n",
        "rockylinux/rockylinux:8",
    ),
    (
        "ID=tencentos\nVERSION_ID=\"3.1\"\nID_LIKE=\"rhel fedora centos\"\nPLATFORM_ID=platform:el8\n",
        "rockylinux/rockylinux:8",
    ),
    ("ID=bazzite\nVERSION_ID=40\nID_LIKE=\"rhel centos fedora\"\nPLATFORM_ID=platform:f40\n", "fedora:40"),
    ("ID=photon\nVERSION_ID=5.0\n", "photon:5.0"),
    ("ID=mariner\nVERSION_ID=\"2.0\"\n", "mcr.microsoft.com/cbl-mariner/base/core:2.0"),
    ("ID=altlinux\nVERSION_ID=p10\n", "alt:p10"),
    ("ID=altlinux\nVERSION_ID=10.2\n", "alt:p10"),
    ("ID=altlinux\nVERSION_ID=20240104\n", "alt:sisyphus"),
    (
        "ID=opensuse-tumbleweed\nVERSION_ID=20240601\nID_LIKE=\"opensuse suse\"\n",
        "registry.opensuse.org/opensuse/tumbleweed:latest",
    ),
    (
        "ID=opensuse-microos\nVERSION_ID=20240601\nID_LIKE=\"suse opensuse opensuse-tumbleweed\"\n",
        "registry.opensuse.org/opensuse/tumbleweed:latest",
    ),
    ("ID=sles\nVERSION_ID=\"16.0\"\n", "registry.suse.com/bci/bci-base:16.0"),
    ("ID=sles_sap\nVERSION_ID=\"15.6\"\n", "registry.suse.com/bci/bci-base:15.6"),
    ("ID=clear-linux-os\nVERSION_ID=42000\n", "clearlinux:latest"),
    ("ID=mageia\nVERSION_ID=9\n", "mageia:9"),
    ("ID=postmarketos\nVERSION_ID=v23.06\nID_LIKE=alpine\n", "-"),
    ("ID=haiku\nVERSION_ID=1\n", "-"),
    ("ID=self\nID_LIKE=self\n", "-"),
    ("", "-"),
];

#[test]
fn image_of_other_releases_returns_expected_image() {
    for (text, image) in OTHERS {
        assert_eq!(reference(&os_release::parse(text.as_bytes())), *image, "{text}");
    }
}

#[test]
fn image_of_states_reason_and_note() {
    let image = |text: &str| of(&os_release::parse(text.as_bytes())).unwrap();
    let debian = image("ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
    assert_eq!(debian.reason, "official image of Debian GNU/Linux 12 (bookworm)");
    assert_eq!((debian.note.as_str(), debian.profile.merged_usr), ("", true));
    let mint = image("ID=linuxmint\nPRETTY_NAME=\"Linux Mint 21\"\nUBUNTU_CODENAME=jammy\n");
    assert_eq!(
        mint.reason,
        "no image is known for Linux Mint 21; using its parent, ubuntu 22.04 (UBUNTU_CODENAME)"
    );
    assert_eq!(
        image("ID=rhel\nVERSION_ID=6.10\n").reason,
        "no image is known for rhel; using its closest release, centos 6.10"
    );
    assert!(image("ID=ubuntu\nVERSION_ID=14.10\n").note.contains("schema 1"));
    assert!(image("ID=centos\nVERSION_ID=6\n").note.contains("vsyscall"));
}

#[test]
fn profile_of_reference_returns_known_differences() {
    let of = |text: &str| of(&os_release::parse(text.as_bytes())).unwrap().profile;
    assert!(!of("ID=debian\nVERSION_ID=11\n").merged_usr);
    assert!(
        !of("ID=ubuntu\nVERSION_ID=18.10\n").merged_usr && of("ID=ubuntu\nVERSION_ID=19.04\n").merged_usr
    );
    assert!(of("ID=debian\nVERSION_ID=13\n").path_filters == Some(&[][..]));
    let debian = os_release::parse(b"ID=debian\nVERSION_ID=12\n");
    for (reference, merged, filters) in [
        ("debian:12", true, false),
        ("debian:12@sha256:00", true, false),
        ("debian:12-slim", true, true),
        ("registry.example.org/own:1", true, false),
    ] {
        let profile = profile_of(reference, &debian);
        assert_eq!(
            (profile.merged_usr, profile.path_filters.is_some_and(|lines| !lines.is_empty())),
            (merged, filters),
            "{reference}"
        );
    }
}

#[test]
fn table_each_line_is_valid() {
    let kinds = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(
        kinds.count(),
        rows().count() + codenames().count(),
        "a line has an unknown kind or too few columns"
    );
    for row in rows() {
        let columns = TABLE
            .lines()
            .find(|line| line.starts_with(&format!("image\t{}\t{}\t{}\t", row.id, row.name, row.releases)));
        assert_eq!(columns.unwrap().split('\t').count(), 8, "{row:?}");
        match row.image.strip_prefix('=') {
            Some(parent) => {
                let id = parent.split(':').next().unwrap();
                assert!(rows().any(|row| row.id == id), "{row:?}");
            }
            None if row.image == "-" => assert!(!row.note.is_empty(), "{row:?}"),
            None => {
                assert!(row.image.split_once(':').is_some(), "{row:?}");
                assert!(["merged", "split"].contains(&row.usr), "{row:?}");
                assert!(profile::by_name(row.profile).is_some(), "{row:?}");
            }
        }
    }
    let mut seen = HashSet::new();
    for (codename, id, _) in codenames() {
        assert!(seen.insert(codename), "{codename} occurs twice");
        assert!(rows().any(|row| row.id == id), "{codename}");
    }
}

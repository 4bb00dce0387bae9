//! Machines with recorded databases of rpm, in each of its formats.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use support::tool::{Place, Ran, run};
use vm2docker_self::context::decompress::decompress;

const SLES: &str = r#"file 0644 0:0 /etc/os-release "ID=sles\nVERSION_ID=15.3\nPRETTY_NAME=SLES\n""#;

/// Returns a database of the test data.
fn recorded(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rpm").join(name);
    let mut content = Vec::new();
    decompress(fs::File::open(path).unwrap()).unwrap().1.read_to_end(&mut content).unwrap();
    content
}

/// Returns a machine with these files.
fn machine(files: &[(&str, &[u8])]) -> Place {
    let place = Place::new();
    let root = place.root("machine", SLES);
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    place
}

fn inspect(place: &Place) -> (Ran, Value) {
    let ran =
        run(["inspect".as_ref(), "--json".as_ref(), "--root".as_ref(), place.path("machine").as_os_str()]);
    let json = serde_json::from_str(&ran.out).unwrap();
    (ran, json)
}

#[test]
fn inspect_database_in_each_format_lists_packages() {
    let log = recorded("made-sqlite-live-log/rpmdb.sqlite-wal.xz");
    for (path, database, log, packages, first) in [
        ("var/lib/rpm/Packages", "libuuid-el8/Packages.xz", None, 1, "libuuid=2.32.1-42.el8_8"),
        ("usr/lib/sysimage/rpm/Packages.db", "sle15-bci/Packages.db.xz", None, 35, "bash=4.4-19.6.1"),
        ("var/lib/rpm/rpmdb.sqlite", "made-sqlite-live-log/rpmdb.sqlite.xz", None, 9, ""),
        ("var/lib/rpm/rpmdb.sqlite", "made-sqlite-live-log/rpmdb.sqlite.xz", Some(&log), 10, ""),
    ] {
        let log_path = format!("{path}-wal");
        let log = log.map(|log| (log_path.as_str(), log.as_slice()));
        let database = recorded(database);
        let files: Vec<(&str, &[u8])> = [(path, &database[..])].into_iter().chain(log).collect();
        let (ran, json) = inspect(&machine(&files));
        ran.ends(0);
        let listed = json["packages"].as_array().unwrap();
        assert_eq!(listed.len(), packages, "{listed:?}");
        assert!(listed[0].as_str().unwrap().starts_with(first), "{listed:?}");
    }
}

#[test]
fn inspect_damaged_database_is_a_loss_and_the_rest_is_listed() {
    let whole = recorded("cbl-mariner-2.0/rpmdb.sqlite.xz");
    let (ran, json) = inspect(&machine(&[("var/lib/rpm/rpmdb.sqlite", &whole[..whole.len() / 2])]));
    ran.ends(3);
    assert!(json["packages"].as_array().unwrap().len() > 10);
    let kinds: Vec<_> = json["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
    assert!(kinds.contains(&&Value::from("package-database")), "{kinds:?}");
}

#[test]
fn convert_rpm_machine_uses_the_image_of_its_distribution() {
    let database = recorded("sle15-bci/Packages.db.xz");
    let place = machine(&[
        ("usr/lib/sysimage/rpm/Packages.db", &database),
        ("usr/bin/bash", b"changed"),
        ("srv/own", b"own"),
    ]);
    place.convert("ctx", &["--base-from", "none", "--packages", "carry"]).ends(0);
    let plan: Value = serde_json::from_slice(&place.unpacked("ctx", "plan.json")).unwrap();
    assert_eq!(plan["packages"]["installed"], 35);
    assert_eq!(plan["base"]["reference"], "registry.suse.com/bci/bci-base:15.3");
    let manifest = place.manifest("ctx");
    let reason = |path: &str| {
        let record = manifest.iter().find(|record| record["path"] == path).unwrap();
        (record["verdict"].as_str().unwrap(), record["reason"].as_str().unwrap())
    };
    assert_eq!(reason("/usr/bin/bash"), ("keep", "changed since package bash shipped it"));
    assert_eq!(reason("/srv/own"), ("keep", "no package ships it"));
}

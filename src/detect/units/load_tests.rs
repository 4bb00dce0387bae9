//! The search path: who wins, who is whose other name, what is added.

use crate::detect::units::load::{Loaded, Units};
use crate::detect::units::machine::{TestRoot, shown, texts};
use crate::model::findings::Findings;

fn load(files: &[(&str, &str)], name: &str) -> (Option<Loaded>, Vec<String>) {
    let machine = TestRoot::new(files);
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let loaded = units.load(name.as_bytes(), &mut findings);
    (loaded, texts(&findings))
}

/// Name, path, masked or not, the values of `[S] k`.
fn facts(files: &[(&str, &str)], name: &str) -> Option<(String, String, bool, Vec<String>)> {
    let loaded = load(files, name).0?;
    let path = shown(&loaded.path).join("");
    let values = shown(loaded.unit.values("S", "k"));
    Some((shown([&loaded.name]).remove(0), path, loaded.masked, values))
}

const ETC: &str = "etc/systemd/system";
const LIB: &str = "usr/lib/systemd/system";

/// A name, files, and what [`facts`] says.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<(&'static str, &'static str, bool, &'static [&'static str])>,
);

const NAMES: &[Case] = &[
    ("a.service", &[], None),
    ("a.txt", &[("etc/systemd/system/a.txt", "[S]\nk=1")], None),
    (
        "a.service",
        &[("lib/systemd/system/a.service", "[S]\nk=1")],
        Some(("a.service", "lib/systemd/system/a.service", false, &["1"])),
    ),
    // The administrator's file wins over the package's, what runs over both.
    (
        "a.service",
        &[("usr/lib/systemd/system/a.service", "[S]\nk=1"), ("etc/systemd/system/a.service", "[S]\nk=2")],
        Some(("a.service", "etc/systemd/system/a.service", false, &["2"])),
    ),
    // Masked by a link or by an empty file.
    (
        "a.service",
        &[("etc/systemd/system/a.service", "-> /dev/null"), ("usr/lib/systemd/system/a.service", "[S]\nk=1")],
        Some(("a.service", "etc/systemd/system/a.service", true, &[])),
    ),
    (
        "a.service",
        &[("etc/systemd/system/a.service", ""), ("usr/lib/systemd/system/a.service", "[S]\nk=1")],
        Some(("a.service", "etc/systemd/system/a.service", true, &[])),
    ),
    // Aliases, one after another, absolute and relative.
    (
        "a.service",
        &[
            ("etc/systemd/system/a.service", "-> b.service"),
            ("usr/lib/systemd/system/b.service", "-> /usr/lib/systemd/system/c.service"),
            ("usr/lib/systemd/system/c.service", "[S]\nk=1"),
        ],
        Some(("c.service", "usr/lib/systemd/system/c.service", false, &["1"])),
    ),
    // A link out of the search path is a unit of the link's name.
    (
        "a.service",
        &[("etc/systemd/system/a.service", "-> /opt/app/b.service"), ("opt/app/b.service", "[S]\nk=1")],
        Some(("a.service", "etc/systemd/system/a.service", false, &["1"])),
    ),
    // Templates, their aliases, and an instance of its own.
    (
        "a@x.service",
        &[("usr/lib/systemd/system/a@.service", "[S]\nk=1")],
        Some(("a@x.service", "usr/lib/systemd/system/a@.service", false, &["1"])),
    ),
    (
        "a@x.service",
        &[("usr/lib/systemd/system/a@.service", "[S]\nk=1"), ("etc/systemd/system/a@x.service", "[S]\nk=2")],
        Some(("a@x.service", "etc/systemd/system/a@x.service", false, &["2"])),
    ),
    (
        "a@x.service",
        &[("etc/systemd/system/a@.service", "-> b@.service"), ("etc/systemd/system/b@.service", "[S]\nk=1")],
        Some(("b@x.service", "etc/systemd/system/b@.service", false, &["1"])),
    ),
    // Only a drop-in.
    (
        "a.service",
        &[("etc/systemd/system/a.service.d/x.conf", "[S]\nk=1")],
        Some(("a.service", "", false, &["1"])),
    ),
];

#[test]
fn names_lead_to_units() {
    for (name, files, expected) in NAMES {
        let owned = expected.map(|(name, path, masked, values)| {
            let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
            (name.to_owned(), path.to_owned(), masked, values)
        });
        assert_eq!(facts(files, name), owned, "{name} {files:?}");
    }
}

#[test]
fn circles_and_damage_are_findings() {
    let circle =
        [(&*format!("{ETC}/a.service"), "-> b.service"), (&*format!("{ETC}/b.service"), "-> a.service")];
    let (loaded, findings) = load(&circle, "a.service");
    assert!(loaded.is_none());
    assert_eq!(findings, ["a.service: the names of this unit lead in a circle, by b.service"]);
    let (loaded, findings) = load(&[(&format!("{ETC}/a.service"), "-> /opt/none.service")], "a.service");
    assert_eq!(
        (loaded.unwrap().masked, findings),
        (false, vec!["a.service: a service's file is not there".into()])
    );
    let (loaded, findings) = load(&[(&format!("{ETC}/a.service"), "-> a.service")], "a.service");
    assert_eq!((loaded.unwrap().masked, findings.len()), (false, 1));
    let (_, findings) = load(&[(&format!("{ETC}/a.service"), "k=hunter2\n")], "a.service");
    assert_eq!(findings, ["a.service: line 1: an assignment outside of a section"]);
}

#[test]
fn dropins_count_by_file_name() {
    let file = |directory: &str, name: &str| format!("{directory}/{name}");
    let files = [
        (file(LIB, "a-b@.service"), "[S]\nk=file"),
        (file(LIB, "a-b@x.service.d/50.conf"), "[S]\nk=lib-instance-50"),
        (file(ETC, "a-b@.service.d/50.conf"), "[S]\nk=etc-template-50"),
        (file(LIB, "a-b@.service.d/40.conf"), "[S]\nk=lib-template-40"),
        (file(LIB, "a-.service.d/60.conf"), "[S]\nk=lib-dash-60"),
        (file(ETC, "service.d/10.conf"), "[S]\nk=etc-type-10"),
        (file(LIB, "service.d/60.conf"), "[S]\nk=lib-type-60"),
        (file(LIB, "a-b@x.service.d/70.conf"), "[S]\nk=hidden"),
        (file(ETC, "a-b@x.service.d/70.conf"), "-> /dev/null"),
        (file(ETC, "a-b@x.service.d/80.txt"), "[S]\nk=no"),
        (file(ETC, "old@.service"), "-> ../../../usr/lib/systemd/system/a-b@.service"),
        (file(ETC, "old@x.service.d/90.conf"), "[S]\nk=alias-90"),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    for name in ["a-b@x.service", "old@x.service"] {
        let values = facts(&files, name).unwrap().3;
        let expected =
            ["file", "etc-type-10", "lib-template-40", "etc-template-50", "lib-dash-60", "alias-90"];
        assert_eq!(values, expected, "{name}");
    }
}

#[test]
fn directories_of_links_pull_in() {
    let files = [
        ("etc/systemd/system/a.target.wants/x.service", "-> /nowhere"),
        ("usr/lib/systemd/system/a.target.wants/y.service", "-> ../y.service"),
        ("usr/lib/systemd/system/a.target.requires/z@1.service", "-> ../z@.service"),
        ("usr/lib/systemd/system/b.target.wants/v.service", "-> ../v.service"),
        ("usr/lib/systemd/system/b.target", "-> a.target"),
        ("usr/lib/systemd/system/a.target", "[Unit]\n"),
        ("usr/lib/systemd/system/a.target.wants/README", ""),
    ];
    let linked = load(&files, "b.target").0.unwrap().linked;
    let linked: Vec<String> =
        linked.iter().map(|(kind, name)| format!("{kind} {}", shown([name])[0])).collect();
    assert_eq!(linked, ["requires z@1.service", "wants v.service", "wants x.service", "wants y.service"]);
}

#[test]
fn mariadb_has_its_names() {
    let machine = TestRoot::debian("mariadb-server");
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let loaded = units.load(b"mysql.service", &mut findings).unwrap();
    assert_eq!(shown([&loaded.name]), ["mariadb.service"]);
    assert_eq!(shown(&loaded.aliases), ["mysql.service", "mysqld.service"]);
    let bootstrap = units.load(b"mariadb@bootstrap.service", &mut findings).unwrap();
    let path = "lib/systemd/system/mariadb@bootstrap.service.d/use_galera_new_cluster.conf";
    assert_eq!((shown(&bootstrap.dropins), texts(&findings)), (vec![path.to_owned()], vec![]));
}

//! Checks the search path: precedence, aliases and drop-ins.

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

/// Returns name, path, whether masked, and the values of `[S] k`.
fn facts(files: &[(&str, &str)], name: &str) -> Option<(String, String, bool, Vec<String>)> {
    let loaded = load(files, name).0?;
    let path = shown(&loaded.path).join("");
    let values = shown(loaded.unit.values("S", "k"));
    Some((shown([&loaded.name]).remove(0), path, loaded.masked, values))
}

const ETC: &str = "etc/systemd/system";
const LIB: &str = "usr/lib/systemd/system";

/// A name, files, and the expected result of [`facts`].
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
    // Local files override packaged ones; runtime control files override both.
    (
        "a.service",
        &[("usr/lib/systemd/system/a.service", "[S]\nk=1"), ("etc/systemd/system/a.service", "[S]\nk=2")],
        Some(("a.service", "etc/systemd/system/a.service", false, &["2"])),
    ),
    // An empty file or a link to /dev/null masks a unit.
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
    // Aliases in a row, absolute and relative.
    (
        "a.service",
        &[
            ("etc/systemd/system/a.service", "-> b.service"),
            ("usr/lib/systemd/system/b.service", "-> /usr/lib/systemd/system/c.service"),
            ("usr/lib/systemd/system/c.service", "[S]\nk=1"),
        ],
        Some(("c.service", "usr/lib/systemd/system/c.service", false, &["1"])),
    ),
    // A link outside the search path is a unit with the link's name.
    (
        "a.service",
        &[("etc/systemd/system/a.service", "-> /opt/app/b.service"), ("opt/app/b.service", "[S]\nk=1")],
        Some(("a.service", "etc/systemd/system/a.service", false, &["1"])),
    ),
    // Templates, their aliases, and a file for one instance.
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
    // A unit of drop-ins only.
    (
        "a.service",
        &[("etc/systemd/system/a.service.d/x.conf", "[S]\nk=1")],
        Some(("a.service", "", false, &["1"])),
    ),
];

#[test]
fn load_each_name_finds_its_unit() {
    for (name, files, expected) in NAMES {
        let owned = expected.map(|(name, path, masked, values)| {
            let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
            (name.to_owned(), path.to_owned(), masked, values)
        });
        assert_eq!(facts(files, name), owned, "{name} {files:?}");
    }
}

#[test]
fn load_alias_cycle_or_damaged_file_adds_finding() {
    let circle =
        [(&*format!("{ETC}/a.service"), "-> b.service"), (&*format!("{ETC}/b.service"), "-> a.service")];
    let (loaded, findings) = load(&circle, "a.service");
    assert!(loaded.is_none());
    assert_eq!(findings, ["a.service: aliases form a cycle through b.service"]);
    let (loaded, findings) = load(&[(&format!("{ETC}/a.service"), "-> /opt/none.service")], "a.service");
    assert_eq!((loaded.unwrap().masked, findings), (false, vec!["a.service: service file not found".into()]));
    let (loaded, findings) = load(&[(&format!("{ETC}/a.service"), "-> a.service")], "a.service");
    assert_eq!((loaded.unwrap().masked, findings.len()), (false, 1));
    let (_, findings) = load(&[(&format!("{ETC}/a.service"), "k=hunter2\n")], "a.service");
    assert_eq!(findings, ["a.service: line 1: assignment outside a section"]);
}

#[test]
fn load_dropins_apply_in_order_of_file_names() {
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
fn load_wants_directories_add_links() {
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
fn load_mariadb_resolves_aliases() {
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

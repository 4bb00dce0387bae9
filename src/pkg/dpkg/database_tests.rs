use crate::model::digest::{Digest, Md5};
use crate::model::findings::Severity;
use crate::pkg::Claim;
use crate::pkg::dpkg::database::*;
use crate::pkg::graph::Graph;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Returns a root with these files.
fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn load(root: &Root) -> (Catalog, Vec<(Severity, String)>) {
    let mut findings = Findings::default();
    let catalog = super::load(root, &mut findings).unwrap();
    let show =
        |f: &crate::model::findings::Finding| (f.severity, format!("{} {}", f.path.escape_ascii(), f.text));
    (catalog, findings.sorted().iter().map(show).collect())
}

const STATUS: &str = "Package: libx\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 1\n\n\
    Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/gone 00000000000000000000000000000000\n\n\
    Package: dash\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1\nEssential: yes\nConffiles:\n /bin/conf 11111111111111111111111111111111\n\n\
    Package: libx\nStatus: install ok unpacked\nArchitecture: i386\nMulti-Arch: same\nVersion: 1\n\n\
    Package: doc\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";

/// Returns a machine with merged `/usr`, two architectures and one of each kind of record.
fn merged_machine() -> (tempfile::TempDir, Root) {
    let sum = "22222222222222222222222222222222";
    let (dir, root) = root(&[
        ("usr/bin/sh", ""),
        ("var/lib/dpkg/status", STATUS),
        ("var/lib/dpkg/arch", "amd64\ni386\n"),
        ("var/lib/dpkg/info/dash.list", "/.\n/bin\n/bin/sh\n/bin/conf\n"),
        ("var/lib/dpkg/info/dash.md5sums", &format!("{sum}  usr/bin/sh\n")),
        ("var/lib/dpkg/info/libx:amd64.list", "/.\n/usr/share/x\n"),
        ("var/lib/dpkg/info/libx:i386.list", "/.\n/usr/share/x\n/bin/sh\n"),
        ("var/lib/dpkg/info/libx:i386.md5sums", &format!("{sum}  usr/share/x\nbroken\n")),
        ("var/lib/dpkg/info/gone.list", "/etc/gone\n"),
        ("var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\ndash\n"),
        ("var/lib/dpkg/statoverride", "root root 4755 /bin/sh\n"),
        ("var/lib/dpkg/alternatives/nc", "manual\n/bin/nc\n\n/bin/nc.a\n5\n\n"),
        (
            "var/lib/apt/extended_states",
            "Package: doc\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: dash\nArchitecture: amd64\nAuto-Installed: 0\n",
        ),
        ("etc/dpkg/dpkg.cfg.d/a", "path-exclude=/usr/share/doc/*\n"),
        ("etc/alternatives/README", ""),
    ]);
    symlink("usr/bin", dir.path().join("bin")).unwrap();
    symlink("/bin/nc.b", dir.path().join("etc/alternatives/nc")).unwrap();
    (dir, root)
}

#[test]
fn load_merged_usr_paths_have_names_of_the_tree() {
    let (_dir, root) = merged_machine();
    let (catalog, findings) = load(&root);
    let ids: Vec<&str> = catalog.packages.iter().map(|package| &*package.label).collect();
    assert_eq!(ids, ["dash", "doc", "gone", "libx:amd64", "libx:i386"]);
    assert_eq!((catalog.architecture.as_str(), catalog.foreign.join(" ").as_str()), ("amd64", "i386"));
    assert_eq!(catalog.installed().map(PackageId::index).collect::<Vec<_>>(), [0, 1, 3, 4]);
    assert_eq!(catalog.find("libx", "i386"), Some(PackageId::new(4)));
    assert_eq!(
        catalog.packages.iter().map(|p| p.automatic).collect::<Vec<_>>(),
        [false, true, false, false, false]
    );
    let paths: Vec<String> = catalog
        .owned
        .iter()
        .map(|(path, o)| {
            let owners: Vec<usize> = o.packages.iter().map(|id| id.index()).collect();
            format!("{} {owners:?}{}", path.escape_ascii(), if o.claim.digest.is_some() { "+" } else { "" })
        })
        .collect();
    assert_eq!(
        paths,
        [
            " [0, 3, 4]",
            "bin [0]",
            "usr/bin/conf [0]+",
            "usr/bin/sh [0]+",
            "usr/bin/sh.distrib [4]",
            "usr/share/x [3, 4]+"
        ]
    );
    let overrides = read_statoverrides(&root, &catalog.aliases, &mut Findings::default());
    assert_eq!(&*overrides[0].path, b"usr/bin/sh");
    assert_eq!(&*catalog.alternatives[0].link, b"usr/bin/nc");
    assert_eq!(catalog.alternatives[0].current.as_deref(), Some(&b"/bin/nc.b"[..]));
    assert!(catalog.path_filters.excludes(b"usr/share/doc/x"));
    assert_eq!(
        findings,
        [
            (Severity::Note, "var/lib/dpkg/info doc has no list of its files".into()),
            (Severity::Note, "var/lib/dpkg/info/libx:i386.md5sums line 2: not a digest and a path".into()),
        ]
    );
}

#[test]
fn load_damaged_files_are_losses_and_the_rest_is_used() {
    let (dir, root) = root(&[
        (
            "var/lib/dpkg/status",
            "Package: ab\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\nPackage: BAD\nVersion: 1\n",
        ),
        (
            "var/lib/dpkg/updates/0001",
            "Package: ab\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n",
        ),
        ("var/lib/dpkg/updates/tmp.i", "nothing"),
        ("var/lib/dpkg/diversions", "/a\n"),
    ]);
    std::fs::create_dir_all(dir.path().join("var/lib/dpkg/info/ab.list")).unwrap();
    let (catalog, findings) = load(&root);
    assert_eq!((catalog.packages.len(), catalog.packages[0].version.as_str()), (1, "2"));
    assert_eq!(catalog.architecture, "amd64");
    assert_eq!(
        findings,
        [
            (Severity::Loss, "var/lib/dpkg/diversions line 1: not a diversion".into()),
            (Severity::Loss, "var/lib/dpkg/info/ab.list not a regular file".into()),
            (Severity::Loss, "var/lib/dpkg/status line 6: Package is not valid; package ignored".into()),
        ]
    );
}

#[test]
fn load_status_d_packages_own_files_with_digest() {
    let read = |name: &str| {
        std::fs::read_to_string(format!(
            "{}/tests/data/dpkg/syft/distroless/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    };
    let (_dir, root) = root(&[
        ("var/lib/dpkg/status.d/libsqlite3-0", &read("libsqlite3-0")),
        ("var/lib/dpkg/status.d/libsqlite3-0.md5sums", &read("libsqlite3-0.md5sums")),
        ("var/lib/dpkg/status.d/libsqlite3-0.preinst", &read("libsqlite3-0.preinst")),
    ]);
    let (catalog, findings) = load(&root);
    assert_eq!((catalog.packages.len(), catalog.owned.len(), catalog.architecture.as_str()), (1, 6, "arm64"));
    assert!(catalog.owned.iter().all(|(_, owned)| owned.claim.digest.is_some()));
    assert_eq!(findings, []);
}

#[test]
fn load_root_without_database_returns_none() {
    let (_dir, empty) = root(&[("etc/hostname", "x")]);
    assert!(super::load(&empty, &mut Findings::default()).is_none());
    let (dir, broken) = root(&[]);
    std::fs::create_dir_all(dir.path().join("var/lib/dpkg/status")).unwrap();
    let mut findings = Findings::default();
    assert!(super::load(&broken, &mut findings).is_some_and(|catalog| catalog.packages.is_empty()));
    assert_eq!(findings.losses(), 1);
}

/// Returns the entries of `status`, without apt's marks.
fn entries(root: &Root) -> Vec<StatusEntry> {
    status::parse_status(&root.read(b"var/lib/dpkg/status").unwrap()).0
}

fn md5_of(claim: &Claim) -> Option<Md5> {
    match claim.digest {
        Some(Digest::Md5(md5)) => Some(md5),
        _ => None,
    }
}

/// Returns the lines of a file without its heading, in columns.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// The environment variable `VM2DOCKER_TEST_DPKG` names a directory with two recorded roots,
/// `base` and `customised`. Each has `root`, `tree.tsv` and `expected-*`. Their license keeps
/// them out of this repository.
#[test]
fn load_recorded_machines_match_expected_lists() {
    let Some(folder) = std::env::var_os("VM2DOCKER_TEST_DPKG") else { return };
    for case in ["base", "customised"] {
        let folder = Path::new(&folder).join(case);
        let (catalog, findings) = load(&Root::open(&folder.join("root")).unwrap());
        assert_eq!(findings, []);
        assert_eq!(Graph::new(&catalog.packages, &catalog.dependencies).unsatisfied().next(), None);
        let entries = entries(&Root::open(&folder.join("root")).unwrap());
        let source = |entry: &StatusEntry| entry.source.clone().unwrap_or_default();
        let packages =
            entries.iter().map(|p| [p.name.clone(), p.version.clone(), p.architecture.clone(), source(p)]);
        let expected = rows(&folder.join("expected-packages.tsv"));
        let expected = expected.iter().map(|row| [0, 1, 2, 6].map(|column: usize| row[column].clone()));
        assert_eq!(sorted(packages), sorted(expected));
        for row in rows(&folder.join("expected-conffiles.tsv")) {
            let owned = catalog.owned.get(&row[1].as_bytes()[1..]);
            let claim = owned.map(|owned| owned.claim).filter(|claim| claim.is_configuration());
            let md5 = claim.and_then(md5_of);
            assert_eq!(
                md5.map(|md5| crate::model::escape::hex(&md5)).as_deref(),
                Some(row[2].as_str()),
                "{row:?}"
            );
        }
        compare_files(&catalog, &folder);
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items
}

/// Compares unpackaged paths, modified files (none) and missing files (all because of
/// path-exclude).
fn compare_files(catalog: &Catalog, folder: &Path) {
    let tree = rows(&folder.join("tree.tsv"));
    let relative = |path: &str| path.as_bytes()[1..].to_vec();
    // The lists have no digest of large files and count them as missing.
    let (large, tree): (Vec<_>, Vec<_>) = tree.into_iter().partition(|row| row[2].starts_with('('));
    let state = |path: &str| path.starts_with("/var/lib/dpkg/");
    let unowned =
        tree.iter().filter(|row| !state(&row[4]) && catalog.owned.get(&relative(&row[4])).is_none());
    let expected = rows(&folder.join("expected-unowned.txt"));
    assert_eq!(sorted(unowned.map(|row| &row[4])), sorted(expected.iter().map(|row| &row[0])));
    let by_path: HashMap<Vec<u8>, &Vec<String>> = tree.iter().map(|row| (relative(&row[4]), row)).collect();
    let large: Vec<Vec<u8>> = large.iter().map(|row| relative(&row[4])).collect();
    let mut missing = 0;
    for (path, owned) in catalog.owned.iter().filter(|(_, owned)| !owned.claim.is_configuration()) {
        let Some(md5) = md5_of(owned.claim) else { continue };
        match by_path.get(path) {
            Some(row) => assert!(row[0] != "f" || row[3] == crate::model::escape::hex(&md5), "{row:?}"),
            None => {
                assert!(catalog.path_filters.excludes(path) || large.iter().any(|large| large == path));
                missing += 1;
            }
        }
    }
    assert_eq!(missing, rows(&folder.join("expected-missing.tsv")).len());
}

/// Compares the machine that runs the tests with its own `dpkg-query`.
#[test]
#[expect(clippy::disallowed_methods, reason = "runs dpkg itself if the tests run on Debian")]
fn load_running_machine_matches_dpkg_query() {
    let query = |arguments: &[&str]| {
        let output =
            std::process::Command::new("dpkg-query").args(arguments).env("LC_ALL", "C").output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let format = "-f=${binary:Package}\t${Version}\t${Architecture}\t${db:Status-Want} ${db:Status-Status}\n";
    let Some(expected) = query(&["-W", format]) else { return };
    let root = Root::open(Path::new("/")).unwrap();
    let (catalog, _) = load(&root);
    let word = |debug: String| {
        debug.chars().enumerate().fold(String::new(), |word, (at, c)| match c.is_uppercase() && at > 0 {
            true => word + "-" + &c.to_lowercase().to_string(),
            false => word + &c.to_lowercase().to_string(),
        })
    };
    let line = |entry: &StatusEntry| {
        let (want, state) = (word(format!("{:?}", entry.want)), word(format!("{:?}", entry.state)));
        let label = &entry.package(&catalog.architecture).label;
        format!("{label}\t{}\t{}\t{want} {state}", entry.version, entry.architecture)
    };
    assert_eq!(sorted(entries(&root).iter().map(line)), sorted(expected.lines().map(str::to_owned)));
    let graph = Graph::new(&catalog.packages, &catalog.dependencies);
    assert_eq!(graph.unsatisfied().next(), None);
    assert!(
        catalog.owned.get(b"var/lib/dpkg/status").is_none() && catalog.owned.get(b"usr/bin/dpkg").is_some()
    );
}

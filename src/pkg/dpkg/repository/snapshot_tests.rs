//! Snapshot repositories: order of the queries, and the sources for the build.

use crate::model::findings::Findings;
use crate::pkg::Pin;
use crate::pkg::dpkg::repository::lists::{Lists, Query, ask};
use crate::pkg::dpkg::repository::mirror::{
    Fault, Files, Mirror, client, data, machine, now, packages, pin, pins,
};
use crate::pkg::dpkg::repository::snapshot::{last_change, search_services};
use crate::pkg::dpkg::repository::snapshot_services::{Kind, SERVICES, SnapshotService, resolve};
use crate::pkg::dpkg::repository::sources::parse;
use crate::pkg::dpkg::repository::written::write;
use crate::system::root::Root;

const DAY: i64 = 86_400;
const SECURITY: &str = "Origin: Debian\nLabel: Debian-Security\n";

/// Snapshot services on the mirror instead of the real hosts.
fn services(mirror: &Mirror) -> [SnapshotService; 3] {
    let moved = |address: &str| -> &'static str {
        let path = address.splitn(4, '/').nth(3).unwrap();
        mirror.url(&format!("/{path}")).leak()
    };
    SERVICES.map(|service| SnapshotService {
        ended: moved(service.ended),
        states: service.states.iter().map(|state| moved(state)).collect::<Vec<_>>().leak(),
        ..service
    })
}

struct Machine {
    _dir: tempfile::TempDir,
    root: Root,
    mirror: Mirror,
}

impl Machine {
    fn new(sources: &str, files: Files, faults: Vec<(String, Fault)>) -> Self {
        let mirror = Mirror::start(files, faults);
        let text = sources.replace("MIRROR", &mirror.url(""));
        let (dir, root) = machine(&[
            ("etc/apt/sources.list", text.as_bytes()),
            ("etc/apt/trusted.gpg.d/good.asc", &data("good.asc")),
        ]);
        Machine { _dir: dir, root, mirror }
    }

    fn search(&self, asked: &[&str], date: i64) -> (Lists, Vec<String>) {
        let (asked, client, mut findings) = (pins(asked), client(), Findings::default());
        let query = Query { pins: &asked, architectures: &["amd64".to_owned()], now: now() };
        let mut lists = ask(&self.root, &query, Some(&client), &mut findings);
        let services = services(&self.mirror);
        search_services(&services, &self.root, &mut lists, &query, date, &client, &mut findings);
        (lists, findings.sorted().into_iter().map(|finding| finding.text).collect())
    }
}

fn available(lists: &Lists) -> Vec<String> {
    lists.available.iter().map(Pin::to_string).collect()
}

/// Adds a suite below a path; the fields distinguish two dates.
fn suite(files: &mut Files, below: &str, offered: &[&str], fields: &str) {
    let mut new = Files::default();
    new.suite("stable", &packages(offered), fields);
    files.0.extend(new.0.into_iter().map(|(path, content)| (format!("{below}/{path}"), content)));
}

#[test]
fn search_removed_packages_are_found_at_date_or_shortly_after() {
    let mut files = Files::default();
    suite(&mut files, "debian", &["a 3 amd64", "b 3 amd64", "d 3 amd64"], "Origin: Debian\nLabel: Live\n");
    suite(&mut files, "archive/debian/20240501T120000Z", &["a 1 amd64"], "Origin: Debian\nLabel: One\n");
    suite(&mut files, "archive/debian/20240502T120000Z", &["b 1 amd64"], "Origin: Debian\nLabel: Two\n");
    suite(&mut files, "archive/debian/20240508T120000Z", &["c 1 amd64"], "Origin: Debian\nLabel: Three\n");
    let machine = Machine::new("deb MIRROR/debian stable main\n", files, vec![]);
    let (lists, notes) =
        machine.search(&["a 1 amd64", "b 1 amd64", "a 3 amd64", "d 1 amd64"], now() - 31 * DAY);
    assert_eq!(available(&lists), ["a:amd64=1", "a:amd64=3", "b:amd64=1"]);
    assert_eq!(notes, Vec::<String>::new());
    // The last snapshot has no missing package, so it is not among the build's sources.
    assert_eq!(lists.repositories.len(), 3);
    let (repository, offer) = lists.usable(&pin("a 1 amd64")).next().unwrap();
    assert!(repository.url(offer).ends_with("/archive/debian/20240501T120000Z/pool/a_1_amd64.deb"));
    let written = write(&lists.for_build(now()));
    let text =
        written[b"sources.list.d/vm2docker-self.list".as_slice()].replace(&machine.mirror.url(""), "M");
    let expected = "deb [check-valid-until=no] M/archive/debian/20240501T120000Z/ stable main\n\
        deb [check-valid-until=no] M/archive/debian/20240502T120000Z/ stable main\n";
    assert_eq!(text, expected);
}

#[test]
fn search_ended_release_uses_archive_of_ended_releases() {
    let mut files = Files::default();
    suite(&mut files, "debian", &["a 1 amd64"], "Origin: Debian\n");
    suite(&mut files, "archive/debian-archive/20240501T120000Z/debian-security", &["b 1 amd64"], SECURITY);
    let sources = "deb MIRROR/gone/debian stable main\ndeb MIRROR/gone/debian-security stable main\n";
    let machine = Machine::new(sources, files, vec![]);
    let (lists, notes) = machine.search(&["a 1 amd64", "b 1 amd64"], now() - 31 * DAY);
    assert_eq!(available(&lists), ["a:amd64=1", "b:amd64=1"]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    let built: Vec<String> =
        lists.for_build(now()).iter().map(|source| source.uri.replace(&machine.mirror.url(""), "")).collect();
    assert_eq!(built, ["/debian/", "/archive/debian-archive/20240501T120000Z/debian-security/"]);
}

#[test]
fn search_same_state_or_unknown_name_is_not_queried() {
    let mut files = Files::default();
    for below in [
        "debian",
        "archive/debian/20240501T120000Z",
        "archive/debian/20240502T120000Z",
        "archive/debian/20240508T120000Z",
    ] {
        suite(&mut files, below, &["a 1 amd64", "b 9 amd64"], "Origin: Debian\n");
    }
    let machine = Machine::new(
        "deb MIRROR/debian stable main\ndeb file:/srv/x ./\ndeb https://u:p@127.0.0.1/debian stable main\n",
        files,
        vec![],
    );
    let requests = || machine.mirror.asked().len();
    machine.search(&["a 1 amd64"], now() - 31 * DAY);
    assert_eq!(requests(), 2, "nothing is missing: the release file and one index");
    machine.search(&["local 1 amd64"], now() - 31 * DAY);
    assert_eq!(requests(), 2 + 2, "the archive never had a package of this name");
    machine.search(&["b 1 amd64"], now() - 31 * DAY);
    assert_eq!(requests(), 4 + 2 + 3, "the same state three times: one release file each");
    machine.search(&["b 1 amd64"], now() - DAY / 2);
    assert_eq!(
        requests(),
        9 + 2 + 2 + 2,
        "times to come are not asked for; both services have neither release file"
    );
}

#[test]
fn search_unsigned_snapshot_is_not_used() {
    let mut files = Files::default();
    suite(&mut files, "debian", &["a 3 amd64"], "Origin: Debian\nLabel: Live\n");
    suite(&mut files, "archive/debian/20240501T120000Z", &["a 1 amd64"], "Origin: Debian\nLabel: One\n");
    let faults = vec![("20240501T120000Z/dists/stable/InRelease".to_owned(), Fault::Changed)];
    let machine = Machine::new("deb MIRROR/debian stable main\n", files, faults);
    let (lists, notes) = machine.search(&["a 1 amd64"], now() - 31 * DAY);
    assert_eq!(lists.why_missing(&pin("a 1 amd64")), "no repository has this version");
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("not a signed release file"), "{notes:?}");
}

#[test]
fn search_release_file_names_snapshot_service() {
    let mut files = Files::default();
    suite(&mut files, "kept/20240501T120000Z", &["a 1 amd64"], "Origin: Example\nLabel: One\n");
    // The release file contains the URL of the snapshots, so they need a server that runs before
    // it is signed.
    let service = Mirror::start(files, vec![]);
    let mut own = Files::default();
    let fields = format!("Origin: Example\nSnapshots: {}\n", service.url("/kept/@SNAPSHOTID@/"));
    suite(&mut own, "own", &["a 2 amd64"], &fields);
    let machine = Machine::new("deb MIRROR/own stable main\n", own, vec![]);
    assert_eq!(available(&machine.search(&["a 1 amd64"], now() - 31 * DAY).0), ["a:amd64=1"]);
}

#[test]
fn resolve_snapshot_option_returns_snapshot_url() {
    let text = b"deb [snapshot=20240301T030400Z] http://archive.example/ubuntu noble main\n\
        deb [snapshot=enable] http://repository.example/ubuntu noble main\n\
        deb [snapshot=20240301T030400Z] http://repository.example/other noble main\n";
    let (mut sources, _) = parse(b"etc/apt/sources.list", text);
    sources.iter_mut().for_each(resolve);
    let expected = "deb [check-valid-until=no] https://snapshot.ubuntu.com/ubuntu/20240301T030400Z/ noble main\n\
        deb [snapshot=enable] http://repository.example/ubuntu/ noble main\n\
        deb [snapshot=20240301T030400Z] http://repository.example/other/ noble main\n";
    assert_eq!(write(&sources)[b"sources.list".as_slice()], expected);
}

#[test]
fn last_change_is_newest_of_lists_and_packages() {
    let (dir, root) = machine(&[("var/lib/dpkg/info/a.list", b""), ("var/lib/dpkg/info/b.md5sums", b"")]);
    let at = |seconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: at(0), last_modification: at(1000) };
    let path = dir.path().join("var/lib/dpkg/info/a.list");
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    let lists = |date| Lists { date, ..Lists::default() };
    assert_eq!(last_change(&root, &lists(None)), Some(1000));
    assert_eq!(last_change(&root, &lists(Some(5))), Some(1000));
    assert_eq!(last_change(&root, &lists(Some(5000))), Some(5000));
    assert_eq!(SERVICES.map(|service| service.kind), [Kind::Debian, Kind::DebianSecurity, Kind::Ubuntu]);
}

//! A machine, its cached lists, and a repository with correct and faulty responses.

use crate::model::findings::Findings;
use crate::pkg::Pin;
use crate::pkg::dpkg::repository::date;
use crate::pkg::dpkg::repository::lists::{Lists, Query, RepositoryStatus, ask};
use crate::pkg::dpkg::repository::mirror::{
    Fault, Files, Mirror, client, data, machine, now, packages, pin, pins, sign, xz,
};
use std::io::Write;

const OLD: &[&str] = &["a 1 amd64", "b 1 all"];
const NEW: &[&str] = &["a 2 amd64", "b 1 all"];

fn architectures() -> [String; 2] {
    ["amd64".to_owned(), "i386".to_owned()]
}

/// Result for a machine with an old cache and a mirror with these faults.
struct Learned {
    lists: Lists,
    notes: Vec<String>,
    asked: Vec<String>,
}

impl Learned {
    fn available(&self) -> Vec<String> {
        self.lists.available.iter().map(Pin::to_string).collect()
    }

    fn status(&self) -> RepositoryStatus {
        self.lists.repositories[0].status
    }
}

fn learn(options: &str, files: Files, faults: Vec<(String, Fault)>, cached: &str) -> Learned {
    let mirror = Mirror::start(files, faults);
    let source = format!("deb {options} {} stable main\n", mirror.url("/debian"));
    let prefix = format!("var/lib/apt/lists/{}_debian_dists_stable", &mirror.url("")[7..]);
    let index = format!("{prefix}_main_binary-amd64_Packages.lz4");
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(cached.as_bytes()).unwrap();
    let (_dir, root) = machine(&[
        ("etc/apt/sources.list", source.as_bytes()),
        ("etc/apt/trusted.gpg.d/good.asc", &data("good.asc")),
        ("usr/share/keyrings/other.asc", &data("expired.asc")),
        (&index, &lz4.finish().unwrap()),
        (&format!("{prefix}_InRelease"), &sign("Origin: Debian\nDate: Wed, 01 May 2024 00:00:00 UTC\n")),
    ]);
    let asked = pins(&["a 1 amd64", "a 2 amd64", "b 1 all", "c 1 amd64"]);
    let mut findings = Findings::default();
    let query = Query { pins: &asked, architectures: &architectures(), now: now() };
    let lists = ask(&root, &query, Some(&client()), &mut findings);
    assert_eq!(findings.losses(), 0);
    let notes = findings.sorted().into_iter().map(|finding| finding.text).collect();
    Learned { lists, notes, asked: mirror.asked() }
}

fn files(fields: &str) -> Files {
    let mut files = Files::default();
    files.suite("stable", &packages(NEW), fields);
    Files(files.0.into_iter().map(|(path, content)| (format!("debian/{path}"), content)).collect())
}

const DEBIAN: &str = "Origin: Debian\nLabel: Debian\n";

#[test]
fn ask_signed_repository_is_current() {
    let learned = learn("", files(DEBIAN), vec![], &packages(OLD));
    assert_eq!(learned.available(), ["a:amd64=2", "b:all=1"]);
    assert_eq!((learned.status(), learned.notes), (RepositoryStatus::Current, vec![]));
    assert!(learned.asked[1].contains("/by-hash/SHA256/"), "{:?}", learned.asked);
    let (repository, offer) = learned.lists.usable(&pin("a 2 amd64")).next().unwrap();
    assert!(repository.url(offer).ends_with("/debian/pool/a_2_amd64.deb"));
    assert!(!repository.is_third_party());
    assert_eq!(learned.lists.why_missing(&pin("c 1 amd64")), "no repository has this version");
    assert_eq!(learned.lists.date, date::parse("01 May 2024 00:00:00 UTC"));
}

#[test]
fn ask_current_cached_index_is_not_fetched() {
    let learned = learn("", files("Origin: Example\n"), vec![], &packages(NEW));
    assert_eq!(learned.available(), ["a:amd64=2", "b:all=1"]);
    assert_eq!(learned.asked, ["/debian/dists/stable/InRelease"]);
    assert!(learned.lists.repositories[0].is_third_party());
}

#[test]
fn ask_repository_without_by_hash_is_current() {
    let mut repository = files(DEBIAN);
    repository.0.remove(&repository.hashed());
    let learned = learn("", repository, vec![], &packages(OLD));
    assert_eq!(learned.available(), ["a:amd64=2", "b:all=1"]);
    assert_eq!(learned.notes.len(), 0);
}

/// A build would refuse the repository too, so its packages are not available.
#[test]
fn ask_unverified_repository_is_unusable() {
    let release = "stable/InRelease".to_owned();
    for (options, faults, note) in [
        ("", vec![(release, Fault::Changed)], "not a signed release file"),
        ("[signed-by=/usr/share/keyrings/other.asc]", vec![], "keys that the machine does not have"),
        ("[signed-by=/none]", vec![], "keys that the machine does not have"),
    ] {
        let learned = learn(options, files(DEBIAN), faults, &packages(OLD));
        assert_eq!((learned.available().len(), learned.status()), (0, RepositoryStatus::Cached), "{options}");
        assert!(learned.lists.for_build(now()).is_empty(), "{options}");
        assert!(learned.notes[0].contains(note), "{:?}", learned.notes);
    }
}

/// After each fault, apt's cached lists are used, with one note.
#[test]
fn ask_failed_or_changed_response_uses_cache() {
    let release = "stable/InRelease".to_owned();
    let index = files(DEBIAN).hashed();
    for (file, fault, status, note) in [
        (&release, Fault::Status(500), RepositoryStatus::Cached, "returned 500"),
        (&release, Fault::CutAt(50), RepositoryStatus::Cached, "connection interrupted"),
        (&release, Fault::Endless, RepositoryStatus::Cached, "exceeds 10485760 bytes"),
        (&index, Fault::Status(403), RepositoryStatus::Current, "returned 403"),
        (&index, Fault::CutAt(9), RepositoryStatus::Current, "connection interrupted"),
        (&index, Fault::Endless, RepositoryStatus::Current, "the response exceeds"),
        (&index, Fault::Changed, RepositoryStatus::Current, "the digest differs"),
    ] {
        let learned = learn("", files(DEBIAN), vec![(file.clone(), fault)], &packages(OLD));
        assert_eq!(learned.available(), ["a:amd64=1", "b:all=1"], "{fault:?}");
        assert_eq!(learned.status(), status, "{fault:?}");
        assert_eq!(learned.notes.len(), 1, "{:?}", learned.notes);
        assert!(learned.notes[0].contains(note), "{:?}", learned.notes);
    }
}

#[test]
fn ask_removed_or_protected_repository_is_unusable() {
    let learned = learn("", Files::default(), vec![], &packages(OLD));
    assert_eq!((learned.available().len(), learned.status()), (0, RepositoryStatus::NotFound));
    assert!(learned.lists.why_missing(&pin("a 1 amd64")).ends_with("had this version, which is gone"));
    assert!(learned.lists.for_build(now()).is_empty());
    let closed =
        learn("", files(DEBIAN), vec![("stable/InRelease".to_owned(), Fault::Status(401))], &packages(OLD));
    assert_eq!(closed.available().len(), 0);
    assert!(closed.lists.why_missing(&pin("a 1 amd64")).ends_with("which needs a password"));
}

#[test]
fn ask_detached_signature_and_trusted_option_are_accepted() {
    let mut repository = files(DEBIAN);
    repository.0.remove("debian/dists/stable/InRelease");
    let unsigned = learn("", repository.clone(), vec![], &packages(OLD));
    assert_eq!((unsigned.status(), unsigned.available().len()), (RepositoryStatus::Cached, 0));
    assert!(unsigned.notes[0].contains("not signed"), "{:?}", unsigned.notes);
    let trusted = learn("[trusted=yes]", repository, vec![], &packages(OLD));
    assert_eq!((trusted.status(), trusted.available()[0].as_str()), (RepositoryStatus::Current, "a:amd64=2"));
}

#[test]
fn ask_expired_release_file_is_used_with_note() {
    let fields = format!("{DEBIAN}Valid-Until: Sat, 01 Jun 2024 11:00:00 UTC\n");
    let learned = learn("", files(&fields), vec![], &packages(OLD));
    assert_eq!(learned.available(), ["a:amd64=2", "b:all=1"]);
    assert!(learned.notes[0].contains("has expired"), "{:?}", learned.notes);
    assert!(learned.lists.for_build(now())[0].may_be_expired());
    assert_eq!(learn("[check-valid-until=no]", files(&fields), vec![], &packages(OLD)).notes.len(), 0);
}

/// Queries without a client; some sources are usable on this machine only.
#[test]
fn ask_without_client_reads_every_compression_and_reports_damage() {
    let gz = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let index = |text: &str| packages(&[text]);
    let damaged = &gz(&index("f 1 amd64"))[..20];
    let sources = "deb [trusted=yes] http://x.example/d s main\ndeb file:/srv/repo ./\ndeb https://u:p@y.example/ s main\n\
        deb [arch=i386 trusted=yes] http://x.example/d s other\n";
    let (_dir, root) = machine(&[
        ("etc/apt/sources.list", sources.as_bytes()),
        ("var/lib/apt/lists/x.example_d_dists_s_main_binary-amd64_Packages.gz", &gz(&index("a 1 amd64"))),
        (
            "var/lib/apt/lists/x.example_d_dists_s_main_binary-i386_Packages.xz",
            &xz(index("b 1 i386").as_bytes()),
        ),
        ("var/lib/apt/lists/x.example_d_dists_s_main_binary-all_Packages", index("c 1 all").as_bytes()),
        (
            "var/lib/apt/lists/x.example_d_dists_s_other_binary-amd64_Packages",
            index("not 1 asked").as_bytes(),
        ),
        ("var/lib/apt/lists/x.example_d_dists_s_other_binary-i386_Packages.gz", damaged),
        ("var/lib/apt/lists/_srv_repo_._Packages", index("d 1 amd64").as_bytes()),
        (
            "var/lib/apt/lists/y.example_dists_s_main_binary-amd64_Packages.zst",
            &zstd::encode_all(index("e 1 amd64").as_bytes(), 1).unwrap(),
        ),
        ("var/lib/apt/lists/z.example_dists_s_main_binary-amd64_Packages", index("f 1 amd64").as_bytes()),
        (
            "var/lib/apt/lists/x.example_d_dists_s_Release",
            b"Origin: Debian\nDate: Sat, 09 Sep 2023 10:00:01 UTC\n",
        ),
    ]);
    let asked = pins(&["a 1 amd64", "b 1 i386", "c 1 all", "d 1 amd64", "e 1 amd64", "f 1 amd64"]);
    let query = Query { pins: &asked, architectures: &architectures(), now: now() };
    let mut findings = Findings::default();
    let lists = ask(&root, &query, None, &mut findings);
    let available: Vec<String> = lists.available.iter().map(Pin::to_string).collect();
    assert_eq!(available, ["a:amd64=1", "b:i386=1", "c:all=1"]);
    assert_eq!((lists.present, lists.date), (true, Some(1_694_253_601)));
    let why = |text| lists.why_missing(&pin(text));
    assert_eq!(why("d 1 amd64"), "only file:/srv/repo/ ./ has this version, which is on this machine");
    assert_eq!(why("e 1 amd64"), "only https://y.example/ s has this version, which needs a password");
    let notes: Vec<_> = findings.sorted().into_iter().map(|finding| (finding.path, finding.text)).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].1.contains("not queried") && notes[1].0.ends_with(b"i386_Packages.gz"), "{notes:?}");
}

#[test]
fn ask_without_lists_is_unknown_and_without_sources_known() {
    let asked = pins(&["a 1 amd64"]);
    let query = Query { pins: &asked, architectures: &architectures(), now: now() };
    let present =
        |files: &[(&str, &[u8])]| ask(&machine(files).1, &query, None, &mut Findings::default()).present;
    assert!(!present(&[("etc/apt/sources.list", b"deb http://x.example/d s main\n")]));
    assert!(present(&[("etc/apt/sources.list", b"")]));
}

/// A key that the machine lost since it fetched the lists is missing in the build too.
#[test]
fn ask_without_client_verifies_cached_release_again() {
    for (key, available) in [("good.asc", 1), ("expired.asc", 0)] {
        let prefix = "var/lib/apt/lists/x.example_d_dists_s";
        let (_dir, root) = machine(&[
            ("etc/apt/sources.list", b"deb http://x.example/d s main\n"),
            ("etc/apt/trusted.gpg.d/key.asc", &data(key)),
            (&format!("{prefix}_main_binary-amd64_Packages"), packages(&["a 1 amd64"]).as_bytes()),
            (&format!("{prefix}_InRelease"), &sign("Origin: Example\n")),
        ]);
        let (pins, mut findings) = (pins(&["a 1 amd64"]), Findings::default());
        let query = Query { pins: &pins, architectures: &architectures(), now: now() };
        let lists = ask(&root, &query, None, &mut findings);
        assert_eq!((lists.available.len(), lists.for_build(now()).len()), (available, available), "{key}");
    }
}

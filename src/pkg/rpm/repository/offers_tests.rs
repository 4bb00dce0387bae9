//! Queries of repositories that a server on this machine serves.

use super::config::{Location, Repository};
use super::offers::{Answer, Machine, availability, query};
use super::variables::Variables;
use crate::model::escape::hex;
use crate::model::findings::Findings;
use crate::pkg::Pin;
use crate::pkg::dpkg::repository::keyring::Keyring;
use crate::pkg::plan::VersionSource;
use crate::system::root::Root;
use crate::transfer::net::server::{Answer as Response, Server};
use crate::transfer::net::{Client, Settings};
use sha2::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

fn pin(text: &str) -> Pin {
    let words: Vec<&str> = text.split(' ').collect();
    Pin { name: words[0].into(), version: words[1].into(), architecture: words[2].into() }
}

fn pins(texts: &[&str]) -> BTreeSet<Pin> {
    texts.iter().map(|text| pin(text)).collect()
}

/// Returns a list of packages: name, epoch, version, release and architecture.
fn primary(packages: &[[&str; 5]]) -> Vec<u8> {
    let package = |[name, epoch, version, release, architecture]: &[&str; 5]| {
        format!(
            "<package type=\"rpm\"><name>{name}</name><arch>{architecture}</arch>\
             <version epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">00</checksum></package>"
        )
    };
    let packages: String = packages.iter().map(package).collect();
    format!("<?xml version=\"1.0\"?><metadata xmlns=\"http://linux.duke.edu/metadata/common\">{packages}</metadata>")
        .into_bytes()
}

/// Files of a repository by path.
fn repository(packages: &[[&str; 5]], algorithm: &str) -> BTreeMap<String, Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&primary(packages)).unwrap();
    let list = encoder.finish().unwrap();
    let checksum = match algorithm {
        "sha" => hex(&<sha1::Sha1 as sha1::Digest>::digest(&list)),
        _ => hex(&sha2::Sha256::digest(&list)),
    };
    let repomd = format!(
        "<?xml version=\"1.0\"?><repomd><data type=\"primary\"><checksum type=\"{algorithm}\">{checksum}</checksum>\
         <location href=\"repodata/primary.xml.gz\"/><size>{}</size></data></repomd>",
        list.len()
    );
    BTreeMap::from([
        ("repodata/repomd.xml".to_owned(), repomd.into_bytes()),
        ("repodata/primary.xml.gz".to_owned(), list),
    ])
}

fn serve(files: BTreeMap<String, Vec<u8>>) -> Server {
    Server::start(move |asked| match files.get(asked.path.trim_start_matches('/')) {
        Some(content) => Response::new(200, content.clone()),
        None => Response::new(404, ""),
    })
}

fn configured(location: Location) -> Repository {
    Repository {
        file: b"etc/yum.repos.d/a.repo".to_vec(),
        id: "a".to_owned(),
        location,
        gpgcheck: true,
        repo_gpgcheck: false,
        sslverify: true,
        keys: Vec::new(),
        unusable: None,
    }
}

fn ask(root: &Root, repository: Repository, pins: &BTreeSet<Pin>, online: bool) -> Vec<Answer> {
    let client = Client::new(Settings::default()).unwrap();
    let machine = Machine {
        root,
        variables: &Variables::default(),
        keyring: &|_| Keyring::default(),
        client: online.then_some(&client),
        now: 1_700_000_000,
    };
    query(&machine, vec![repository], pins, &mut Findings::default())
}

fn empty() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

const PACKAGES: [[&str; 5]; 3] = [
    ["bash", "0", "5.2.15", "2", "x86_64"],
    ["ping", "3", "20221126", "1", "x86_64"],
    ["tzdata", "0", "2024a", "1~x", "noarch"],
];

#[test]
fn query_current_repository_offers_exact_versions() {
    let wanted = pins(&[
        "bash 5.2.15-2 x86_64",
        "ping 3:20221126-1 x86_64",
        "ping 20221126-1 x86_64",
        "tzdata 2024a-1 noarch",
    ]);
    let (_directory, root) = empty();
    for algorithm in ["sha256", "sha"] {
        let server = serve(repository(&PACKAGES, algorithm));
        let answers = ask(&root, configured(Location::Base(vec![server.url("/")])), &wanted, true);
        assert_eq!(answers[0].refused, None);
        let available = availability(&answers, &wanted);
        assert_eq!(available[&pin("bash 5.2.15-2 x86_64")], Ok(VersionSource::Repository));
        assert_eq!(available[&pin("ping 3:20221126-1 x86_64")], Ok(VersionSource::Repository));
        assert!(available[&pin("ping 20221126-1 x86_64")].is_err());
        assert!(available[&pin("tzdata 2024a-1 noarch")].is_err());
    }
}

#[test]
fn query_mirror_list_tries_next_mirror() {
    let wanted = pins(&["bash 5.2.15-2 x86_64"]);
    let (_directory, root) = empty();
    let good = serve(repository(&PACKAGES, "sha256"));
    let list = format!("# mirrors\n{}\n{}\n", good.url("/gone/"), good.url("/"));
    let lists = serve(BTreeMap::from([("list".to_owned(), list.into_bytes())]));
    let answers = ask(&root, configured(Location::MirrorList(lists.url("/list"))), &wanted, true);
    assert_eq!((answers[0].refused.clone(), &answers[0].packages), (None, &wanted));
}

#[test]
fn query_refused_repository_is_not_for_the_build() {
    let wanted = pins(&["bash 5.2.15-2 x86_64"]);
    let (_directory, root) = empty();
    let changed = |path: &str, from: &str, to: &str| {
        let mut files = repository(&PACKAGES, "sha256");
        let text = String::from_utf8(files[path].clone()).unwrap();
        assert!(text.contains(from));
        files.insert(path.to_owned(), text.replace(from, to).into_bytes());
        files
    };
    let repomd = "repodata/repomd.xml";
    for (files, expected) in [
        (BTreeMap::new(), "404"),
        (changed(repomd, "type=\"primary\"", "type=\"primary_db\""), "no list of packages"),
        (changed(repomd, "\"sha256\">", "\"sha256\">0"), "the checksum differs"),
        (changed(repomd, "\"sha256\"", "\"md5\""), "not supported"),
        (changed(repomd, "repodata/primary", "../primary"), "an invalid path"),
        (changed(repomd, "</repomd>", ""), "truncated"),
    ] {
        let server = serve(files);
        let answers = ask(&root, configured(Location::Base(vec![server.url("/")])), &wanted, true);
        let why = answers[0].refused.clone().unwrap_or_default();
        assert!(why.contains(expected), "{why}");
        assert!(availability(&answers, &wanted)[&pin("bash 5.2.15-2 x86_64")].is_err());
    }
}

#[test]
fn query_required_signature_missing_is_refused() {
    let wanted = pins(&["bash 5.2.15-2 x86_64"]);
    let (_directory, root) = empty();
    let server = serve(repository(&PACKAGES, "sha256"));
    let signed = Repository { repo_gpgcheck: true, ..configured(Location::Base(vec![server.url("/")])) };
    assert!(ask(&root, signed.clone(), &wanted, true)[0].refused.is_some());
    let mut files = repository(&PACKAGES, "sha256");
    files.insert("repodata/repomd.xml.asc".to_owned(), b"no signature".to_vec());
    let server = serve(files);
    let signed = Repository { location: Location::Base(vec![server.url("/")]), ..signed };
    assert!(ask(&root, signed, &wanted, true)[0].refused.clone().unwrap().contains("not signed"));
}

#[test]
fn query_offline_uses_stored_metadata() {
    let wanted = pins(&["bash 5.2.15-2 x86_64", "vim 9-1 x86_64"]);
    for place in [
        "var/cache/dnf/a-0123456789abcdef/repodata",
        "var/cache/libdnf5/a-0123456789abcdef/repodata",
        "var/cache/zypp/raw/a/repodata",
        "var/cache/yum/x86_64/7/a",
    ] {
        let (directory, root) = empty();
        let location = Location::Base(vec!["http://127.0.0.1:9/".to_owned()]);
        let unknown = ask(&root, configured(location.clone()), &wanted, false);
        assert!(availability(&unknown, &wanted).values().all(Result::is_err), "{place}");
        let place = directory.path().join(place);
        std::fs::create_dir_all(&place).unwrap();
        for (path, content) in repository(&PACKAGES, "sha256") {
            std::fs::write(place.join(path.strip_prefix("repodata/").unwrap()), content).unwrap();
        }
        let answers = ask(&root, configured(location), &wanted, false);
        let available = availability(&answers, &wanted);
        assert_eq!(available[&pin("bash 5.2.15-2 x86_64")], Ok(VersionSource::Unverified), "{place:?}");
        assert!(available[&pin("vim 9-1 x86_64")].is_err());
    }
}

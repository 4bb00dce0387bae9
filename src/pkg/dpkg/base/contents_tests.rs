use crate::model::findings::Findings;
use crate::pkg::dpkg::base::contents::*;
use crate::system::root::Root;
use std::fs;

const PROFILE: Profile = Profile {
    merged_usr: true,
    path_filters: Some(&["path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"]),
    diversions: &[("usr/bin/man", "usr/bin/man.REAL"), ("sbin/initctl", "sbin/initctl.distrib")],
    added: &["usr/bin/man", "usr/sbin/policy-rc.d"],
};

fn pin(name: &str, version: &str, architecture: &str) -> Pin {
    Pin { name: name.to_owned(), version: version.to_owned(), architecture: architecture.to_owned() }
}

fn digest(digit: u8) -> Md5 {
    [digit << 4 | digit; 16]
}

/// Creates a machine with packages `name version architecture state`; each has the files `path
/// digit` of its `md5sums`.
fn machine(merged: bool) -> (tempfile::TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("var/lib/dpkg/info");
    fs::create_dir_all(&info).unwrap();
    if merged {
        for name in ["bin", "sbin", "lib"] {
            fs::create_dir_all(dir.path().join("usr").join(name)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{name}"), dir.path().join(name)).unwrap();
        }
    }
    let mut status = String::new();
    for (name, version, state, conffiles, files) in [
        (
            "bash",
            "5.2-1",
            "installed",
            "Conffiles:\n /etc/bashrc 33333333333333333333333333333333\n /etc/oldrc 33333333333333333333333333333333 obsolete\n",
            &[
                "bin/bash 1",
                "usr/share/doc/bash/README 1",
                "usr/share/doc/bash/copyright 2",
                "usr/lib/bash/x 1",
                "etc/bashrc -",
                "usr/share/diverted 1",
            ][..],
        ),
        ("man", "2", "installed", "", &["usr/bin/man 4", "sbin/initctl 5", "usr/sbin/policy-rc.d 6"]),
        ("newer", "3", "installed", "", &["usr/bin/newer 7"]),
        ("gone", "1", "half-installed", "", &["usr/bin/gone 8"]),
        ("other", "1", "installed", "", &["usr/bin/other 9"]),
    ] {
        status += &format!(
            "Package: {name}\nStatus: install ok {state}\nVersion: {version}\nArchitecture: amd64\n{conffiles}\n"
        );
        let path = |line: &&str| line.split(' ').next().unwrap_or_default().to_owned();
        let list: String = files.iter().map(|line| format!("/{}\n", path(line))).collect();
        let sums = files.iter().filter(|line| !line.ends_with('-'));
        let sums: String =
            sums.map(|line| format!("{}  {}\n", line[line.len() - 1..].repeat(32), path(line))).collect();
        fs::write(info.join(format!("{name}.list")), list).unwrap();
        fs::write(info.join(format!("{name}.md5sums")), sums).unwrap();
    }
    fs::write(dir.path().join("var/lib/dpkg/status"), status).unwrap();
    fs::write(dir.path().join("var/lib/dpkg/arch"), "amd64\n").unwrap();
    fs::write(dir.path().join("var/lib/dpkg/diversions"), "/usr/share/diverted\n/usr/share/moved\n:\n")
        .unwrap();
    let catalog =
        crate::pkg::dpkg::database::load(&Root::open(dir.path()).unwrap(), &mut Findings::default()).unwrap();
    (dir, catalog)
}

fn image() -> Vec<Pin> {
    [("bash", "5.2-1"), ("man", "2"), ("newer", "2"), ("gone", "1"), ("extra", "1"), ("silent", "1")]
        .map(|(name, version)| pin(name, version, "amd64"))
        .into()
}

fn heads() -> Heads {
    let file = |path: &str, digit: u8| PackagedFile {
        path: path.as_bytes().into(),
        md5: (digit > 0).then(|| digest(digit)),
        conffile: digit == 0,
    };
    Heads::from([
        (
            pin("newer", "2", "amd64"),
            vec![file("bin/newer", 10), file("etc/newer.conf", 0), file("usr/share/doc/newer/x", 10)],
        ),
        (pin("newer", "3", "amd64"), vec![file("usr/bin/wrong", 10)]),
        (pin("gone", "1", "amd64"), vec![file("usr/bin/gone", 11)]),
        (
            pin("extra", "1", "amd64"),
            vec![file("usr/bin/extra", 12), file("usr/lib/bash/x", 12), file("usr/share/same", 12)],
        ),
        (pin("silent", "1", "amd64"), vec![file("usr/share/same", 12)]),
        // The machine has this version, so its own database counts.
        (pin("bash", "5.2-1", "amd64"), vec![file("usr/bin/wrong", 13)]),
    ])
}

fn show(files: Vec<(Box<[u8]>, Digest)>) -> Vec<String> {
    assert!(files.is_sorted_by(|(a, _), (b, _)| a < b));
    let line = |(path, digest): &(Box<[u8]>, Digest)| match digest {
        Digest::Md5(md5) => format!("{} {:x}", path.escape_ascii(), md5[0] >> 4),
        other => panic!("{other:?}"),
    };
    files.iter().map(line).collect()
}

#[test]
fn expected_files_profile_excludes_and_moves_packaged_files() {
    let expected = [
        "etc/bashrc 3",
        "usr/bin/bash 1",
        "usr/bin/extra c",
        "usr/bin/gone b",
        "usr/bin/man.REAL 4",
        "usr/bin/newer a",
        "usr/sbin/initctl.distrib 5",
        "usr/share/doc/bash/copyright 2",
        "usr/share/same c",
    ];
    for merged in [true, false] {
        let (_dir, catalog) = machine(merged);
        assert_eq!(
            show(expected_files(&image(), &catalog, &heads(), &PROFILE)),
            expected,
            "merged: {merged}"
        );
    }
}

#[test]
fn expected_files_merged_machine_and_unmerged_image_skips_aliases() {
    let profile = Profile { merged_usr: false, path_filters: Some(&[]), ..PROFILE };
    let names = |merged| {
        let (_dir, catalog) = machine(merged);
        show(expected_files(&image()[..2], &catalog, &Heads::new(), &profile))
    };
    let everywhere = ["etc/bashrc 3", "usr/share/doc/bash/README 1", "usr/share/doc/bash/copyright 2"];
    assert_eq!(names(true), everywhere);
    let all =
        ["bin/bash 1", "etc/bashrc 3", "sbin/initctl.distrib 5", "usr/bin/man.REAL 4", "usr/lib/bash/x 1"];
    assert_eq!(names(false), [&all[..], &everywhere[1..]].concat());
}

#[test]
fn unknown_to_returns_packages_that_machine_lacks() {
    let (_dir, catalog) = machine(true);
    let (image, names) = (image(), ["newer", "gone", "extra", "silent"]);
    assert_eq!(unknown_to(&image, &catalog).iter().map(|pin| pin.name.as_str()).collect::<Vec<_>>(), names);
}

/// Returns a package file without data: an archive of its control member (deb(5)).
fn package(pin: &Pin, md5sums: &str) -> Vec<u8> {
    let mut writer = crate::context::tar::Writer::new(Vec::new());
    let control =
        format!("Package: {}\nVersion: {}\nArchitecture: {}\n", pin.name, pin.version, pin.architecture);
    for (name, text) in [("control", control.as_str()), ("md5sums", md5sums)] {
        let kind = tree::Kind::File { size: text.len() as u64, sha256: None };
        let stat = tree::Stat::default();
        let node = tree::Node { path: name.as_bytes().into(), kind, stat, group: 0, xattrs: None };
        assert!(writer.append_file(&node, &mut text.as_bytes()).unwrap().is_whole());
    }
    let tar = writer.finish().unwrap();
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "control.tar", 0, 0, 0, 100_644, tar.len());
    [b"!<arch>\n", header.as_bytes(), &tar].concat()
}

#[test]
fn fetch_heads_unavailable_packages_are_counted() {
    use crate::pkg::dpkg::repository::release::Release;
    use crate::pkg::dpkg::repository::{Repository, RepositoryPackage, RepositoryStatus, sources};
    use crate::transfer::net::server::{Answer, Server, client};
    let pins = [pin("aa", "1", "amd64"), pin("bb", "1", "all"), pin("cc", "1", "all"), pin("dd", "1", "all")];
    let bodies = [
        ("/pool/aa.deb", package(&pins[0], &format!("{}  bin/aa\n", "a".repeat(32)))),
        ("/pool/bb.deb", package(&pin("bb", "2", "all"), "")),
    ];
    let server = Server::start(move |asked| match bodies.iter().find(|(path, _)| *path == asked.path) {
        Some((_, body)) => Answer::new(200, body.clone()),
        None => Answer::new(404, "not here"),
    });
    let line = format!("deb {} x main", server.url("/"));
    let source = sources::parse(b"etc/apt/sources.list", line.as_bytes()).0.remove(0);
    let repository =
        Repository { source, status: RepositoryStatus::Current, release: Release::default(), unusable: None };
    // The repository serves another version of `bb`, does not have `cc`, and no repository offers
    // `dd`.
    let offer = |pin: &Pin| {
        let filename = format!("pool/{}.deb", pin.name);
        (pin.clone(), vec![RepositoryPackage { repository: 0, filename, size: 0, sha256: None }])
    };
    let lists = Lists {
        repositories: vec![repository],
        offers: pins[..3].iter().map(offer).collect(),
        ..Lists::default()
    };
    let mut findings = Findings::default();
    let wanted: Vec<&Pin> = pins.iter().collect();
    let heads = fetch_heads(&wanted, &lists, &client(), &mut findings);
    assert_eq!(heads.keys().collect::<Vec<_>>(), [&pins[0]]);
    assert_eq!(heads[&pins[0]][0].path, b"bin/aa".as_slice().into());
    let notes = findings.sorted();
    assert!(notes.len() == 1 && notes[0].text.starts_with("contents of 3 packages"), "{notes:?}");
    assert_eq!(findings.losses(), 0);
}

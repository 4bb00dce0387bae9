use crate::pkg::dpkg::status::*;
use proptest::prelude::*;

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/dpkg/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns one file of a txtar archive.
fn member(archive: &str, name: &str) -> Vec<u8> {
    let text = String::from_utf8(fixture(archive)).unwrap();
    let start = text.find(&format!("-- {name} --\n")).unwrap() + name.len() + 7;
    let end = text[start..].find("\n-- ").map_or(text.len(), |end| start + end + 1);
    text.as_bytes()[start..end].to_vec()
}

fn ids(packages: &[StatusEntry]) -> Vec<String> {
    packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.architecture)).collect()
}

#[test]
fn parse_status_real_file_has_no_problems() {
    let (packages, problems) = parse_status(&member("trivy/valid.txtar", "var/lib/dpkg/status"));
    assert_eq!(problems, []);
    let expected = String::from_utf8(fixture("trivy/valid.txtar.expected.tsv")).unwrap();
    let rows = expected.lines().filter(|line| line.starts_with("var/lib/dpkg/status\t"));
    let rows: Vec<String> =
        rows.map(|row| row.split('\t').skip(1).take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(ids(&packages), rows);
    assert!(packages.len() > 90 && packages.iter().filter(|package| !package.is_installed()).count() == 1);
    let bash = packages.iter().find(|package| package.name == "bash").unwrap();
    assert!(bash.essential && bash.multi_arch == MultiArch::Foreign && bash.conffiles.len() == 4);
    assert_eq!(bash.conffiles[0].path.as_ref(), b"etc/bash.bashrc");
    assert_eq!((bash.pre_depends.len(), bash.depends.len(), bash.priority.as_str()), (2, 2, "required"));
}

#[test]
fn parse_status_damaged_file_returns_valid_packages() {
    let (packages, problems) = parse_status(&member("trivy/corrupsed.txtar", "var/lib/dpkg/status"));
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["libpam-runtime", "libpam-modules-bin", "makedev", "libgcc1"]);
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [63, 85, 87]);
    assert_eq!(packages[3].source.as_deref(), Some("gcc-5 (5.1.1-12ubuntu1)"));
}

#[test]
fn parse_status_names_unsafe_for_apt_are_ignored() {
    let (packages, problems) = parse_status(&fixture("claircore/vcpkg.status"));
    assert_eq!((packages.len(), problems.len()), (15, 9));
    let stanza = |name: &str, version: &str, architecture: &str| {
        let text = format!(
            "Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: {architecture}\n"
        );
        parse_status(text.as_bytes()).0.len()
    };
    assert_eq!(stanza("ok", "1", "amd64"), 1);
    for (name, version, architecture) in [
        ("a", "1", "amd64"),
        ("-o=Dpkg::Pre-Invoke::=sh", "1", "amd64"),
        ("a b", "1", "amd64"),
        ("Ab", "1", "amd64"),
        ("a_b", "1", "amd64"),
        ("ok", "1;reboot", "amd64"),
        ("ok", "1 2", "amd64"),
        ("ok", "", "amd64"),
        ("ok", "1", "amd64/../x"),
        ("ok", "1", "-amd64"),
        ("ok", "1\0", "amd64"),
        ("o\u{fc}", "1", "amd64"),
    ] {
        assert_eq!(stanza(name, version, architecture), 0, "{name} {version} {architecture}");
    }
}

#[test]
fn parse_status_d_missing_status_counts_as_installed() {
    let (packages, problems) = parse_status_d(&fixture("syft/distroless/libsqlite3-0"));
    assert_eq!((ids(&packages).join(","), problems), ("libsqlite3-0 3.34.1-3 arm64".into(), vec![]));
    assert!(packages[0].is_installed());
    let (packages, problems) = parse_status_d(&fixture("syft/status.d/deinstall"));
    assert_eq!(problems, []);
    let installed: Vec<bool> = packages.iter().map(StatusEntry::is_installed).collect();
    assert_eq!(installed, [true, false]);
    assert!(parse_status_d(&fixture("syft/status.d/corrupt")).0.is_empty());
    assert!(parse_status_d(&fixture("syft/status.d/empty")).0.is_empty());
    let (packages, problems) = parse_status(b"Package: ab\nVersion: 1\n");
    assert_eq!((packages[0].state, problems.len()), (State::NotInstalled, 1));
}

#[test]
fn read_status_all_words_of_dpkg_are_parsed() {
    for (status, expected) in [
        ("install ok installed", Some((Want::Install, false, State::Installed))),
        ("hold ok installed", Some((Want::Hold, false, State::Installed))),
        ("install hold installed", Some((Want::Hold, false, State::Installed))),
        ("install reinstreq half-installed", Some((Want::Install, true, State::HalfInstalled))),
        ("deinstall ok config-files", Some((Want::Deinstall, false, State::ConfigFiles))),
        ("purge ok not-installed", Some((Want::Purge, false, State::NotInstalled))),
        ("unknown  ok\ttriggers-pending", Some((Want::Unknown, false, State::TriggersPending))),
        ("install ok postinst-failed", Some((Want::Install, false, State::HalfConfigured))),
        ("install ok", None),
        ("install ok installed now", None),
        ("install ok gone", None),
    ] {
        assert_eq!(read_status(status.as_bytes()), expected, "{status}");
    }
}

#[test]
fn read_conffile_path_with_spaces_is_kept() {
    let digest = "0123456789abcdef0123456789abcdef";
    for (line, expected) in [
        (format!("/etc/a {digest}"), Some(("etc/a", true, false, false))),
        (format!("/etc/a b {digest} obsolete"), Some(("etc/a b", true, true, false))),
        (format!("/etc/a {digest} obsolete remove-on-upgrade"), Some(("etc/a", true, true, true))),
        ("/etc/a newconffile".into(), Some(("etc/a", false, false, false))),
        ("/etc/a".into(), None),
        ("/etc/a 0123".into(), None),
        (format!("etc/a {digest}"), None),
        (digest.into(), None),
        ("obsolete".into(), None),
    ] {
        let conffile = read_conffile(line.as_bytes());
        let got = conffile.as_ref().map(|c| {
            (std::str::from_utf8(&c.path).unwrap(), c.md5.is_some(), c.obsolete, c.remove_on_upgrade)
        });
        assert_eq!(got, expected, "{line}");
    }
}

#[test]
fn id_ambiguous_name_has_architecture() {
    for (architecture, multi_arch, expected) in [
        ("amd64", "no", "ab"),
        ("amd64", "same", "ab:amd64"),
        ("i386", "no", "ab:i386"),
        ("i386", "foreign", "ab:i386"),
        ("all", "foreign", "ab"),
    ] {
        let text =
            format!("Package: ab\nVersion: 1\nArchitecture: {architecture}\nMulti-Arch: {multi_arch}\n");
        assert_eq!(parse_status_d(text.as_bytes()).0[0].id("amd64"), expected, "{architecture} {multi_arch}");
    }
}

#[test]
fn parse_status_duplicate_stanza_last_one_wins() {
    let (packages, problems) =
        parse_status_d(b"Package: ab\nVersion: 1\n\nPackage: cd\nVersion: 1\n\nPackage: ab\nVersion: 2\n");
    assert_eq!(ids(&packages), ["ab 2 ", "cd 1 "]);
    assert_eq!(problems[0].line, 7);
}

#[test]
fn parse_status_truncated_file_never_panics() {
    let text = member("trivy/corrupsed.txtar", "var/lib/dpkg/status");
    for length in 0..text.len() {
        let (packages, _) = parse_status(&text[..length]);
        assert!(packages.len() <= 5);
    }
    for byte in 0..text.len() {
        let mut text = text.clone();
        text[byte] = 0;
        assert!(parse_status(&text).0.len() <= 5);
    }
}

proptest! {
    #[test]
    fn parse_status_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let text = [b"Package: ab\nVersion: 1\nConffiles:\n ".as_slice(), &bytes].concat();
        let _ = (parse_status(&bytes), parse_status_d(&text));
    }
}

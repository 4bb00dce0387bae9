use crate::pkg::dpkg::base::minbase::*;

/// Builds stanzas from lines `name version architecture priority [essential] ; Field: value ;
/// ...`.
fn index(lines: &[&str]) -> String {
    let stanza = |line: &&str| {
        let mut parts = line.split(" ; ");
        let words: Vec<&str> = parts.next().unwrap_or_default().split(' ').collect();
        let essential = if words.contains(&"essential") { "Essential: yes\n" } else { "" };
        let fields: String = parts.map(|field| format!("{field}\n")).collect();
        format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nPriority: {}\n{essential}{fields}Description: x\n\n",
            words[0], words[1], words[2], words[3]
        )
    };
    lines.iter().map(stanza).collect()
}

const RELEASE: &[&str] = &[
    "base-files 12.4 amd64 required essential ; Pre-Depends: awk",
    "dpkg 1.21 amd64 required essential ; Pre-Depends: libc6 (>= 2.15), tar (>= 1.28)",
    "tar 1.34 amd64 required essential",
    "mawk 1.3 amd64 required ; Provides: awk",
    "gawk 5 amd64 optional ; Provides: awk",
    "libc6 2.36-9 amd64 optional ; Depends: libgcc-s1",
    "libgcc-s1 12.2 amd64 optional ; Depends: gcc-12-base (= 12.2), libc6",
    "gcc-12-base 12.2 amd64 required",
    "init-system-helpers 1.65 all optional essential ; Pre-Depends: usrmerge | usr-is-merged",
    "usrmerge 35 all optional ; Depends: perl",
    "usr-is-merged 35 all required",
    "perl 5.36 amd64 standard",
    "apt 2.6.1 amd64 important ; Depends: adduser, gpgv | gpgv2, debian-archive-keyring,\n libseccomp2 (>= 2.4)",
    "adduser 3.134 all important",
    "gpgv 2.2 amd64 important",
    "gpgv2 2.2 all extra",
    "debian-archive-keyring 2023.3 all important",
    "libseccomp2 2.5 amd64 optional",
    "libseccomp2 2.5 i386 required",
    "bash 5.2 amd64 optional",
    "Bad_Name 1 amd64 required",
    "badversion 1_1 amd64 required",
];

const UPDATES: &[&str] = &[
    "libc6 2.36-10 amd64 optional ; Depends: libgcc-s1",
    "apt 2.6.0 amd64 important",
    "tar 1.34+dfsg amd64 required",
];

fn read(texts: &[&str]) -> Index {
    let mut index = Index::new("amd64");
    texts.iter().for_each(|text| index.add(&mut text.as_bytes()).unwrap());
    index
}

fn show(packages: &[Pin]) -> String {
    packages.iter().map(|pin| format!("{}={}", pin.name, pin.version)).collect::<Vec<_>>().join(" ")
}

const EXPECTED: &str = "adduser=3.134 apt=2.6.1 base-files=12.4 debian-archive-keyring=2023.3 dpkg=1.21 gcc-12-base=12.2 \
     gpgv=2.2 init-system-helpers=1.65 libc6=2.36-10 libgcc-s1=12.2 libseccomp2=2.5 mawk=1.3 tar=1.34+dfsg usr-is-merged=35";

#[test]
fn base_packages_contain_essential_required_apt_and_dependencies() {
    let (release, updates) = (index(RELEASE), index(UPDATES));
    let recipe = recipe("debian", "bookworm").unwrap();
    for order in [[release.as_str(), &updates], [&updates, &release]] {
        let packages = read(&order).base_packages(&recipe).unwrap();
        assert_eq!(show(&packages), EXPECTED);
        let of = |name: &str| packages.iter().find(|pin| pin.name == name).unwrap().architecture.as_str();
        assert_eq!([of("adduser"), of("libc6")], ["all", "amd64"]);
    }
}

#[test]
fn base_packages_unsatisfied_alternatives_are_added() {
    let recipe = recipe("debian", "trixie").unwrap();
    for (line, extra) in [
        // A provided name: satisfied by the set, else by the provider with the highest priority,
        // else by the first name.
        ("apt 3 amd64 important ; Depends: awk", ""),
        (
            "apt 3 amd64 important ; Depends: mta\n\nPackage: postfix\nVersion: 1\nArchitecture: amd64\nPriority: optional\nProvides: mta\n\n\
          Package: exim\nVersion: 1\nArchitecture: amd64\nPriority: standard\nProvides: mta",
            "exim",
        ),
        // A later alternative, if the first one is missing or has the wrong version.
        ("apt 3 amd64 important ; Depends: nothing | bash | perl", "bash"),
        ("apt 3 amd64 important ; Depends: bash (>= 6) | perl", "perl"),
        // The first alternative is added even if the set contains a later one, as debootstrap
        // does.
        ("apt 3 amd64 important ; Depends: bash | tar", "bash"),
        // usrmerge is not followed.
        ("apt 3 amd64 important ; Depends: usrmerge | usr-is-merged", ""),
    ] {
        let text = index(RELEASE) + &index(&[line]);
        let plain = index(RELEASE) + &index(&["apt 3 amd64 important"]);
        let names = |text: &str| -> BTreeSet<String> {
            read(&[text]).base_packages(&recipe).unwrap().into_iter().map(|pin| pin.name).collect()
        };
        let more: Vec<String> = names(&text).difference(&names(&plain)).cloned().collect();
        assert_eq!(more.join(" "), extra, "{line}");
    }
}

#[test]
fn base_packages_incomplete_index_returns_error() {
    let recipe = recipe("debian", "bookworm").unwrap();
    let without = |name: &str| {
        let lines: Vec<&str> = RELEASE.iter().copied().filter(|line| !line.starts_with(name)).collect();
        read(&[&index(&lines)]).base_packages(&recipe)
    };
    for name in ["dpkg ", "base-files ", "libc6 ", "apt ", "gcc-12-base ", "libseccomp2 "] {
        assert!(without(name).is_err(), "{name}");
    }
    assert!(without("perl ").is_ok());
    assert!(read(&[""]).base_packages(&recipe).is_err());
}

#[test]
fn join_newer_version_replaces_older() {
    let recipe = recipe("debian", "bookworm").unwrap();
    let parts = || [read(&[&index(RELEASE)]), read(&[&index(UPDATES)])];
    for reverse in [false, true] {
        let mut parts = parts();
        if reverse {
            parts.reverse();
        }
        let mut whole = Index::new("amd64");
        parts.into_iter().for_each(|part| whole.join(part));
        assert_eq!(show(&whole.base_packages(&recipe).unwrap()), EXPECTED);
    }
}

#[test]
fn compute_without_client_uses_cached_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let release = |codename: &str| format!("Origin: Debian\nSuite: x\nCodename: {codename}\n");
    let lists = "var/lib/apt/lists/deb.example.org_debian_dists_";
    write(
        "etc/apt/sources.list",
        "deb http://deb.example.org/debian bookworm main contrib\ndeb http://deb.example.org/debian bookworm-updates main\ndeb http://deb.example.org/debian sid main\n",
    );
    for (suite, text) in [
        ("bookworm", index(RELEASE)),
        ("bookworm-updates", index(UPDATES)),
        ("sid", index(&["tar 99 amd64 required"])),
    ] {
        write(&format!("{lists}{suite}_Release"), &release(suite));
        write(&format!("{lists}{suite}_main_binary-amd64_Packages"), &text);
    }
    write(&format!("{lists}bookworm_contrib_binary-amd64_Packages"), &index(&["tar 98 amd64 required"]));
    let root = Root::open(dir.path()).unwrap();
    let mut findings = Findings::default();
    let question = crate::pkg::dpkg::repository::Query {
        pins: &BTreeSet::new(),
        architectures: &["amd64".to_owned()],
        now: 0,
    };
    let lists = crate::pkg::dpkg::repository::ask(&root, &question, None, &mut findings);
    let machine = TargetSystem {
        root: &root,
        lists: &lists,
        id: "debian",
        codename: "bookworm",
        architecture: "amd64",
    };
    let list = compute(&machine, None, &mut findings).unwrap();
    assert_eq!(show(&list.packages), EXPECTED);
    assert_eq!((&list.tag, &list.digest), (&None, &None));
    for machine in [TargetSystem { id: "fedora", ..machine }, TargetSystem { codename: "trixie", ..machine }]
    {
        assert!(compute(&machine, None, &mut findings).is_err());
    }
}

proptest::proptest! {
    #[test]
    fn index_any_text_never_panics(text in "(Package|Version|Architecture|Depends|Provides|: |a|amd64|1|\n| |\\|,){0,24}") {
        let mut index = Index::new("amd64");
        let _ = index.add(&mut text.as_bytes());
        let _ = index.base_packages(&recipe("ubuntu", "noble").unwrap());
    }
}

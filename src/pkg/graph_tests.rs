use crate::pkg::dpkg::dependencies;
use crate::pkg::dpkg::status::{State, StatusEntry, parse_status};
use crate::pkg::graph::*;

/// Parses packages from lines `name[:arch][*] [version]; Field: value; ...`. A star marks an
/// automatically installed package.
fn entries(lines: &[&str]) -> Vec<StatusEntry> {
    let mut text = String::new();
    for line in lines {
        let (head, fields) = line.split_once("; ").unwrap_or((line, ""));
        let mut words = head.split(' ');
        let id = words.next().unwrap().trim_end_matches('*');
        let (name, architecture) = id.split_once(':').unwrap_or((id, "amd64"));
        let version = words.next().unwrap_or("1");
        let fields = fields.replace("; ", "\n");
        text += &format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\n");
        text += &format!("Version: {version}\n{fields}\n\n");
    }
    let (mut entries, problems) = parse_status(text.as_bytes());
    assert_eq!(problems, [], "{text}");
    for (entry, line) in entries.iter_mut().zip(lines) {
        entry.automatic = line.split(';').next().is_some_and(|head| head.contains('*'));
    }
    entries
}

/// Returns packages and their dependencies on an amd64 machine.
fn resolved(entries: &[StatusEntry]) -> (Vec<Package>, Dependencies) {
    let packages = entries.iter().map(|entry| entry.package("amd64")).collect();
    (packages, dependencies::resolve_all(entries, "amd64"))
}

fn packages(lines: &[&str]) -> (Vec<Package>, Dependencies) {
    resolved(&entries(lines))
}

fn names(packages: &[Package], indices: impl IntoIterator<Item = PackageId>) -> String {
    indices.into_iter().map(|index| packages[index.index()].name.as_str()).collect::<Vec<_>>().join(" ")
}

fn set(packages: &[Package], names: &str) -> BTreeSet<PackageId> {
    let index = |name| PackageId::new(packages.iter().position(|package| package.name == name).unwrap());
    names.split_ascii_whitespace().map(index).collect()
}

/// Returns the packages that `aa` depends on, with `!` if a dependency is not satisfied.
fn reached(lines: &[&str]) -> String {
    let (packages, dependencies) = packages(lines);
    let graph = Graph::new(&packages, &dependencies);
    let reached = (0..packages.len())
        .map(PackageId::new)
        .filter(|&id| graph.dependents(id).any(|user| packages[user.index()].name == "aa"));
    let missing = if graph.unsatisfied().next().is_some() { "!" } else { "" };
    names(&packages, reached) + missing
}

#[test]
fn resolve_all_relation_and_packages_match_dpkg() {
    let cases: &[(&[&str], &str)] = &[
        (&["aa; Depends: bb", "bb"], "bb"),
        (&["aa; Pre-Depends: bb", "bb"], "bb"),
        (&["aa; Recommends: bb", "bb"], ""),
        (&["aa; Depends: bb | cc", "bb", "cc"], "bb cc"),
        (&["aa; Depends: bb | cc", "cc"], "cc"),
        (&["aa; Depends: bb (>= 2)", "bb 1"], "!"),
        (&["aa; Depends: bb (>= 2) | cc", "bb 1", "cc"], "cc"),
        (&["aa; Depends: mta", "bb; Provides: mta", "cc; Provides: mta"], "bb cc"),
        (&["aa; Depends: mta (>= 1)", "bb; Provides: mta"], "!"),
        (&["aa; Depends: mta (>= 1)", "bb; Provides: mta (= 1.1)"], "bb"),
        (&["aa; Depends: aa-virtual; Provides: aa-virtual"], ""),
        (&["aa; Depends: bb", "bb:i386"], "!"),
        (&["aa; Depends: bb", "bb:i386; Multi-Arch: foreign"], "bb"),
        (&["aa; Depends: bb", "bb:all"], "bb"),
        (&["aa:all; Depends: bb", "bb"], "bb"),
        (&["aa:i386; Depends: bb", "bb"], "!"),
        (&["aa:i386; Depends: bb", "bb:all"], "!"),
        (&["aa:i386; Depends: bb", "bb:all; Multi-Arch: foreign"], "bb"),
        (&["aa; Depends: bb:any", "bb"], "!"),
        (&["aa; Depends: bb:any", "bb:i386; Multi-Arch: allowed"], "bb"),
        (&["aa; Depends: bb:i386", "bb:i386"], "bb"),
        (&["aa; Depends: bb:i386", "bb; Multi-Arch: foreign"], "!"),
        (&["aa; Depends: bb", "bb; Multi-Arch: same", "bb:i386; Multi-Arch: same"], "bb"),
        (&["aa; Depends: cc:any", "bb; Provides: cc:any"], "bb"),
    ];
    for (lines, expected) in cases {
        assert_eq!(reached(lines), *expected, "{lines:?}");
    }
}

#[test]
fn unsatisfied_package_not_installed_satisfies_nothing() {
    let mut entries = entries(&["aa; Depends: bb", "bb"]);
    entries[1].state = State::ConfigFiles;
    let (packages, dependencies) = resolved(&entries);
    let graph = Graph::new(&packages, &dependencies);
    assert_eq!(
        graph.unsatisfied().map(|(id, need)| (id.index(), need.text.as_str())).collect::<Vec<_>>(),
        [(0, "bb")]
    );
}

#[test]
fn named_dependencies_returns_packages_without_dependents() {
    // Packages, packages of the base, packages to install, and packages to request.
    let cases: &[(&[&str], &str, &str, &str)] = &[
        (&["aa; Depends: bb", "bb; Depends: cc", "cc", "dd"], "", "aa bb cc dd", "aa dd"),
        (&["aa; Depends: bb", "bb; Depends: cc", "cc"], "", "bb cc", "bb"),
        (&["aa; Depends: bb", "bb; Depends: cc", "cc"], "bb", "aa cc", "aa cc"),
        (&["aa; Depends: bb", "bb; Depends: aa"], "", "aa bb", "aa"),
        (&["aa*; Depends: bb", "bb; Depends: aa"], "", "aa bb", "bb"),
        (&["aa*; Depends: bb", "bb*; Depends: aa"], "", "aa bb", "aa"),
        (&["aa; Depends: bb", "bb; Depends: aa", "cc; Depends: bb"], "", "aa bb cc", "cc"),
        (&["aa; Depends: aa-x, bb; Provides: aa-x", "bb"], "", "aa bb", "aa"),
        // Two packages satisfy it: apt chooses.
        (&["aa; Depends: bb | cc", "bb", "cc"], "", "aa bb cc", "aa bb cc"),
        (&["aa; Depends: bb | cc", "bb", "cc"], "cc", "aa bb", "aa bb"),
        (&["aa; Depends: bb | cc", "cc"], "", "aa cc", "aa"),
        (&["aa; Depends: bb | cc", "bb"], "", "aa bb", "aa"),
        (&["aa; Depends: mta", "bb; Provides: mta"], "", "aa bb", "aa"),
        (&["aa; Recommends: bb", "bb"], "", "aa bb", "aa"),
        (&["aa; Recommends: bb | cc", "bb", "cc"], "", "aa bb cc", "aa bb cc"),
        (&["aa 2; Recommends: bb", "bb"], "aa", "aa bb", "aa bb"),
        (&["aa; Depends: bb | mta", "bb; Provides: mta"], "", "aa bb", "aa"),
        (&["aa; Depends: bb", "bb", "cc; Depends: dd | bb"], "", "aa bb cc", "aa cc"),
        (&["aa; Depends: bb", "bb; Provides: ee", "cc; Depends: dd | ee"], "", "aa bb cc", "aa cc"),
        (&["aa; Depends: bb", "bb", "cc; Depends: dd | bb"], "bb", "aa cc", "aa cc"),
        // Another version of a package of the base.
        (&["aa; Depends: bb (>= 1)", "bb 2"], "bb", "aa bb", "aa bb"),
        (&["aa; Depends: bb", "bb 2; Depends: aa"], "bb", "aa bb", "bb"),
        (&["aa"], "", "", ""),
    ];
    for (lines, base, to_install, expected) in cases {
        let (packages, dependencies) = packages(lines);
        let base = set(&packages, base);
        let graph = Graph::new(&packages, &dependencies);
        let named = graph.named(Some(&|index| base.contains(&index)), &set(&packages, to_install));
        assert_eq!(names(&packages, named), *expected, "{lines:?}");
    }
}

#[test]
fn closure_up_dependents_without_alternative_are_included() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["aa; Depends: bb", "bb; Depends: cc", "cc", "dd; Depends: aa | ee", "ee"], "cc", "aa bb cc"),
        (&["aa; Depends: bb | cc", "bb", "cc"], "bb", "bb"),
        (&["aa; Depends: bb | cc", "bb", "cc; Depends: bb"], "bb", "aa bb cc"),
        (&["aa; Depends: bb", "bb; Depends: aa"], "bb", "aa bb"),
        (&["aa; Depends: missing"], "aa", "aa"),
        (&["aa; Depends: missing"], "", ""),
    ];
    for (lines, start, expected) in cases {
        let (packages, dependencies) = packages(lines);
        let closure = Graph::new(&packages, &dependencies).closure_up(&set(&packages, start));
        assert_eq!(names(&packages, closure), *expected, "{lines:?}");
    }
}

#[test]
fn droppable_candidates_needed_by_kept_packages_stay() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["aa; Depends: bb", "bb", "cc"], "bb cc", "cc"),
        (&["aa; Depends: bb", "bb; Depends: cc", "cc"], "aa bb cc", "aa bb cc"),
        (&["aa; Depends: bb", "bb; Depends: cc", "cc"], "bb cc", ""),
        (&["aa; Depends: bb | cc", "bb", "cc"], "bb", "bb"),
        (&["aa; Depends: bb | cc", "bb", "cc"], "bb cc", "cc"),
        (&["aa; Depends: mta", "bb; Provides: mta", "cc; Provides: mta"], "bb cc", "cc"),
        (&["aa; Depends: bb | cc", "bb", "cc", "dd; Depends: cc"], "bb cc", "bb"),
        (&["aa; Depends: missing", "bb"], "bb", "bb"),
        (&["aa; Depends: bb", "bb; Depends: cc", "cc; Depends: bb"], "bb cc", ""),
        (&["aa; Depends: bb", "bb; Depends: aa"], "aa bb", "aa bb"),
    ];
    for (lines, candidates, expected) in cases {
        let (packages, dependencies) = packages(lines);
        let dropped = Graph::new(&packages, &dependencies).droppable(&set(&packages, candidates));
        assert_eq!(names(&packages, dropped), *expected, "{lines:?}");
    }
}

#[test]
fn graph_chain_of_50000_packages_does_not_overflow_stack() {
    let lines: Vec<String> =
        (0..50_000).map(|number| format!("p{number}; Depends: p{}", number + 1)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["p50000"]).collect();
    let (packages, dependencies) = packages(&lines);
    let graph = Graph::new(&packages, &dependencies);
    let all: BTreeSet<PackageId> = (0..packages.len()).map(PackageId::new).collect();
    assert_eq!(graph.named(Some(&|_| false), &all), [PackageId::new(0)]);
    assert_eq!(graph.closure_up(&[PackageId::new(50_000)].into()).len(), 50_001);
    assert_eq!(graph.droppable(&(1..50_001).map(PackageId::new).collect()).len(), 0);
}

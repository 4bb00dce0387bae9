//! Every recorded database, compared with what rpm reads from it.

use crate::pkg::rpm::database::read;
use crate::pkg::rpm::files::FileFlags;
use crate::pkg::rpm::package::RelationKind;
use crate::pkg::rpm::rich::Expression;
use crate::pkg::rpm::source::{Damages, Source};
use crate::pkg::rpm::tests_data::{Case, NAMES, case, unpacked};
use crate::pkg::rpm::{Damage, Package};

/// Passes each package of a case to `visit`.
fn read_case(case: &Case, log: Option<&[u8]>, visit: &mut dyn FnMut(Package<'_>)) -> Result<Damages, Damage> {
    let file = case.file.as_slice();
    let log = log.as_ref().map(|log| log as &dyn Source);
    let mut rejected = Vec::new();
    let damages = read(&file, log, &mut |number, header| match Package::parse(header) {
        Ok(package) => visit(package),
        Err(damage) => rejected.push((number, damage)),
    });
    assert_eq!(rejected, [], "{}", case.name);
    damages
}

fn or_none(text: Option<&[u8]>) -> &[u8] {
    text.unwrap_or(b"(none)")
}

/// Returns a line as `rpm -qa --qf` writes it.
fn package_line(package: &Package<'_>) -> Vec<u8> {
    let epoch = package.epoch_text();
    let install_time = package.install_time.map(|time| time.to_string());
    let fields = [
        package.name,
        or_none(epoch.as_ref().map(String::as_bytes)),
        package.version,
        package.release,
        or_none(package.architecture),
        or_none(install_time.as_ref().map(String::as_bytes)),
        &package.size.to_string().into_bytes(),
        or_none(package.source_rpm),
        or_none(package.vendor),
        or_none(package.license),
    ];
    fields.join(&b'\t')
}

fn file_lines(package: &Package<'_>, lines: &mut Vec<Vec<u8>>) {
    let label =
        [package.name, b"-", package.version, b"-", package.release, b".", or_none(package.architecture)]
            .concat();
    for file in package.files.iter() {
        let letters = [
            (FileFlags::DOC, 'd'),
            (FileFlags::CONFIG, 'c'),
            (FileFlags::SPEC, 's'),
            (FileFlags::MISSING_OK, 'm'),
            (FileFlags::NO_REPLACE, 'n'),
            (FileFlags::GHOST, 'g'),
            (FileFlags::LICENSE, 'l'),
            (FileFlags::README, 'r'),
            (FileFlags::ARTIFACT, 'a'),
        ];
        let flags: String =
            letters.iter().filter(|(flag, _)| file.flags.has(*flag)).map(|(_, letter)| *letter).collect();
        let (path, size, mode) = (file.path(), file.size.to_string(), format!("{:o}", file.mode));
        let fields = [
            &label,
            &path,
            size.as_bytes(),
            mode.as_bytes(),
            file.digest,
            flags.as_bytes(),
            file.user,
            file.group,
            file.link_target,
        ];
        lines.push(fields.join(&b'\t'));
    }
}

/// Returns the lines of an expected list, sorted, without comments.
fn expected_lines(content: &[u8]) -> Vec<Vec<u8>> {
    let lines =
        content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let mut lines: Vec<_> = lines.map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}

fn assert_same(name: &str, mut found: Vec<Vec<u8>>, expected: &[Vec<u8>]) {
    found.sort();
    let show = |line: Option<&Vec<u8>>| line.map(|line| String::from_utf8_lossy(line).into_owned());
    let differing = (0..found.len().max(expected.len())).find(|&at| found.get(at) != expected.get(at));
    if let Some(at) = differing {
        panic!("{name}: line {at}: found {:?}, expected {:?}", show(found.get(at)), show(expected.get(at)));
    }
}

#[test]
fn read_recorded_databases_packages_and_files_match_rpm() {
    let mut totals = (0, 0, 0);
    let mut rich = 0;
    for name in NAMES {
        let case = case(name);
        let Ok(expected) = std::fs::read(case.directory.join("expected-packages.tsv")) else { continue };
        let (mut packages, mut files) = (Vec::new(), Vec::new());
        let damages = read_case(&case, case.log.as_deref(), &mut |package| {
            packages.push(package_line(&package));
            file_lines(&package, &mut files);
            let relations = RelationKind::ALL.iter().flat_map(|kind| package.relations(*kind));
            for relation in relations.filter(|relation| relation.is_rich()) {
                Expression::of(&relation).unwrap();
                rich += 1;
            }
        });
        assert_eq!(damages.unwrap(), Damages::default(), "{name}");
        totals = (totals.0 + 1, totals.1 + packages.len(), totals.2 + files.len());
        assert_same(name, packages, &expected_lines(&expected));
        let expected = unpacked(&case.directory.join("expected-files.tsv")).unwrap_or_default();
        assert_same(name, files, &expected_lines(&expected));
    }
    assert_eq!((totals, rich), ((6, 177, 10_166), 1));
}

/// Returns name, version and release of each package, sorted.
fn labels(case: &Case, log: Option<&[u8]>) -> (Vec<String>, Damages) {
    let mut labels = Vec::new();
    let damages = read_case(case, log, &mut |package| {
        let fields = [package.name, package.version, package.release];
        labels.push(String::from_utf8(fields.join(&b' ')).unwrap());
    });
    labels.sort();
    (labels, damages.unwrap())
}

#[test]
fn read_write_ahead_log_is_laid_over() {
    let case = case("made-sqlite-live-log");
    let expected = std::fs::read(case.directory.join("expected-if-wal-ignored.tsv")).unwrap();
    let (without, damages) = labels(&case, None);
    assert_eq!(without.len(), expected_lines(&expected).len());
    assert_eq!(damages, Damages::default());
    let (with, _) = labels(&case, case.log.as_deref());
    assert_ne!(with, without);
    // A log that SQLite ignores is reported.
    let mut damaged = case.log.clone().unwrap();
    damaged[24] ^= 1;
    let (found, damages) = labels(&case, Some(&damaged));
    assert_eq!(found, without);
    let reason = "the write-ahead log is not used: the checksum of the write-ahead log is wrong at offset 24";
    assert_eq!(damages.list.iter().map(Damage::to_string).collect::<Vec<_>>(), [reason]);
}

#[test]
fn read_other_files_returns_error() {
    let error = |file: &[u8]| read(&file, None, &mut |_, _| panic!("a package")).unwrap_err().to_string();
    let no_packages = case("claircore-no-packages").file;
    assert_eq!(error(&no_packages), "not a database of rpm: there is no table Packages at offset 0");
    assert_eq!(error(b""), "the file is truncated at offset 0");
    assert_eq!(error(&[0; 100]), "the format of the database is unknown at offset 0");
    assert_eq!(error(b"SQLite format 3\0"), "the file is truncated at offset 0");
    let mut hash = case("scalibr-epoch").file;
    hash[16] = 11;
    assert_eq!(error(&hash), "Berkeley DB hash version 11 is not supported at offset 16");
    hash[16] = 9;
    hash[20] = 1;
    assert_eq!(error(&hash), "page size 4097 is not valid at offset 20");
    let mut sqlite = case("claircore-no-packages").file;
    sqlite[19] = 3;
    assert_eq!(error(&sqlite), "SQLite read version 3 is not supported at offset 19");
}

#[test]
fn read_truncated_database_returns_the_packages_before() {
    for name in ["sle15-bci", "cbl-mariner-2.0"] {
        let mut case = case(name);
        let (all, _) = labels(&case, None);
        case.file.truncate(case.file.len() * 2 / 3);
        let (some, damages) = labels(&case, None);
        assert!(!damages.is_empty(), "{name}");
        assert!(
            some.len() > all.len() / 4 && some.len() < all.len(),
            "{name}: {} of {}",
            some.len(),
            all.len()
        );
        assert!(some.iter().all(|label| all.binary_search(label).is_ok()), "{name}");
    }
}

#[test]
fn read_cycle_in_database_ends() {
    // The root of the table is an interior page; its first child becomes the root itself.
    let mut sqlite = case("cbl-mariner-2.0");
    let (all, _) = labels(&sqlite, None);
    let file = sqlite.file.clone();
    let source = file.as_slice();
    let (database, _) = crate::pkg::rpm::sqlite::Database::open(&source, None).unwrap();
    let root = database.tables().unwrap().0.into_iter().find(|table| table.name == b"Packages").unwrap().root;
    let start = (root as usize - 1) * 4096;
    let cell = start + usize::from(u16::from_be_bytes([file[start + 12], file[start + 13]]));
    sqlite.file[cell..cell + 4].copy_from_slice(&root.to_be_bytes());
    let (some, damages) = labels(&sqlite, None);
    assert!(some.len() < all.len());
    assert_eq!(damages.list[0].reason, format!("page {root}: page {root} is used twice or does not exist"));

    // A chain of overflow pages whose last page refers to the first.
    let mut hash = case("scalibr-epoch");
    let pages = hash.file.len() / 4096;
    let chained = (0..pages).find(|page| hash.file[page * 4096 + 25] == 7).unwrap() * 4096;
    hash.file[chained + 22..chained + 24].copy_from_slice(&8_u16.to_le_bytes());
    let number: [u8; 4] = hash.file[chained + 8..chained + 12].try_into().unwrap();
    hash.file[chained + 16..chained + 20].copy_from_slice(&number);
    let (some, damages) = labels(&hash, None);
    assert_eq!(some.len(), 0);
    assert!(
        damages.list[0].reason.starts_with("the chain of overflow pages ends after 8 of "),
        "{damages:?}"
    );
}

#[test]
fn read_recorded_databases_other_values_match_second_reader() {
    use crate::pkg::rpm::files::{DigestAlgorithm, FileState};
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    let mut count = |what, number| *seen.entry(what).or_default() += number;
    for name in ["libuuid-el8", "sle15-bci", "cbl-mariner-2.0"] {
        let case = case(name);
        let result = read_case(&case, None, &mut |package| {
            let is = |algorithm| package.files.algorithm == algorithm;
            for file in package.files.iter() {
                let length = if is(DigestAlgorithm::Md5) { 32 } else { 64 };
                assert!(file.digest.is_empty() || file.digest.len() == length, "{file:?}");
                assert_eq!(
                    file.digest.is_empty(),
                    file.digest_bytes::<32>().or(file.digest_bytes::<16>().map(|_| [0; 32])).is_none()
                );
                assert!(!file.directory.is_empty() && file.mtime > 0, "{file:?}");
                assert_eq!(file.is_symlink(), !file.link_target.is_empty(), "{file:?}");
                count("not installed", usize::from(file.state == Some(FileState::NotInstalled)));
                count("normal", usize::from(file.state == Some(FileState::Normal)));
                count("capabilities", usize::from(!file.capabilities.is_empty()));
                count("64 bits", usize::from(file.color == 2));
                count("language", usize::from(!file.language.is_empty()));
            }
            count("md5", usize::from(is(DigestAlgorithm::Md5)));
            let files: Vec<_> = package.files.iter().collect();
            for group in package.files.link_groups() {
                let content = |at: &u32| (files[*at as usize].digest, files[*at as usize].size);
                assert!(group.iter().all(|at| content(at) == content(&group[0])), "{group:?}");
                count("link groups", 1);
            }
            count("modules", usize::from(package.modularity_label.is_some()));
        });
        assert_eq!(result.unwrap(), Damages::default());
    }
    // Counted by a separate reader in Python.
    let expected = [
        ("64 bits", 924),
        ("capabilities", 0),
        ("language", 336),
        ("link groups", 17),
        ("md5", 0),
        ("modules", 0),
        ("normal", 10035),
        ("not installed", 78),
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

/// Requirements that the packages of each database do not satisfy.
fn unsatisfied(case: &Case) -> (usize, Vec<String>) {
    use crate::pkg::rpm::provides::Provides;
    let mut provides = Provides::new(&[]);
    let mut number = 0;
    read_case(case, case.log.as_deref(), &mut |package| {
        provides.add(number, &package, &|_| true);
        number += 1;
    })
    .unwrap();
    let (mut total, mut unsatisfied) = (0, Vec::new());
    read_case(case, case.log.as_deref(), &mut |package| {
        for relation in package.relations(RelationKind::Requires) {
            total += 1;
            let expression = Expression::of(&relation).unwrap();
            let needs = expression.needs(&provides);
            assert_eq!(
                expression.is_satisfied(&provides),
                needs.iter().all(|need| !need.packages.is_empty()),
                "{expression:?}"
            );
            if !expression.is_satisfied(&provides) {
                let fields = [package.name, relation.name, relation.version];
                unsatisfied.push(String::from_utf8(fields.join(&b' ')).unwrap());
            }
        }
    })
    .unwrap();
    (total, unsatisfied)
}

#[test]
fn is_satisfied_recorded_databases_requirements_are_satisfied() {
    // The makers of this image removed three packages without regard to dependencies.
    let removed = ["rpm-ndb diffutils ", "rpm-ndb fillup ", "rpm-ndb grep "];
    for (name, requirements, expected) in [("sle15-bci", 595, &removed[..]), ("cbl-mariner-2.0", 2535, &[])] {
        let (total, unsatisfied) = unsatisfied(&case(name));
        assert_eq!(
            (total, unsatisfied.as_slice()),
            (requirements, expected.iter().map(|text| text.to_string()).collect::<Vec<_>>().as_slice()),
            "{name}"
        );
    }
}

/// Reads every value of a package.
pub fn read_everything(package: &Package<'_>) -> usize {
    let relations = RelationKind::ALL.iter().flat_map(|kind| package.relations(*kind));
    let bytes = package.files.iter().map(|file| file.path().len() + file.link_target.len()).sum::<usize>();
    let expressions = relations.filter(|relation| Expression::of(relation).is_ok()).count();
    bytes + expressions + package.files.link_groups().len()
}

/// A change of a file: place as a fraction of its length, kind and value.
type Change = (f64, u8, u32);

/// Changes a file as damage or an attacker would.
fn change(file: &mut Vec<u8>, changes: &[Change]) {
    for &(place, kind, value) in changes {
        if file.is_empty() {
            return;
        }
        let at = ((file.len() as f64 * place) as usize).min(file.len() - 1);
        // Headers of pages, headers and tables of entries are more interesting than data.
        let at = if kind & 1 == 0 { at } else { at / 512 * 512 + (value as usize >> 8) % 64 };
        let end = (at + 4).min(file.len());
        match kind / 2 {
            0 => file[at.min(end - 1)] ^= 1 << (value % 8),
            1 => file[at.min(end - 1)] = value as u8,
            2 if at < end => file[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]),
            3 if at < end => file[at..end].copy_from_slice(&(value % 512).to_le_bytes()[..end - at]),
            4 if at < end => file[at..end].fill(0xff),
            5 => {
                let (from, to) = (value as usize % file.len(), at.min(file.len()));
                let length = 512.min(file.len() - from).min(file.len() - to);
                file.copy_within(from..from + length, to);
            }
            6 => file.truncate(at),
            _ => {}
        }
    }
}

/// Reads a changed case completely. Returns the bytes of all headers.
fn read_changed(case: &Case, changes: &[Change]) -> usize {
    let (mut file, mut log) = (case.file.clone(), case.log.clone());
    match &mut log {
        Some(log) if changes.len().is_multiple_of(2) => change(log, changes),
        _ => change(&mut file, changes),
    }
    let (file, log) = (file.as_slice(), log.as_deref());
    let log = log.as_ref().map(|log| log as &dyn Source);
    let mut bytes = 0;
    let _ = read(&file, log, &mut |_, header| {
        bytes += header.len();
        if let Ok(package) = Package::parse(header) {
            read_everything(&package);
        }
    });
    assert!(bytes <= 2 * file.len() + 2 * log.map_or(0, Source::length) as usize, "{bytes}");
    bytes
}

/// Reads a case with changes of a few bytes several thousand times.
fn read_changed_cases(name: &str, cases: u32) {
    use proptest::prelude::*;
    let case = case(name);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let changes = proptest::collection::vec((0.0..1.0, 0_u8..14, any::<u32>()), 1..8);
    let result = runner.run(&changes, |changes| {
        read_changed(&case, &changes);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn read_changed_hash_never_panics() {
    read_changed_cases("libuuid-el8", 1000);
}

#[test]
fn read_changed_btree_never_panics() {
    read_changed_cases("mandriva-urpm-btree", 1000);
}

#[test]
fn read_changed_ndb_never_panics() {
    read_changed_cases("sle15-bci", 100);
}

#[test]
fn read_changed_sqlite_never_panics() {
    read_changed_cases("made-sqlite-live-log", 500);
    read_changed_cases("claircore-no-packages", 500);
}

#[test]
fn read_damaged_hash_item_returns_offset_and_reason() {
    let good = case("libuuid-el8");
    // Page 2 has one item, whose header begins on page 3.
    let (start, key, value) = (2 * 4096, 2 * 4096 + 4091, 2 * 4096 + 4079);
    assert_eq!((good.file[start + 20], good.file[key], good.file[value]), (2, 1, 3));
    for (at, byte, offset, reason) in [
        (key, 9, key, "a key is damaged"),
        (value, 9, key, "a value is damaged"),
        (value + 5, 9, value, "the chain of overflow pages ends after 0 of 80880 bytes"),
        (value + 11, 9, value, "a header of 151075824 bytes is longer than possible"),
        (start + 27, 0xff, start + 26, "an item is not in its page"),
        (start + 21, 0xff, start + 20, "65282 entries do not fit into a page"),
        (start + 8, 0xee, start + 8, "page 2 states another page number"),
        (3 * 4096 + 25, 2, 3 * 4096 + 25, "page 3 is not an overflow page"),
        (3 * 4096 + 23, 0xff, 3 * 4096 + 22, "an overflow page cannot hold 65510 bytes"),
    ] {
        let mut file = good.file.clone();
        file[at] = byte;
        let damages = read(&file.as_slice(), None, &mut |_, _| panic!("{reason}")).unwrap();
        let first = damages.list.first().unwrap();
        assert_eq!((first.offset as usize, first.reason.as_str()), (offset, reason));
    }
}

//! Any field: no panic, names are valid for apt, and versions are valid.
//! Written groups are parsed as the same groups without damage.
//! Every relation accepts the version it names if and only if its operator includes equality.
#![no_main]

use vm2docker_self::pkg::dpkg::relation;
use vm2docker_self::pkg::dpkg::relation::{Operator, Relation};
use vm2docker_self::pkg::dpkg::version;

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    let (groups, damaged) = relation::parse_groups(value);
    assert!(damaged + groups.iter().map(Vec::len).sum::<usize>() <= value.len());
    assert!(groups.iter().all(|group| !group.is_empty()));
    let written: Vec<String> =
        groups.iter().map(|group| group.iter().map(show).collect::<Vec<_>>().join(" | ")).collect();
    assert_eq!(relation::parse_groups(written.join(", ").as_bytes()), (groups, 0));
    for provision in relation::parse_provides(value).0 {
        assert!(!provision.name.is_empty());
        assert!(provision.version.is_none_or(|text| version::is_valid(text.as_bytes())));
    }
});

fn show(relation: &Relation) -> String {
    let mut text = relation.name.clone();
    if let Some(architecture) = &relation.architecture {
        text += &format!(":{architecture}");
    }
    if let Some((operator, version)) = &relation.version {
        assert!(version::is_valid(version.as_bytes()));
        let equal = !matches!(operator, Operator::Less | Operator::Greater);
        assert_eq!(relation.accepts_version(Some(version)), equal);
        let sign = match operator {
            Operator::Less => "<<",
            Operator::LessEqual => "<=",
            Operator::Equal => "=",
            Operator::GreaterEqual => ">=",
            Operator::Greater => ">>",
        };
        text += &format!(" ({sign} {version})");
    }
    text
}

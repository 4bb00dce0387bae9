use crate::detect::os_release::*;
use proptest::prelude::*;

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/data/osrelease/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn parse_real_files_match_other_parsers() {
    let files = fixture("files.txtar");
    let mut checked = 0;
    for line in fixture("fields.tsv").lines().skip(1) {
        let mut fields = line.split('\t').map(|field| field.replace("\\N", ""));
        let name = fields.next().unwrap();
        let start = files.find(&format!("-- {name} --\n")).unwrap() + name.len() + 7;
        let end = files[start..].find("\n-- ").map_or(files.len(), |end| start + end + 1);
        let os = parse(&files.as_bytes()[start..end]);
        let expected: Vec<String> = fields.collect();
        assert_eq!(os.id, expected[0].to_ascii_lowercase(), "{name}");
        assert_eq!(os.version_id, expected[1], "{name}");
        assert_eq!(os.id_like.join(" "), expected[2], "{name}");
        if !expected[3].is_empty() {
            assert_eq!(os.codename, expected[3].to_ascii_lowercase(), "{name}");
        }
        assert_eq!(
            (os.name, os.version, os.pretty_name),
            (expected[4].clone(), expected[5].clone(), expected[6].clone()),
            "{name}"
        );
        checked += 1;
    }
    assert_eq!(checked, 164);
}

#[test]
fn parse_quotes_follow_shell_rules() {
    let os = parse(b"PRETTY_NAME=\"A \\\"B\\\" \\$C\"\nID=\xff\nnonsense\n# ID=x");
    assert_eq!(os.pretty_name, "A \"B\" $C");
    assert_eq!(parse(b"ID=\"").id, "\"");
}

#[test]
fn parse_version_with_codename_in_brackets_returns_codename() {
    for (version, codename) in [
        ("7 (wheezy)", "wheezy"),
        ("8.4 (Green Obsidian)", ""),
        ("14.04, Trusty Tahr", ""),
        ("()", ""),
        (")(", ""),
    ] {
        assert_eq!(parse(format!("VERSION=\"{version}\"\n").as_bytes()).codename, codename, "{version}");
    }
    assert_eq!(parse(b"VERSION=\"7 (wheezy)\"\nVERSION_CODENAME=sid\n").codename, "sid");
}

#[test]
fn take_debian_version_sets_missing_fields() {
    for (text, debian_version, expected) in [
        ("ID=debian\n", "12.11\n", ("12.11", "")),
        ("ID=debian\n", "forky/sid\n", ("", "forky")),
        ("ID=debian\nVERSION_ID=12\n", "12.11\n", ("12", "")),
        ("ID=ubuntu\n", "jessie/sid\n", ("", "")),
    ] {
        let mut os = parse(text.as_bytes());
        os.take_debian_version(debian_version.as_bytes());
        assert_eq!((os.version_id.as_str(), os.codename.as_str()), expected, "{text}{debian_version}");
        assert_eq!(os.debian_version, debian_version.trim());
    }
}

proptest! {
    #[test]
    fn parse_any_bytes_never_panics(text: Vec<u8>) {
        let mut os = parse(&text);
        os.take_debian_version(&text);
        prop_assert!(!os.shown().is_empty());
    }
}

//! dpkg's small files with any bytes: no panic, and problems name existing lines.
//! Paths of md5sums have no `..`, empty or `.` component. Diversions and overrides are relative
//! and not empty. A mode has permission bits only. A choice of an alternative has one target per
//! slave.
#![no_main]

use vm2docker_self::model::problem::Problem;
use vm2docker_self::pkg::dpkg::{admin, files};
use vm2docker_self::pkg::{Aliases, alternatives};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|&byte| byte == b'\n').count();
    let check = |problems: &[Problem]| {
        assert!(problems.len() <= 1000 && problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
    };
    let aliases = Aliases::from_links([("bin", "usr/bin"), ("lib64", "usr/lib64")]);
    let (sums, problems) = files::parse_md5sums(bytes, &aliases);
    check(&problems);
    for path in sums.keys() {
        assert!(!path.split(|&byte| byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")));
        assert!(!path.starts_with(b"bin/") && !path.contains(&b'\n'));
    }
    let (diversions, problems) = admin::parse_diversions(bytes);
    check(&problems);
    assert!(diversions.iter().all(|diversion| !diversion.from.is_empty() && !diversion.to.is_empty()));
    let (overrides, problems) = admin::parse_statoverrides(bytes);
    check(&problems);
    assert!(
        overrides
            .iter()
            .all(|entry| entry.mode <= 0o7777 && !entry.path.is_empty() && !entry.user.is_empty())
    );
    match alternatives::parse_alternative(b"editor", bytes) {
        Ok(editor) => {
            assert!(editor.choices.iter().all(|choice| choice.slaves.len() == editor.slaves.len()));
        }
        Err(problem) => assert!((1..=lines + 1).contains(&problem.line)),
    }
});

//! Any file of variables: every name is in the file, and no name occurs twice.
//! The same bytes as a crontab, a line of tmpfiles.d and an init script cause no panic.
#![no_main]

use std::collections::BTreeSet;
use vm2docker_self::detect::units::{cron, environment, sysv, tmpfiles};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let variables = environment::parse_file(bytes);
    let mut names = BTreeSet::new();
    for (name, _) in variables.iter() {
        assert!(!name.is_empty() && bytes.windows(name.len()).any(|window| window == name));
        assert!(names.insert(name.to_vec()));
    }
    let (jobs, _) = cron::parse(bytes, b"etc/crontab", None);
    assert!(jobs.len() <= bytes.split(|&byte| byte == b'\n').count());
    let (lines, _) = tmpfiles::parse(bytes);
    assert!(lines.len() <= bytes.split(|&byte| byte == b'\n').count());
    let _ = sysv::Header::parse(bytes);
});

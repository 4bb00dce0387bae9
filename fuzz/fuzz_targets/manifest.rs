//! Any bytes: no panic. No parsed path has `..`, `.`, an empty component or a NUL, and paths
//! ascend.
//! Written records are parsed as the same ones, except for digests of files that are not in the
//! image, which are never written.
#![no_main]

use vm2docker_self::model::holes::Coverage;
use vm2docker_self::model::manifest;
use vm2docker_self::model::manifest::Names;
use vm2docker_self::model::tree::Kind;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        manifest::safe_path(text).iter().for_each(|path| check(path));
    }
    let Ok(mut records) = manifest::read(bytes) else { return };
    assert!(records.is_sorted_by(|a, b| a.node.path < b.node.path));
    let mut text = Vec::new();
    for record in &mut records {
        check(&record.node.path);
        assert!(record.node.stat.mode <= 0o7777);
        manifest::write(&mut text, record, &Names::default()).expect("memory");
        if let Kind::File { sha256, .. } = &mut record.node.kind {
            *sha256 = sha256.filter(|_| record.verdict.in_image());
            if sha256.is_none() {
                record.coverage = Coverage::All;
            }
        }
    }
    assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), records.len());
    assert_eq!(manifest::read(&*text).expect("what was written can be read"), records);
});

fn check(path: &[u8]) {
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    assert!(path.is_empty() || path.split(|&byte| byte == b'/').all(plain));
}

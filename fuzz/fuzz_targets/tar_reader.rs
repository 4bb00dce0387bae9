//! Any archive: no panic, no endless loop, and memory in proportion to its size (libFuzzer's
//! -rss_limit_mb).
//! Members have plain names and contents of the stated size. The tree is valid, and every file
//! has a digest.
//! Skipping contents or reading them returns the same members, and skipping holes the same digest.
#![no_main]

use vm2docker_self::context::tar::{Reader, read_tree};
use vm2docker_self::model::holes::{self, ContentHasher, Coverage};
use vm2docker_self::model::tree::Kind;
use vm2docker_self_fuzz::{assert_tree, drain, fix_checksums, stated_size};

const MOST: u64 = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut archive = bytes.to_vec();
    fix_checksums(&mut archive);
    let small = stated_size(&archive) <= MOST;
    let (mut reading, mut passing) = (Reader::new(&*archive), Reader::new(&*archive));
    let mut hashing = Reader::new(&*archive);
    loop {
        let passed = passing.next_entry().map(|entry| entry.map(|entry| entry.node));
        let read = match reading.next_entry() {
            Ok(Some(mut entry)) => match drain(&mut entry.content, MOST) {
                Ok(content) => {
                    assert_eq!(content.len() as u64, entry.node.size().min(MOST));
                    let mut member = hashing.next_entry().expect("the same").expect("a member");
                    if entry.node.size() <= MOST {
                        let digest = holes::digest(&mut member.content, Coverage::Data).expect("the same");
                        let mut hasher = ContentHasher::new(Coverage::Data);
                        hasher.update(&content);
                        assert_eq!(digest, hasher.finish());
                    }
                    Ok(Some(entry.node))
                }
                Err(_) => break, // truncated content; skipping it fails at the next member only
            },
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match (read, passed) {
            (Ok(Some(read)), Ok(Some(passed))) => assert_eq!(read, passed),
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => break,
            different => panic!("{different:?}"),
        }
    }
    if !small {
        return;
    }
    if let Ok(contents) = read_tree(&*archive, &|path| path.starts_with(b"etc/")) {
        assert_tree(&contents.nodes);
        for node in &contents.nodes {
            assert!(!matches!(node.kind, Kind::File { sha256: None, .. } | Kind::Socket));
        }
    }
});

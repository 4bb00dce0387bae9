//! Functions that several targets share.

use std::io::Read;
use vm2docker_self::context::tar::Reader;
use vm2docker_self::model::tree::{Kind, Node, parent};

const BLOCK: usize = 512;

/// Corrects the checksum of every header, because the fuzzer cannot get past a wrong one.
pub fn fix_checksums(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Returns the size of all files together in bytes, as the archive states it. A sparse file of 64
/// GiB is valid and only slow to read, which is not an error.
pub fn stated_size(archive: &[u8]) -> u64 {
    let mut reader = Reader::new(archive);
    let mut total = 0_u64;
    while let Ok(Some(entry)) = reader.next_entry() {
        total = total.saturating_add(entry.node.size());
    }
    total
}

/// Reads to the end or the first error, at most `most` bytes.
pub fn drain(reader: &mut dyn Read, most: u64) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    reader.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Asserts that the nodes are a tree: sorted, each path once, plain names, every parent is a
/// directory in it, the root first.
pub fn assert_tree(nodes: &[Node]) {
    assert!(nodes.first().is_some_and(|root| root.path.is_empty()));
    assert!(nodes.is_sorted_by(|a, b| a.path < b.path));
    for node in &nodes[1..] {
        let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        assert!(node.path.split(|&byte| byte == b'/').all(plain));
        let above = nodes.binary_search_by(|other| (*other.path).cmp(parent(&node.path)));
        assert!(above.is_ok_and(|above| nodes[above].kind == Kind::Directory));
    }
}

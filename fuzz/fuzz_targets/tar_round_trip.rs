//! Any nodes that the writer accepts are read back equal: names, targets, owners, timestamps,
//! extended attributes, contents.
//! The writer rejects exactly the nodes that no tar archive can represent, and a rejected node
//! writes no bytes.
//! A content that is shorter or longer than the node states leaves the archive intact.
#![no_main]

use arbitrary::Arbitrary;
use std::io::{Cursor, Read};
use vm2docker_self::context::tar::{Reader, Writer};
use vm2docker_self::model::holes::{ContentHasher, Coverage};
use vm2docker_self::model::tree::{Kind, Node, Stat, Xattrs, is_portable_xattr};

#[derive(Arbitrary, Debug)]
struct Member {
    path: Vec<u8>,
    kind: Type,
    mode: u16,
    owner: (u32, u32),
    mtime: i64,
    nanoseconds: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Type {
    Directory,
    File { size: u16, content: Vec<u8> },
    Link(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
    Socket,
    Sparse { parts: Vec<(u8, u8)>, end: u16 },
}

/// Expected members, in order: node, hard link's target, content.
type Expected = Vec<(Node, Option<Vec<u8>>, Vec<u8>)>;

libfuzzer_sys::fuzz_target!(|members: Vec<Member>| {
    let mut writer = Writer::new(Vec::new());
    let mut expected = Expected::new();
    for member in members {
        write(&mut writer, member, &mut expected);
    }
    let archive = writer.finish().expect("memory");
    let mut reader = Reader::new(&*archive);
    for (node, link, content) in expected {
        let mut entry = reader.next_entry().expect("no damage").expect("a member");
        assert_eq!((&entry.node, &entry.hard_link), (&node, &link));
        let mut read = Vec::new();
        entry.content.read_to_end(&mut read).expect("memory");
        assert_eq!(read, content);
    }
    assert!(reader.next_entry().expect("no damage").is_none() && reader.has_end_marker());
});

fn write(writer: &mut Writer<Vec<u8>>, member: Member, expected: &mut Expected) {
    let Member { path, kind, mode, owner: (uid, gid), mtime, nanoseconds, xattrs } = member;
    // Only paths of the tree's form; the reader's target covers all others.
    let plain =
        |path: &[u8]| !path.split(|&byte| byte == b'/').any(|part| matches!(part, b"" | b"." | b".."));
    if !plain(&path) {
        return;
    }
    let xattrs: Xattrs =
        xattrs.into_iter().map(|(name, value)| ([b"user.", &*name].concat().into(), value.into())).collect();
    assert!(xattrs.keys().all(|name| is_portable_xattr(name)));
    let unfit = path.contains(&0) || xattrs.keys().any(|name| name.contains(&b'=') || name.contains(&0));
    let stat = Stat { mode: mode & 0o7777, uid, gid, mtime, mtime_nsec: nanoseconds % 1_000_000_000 };
    let xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
    let mut node = Node { path: path.into(), kind: Kind::Fifo, stat, group: 0, xattrs };
    let (mut link, mut content) = (None, Vec::new());
    let (result, unfit) = match kind {
        Type::File { size, content: given } => {
            node.kind = Kind::File { size: size.into(), sha256: None };
            let result = writer.append_file(&node, &mut &*given);
            if let Ok(written) = &result {
                assert_eq!(written.short, given.len() < size.into());
                assert_eq!(written.longer, given.len() > size.into());
            }
            content = given;
            content.resize(size.into(), 0);
            (result.map(drop), unfit)
        }
        Type::Sparse { parts, end } => {
            content = sparse(&parts, end);
            node.kind = Kind::File { size: content.len() as u64, sha256: None };
            let data = data_parts(&parts);
            let mut source = Cursor::new(content.clone());
            let result = writer.append_sparse(&node, &data, &mut source, Coverage::Data);
            if let Ok(written) = &result {
                let mut hasher = ContentHasher::new(Coverage::Data);
                hasher.update(&content);
                assert!(written.is_whole());
                assert_eq!(written.sha256, hasher.finish());
            }
            (result.map(drop), unfit)
        }
        Type::HardLink(target) => {
            if !plain(&target) {
                return;
            }
            // A hard link has no extended attributes and no size of its own.
            node.kind = Kind::File { size: 0, sha256: None };
            let result = writer.append_link(&node, &target);
            node.xattrs = None;
            let unfit = node.path.contains(&0) || target.contains(&0);
            link = Some(target);
            (result, unfit)
        }
        other => {
            // An empty PAX record deletes the value, and no symbolic link is empty either.
            let Some((kind, no)) = without_content(other) else { return };
            node.kind = kind;
            (writer.append(&node), unfit || no)
        }
    };
    match result {
        Ok(()) => {
            assert!(!unfit, "{node:?}");
            expected.push((node, link, content));
        }
        Err(_) => assert!(unfit, "{node:?}"),
    }
}

/// Returns the data parts of a sparse file: for each pair, a hole and then data of at least one
/// block of 512 bytes.
fn data_parts(parts: &[(u8, u8)]) -> Vec<(u64, u64)> {
    let mut end = 0;
    let part = |(hole, data): &(u8, u8)| {
        let (offset, length) = (end + 512 * (u64::from(*hole) + 1), 512 * (u64::from(*data) + 1));
        end = offset + length;
        (offset, length)
    };
    parts.iter().take(16).map(part).collect()
}

/// Returns the content of a sparse file whose last hole has `end` bytes.
fn sparse(parts: &[(u8, u8)], end: u16) -> Vec<u8> {
    let mut content = Vec::new();
    for (offset, length) in data_parts(parts) {
        content.resize(offset as usize, 0);
        content.resize((offset + length) as usize, b'x');
    }
    content.resize(content.len() + usize::from(end), 0);
    content
}

/// Returns a node without content, and whether no tar archive can represent it. `None` for nodes
/// that no file system has.
fn without_content(kind: Type) -> Option<(Kind, bool)> {
    Some(match kind {
        Type::Link(target) if target.is_empty() => return None,
        Type::Link(target) => (Kind::Symlink(target.clone().into()), target.contains(&0)),
        Type::Char(major, minor) => (Kind::CharDevice(major, minor), major.max(minor) > 2_097_151),
        Type::Block(major, minor) => (Kind::BlockDevice(major, minor), major.max(minor) > 2_097_151),
        Type::Socket => (Kind::Socket, true),
        Type::Directory => (Kind::Directory, false),
        _ => (Kind::Fifo, false),
    })
}

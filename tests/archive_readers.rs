//! Five readers read the writer's archives: vm2docker-self, GNU tar, Python's tarfile, libarchive
//! and Go's archive/tar. The tests fail if a reader is missing: see `tests/readers/packages.txt`.
#![expect(clippy::disallowed_methods, reason = "the other readers are programs")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod readers;

use proptest::prelude::*;
use readers::*;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use vm2docker_self::context::tar::{Reader, Writer, read_tree};
use vm2docker_self::model::tree::{Kind, Node, Stat};

/// Returns members for listings, also with values that cannot be extracted: the ID 4294967295
/// means "unchanged" to `chown(2)`.
fn members_for_lists() -> Vec<Member> {
    let mut members = members();
    let id = u32::MAX;
    members.push(with(file(b"id-max", b""), |stat| (stat.uid, stat.gid) = (id, id)));
    members.push(with(file(b"time-far", b""), |stat| stat.mtime = 1 << 40));
    members
}

#[test]
fn our_own_reader() {
    let members = members_for_lists();
    let archive = write(&members);
    let mut found = Listing::new();
    let mut reader = Reader::new(archive.as_slice());
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        entry.content.read_to_end(&mut content).unwrap();
        let member = Member { node: entry.node, content, link: entry.hard_link };
        found.extend(listing(&[member]));
    }
    assert!(reader.has_end_marker());
    let classes = reader.xattr_classes();
    assert!(classes.capability && classes.acl && classes.user);
    assert_equal("ours", &found, &listing(&members));
}

#[test]
fn read_tree_written_archive_equals_members() {
    let members = members();
    let contents = read_tree(write(&members).as_slice(), &|path| path.starts_with(b"more/")).unwrap();
    for member in &members {
        let place = vm2docker_self::model::tree::find(&contents.nodes, &member.node.path).unwrap();
        let found = &contents.nodes[place];
        let expected = Node { group: found.group, ..member.node.clone() };
        assert_eq!(*found, expected);
        let is_linked = member.link.is_some() || member.node.path.starts_with(b"files/");
        assert_eq!(found.group != 0, is_linked && matches!(found.kind, Kind::File { .. }));
        if let Some(first) = &member.link {
            let first = vm2docker_self::model::tree::find(&contents.nodes, first).unwrap();
            assert_eq!(contents.nodes[first].group, found.group);
        }
    }
    assert!(contents.nodes.is_sorted_by(|a, b| a.path < b.path));
}

#[test]
fn python_tarfile() {
    let members = members_for_lists();
    let archive = archive_file(&write(&members));
    assert_equal("python", &python(archive.path()), &listing(&members));
}

#[test]
fn go_archive_tar() {
    let members = members_for_lists();
    let archive = archive_file(&write(&members));
    assert_equal("go", &go(archive.path()), &listing(&members));
}

#[test]
fn gnu_tar() {
    let members = members();
    let archive = archive_file(&write(&members));
    // It does not know POSIX's hdrcharset and takes names as bytes anyway.
    let quiet = ["--warning=no-timestamp", "--warning=no-unknown-keyword"];
    run(Command::new("tar").args(quiet).arg("--xattrs").arg("-tvf").arg(archive.path()));
    let dir = scratch();
    let flags = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-pP"];
    run(Command::new("tar").args(quiet).args(flags).arg("-xf").arg(archive.path()).arg("-C").arg(dir.path()));
    compare_unpacked("GNU tar", dir.path(), &members, |_| true);
}

#[test]
fn libarchive() {
    let members = members();
    let archive = archive_file(&write(&members));
    run(Command::new("bsdtar").arg("-tvf").arg(archive.path()).env("LC_ALL", "C.UTF-8"));
    let dir = scratch();
    let flags = ["--numeric-owner", "--same-owner", "--xattrs", "-pP"];
    run(Command::new("bsdtar")
        .args(flags)
        .arg("-xf")
        .arg(archive.path())
        .arg("-C")
        .arg(dir.path())
        .env("LC_ALL", "C.UTF-8"));
    // libarchive 3.6.2 restores ACLs only from its own records and does not restore the time of
    // its working directory. For times before 1970 it adds the fraction, which it must subtract.
    let expressible = |member: &&Member| {
        let stat = &member.node.stat;
        !member.node.path.is_empty() && (stat.mtime >= 0 || stat.mtime_nsec == 0)
    };
    let members: Vec<Member> = members.iter().filter(expressible).cloned().collect();
    compare_unpacked("libarchive", dir.path(), &members, |name| !name.starts_with(b"system."));
}

/// Writes zeros as holes.
struct Holes(File);

impl Write for Holes {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.iter().all(|&byte| byte == 0) {
            self.0.seek(SeekFrom::Current(buffer.len() as i64))?;
            return Ok(buffer.len());
        }
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        let end = self.0.stream_position()?;
        self.0.set_len(end)
    }
}

#[test]
fn eight_gibibytes_and_what_follows_them() {
    let size = 8 << 30;
    let archive = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut writer = Writer::new(Holes(archive.reopen().unwrap()));
    let long = [b"k=v\n".repeat(60)].concat(); // a newline in front of the size's record
    let big = node(&long, Kind::File { size, sha256: None });
    assert!(writer.append_file(&big, &mut io::empty()).unwrap().short);
    let after = file(b"after", b"content");
    writer.append_file(&after.node, &mut after.content.as_slice()).unwrap();
    writer.finish().unwrap();
    for listing in [python(archive.path()), go(archive.path())] {
        assert_eq!(listing[&long].size, size);
        assert_eq!(listing[&b"after"[..]].sha256, Sha256::digest(b"content").to_vec());
    }
    for program in ["tar", "bsdtar"] {
        let lines = run(Command::new(program).arg("-tvf").arg(archive.path()).env("LC_ALL", "C.UTF-8"));
        let lines = String::from_utf8(lines).unwrap();
        assert!(lines.contains(" 8589934592 ") && lines.contains(" after\n"), "{program}: {lines}");
    }
    let mut reader = Reader::new(BufReader::new(archive.reopen().unwrap()));
    assert_eq!(reader.next_entry().unwrap().unwrap().node.size(), size);
    reader.skip_data(|inner, count| inner.seek_relative(count as i64)).unwrap();
    assert_eq!(*reader.next_entry().unwrap().unwrap().node.path, *b"after");
}

/// Gives some bytes, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::from_raw_os_error(5)) } else { self.0.read(buffer) }
    }
}

#[test]
fn append_file_changing_file_keeps_archive_intact() {
    let meant = file(b"changing", &[b'x'; 1000]);
    let after = file(b"after", b"content");
    for given in [0, 1, 511, 512, 999, 1000, 1001, 2000] {
        for fails in [false, true] {
            let data = vec![b'x'; given];
            let mut writer = Writer::new(Vec::new());
            let mut source: Box<dyn Read> =
                if fails { Box::new(Failing(&data)) } else { Box::new(data.as_slice()) };
            let written = writer.append_file(&meant.node, &mut source).unwrap();
            assert_eq!((written.short, written.longer), (given < 1000, given > 1000), "{given}");
            assert_eq!(written.cause.is_some(), fails && given < 1000);
            writer.append_file(&after.node, &mut after.content.as_slice()).unwrap();
            let contents = read_tree(writer.finish().unwrap().as_slice(), &|_| true).unwrap();
            let mut content = data.clone();
            content.resize(1000, 0);
            assert_eq!(contents.files[&b"changing"[..]], content);
            assert_eq!(written.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
            assert_eq!(contents.files[&b"after"[..]], b"content");
        }
    }
}

#[test]
fn append_inexpressible_node_writes_nothing() {
    let mut equals = other(b"x", Kind::Fifo).node;
    equals.xattrs = xattrs(&[(b"user.a=b", b"")]);
    let refused = [
        node(b"socket", Kind::Socket),
        node(b"nul\0", Kind::Directory),
        node(b"link", Kind::Symlink(b"a\0b".as_slice().into())),
        node(b"device", Kind::CharDevice(u32::MAX, 0)),
        node(b"file", Kind::File { size: 1, sha256: None }),
        equals,
    ];
    for node in refused {
        let mut writer = Writer::new(Vec::new());
        assert_eq!(writer.append(&node).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(writer.finish().unwrap().len(), 1024);
    }
}

/// Files with holes as GNU tar stores them, in each of its formats.
#[test]
fn sparse_files_of_gnu_tar() {
    let dir = scratch();
    let path = dir.path().join("sparse-with-a-name");
    let mut content = vec![0; 3 << 20];
    let mut sparse = File::create(&path).unwrap();
    for place in 0..40 {
        let offset = 8192 + place * 65536;
        content[offset..offset + 4096].fill(b'a' + (place % 26) as u8);
        sparse.seek(SeekFrom::Start(offset as u64)).unwrap();
        sparse.write_all(&content[offset..offset + 4096]).unwrap();
    }
    sparse.set_len(content.len() as u64).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--sparse-version=0.0"],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0"],
    ] {
        let mut command = Command::new("tar");
        command
            .args(["--sparse", "--hole-detection=raw", "-c"])
            .args(format)
            .arg("-C")
            .arg(dir.path())
            .arg("sparse-with-a-name");
        let archive = run(command.stdin(Stdio::null()));
        assert!(archive.len() < 1 << 20, "{format:?}");
        let contents = read_tree(archive.as_slice(), &|_| true).unwrap();
        assert!(contents.files[&b"sparse-with-a-name"[..]] == content, "{format:?}");
    }
}

/// Archives that other programs wrote, with their own ways to long names and large numbers.
#[test]
fn other_writers() {
    let dir = scratch();
    let long = "n".repeat(200);
    std::fs::write(dir.path().join(&long), "content").unwrap();
    std::fs::hard_link(dir.path().join(&long), dir.path().join("z")).unwrap();
    std::os::unix::fs::symlink(&long, dir.path().join("link")).unwrap();
    std::os::unix::fs::chown(dir.path().join("link"), None, None).unwrap();
    let owner = Some(4_000_000_000);
    std::os::unix::fs::lchown(dir.path().join(&long), owner, owner).unwrap();
    let formats: [&[&str]; 5] = [
        &["tar", "--format=gnu", "-c"],
        &["tar", "--format=posix", "-c"],
        &["bsdtar", "--format=pax", "-c"],
        &["bsdtar", "--format=gnutar", "-c"],
        &["tar", "--format=oldgnu", "-c"],
    ];
    for command in formats {
        let archive =
            run(Command::new(command[0]).args(&command[1..]).args(["-f", "-", "."]).current_dir(dir.path()));
        let contents = read_tree(archive.as_slice(), &|path| path.len() == 200).unwrap();
        let paths: Vec<&[u8]> = contents.nodes.iter().map(|node| &*node.path).collect();
        assert_eq!(paths, [b"", &b"link"[..], long.as_bytes(), b"z"], "{command:?}");
        assert_eq!(contents.nodes[1].kind, Kind::Symlink(long.as_bytes().into()));
        assert_eq!(
            (contents.nodes[2].stat.uid, contents.nodes[2].group, contents.nodes[3].group),
            (4_000_000_000, 1, 1)
        );
        assert!(contents.nodes[2].kind == contents.nodes[3].kind && contents.nodes[3].size() == 7);
    }
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = (1_u8..=255).prop_filter("a slash", |&byte| byte != b'/');
    let short = proptest::collection::vec(byte, 1..120);
    short.prop_filter("a dot", |name| name != b"." && name != b"..")
}

fn any_node() -> impl Strategy<Value = Member> {
    let path = proptest::collection::vec(any_name(), 1..4).prop_map(|parts| parts.join(&b'/'));
    let kind = prop_oneof![
        Just(Kind::Directory),
        Just(Kind::Fifo),
        (0_u32..2_097_152, 0_u32..2_097_152).prop_map(|(major, minor)| Kind::CharDevice(major, minor)),
        (0_u32..2_097_152, 0_u32..2_097_152).prop_map(|(major, minor)| Kind::BlockDevice(major, minor)),
        proptest::collection::vec(1_u8..=255, 1..300).prop_map(|target| Kind::Symlink(target.into())),
        Just(Kind::File { size: 0, sha256: None }),
    ];
    let stat = (0_u16..0o10000, any::<u32>(), any::<u32>(), any::<i64>(), 0_u32..1_000_000_000)
        .prop_map(|(mode, uid, gid, mtime, mtime_nsec)| Stat { mode, uid, gid, mtime, mtime_nsec });
    let attribute =
        "[a-z.%\n ]{1,20}".prop_map(|name| format!("user.{name}").into_bytes().into_boxed_slice());
    let value = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Vec::into_boxed_slice);
    let xattrs = proptest::collection::btree_map(attribute, value, 0..3);
    (path, kind, stat, xattrs, proptest::collection::vec(any::<u8>(), 0..2000)).prop_map(
        |(path, kind, stat, xattrs, content)| {
            let mut member = if kind.name() == "file" { file(&path, &content) } else { other(&path, kind) };
            member.node.stat = stat;
            member.node.xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
            member
        },
    )
}

proptest! {
    #[test]
    fn any_nodes_come_back(members in proptest::collection::vec(any_node(), 0..12)) {
        let archive = write(&members);
        prop_assert!(archive == write(&members));
        let mut reader = Reader::new(archive.as_slice());
        for member in &members {
            let mut entry = reader.next_entry().unwrap().unwrap();
            let mut content = Vec::new();
            entry.content.read_to_end(&mut content).unwrap();
            let mut expected = member.node.clone();
            if let Kind::File { sha256, .. } = &mut expected.kind {
                *sha256 = None;
            }
            prop_assert_eq!(&entry.node, &expected);
            prop_assert_eq!(&content, &member.content);
        }
        prop_assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(place in 0_usize..20_000, value in any::<u8>()) {
        let mut archive = write(&members()[..40]);
        let place = place % archive.len();
        archive[place] = value;
        let _ = read_tree(archive.as_slice(), &|_| true);
    }
}

#[test]
fn reader_archive_truncated_anywhere_returns_error() {
    let archive = write(&members()[..60]);
    for end in (0..archive.len()).step_by(512) {
        // One block of zeros is enough of an end.
        let whole = end + 512 >= archive.len();
        assert_eq!(read_tree(&archive[..end], &|_| true).is_ok(), whole, "{end}");
        assert!(read_tree(&archive[..end + 511], &|_| true).is_err() || end + 1024 > archive.len(), "{end}");
    }
}

//! Members with everything that an archive can hold, and the programs that read them.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vm2docker_self::context::tar::Writer;
use vm2docker_self::model::escape;
use vm2docker_self::model::tree::{Kind, Node, Stat, Xattrs};

/// Member to write: a node with its content, or a hard link with the first name of its file.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) content: Vec<u8>,
    pub(crate) link: Option<Vec<u8>>,
}

/// Properties of a member that a reader prints; `link` is the target of either kind of link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: char,
    pub(crate) stat: Stat,
    pub(crate) size: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) sha256: Vec<u8>,
    pub(crate) xattrs: Xattrs,
}

pub(crate) type Listing = BTreeMap<Vec<u8>, Seen>;

pub(crate) const TIME: i64 = 1_700_000_000;

pub(crate) fn node(path: &[u8], kind: Kind) -> Node {
    let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { 0o640 };
    let stat = Stat { mode, uid: 7, gid: 8, mtime: TIME, mtime_nsec: 0 };
    Node { path: path.into(), kind, stat, group: 0, xattrs: None }
}

pub(crate) fn file(path: &[u8], content: &[u8]) -> Member {
    let kind = Kind::File { size: content.len() as u64, sha256: Some(Sha256::digest(content).into()) };
    Member { node: node(path, kind), content: content.to_vec(), link: None }
}

pub(crate) fn other(path: &[u8], kind: Kind) -> Member {
    Member { node: node(path, kind), content: Vec::new(), link: None }
}

pub(crate) fn link(path: &[u8], first: &Member) -> Member {
    let node = Node { path: path.into(), ..first.node.clone() };
    Member { node, content: Vec::new(), link: Some(first.node.path.to_vec()) }
}

pub(crate) fn with(mut member: Member, change: impl FnOnce(&mut Stat)) -> Member {
    change(&mut member.node.stat);
    member
}

pub(crate) fn xattrs(list: &[(&[u8], &[u8])]) -> Option<Box<Xattrs>> {
    Some(Box::new(list.iter().map(|&(name, value)| (name.into(), value.into())).collect()))
}

/// cap_dac_override, cap_fowner and more: the permitted set holds the byte of a newline.
pub(crate) const CAPABILITY: &[u8] = b"\x01\0\0\x02\x0a\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// u::rw- u:1000:r-- g::r-- m::r-- o::---
pub(crate) const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

pub(crate) fn names() -> Vec<Member> {
    let a = |count| vec![b'a'; count];
    let mut names: Vec<Vec<u8>> = [
        &b"grun/gr\xc3\xbcn"[..],
        b"invalid\xff\xfe",
        b"new\nline",
        b"back\\slash",
        b" spaces ",
        b"\x01\x1b[31m",
        b"-dash",
        b"100% =x",
        b"\xe2\x80\xae",
        b"k=v\n9 path=x\n",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.extend([99, 100, 101, 155, 255].map(a));
    names.extend(
        [(90, 90), (155, 100), (155, 101), (156, 100), (200, 250)]
            .map(|(first, last)| [vec![b'c'; first], b"/".to_vec(), vec![b'b'; last]].concat()),
    );
    let deep = vec![vec![b'd'; 200]; 15].join(&b'/');
    names.push(deep);
    let mut members = Vec::new();
    for name in &names {
        members.push(other(&[b"dirs/", name.as_slice()].concat(), Kind::Directory));
        members.push(file(&[b"files/", name.as_slice()].concat(), name));
        members.push(other(&[b"links/", name.as_slice()].concat(), Kind::Symlink(name.as_slice().into())));
        let first = members[members.len() - 2].clone();
        members.push(link(&[b"more/", name.as_slice()].concat(), &first));
    }
    members
}

pub(crate) fn members() -> Vec<Member> {
    let mut members = vec![
        with(other(b"", Kind::Directory), |stat| stat.mode = 0o755),
        other(b"fifo", Kind::Fifo),
        other(b"char", Kind::CharDevice(5, 1)),
        other(b"block", Kind::BlockDevice(259, 1_048_575)),
        other(b"slash", Kind::Symlink(b"/usr/bin/".as_slice().into())),
    ];
    members.extend(names());
    for size in [0, 1, 511, 512, 513, 200_000] {
        members.push(file(format!("size{size}").as_bytes(), &vec![b'x'; size]));
    }
    for mode in [0, 0o4755, 0o2755, 0o1777, 0o7777] {
        members.push(with(file(format!("mode{mode:o}").as_bytes(), b""), |stat| stat.mode = mode));
        members
            .push(with(other(format!("dir{mode:o}").as_bytes(), Kind::Directory), |stat| stat.mode = mode));
    }
    for id in [0, 2_097_151, 2_097_152, 4_294_967_294] {
        members.push(with(file(format!("id{id}").as_bytes(), b""), |stat| (stat.uid, stat.gid) = (id, id)));
    }
    for (mtime, nsec) in [
        (0, 0),
        (0, 1),
        (-1, 0),
        (-1, 999_999_999),
        (-2, 500_000_000),
        (-86_400, 5),
        (TIME, 123_456_789),
        (8_589_934_592, 0),
    ] {
        let name = format!("time{mtime}.{nsec}");
        members.push(with(file(name.as_bytes(), b""), |stat| (stat.mtime, stat.mtime_nsec) = (mtime, nsec)));
    }
    let mut special = file(b"xattrs", b"x");
    special.node.xattrs =
        xattrs(&[(b"security.capability", CAPABILITY), (b"user.text", b"a\nb\0c\xff"), (b"user.k\nl", b"v")]);
    members.push(special);
    let mut directory = other(b"xattrs-dir", Kind::Directory);
    directory.node.xattrs = xattrs(&[(b"user.x", b"12 path=evil\n"), (b"user.y", b"1")]);
    members.push(directory);
    let mut acl = file(b"acl", b"x");
    acl.node.xattrs = xattrs(&[(b"system.posix_acl_access", ACL)]);
    members.push(acl);
    members
}

pub(crate) fn write(members: &[Member]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for member in members {
        match (&member.link, &member.node.kind) {
            (Some(first), _) => writer.append_link(&member.node, first).unwrap(),
            (None, Kind::File { .. }) => {
                let written = writer.append_file(&member.node, &mut member.content.as_slice()).unwrap();
                assert!(written.is_whole() && written.cause.is_none());
            }
            (None, _) => writer.append(&member.node).unwrap(),
        }
    }
    writer.finish().unwrap()
}

pub(crate) fn device(kind: &Kind) -> (u32, u32) {
    match kind {
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => (*major, *minor),
        _ => (0, 0),
    }
}

/// Returns the expected output of a reader that lists members, not files.
pub(crate) fn listing(members: &[Member]) -> Listing {
    let seen = |member: &Member| {
        let kind = match (&member.link, &member.node.kind) {
            (Some(_), _) => '1',
            (_, Kind::File { .. }) => '0',
            (_, Kind::Symlink(_)) => '2',
            (_, Kind::CharDevice(..)) => '3',
            (_, Kind::BlockDevice(..)) => '4',
            (_, Kind::Directory) => '5',
            (_, Kind::Fifo) => '6',
            (_, Kind::Socket) => unreachable!(),
        };
        let link = match (&member.link, &member.node.kind) {
            (Some(first), _) => first.clone(),
            (_, Kind::Symlink(target)) => target.to_vec(),
            _ => Vec::new(),
        };
        Seen {
            kind,
            stat: member.node.stat,
            size: member.content.len() as u64,
            link,
            device: device(&member.node.kind),
            sha256: Sha256::digest(&member.content).to_vec(),
            xattrs: member.node.xattrs.as_deref().filter(|_| kind != '1').cloned().unwrap_or_default(),
        }
    };
    members.iter().map(|member| (member.node.path.to_vec(), seen(member))).collect()
}

pub(crate) fn assert_equal(reader: &str, found: &Listing, expected: &Listing) {
    for (name, seen) in expected {
        assert_eq!(found.get(name), Some(seen), "{reader}: {}", escape::display(name));
    }
    let extra: Vec<_> =
        found.keys().filter(|name| !expected.contains_key(*name)).map(|name| escape::display(name)).collect();
    assert!(extra.is_empty(), "{reader}: {extra:?}");
}

pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; install the packages of tests/readers/packages.txt")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {}\n{errors}", output.status);
    output.stdout
}

pub(crate) fn reader_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name)
}

/// The members as a program prints them: a line of JSON each.
pub(crate) fn parse_lines(lines: &[u8]) -> Listing {
    let unhex = |text: &serde_json::Value| {
        let text = text.as_str().unwrap().as_bytes();
        text.chunks(2).map(|pair| escape::unhex::<1>(pair).unwrap()[0]).collect::<Vec<u8>>()
    };
    let mut listing = Listing::new();
    for line in serde_json::Deserializer::from_slice(lines).into_iter::<serde_json::Value>() {
        let line = line.unwrap();
        let number = |key: &str| line[key].as_i64().unwrap();
        let mut xattrs = Xattrs::new();
        for (key, value) in line["records"].as_object().unwrap() {
            let key = unhex(&serde_json::Value::from(key.as_str()));
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                xattrs.insert(name.into(), unhex(value).into());
            }
        }
        let mut name = unhex(&line["name"]);
        if line["kind"] == "5" && name.ends_with(b"/") {
            name.pop();
        }
        if name == b"." {
            name.clear();
        }
        let stat = Stat {
            mode: number("mode") as u16,
            uid: number("uid") as u32,
            gid: number("gid") as u32,
            mtime: number("mtime"),
            mtime_nsec: number("nsec") as u32,
        };
        let seen = Seen {
            kind: line["kind"].as_str().unwrap().chars().next().unwrap(),
            stat,
            size: number("size") as u64,
            link: unhex(&line["link"]),
            device: (number("major") as u32, number("minor") as u32),
            sha256: unhex(&line["sha256"]),
            xattrs,
        };
        assert!(listing.insert(name, seen).is_none());
    }
    listing
}

pub(crate) fn archive_file(archive: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(archive).unwrap();
    file
}

pub(crate) fn python(archive: &Path) -> Listing {
    parse_lines(&run(Command::new("python3").arg(reader_path("pyread.py")).arg(archive)))
}

pub(crate) fn go(archive: &Path) -> Listing {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let mut command = Command::new("go");
    command.arg("run").arg(reader_path("goread.go")).env("GOCACHE", cache).env("GO111MODULE", "off");
    parse_lines(&run(command.stdin(File::open(archive).unwrap())))
}

/// Compares every member with the object in the file system, and the hard links of each file.
pub(crate) fn compare_unpacked(
    reader: &str,
    dir: &Path,
    members: &[Member],
    has_xattr: impl Fn(&[u8]) -> bool,
) {
    for member in members {
        let path = dir.join(std::ffi::OsStr::from_bytes(&member.node.path));
        let shown = format!("{reader}: {}", escape::display(&member.node.path));
        let stat = rustix::fs::lstat(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => {
                let content = std::fs::read(&path).unwrap();
                Kind::File { size: content.len() as u64, sha256: Some(Sha256::digest(&content).into()) }
            }
            rustix::fs::FileType::Directory => Kind::Directory,
            rustix::fs::FileType::Symlink => {
                Kind::Symlink(std::fs::read_link(&path).unwrap().as_os_str().as_bytes().into())
            }
            rustix::fs::FileType::Fifo => Kind::Fifo,
            rustix::fs::FileType::CharacterDevice => {
                Kind::CharDevice(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            _ => Kind::BlockDevice(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        };
        let found = Stat {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            mtime_nsec: stat.st_mtime_nsec as u32,
        };
        assert_eq!((kind, found), (member.node.kind.clone(), member.node.stat), "{shown}");
        for (name, value) in
            member.node.xattrs.iter().flat_map(|xattrs| xattrs.iter()).filter(|(name, _)| has_xattr(name))
        {
            let mut buffer = [0; 256];
            let got = rustix::fs::lgetxattr(&path, name.as_ref(), &mut buffer)
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!(buffer[..got], **value, "{shown}");
        }
        if let Some(first) = &member.link {
            let first = rustix::fs::lstat(dir.join(std::ffi::OsStr::from_bytes(first))).unwrap();
            assert_eq!(first.st_ino, stat.st_ino, "{shown}");
        }
    }
}

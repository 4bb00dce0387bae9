//! Fixture roots as text, a line an object:
//!
//! ```text
//! file  0644 0:0 /etc/os-release "ID=debian\n"     also: @sparse LENGTH, @random LENGTH
//! dir   0755 0:0 /srv
//! link  0777 0:0 /bin usr/bin
//! hard  -    -   /srv/second /srv/first
//! fifo  0600 0:0 /srv/pipe
//! char  0666 0:0 /srv/null 1:3
//! xattr -    -   /srv/file user.comment "value"
//! acl   -    -   /srv/file access u::rw-,u:1000:r--,g::r--,m::r--,o::---
//! time  -    -   /srv/file 1500000000
//! gone  -    -   /srv/file
//! ```
//!
//! A word may be quoted; `\n`, `\t`, `\xNN` and a backslash before any other character work in
//! all words. Missing parents are made. Every object gets the same modification time; a later
//! line replaces an earlier object.

use md5::Digest;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The modification time of everything, in seconds since 1970.
pub(crate) const TIME: i64 = 1_600_000_000;

/// Lays the objects of `text` out beneath `root`, over whatever is there.
pub(crate) fn lay(root: &Path, text: &str) {
    let mut times: BTreeMap<PathBuf, i64> = BTreeMap::new();
    times.insert(root.to_owned(), TIME);
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words = words(line);
        assert!(words.len() >= 4, "fixture line: {line}");
        let path = beneath(root, &words[3]);
        parents(root, &path, &mut times);
        place(root, &path, &words).unwrap_or_else(|cause| panic!("fixture line: {line}: {cause}"));
        match &*words[0] {
            b"time" => times.insert(path, text_of(&words[4]).parse().unwrap()),
            b"gone" => times.remove(&path),
            _ => times.insert(path, TIME),
        };
    }
    for (path, seconds) in times.iter().rev() {
        set_time(path, *seconds);
    }
}

/// Sets access and modification time of the object itself.
pub(crate) fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Any bytes as a word of a fixture line.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let byte = |&byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'/' | b'.' | b'-' | b':' | b'=' => {
            char::from(byte).to_string()
        }
        _ => format!("\\x{byte:02x}"),
    };
    format!("\"{}\"", bytes.iter().map(byte).collect::<String>())
}

/// The words of a line, unquoted.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = line.bytes().peekable();
    loop {
        while bytes.next_if_eq(&b' ').is_some() {}
        if bytes.peek().is_none() {
            return words;
        }
        let quoted = bytes.next_if_eq(&b'"').is_some();
        let mut word = Vec::new();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if quoted => break,
                b' ' if !quoted => break,
                b'\\' => word.push(escaped(&mut bytes)),
                _ => word.push(byte),
            }
        }
        words.push(word);
    }
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> u8 {
    match bytes.next().unwrap() {
        b'n' => b'\n',
        b't' => b'\t',
        b'x' => {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        }
        byte => byte,
    }
}

fn text_of(word: &[u8]) -> &str {
    std::str::from_utf8(word).unwrap()
}

/// Returns the location of the absolute path in the root.
pub(crate) fn beneath(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap()))
}

fn parents(root: &Path, path: &Path, times: &mut BTreeMap<PathBuf, i64>) {
    let Some(parent) = path.parent().filter(|parent| parent.starts_with(root) && *parent != root) else {
        return;
    };
    if fs::symlink_metadata(parent).is_err() {
        parents(root, parent, times);
        fs::create_dir(parent).unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    }
    times.insert(parent.to_owned(), TIME);
}

fn place(root: &Path, path: &Path, words: &[Vec<u8>]) -> std::io::Result<()> {
    let rest = |index: usize| words.get(4 + index).map(Vec::as_slice).unwrap_or_default();
    let is_new = !matches!(&*words[0], b"xattr" | b"acl" | b"time");
    match fs::symlink_metadata(path) {
        Ok(old) if old.is_dir() && is_new && &*words[0] != b"dir" => fs::remove_dir_all(path)?,
        Ok(old) if !old.is_dir() && is_new => fs::remove_file(path)?,
        _ => {}
    }
    match &*words[0] {
        b"file" => write(path, rest(0), rest(1))?,
        b"dir" => fs::create_dir(path).or_else(|cause| if path.is_dir() { Ok(()) } else { Err(cause) })?,
        b"link" => std::os::unix::fs::symlink(OsStr::from_bytes(rest(0)), path)?,
        b"hard" => fs::hard_link(beneath(root, rest(0)), path)?,
        b"fifo" => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?,
        b"char" => {
            let (major, minor) = text_of(rest(0)).split_once(':').unwrap();
            let device = rustix::fs::makedev(major.parse().unwrap(), minor.parse().unwrap());
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, device)?;
        }
        b"xattr" => rustix::fs::lsetxattr(path, rest(0), rest(1), XattrFlags::empty())?,
        b"acl" => {
            let name = format!("system.posix_acl_{}", text_of(rest(0)));
            rustix::fs::lsetxattr(path, name, &acl(text_of(rest(1))), XattrFlags::empty())?;
        }
        b"time" | b"gone" => {}
        other => panic!("unknown object {}", text_of(other)),
    }
    if &*words[1] != b"-" {
        let (uid, gid) = text_of(&words[2]).split_once(':').unwrap();
        std::os::unix::fs::lchown(path, Some(uid.parse().unwrap()), Some(gid.parse().unwrap()))?;
        if &*words[0] != b"link" {
            let mode = u32::from_str_radix(text_of(&words[1]), 8).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8], length: &[u8]) -> std::io::Result<()> {
    let length = || text_of(length).parse::<u64>().unwrap();
    match content {
        b"@sparse" => {
            let file = File::create(path)?;
            file.set_len(length())?;
            file.write_all_at(b"in the middle", length() / 2)
        }
        b"@random" => fs::write(path, random(length())),
        _ => fs::write(path, content),
    }
}

/// Bytes that do not compress, the same every time (xorshift64).
fn random(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length;
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while bytes.len() < length as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// Returns an ACL in the kernel's format (`linux/posix_acl_xattr.h`): version 2, then tag,
/// permissions, ID.
fn acl(text: &str) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for entry in text.split(',') {
        let fields: Vec<&str> = entry.split(':').collect();
        let tag: u16 = match (fields[0], fields[1]) {
            ("u", "") => 1,
            ("u", _) => 2,
            ("g", "") => 4,
            ("g", _) => 8,
            ("m", _) => 16,
            _ => 32,
        };
        let permissions =
            fields[2].bytes().zip([4_u16, 2, 1]).filter(|(c, _)| *c != b'-').map(|(_, bit)| bit).sum::<u16>();
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(fields[1].parse::<u32>().unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

/// A package of a small dpkg database.
#[derive(Clone, Copy, Default)]
pub(crate) struct Deb<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// `install ok installed` if empty.
    pub(crate) status: &'a str,
    /// Further fields of its stanza, with line ends.
    pub(crate) fields: &'a str,
    /// Its absolute paths. Digests are those of the present files. Parents are added.
    pub(crate) files: &'a [&'a str],
    /// Those of them that are conffiles.
    pub(crate) conffiles: &'a [&'a str],
    /// Kinds of other files in `info`, such as `postinst`.
    pub(crate) scripts: &'a [&'a str],
}

/// Writes a dpkg database for packages whose files are in `root`.
pub(crate) fn dpkg(root: &Path, packages: &[Deb<'_>]) {
    let (mut status, mut text) = (String::new(), String::new());
    let mut file = |name: &str, content: &str| {
        text += &format!("file 0644 0:0 /var/lib/dpkg/{name} {}\n", quote(content.as_bytes()));
    };
    file("info/format", "1\n");
    file("arch", "amd64\n");
    for deb in packages {
        let state = if deb.status.is_empty() { "install ok installed" } else { deb.status };
        status += &format!(
            "Package: {}\nStatus: {state}\nArchitecture: amd64\nVersion: {}\n",
            deb.name, deb.version
        );
        status += deb.fields;
        if !deb.conffiles.is_empty() {
            let line = |path: &&str| {
                format!(" {path} {}\n", md5_of(root, path).unwrap_or_else(|| "newconffile".to_owned()))
            };
            status += &format!("Conffiles:\n{}", deb.conffiles.iter().map(line).collect::<String>());
        }
        status += &format!("Description: {}\n\n", deb.name);
        file(&format!("info/{}.list", deb.name), &list(deb.files));
        let sums = deb.files.iter().filter(|path| !deb.conffiles.contains(path));
        let sums = sums.filter_map(|path| Some(format!("{}  {}\n", md5_of(root, path)?, &path[1..])));
        file(&format!("info/{}.md5sums", deb.name), &sums.collect::<String>());
        if !deb.conffiles.is_empty() {
            file(&format!("info/{}.conffiles", deb.name), &(deb.conffiles.join("\n") + "\n"));
        }
        for kind in deb.scripts {
            file(&format!("info/{}.{kind}", deb.name), "#!/bin/sh\n");
        }
    }
    file("status", &status);
    lay(root, &text);
}

fn list(files: &[&str]) -> String {
    let mut paths = std::collections::BTreeSet::from(["/.".to_owned()]);
    for path in files {
        let ancestors = Path::new(path).ancestors().filter(|path| *path != Path::new("/"));
        paths.extend(ancestors.map(|path| path.display().to_string()));
    }
    paths.into_iter().map(|path| path + "\n").collect()
}

fn md5_of(root: &Path, path: &str) -> Option<String> {
    let path = beneath(root, path.as_bytes());
    fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let digest = md5::Md5::digest(fs::read(path).ok()?);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

//! `manifest.jsonl.zst`: every path of the machine with its verdict, one JSON object per line.
//!
//! Paths, link targets and owner names are escaped by [`crate::model::escape`]. Attribute values
//! are hexadecimal.

use super::document::Schema;
use super::escape;
use super::holes::Coverage;
use super::size;
use super::tree::{Kind, Node, Stat, Xattrs};
use crate::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

/// Maximum length of a line in bytes. Extended attributes are the only long fields.
const MAX_LINE: u64 = 16 << 20;

/// The plan's decision on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// In the image, as on the machine.
    Keep,
    /// In the image, with content that a rule worked out from the machine's.
    Rewrite,
    /// Not in the image, by a rule or with its package.
    Drop,
    /// Not in the image because it is secret.
    Withhold,
    /// Not in the image because it is live data.
    Volume,
    /// Not in the image because every machine has its own.
    Regenerate,
    /// A file of a package database that the build writes. The image has the same packages in it,
    /// not the same bytes.
    Built,
    /// The container runtime mounts its own over it.
    Runtime,
    /// Should be in the image and is not: unreadable, unstable, or not representable. A finding
    /// reports it.
    Lost,
}

impl Verdict {
    /// Whether equality covers the path.
    pub fn in_image(self) -> bool {
        matches!(self, Verdict::Keep | Verdict::Rewrite)
    }
}

/// Which layer of the image provides a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProvidedBy {
    /// The base image holds it.
    Base,
    /// A package of the package layer ships it.
    Packages,
    /// The delta carries it.
    Delta,
    /// Scripts of the package layer make it; the delta carries it in case it comes out otherwise.
    Generated,
}

/// One path of the machine with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The object, as it is to be in the image.
    pub node: Node,
    /// Bytes that the digest of a file covers.
    pub coverage: Coverage,
    /// The plan's decision on it.
    pub verdict: Verdict,
    /// Where the image gets it from, if it is in the image.
    pub layer: Option<ProvidedBy>,
    /// Why.
    pub reason: String,
}

/// Owner names by number, from the machine's own account files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// User names by uid.
    pub users: BTreeMap<u32, Vec<u8>>,
    /// Group names by gid.
    pub groups: BTreeMap<u32, Vec<u8>>,
}

/// A line, field by field in the order in which it is written.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "manifest-line"))]
pub struct Line {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    mtime: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    mtime_nsec: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Instead of `sha256` for a file with large holes: the SHA-256 of its blocks of 4 KiB that are
    /// not all zeros, each after its offset, and of the file's size (64 bits, little endian).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    /// Paths with the same number are one inode.
    #[serde(default, skip_serializing_if = "is_zero")]
    hard_link: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<ProvidedBy>,
    reason: String,
}

impl Schema for Line {
    const NAME: &'static str = "vm2docker-self/manifest-line";
    const VERSION: u32 = 1;
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Writes one line.
pub fn write(out: &mut impl Write, record: &Record, names: &Names) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &line(record, names))?;
    out.write_all(b"\n")
}

/// Reads a manifest back.
///
/// Fails with exit code 1 if a line is not a record or longer than 16 MiB, or if the paths are not
/// in order. The message has the number of the line.
pub fn read(input: impl BufRead) -> Result<Vec<Record>> {
    Reader::new(input).collect()
}

/// Iterator over the records of a manifest, with the errors of [`read`].
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    text: Vec<u8>,
    number: u64,
    /// Path of the record before.
    before: Option<Box<[u8]>>,
}

impl<R: BufRead> Reader<R> {
    /// Returns an iterator over the records in `input`.
    pub fn new(input: R) -> Self {
        Reader { input, text: Vec::new(), number: 0, before: None }
    }

    fn read_next(&mut self) -> Result<Option<Record>> {
        self.number += 1;
        self.text.clear();
        let read = self.input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut self.text);
        if read.map_err(|cause| self.damaged(&cause.to_string()))? == 0 {
            return Ok(None);
        }
        if self.text.len() as u64 > MAX_LINE {
            return Err(self.damaged(&format!("longer than {}", size::bytes(MAX_LINE))));
        }
        let line: Line =
            serde_json::from_slice(&self.text).map_err(|cause| self.damaged(&cause.to_string()))?;
        let record = record(line).ok_or_else(|| self.damaged("not what this program writes"))?;
        if self.before.as_ref().is_some_and(|before| *before >= record.node.path) {
            return Err(self.damaged("paths are not in order"));
        }
        self.before = Some(record.node.path.clone());
        Ok(Some(record))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(Code::Failed, format!("manifest.jsonl.zst, line {}: {what}", self.number))
            .hint("the context is damaged; copy it again from the converted machine")
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        self.read_next().transpose()
    }
}

/// Returns the record as it is written.
pub fn line(record: &Record, names: &Names) -> Line {
    let node = &record.node;
    let name = |names: &BTreeMap<u32, Vec<u8>>, id: u32| names.get(&id).map(|name| escape::escape(name));
    let (mut size, mut sha256, mut data_sha256, mut target, mut device) = (None, None, None, None, None);
    match &node.kind {
        Kind::File { size: length, sha256: digest } => {
            // Of a password the length alone is worth something.
            size = Some(*length).filter(|_| !is_secret(record.verdict));
            // A digest of a short secret is the secret.
            let digest = digest.filter(|_| record.verdict.in_image()).map(|digest| escape::hex(&digest));
            match record.coverage {
                Coverage::All => sha256 = digest,
                Coverage::Data => data_sha256 = digest,
            }
        }
        Kind::Symlink(to) => target = Some(escape::escape(to)),
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => device = Some((*major, *minor)),
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    let xattrs = node.xattrs.iter().filter(|_| !is_secret(record.verdict)).flat_map(|xattrs| xattrs.iter());
    Line {
        path: escape::display(&node.path),
        kind: node.kind.name().to_owned(),
        mode: format!("{:04o}", node.stat.mode),
        uid: node.stat.uid,
        gid: node.stat.gid,
        user: name(&names.users, node.stat.uid),
        group: name(&names.groups, node.stat.gid),
        mtime: node.stat.mtime,
        mtime_nsec: node.stat.mtime_nsec,
        size,
        sha256,
        data_sha256,
        target,
        device,
        hard_link: node.group,
        xattrs: xattrs.map(|(name, value)| (escape::escape(name), escape::hex(value))).collect(),
        verdict: record.verdict,
        layer: record.layer,
        reason: record.reason.clone(),
    }
}

/// Whether the record states nothing about the content, and has only the metadata that a mount in
/// its place needs.
fn is_secret(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Withhold | Verdict::Regenerate)
}

fn record(line: Line) -> Option<Record> {
    let kind = match (line.kind.as_str(), line.device) {
        ("directory", None) => Kind::Directory,
        ("file", None) => {
            let sha256 = match (&line.sha256, &line.data_sha256) {
                (Some(digest), None) | (None, Some(digest)) => Some(escape::unhex(digest.as_bytes())?),
                (None, None) => None,
                (Some(_), Some(_)) => return None,
            };
            let size = line.size.or(is_secret(line.verdict).then_some(0))?;
            Kind::File { size, sha256 }
        }
        ("symlink", None) => Kind::Symlink(escape::unescape(&line.target?)?.into()),
        ("fifo", None) => Kind::Fifo,
        ("socket", None) => Kind::Socket,
        ("char-device", Some((major, minor))) => Kind::CharDevice(major, minor),
        ("block-device", Some((major, minor))) => Kind::BlockDevice(major, minor),
        _ => return None,
    };
    let mut xattrs = Xattrs::new();
    for (name, value) in &line.xattrs {
        xattrs.insert(escape::unescape(name)?.into(), decode_hex(value)?.into());
    }
    let path = safe_path(&line.path)?;
    let stat = Stat {
        mode: u16::from_str_radix(&line.mode, 8).ok().filter(|mode| *mode <= 0o7777)?,
        uid: line.uid,
        gid: line.gid,
        mtime: line.mtime,
        mtime_nsec: line.mtime_nsec,
    };
    let xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
    let node = Node { path: path.into(), kind, stat, group: line.hard_link, xattrs };
    let coverage = if line.data_sha256.is_some() { Coverage::Data } else { Coverage::All };
    Some(Record { node, coverage, verdict: line.verdict, layer: line.layer, reason: line.reason })
}

/// Returns the bytes of an absolute, escaped path. Returns `None` unless all components are plain
/// names, because `apply` opens them one by one.
pub fn safe_path(text: &str) -> Option<Vec<u8>> {
    let path = escape::unescape(text.strip_prefix('/')?)?;
    let plain = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
    (path.is_empty() || path.split(|&byte| byte == b'/').all(plain)).then_some(path)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| escape::unhex::<1>(pair).map(|[byte]| byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Directory),
            Just(Kind::Fifo),
            Just(Kind::Socket),
            (any::<u64>(), any::<[u8; 32]>())
                .prop_map(|(size, digest)| Kind::File { size, sha256: Some(digest) }),
            proptest::collection::vec(1..=255_u8, 1..40).prop_map(|target| Kind::Symlink(target.into())),
            (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::CharDevice(major, minor)),
            (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::BlockDevice(major, minor)),
        ]
    }

    prop_compose! {
        fn records()(
            path in "[^/\0.]{1,20}(/[^/\0.]{1,20}){0,3}",
            kind in kinds(),
            mode in 0..0o10000_u16,
            (uid, gid, mtime, mtime_nsec, group) in (any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000_u32, 0..9_u32),
            value in proptest::collection::vec(any::<u8>(), 0..30),
            has_holes in any::<bool>(),
        ) -> Record {
            let coverage = match kind {
                Kind::File { .. } if has_holes => Coverage::Data,
                _ => Coverage::All,
            };
            let xattrs = Xattrs::from([(b"user.\xff\n"[..].into(), value.into())]);
            let stat = Stat { mode, uid, gid, mtime, mtime_nsec };
            let node = Node { path: path.into_bytes().into(), kind, stat, group, xattrs: Some(Box::new(xattrs)) };
            Record { node, coverage, verdict: Verdict::Keep, layer: Some(ProvidedBy::Delta), reason: "a \"reason\"\n".to_owned() }
        }
    }

    proptest! {
        #[test]
        fn every_record_survives(record in records()) {
            let mut text = Vec::new();
            write(&mut text, &record, &Names::default()).unwrap();
            prop_assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(read(&text[..]).unwrap(), vec![record]);
        }
    }

    fn secret(verdict: Verdict) -> String {
        let kind = Kind::File { size: 3, sha256: Some([7; 32]) };
        let node = Node { path: b"etc/key"[..].into(), kind, stat: Stat::default(), group: 0, xattrs: None };
        let mut text = Vec::new();
        write(
            &mut text,
            &Record { node, coverage: Coverage::All, verdict, layer: None, reason: String::new() },
            &Names::default(),
        )
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn withheld_files_have_no_digest_and_no_size() {
        assert!(secret(Verdict::Keep).contains("0707") && secret(Verdict::Keep).contains("\"size\":3"));
        for verdict in [Verdict::Withhold, Verdict::Regenerate] {
            let line = secret(verdict);
            assert!(!line.contains("0707") && !line.contains("size"), "{line}");
            assert_eq!(read(line.as_bytes()).unwrap()[0].node.kind, Kind::File { size: 0, sha256: None });
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let line = secret(Verdict::Keep);
        for path in ["/../x", "/a//b", "/a/./b", "etc/x", "/a/", "/nul\\\\x00"] {
            let error = read(line.replace("/etc/key", path).as_bytes());
            assert!(error.is_err(), "{path}");
        }
        assert!(read(line.as_bytes()).is_ok());
    }

    #[test]
    fn read_damaged_line_returns_its_number() {
        let good = secret(Verdict::Keep);
        let error = read(format!("{good}{{}}\n").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        let twice = read(format!("{good}{good}").as_bytes()).unwrap_err().to_string();
        assert!(twice.contains("not in order"), "{twice}");
    }
}

//! Makes a root directory match a context; the generated Dockerfile runs this inside the build.
//!
//! Objects that the lower layers already provide are hashed and not written, because every
//! written byte stays in the image. Paths without a record in the manifest are removed. Content
//! comes from the delta, everything else from the manifest. At the end the whole root is read
//! again and must equal the manifest.

mod live;
mod merged_usr;
mod packages;
mod target;
pub mod verify;

pub use live::refuse_running_system;
pub use merged_usr::merge;
pub use packages::{Prepared, prepare};

use crate::compare::equal::{self, Aspect, Difference, View};
use crate::context::reader::{self, Context};
use crate::context::tar;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::model::findings;
use crate::model::holes::{ContentHasher, Coverage, MAX_HASHED, ReadHoles};
use crate::model::manifest::Record;
use crate::model::tree::{self, Kind, Node};
use crate::system::mounts;
use crate::system::root::{self, Root};
use crate::walk::{self, Progress, Scope};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::path::Path;
use target::Target;

/// Counts of what `apply` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Paths that are in the image.
    pub kept: usize,
    /// Paths that the lower layers provided as the manifest has them.
    pub untouched: usize,
    /// Files whose content came from the delta, and their bytes.
    pub written: (usize, u64),
    /// Paths removed because of the deletion list, and other paths that the build had created.
    pub removed: (usize, usize),
}

/// Makes `root` what the manifest of `context` says, then proves it.
pub fn apply(context: &Context, root: &Root, threads: usize) -> Result<Applied> {
    let records = context.manifest()?;
    let deletions: HashSet<Vec<u8>> = context.deletions()?.into_iter().collect();
    let delta = context.archive(reader::DELTA)?;
    let before = survey(context, root, &records, threads)?;
    let differences = equal::differences(&records, &before, View::FULL);
    let mut work = Work {
        records: &records,
        leaders: leaders(&records),
        target: Target::new(root),
        touched: BTreeSet::new(),
    };

    let removed = work.remove(&differences, &before, &deletions)?;
    work.make(&differences)?;
    let written = work.write(&differences, delta)?;
    work.part(&differences)?;
    work.touch(&differences);
    work.set_metadata(|kind| *kind != Kind::Directory)?;
    work.join()?;
    work.set_metadata(|kind| *kind == Kind::Directory)?;

    prove(&records, &survey(context, root, &records, threads)?)?;
    let kept = records.iter().filter(|record| equal::counts(record)).count();
    Ok(Applied { kept, untouched: kept - work.touched.len(), written, removed })
}

/// Everything beneath the root, with the digest of every file that the manifest has.
pub fn survey(context: &Context, root: &Root, records: &[Record], threads: usize) -> Result<Vec<Node>> {
    look(&context.path(""), root, &coverages(records), threads)
}

/// Returns a function from each path in the image to the bytes that its digest covers.
fn coverages(records: &[Record]) -> impl Fn(&[u8]) -> Option<Coverage> + Sync {
    let counted = records.iter().filter(|record| equal::counts(record));
    let coverages: HashMap<&[u8], Coverage> =
        counted.map(|record| (&*record.node.path, record.coverage)).collect();
    move |path| coverages.get(path).copied()
}

/// Returns everything below the root except the context, with the digests of the files for which
/// `coverage` returns a value. An object that cannot be read ends the build.
fn look(
    context: &Path,
    root: &Root,
    coverage: &(dyn Fn(&[u8]) -> Option<Coverage> + Sync),
    threads: usize,
) -> Result<Vec<Node>> {
    let ours: Vec<(u64, u64)> = root::identity_of(context).into_iter().collect();
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let scope = Scope {
        policy: None,
        mounts: &mounts::parse(&mountinfo, root.absolute()),
        ours: &ours,
        claimed: &|_| None,
        content: &|path| coverage(path).is_some(),
        published: &|_, _| false,
        coverage: &|path, _| coverage(path),
        progress: &Progress::default(),
    };
    let tree = walk::walk(root, &scope, threads).map_err(|cause| Error::io(root.name(), cause))?;
    if let Some(finding) = tree.findings.sorted().iter().find(|finding| finding.kind != findings::Kind::Mount)
    {
        let what = format!("{}: {}", escape::display(&finding.path), finding.text);
        return Err(Error::new(Code::Failed, what).hint("nothing else may change this root meanwhile"));
    }
    Ok(tree.found.into_iter().map(|found| found.node).collect())
}

/// The records, the root that is being changed, and what was changed in it.
struct Work<'a> {
    records: &'a [Record],
    leaders: HashMap<u32, &'a [u8]>,
    target: Target<'a>,
    touched: BTreeSet<&'a [u8]>,
}

impl<'a> Work<'a> {
    fn record(&self, path: &[u8]) -> Option<&'a Record> {
        let index = self.records.binary_search_by(|record| (*record.node.path).cmp(path)).ok()?;
        Some(&self.records[index])
    }

    /// Removes paths without a record, and objects of another type than recorded; deepest first.
    fn remove(
        &mut self,
        differences: &[Difference],
        before: &[Node],
        deletions: &HashSet<Vec<u8>>,
    ) -> Result<(usize, usize)> {
        let mut counts = (0, 0);
        for difference in differences.iter().rev() {
            let unexpected = difference.is(&Aspect::Unexpected);
            if !unexpected && !difference.is(&Aspect::Type) {
                continue;
            }
            let node = tree::find(before, &difference.path).map(|index| &before[index]);
            let is_directory = node.is_some_and(|node| node.kind == Kind::Directory);
            self.target
                .remove(&difference.path, is_directory)
                .map_err(|cause| failed("remove", &difference.path, cause))?;
            match deletions.contains(&*difference.path) {
                true => counts.0 += 1,
                false if unexpected => counts.1 += 1,
                false => {}
            }
        }
        Ok(counts)
    }

    /// Makes everything that has no content, parents first.
    fn make(&mut self, differences: &[Difference]) -> Result<()> {
        for difference in differences {
            let Some(record) = self.record(&difference.path) else { continue };
            let node = &record.node;
            if difference.is(&Aspect::Target) || difference.is(&Aspect::Device) {
                self.target
                    .remove(&node.path, false)
                    .map_err(|cause| failed("replace", &node.path, cause))?;
            }
            let absent = [Aspect::Missing, Aspect::Type, Aspect::Target, Aspect::Device];
            let is_file = matches!(node.kind, Kind::File { .. });
            if !is_file && self.is_leader(node) && absent.iter().any(|aspect| difference.is(aspect)) {
                self.target.make(node).map_err(|cause| failed("make", &node.path, cause))?;
                self.touched.insert(&node.path);
            }
        }
        Ok(())
    }

    /// Writes the content of files that are missing or differ, from the delta.
    fn write(&mut self, differences: &[Difference], delta: impl Read) -> Result<(usize, u64)> {
        let needs = [Aspect::Missing, Aspect::Type, Aspect::Content];
        let mut wanted: BTreeSet<&[u8]> = BTreeSet::new();
        for difference in
            differences.iter().filter(|difference| needs.iter().any(|aspect| difference.is(aspect)))
        {
            let Some(record) = self.record(&difference.path) else { continue };
            // A group whose first name has its content needs none for the others: they are linked
            // to it.
            if matches!(record.node.kind, Kind::File { .. }) && self.is_leader(&record.node) {
                wanted.insert(&record.node.path);
            }
        }
        let mut written = (0, 0);
        let damaged = |cause: io::Error| Error::io(reader::DELTA, cause).hint("copy the context again");
        let mut delta = tar::Reader::with_any_holes(io::BufReader::with_capacity(1 << 20, delta));
        while let Some(mut entry) = delta.next_entry().map_err(damaged)? {
            if entry.hard_link.is_some() || !wanted.contains(&*entry.node.path) {
                continue;
            }
            let Some(record) = self.record(&entry.node.path) else { continue };
            // Another size is another content. If the digest covers holes, vm2docker-self writes only
            // small ones.
            let is_excessive = record.coverage == Coverage::All && entry.content.holes() > MAX_HASHED;
            if entry.node.size() != record.node.size() || is_excessive {
                continue;
            }
            if self
                .write_file(record, &mut entry.content)
                .map_err(|cause| failed("write", &record.node.path, cause))?
            {
                wanted.remove(&*record.node.path);
                self.touched.insert(&record.node.path);
                written = (written.0 + 1, written.1 + record.node.size());
            }
        }
        if !delta.has_end_marker() {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        if wanted.is_empty() { Ok(written) } else { Err(unmendable(self.records, &wanted)) }
    }

    /// Writes one file. Returns `false` if the digest is not the manifest's: the member is an
    /// earlier attempt to read a file that changed.
    fn write_file(&mut self, record: &Record, content: &mut dyn ReadHoles) -> io::Result<bool> {
        let path = &record.node.path;
        let mut file = self.target.begin(path)?;
        let mut hashing = Hashing { inner: content, hasher: ContentHasher::new(record.coverage) };
        target::write_sparse(&mut hashing, &mut file)?;
        let digest = hashing.hasher.finish();
        let Kind::File { sha256: Some(expected), .. } = &record.node.kind else {
            return self.target.discard(path).map(|()| false);
        };
        if *expected != digest {
            return self.target.discard(path).map(|()| false);
        }
        self.target.settle(path).map(|()| true)
    }

    /// Makes names that are one inode, and should not be, inodes of their own.
    fn part(&mut self, differences: &[Difference]) -> Result<()> {
        for difference in differences.iter().filter(|difference| difference.is(&Aspect::HardLinks)) {
            let Some(record) = self.record(&difference.path) else { continue };
            let node = &record.node;
            if !self.is_leader(node) || self.touched.contains(&*node.path) {
                continue;
            }
            let copied = match node.kind {
                Kind::File { .. } => self.target.unshare(&node.path),
                _ => self.target.remove(&node.path, false).and_then(|()| self.target.make(node)),
            };
            copied.map_err(|cause| failed("copy", &node.path, cause))?;
            self.touched.insert(&node.path);
        }
        Ok(())
    }

    /// Links names that should share an inode. Must run after their metadata is set: on an
    /// overlay file system, the first change of a file of a lower layer separates it from its
    /// other names. Linking is such a change.
    fn join(&mut self) -> Result<()> {
        // If a name is still separate after these rounds, the verification reports it.
        for _ in 0..3 {
            if self.join_once()? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Links each name to the first name of its inode, and returns the number of links. Linking
    /// to a file of a lower layer separates it from names that were handled before, so the caller
    /// repeats this until the number is 0.
    fn join_once(&mut self) -> Result<usize> {
        let mut linked = 0;
        for record in self.records.iter().filter(|record| equal::counts(record)) {
            let (leader, path) = (self.leader(&record.node), &record.node.path);
            if leader != &**path
                && self.target.link(leader, path).map_err(|cause| failed("link", path, cause))?
            {
                self.touched.extend([leader, &**path]);
                linked += 1;
            }
        }
        Ok(linked)
    }

    /// Adds to what was touched whatever differs in owner, mode, attributes or time.
    fn touch(&mut self, differences: &[Difference]) {
        let metadata = [Aspect::Owner, Aspect::Mode, Aspect::Xattrs, Aspect::Mtime];
        for difference in
            differences.iter().filter(|difference| metadata.iter().any(|aspect| difference.is(aspect)))
        {
            if let Some(record) = self.record(&difference.path) {
                self.touched.extend([self.leader(&record.node), &*record.node.path]);
            }
        }
    }

    /// Sets owner, mode, extended attributes and timestamps of the touched objects: of an inode
    /// under its first name, and of directories deepest first, so that their timestamps stay.
    fn set_metadata(&mut self, is_wanted: fn(&Kind) -> bool) -> Result<()> {
        let records: Vec<&Record> = self.touched.iter().rev().filter_map(|path| self.record(path)).collect();
        for record in records {
            let node = &record.node;
            if is_wanted(&node.kind) && self.is_leader(node) {
                self.target
                    .set_metadata(node)
                    .map_err(|cause| failed("set metadata of", &node.path, cause))?;
            }
        }
        Ok(())
    }

    /// The first name of the node's inode.
    fn leader(&self, node: &'a Node) -> &'a [u8] {
        self.leaders.get(&node.group).copied().unwrap_or(&node.path)
    }

    fn is_leader(&self, node: &'a Node) -> bool {
        self.leader(node) == &*node.path
    }
}

/// First name of each hard-link group among the records that are in the image.
fn leaders(records: &[Record]) -> HashMap<u32, &[u8]> {
    let mut leaders = HashMap::new();
    for record in records.iter().filter(|record| equal::counts(record) && record.node.group != 0) {
        leaders.entry(record.node.group).or_insert(&*record.node.path);
    }
    leaders
}

/// Hashes what is read through it.
struct Hashing<'a> {
    inner: &'a mut dyn ReadHoles,
    hasher: ContentHasher,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

impl ReadHoles for Hashing<'_> {
    fn skip_hole(&mut self) -> u64 {
        let length = self.inner.skip_hole();
        self.hasher.skip_zeros(length);
        length
    }
}

/// The end of every build: the whole root against the manifest.
fn prove(records: &[Record], after: &[Node]) -> Result<()> {
    let differences = equal::differences(records, after, View::FULL);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(equal::describe).collect();
    let what = format!("the image is not the machine; {} paths differ:\n{}", lines.len(), listed(&lines));
    Err(Error::new(Code::NotEqual, what)
        .hint("build again without cache; if it stays, report it with this list"))
}

/// Files that must come from the base image or a package, and do not.
fn unmendable(records: &[Record], wanted: &BTreeSet<&[u8]>) -> Error {
    let line = |path: &&[u8]| {
        let index = records.binary_search_by(|record| (*record.node.path).cmp(*path)).ok();
        let reason = index.map(|index| records[index].reason.as_str()).unwrap_or_default();
        format!("{}: {}", escape::display(path), escape::escape(reason.as_bytes()))
    };
    let lines: Vec<String> = wanted.iter().map(line).collect();
    let what = format!(
        "{} files are neither in the lower layers nor in the delta:\n{}",
        lines.len(),
        listed(&lines)
    );
    Error::new(Code::NotEqual, what).hint(
        "the base image or a package is not the one that the context was made for; make the context again with \
         --packages carry, or with --base-from FILE of the image that the build uses",
    )
}

/// The first lines of a long list, with a count of the rest.
fn listed(lines: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut text: Vec<String> = lines.iter().take(SHOWN).map(|line| format!("  {line}")).collect();
    if lines.len() > SHOWN {
        text.push(format!("  ... and {} more", lines.len() - SHOWN));
    }
    text.join("\n")
}

fn failed(verb: &str, path: &[u8], cause: io::Error) -> Error {
    let special = cause.kind() == io::ErrorKind::PermissionDenied;
    let error = Error::io(format!("cannot {verb} {}", escape::display(path)), cause);
    if special {
        return error.hint("the build lacks a right; a device node needs `buildah build --cap-add mknod`");
    }
    error
}

//! Archives of the machine's files: reads the files again, computes their digests and verifies
//! them against the walk.

use crate::context::reader::SECRETS;
use crate::context::tar::Writer;
use crate::detect::mappings::Mappings;
use crate::model::digest::Sha256;
use crate::model::findings::{self, Findings};
use crate::model::holes::{ContentHasher, Coverage, MAX_HASHED};
use crate::model::manifest::{ProvidedBy, Verdict};
use crate::model::tree::{self, Kind, Node, Stat};
use crate::plan::{Plan, PlanInput};
use crate::policy::content::{self, Detection, Search};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::file;
use crate::system::root::Root;
use crate::walk::{self, WalkedEntry};
use rustix::fs;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A file of at most this many bytes is held in memory until it is known to be whole.
const HELD: u64 = 8 << 20;
/// Alignments of the parts of a sparse file in an archive, in bytes: a block of tar, and larger
/// ones for a file with more than [`MAX_PARTS`] parts. The zeros within a part are archived.
const UNITS: [u64; 5] = [512, 64 << 10, 1 << 20, 16 << 20, 256 << 20];
/// Maximum number of parts of a sparse file, 16 bytes each.
const MAX_PARTS: usize = 1 << 17;

/// Change of an object between the walk and the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveOutcome {
    /// It changed, and the archive has it as it is now.
    Newer(Node),
    /// It is gone or would not hold still.
    Lost,
}

/// Changes to the plan by index into the tree's objects.
pub type Changes = BTreeMap<usize, ArchiveOutcome>;

/// Writes archives of parts of the tree.
pub struct ArchiveBuilder<'a> {
    root: &'a Root,
    facts: PlanInput<'a>,
    plan: &'a Plan,
    /// The directory that was used last, since paths come in order.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// The regular files that the last archive got the content of.
    pub shipped: Vec<usize>,
    /// Whether what is archived may hold a secret.
    withheld: bool,
    /// Files whose content this run has read: inode number, index into `devices`, and index into the
    /// tree. A machine can have millions.
    read: Vec<(u64, u32, u32)>,
    /// Device numbers of `read`.
    devices: Vec<u64>,
    /// Changes since the walk.
    pub changes: Changes,
    /// The findings about these changes.
    pub findings: Findings,
}

impl<'a> ArchiveBuilder<'a> {
    /// Returns a builder of the archives that the plan describes.
    pub fn new(root: &'a Root, facts: PlanInput<'a>, plan: &'a Plan) -> Self {
        let (shipped, changes, findings) = (Vec::new(), Changes::new(), Findings::default());
        let (last, withheld, read, devices) = (None, false, Vec::new(), Vec::new());
        ArchiveBuilder { root, facts, plan, last, shipped, withheld, read, devices, changes, findings }
    }

    /// Tells which of the files are written to through memory.
    pub fn tell_mapped(&mut self, mappings: &Mappings) {
        let root = self.root.absolute().strip_suffix(b"/").unwrap_or(self.root.absolute());
        // More than one attempt can have read a file.
        self.read.sort_unstable();
        self.read.dedup();
        for &(inode, device, index) in &self.read {
            let path = &self.facts.tree.found[index as usize].node.path;
            if mappings.holds((self.devices[device as usize], inode), &[root, b"/", path].concat()) {
                let text = "a process writes to it through memory, which leaves no trace; what the image has may be half \
                            of a change: run again when that service is stopped, or make it a volume (--policy)";
                self.findings.loss(findings::Kind::Unstable, path, text);
            }
        }
    }

    /// Writes every object that the image gets from one of `layers` and that `wanted` chooses:
    /// first the local files, then the rest, each in order of path.
    pub fn ship(
        &mut self,
        out: impl Write,
        layers: &[ProvidedBy],
        wanted: impl Fn(usize) -> bool,
    ) -> io::Result<()> {
        let mut archive = Writer::new(out);
        let mut leaders: HashMap<u32, &[u8]> = HashMap::new();
        self.shipped.clear();
        for index in self.order(layers, wanted) {
            let decision = &self.plan.decisions[index];
            let node = &self.facts.tree.found[index].node;
            if node.group != 0
                && let Some(first) = leaders.get(&node.group)
            {
                archive.append_link(node, first)?;
                continue;
            }
            leaders.insert(node.group, &node.path);
            match &node.kind {
                Kind::File { .. } => {
                    self.file(&mut archive, index, decision.verdict)?;
                    self.shipped.push(index);
                }
                Kind::Directory | Kind::Symlink(_) if layers == [ProvidedBy::Packages] => {
                    archive.append(&expressible(&without_time(node)))?;
                }
                _ => archive.append(&expressible(node))?,
            }
        }
        archive.finish()?.flush()
    }

    /// Writes every withheld object in its current state. An object that cannot be read is
    /// reported, and is not in the archive.
    pub fn ship_withheld(&mut self, out: impl Write) -> io::Result<()> {
        let mut archive = Writer::new(out);
        let mut leaders: HashMap<u32, &[u8]> = HashMap::new();
        self.withheld = true;
        let decisions = self.plan.decisions.iter().enumerate();
        for (index, _) in decisions.filter(|(_, decision)| decision.verdict == Verdict::Withhold) {
            let node = &self.facts.tree.found[index].node;
            let first = leaders.get(&node.group).filter(|_| node.group != 0).copied();
            let lost = match (&node.kind, first) {
                (_, Some(first)) => {
                    archive.append_link(node, first)?;
                    None
                }
                (Kind::File { .. }, None) => match self.attempts(&mut archive, index) {
                    Ok(Some(_)) => None,
                    Ok(None) => Some("changed each time it was read".to_owned()),
                    Err(AttemptError::Read(cause)) => Some(cause.to_string()),
                    Err(AttemptError::Write(cause)) => return Err(cause),
                },
                _ => {
                    archive.append(&expressible(node))?;
                    None
                }
            };
            match lost {
                Some(cause) => {
                    self.findings.loss(
                        findings::Kind::Unstable,
                        &node.path,
                        format!("{cause}; it is not in {SECRETS}"),
                    );
                }
                None => drop(leaders.entry(node.group).or_insert(&node.path)),
            }
        }
        archive.finish()?.flush()
    }

    /// Returns the objects to write. Local files come with their parent directories and with all
    /// names of their inodes. So each directory precedes its contents, and each file precedes the
    /// links to it.
    fn order(&self, layers: &[ProvidedBy], wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let found = &self.facts.tree.found;
        let is_here = |&index: &usize| {
            let decision = &self.plan.decisions[index];
            // The root directory belongs to the engine.
            let is_root = found[index].node.path.is_empty();
            let is_of_layer = decision.layer.is_some_and(|layer| layers.contains(&layer));
            is_of_layer && decision.verdict.in_image() && !is_root && wanted(index)
        };
        let mut here: Vec<usize> = (0..found.len()).filter(is_here).collect();
        if layers == [ProvidedBy::Packages] {
            self.add_parents(&mut here);
        }
        let is_own = |index: usize| self.facts.is_own(&self.plan.decisions[index]);
        let own = here.iter().filter(|&&index| is_own(index));
        let groups: HashSet<u32> =
            own.map(|&index| found[index].node.group).filter(|&group| group != 0).collect();
        let mut above: HashSet<&[u8]> = HashSet::new();
        let mut first = vec![false; here.len()];
        for (position, &index) in here.iter().enumerate().rev() {
            let node = &found[index].node;
            first[position] = is_own(index) || groups.contains(&node.group) || above.contains(&*node.path);
            if first[position] {
                above.insert(tree::parent(&node.path));
            }
        }
        let chosen = |wanted: bool| {
            let pairs = here.iter().zip(&first);
            pairs.filter(move |(_, first)| **first == wanted).map(|(&index, _)| index)
        };
        chosen(true).chain(chosen(false)).collect()
    }

    /// Adds the directories above these objects that only the delta has. A package can ship a file
    /// without its directory; rpm then creates the directory.
    fn add_parents(&self, here: &mut Vec<usize>) {
        let found = &self.facts.tree.found;
        let mut above: HashSet<&[u8]> = HashSet::new();
        for &index in here.iter() {
            let parents = std::iter::successors(Some(tree::parent(&found[index].node.path)), |path| {
                (!path.is_empty()).then(|| tree::parent(path))
            });
            // The directories above a known directory are known.
            let new = parents.take_while(|path| !path.is_empty() && !above.contains(path));
            let new: Vec<&[u8]> = new.collect();
            above.extend(new);
        }
        let known: HashSet<usize> = here.iter().copied().collect();
        let is_only_in_delta = |index: &usize| {
            let decision = &self.plan.decisions[*index];
            above.contains(&*found[*index].node.path)
                && !known.contains(index)
                && decision.verdict.in_image()
                && matches!(decision.layer, Some(ProvidedBy::Delta | ProvidedBy::Generated))
        };
        here.extend((0..found.len()).filter(is_only_in_delta));
        here.sort_unstable();
    }

    fn file(&mut self, archive: &mut Writer<impl Write>, index: usize, verdict: Verdict) -> io::Result<()> {
        let node = &self.facts.tree.found[index].node;
        if let Some(rewritten) = self.facts.rewritten.get(&node.path).filter(|_| verdict.in_image()) {
            let mut node = node.clone();
            node.kind = Kind::File { size: rewritten.content.len() as u64, sha256: Some(rewritten.sha256) };
            return archive.append_file(&node, &mut &rewritten.content[..]).map(drop);
        }
        match self.attempts(archive, index) {
            Ok(Some(now)) => self.note(index, node, now),
            Ok(None) => self.lose(index, "changed each time it was read"),
            Err(AttemptError::Read(cause)) if cause.kind() == io::ErrorKind::NotFound => {
                self.findings.note(
                    findings::Kind::Vanished,
                    &node.path,
                    "removed before it could be archived",
                );
                self.mark_lost(index);
            }
            Err(AttemptError::Read(cause)) => self.lose(index, &cause.to_string()),
            Err(AttemptError::Write(cause)) => return Err(cause),
        }
        Ok(())
    }

    /// The file as it was archived, or nothing if it changed during each of the tries.
    fn attempts(
        &mut self,
        archive: &mut Writer<impl Write>,
        index: usize,
    ) -> Result<Option<Node>, AttemptError> {
        let found = &self.facts.tree.found[index];
        let mut pauses = file::PAUSES.iter();
        let mut last = None;
        loop {
            let attempt = self.attempt(archive, index);
            let digest = attempt.as_ref().ok().and_then(Option::as_ref).and_then(|now| digest_of(&now.node));
            let settled = match &attempt {
                // If two readings agree, the content is consistent. The timestamps alone do not
                // show this: a mapped file can change without them, and a write can go on after
                // they are updated.
                Ok(Some(now)) => now.proven || digest == digest_of(&found.node) || digest == last,
                Ok(None) => false,
                Err(AttemptError::Read(cause)) => !file::is_fault(cause),
                Err(AttemptError::Write(_)) => true,
            };
            match pauses.next() {
                _ if settled => return attempt.map(|now| now.map(|now| now.node)),
                Some(pause) => std::thread::sleep(*pause),
                None => return attempt.map(|_| None),
            }
            last = digest;
        }
    }

    /// Makes one attempt: writes a member of the file's current length. If several members have
    /// one path, other readers use the last one. `apply` uses the one whose digest is in the
    /// manifest.
    fn attempt(
        &mut self,
        archive: &mut Writer<impl Write>,
        index: usize,
    ) -> Result<Option<Archived>, AttemptError> {
        let found = &self.facts.tree.found[index];
        let node = &found.node;
        let directory = self.directory(tree::parent(&node.path)).map_err(AttemptError::Read)?;
        let file =
            file::open_regular(directory.as_fd(), tree::file_name(&node.path)).map_err(AttemptError::Read)?;
        let before = fs::fstat(&file).map_err(|cause| AttemptError::Read(cause.into()))?;
        self.record_read(&before, index);
        let now = Node {
            stat: walk::portable_stat(&before),
            kind: Kind::File { size: before.st_size as u64, sha256: None },
            ..node.clone()
        };
        if found.coverage() == Coverage::All && walk::unallocated(&before) > MAX_HASHED {
            return Err(AttemptError::Read(io::Error::other("it got large holes since the walk")));
        }
        // The walk searched the old content for secrets, not this one.
        let changed = now.stat != node.stat || before.st_size as u64 != node.size();
        let source = CacheNeutralReader::with_holes(File::from(file), &before);
        if before.st_size as u64 <= HELD {
            self.hold(archive, found, now, source, &before, changed)
        } else {
            self.stream(archive, found, now, source, &before, changed)
        }
    }

    fn record_read(&mut self, stat: &fs::Stat, index: usize) {
        let known = self.devices.iter().position(|device| *device == stat.st_dev);
        let device = known.unwrap_or(self.devices.len());
        if known.is_none() {
            self.devices.push(stat.st_dev);
        }
        // A file without content has no mapped pages.
        if stat.st_size > 0 {
            self.read.push((stat.st_ino, device as u32, index as u32));
        }
    }

    /// Writes a file that fits in memory. The archive gets it only after the checks that it is
    /// consistent and contains no secret.
    fn hold(
        &self,
        archive: &mut Writer<impl Write>,
        found: &WalkedEntry,
        mut now: Node,
        source: CacheNeutralReader,
        before: &fs::Stat,
        changed: bool,
    ) -> Result<Option<Archived>, AttemptError> {
        let size = before.st_size as u64;
        let mut content = Vec::with_capacity(size as usize);
        let mut source = source.take(size);
        source.read_to_end(&mut content).map_err(AttemptError::Read)?;
        let file = source.into_inner().forget();
        let mut hasher = ContentHasher::new(found.coverage());
        hasher.update(&content);
        let sha256 = hasher.finish();
        let Some(proven) =
            is_whole(&file, before, &sha256, found.coverage())?.filter(|_| content.len() as u64 == size)
        else {
            return Ok(None);
        };
        if changed {
            refuse(self.new_secret(found, |kind| {
                let mut search = Search::new(kind);
                search.feed(&content);
                Ok(search.finish())
            }))?;
        }
        archive.append_file(&expressible(&now), &mut &content[..]).map_err(AttemptError::Write)?;
        now.kind = Kind::File { size, sha256: Some(sha256) };
        Ok(Some(Archived { node: now, proven }))
    }

    fn stream(
        &self,
        archive: &mut Writer<impl Write>,
        found: &WalkedEntry,
        mut now: Node,
        mut source: CacheNeutralReader,
        before: &fs::Stat,
        changed: bool,
    ) -> Result<Option<Archived>, AttemptError> {
        if changed {
            refuse(self.new_secret(found, |kind| content::search_rest(&mut source, kind)))?;
        }
        let parts = UNITS.iter().find_map(|unit| source.data_parts(*unit, MAX_PARTS));
        let written = match &parts {
            Some(parts) => archive.append_sparse(&expressible(&now), parts, &mut source, found.coverage()),
            None => archive.append_content(&expressible(&now), &mut source, found.coverage()),
        };
        let written = written.map_err(AttemptError::Write)?;
        if let Some(cause) = written.cause {
            return Err(AttemptError::Read(cause));
        }
        let file = source.forget();
        let Some(proven) =
            is_whole(&file, before, &written.sha256, found.coverage())?.filter(|_| !written.short)
        else {
            return Ok(None);
        };
        now.kind = Kind::File { size: before.st_size as u64, sha256: Some(written.sha256) };
        Ok(Some(Archived { node: now, proven }))
    }

    /// The secret that a file has now; nothing if it had one before and is in the image all the
    /// same.
    fn new_secret(
        &self,
        found: &WalkedEntry,
        search: impl FnOnce(content::Kind) -> io::Result<Option<Detection>>,
    ) -> io::Result<Option<Detection>> {
        if self.withheld || found.secret.is_some_and(|secret| secret.certain) {
            return Ok(None);
        }
        // It was empty or published.
        if self.facts.is_secret_by_name(found) {
            return Ok(Some(Detection::by_name()));
        }
        let kind = content::Kind::of(&found.node.path, found.node.stat.mode, found.node.group != 0);
        Ok(search(kind)?.filter(|secret| secret.certain || self.facts.strict_secrets))
    }

    /// Records a file that is not as the walk saw it, under all its names.
    fn note(&mut self, index: usize, walked: &Node, now: Node) {
        if digest_of(walked) == digest_of(&now) && walked.stat == now.stat {
            return;
        }
        let text = "changed between the walk and the archive; the image has it as it was later";
        self.findings.note(findings::Kind::Changed, &walked.path, text);
        for index in self.names(index) {
            let path = self.facts.tree.found[index].node.path.clone();
            self.changes.insert(index, ArchiveOutcome::Newer(Node { path, ..now.clone() }));
        }
    }

    fn lose(&mut self, index: usize, text: &str) {
        let path = &self.facts.tree.found[index].node.path;
        self.findings.loss(findings::Kind::Unstable, path, format!("{text}; it is not in the image"));
        self.mark_lost(index);
    }

    fn mark_lost(&mut self, index: usize) {
        for index in self.names(index) {
            self.changes.insert(index, ArchiveOutcome::Lost);
        }
    }

    /// All names of one inode.
    fn names(&self, index: usize) -> Vec<usize> {
        let found = &self.facts.tree.found;
        match found[index].node.group {
            0 => vec![index],
            group => (0..found.len()).filter(|&other| found[other].node.group == group).collect(),
        }
    }

    fn directory(&mut self, path: &[u8]) -> io::Result<&OwnedFd> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            self.last = Some((path.to_vec(), self.root.open_directory_exactly(path)?));
        }
        self.last.as_ref().map(|(_, fd)| fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Returns the digest of a regular file, if it is known.
pub(super) fn digest_of(node: &Node) -> Option<Sha256> {
    if let Kind::File { sha256, .. } = node.kind { sha256 } else { None }
}

/// A file as it went into the archive.
struct Archived {
    node: Node,
    /// Whether it was read twice already.
    proven: bool,
}

/// Checks whether the content that was read is a state that the file had. Returns `Some(false)`
/// if the file is unchanged, and `Some(true)` if reading its beginning again shows that it has
/// only grown. Returns `None` otherwise.
fn is_whole(
    file: &File,
    before: &fs::Stat,
    sha256: &Sha256,
    coverage: Coverage,
) -> Result<Option<bool>, AttemptError> {
    let after = fs::fstat(file).map_err(|cause| AttemptError::Read(cause.into()))?;
    if file::is_unchanged(before, &after) {
        return Ok(Some(false));
    }
    let again = file::reads_again(file, before, sha256, coverage).map_err(AttemptError::Read)?;
    Ok(again.then_some(true))
}

/// A secret that came after the walk keeps its file out.
fn refuse(secret: io::Result<Option<Detection>>) -> Result<(), AttemptError> {
    match secret.map_err(AttemptError::Read)? {
        None => Ok(()),
        Some(secret) => {
            let text = format!("holds a secret since it was walked: {}", secret.reason());
            Err(AttemptError::Read(io::Error::other(text)))
        }
    }
}

/// Returns a packaged directory or symbolic link with a fixed time. Its own can be that of the
/// installation, which differs between machines with the same packages: of all directories, and of
/// links such as `/bin` and `/var/run`. The comparison ignores it.
fn without_time(node: &Node) -> Node {
    Node { stat: Stat { mtime: 0, mtime_nsec: 0, ..node.stat }, ..node.clone() }
}

/// Returns the node without attributes whose names PAX records cannot represent, because a key
/// ends at `=`. `apply` takes them from the manifest.
fn expressible(node: &Node) -> Cow<'_, Node> {
    let fits = |name: &[u8]| !name.contains(&b'=');
    match &node.xattrs {
        Some(xattrs) if !xattrs.keys().all(|name| fits(name)) => {
            let mut xattrs = xattrs.clone();
            xattrs.retain(|name, _| fits(name));
            Cow::Owned(Node { xattrs: Some(xattrs), ..node.clone() })
        }
        _ => Cow::Borrowed(node),
    }
}

enum AttemptError {
    /// The machine's file; the run goes on without it.
    Read(io::Error),
    /// The archive; the run ends.
    Write(io::Error),
}

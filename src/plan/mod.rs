//! Verdict on every path, with its reason. Pure; `--dry-run` ends here.

mod alternatives;
mod links;

use crate::compare::diff::{Change, Delta};
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::model::holes::{Coverage, LARGE_HOLES};
use crate::model::manifest::{ProvidedBy, Record, Verdict};
use crate::model::size;
use crate::model::tree::{self, Kind, Node};
use crate::pkg::claim::FileRole;
use crate::pkg::plan::PackageVerdict;
use crate::pkg::provenance::{ContentState, Generated};
use crate::pkg::{PackageId, PlannedPackages};
use crate::policy::content::{Detection, Secret};
use crate::policy::{Action, Policy, RuleId, line};
use crate::walk::{Content, Tree, WalkedEntry};
use alternatives::{AlternativeLink, alternatives};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Where a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A rule of the policy.
    Rule(RuleId),
    /// The base image has it.
    InBase,
    /// This package ships it.
    InPackage(PackageId),
    /// This package ships it, and it was changed since.
    Changed(PackageId),
    /// This package ships it, but the contents of the lower layers are uncertain.
    Unsure(PackageId),
    /// It belongs to this package, which is not in the image.
    Dropped(PackageId),
    /// It is the root directory. Packages list it, but it belongs to none of them.
    RootDirectory,
    /// No package has it.
    Unowned,
    /// Package scripts made it, or made it before it was changed: an origin of [`Generated`].
    Generated(u32),
    /// A link of this group of alternatives (`update-alternatives(1)`).
    Alternative(u32),
    /// The base image has something else under this path.
    ChangedBase,
    /// Only a running process can make a socket.
    Socket,
    /// In an image, names that begin with `.wh.` delete objects (OCI image-spec, `layer.md`,
    /// "Whiteouts").
    WhiteoutName,
    /// Overlay file systems take a 0:0 device for a deletion.
    WhiteoutDevice,
    /// It could not be read.
    Lost,
    /// A directory that holds something which is kept.
    HoldsKept,
    /// Another name of a file that is secret.
    LinkedSecret,
    /// It holds a value that a process was given as a secret.
    HoldsSecret,
    /// Its content is secret.
    Content(Detection),
    /// A file of the package database, which the build writes.
    Database,
}

/// The verdict on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Where the image gets it from, if it is in the image.
    pub layer: Option<ProvidedBy>,
    /// Why.
    pub why: Reason,
}

/// A file that a rule rewrites: the bytes that go into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The new content.
    pub content: Vec<u8>,
    /// Its digest.
    pub sha256: Sha256,
    /// Whether it differs from the machine's.
    pub changed: bool,
}

/// Everything that was found out, as the plan needs it.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// The machine.
    pub tree: &'a Tree,
    /// Its differences from the lower layers.
    pub delta: &'a Delta,
    /// The rules.
    pub policy: &'a Policy,
    /// The package database and every package's role, if there is one.
    pub packages: Option<PlannedPackages<'a>>,
    /// Files that a rule rewrites, by path.
    pub rewritten: &'a BTreeMap<Box<[u8]>, Rewritten>,
    /// Provenance of unpackaged files.
    pub generated: &'a Generated,
    /// Files that hold a secret which a process was given, by index into the tree's objects.
    pub secret_holders: &'a BTreeSet<usize>,
    /// Whether files that are likely secret are withheld too (`--strict-secrets`).
    pub strict_secrets: bool,
}

/// Every decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By index into the tree's objects.
    pub decisions: Vec<Decision>,
    /// Paths that the lower layers contain and the image must not have, sorted.
    pub deletions: Vec<Vec<u8>>,
    /// Files in the image that may be secret, by index into the tree's objects.
    pub likely_secrets: BTreeMap<usize, Detection>,
    /// Findings about the decisions.
    pub findings: Findings,
}

/// Decides about every path.
pub fn decide(facts: PlanInput<'_>) -> Plan {
    let found = &facts.tree.found;
    let known = Known {
        dropped_info: dropped_info(facts.packages),
        alternatives: alternatives(facts.packages),
        published: facts.published_copies(),
    };
    let mut decisions: Vec<Decision> = found
        .iter()
        .zip(&facts.delta.changes)
        .enumerate()
        .map(|(index, (found, change))| facts.decision(index, found, *change, &known))
        .collect();
    links::withhold_targets(facts, &known, &mut decisions);
    links::withhold_names(facts, &mut decisions);
    links::rewrite_names(found, &mut decisions);
    keep_parents(found, &mut decisions, facts);
    let mut findings = Findings::default();
    let mut likely_secrets = BTreeMap::new();
    for (index, (found, decision)) in found.iter().zip(&decisions).enumerate() {
        let likely = facts.likely_secret(found, decision, &known);
        likely_secrets.extend(likely.map(|detection| (index, detection)));
        report(facts, found, decision, likely, &mut findings);
    }
    let deletions = deletions(facts, &decisions);
    Plan { decisions, deletions, likely_secrets, findings }
}

impl Plan {
    /// The manifest's record for an object, whose node may have changed since it was walked.
    pub fn record(&self, facts: PlanInput<'_>, index: usize, node: &Node) -> Record {
        let decision = &self.decisions[index];
        let mut node = node.clone();
        if let (Verdict::Keep | Verdict::Rewrite, Some(rewritten)) =
            (decision.verdict, facts.rewritten.get(&node.path))
        {
            node.kind = Kind::File { size: rewritten.content.len() as u64, sha256: Some(rewritten.sha256) };
        }
        let (coverage, reason) = (facts.coverage(index), facts.explain(decision.why));
        Record { node, coverage, verdict: decision.verdict, layer: decision.layer, reason }
    }
}

impl PlanInput<'_> {
    /// Returns the bytes that the digest of a file covers, by index into the tree's objects.
    pub fn coverage(&self, index: usize) -> Coverage {
        let found = &self.tree.found[index];
        let is_rewritten = self.rewritten.contains_key(&found.node.path);
        if is_rewritten { Coverage::All } else { found.coverage() }
    }

    /// The reason in words.
    pub fn explain(&self, why: Reason) -> String {
        let package =
            |id: PackageId| self.packages.map(|packages| packages.catalog.label(id)).unwrap_or_default();
        match why {
            Reason::Rule(id) => self.policy.rule(id).reason.clone(),
            Reason::InBase => "the base image has it".to_owned(),
            Reason::InPackage(index) => format!("package {}", package(index)),
            Reason::Changed(index) => format!("changed since package {} shipped it", package(index)),
            Reason::Unsure(index) => {
                format!("package {}; contents of the lower layers are uncertain", package(index))
            }
            Reason::Dropped(index) => self.dropped_reason(index),
            Reason::RootDirectory => "the root directory of the machine".to_owned(),
            Reason::Unowned => "no package ships it".to_owned(),
            Reason::Generated(number) => self.generated.origin(number).to_string(),
            Reason::Alternative(index) => self.alternative(index),
            Reason::ChangedBase => "the base image has something else".to_owned(),
            Reason::Socket => "only a running process can make a socket".to_owned(),
            Reason::WhiteoutName => {
                "a name that begins with .wh. would delete another file in an image".to_owned()
            }
            Reason::WhiteoutDevice => "a 0:0 device is a deletion in an overlay file system".to_owned(),
            Reason::Lost => "could not be read; see findings.jsonl".to_owned(),
            Reason::HoldsKept => "holds something that is kept".to_owned(),
            Reason::LinkedSecret => "another name of a file that is secret".to_owned(),
            Reason::HoldsSecret => "holds a secret that a process of the machine was given".to_owned(),
            Reason::Content(detection) if detection.certain => detection.reason(),
            Reason::Content(detection) => format!("{} (--strict-secrets)", detection.name()),
            Reason::Database => "the package database, which is compared as a set of packages".to_owned(),
        }
    }

    fn dropped_reason(&self, id: PackageId) -> String {
        let Some(PlannedPackages { catalog, plan }) = self.packages else { return String::new() };
        let reason = if let PackageVerdict::Drop(reason) = plan.verdict(id) { reason } else { "" };
        format!("package {} ({reason})", catalog.label(id))
    }

    fn alternative(&self, index: u32) -> String {
        let Some(PlannedPackages { catalog, .. }) = self.packages else { return String::new() };
        let group = &catalog.alternatives[index as usize];
        let by = if group.manual { "chosen by the administrator" } else { "chosen by priority" };
        format!("alternative {}, {by}", escape::escape(&group.name))
    }

    fn decision(&self, index: usize, found: &WalkedEntry, change: Change, known: &Known) -> Decision {
        let out = |verdict, why| Decision { verdict, layer: None, why };
        if self.is_built(found) {
            return out(Verdict::Built, Reason::Database);
        }
        if let Some(decision) = self.by_rule(index, found, known) {
            return decision;
        }
        if let Some((why, verdict)) = unrepresentable(&found.node) {
            return out(verdict, why);
        }
        if let Some(index) =
            self.dropped_owner(&found.node.path).or(known.dropped_info.get(&*found.node.path).copied())
        {
            return out(Verdict::Drop, Reason::Dropped(index));
        }
        let is_unknown = found.content == Content::Unread && matches!(found.node.kind, Kind::File { .. });
        if found.content == Content::Lost || is_unknown {
            return out(Verdict::Lost, Reason::Lost);
        }
        let (mut layer, mut why) = self.provenance(&found.node.path, change);
        if matches!(why, Reason::Unowned | Reason::ChangedBase) {
            why = self.maker(index, found, known).unwrap_or(why);
            let runs_scripts = self.packages.is_some_and(|packages| packages.plan.runs_scripts());
            if runs_scripts && !self.is_administrators(why) {
                layer = ProvidedBy::Generated;
            }
        }
        let wanted = self.is_wanted(found);
        let is_withheld = |secret: &Detection| secret.certain || self.strict_secrets && self.is_searched(why);
        if let Some(secret) = known.secret(found).filter(|secret| is_withheld(secret) && !wanted) {
            // Nothing needs the content of a swap file, so it is not listed for the container.
            let is_swap = secret.secret == Secret::SwapSpace && !secret.packed;
            return out(if is_swap { Verdict::Drop } else { Verdict::Withhold }, Reason::Content(secret));
        }
        if self.secret_holders.contains(&index) && !wanted {
            return out(Verdict::Withhold, Reason::HoldsSecret);
        }
        // The package layer is swept of what the built-in rules drop, so only the delta can bring
        // it back.
        let is_swept = wanted || self.is_harmless(found, known);
        let layer = if is_swept { ProvidedBy::Delta } else { layer };
        Decision { verdict: Verdict::Keep, layer: Some(layer), why }
    }

    /// Whether the build writes this file of the package database.
    fn is_built(&self, found: &WalkedEntry) -> bool {
        let manager = self.packages.map(|packages| packages.catalog.family.manager());
        matches!(found.node.kind, Kind::File { .. })
            && manager.is_some_and(|manager| manager.is_built_database(&found.node.path))
    }

    /// Whether a built-in rule withholds the path by its name.
    pub fn is_secret_by_name(&self, found: &WalkedEntry) -> bool {
        let withheld = |id| self.policy.rule(id).action == Action::Withhold && !self.policy.is_users(id);
        found.rule.is_some_and(withheld)
    }

    /// Whether the table withholds by name what distributions publish, or a file that is empty.
    fn is_harmless(&self, found: &WalkedEntry, known: &Known) -> bool {
        let is_empty =
            found.content == Content::Known && matches!(found.node.kind, Kind::File { size: 0, .. });
        (is_empty || known.is_published(found)) && self.is_secret_by_name(found)
    }

    /// Returns the digests that both a published file and a file that seems secret have: packages
    /// copy examples and defaults from `/usr/share` to `/etc`, which no package database lists. A
    /// package's file that is in the image with its content, although the package is local, counts
    /// too.
    fn published_copies(&self) -> HashSet<Sha256> {
        let found = &self.tree.found;
        let secret = found.iter().filter(|found| found.secret.is_some() || self.is_secret_by_name(found));
        let secret: HashSet<&Sha256> = secret.filter_map(sha256).collect();
        let is_packages = |found: &&WalkedEntry| {
            let owned = self.packages.and_then(|packages| packages.catalog.owned.get(&found.node.path));
            let claimed = owned.and_then(|owned| owned.claim.digest);
            let is_equal = claimed.is_some_and(|digest| found.digest(digest.algorithm()) == Some(digest));
            found.published || is_equal && !found.secret.is_some_and(|secret| secret.certain)
        };
        let is_long = |found: &&WalkedEntry| found.node.size() >= MIN_COPY;
        let published = found.iter().filter(is_long).filter(is_packages).filter_map(sha256);
        published.filter(|digest| secret.contains(digest)).copied().collect()
    }

    /// Whether the user's rule keeps it, whatever it contains.
    fn is_wanted(&self, found: &WalkedEntry) -> bool {
        let keeps = |id| self.policy.rule(id).action == Action::Keep && self.policy.is_users(id);
        found.rule.is_some_and(keeps)
    }

    /// Whether a likely secret counts in a file with this provenance. Package scripts change
    /// published files on every machine.
    fn is_searched(&self, why: Reason) -> bool {
        self.packages.is_none() || self.is_administrators(why)
    }

    /// Returns the secret that a file in the image likely contains. A file that the user's rule
    /// keeps is decided.
    fn likely_secret(&self, found: &WalkedEntry, decision: &Decision, known: &Known) -> Option<Detection> {
        let is_undecided =
            decision.verdict == Verdict::Keep && self.is_searched(decision.why) && !self.is_wanted(found);
        known.secret(found).filter(|secret| is_undecided && !secret.certain)
    }

    /// Returns the provenance of an unpackaged path, if it is known.
    fn maker(&self, index: usize, found: &WalkedEntry, known: &Known) -> Option<Reason> {
        let alternative = known.alternatives.get(&*found.node.path).filter(|link| link.is(&found.node.kind));
        let alternative = alternative.map(|link| Reason::Alternative(link.group));
        alternative.or_else(|| self.generated.why(index).map(Reason::Generated))
    }

    /// Whether the delta carries it because it is the administrator's work.
    pub fn is_own(&self, decision: &Decision) -> bool {
        let carried = decision.verdict.in_image() && decision.layer == Some(ProvidedBy::Delta);
        carried && self.is_administrators(decision.why)
    }

    fn is_administrators(&self, why: Reason) -> bool {
        // Without a package database nothing tells them from the distribution's.
        let Some(PlannedPackages { catalog, .. }) = self.packages else { return false };
        match why {
            Reason::Unowned | Reason::Changed(_) | Reason::ChangedBase => true,
            Reason::Generated(number) => self.generated.origin(number).state == ContentState::Changed,
            Reason::Alternative(group) => catalog.alternatives[group as usize].manual,
            _ => false,
        }
    }

    /// Returns the decision of the policy; `None` if the path is kept as it is.
    fn by_rule(&self, index: usize, found: &WalkedEntry, known: &Known) -> Option<Decision> {
        // A symbolic link contains no secret: the rule applies to the file that it leads to.
        let id = found.rule.filter(|_| self.secret_rule(found).is_none())?;
        let verdict = match self.policy.rule(id).action {
            Action::Keep => return None,
            Action::DropFiles if found.node.kind == Kind::Directory => return None,
            Action::Drop | Action::DropFiles | Action::DropSecret => Verdict::Drop,
            Action::Withhold if self.is_harmless(found, known) => return None,
            Action::Withhold => Verdict::Withhold,
            // The directory that a user's rule names is where the volume is mounted.
            Action::Volume if found.node.kind == Kind::Directory && !self.parent_has(found, id) => {
                return None;
            }
            Action::Volume => Verdict::Volume,
            Action::Regenerate => Verdict::Regenerate,
            Action::Runtime => Verdict::Runtime,
            Action::Rewrite => {
                if !matches!(found.node.kind, Kind::File { .. }) {
                    return None;
                }
                let Some(rewritten) = self.rewritten.get(&found.node.path) else {
                    return Some(Decision { verdict: Verdict::Lost, layer: None, why: Reason::Lost });
                };
                let (verdict, why) = match rewritten.changed {
                    true => (Verdict::Rewrite, Reason::Rule(id)),
                    false => {
                        (Verdict::Keep, self.generated.why(index).map_or(Reason::Unowned, Reason::Generated))
                    }
                };
                return Some(Decision { verdict, layer: Some(ProvidedBy::Delta), why });
            }
        };
        Some(Decision { verdict, layer: None, why: Reason::Rule(id) })
    }

    /// Returns the built-in rule for secrets that applies to the target of a symbolic link.
    fn secret_rule(&self, found: &WalkedEntry) -> Option<RuleId> {
        let is_link = matches!(found.node.kind, Kind::Symlink(_));
        let is_secret =
            |id: &RuleId| matches!(self.policy.rule(*id).action, Action::Withhold | Action::DropSecret);
        found.rule.filter(|id| is_link && is_secret(id) && !self.policy.is_users(*id))
    }

    /// Whether the rule is also that of the directory above.
    fn parent_has(&self, found: &WalkedEntry, id: RuleId) -> bool {
        let above = self.tree.index(tree::parent(&found.node.path));
        above.is_some_and(|index| self.tree.found[index].rule == Some(id))
    }

    /// The dropped package that alone owns the path.
    fn dropped_owner(&self, path: &[u8]) -> Option<PackageId> {
        let PlannedPackages { catalog, plan } = self.packages?;
        // A top-level directory is everybody's, even where only one package lists it.
        let owned = catalog.owned.get(path).filter(|_| path.contains(&b'/'))?;
        let dropped = |&id: &PackageId| matches!(plan.verdict(id), PackageVerdict::Drop(_));
        owned.packages.iter().all(dropped).then(|| owned.packages.first().copied())?
    }

    /// Whether a base image with unknown contents may have other content in a packaged file, which
    /// its package manager keeps.
    fn may_differ_in_base(&self, path: &[u8]) -> bool {
        self.packages.is_some_and(|PlannedPackages { catalog, plan }| {
            let changed = catalog.family.manager().changed_in_images();
            !plan.base_known && changed.iter().any(|file| file.as_bytes() == path)
        })
    }

    fn provenance(&self, path: &[u8], change: Change) -> (ProvidedBy, Reason) {
        let owned = self.packages.and_then(|packages| packages.catalog.owned.get(path));
        let shipped = owned.filter(|owned| owned.claim.role != FileRole::Ghost);
        let owner = shipped.and_then(|owned| owned.packages.first().copied());
        match (change, owner) {
            (Change::Provided(ProvidedBy::Base), _) => (ProvidedBy::Base, Reason::InBase),
            (Change::Provided(layer), _) if path.is_empty() => (layer, Reason::RootDirectory),
            _ if path.is_empty() => (ProvidedBy::Delta, Reason::RootDirectory),
            (Change::Provided(ProvidedBy::Packages), Some(package)) if self.may_differ_in_base(path) => {
                (ProvidedBy::Delta, Reason::Unsure(package))
            }
            (Change::Provided(layer), Some(package)) => (layer, Reason::InPackage(package)),
            (Change::Provided(layer), None) => (layer, Reason::InBase),
            (Change::Changed, Some(package)) => (ProvidedBy::Delta, Reason::Changed(package)),
            (Change::Changed, None) => (ProvidedBy::Delta, Reason::ChangedBase),
            (Change::Added, Some(package)) => (ProvidedBy::Delta, Reason::Unsure(package)),
            (Change::Added, None) => (ProvidedBy::Delta, Reason::Unowned),
        }
    }
}

fn unrepresentable(node: &Node) -> Option<(Reason, Verdict)> {
    if node.kind == Kind::Socket {
        return Some((Reason::Socket, Verdict::Drop));
    }
    if node.kind == Kind::CharDevice(0, 0) {
        return Some((Reason::WhiteoutDevice, Verdict::Lost));
    }
    let is_whiteout = node.path.split(|&byte| byte == b'/').any(|name| name.starts_with(b".wh."));
    is_whiteout.then_some((Reason::WhiteoutName, Verdict::Lost))
}

/// Minimum size of a copy of a published file, in bytes: a password can be equal to a shorter file
/// by chance.
const MIN_COPY: u64 = 16;

/// Paths that the package database says something about, apart from who owns them.
struct Known {
    /// The database's own files about packages that are not in the image.
    dropped_info: HashMap<Vec<u8>, PackageId>,
    /// Links that are kept by `update-alternatives`.
    alternatives: HashMap<Vec<u8>, AlternativeLink>,
    /// Digests of published files that seem secret elsewhere.
    published: HashSet<Sha256>,
}

impl Known {
    /// Returns the secret in a file. A copy of a published file contains none.
    fn secret(&self, found: &WalkedEntry) -> Option<Detection> {
        found.secret.filter(|_| !self.is_published(found))
    }

    /// Whether the content of a file is published, under its path or another one.
    fn is_published(&self, found: &WalkedEntry) -> bool {
        found.published || sha256(found).is_some_and(|digest| self.published.contains(digest))
    }
}

fn sha256(found: &WalkedEntry) -> Option<&Sha256> {
    if let Kind::File { sha256, .. } = &found.node.kind { sha256.as_ref() } else { None }
}

/// Returns the database's own files about packages that are not in the image, by path.
fn dropped_info(packages: Option<PlannedPackages<'_>>) -> HashMap<Vec<u8>, PackageId> {
    let Some(PlannedPackages { catalog, plan }) = packages else { return HashMap::new() };
    let manager = catalog.family.manager();
    let dropped = plan.with(|verdict| matches!(verdict, PackageVerdict::Drop(_)));
    dropped
        .flat_map(|id| manager.record_files(&catalog[id]).into_iter().map(move |path| (path, id)))
        .collect()
}

/// Keeps the parent directories of every path in the image.
fn keep_parents(found: &[WalkedEntry], decisions: &mut [Decision], facts: PlanInput<'_>) {
    let mut needed: HashSet<&[u8]> = HashSet::new();
    for index in (0..found.len()).rev() {
        let path = &*found[index].node.path;
        if !decisions[index].verdict.in_image() && needed.contains(path) {
            let layer = facts.provenance(path, facts.delta.changes[index]).0;
            decisions[index] =
                Decision { verdict: Verdict::Keep, layer: Some(layer), why: Reason::HoldsKept };
        }
        if decisions[index].verdict.in_image() && !path.is_empty() {
            needed.insert(tree::parent(path));
        }
    }
}

fn report(
    facts: PlanInput<'_>,
    found: &WalkedEntry,
    decision: &Decision,
    likely: Option<Detection>,
    findings: &mut Findings,
) {
    let path = &found.node.path;
    let reason = || facts.explain(decision.why);
    if decision.verdict.in_image() && found.unallocated() >= LARGE_HOLES {
        let (all, stored) = (found.node.size(), found.node.size() - found.unallocated());
        let text = format!(
            "{}, {} on disk; image layers have no holes: a registry gets all of it, and each host that pulls \
             the image stores all of it; use --exclude if the image does not need it",
            size::bytes(all),
            size::bytes(stored)
        );
        findings.warning(findings::Kind::Sparse, path, text);
    }
    match (decision.verdict, decision.why) {
        (Verdict::Lost, Reason::Lost) if found.content == Content::Unread => {
            findings.loss(
                findings::Kind::Unreadable,
                path,
                "its other names were gone before it could be read",
            );
        }
        (Verdict::Lost, Reason::WhiteoutName | Reason::WhiteoutDevice) => {
            findings.loss(findings::Kind::Unrepresentable, path, reason())
        }
        (Verdict::Withhold, _) if found.node.kind != Kind::Directory => {
            let text = format!("{}; to include it, add to --policy: {}", reason(), line::keep(path));
            findings.note(findings::Kind::Withheld, path, text)
        }
        (Verdict::Drop, Reason::Content(_)) => findings.note(findings::Kind::Swap, path, reason()),
        (Verdict::Regenerate, _) => findings.note(findings::Kind::Regenerate, path, reason()),
        _ => {
            if let Some(likely) = likely {
                let (what, line) = (likely.name(), line::withhold(path));
                let text = format!("{what}; it is in the image; to withhold it, add to --policy: {line}");
                findings.note(findings::Kind::Suspicious, path, text);
            }
        }
    }
}

/// Returns the paths to delete: paths of the lower layers that the machine does not have or that
/// a rule excludes.
fn deletions(facts: PlanInput<'_>, decisions: &[Decision]) -> Vec<Vec<u8>> {
    let ruled_out = facts.tree.found.iter().zip(decisions).zip(&facts.delta.changes);
    let ruled_out = ruled_out.filter(|((_, decision), change)| {
        !decision.verdict.in_image()
            && !matches!(decision.verdict, Verdict::Built | Verdict::Runtime)
            && matches!(change, Change::Provided(_))
    });
    let ruled_out = ruled_out.map(|((found, _), _)| found.node.path.to_vec());
    let mut deletions: Vec<Vec<u8>> = facts.delta.removed.iter().cloned().chain(ruled_out).collect();
    deletions.retain(|path| !crate::compare::equal::is_runtimes(path));
    deletions.sort_unstable();
    deletions
}

/// The directories whose live data is not in the image, with the engine's reason.
pub fn volumes(facts: PlanInput<'_>, plan: &Plan) -> BTreeMap<String, String> {
    let is_volume = |decision: &Decision| decision.verdict == Verdict::Volume;
    let mut volumes: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for (found, decision) in
        facts.tree.found.iter().zip(&plan.decisions).filter(|(_, decision)| is_volume(decision))
    {
        let directory = tree::parent(&found.node.path);
        let mut above =
            std::iter::successors(Some(directory), |path| (!path.is_empty()).then(|| tree::parent(path)));
        if !above.any(|outer| volumes.contains_key(outer)) {
            volumes.insert(directory.to_vec(), facts.explain(decision.why));
        }
    }
    volumes.into_iter().map(|(path, reason)| (escape::display(&path), reason)).collect()
}

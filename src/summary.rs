//! The plan in figures: what `plan.json` holds and the summary shows.

mod secrets;

use crate::detect::Inventory;
use crate::image::Base;
use crate::model::document::{Schema, SchemaId};
use crate::model::escape;
use crate::model::findings::Finding;
use crate::model::manifest::{self, ProvidedBy, Verdict};
use crate::model::tree::{self, Kind, Node};
use crate::pkg::plan::{PackageMode, PackageVerdict, VersionSource};
use crate::pkg::{PackageId, PlannedPackages};
use crate::plan::{self, Plan, PlanInput};
use crate::services::Workload;
pub use secrets::{LikelyPlace, SecretSummary};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Every decision about the machine as a whole; those about single paths are in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Version of the vm2docker-self that made the plan.
    pub program_version: &'static str,
    /// Schemas of the context's files that hold one JSON object per line, by file name.
    pub line_schemas: BTreeMap<&'static str, SchemaId>,
    /// The machine that was converted.
    pub machine: Inventory,
    /// The image that the Dockerfile starts from.
    pub base: BaseSummary,
    /// Packages by verdict; `null` without a package database.
    pub packages: Option<PackageSummary>,
    /// Paths by verdict.
    pub files: FileSummary,
    /// Withheld files, and files that may be secret.
    pub secrets: SecretSummary,
    /// Local files: those in the delta that no package ships.
    pub local_files: LocalFiles,
    /// Directories of live data that need a volume, with what to do.
    pub volumes: BTreeMap<String, String>,
    /// The containers.
    pub workload: Workload,
    /// Unpacked size of the layers, foreseen.
    pub forecast: Forecast,
}

// 2: every package with its reason. 3: `workload` in place of the one service. 4: names of
// fields, see `CHANGELOG.md`.
impl Schema for Summary {
    const NAME: &'static str = "vm2docker-self/plan";
    const VERSION: u32 = 4;
}

/// The base image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BaseSummary {
    /// Its name; none: `scratch`.
    pub reference: Option<String>,
    /// Argument of `FROM`: the name, with the digest if the registry returned one.
    pub from: String,
    /// Links of the machine's merged `/usr` that the base image does not have, with their
    /// targets. The build creates them first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub merged_usr: BTreeMap<String, String>,
    /// Why this one.
    pub reason: String,
    /// Source from which its contents are determined.
    pub contents_source: String,
    /// Whether its files were seen.
    pub known: bool,
    /// Digest of its configuration (Docker's image ID), where it was seen.
    pub config_digest: Option<String>,
    /// Digest of its manifest for this architecture, where it was seen.
    pub manifest_digest: Option<String>,
}

/// Packages by verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PackageSummary {
    /// The value of `--packages` that holds for this image.
    pub mode: PackageMode,
    /// On the machine.
    pub installed: usize,
    /// In the base image at the machine's version.
    pub in_base: usize,
    /// Installed by the build.
    pub to_install: usize,
    /// Of these, in the base image in an older version, and in a newer one.
    pub upgraded: usize,
    /// See `upgraded`.
    pub downgraded: usize,
    /// Packages that the build passes to apt. apt installs the others as dependencies, or the
    /// base image has them in another version.
    pub named: Vec<String>,
    /// Number of those whose files travel in the context.
    pub carried: usize,
    /// Number of those that are not in the image.
    pub dropped: usize,
    /// In the base image, and not on the machine.
    pub removed: Vec<String>,
    /// Every package of the machine.
    pub decisions: BTreeMap<String, PackageDecision>,
}

/// Where the image gets a package from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PackageDecision {
    /// The machine's version.
    pub version: String,
    /// The base image's, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_version: Option<String>,
    /// `base`, `repository`, `snapshot`, `context`, or `nowhere` if it is not in the image.
    pub from: &'static str,
    /// Why from there.
    pub reason: String,
    /// Bytes on the disk, as the package estimates them.
    pub bytes: u64,
}

/// A number of paths and their bytes; the names of one inode count their bytes once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Count {
    /// Paths.
    pub paths: u64,
    /// Bytes of their regular files.
    pub bytes: u64,
}

/// Paths by verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileSummary {
    /// From the base image.
    pub base: Count,
    /// From packages.
    pub packages: Count,
    /// Carried in the delta.
    pub delta: Count,
    /// Generated by package scripts, and in the delta as a fallback if the result differs.
    pub generated: Count,
    /// Withheld because they are secret.
    pub withheld: Count,
    /// Live data: volumes.
    pub volumes: Count,
    /// Should be in the image and are not.
    pub lost: Count,
    /// Not in the image by a rule, by reason.
    pub dropped: BTreeMap<String, Count>,
}

/// Local files in the delta.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LocalFiles {
    /// All of them.
    pub all: Count,
    /// Topmost directories and files that contain only local files, largest first; at most
    /// [`MOST_PLACES`].
    pub places: Vec<LocalPath>,
    /// Places that are not listed.
    pub more: usize,
}

/// A local file, or a directory with all local files in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LocalPath {
    /// Its path, escaped.
    pub path: String,
    /// Number of its paths and their bytes.
    #[serde(flatten)]
    pub count: Count,
    /// Why it is carried.
    pub reason: String,
}

/// Maximum number of places in `plan.json`.
pub const MOST_PLACES: usize = 100;

/// Unpacked size of the layers in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// The base image; 0 if its files are not known.
    pub base: u64,
    /// Bytes that the package layer adds.
    pub packages: u64,
    /// The top layer, if package scripts generate the same files as on the machine.
    pub top: u64,
    /// The top layer at most.
    pub top_at_most: u64,
}

impl FileSummary {
    /// Returns the sum of the dropped paths over all reasons.
    pub fn dropped_in_all(&self) -> Count {
        self.dropped.values().fold(Count::default(), |sum, count| Count {
            paths: sum.paths + count.paths,
            bytes: sum.bytes + count.bytes,
        })
    }
}

/// Sums the plan up.
pub fn summarise(
    inventory: &Inventory,
    base: &Base,
    facts: PlanInput<'_>,
    plan: &Plan,
    workload: Workload,
) -> Summary {
    let files = files(facts, plan);
    let base_bytes = base.image().map_or(0, |image| bytes(&image.nodes));
    let forecast = Forecast {
        base: base_bytes,
        packages: files.packages.bytes,
        top: files.delta.bytes,
        top_at_most: files.delta.bytes + files.generated.bytes,
    };
    Summary {
        program_version: env!("CARGO_PKG_VERSION"),
        line_schemas: BTreeMap::from([
            ("findings.jsonl", SchemaId::of::<Finding>()),
            ("manifest.jsonl", SchemaId::of::<manifest::Line>()),
        ]),
        machine: inventory.clone(),
        base: BaseSummary {
            reference: base.reference.clone(),
            from: base.from(),
            merged_usr: base
                .merged_usr
                .iter()
                .map(|(name, target)| (escape::display(name), escape::display(target)))
                .collect(),
            reason: base.reason.clone(),
            contents_source: base.contents_source.clone(),
            known: base.image().is_some(),
            config_digest: base.image().and_then(|image| image.config_digest.clone()),
            manifest_digest: base.image().and_then(|image| image.manifest_digest.clone()),
        },
        packages: facts.packages.map(packages),
        files,
        secrets: secrets::secrets(facts, plan, &workload),
        local_files: local_files(facts, plan),
        volumes: plan::volumes(facts, plan),
        workload,
        forecast,
    }
}

fn packages(packages: PlannedPackages<'_>) -> PackageSummary {
    let PlannedPackages { catalog, plan } = packages;
    let manager = catalog.family.manager();
    let direction = |wanted: Ordering| {
        let changed = plan.base_versions.iter();
        let changed = changed.filter(|(id, _)| matches!(plan.verdict(**id), PackageVerdict::Install(_)));
        changed.filter(|(id, base)| manager.compare_versions(&catalog[**id].version, base) == wanted).count()
    };
    PackageSummary {
        mode: plan.mode,
        installed: catalog.installed().count(),
        in_base: plan.count(|role| *role == PackageVerdict::Base),
        to_install: plan.count(|role| matches!(role, PackageVerdict::Install(_))),
        upgraded: direction(Ordering::Greater),
        downgraded: direction(Ordering::Less),
        named: plan.named.iter().map(|&id| catalog.label(id).to_owned()).collect(),
        carried: plan.count(|role| matches!(role, PackageVerdict::Carry(_))),
        dropped: plan.count(|role| matches!(role, PackageVerdict::Drop(_))),
        removed: plan.removed.iter().cloned().collect(),
        decisions: catalog.installed().map(|id| decision(packages, id)).collect(),
    }
}

fn decision(packages: PlannedPackages<'_>, id: PackageId) -> (String, PackageDecision) {
    let PlannedPackages { catalog, plan } = packages;
    let package = &catalog[id];
    let (from, reason) = match plan.verdict(id) {
        PackageVerdict::Base => ("base", "the base image has this version"),
        PackageVerdict::Install(source @ VersionSource::Snapshot) => ("snapshot", source.reason()),
        PackageVerdict::Install(source) => ("repository", source.reason()),
        PackageVerdict::Carry(reason) => ("context", &**reason),
        PackageVerdict::Drop(reason) => ("nowhere", *reason),
        PackageVerdict::Absent => ("nowhere", "not installed"),
    };
    let base_version = plan.base_versions.get(&id).cloned();
    let bytes = package.installed_bytes;
    let version = package.version.clone();
    let reason = reason.to_owned();
    (package.label.clone(), PackageDecision { version, base_version, from, reason, bytes })
}

fn files(facts: PlanInput<'_>, plan: &Plan) -> FileSummary {
    let mut files = FileSummary::default();
    let mut seen: HashSet<u32> = HashSet::new();
    for (found, decision) in facts.tree.found.iter().zip(&plan.decisions) {
        let node = &found.node;
        let count = match (decision.verdict, decision.layer) {
            (Verdict::Keep | Verdict::Rewrite, Some(ProvidedBy::Base)) => &mut files.base,
            (Verdict::Keep | Verdict::Rewrite, Some(ProvidedBy::Packages)) | (Verdict::Built, _) => {
                &mut files.packages
            }
            (Verdict::Keep | Verdict::Rewrite, Some(ProvidedBy::Generated)) => &mut files.generated,
            (Verdict::Keep | Verdict::Rewrite, _) => &mut files.delta,
            (Verdict::Withhold, _) => &mut files.withheld,
            (Verdict::Volume, _) => &mut files.volumes,
            (Verdict::Lost, _) => &mut files.lost,
            (Verdict::Drop | Verdict::Regenerate | Verdict::Runtime, _) => {
                files.dropped.entry(facts.explain(decision.why)).or_default()
            }
        };
        count.paths += 1;
        count.bytes += if node.group == 0 || seen.insert(node.group) { node.size() } else { 0 };
    }
    files
}

fn local_files(facts: PlanInput<'_>, plan: &Plan) -> LocalFiles {
    let mut own = LocalFiles::default();
    let mut seen: HashSet<u32> = HashSet::new();
    // Directories of the administrator's, and the place that they are in.
    let mut directories: HashMap<&[u8], usize> = HashMap::new();
    let carried = facts.tree.found.iter().zip(&plan.decisions).filter(|(_, decision)| facts.is_own(decision));
    for (found, decision) in carried.filter(|(found, _)| !found.node.path.is_empty()) {
        let node = &found.node;
        let place = directories.get(tree::parent(&node.path)).copied().unwrap_or_else(|| {
            let (path, reason) = (escape::display(&node.path), facts.explain(decision.why));
            own.places.push(LocalPath { path, count: Count::default(), reason });
            own.places.len() - 1
        });
        if node.kind == Kind::Directory {
            directories.insert(&node.path, place);
        }
        let bytes = if node.group == 0 || seen.insert(node.group) { node.size() } else { 0 };
        for count in [&mut own.all, &mut own.places[place].count] {
            count.paths += 1;
            count.bytes += bytes;
        }
    }
    own.places.sort_by(|a, b| b.count.bytes.cmp(&a.count.bytes).then_with(|| a.path.cmp(&b.path)));
    own.more = own.places.len().saturating_sub(MOST_PLACES);
    own.places.truncate(MOST_PLACES);
    own
}

/// Bytes of the regular files, each inode once.
fn bytes(nodes: &[Node]) -> u64 {
    let mut seen: HashSet<u32> = HashSet::new();
    let files = nodes.iter().filter(|node| matches!(node.kind, Kind::File { .. }));
    files.filter(|node| node.group == 0 || seen.insert(node.group)).map(Node::size).sum()
}

//! The plan in figures: what `plan.json` holds and the summary shows.

use crate::base::Base;
use crate::detect::Inventory;
use crate::layer::{PackageLayer, Role, Way};
use crate::manifest::{Layer, Verdict};
use crate::pkg::Catalog;
use crate::plan::{self, Facts, Plan};
use crate::tree::{Kind, Node};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Version of the schema of `plan.json`; fields may be added without changing it.
const SCHEMA: u32 = 1;

/// Every decision about the machine as a whole; those about single paths are in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of this document's schema.
    pub schema: u32,
    /// Version of this program.
    pub version: &'static str,
    /// What was converted.
    pub machine: Inventory,
    /// What the image builds on.
    pub base: BaseSummary,
    /// What becomes of the packages; nothing without a package database.
    pub packages: Option<PackageSummary>,
    /// What becomes of the paths.
    pub files: FileSummary,
    /// Directories of live data that need a volume, with what to do.
    pub volumes: BTreeMap<String, String>,
    /// Unpacked size of the layers, foreseen.
    pub forecast: Forecast,
}

/// The base image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseSummary {
    /// What FROM names; none: `scratch`.
    pub reference: Option<String>,
    /// Why this one.
    pub reason: String,
    /// Whether its files are known.
    pub known: bool,
    /// Digest of its configuration (Docker's image ID), where the file had one.
    pub config_digest: Option<String>,
    /// Digest of its manifest, where the file had one.
    pub manifest_digest: Option<String>,
}

/// The packages by what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageSummary {
    /// How the layer is filled.
    pub way: Way,
    /// On the machine.
    pub installed: usize,
    /// In the base image at the machine's version.
    pub in_base: usize,
    /// Installed by the build.
    pub to_install: usize,
    /// Named to apt; the others follow by their dependencies.
    pub named: Vec<String>,
    /// Whose files travel in the context, with the reason.
    pub carried: BTreeMap<String, &'static str>,
    /// Not in the image, with the reason.
    pub dropped: BTreeMap<String, &'static str>,
    /// In the base image, and not on the machine.
    pub removed: Vec<String>,
}

/// A number of paths and their bytes; the names of one inode count their bytes once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Paths.
    pub paths: u64,
    /// Bytes of their regular files.
    pub bytes: u64,
}

/// The paths by what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// From the base image.
    pub base: Count,
    /// From packages.
    pub packages: Count,
    /// Carried in the delta.
    pub delta: Count,
    /// Made by package scripts, and carried in the delta in case they come out otherwise.
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

/// Unpacked size of the layers in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// The base image; 0 if its files are not known.
    pub base: u64,
    /// What the package layer adds.
    pub packages: u64,
    /// The top layer, if what package scripts make comes out as on the machine.
    pub top: u64,
    /// The top layer at most.
    pub top_at_most: u64,
}

impl FileSummary {
    /// What is dropped, all reasons together.
    pub fn dropped_in_all(&self) -> Count {
        self.dropped.values().fold(Count::default(), |sum, count| Count {
            paths: sum.paths + count.paths,
            bytes: sum.bytes + count.bytes,
        })
    }
}

/// Sums the plan up.
pub fn summarise(inventory: &Inventory, base: &Base, facts: Facts<'_>, plan: &Plan) -> Summary {
    let files = files(facts, plan);
    let base_bytes = base.image.as_ref().map_or(0, |image| bytes(&image.nodes));
    let forecast = Forecast {
        base: base_bytes,
        packages: files.packages.bytes,
        top: files.delta.bytes,
        top_at_most: files.delta.bytes + files.generated.bytes,
    };
    Summary {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        machine: inventory.clone(),
        base: BaseSummary {
            reference: base.reference.clone(),
            reason: base.reason.clone(),
            known: base.image.is_some(),
            config_digest: base.image.as_ref().and_then(|image| image.config_digest.clone()),
            manifest_digest: base.image.as_ref().and_then(|image| image.manifest_digest.clone()),
        },
        packages: facts.packages.map(|(catalog, layer)| packages(catalog, layer)),
        files,
        volumes: plan::volumes(facts, plan),
        forecast,
    }
}

fn packages(catalog: &Catalog, layer: &PackageLayer) -> PackageSummary {
    let reasons = |reason: fn(&Role) -> Option<&'static str>| {
        let with_reason = |(index, role): (usize, &Role)| Some((catalog.id(index), reason(role)?));
        layer.roles.iter().enumerate().filter_map(with_reason).collect()
    };
    PackageSummary {
        way: layer.way,
        installed: catalog.installed().count(),
        in_base: layer.count(|role| *role == Role::Base),
        to_install: layer.count(|role| *role == Role::Install),
        named: layer.named.iter().map(|&index| catalog.id(index)).collect(),
        carried: reasons(|role| if let Role::Carry(reason) = role { Some(reason) } else { None }),
        dropped: reasons(|role| if let Role::Drop(reason) = role { Some(reason) } else { None }),
        removed: layer.removed.iter().cloned().collect(),
    }
}

fn files(facts: Facts<'_>, plan: &Plan) -> FileSummary {
    let mut files = FileSummary::default();
    let mut seen: HashSet<u32> = HashSet::new();
    for (found, decision) in facts.tree.found.iter().zip(&plan.decisions) {
        let node = &found.node;
        let count = match (decision.verdict, decision.layer) {
            (Verdict::Keep | Verdict::Rewrite, Some(Layer::Base)) => &mut files.base,
            (Verdict::Keep | Verdict::Rewrite, Some(Layer::Packages)) => &mut files.packages,
            (Verdict::Keep | Verdict::Rewrite, Some(Layer::Generated)) => &mut files.generated,
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

/// Bytes of the regular files, each inode once.
fn bytes(nodes: &[Node]) -> u64 {
    let mut seen: HashSet<u32> = HashSet::new();
    let files = nodes.iter().filter(|node| matches!(node.kind, Kind::File { .. }));
    files.filter(|node| node.group == 0 || seen.insert(node.group)).map(Node::size).sum()
}

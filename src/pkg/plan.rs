//! The package plan: where the image gets every package of the machine from, and why.

use super::catalog::Catalog;
use super::graph::Graph;
use super::package::{Package, PackageId, Pin};
use crate::glob::GlobSet;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Value of `--packages`: source of the packages in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PackageMode {
    /// The distribution's repositories, with the machine's versions pinned.
    Install,
    /// The machine's package files, which are included in the context.
    Carry,
}

/// Source of a package in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageVerdict {
    /// Not installed on the machine.
    Absent,
    /// The base image has exactly this version.
    Base,
    /// The build installs it from this source.
    Install(VersionSource),
    /// Its files are included in the context, with the reason.
    Carry(Cow<'static, str>),
    /// Neither in the image nor in its package database, with the reason.
    Drop(&'static str),
}

/// Source of a package in exactly the machine's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VersionSource {
    /// One of the machine's own repositories.
    Repository,
    /// A snapshot repository, or a repository of releases past their end of life.
    Snapshot,
    /// One of the machine's repositories, unverified because none could be queried.
    Unverified,
}

impl VersionSource {
    /// Returns the reason for the context's documents.
    pub fn reason(self) -> &'static str {
        match self {
            VersionSource::Repository => "a repository has this version",
            VersionSource::Snapshot => "a snapshot repository has this version",
            VersionSource::Unverified => "repositories not queried",
        }
    }
}

/// Source of each package in exactly the machine's version, or why there is none. Packages that
/// could not be queried are missing.
pub type Availability = BTreeMap<Pin, Result<VersionSource, String>>;

fn by_availability(package: &Package, available: &Availability) -> PackageVerdict {
    match available.get(&Pin::from(package)) {
        Some(Ok(source)) => PackageVerdict::Install(*source),
        Some(Err(why)) => PackageVerdict::Carry(why.clone().into()),
        None => PackageVerdict::Install(VersionSource::Unverified),
    }
}

/// Packages of the base image, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePackages {
    /// The contents of the base image are unknown.
    Unknown,
    /// All packages installed in it.
    Known(Vec<Pin>),
}

/// Every package's verdict, and the packages that the build requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagePlan {
    /// Source of the packages.
    pub mode: PackageMode,
    /// Verdicts by position in the catalog.
    verdicts: Vec<PackageVerdict>,
    /// Packages that the build requests, ascending by name; their dependencies bring all others.
    pub named: Vec<PackageId>,
    /// Packages of the base image that the machine does not have, as `name:architecture`.
    pub removed: BTreeSet<String>,
    /// Whether the packages of the base image are known.
    pub base_known: bool,
    /// Versions in the base image of packages that it has in another version than the machine.
    pub base_versions: BTreeMap<PackageId, String>,
}

impl PackagePlan {
    /// Whether package scripts run in the build; unpackaged files may differ then.
    pub fn runs_scripts(&self) -> bool {
        !self.removed.is_empty()
            || self.verdicts.iter().any(|verdict| matches!(verdict, PackageVerdict::Install(_)))
    }

    /// Returns the verdict on a package.
    pub fn verdict(&self, package: PackageId) -> &PackageVerdict {
        &self.verdicts[package.index()]
    }

    /// Returns the number of packages whose verdict `is` selects.
    pub fn count(&self, is: impl Fn(&PackageVerdict) -> bool) -> usize {
        self.with(is).count()
    }

    /// Returns the packages whose verdict `is` selects.
    pub fn with(&self, is: impl Fn(&PackageVerdict) -> bool) -> impl Iterator<Item = PackageId> {
        let all = self.verdicts.iter().enumerate();
        all.filter(move |(_, verdict)| is(verdict)).map(|(index, _)| PackageId::new(index))
    }

    /// Returns the packages in the image.
    pub fn kept(&self) -> impl Iterator<Item = PackageId> {
        self.with(|verdict| {
            matches!(verdict, PackageVerdict::Base | PackageVerdict::Install(_) | PackageVerdict::Carry(_))
        })
    }
}

/// A machine's packages with their verdicts.
#[derive(Clone, Copy, Debug)]
pub struct PlannedPackages<'a> {
    /// The package database.
    pub catalog: &'a Catalog,
    /// Verdict of every package.
    pub plan: &'a PackagePlan,
}

impl PlannedPackages<'_> {
    /// Whether `is` selects the verdict of one of these packages.
    pub fn any(&self, packages: &[PackageId], is: impl Fn(&PackageVerdict) -> bool) -> bool {
        packages.iter().any(|&package| is(self.plan.verdict(package)))
    }
}

/// Decides where the image gets every package from.
pub fn decide(
    catalog: &Catalog,
    base: &BasePackages,
    available: &Availability,
    mode: PackageMode,
) -> PackagePlan {
    let graph = Graph::new(&catalog.packages, &catalog.dependencies);
    let dropped = dropped(catalog, &graph);
    let in_base: BTreeSet<&Pin> = base.pins().iter().collect();
    let mut verdicts: Verdicts = vec![PackageVerdict::Absent; catalog.packages.len()];
    for id in catalog.installed() {
        let package = &catalog[id];
        verdicts[id.index()] = match dropped.get(&id) {
            Some(reason) => PackageVerdict::Drop(reason),
            None if in_base.contains(&Pin::from(package)) => PackageVerdict::Base,
            None if mode == PackageMode::Carry => PackageVerdict::Carry("--packages carry".into()),
            None if package.broken => PackageVerdict::Carry("half installed".into()),
            None => by_availability(package, available),
        };
    }
    if mode == PackageMode::Install {
        carry_dependents(&mut verdicts, &graph);
    }
    let install = select(&verdicts, |verdict| matches!(verdict, PackageVerdict::Install(_)));
    let versions = base_versions(base);
    let base_known = versions.is_some();
    let is_in_base =
        |id: PackageId| versions.as_ref().is_some_and(|versions| versions.contains_key(&key(&catalog[id])));
    let known: Option<&dyn Fn(PackageId) -> bool> = if base_known { Some(&is_in_base) } else { None };
    let mut named = graph.named(known, &install);
    // Before the requested packages, `install.sh` brings the packages of the base image to the
    // pinned versions.
    named.retain(|&id| !is_in_base(id));
    let base_versions = other_versions(catalog, versions, &verdicts);
    let removed = removed(catalog, base, &verdicts);
    PackagePlan { mode, verdicts, named, removed, base_known, base_versions }
}

/// Verdicts by position in the catalog.
type Verdicts = Vec<PackageVerdict>;

/// Returns the packages that only hardware needs, except those that a kept package depends on.
fn dropped(catalog: &Catalog, graph: &Graph<'_>) -> BTreeMap<PackageId, &'static str> {
    let unneeded = catalog.family.manager().unneeded();
    let patterns = GlobSet::new(unneeded.iter().map(|(pattern, _)| pattern.as_bytes()));
    let reason =
        |package: &Package| Some(unneeded[patterns.first(package.name.as_bytes(), |_| true)? as usize].1);
    let candidates: BTreeMap<PackageId, &'static str> =
        catalog.installed().filter_map(|id| Some((id, reason(&catalog[id])?))).collect();
    let droppable = graph.droppable(&candidates.keys().copied().collect());
    candidates.into_iter().filter(|(id, _)| droppable.contains(id)).collect()
}

/// A package's name and architecture.
type Key<'a> = (&'a str, &'a str);

fn key(package: &Package) -> Key<'_> {
    (&package.name, &package.architecture)
}

impl BasePackages {
    fn pins(&self) -> &[Pin] {
        match self {
            BasePackages::Unknown => &[],
            BasePackages::Known(pins) => pins,
        }
    }
}

/// Returns the versions of the base image's packages, if they are known.
fn base_versions<'a>(base: &'a BasePackages) -> Option<BTreeMap<Key<'a>, &'a str>> {
    let BasePackages::Known(pins) = base else { return None };
    let key = |pin: &'a Pin| (pin.name.as_str(), pin.architecture.as_str());
    Some(pins.iter().map(|pin| (key(pin), pin.version.as_str())).collect())
}

/// Returns the packages that the base image has in another version than the machine.
fn other_versions(
    catalog: &Catalog,
    versions: Option<BTreeMap<Key<'_>, &str>>,
    verdicts: &Verdicts,
) -> BTreeMap<PackageId, String> {
    let versions = versions.unwrap_or_default();
    let changes = |id: &PackageId| {
        matches!(verdicts[id.index()], PackageVerdict::Install(_) | PackageVerdict::Carry(_))
    };
    let in_base = catalog.installed().filter(changes).filter_map(|id| {
        let version = versions.get(&key(&catalog[id]))?;
        Some((id, (*version).to_owned()))
    });
    in_base.filter(|(id, version)| catalog[*id].version != *version).collect()
}

/// Includes the files of every package that depends on a carried one. The package manager cannot
/// install it, because no repository has its dependency.
fn carry_dependents(verdicts: &mut Verdicts, graph: &Graph<'_>) {
    let carried = select(verdicts, |verdict| matches!(verdict, PackageVerdict::Carry(_)));
    for id in graph.closure_up(&carried) {
        let verdict = &mut verdicts[id.index()];
        if matches!(verdict, PackageVerdict::Install(_)) {
            *verdict = PackageVerdict::Carry("depends on a package that no repository has".into());
        }
    }
}

fn removed(catalog: &Catalog, base: &BasePackages, verdicts: &Verdicts) -> BTreeSet<String> {
    let stays = |id: &PackageId| !matches!(verdicts[id.index()], PackageVerdict::Drop(_));
    let kept: BTreeSet<Key<'_>> = catalog.installed().filter(stays).map(|id| key(&catalog[id])).collect();
    let surplus = base.pins().iter().filter(|pin| !kept.contains(&(&*pin.name, &*pin.architecture)));
    surplus.map(|pin| format!("{}:{}", pin.name, pin.architecture)).collect()
}

fn select(verdicts: &Verdicts, is: impl Fn(&PackageVerdict) -> bool) -> BTreeSet<PackageId> {
    let all = verdicts.iter().enumerate();
    all.filter(|(_, verdict)| is(verdict)).map(|(index, _)| PackageId::new(index)).collect()
}

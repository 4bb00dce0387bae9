//! The package layer: for every package of the machine, where the image gets it from and why.

use super::{Catalog, Graph, Package, Pin};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// `--packages`: how the package layer is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageMode {
    /// By the distribution's archive, pinned to the machine's versions.
    Install,
    /// By the package files of the machine, which travel in the context.
    Carry,
}

/// Where the image gets a package from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageVerdict {
    /// Not installed on the machine.
    Absent,
    /// The base image has it at the very version.
    Base,
    /// The build installs it, by this rung of the ladder.
    Install(VersionSource),
    /// Its files travel in the context, with the reason.
    Carry(Cow<'static, str>),
    /// Not in the image, and not in its package database, with the reason.
    Drop(&'static str),
}

/// Where the build gets a package's very version from: the rungs of the ladder above carrying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VersionSource {
    /// An archive among the machine's apt sources.
    Repository,
    /// An archive that keeps earlier states of the distribution, or releases that have ended.
    Snapshot,
    /// An archive among the machine's apt sources, as is hoped: nothing could be asked.
    Unverified,
}

impl VersionSource {
    /// The reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            VersionSource::Repository => "the archive has this version",
            VersionSource::Snapshot => "an archive of earlier states has this version",
            VersionSource::Unverified => "whether the archive has this version is not known",
        }
    }
}

/// Where a package can be had in the machine's very version, or why nowhere. What is not in it nobody could be asked about.
pub type Availability = BTreeMap<Pin, Result<VersionSource, String>>;

fn by_ladder(package: &Package, available: &Availability) -> PackageVerdict {
    match available.get(&Pin::from(package)) {
        Some(Ok(rung)) => PackageVerdict::Install(*rung),
        Some(Err(why)) => PackageVerdict::Carry(why.clone().into()),
        None => PackageVerdict::Install(VersionSource::Unverified),
    }
}

/// What the base image is known to hold of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePackages {
    /// Nothing is known.
    Unknown,
    /// All that are installed in it.
    Known(Vec<Pin>),
}

/// Every package's role, and what the build is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagePlan {
    /// How the layer is filled.
    pub way: PackageMode,
    /// By index into the catalog's packages.
    pub roles: Vec<PackageVerdict>,
    /// The packages that are named to apt; all others follow by their dependencies. Indices, ascending.
    pub named: Vec<usize>,
    /// What the base image has and the machine has not, as `name:architecture`.
    pub removed: BTreeSet<String>,
    /// Whether the packages of the base image are known.
    pub base_known: bool,
    /// The version that the base image has of a package which it has in another one; by index.
    pub base_versions: BTreeMap<usize, String>,
}

impl PackagePlan {
    /// Whether package scripts run in the build, so that files that no package owns may come out otherwise.
    pub fn runs_scripts(&self) -> bool {
        !self.removed.is_empty() || self.roles.iter().any(|role| matches!(role, PackageVerdict::Install(_)))
    }

    /// Number of packages with a role.
    pub fn count(&self, is: impl Fn(&PackageVerdict) -> bool) -> usize {
        self.roles.iter().filter(|role| is(role)).count()
    }

    /// Indices of the packages with a role.
    pub fn with(&self, is: impl Fn(&PackageVerdict) -> bool) -> impl Iterator<Item = usize> {
        self.roles.iter().enumerate().filter(move |(_, role)| is(role)).map(|(index, _)| index)
    }

    /// Whether a package is in the image.
    pub fn is_kept(&self, index: usize) -> bool {
        matches!(
            self.roles[index],
            PackageVerdict::Base | PackageVerdict::Install(_) | PackageVerdict::Carry(_)
        )
    }
}

/// Packages that a container has no use for, with the reason. A pattern may end in `*`.
const HARDWARE: &[(&str, &str)] = &[
    ("linux-image-*", "kernel: a container runs on the host's"),
    ("linux-modules-*", "kernel: a container runs on the host's"),
    ("linux-headers-*", "kernel: a container runs on the host's"),
    ("linux-kbuild-*", "kernel: a container runs on the host's"),
    ("linux-base", "kernel: a container runs on the host's"),
    ("linux-generic*", "kernel: a container runs on the host's"),
    ("linux-virtual*", "kernel: a container runs on the host's"),
    ("linux-firmware", "firmware: a container has no hardware"),
    ("firmware-*", "firmware: a container has no hardware"),
    ("amd64-microcode", "firmware: a container has no hardware"),
    ("intel-microcode", "firmware: a container has no hardware"),
    ("iucode-tool", "firmware: a container has no hardware"),
    ("initramfs-tools*", "initial RAM disk: a container does not boot"),
    ("dracut*", "initial RAM disk: a container does not boot"),
    ("klibc-utils", "initial RAM disk: a container does not boot"),
    ("libklibc", "initial RAM disk: a container does not boot"),
    ("grub-*", "boot loader: a container does not boot"),
    ("grub2-common", "boot loader: a container does not boot"),
    ("shim-*", "boot loader: a container does not boot"),
    ("efibootmgr", "boot loader: a container does not boot"),
    ("os-prober", "boot loader: a container does not boot"),
    (env!("CARGO_PKG_NAME"), "this program: it is no part of the machine"),
];

/// Decides every package's role.
pub fn assign(
    catalog: &Catalog,
    base: &BasePackages,
    available: &Availability,
    way: PackageMode,
) -> PackagePlan {
    let packages = &catalog.packages;
    let graph = Graph::new(packages, &catalog.architecture);
    let mut roles: Vec<PackageVerdict> = vec![PackageVerdict::Absent; packages.len()];
    let dropped = dropped(packages, &graph);
    let in_base: BTreeSet<&Pin> = base.pins().iter().collect();
    for index in catalog.installed() {
        let package = &packages[index];
        roles[index] = match dropped.get(&index) {
            Some(reason) => PackageVerdict::Drop(reason),
            None if in_base.contains(&Pin::from(package)) => PackageVerdict::Base,
            None if way == PackageMode::Carry => PackageVerdict::Carry("--packages carry".into()),
            None if package.reinstreq => PackageVerdict::Carry("half installed".into()),
            None => by_ladder(package, available),
        };
    }
    if way == PackageMode::Install {
        carry_dependents(&mut roles, &graph);
    }
    let install: BTreeSet<usize> = indices(&roles, |role| matches!(role, PackageVerdict::Install(_)));
    let versions = base_versions(base);
    let base_known = versions.is_some();
    let is_in_base = |index: usize| {
        versions.as_ref().is_some_and(|versions| versions.contains_key(&name(&packages[index])))
    };
    let known: Option<&dyn Fn(usize) -> bool> = if base_known { Some(&is_in_base) } else { None };
    let mut named = graph.named(known, &install);
    // The build brings what the base image has to the pinned versions first, without being told the names.
    named.retain(|&index| !is_in_base(index));
    let base_versions = other_versions(catalog, versions, &roles);
    let removed = removed(catalog, base, &roles);
    PackagePlan { way, roles, named, removed, base_known, base_versions }
}

/// The hardware's packages that nothing which stays depends on.
fn dropped(packages: &[Package], graph: &Graph<'_>) -> BTreeMap<usize, &'static str> {
    let reason = |package: &Package| {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(stem) => package.name.starts_with(stem),
            None => package.name == pattern,
        };
        HARDWARE.iter().find(|(pattern, _)| matches(pattern)).map(|(_, reason)| *reason)
    };
    let installed = packages.iter().enumerate().filter(|(_, package)| package.is_installed());
    let candidates: BTreeMap<usize, &'static str> =
        installed.filter_map(|(index, package)| Some((index, reason(package)?))).collect();
    let droppable = graph.droppable(&candidates.keys().copied().collect());
    candidates.into_iter().filter(|(index, _)| droppable.contains(index)).collect()
}

/// A package's name and architecture.
type Name<'a> = (&'a str, &'a str);

fn name(package: &Package) -> Name<'_> {
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

/// The versions of the base image's packages, if they are known.
fn base_versions<'a>(base: &'a BasePackages) -> Option<BTreeMap<Name<'a>, &'a str>> {
    let BasePackages::Known(pins) = base else { return None };
    let name = |pin: &'a Pin| (pin.name.as_str(), pin.architecture.as_str());
    Some(pins.iter().map(|pin| (name(pin), pin.version.as_str())).collect())
}

/// What the machine has in another version than the base image.
fn other_versions(
    catalog: &Catalog,
    versions: Option<BTreeMap<Name<'_>, &str>>,
    roles: &[PackageVerdict],
) -> BTreeMap<usize, String> {
    let versions = versions.unwrap_or_default();
    let travels =
        |&index: &usize| matches!(roles[index], PackageVerdict::Install(_) | PackageVerdict::Carry(_));
    let in_base = catalog.installed().filter(travels).filter_map(|index| {
        let version = versions.get(&name(&catalog.packages[index]))?;
        Some((index, (*version).to_owned()))
    });
    in_base.filter(|(index, version)| catalog.packages[*index].version != *version).collect()
}

/// apt cannot install what depends on a package that only the context has.
fn carry_dependents(roles: &mut [PackageVerdict], graph: &Graph<'_>) {
    let carried = indices(roles, |role| matches!(role, PackageVerdict::Carry(_)));
    for index in graph.closure_up(&carried) {
        if matches!(roles[index], PackageVerdict::Install(_)) {
            roles[index] = PackageVerdict::Carry("depends on a package that no archive has".into());
        }
    }
}

fn removed(catalog: &Catalog, base: &BasePackages, roles: &[PackageVerdict]) -> BTreeSet<String> {
    let stays = |index: &usize| !matches!(roles[*index], PackageVerdict::Drop(_));
    let kept: BTreeSet<Name<'_>> =
        catalog.installed().filter(stays).map(|index| name(&catalog.packages[index])).collect();
    let surplus = base.pins().iter().filter(|pin| !kept.contains(&(&*pin.name, &*pin.architecture)));
    surplus.map(|pin| format!("{}:{}", pin.name, pin.architecture)).collect()
}

fn indices(roles: &[PackageVerdict], is: impl Fn(&PackageVerdict) -> bool) -> BTreeSet<usize> {
    roles.iter().enumerate().filter(|(_, role)| is(role)).map(|(index, _)| index).collect()
}

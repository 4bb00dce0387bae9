//! The package layer: for every package of the machine, where the image gets it from and why.

use crate::pkg::{Catalog, Graph, Lists, Package, Pin};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// `--packages`: how the package layer is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the distribution's archive, pinned to the machine's versions.
    Install,
    /// By the package files of the machine, which travel in the context.
    Carry,
}

/// Where the image gets a package from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not installed on the machine.
    Absent,
    /// The base image has it at the very version.
    Base,
    /// The build installs it from the archive.
    Install,
    /// Its files travel in the context, with the reason.
    Carry(&'static str),
    /// Not in the image, and not in its package database, with the reason.
    Drop(&'static str),
}

/// What the base image is known to hold of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePackages {
    /// Nothing is known.
    Unknown,
    /// All of them, from the image's own database.
    Known(Vec<Package>),
}

/// Every package's role, and what the build is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageLayer {
    /// How the layer is filled.
    pub way: Way,
    /// By index into the catalog's packages.
    pub roles: Vec<Role>,
    /// The packages that are named to apt; all others follow by their dependencies. Indices, ascending.
    pub named: Vec<usize>,
    /// What the base image has and the machine has not, as `name:architecture`.
    pub removed: BTreeSet<String>,
    /// Whether the packages of the base image are known.
    pub base_known: bool,
}

impl PackageLayer {
    /// Whether package scripts run in the build, so that files that no package owns may come out otherwise.
    pub fn runs_scripts(&self) -> bool {
        self.roles.contains(&Role::Install) || !self.removed.is_empty()
    }

    /// Number of packages with a role.
    pub fn count(&self, is: impl Fn(&Role) -> bool) -> usize {
        self.roles.iter().filter(|role| is(role)).count()
    }

    /// Indices of the packages with a role.
    pub fn with(&self, is: impl Fn(&Role) -> bool) -> impl Iterator<Item = usize> {
        self.roles.iter().enumerate().filter(move |(_, role)| is(role)).map(|(index, _)| index)
    }

    /// Whether a package is in the image.
    pub fn is_kept(&self, index: usize) -> bool {
        matches!(self.roles[index], Role::Base | Role::Install | Role::Carry(_))
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
];

/// Decides every package's role. `available` is what apt's cached indexes on the machine offer.
pub fn assign(catalog: &Catalog, base: &BasePackages, available: &Lists, way: Way) -> PackageLayer {
    let packages = &catalog.packages;
    let graph = Graph::new(packages, &catalog.architecture);
    let mut roles: Vec<Role> = vec![Role::Absent; packages.len()];
    let dropped = dropped(packages, &graph);
    let in_base = in_base(base);
    for index in catalog.installed() {
        let package = &packages[index];
        roles[index] = match dropped.get(&index) {
            Some(reason) => Role::Drop(reason),
            None if in_base.contains(&Pin::from(package)) => Role::Base,
            None if way == Way::Carry => Role::Carry("--packages carry"),
            None if package.reinstreq => Role::Carry("half installed"),
            None if is_missing(available, package) => Role::Carry("no archive has this version"),
            None => Role::Install,
        };
    }
    if way == Way::Install {
        carry_dependents(&mut roles, &graph);
    }
    let install: BTreeSet<usize> = indices(&roles, |role| *role == Role::Install);
    let names = base_names(base);
    let named = graph.named(&|index| has_name(names.as_ref(), &packages[index]), &install);
    let removed = removed(catalog, base, &roles);
    PackageLayer { way, roles, named, removed, base_known: matches!(base, BasePackages::Known(_)) }
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

fn in_base(base: &BasePackages) -> BTreeSet<Pin> {
    match base {
        BasePackages::Unknown => BTreeSet::new(),
        BasePackages::Known(packages) => {
            packages.iter().filter(|package| package.is_installed()).map(Pin::from).collect()
        }
    }
}

/// Names and architectures of the base image's packages, if they are known.
fn base_names(base: &BasePackages) -> Option<BTreeSet<(&str, &str)>> {
    let BasePackages::Known(packages) = base else { return None };
    let installed = packages.iter().filter(|package| package.is_installed());
    Some(installed.map(|package| (package.name.as_str(), package.architecture.as_str())).collect())
}

/// Whether the base image has the package, in whatever version; of an unknown one, the packages of every base image.
fn has_name(names: Option<&BTreeSet<(&str, &str)>>, package: &Package) -> bool {
    match names {
        None => package.essential || package.priority == "required" || package.name == "apt",
        Some(names) => names.contains(&(package.name.as_str(), package.architecture.as_str())),
    }
}

/// Without any index on the machine nothing is known to be missing.
fn is_missing(lists: &Lists, package: &Package) -> bool {
    lists.present && !lists.available.contains(&Pin::from(package))
}

/// apt cannot install what depends on a package that only the context has.
fn carry_dependents(roles: &mut [Role], graph: &Graph<'_>) {
    let carried = indices(roles, |role| matches!(role, Role::Carry(_)));
    for index in graph.closure_up(&carried) {
        if roles[index] == Role::Install {
            roles[index] = Role::Carry("depends on a package that no archive has");
        }
    }
}

fn removed(catalog: &Catalog, base: &BasePackages, roles: &[Role]) -> BTreeSet<String> {
    let BasePackages::Known(packages) = base else { return BTreeSet::new() };
    let name = |package: &Package| format!("{}:{}", package.name, package.architecture);
    let kept: BTreeSet<String> = catalog
        .installed()
        .filter(|&index| !matches!(roles[index], Role::Drop(_)))
        .map(|index| name(&catalog.packages[index]))
        .collect();
    packages
        .iter()
        .filter(|package| package.is_installed())
        .map(name)
        .filter(|name| !kept.contains(name))
        .collect()
}

fn indices(roles: &[Role], is: impl Fn(&Role) -> bool) -> BTreeSet<usize> {
    roles.iter().enumerate().filter(|(_, role)| is(role)).map(|(index, _)| index).collect()
}

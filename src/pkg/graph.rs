//! Which packages to request from the package manager, to include in the build context, or to
//! drop.
//!
//! The graph holds the hard dependencies and recommendations among installed packages. The family
//! decides which package satisfies which dependency; nothing here depends on its rules.

use super::package::{Package, PackageId};
use petgraph::Direction::Incoming;
use petgraph::algo::condensation;
use petgraph::graph::DiGraph;
use std::collections::{BTreeSet, HashMap};

/// One dependency with every installed package that satisfies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The dependency as the package writes it, for messages.
    pub text: String,
    /// Packages, ascending, each once; empty if no installed package satisfies it.
    pub satisfiers: Vec<PackageId>,
    /// The package that the package manager installs if nothing else decides: one that has the
    /// name of the first alternative, not one that only provides it.
    pub preferred: Option<PackageId>,
}

/// The dependencies of every package of a catalog, in its order. Packages that are not installed
/// have none here. Dependencies that a package satisfies itself are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Hard dependencies.
    pub requires: Vec<Vec<Need>>,
    /// Dependencies that are installed by default.
    pub recommends: Vec<Vec<Need>>,
}

/// The dependencies among packages, with the packages.
#[derive(Clone, Copy, Debug)]
pub struct Graph<'a> {
    packages: &'a [Package],
    dependencies: &'a Dependencies,
}

impl<'a> Graph<'a> {
    /// Returns the graph of these packages; `dependencies` has an entry for each.
    pub fn new(packages: &'a [Package], dependencies: &'a Dependencies) -> Self {
        Graph { packages, dependencies }
    }

    fn ids(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.packages.len()).map(PackageId::new)
    }

    fn requires(&self, package: PackageId) -> &'a [Need] {
        &self.dependencies.requires[package.index()]
    }

    /// Returns the dependencies that no installed package satisfies: the package manager refuses
    /// to continue.
    pub fn unsatisfied(&self) -> impl Iterator<Item = (PackageId, &'a Need)> {
        let needs =
            self.ids().flat_map(|package| self.requires(package).iter().map(move |need| (package, need)));
        needs.filter(|(_, need)| need.satisfiers.is_empty())
    }

    /// Returns the packages with a dependency that `package` satisfies, alone or among others.
    pub fn dependents(&self, package: PackageId) -> impl Iterator<Item = PackageId> {
        self.ids()
            .filter(move |&user| self.requires(user).iter().any(|need| need.satisfiers.contains(&package)))
    }

    /// Returns the packages of `to_install` to request, by name, so that the package manager
    /// installs exactly `to_install`, with recommendations, if it must not install any other
    /// package.
    ///
    /// The result contains every package of the set that no other package of it depends on. Of a
    /// cycle that nothing outside the cycle depends on, it contains one package: a manually
    /// installed one before others, then the first by name. A dependency or recommendation leads
    /// to a package if no other package in the set or the base satisfies it, because the package
    /// manager has no other choice.
    ///
    /// `in_base` states which packages the base image has, in any version. If one of them is in
    /// `to_install`, the build installs another version: the package manager changes it only if
    /// it is requested, and does not follow its recommendations. If the packages of the base
    /// image are unknown (`None`), any package may be in it, and no recommendation leads
    /// anywhere.
    pub fn named(
        &self,
        in_base: Option<&dyn Fn(PackageId) -> bool>,
        to_install: &BTreeSet<PackageId>,
    ) -> Vec<PackageId> {
        let is_new = |package: PackageId| in_base.is_some_and(|in_base| !in_base(package));
        let in_base = in_base.unwrap_or(&|_| false);
        let mut graph = DiGraph::<PackageId, ()>::new();
        let nodes: HashMap<PackageId, _> =
            to_install.iter().map(|&package| (package, graph.add_node(package))).collect();
        for &package in to_install {
            let recommends = &self.dependencies.recommends[package.index()];
            let wanted = recommends.iter().filter(|_| is_new(package));
            for need in self.requires(package).iter().chain(wanted) {
                if let Some(pulled) = need.pulls(in_base, to_install) {
                    graph.update_edge(nodes[&package], nodes[&pulled], ());
                }
            }
        }
        let mut named: BTreeSet<PackageId> =
            to_install.iter().copied().filter(|&package| in_base(package)).collect();
        let cycles = condensation(graph, true);
        for cycle in
            cycles.node_indices().filter(|&node| cycles.neighbors_directed(node, Incoming).next().is_none())
        {
            let members = &cycles[cycle];
            if !members.iter().any(|member| named.contains(member)) {
                named.extend(
                    members.iter().min_by_key(|&&member| (self.package(member).automatic, self.key(member))),
                );
            }
        }
        let mut named: Vec<PackageId> = named.into_iter().collect();
        named.sort_by_key(|&package| self.key(package));
        named
    }

    /// Returns `set` and every package that cannot be installed without it: packages that depend
    /// on one of `set`, directly or indirectly, without another installed alternative.
    pub fn closure_up(&self, set: &BTreeSet<PackageId>) -> BTreeSet<PackageId> {
        let mut users: HashMap<PackageId, Vec<(PackageId, usize)>> = HashMap::new();
        let mut left: Vec<Vec<usize>> = Vec::with_capacity(self.packages.len());
        for package in self.ids() {
            let needs = self.requires(package);
            left.push(needs.iter().map(|need| need.satisfiers.len()).collect());
            for (number, need) in needs.iter().enumerate() {
                need.satisfiers.iter().for_each(|&at| users.entry(at).or_default().push((package, number)));
            }
        }
        let mut closure = set.clone();
        let mut todo: Vec<PackageId> = set.iter().copied().collect();
        while let Some(lost) = todo.pop() {
            for &(package, number) in users.get(&lost).into_iter().flatten() {
                left[package.index()][number] -= 1;
                if left[package.index()][number] == 0 && closure.insert(package) {
                    todo.push(package);
                }
            }
        }
        closure
    }

    /// Returns the largest part of `candidates` that can be removed without breaking an installed
    /// package outside of it.
    ///
    /// If several candidates could satisfy a dependency, the preferred one is kept, else the
    /// first.
    pub fn droppable(&self, candidates: &BTreeSet<PackageId>) -> BTreeSet<PackageId> {
        let mut dropped: BTreeSet<PackageId> =
            candidates.iter().copied().filter(|&package| self.package(package).installed).collect();
        let mut kept: Vec<PackageId> = self.ids().filter(|package| !dropped.contains(package)).collect();
        loop {
            while let Some(package) = kept.pop() {
                for need in self.requires(package) {
                    if let [only] = need.satisfiers[..]
                        && dropped.remove(&only)
                    {
                        kept.push(only);
                    }
                }
            }
            let mut stay = self.ids().filter(|package| !dropped.contains(package));
            let broken =
                stay.find_map(|package| self.requires(package).iter().find(|need| need.is_lost(&dropped)));
            let Some(rescue) = broken.and_then(|need| need.preferred.or(need.satisfiers.first().copied()))
            else {
                return dropped;
            };
            dropped.remove(&rescue);
            kept.push(rescue);
        }
    }

    fn package(&self, package: PackageId) -> &'a Package {
        &self.packages[package.index()]
    }

    fn key(&self, package: PackageId) -> (&'a str, &'a str, PackageId) {
        let Package { name, architecture, .. } = self.package(package);
        (name, architecture, package)
    }
}

impl Need {
    /// Returns the package of `to_install` that the package manager must install for this
    /// dependency.
    fn pulls(
        &self,
        in_base: &dyn Fn(PackageId) -> bool,
        to_install: &BTreeSet<PackageId>,
    ) -> Option<PackageId> {
        let mut present =
            self.satisfiers.iter().copied().filter(|&at| to_install.contains(&at) || in_base(at));
        match (present.next(), present.next()) {
            (Some(only), None) => Some(only).filter(|&only| !in_base(only)),
            _ => None,
        }
    }

    /// Whether it was satisfied before the removal of `dropped` and is not any more.
    fn is_lost(&self, dropped: &BTreeSet<PackageId>) -> bool {
        !self.satisfiers.is_empty() && self.satisfiers.iter().all(|at| dropped.contains(at))
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;

//! Which packages have to be named to apt, carried in the build context, or may be dropped.
//!
//! The graph is that of hard dependencies (`Depends` and `Pre-Depends`) among
//! installed packages, with `Provides`, versions, alternatives and
//! architectures as dpkg judges them (Debian policy 7, deb-control(5)).

use super::dpkg::status::{MultiArch, Package};
use super::relation::{Group, Provision, Relation};
use petgraph::Direction::Incoming;
use petgraph::algo::condensation;
use petgraph::graph::DiGraph;
use std::collections::{BTreeSet, HashMap};

/// The hard dependencies among the installed packages of a slice; the others in it take no part.
#[derive(Debug)]
pub struct Graph<'a> {
    packages: &'a [Package],
    /// By package; those that a package satisfies itself are left out.
    needs: Vec<Vec<Need<'a>>>,
    /// The same of recommendations.
    wants: Vec<Vec<Need<'a>>>,
}

/// One dependency with all that satisfy it.
#[derive(Debug)]
struct Need<'a> {
    group: &'a Group,
    /// Ascending, each once.
    satisfiers: Vec<usize>,
    /// The package (not a provider) that satisfies the first alternative: what apt takes if it has to take one.
    preferred: Option<usize>,
}

/// By name: the packages of that name, and those that provide it.
type Names<'a> = HashMap<&'a str, Vec<(usize, Option<&'a Provision>)>>;

impl<'a> Graph<'a> {
    /// The graph of the installed ones among `packages`; `native` is the machine's own architecture.
    pub fn new(packages: &'a [Package], native: &str) -> Self {
        let mut names = Names::new();
        for (index, package) in packages.iter().enumerate().filter(|(_, package)| package.is_installed()) {
            names.entry(&package.name).or_default().push((index, None));
            for provision in &package.provides {
                names.entry(&provision.name).or_default().push((index, Some(provision)));
            }
        }
        let resolved = |index: usize, groups: Vec<&'a Group>| -> Vec<Need<'a>> {
            let groups = groups.into_iter().filter(|_| packages[index].is_installed());
            let needs = groups.map(|group| resolve(packages, index, group, &names, native));
            needs.filter(|need| !need.satisfiers.contains(&index)).collect()
        };
        let all = 0..packages.len();
        let needs = all.clone().map(|index| resolved(index, packages[index].needs().collect())).collect();
        let wants = all.map(|index| resolved(index, packages[index].recommends.iter().collect())).collect();
        Graph { packages, needs, wants }
    }

    /// Dependencies of installed packages that nothing installed satisfies: apt will refuse to go on.
    pub fn unsatisfied(&self) -> impl Iterator<Item = (usize, &'a Group)> {
        let broken = self
            .needs
            .iter()
            .enumerate()
            .flat_map(|(index, needs)| needs.iter().map(move |need| (index, need)));
        broken.filter(|(_, need)| need.satisfiers.is_empty()).map(|(index, need)| (index, need.group))
    }

    /// The packages that need an installed package for one of their dependencies, alone or among others.
    pub fn dependents(&self, package: usize) -> impl Iterator<Item = usize> {
        let needs = move |needs: &Vec<Need<'_>>| needs.iter().any(|need| need.satisfiers.contains(&package));
        self.needs.iter().enumerate().filter(move |(_, all)| needs(all)).map(|(index, _)| index)
    }

    /// The packages of `to_install` that apt has to be told, so that it installs exactly `to_install`, with
    /// recommendations, where it is kept from everything that is neither in the set nor in the base; by name.
    ///
    /// These are the ones that no other one of the set reaches; of a cycle that
    /// nobody reaches one is named, a manually installed one before others, then
    /// the first by name. A dependency or recommendation leads to a package if
    /// nothing else in the set or the base satisfies it: apt can then do nothing
    /// but install it.
    ///
    /// `in_base` tells which packages the base has, in whatever version. One of
    /// them that is in `to_install` gets another version there: apt leaves it
    /// alone unless it is named, and does not follow its recommendations. Where nothing is known of the base (`None`),
    /// any package may be in it, and no recommendation leads anywhere.
    pub fn named(&self, in_base: Option<&dyn Fn(usize) -> bool>, to_install: &BTreeSet<usize>) -> Vec<usize> {
        let is_new = |package: usize| in_base.is_some_and(|in_base| !in_base(package));
        let in_base = in_base.unwrap_or(&|_| false);
        let mut graph = DiGraph::<usize, ()>::new();
        let nodes: HashMap<usize, _> =
            to_install.iter().map(|&package| (package, graph.add_node(package))).collect();
        for &package in to_install {
            let wants = self.wants[package].iter().filter(|_| is_new(package));
            for need in self.needs[package].iter().chain(wants) {
                if let Some(pulled) = need.pulls(in_base, to_install) {
                    graph.update_edge(nodes[&package], nodes[&pulled], ());
                }
            }
        }
        let mut named: BTreeSet<usize> =
            to_install.iter().copied().filter(|&package| in_base(package)).collect();
        let cycles = condensation(graph, true);
        for cycle in
            cycles.node_indices().filter(|&node| cycles.neighbors_directed(node, Incoming).next().is_none())
        {
            let members = &cycles[cycle];
            if !members.iter().any(|member| named.contains(member)) {
                named.extend(
                    members.iter().min_by_key(|&&member| (self.packages[member].automatic, self.key(member))),
                );
            }
        }
        let mut named: Vec<usize> = named.into_iter().collect();
        named.sort_by_key(|&package| self.key(package));
        named
    }

    /// `set` and everything that cannot do without it: what depends on any of it, directly or not, and has no other
    /// installed alternative.
    pub fn closure_up(&self, set: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut users: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        let mut left: Vec<Vec<usize>> = Vec::with_capacity(self.needs.len());
        for (package, needs) in self.needs.iter().enumerate() {
            left.push(needs.iter().map(|need| need.satisfiers.len()).collect());
            for (number, need) in needs.iter().enumerate() {
                need.satisfiers.iter().for_each(|&at| users.entry(at).or_default().push((package, number)));
            }
        }
        let mut closure = set.clone();
        let mut todo: Vec<usize> = set.iter().copied().collect();
        while let Some(lost) = todo.pop() {
            for &(package, number) in users.get(&lost).into_iter().flatten() {
                left[package][number] -= 1;
                if left[package][number] == 0 && closure.insert(package) {
                    todo.push(package);
                }
            }
        }
        closure
    }

    /// The greatest part of `candidates` that can go without breaking an installed package that stays.
    ///
    /// Where several candidates could each keep a dependency satisfied, the one
    /// stays that apt would prefer, else the first.
    pub fn droppable(&self, candidates: &BTreeSet<usize>) -> BTreeSet<usize> {
        let installed = |index: &usize| self.packages.get(*index).is_some_and(Package::is_installed);
        let mut dropped: BTreeSet<usize> = candidates.iter().copied().filter(installed).collect();
        let mut kept: Vec<usize> =
            (0..self.packages.len()).filter(|index| !dropped.contains(index)).collect();
        loop {
            while let Some(package) = kept.pop() {
                for need in &self.needs[package] {
                    if let [only] = need.satisfiers[..]
                        && dropped.remove(&only)
                    {
                        kept.push(only);
                    }
                }
            }
            let stay = (0..self.packages.len()).filter(|index| !dropped.contains(index));
            let broken = stay.flat_map(|package| &self.needs[package]).find(|need| need.is_lost(&dropped));
            let Some(rescue) = broken.and_then(|need| need.preferred.or(need.satisfiers.first().copied()))
            else {
                return dropped;
            };
            dropped.remove(&rescue);
            kept.push(rescue);
        }
    }

    fn key(&self, package: usize) -> (&'a str, &'a str, usize) {
        let Package { name, architecture, .. } = &self.packages[package];
        (name, architecture, package)
    }
}

impl Need<'_> {
    /// The package of `to_install` that apt cannot but install for this.
    fn pulls(&self, in_base: &dyn Fn(usize) -> bool, to_install: &BTreeSet<usize>) -> Option<usize> {
        let mut present =
            self.satisfiers.iter().copied().filter(|&at| to_install.contains(&at) || in_base(at));
        match (present.next(), present.next()) {
            (Some(only), None) => Some(only).filter(|&only| !in_base(only)),
            _ => None,
        }
    }

    /// Whether it was satisfied and is not any more.
    fn is_lost(&self, dropped: &BTreeSet<usize>) -> bool {
        !self.satisfiers.is_empty() && self.satisfiers.iter().all(|at| dropped.contains(at))
    }
}

fn resolve<'a>(
    packages: &[Package],
    owner: usize,
    group: &'a Group,
    names: &Names<'_>,
    native: &str,
) -> Need<'a> {
    let mut satisfiers = Vec::new();
    let mut preferred = None;
    for (rank, relation) in group.iter().enumerate() {
        for &(index, provision) in names.get(relation.name.as_str()).into_iter().flatten() {
            if satisfies(relation, &packages[owner], &packages[index], provision, native) {
                satisfiers.push(index);
                if rank == 0 && provision.is_none() {
                    preferred = Some(index);
                }
            }
        }
    }
    satisfiers.sort_unstable();
    satisfiers.dedup();
    Need { group, satisfiers, preferred }
}

/// Whether a package, or the name that it provides, will do for a relation of `owner`.
fn satisfies(
    relation: &Relation,
    owner: &Package,
    package: &Package,
    provision: Option<&Provision>,
    native: &str,
) -> bool {
    let version = match provision {
        None => Some(package.version.as_str()),
        Some(provision) => provision.version.as_deref(),
    };
    let qualifier = provision.and_then(|provision| provision.architecture.as_deref());
    let offered = qualifier.unwrap_or(&package.architecture);
    let fits = match relation.architecture.as_deref() {
        None => {
            package.multi_arch == MultiArch::Foreign
                || machine(offered, native) == machine(&owner.architecture, native)
        }
        Some("any") => package.multi_arch == MultiArch::Allowed || offered == "any",
        Some(asked) => machine(offered, native) == machine(asked, native),
    };
    fits && relation.accepts_version(version)
}

/// The architecture that a package of `all` counts for is the machine's own.
fn machine<'a>(architecture: &'a str, native: &'a str) -> &'a str {
    match architecture {
        "all" | "" => native,
        other => other,
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;

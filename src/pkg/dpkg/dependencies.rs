//! Determines which installed package satisfies which dependency, by dpkg's rules for `Depends`,
//! `Pre-Depends`, `Recommends` and `Provides` with versions, alternatives and architectures
//! (Debian policy 7, deb-control(5)).

use super::relation::{Group, Provision, Relation};
use super::status::{MultiArch, StatusEntry};
use crate::pkg::graph::{Dependencies, Need};
use crate::pkg::package::PackageId;
use std::collections::HashMap;

/// Packages by their own name and by the names that they provide.
type Names<'a> = HashMap<&'a str, Vec<(usize, Option<&'a Provision>)>>;

/// Resolves the dependencies among the installed packages of `packages`. `native` is the
/// machine's architecture.
pub(in crate::pkg) fn resolve_all(packages: &[StatusEntry], native: &str) -> Dependencies {
    let mut names = Names::new();
    for (index, package) in packages.iter().enumerate().filter(|(_, package)| package.is_installed()) {
        names.entry(&package.name).or_default().push((index, None));
        for provision in &package.provides {
            names.entry(&provision.name).or_default().push((index, Some(provision)));
        }
    }
    let resolved = |index: usize, groups: &mut dyn Iterator<Item = &Group>| -> Vec<Need> {
        let needs = groups.map(|group| resolve(packages, index, group, &names, native));
        let own = PackageId::new(index);
        needs.filter(|need| packages[index].is_installed() && !need.satisfiers.contains(&own)).collect()
    };
    let all = packages.iter().enumerate();
    Dependencies {
        requires: all.clone().map(|(index, package)| resolved(index, &mut package.needs())).collect(),
        recommends: all.map(|(index, package)| resolved(index, &mut package.recommends.iter())).collect(),
    }
}

fn resolve(packages: &[StatusEntry], owner: usize, group: &Group, names: &Names<'_>, native: &str) -> Need {
    let mut satisfiers = Vec::new();
    let mut preferred = None;
    for (rank, relation) in group.iter().enumerate() {
        for &(index, provision) in names.get(relation.name.as_str()).into_iter().flatten() {
            if satisfies(relation, &packages[owner], &packages[index], provision, native) {
                satisfiers.push(PackageId::new(index));
                if rank == 0 && provision.is_none() {
                    preferred = Some(PackageId::new(index));
                }
            }
        }
    }
    satisfiers.sort_unstable();
    satisfiers.dedup();
    let text = group.iter().map(|relation| relation.name.as_str()).collect::<Vec<_>>().join(" | ");
    Need { text, satisfiers, preferred }
}

/// Whether a package, or a name that it provides, satisfies a relation of `owner`.
fn satisfies(
    relation: &Relation,
    owner: &StatusEntry,
    package: &StatusEntry,
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

/// Returns the architecture that dpkg compares: packages of `all` count as native.
fn machine<'a>(architecture: &'a str, native: &'a str) -> &'a str {
    match architecture {
        "all" | "" => native,
        other => other,
    }
}

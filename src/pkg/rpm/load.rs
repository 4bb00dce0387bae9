//! Loads rpm's database of a root into one value.
//!
//! The headers are read three times instead of being kept: with their change logs, they are as
//! large as the database.

use super::claims;
use super::location::{self, Location};
use super::marks::Marks;
use super::package::RelationKind;
use super::provides::Provides;
use super::rich::Expression;
use super::version::Evr;
use super::{Damages, Package};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::pkg::alternatives;
use crate::pkg::graph::{Dependencies, Need};
use crate::pkg::owned::{OwnedFiles, PackageFiles};
use crate::pkg::{Aliases, Catalog, Family, PackageId, Pin};
use crate::system::root::Root;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Reads the database of a root. `None` if there is none. Damaged and unreadable parts are losses.
pub(super) fn load(root: &Root, findings: &mut Findings) -> Option<Catalog> {
    let losses = findings.losses();
    let Some(location) = location::locate(root, findings) else {
        return (findings.losses() > losses).then(|| Catalog::empty(Family::Rpm, ""));
    };
    let (listed, paths) = list(&location, findings);
    let packages = packages(&listed, &Marks::load(root, findings));
    let ids: Ids<'_> =
        listed.iter().enumerate().map(|(index, one)| (&one.pin, PackageId::new(index))).collect();
    let aliases = Aliases::read(root);
    let (owned, provides) = files(&location, &ids, &aliases, &paths);
    let dependencies = dependencies(&location, &listed, &ids, &provides);
    let alternatives = alternatives::read(root, b"var/lib/alternatives", &aliases, findings);
    let architecture = native(&listed);
    Some(Catalog {
        packages,
        dependencies,
        owned,
        alternatives,
        aliases,
        ..Catalog::empty(Family::Rpm, &architecture)
    })
}

/// Returns the identity of a package. `None` for keys. The error says why rpm's tools could not be
/// passed the package by name.
pub(super) fn pin(package: &Package<'_>) -> Result<Option<Pin>, String> {
    if location::is_key(package) {
        return Ok(None);
    }
    // An epoch of 0 is equal to none (rpm-version(7)).
    let epoch = package.epoch.filter(|&epoch| epoch > 0).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    let version = [epoch.as_bytes(), package.version, b"-", package.release].concat();
    let text = |value: &[u8], others: &[u8]| {
        let first = value.first().is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || others.contains(byte);
        match std::str::from_utf8(value) {
            Ok(text) if first && value.iter().all(is_valid) => Ok(text.to_owned()),
            _ => Err(format!("the name or version of a package is not valid: {}", escape::escape(value))),
        }
    };
    Ok(Some(Pin {
        name: text(package.name, b"_+.-")?,
        version: text(&version, b"_+.-:~^")?,
        architecture: text(package.architecture.unwrap_or(b"noarch"), b"_-")?,
    }))
}

/// An installed package as the database lists it.
struct Listed {
    pin: Pin,
    bytes: u64,
    automatic: bool,
}

/// Returns the packages by name, architecture and version, and the paths that dependencies name.
/// Two entries with the same pin are one package.
fn list(location: &Location, findings: &mut Findings) -> (Vec<Listed>, HashSet<Vec<u8>>) {
    let mut listed: Vec<Listed> = Vec::new();
    let mut paths = HashSet::new();
    let mut rejected: Vec<String> = Vec::new();
    let read = location.read(&mut |header| match Package::parse(header) {
        Err(damage) => rejected.push(format!("a package cannot be read: {damage}")),
        Ok(package) => match pin(&package) {
            Err(why) => rejected.push(why),
            Ok(None) => {}
            Ok(Some(pin)) => {
                let automatic = package.automatic == Some(true);
                listed.push(Listed { pin, bytes: package.size, automatic });
                let requires = package.relations(RelationKind::Requires);
                requires.for_each(|relation| named_paths(relation.name, &mut paths));
            }
        },
    });
    match read {
        Ok(damages) => report(&damages, &location.path, findings),
        Err(damage) => {
            findings.loss(findings::Kind::PackageDatabase, &location.path, damage.to_string());
        }
    }
    for text in rejected {
        findings.loss(findings::Kind::PackageDatabase, &location.path, text);
    }
    listed.sort_by(|a, b| {
        let names = (&a.pin.name, &a.pin.architecture).cmp(&(&b.pin.name, &b.pin.architecture));
        names.then_with(|| compare(&a.pin.version, &b.pin.version))
    });
    listed.dedup_by(|a, b| a.pin == b.pin);
    (listed, paths)
}

fn report(damages: &Damages, path: &[u8], findings: &mut Findings) {
    for damage in &damages.list {
        findings.loss(findings::Kind::PackageDatabase, path, damage.to_string());
    }
    let more = damages.total - damages.list.len() as u64;
    if more > 0 {
        let text = format!("{more} further parts of the package database cannot be read");
        findings.loss(findings::Kind::PackageDatabase, path, text);
    }
}

/// Compares two versions as rpm orders them; versions that are equal for rpm are ordered as text.
pub(super) fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let (left, right) = (Evr::parse(a.as_bytes()), Evr::parse(b.as_bytes()));
    left.compare(&right).then_with(|| a.cmp(b))
}

/// Adds the paths that a relation names, also inside of a rich dependency.
fn named_paths(name: &[u8], paths: &mut HashSet<Vec<u8>>) {
    let words = name.split(|byte| byte.is_ascii_whitespace() || b"()".contains(byte));
    for word in words.filter(|word| word.starts_with(b"/")) {
        paths.insert(word.to_vec());
    }
}

/// Returns the machine's own architecture: that of the package `rpm` or `glibc`, else the most
/// common one.
fn native(listed: &[Listed]) -> String {
    let known = ["rpm", "glibc", "filesystem", "bash"].iter().find_map(|name| {
        let found = listed.iter().filter(|one| one.pin.name == *name && one.pin.architecture != "noarch");
        // Of several, the architecture of 64 bits.
        found.map(|one| &one.pin.architecture).max_by_key(|architecture| architecture.ends_with("64"))
    });
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for one in listed.iter().filter(|one| one.pin.architecture != "noarch") {
        *counts.entry(&one.pin.architecture).or_default() += 1;
    }
    let common = || counts.iter().max_by_key(|(_, count)| **count).map(|(architecture, _)| *architecture);
    known.or_else(common).cloned().unwrap_or_default()
}

fn packages(listed: &[Listed], marks: &Marks) -> Vec<crate::pkg::Package> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut qualified: HashMap<(&str, &str), usize> = HashMap::new();
    for Listed { pin, .. } in listed {
        *names.entry(&pin.name).or_default() += 1;
        *qualified.entry((&pin.name, &pin.architecture)).or_default() += 1;
    }
    let label = |pin: &Pin| {
        let Pin { name, version, architecture } = pin;
        match (names[name.as_str()], qualified[&(name.as_str(), architecture.as_str())]) {
            (1, _) => name.clone(),
            (_, 1) => format!("{name}.{architecture}"),
            _ => format!("{name}-{version}.{architecture}"),
        }
    };
    let package = |Listed { pin, bytes, automatic }: &Listed| crate::pkg::Package {
        name: pin.name.clone(),
        version: pin.version.clone(),
        architecture: pin.architecture.clone(),
        label: label(pin),
        installed: true,
        broken: false,
        automatic: *automatic || marks.is_automatic(pin),
        installed_bytes: *bytes,
    };
    listed.iter().map(package).collect()
}

/// Identities of the packages of a catalog.
type Ids<'a> = HashMap<&'a Pin, PackageId>;

/// Passes each package of the catalog to `visit`. Damage was reported by [`list`].
fn each(location: &Location, ids: &Ids<'_>, visit: &mut dyn FnMut(PackageId, &Package<'_>)) {
    let _ = location.read(&mut |header| {
        if let Ok(package) = Package::parse(header)
            && let Ok(Some(pin)) = pin(&package)
            && let Some(&id) = ids.get(&pin)
        {
            visit(id, &package);
        }
    });
}

/// Returns the files of all packages, and the names that they provide. `paths` are the paths that
/// dependencies name.
fn files(
    location: &Location,
    ids: &Ids<'_>,
    aliases: &Aliases,
    paths: &HashSet<Vec<u8>>,
) -> (OwnedFiles, Provides) {
    let absolute = |path: &[u8]| [b"/", path].concat();
    let links: Vec<(Vec<u8>, Vec<u8>)> =
        aliases.iter().map(|(name, target)| (absolute(name), absolute(target))).collect();
    let links: Vec<(&[u8], &[u8])> = links.iter().map(|(name, target)| (&name[..], &target[..])).collect();
    let mut provides = Provides::new(&links);
    // A package may ship the file under the other name of a merged directory.
    let canonical = |path: &[u8]| {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        aliases.canonical(path).into_owned()
    };
    let wanted: HashSet<Vec<u8>> = paths.iter().map(|path| canonical(path)).collect();
    let mut files: Vec<PackageFiles> = Vec::new();
    each(location, ids, &mut |id, package| {
        provides.add(id.index() as u32, package, &|path| wanted.contains(&canonical(path)));
        files.push(claims::of(id, package, aliases));
    });
    (OwnedFiles::merge(files), provides)
}

fn dependencies(location: &Location, listed: &[Listed], ids: &Ids<'_>, provides: &Provides) -> Dependencies {
    let mut requires: Vec<Vec<Need>> = vec![Vec::new(); listed.len()];
    each(location, ids, &mut |id, package| {
        for relation in package.relations(RelationKind::Requires) {
            // An expression that is not understood cannot be evaluated; rpm evaluated it when it
            // installed the package.
            let Ok(expression) = Expression::of(&relation) else { continue };
            for need in expression.needs(provides) {
                let satisfiers: Vec<PackageId> =
                    need.packages.iter().map(|&number| PackageId::new(number as usize)).collect();
                if satisfiers.contains(&id) {
                    continue;
                }
                let is_named =
                    |satisfier: &&PackageId| listed[satisfier.index()].pin.name.as_bytes() == relation.name;
                let preferred = satisfiers.iter().find(is_named).copied();
                let text = String::from_utf8_lossy(relation.name).into_owned();
                requires[id.index()].push(Need { text, satisfiers, preferred });
            }
        }
    });
    for needs in &mut requires {
        needs.sort_by(|a, b| (&a.text, &a.satisfiers).cmp(&(&b.text, &b.satisfiers)));
        needs.dedup();
    }
    // The build turns off weak dependencies.
    let recommends = vec![Vec::new(); requires.len()];
    Dependencies { requires, recommends }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

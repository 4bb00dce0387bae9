//! Loads dpkg's database of a root into one value.

use super::admin::{self, Diversion, StatOverride};
use super::deb822;
use super::dependencies;
use super::files::{self, Owner, Rules};
use super::filters::PathFilters;
use super::status::{self, MultiArch, StatusEntry};
use crate::model::findings::{self, Findings};
use crate::model::problem::Problem;
use crate::pkg::aliases::{Aliases, normal};
use crate::pkg::alternatives;
use crate::pkg::owned::{OwnedFiles, PackageFiles};
use crate::pkg::{Catalog, Family, PackageId};
use crate::system::root::Root;
use rayon::prelude::*;
use std::collections::HashMap;
use std::io::ErrorKind::NotFound;

/// A package and, if it is from `status.d`, the path of its file there.
type Entry = (StatusEntry, Option<Vec<u8>>);

/// Reads the database of a root. `None` if there is none. Damaged and unreadable parts become
/// findings.
pub(super) fn load(root: &Root, findings: &mut Findings) -> Option<Catalog> {
    let mut entries = read_packages(root, findings)?;
    let aliases = Aliases::read(root);
    let (architecture, foreign) = read_architectures(root, &entries, findings);
    mark_automatic(root, &architecture, &mut entries, findings);
    entries.sort_by(|(a, _), (b, _)| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    for conffile in entries.iter_mut().flat_map(|(entry, _)| &mut entry.conffiles) {
        fold(&mut conffile.path, &aliases);
    }
    let diversions = read_diversions(root, &aliases, findings);
    let owned = read_owned(root, &entries, &aliases, &diversions, findings);
    let alternatives = alternatives::read(root, b"var/lib/dpkg/alternatives", &aliases, findings);
    let path_filters = PathFilters::load(root, findings);
    let entries: Vec<StatusEntry> = entries.into_iter().map(|(entry, _)| entry).collect();
    Some(Catalog { foreign, owned, alternatives, path_filters, aliases, ..catalog(&entries, &architecture) })
}

/// Returns the catalog of these entries alone, sorted by name and architecture.
pub(super) fn catalog(entries: &[StatusEntry], architecture: &str) -> Catalog {
    Catalog {
        packages: entries.iter().map(|entry| entry.package(architecture)).collect(),
        dependencies: dependencies::resolve_all(entries, architecture),
        ..Catalog::empty(Family::Dpkg, architecture)
    }
}

/// Reads all diversions, with paths as the walked tree names them.
pub(super) fn read_diversions(root: &Root, aliases: &Aliases, findings: &mut Findings) -> Vec<Diversion> {
    let path = b"var/lib/dpkg/diversions";
    let (mut diversions, problems) =
        admin::parse_diversions(&read_optional(root, path, findings).unwrap_or_default());
    report(findings, path, &problems);
    for diversion in &mut diversions {
        fold(&mut diversion.from, aliases);
        fold(&mut diversion.to, aliases);
    }
    diversions
}

/// Reads the owners and modes that replace the packaged ones, with paths as the walked tree names
/// them.
pub(super) fn read_statoverrides(
    root: &Root,
    aliases: &Aliases,
    findings: &mut Findings,
) -> Vec<StatOverride> {
    let path = b"var/lib/dpkg/statoverride";
    let (mut overrides, problems) =
        admin::parse_statoverrides(&read_optional(root, path, findings).unwrap_or_default());
    report(findings, path, &problems);
    for entry in &mut overrides {
        fold(&mut entry.path, aliases);
    }
    overrides
}

/// Reads a file that may be missing; any other error is a loss.
fn read_optional(root: &Root, path: &[u8], findings: &mut Findings) -> Option<Vec<u8>> {
    match root.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == NotFound => None,
        Err(error) => {
            findings.loss(findings::Kind::Unreadable, path, error.to_string());
            None
        }
    }
}

/// Returns the names in a directory that may be missing; any other error is a loss.
fn list_optional(root: &Root, path: &[u8], findings: &mut Findings) -> Option<Vec<Vec<u8>>> {
    match root.list(path) {
        Ok(names) => Some(names),
        Err(error) if error.kind() == NotFound => None,
        Err(error) => {
            findings.loss(findings::Kind::Unreadable, path, error.to_string());
            None
        }
    }
}

fn report(findings: &mut Findings, path: &[u8], problems: &[Problem]) {
    for problem in problems {
        findings.loss(findings::Kind::PackageDatabase, path, problem.to_string());
    }
}

/// Reads `status` with its journal `updates`, and the directory `status.d` of images without
/// dpkg. `None` if neither exists.
fn read_packages(root: &Root, findings: &mut Findings) -> Option<Vec<Entry>> {
    let mut by_key: HashMap<(String, String), Entry> = HashMap::new();
    let mut take = |(packages, problems): (Vec<StatusEntry>, Vec<Problem>),
                    path: &[u8],
                    single: bool,
                    findings: &mut Findings| {
        report(findings, path, &problems);
        for package in packages {
            let source = single.then(|| path.to_vec());
            by_key.insert((package.name.clone(), package.architecture.clone()), (package, source));
        }
    };
    let losses = findings.losses();
    let mut present = false;
    if let Some(names) = list_optional(root, b"var/lib/dpkg/status.d", findings) {
        present = true;
        for name in names.iter().filter(|name| !name.ends_with(b".md5sums")) {
            let path = [b"var/lib/dpkg/status.d/".as_slice(), name].concat();
            // Maintainer scripts are in the same directory; no package's name ends in such a
            // suffix.
            if !is_script(name)
                && let Some(bytes) = read_optional(root, &path, findings)
            {
                take(status::parse_status_d(&bytes), &path, true, findings);
            }
        }
    }
    if let Some(bytes) = read_optional(root, b"var/lib/dpkg/status", findings) {
        present = true;
        take(status::parse_status(&bytes), b"var/lib/dpkg/status", false, findings);
    }
    // The journal contains changes that an interrupted dpkg had not written to `status`; the
    // numbers are their order.
    for name in list_optional(root, b"var/lib/dpkg/updates", findings).unwrap_or_default() {
        if name.iter().all(u8::is_ascii_digit) {
            let path = [b"var/lib/dpkg/updates/".as_slice(), &name].concat();
            let bytes = read_optional(root, &path, findings).unwrap_or_default();
            take(status::parse_status(&bytes), &path, false, findings);
        }
    }
    (present || findings.losses() > losses).then(|| by_key.into_values().collect())
}

fn is_script(name: &[u8]) -> bool {
    [
        &b".preinst"[..],
        b".postinst",
        b".prerm",
        b".postrm",
        b".conffiles",
        b".config",
        b".templates",
        b".triggers",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

/// Returns the native architecture, and the foreign ones that were added.
fn read_architectures(root: &Root, entries: &[Entry], findings: &mut Findings) -> (String, Vec<String>) {
    let mut words = |path: &[u8]| -> Vec<String> {
        let bytes = read_optional(root, path, findings).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let native = words(b"var/lib/dpkg/arch-native").into_iter().next();
    let known = words(b"var/lib/dpkg/arch");
    let native = native.or_else(|| known.first().cloned()).unwrap_or_else(|| guess_architecture(entries));
    let foreign = known.into_iter().filter(|architecture| *architecture != native).collect();
    (native, foreign)
}

/// Returns dpkg's own architecture, or the most common one.
fn guess_architecture(entries: &[Entry]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (package, _) in entries {
        let architecture = package.architecture.as_str();
        match (package.name.as_str(), architecture) {
            (_, "all" | "") => {}
            ("dpkg", _) if package.is_installed() => return architecture.to_owned(),
            _ => *counts.entry(architecture).or_default() += 1,
        }
    }
    let most = counts.into_iter().max_by_key(|(name, count)| (*count, std::cmp::Reverse(*name)));
    most.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// Reads apt's marks of automatically installed packages. apt lists packages of `all` under the
/// native architecture.
fn mark_automatic(root: &Root, native: &str, entries: &mut [Entry], findings: &mut Findings) {
    let path = b"var/lib/apt/extended_states";
    let Some(bytes) = read_optional(root, path, findings) else { return };
    let (stanzas, problems) = deb822::parse(&bytes);
    problems
        .iter()
        .for_each(|problem| findings.note(findings::Kind::PackageDatabase, path, problem.to_string()));
    let automatic: std::collections::HashSet<(&[u8], &[u8])> = stanzas
        .iter()
        .filter(|stanza| stanza.get("Auto-Installed") == Some(b"1"))
        .filter_map(|stanza| {
            Some((stanza.get("Package")?, stanza.get("Architecture").unwrap_or(native.as_bytes())))
        })
        .collect();
    for (package, _) in entries {
        let architecture = match package.architecture.as_str() {
            "all" | "" => native,
            own => own,
        };
        package.automatic = automatic.contains(&(package.name.as_bytes(), architecture.as_bytes()));
    }
}

/// Replaces a path by its name in the tree. A path with `..` stays and matches no path.
fn fold(path: &mut Box<[u8]>, aliases: &Aliases) {
    if let Some(normal) = normal(path) {
        *path = files::canonical(normal, aliases).into_owned().into();
    }
}

fn read_owned(
    root: &Root,
    entries: &[Entry],
    aliases: &Aliases,
    diversions: &[Diversion],
    findings: &mut Findings,
) -> OwnedFiles {
    let diversions = diversions.iter().map(|diversion| (&*diversion.from, diversion)).collect();
    let rules = Rules { aliases, diversions: &diversions };
    let installed = entries.par_iter().enumerate().filter(|(_, (package, _))| package.is_installed());
    let read: Vec<(PackageFiles, Findings)> =
        installed.map(|(index, entry)| read_files(root, index, entry, rules)).collect();
    let (files, found): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    found.into_iter().for_each(|found| findings.extend(found));
    OwnedFiles::merge(files)
}

/// Reads the files of one package. `status.d` has no lists: only files with a digest are known
/// there.
fn read_files(root: &Root, index: usize, entry: &Entry, rules: Rules<'_>) -> (PackageFiles, Findings) {
    let mut findings = Findings::default();
    let (package, single) = entry;
    let sums = match single {
        None => read_info(root, package, "md5sums", &mut findings),
        Some(path) => {
            let path = [path, b".md5sums".as_slice()].concat();
            read_optional(root, &path, &mut findings).map(|bytes| (path, bytes))
        }
    };
    let (sums_path, sums) = sums.unwrap_or_default();
    let (sums, problems) = files::parse_md5sums(&sums, rules.aliases);
    problems
        .iter()
        .for_each(|problem| findings.note(findings::Kind::PackageDatabase, &sums_path, problem.to_string()));
    let list = match single {
        Some(_) => (sums_path, sums.keys().flat_map(|path| [b"/", &**path, b"\n"].concat()).collect()),
        None => read_info(root, package, "list", &mut findings).unwrap_or_else(|| {
            if findings.losses() == 0 {
                let text = format!("{} has no list of its files", package.name);
                findings.note(findings::Kind::PackageDatabase, b"var/lib/dpkg/info", text);
            }
            Default::default()
        }),
    };
    let owner = Owner { package: PackageId::new(index), name: &package.name, conffiles: &package.conffiles };
    let (files, problems) = files::read(&list.1, &sums, &owner, rules);
    problems
        .iter()
        .for_each(|problem| findings.note(findings::Kind::PackageDatabase, &list.0, problem.to_string()));
    (files, findings)
}

/// Reads `info/NAME.KIND` or `info/NAME:ARCHITECTURE.KIND`, and returns it with its path. dpkg
/// uses the latter if several architectures of the package can be installed.
fn read_info(
    root: &Root,
    package: &StatusEntry,
    kind: &str,
    findings: &mut Findings,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let plain = format!("var/lib/dpkg/info/{}.{kind}", package.name);
    let qualified = format!("var/lib/dpkg/info/{}:{}.{kind}", package.name, package.architecture);
    let mut paths = [plain, qualified];
    if package.multi_arch == MultiArch::Same {
        paths.reverse();
    }
    paths.into_iter().find_map(|path| {
        let bytes = read_optional(root, path.as_bytes(), findings)?;
        Some((path.into_bytes(), bytes))
    })
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;

//! The `packages/` directory of a context for apt: all input of the build stage that installs the
//! packages.

use super::admin::{Diversion, StatOverride};
use super::database;
use super::repository::{Source, keyring, written};
use crate::context::MOUNT;
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::model::manifest::Names;
use crate::pkg::manager::{BuildFile, BuildInput};
use crate::pkg::plan::{PackageVerdict, PlannedPackages};
use crate::pkg::{Catalog, PackageId, Pin, seeds};
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Path of the CA certificates in the build stage. They are copied there because apt's user
/// `_apt` cannot read root's mounted files.
const CA_CERTIFICATES: &str = "/dev/vm2docker-authorities";
/// Pin priority. Above 1000, apt also downgrades (apt_preferences(5)).
const PRIORITY: u32 = 1001;

/// Script that installs the packages. It is constant: the machine's data is in the files that it
/// reads.
const INSTALL: &str = include_str!("install.sh");

/// Returns the files of the build stage that installs from these sources.
pub(super) fn files(
    root: &Root,
    input: &BuildInput<'_>,
    sources: &[Source],
    findings: &mut Findings,
) -> Vec<BuildFile> {
    let PlannedPackages { catalog, plan } = input.packages;
    let from_repository =
        |verdict: &PackageVerdict| matches!(verdict, PackageVerdict::Install(_) | PackageVerdict::Base);
    let named = plan.named.iter().map(|&id| apt_name(catalog, id)).collect();
    let installed = plan.with(from_repository).map(|id| Pin::from(&catalog[id]).to_string()).collect();
    let kept = plan.kept().map(|id| format!("{}:{}", catalog[id].name, catalog[id].architecture)).collect();
    let pinned: BTreeMap<String, &str> =
        plan.with(from_repository).map(|id| (apt_name(catalog, id), catalog[id].version.as_str())).collect();
    let mut files = Files::default();
    files.add("install.list", lines(named));
    files.add("installed.list", lines(installed));
    files.add("keep.list", lines(kept));
    files.add("pins", preferences(&pinned));
    files.add("architectures.list", lines(catalog.foreign.iter().cloned().collect()));
    let trusts = certificates(&mut files, root, sources, findings);
    files.add("apt.conf", apt_conf(trusts));
    files.add("install.sh", INSTALL);
    for (name, text) in written::write(sources) {
        files.add(&escape::escape(&name), text);
    }
    seeds(&mut files, root, input.rewritten);
    keys(&mut files, root, sources, findings);
    // The catalog was loaded from the same files, so their damage is already reported.
    let mut known = Findings::default();
    let diverted = database::read_diversions(root, &catalog.aliases, &mut known);
    files.add("diversions.list", diversions(&diverted));
    let overrides = database::read_statoverrides(root, &catalog.aliases, &mut known);
    files.add("root/var/lib/dpkg/statoverride", statoverrides(&overrides, input.names));
    files.0
}

/// The files collected so far.
#[derive(Default)]
struct Files(Vec<BuildFile>);

impl Files {
    fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.push(BuildFile { name: name.to_owned(), content: content.into() });
    }
}

fn lines(lines: BTreeSet<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Writes the local diversions (dpkg-divert(1)), two lines each: the packaged path, and the path
/// of the diverted file.
fn diversions(diversions: &[Diversion]) -> Vec<u8> {
    let own = diversions.iter().filter(|diversion| diversion.by.is_none());
    own.flat_map(|diversion| [b"/", &*diversion.from, b"\n/", &*diversion.to, b"\n"].concat()).collect()
}

/// Writes the owners and modes that replace the packaged ones (dpkg-statoverride(1)). Overrides
/// with unknown accounts are left out, because dpkg refuses to run with them.
fn statoverrides(overrides: &[StatOverride], names: &Names) -> Vec<u8> {
    let is_known = |name: &str, known: &BTreeMap<u32, Vec<u8>>| {
        name.starts_with('#') || known.values().any(|other| other == name.as_bytes())
    };
    let usable = overrides.iter().filter(|statoverride| {
        is_known(&statoverride.user, &names.users) && is_known(&statoverride.group, &names.groups)
    });
    let line = |statoverride: &StatOverride| {
        let StatOverride { user, group, mode, path } = statoverride;
        [format!("{user} {group} {mode:o} /").as_bytes(), path, b"\n"].concat()
    };
    usable.flat_map(line).collect()
}

/// Returns apt's name of the package, with the architecture if it is foreign.
fn apt_name(catalog: &Catalog, id: PackageId) -> String {
    let package = &catalog[id];
    match package.architecture == "all" || package.architecture == catalog.architecture {
        true => package.name.clone(),
        false => format!("{}:{}", package.name, package.architecture),
    }
}

/// Pins exactly the machine's packages and versions, and blocks all others (apt_preferences(5)).
fn preferences(pinned: &BTreeMap<String, &str>) -> String {
    let pin = |(name, version): (&String, &&str)| {
        format!("Package: {name}\nPin: version {version}\nPin-Priority: {PRIORITY}\n\n")
    };
    let pins: String = pinned.iter().map(pin).collect();
    format!("{pins}Package: *\nPin: release *\nPin-Priority: -1\n")
}

/// Adds the CA certificates that the machine trusts, if a source uses TLS. Returns whether it
/// added them.
///
/// A base image has no CA certificates before its packages are installed, and never a company's
/// own CA.
fn certificates(files: &mut Files, root: &Root, sources: &[Source], findings: &mut Findings) -> bool {
    const BUNDLE: &[u8] = b"etc/ssl/certs/ca-certificates.crt";
    if !sources.iter().any(|source| source.uri.starts_with("https:")) {
        return false;
    }
    match root.read(BUNDLE) {
        Ok(content) => {
            files.add("ca-certificates.crt", content);
            true
        }
        Err(cause) => {
            let text = format!("apt in the build trusts only the CA certificates of the base image: {cause}");
            findings.note(findings::Kind::AptSource, BUNDLE, text);
            false
        }
    }
}

fn apt_conf(trusts: bool) -> String {
    let ca_info = format!("Acquire::https::CAInfo \"{CA_CERTIFICATES}\";\n");
    let ca_info = if trusts { ca_info.as_str() } else { "" };
    format!(
        "Dir::Etc::sourcelist \"{MOUNT}/packages/sources.list\";\n\
         Dir::Etc::sourceparts \"{MOUNT}/packages/sources.list.d\";\n\
         Dir::Etc::preferences \"{MOUNT}/packages/pins\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Install-Recommends \"true\";\n\
         APT::Get::Assume-Yes \"true\";\n\
         APT::Get::allow-downgrades \"true\";\n\
         Acquire::Retries \"3\";\n\
         Dpkg::Use-Pty \"false\";\n\
         {ca_info}"
    )
}

/// Adds files that must exist before the first package is installed: accounts, so that UIDs and
/// GIDs are the machine's; repository keys; dpkg's path filters.
fn seeds(files: &mut Files, root: &Root, rewritten: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    files.0.extend(seeds::accounts(root, rewritten));
    let filters = path_filters(root);
    if !filters.is_empty() {
        files.add("root/etc/dpkg/dpkg.cfg.d/vm2docker-self", filters);
    }
}

/// Adds the repository keys: apt's default paths, the usual directories, and each path that a
/// source names.
fn keys(files: &mut Files, root: &Root, sources: &[Source], findings: &mut Findings) {
    let mut keys = written::key_files(sources);
    keys.insert(b"etc/apt/trusted.gpg".as_slice().into());
    for directory in ["etc/apt/trusted.gpg.d", "etc/apt/keyrings", "usr/share/keyrings"] {
        let names = root.list(directory.as_bytes()).unwrap_or_default();
        let plain = names.iter().filter(|name| is_plain(name));
        keys.extend(plain.map(|name| [directory.as_bytes(), b"/", name].concat().into()));
    }
    for path in keys {
        match root.read(&path) {
            // A source may name any file; only public keys may get into the image.
            Ok(content) if keyring::is_public(&content) => {
                files.add(&format!("root/{}", escape::escape(&path)), content);
            }
            Ok(_) => findings.note(
                findings::Kind::AptSource,
                &path,
                "not a public key; it is left out of the build",
            ),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => {
                findings.note(findings::Kind::Unreadable, &path, format!("key of a repository: {cause}"))
            }
        }
    }
}

/// Returns dpkg's path filters of the machine, without its other configuration (dpkg.cfg(5)).
fn path_filters(root: &Root) -> Vec<u8> {
    let names = root.list(b"etc/dpkg/dpkg.cfg.d").unwrap_or_default();
    let parts = names.into_iter().filter(|name| is_plain(name));
    let parts = parts.map(|name| [b"etc/dpkg/dpkg.cfg.d/", &name[..]].concat());
    let mut filters = Vec::new();
    for path in parts.chain([b"etc/dpkg/dpkg.cfg".to_vec()]) {
        let content = root.read(&path).unwrap_or_default();
        for line in content.split(|&byte| byte == b'\n') {
            if line.trim_ascii_start().starts_with(b"path-") {
                filters.extend_from_slice(line);
                filters.push(b'\n');
            }
        }
    }
    filters
}

/// Whether apt and dpkg accept this file name in their directories, and a list can contain it
/// unquoted.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_pin_every_package_and_block_others() {
        let pins = preferences(&BTreeMap::from([("nginx".to_owned(), "1.22.1-9+deb12u2")]));
        assert!(pins.starts_with("Package: nginx\nPin: version 1.22.1-9+deb12u2\nPin-Priority: 1001\n"));
        assert!(pins.ends_with("Package: *\nPin: release *\nPin-Priority: -1\n"));
    }
}

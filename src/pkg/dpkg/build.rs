//! The `packages/` directory of a context for apt: everything that the package layer's build step reads.

use super::admin::{Diversion, StatOverride};
use super::database;
use super::repository::{Source, keyring, written};
use crate::context::MOUNT;
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::model::manifest::Names;
use crate::pkg::manager::{BuildFile, BuildInput};
use crate::pkg::plan::{PackageVerdict, PlannedPackages};
use crate::pkg::{Catalog, PackageId, Pin};
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Where the build step has the authorities: apt's own user has to read them, and what is mounted is root's.
const AUTHORITIES: &str = "/dev/vm2docker-authorities";
/// apt pins above 1000 allow downgrades (`apt_preferences(5)`).
const PRIORITY: u32 = 1001;

/// The build step that installs. Constant: what comes from the machine is in the files that it reads.
const INSTALL: &str = include_str!("install.sh");

/// Returns the files of the build step that installs from these sources.
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
    // The catalog was loaded from the same files: what is wrong with them is a finding already.
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

/// The administrator's diversions (`dpkg-divert(1)`), two lines each: where packages ship the file, and where it is.
fn diversions(diversions: &[Diversion]) -> Vec<u8> {
    let own = diversions.iter().filter(|diversion| diversion.by.is_none());
    own.flat_map(|diversion| [b"/", &*diversion.from, b"\n/", &*diversion.to, b"\n"].concat()).collect()
}

/// Owners and modes that packages are installed with instead of their own (`dpkg-statoverride(1)`). dpkg refuses to
/// work while one of them names an account that there is not.
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

/// The name by which apt knows the package: with the architecture where it is a foreign one.
fn apt_name(catalog: &Catalog, id: PackageId) -> String {
    let package = &catalog[id];
    match package.architecture == "all" || package.architecture == catalog.architecture {
        true => package.name.clone(),
        false => format!("{}:{}", package.name, package.architecture),
    }
}

/// Exactly the machine's packages at the machine's versions, and nothing else (`apt_preferences(5)`).
fn preferences(pinned: &BTreeMap<String, &str>) -> String {
    let pin = |(name, version): (&String, &&str)| {
        format!("Package: {name}\nPin: version {version}\nPin-Priority: {PRIORITY}\n\n")
    };
    let pins: String = pinned.iter().map(pin).collect();
    format!("{pins}Package: *\nPin: release *\nPin-Priority: -1\n")
}

/// The certificate authorities that the machine trusts, for sources over TLS: an image has none before its packages are
/// installed, and a company's authority is in no image. Whether there are some.
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
            let text =
                format!("the build asks sources over TLS and trusts nobody but its base image does: {cause}");
            findings.note(findings::Kind::AptSource, BUNDLE, text);
            false
        }
    }
}

fn apt_conf(trusts: bool) -> String {
    let authorities = format!("Acquire::https::CAInfo \"{AUTHORITIES}\";\n");
    let authorities = if trusts { authorities.as_str() } else { "" };
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
         {authorities}"
    )
}

/// Files that must be in place before the first package is: accounts, so that every number comes out as on the
/// machine; keys of the repositories; what dpkg leaves out.
fn seeds(files: &mut Files, root: &Root, rewritten: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    for name in ["passwd", "group", "shadow", "gshadow"] {
        let path = format!("etc/{name}");
        // Of the others only what a rule has gone over: a file that is withheld or excluded must not come in here.
        let content = match rewritten(path.as_bytes()) {
            Some(content) => content,
            None if name == "group" => root.read(path.as_bytes()).unwrap_or_default(),
            None => continue,
        };
        if !content.is_empty() {
            files.add(&format!("root/{path}"), content);
        }
    }
    let filters = path_filters(root);
    if !filters.is_empty() {
        files.add("root/etc/dpkg/dpkg.cfg.d/vm2docker-self", filters);
    }
}

/// The keys of the repositories: where apt looks by itself, where keys usually lie, and wherever a source names one.
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
            // A source may name any file; what is not a public key is not for the image.
            Ok(content) if keyring::is_public(&content) => {
                files.add(&format!("root/{}", escape::escape(&path)), content);
            }
            Ok(_) => {
                findings.note(findings::Kind::AptSource, &path, "not a public key: the build does not get it")
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => {
                findings.note(findings::Kind::Unreadable, &path, format!("key of a repository: {cause}"))
            }
        }
    }
}

/// What dpkg leaves out on the machine, and nothing else of its configuration (`dpkg.cfg(5)`).
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

/// Names that apt and dpkg themselves accept in their directories, and that are safe in a list.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_and_no_other_gets_in() {
        let pins = preferences(&BTreeMap::from([("nginx".to_owned(), "1.22.1-9+deb12u2")]));
        assert!(pins.starts_with("Package: nginx\nPin: version 1.22.1-9+deb12u2\nPin-Priority: 1001\n"));
        assert!(pins.ends_with("Package: *\nPin: release *\nPin-Priority: -1\n"));
    }
}

//! The `packages/` directory: everything that the package layer's build step reads.

use super::sink::Sink;
use crate::error::Result;
use crate::escape;
use crate::findings::Findings;
use crate::layer::{PackageLayer, Role};
use crate::pkg::{Catalog, Pin};
use crate::plan::Rewritten;
use crate::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Where the build mounts the context's parts. During a build step `/dev` is a file system in memory, so the mount point
/// stays in no layer; elsewhere Docker 20.10 leaves an empty directory behind.
pub const MOUNT: &str = "/dev/vm2docker";
/// apt pins above 1000 allow downgrades (`apt_preferences(5)`).
const PRIORITY: u32 = 1001;

/// The build step that installs. Constant: what comes from the machine is in the files that it reads.
const INSTALL: &str = include_str!("install.sh");

/// Writes the directory for `--packages install`.
pub fn write(
    sink: &mut Sink,
    root: &Root,
    packages: (&Catalog, &PackageLayer),
    rewritten: &BTreeMap<Box<[u8]>, Rewritten>,
    findings: &mut Findings,
) -> Result<()> {
    let (catalog, layer) = packages;
    let pins = |is: fn(&Role) -> bool| layer.with(is).map(|index| Pin::from(&catalog.packages[index]));
    let from_archive = |role: &Role| matches!(role, Role::Install | Role::Base);
    let lines = |lines: BTreeSet<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();

    let named = layer.named.iter().map(|&index| apt_name(catalog, index)).collect();
    sink.write("packages/install.list", lines(named).as_bytes())?;
    let installed = pins(from_archive).map(|pin| pin.to_string()).collect();
    sink.write("packages/installed.list", lines(installed).as_bytes())?;
    let kept = (0..layer.roles.len()).filter(|&index| layer.is_kept(index)).map(|index| {
        let package = &catalog.packages[index];
        format!("{}:{}", package.name, package.architecture)
    });
    sink.write("packages/keep.list", lines(kept.collect()).as_bytes())?;
    let pinned: BTreeMap<String, &str> = layer
        .with(from_archive)
        .map(|index| (apt_name(catalog, index), catalog.packages[index].version.as_str()))
        .collect();
    sink.write("packages/pins", preferences(&pinned).as_bytes())?;
    sink.write("packages/architectures.list", lines(catalog.foreign.iter().cloned().collect()).as_bytes())?;
    sink.write("packages/apt.conf", apt_conf().as_bytes())?;
    sink.write("packages/install.sh", INSTALL.as_bytes())?;
    sources(sink, root, findings)?;
    seeds(sink, root, rewritten, findings)?;
    Ok(())
}

/// The name by which apt knows the package: with the architecture where it is a foreign one.
fn apt_name(catalog: &Catalog, index: usize) -> String {
    let package = &catalog.packages[index];
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

fn apt_conf() -> String {
    format!(
        "Dir::Etc::sourcelist \"{MOUNT}/packages/sources.list\";\n\
         Dir::Etc::sourceparts \"{MOUNT}/packages/sources.list.d\";\n\
         Dir::Etc::preferences \"{MOUNT}/packages/pins\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Install-Recommends \"true\";\n\
         APT::Get::Assume-Yes \"true\";\n\
         APT::Get::allow-downgrades \"true\";\n\
         Acquire::Retries \"3\";\n\
         Dpkg::Use-Pty \"false\";\n"
    )
}

/// The machine's apt sources (`sources.list(5)`), without media of its own and without passwords.
fn sources(sink: &mut Sink, root: &Root, findings: &mut Findings) -> Result<()> {
    let listed = root.list(b"etc/apt/sources.list.d").unwrap_or_default();
    let parts = listed
        .into_iter()
        .filter(|name| is_plain(name) && (name.ends_with(b".list") || name.ends_with(b".sources")));
    let parts = parts.map(|name| {
        (format!("packages/sources.list.d/{}", text(&name)), [b"etc/apt/sources.list.d/", &name[..]].concat())
    });
    let single = ("packages/sources.list".to_owned(), b"etc/apt/sources.list".to_vec());
    for (name, path) in [single].into_iter().chain(parts) {
        let content = match root.read(&path) {
            Ok(content) => content,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => {
                findings.loss("unreadable", &path, format!("apt source, not used in the build: {cause}"));
                continue;
            }
        };
        if holds_password(&content) {
            let text = "holds a password, so the build does not use it; packages that only it has will be missing there";
            findings.note("apt-source", &path, text);
            continue;
        }
        sink.write(&name, &without_local_media(&content))?;
    }
    Ok(())
}

/// The paths of apt sources that hold a password: not for the image, and not for the build.
pub fn sources_with_passwords(root: &Root) -> Vec<Vec<u8>> {
    let parts = root.list(b"etc/apt/sources.list.d").unwrap_or_default();
    let parts = parts.into_iter().map(|name| [b"etc/apt/sources.list.d/", &name[..]].concat());
    let all = parts.chain([b"etc/apt/sources.list".to_vec()]);
    all.filter(|path| root.read(path).is_ok_and(|content| holds_password(&content))).collect()
}

/// `user:password@` in an address.
fn holds_password(content: &[u8]) -> bool {
    content.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        memchr::memmem::find(word, b"://").is_some_and(|at| {
            let authority = word[at + 3..].split(|&byte| byte == b'/').next().unwrap_or_default();
            authority.contains(&b'@')
        })
    })
}

/// Lines for media and directories that only the machine has.
fn without_local_media(content: &[u8]) -> Vec<u8> {
    let is_local = |line: &[u8]| {
        line.starts_with(b"deb")
            && line.split(|byte| byte.is_ascii_whitespace()).any(|word| {
                [&b"cdrom:"[..], b"file:", b"copy:"].iter().any(|scheme| word.starts_with(scheme))
            })
    };
    let lines: Vec<&[u8]> = content.split(|&byte| byte == b'\n').filter(|line| !is_local(line)).collect();
    lines.join(&b'\n')
}

/// Files that must be in place before the first package is: accounts, so that every number comes out as on the
/// machine; keys of the repositories; what dpkg leaves out.
fn seeds(
    sink: &mut Sink,
    root: &Root,
    rewritten: &BTreeMap<Box<[u8]>, Rewritten>,
    findings: &mut Findings,
) -> Result<()> {
    for name in ["passwd", "group", "shadow", "gshadow"] {
        let path = format!("etc/{name}");
        // Of the others only what a rule has gone over: a file that is withheld or excluded must not come in here.
        let content = match rewritten.get(path.as_bytes()) {
            Some(rewritten) => rewritten.content.clone(),
            None if name == "group" => root.read(path.as_bytes()).unwrap_or_default(),
            None => continue,
        };
        if !content.is_empty() {
            sink.write(&format!("packages/root/{path}"), &content)?;
        }
    }
    let mut keys = vec!["etc/apt/trusted.gpg".to_owned()];
    for directory in ["etc/apt/trusted.gpg.d", "etc/apt/keyrings", "usr/share/keyrings"] {
        let names = root.list(directory.as_bytes()).unwrap_or_default();
        keys.extend(
            names.iter().filter(|name| is_plain(name)).map(|name| format!("{directory}/{}", text(name))),
        );
    }
    for path in keys {
        match root.read(path.as_bytes()) {
            Ok(content) => sink.write(&format!("packages/root/{path}"), &content)?,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => {
                findings.note("unreadable", path.as_bytes(), format!("key of a repository: {cause}"))
            }
        }
    }
    let filters = path_filters(root);
    if !filters.is_empty() {
        sink.write("packages/root/etc/dpkg/dpkg.cfg.d/vm2docker-self", &filters)?;
    }
    Ok(())
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

fn text(name: &[u8]) -> String {
    escape::escape(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_seen() {
        assert!(holds_password(b"deb https://user:pw@example.org/debian stable main"));
        assert!(holds_password(b"Types: deb\nURIs: https://token@example.org/x\n"));
        assert!(!holds_password(b"deb https://example.org/debian@2 stable main # me@example.org"));
    }

    #[test]
    fn local_media_are_left_out() {
        let text = b"deb cdrom:[x]/ bookworm main\ndeb [trusted=yes] file:/srv/repo ./\ndeb http://example.org/debian bookworm main\n";
        assert_eq!(without_local_media(text), b"deb http://example.org/debian bookworm main\n");
    }

    #[test]
    fn every_package_is_pinned_and_no_other_gets_in() {
        let pins = preferences(&BTreeMap::from([("nginx".to_owned(), "1.22.1-9+deb12u2")]));
        assert!(pins.starts_with("Package: nginx\nPin: version 1.22.1-9+deb12u2\nPin-Priority: 1001\n"));
        assert!(pins.ends_with("Package: *\nPin: release *\nPin-Priority: -1\n"));
    }
}

//! Links that package scripts create with tools that keep records. A recorded link belongs to the
//! package, an unrecorded one is local. If a recorded link is missing, the administrator removed
//! it.

use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::pkg::provenance::Provenance;
use crate::pkg::provenance::input::ProvenanceInput;
use std::collections::{BTreeMap, BTreeSet};

/// Record of deb-systemd-helper about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    /// Package of the unit.
    package: Option<String>,
    /// Whether the link points to `/dev/null`.
    masked: bool,
}

/// All records of links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Records by the path of the link (deb-systemd-helper(1p)).
    units: BTreeMap<Vec<u8>, Unit>,
    /// Units that packaged systemd.preset(5) files enable by name.
    presets: BTreeSet<Vec<u8>>,
    /// Paths of records of a2enmod(8) and phpenmod(8) about modules that packages enabled.
    markers: BTreeSet<Vec<u8>>,
}

/// Directories of deb-systemd-helper's records, one empty file per link, and the directories of
/// the links.
const STATES: &[(&str, &str, bool)] = &[
    ("var/lib/systemd/deb-systemd-helper-enabled", "etc/systemd/system", false),
    ("var/lib/systemd/deb-systemd-user-helper-enabled", "etc/systemd/user", false),
    ("var/lib/systemd/deb-systemd-helper-masked", "etc/systemd/system", true),
    ("var/lib/systemd/deb-systemd-user-helper-masked", "etc/systemd/user", true),
];

impl Links {
    pub(super) fn load(machine: &ProvenanceInput<'_>, findings: &mut Findings) -> Self {
        let mut links = Links::default();
        let also = also(machine);
        for (state, place, masked) in STATES {
            for found in machine.beneath(state).iter().filter(|found| found.node.kind.name() == "file") {
                let name = &found.node.path[state.len() + 1..];
                if name.ends_with(b".dsh-also") {
                    continue;
                }
                let link = [place.as_bytes(), b"/", name].concat();
                let package = also.get(&link).cloned();
                if !masked
                    && machine.find(&link).is_none()
                    && let Some(package) = &package
                {
                    findings.note(
                        findings::Kind::Disabled,
                        &link,
                        format!("package {package} enabled this unit; the administrator disabled it"),
                    );
                }
                links.units.insert(link, Unit { package, masked: *masked });
            }
        }
        for found in
            ["var/lib/apache2", "var/lib/php/modules"].into_iter().flat_map(|place| machine.beneath(place))
        {
            let path = &found.node.path;
            match tree::file_name(tree::parent(path)) {
                b"enabled_by_maint" => drop(links.markers.insert(path.to_vec())),
                b"disabled_by_admin" => findings.note(
                    findings::Kind::Disabled,
                    path,
                    "a package enables this module; the administrator disabled it",
                ),
                _ => {}
            }
        }
        for found in machine.beneath("usr/lib/systemd/system-preset") {
            links.presets.extend(machine.read(found).iter().flat_map(|text| enabled(text)));
        }
        links
    }

    /// Returns the provenance of a link if a record or its target determines it.
    pub(super) fn provenance(
        &self,
        machine: &ProvenanceInput<'_>,
        path: &[u8],
        target: &[u8],
    ) -> Option<Provenance> {
        let directory = tree::parent(path);
        let name = tree::file_name(path);
        match directory {
            b"etc" if path == b"etc/localtime" => {
                let is_default = target.ends_with(b"/zoneinfo/Etc/UTC");
                if is_default { owned(machine, path, target, "debconf") } else { None }
            }
            b"etc/ssl/certs" => certificate(machine, target),
            b"etc/fonts/conf.d" | b"etc/nginx/modules-enabled" => {
                let is_shipped = tree::link_target(path, target).starts_with(b"usr/share/");
                if is_shipped { owned(machine, path, target, "postinst") } else { None }
            }
            b"etc/runit/runsvdir/default" => owned(machine, path, target, "runit-helper"),
            _ if tree::is_within(directory, b"etc/systemd") => self.unit(machine, path, target),
            _ if is_run_level(directory) => owned(machine, path, target, "update-rc.d"),
            _ if directory.starts_with(b"etc/apache2/") => {
                let kind = match tree::file_name(directory) {
                    b"mods-enabled" => "module",
                    b"conf-enabled" => "conf",
                    b"sites-enabled" => "site",
                    _ => return None,
                };
                let stem = &name[..name.iter().rposition(|&byte| byte == b'.')?];
                self.marked(&format!("var/lib/apache2/{kind}/enabled_by_maint/"), stem).then(|| {
                    Provenance::created(machine.owner(&tree::link_target(path, target)), "a2enmod")
                })?
            }
            _ => {
                // etc/php/8.2/cli/conf.d/20-curl.ini
                let place = directory.strip_prefix(b"etc/php/")?.strip_suffix(b"/conf.d")?;
                let module = name.strip_suffix(b".ini")?.split(|&byte| byte == b'-').nth(1)?;
                let marker = [b"var/lib/php/modules/", place, b"/enabled_by_maint/", module].concat();
                self.markers.contains(&marker).then(|| Provenance::created(None, "phpenmod"))?
            }
        }
    }

    fn marked(&self, place: &str, name: &[u8]) -> bool {
        self.markers.contains(&[place.as_bytes(), name].concat())
    }

    fn unit(&self, machine: &ProvenanceInput<'_>, path: &[u8], target: &[u8]) -> Option<Provenance> {
        let is_mask = target == b"/dev/null";
        if let Some(unit) = self.units.get(path).filter(|unit| unit.masked == is_mask) {
            return Provenance::created(unit.package.clone(), "deb-systemd-helper");
        }
        let package = machine.owner(&tree::link_target(path, target))?;
        let preset = self.presets.contains(tree::file_name(target));
        if preset { Provenance::created(Some(package), "systemd.preset") } else { None }
    }
}

/// Returns the links of units, from the `UNIT.dsh-also` files, with the unit's package.
fn also(machine: &ProvenanceInput<'_>) -> BTreeMap<Vec<u8>, String> {
    let mut also = BTreeMap::new();
    for found in STATES.iter().flat_map(|(state, ..)| machine.beneath(state)) {
        let Some(unit) = tree::file_name(&found.node.path).strip_suffix(b".dsh-also") else { continue };
        let places = [&b"usr/lib/systemd/system/"[..], b"lib/systemd/system/", b"usr/lib/systemd/user/"];
        let Some(package) = places.iter().find_map(|place| machine.owner(&[place, unit].concat())) else {
            continue;
        };
        let text = machine.read(found).unwrap_or_default();
        let lines = text.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"/"));
        also.extend(lines.map(|link| (link.to_vec(), package.clone())));
    }
    also
}

/// Returns the units that a preset file enables by their complete name.
fn enabled(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n');
    let units = lines.filter_map(|line| line.strip_prefix(b"enable "));
    units.map(|unit| unit.trim_ascii().to_vec()).filter(|unit| !unit.contains(&b'*')).collect()
}

/// Attributes a link to the package that ships its target.
fn owned(machine: &ProvenanceInput<'_>, path: &[u8], target: &[u8], how: &'static str) -> Option<Provenance> {
    Provenance::created(Some(machine.owner(&tree::link_target(path, target))?), how)
}

/// Attributes a certificate, linked by its name or its hash, to the package that ships the file.
fn certificate(machine: &ProvenanceInput<'_>, target: &[u8]) -> Option<Provenance> {
    if target == b"ssl-cert-snakeoil.pem" {
        return Provenance::created(Some("ssl-cert".to_owned()), "make-ssl-cert");
    }
    let named = || match &machine.find(&[b"etc/ssl/certs/", target].concat())?.node.kind {
        tree::Kind::Symlink(target) => Some(&**target),
        _ => None,
    };
    let target = if target.contains(&b'/') { target } else { named()? };
    owned(machine, b"etc/ssl/certs/x", target, "update-ca-certificates")
}

/// Whether the directory contains the links of a runlevel: `etc/rc2.d`, `etc/rcS.d`.
fn is_run_level(directory: &[u8]) -> bool {
    matches!(directory, [b'e', b't', b'c', b'/', b'r', b'c', _, b'.', b'd'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_patterns_and_disabled_units_are_skipped() {
        assert_eq!(
            enabled(b"# x\nenable getty@.service\nenable foo*\ndisable bar.service\n"),
            [b"getty@.service"]
        );
    }
}

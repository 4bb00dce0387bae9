//! Unpackaged files that scriptlets, triggers and tools create.
//!
//! Scriptlets are not read: the paths here are those that the distributions' own tools write.
//! Copies that rpm keeps of configuration files (`.rpmnew`, `.rpmsave`, `.rpmorig`) are results of
//! local changes and have no provenance.
//!
//! Sources of the provenance, the most reliable first:
//!
//! - paths that a package owns without shipping them (`%ghost`);
//! - `presets`: links of units that a packaged systemd.preset(5) file enables;
//! - `tmpfiles.d(5)`, compiled Python, account files;
//! - `patterns`: paths that only tools write.

mod patterns;
mod presets;

use crate::model::tree::{self, Kind};
use crate::pkg::Catalog;
use crate::pkg::claim::FileRole;
use crate::pkg::provenance::input::{ProvenanceInput, compiled, take_directories};
use crate::pkg::provenance::{Generated, Provenance, accounts, tmpfiles};
use crate::system::root::Root;
use crate::walk::WalkedEntry;

/// Determines the provenance of the paths of `found`, a complete sorted tree, that no package
/// ships.
pub(super) fn load(root: &Root, catalog: &Catalog, found: &[WalkedEntry]) -> Generated {
    let machine = ProvenanceInput { root, catalog, found };
    let presets = presets::Presets::load(&machine);
    let tmpfiles = tmpfiles::Paths::load(&machine);
    let has_system_accounts = accounts::only_system(root);
    let mut generated = Generated::default();
    for (index, found) in found.iter().enumerate() {
        let path = &*found.node.path;
        let owned = catalog.owned.get(path);
        if let Some(owned) = owned {
            if owned.claim.role == FileRole::Ghost
                && let Some(&package) = owned.packages.first()
                && let Some(origin) = Provenance::created(Some(catalog.label(package).to_owned()), "%ghost")
            {
                generated.insert(index, origin);
            }
            continue;
        }
        let origin = match &found.node.kind {
            Kind::Symlink(target) => {
                presets.provenance(&machine, path, target).or_else(|| tmpfiles.provenance(path, Some(target)))
            }
            Kind::Directory => tmpfiles.provenance(path, None),
            Kind::File { .. } => compiled(&machine, path, "brp-python-bytecompile").or_else(|| {
                let is_theirs = has_system_accounts && accounts::FILES.contains(&path);
                if is_theirs { Provenance::created(None, "useradd, sysusers.d") } else { None }
            }),
            _ => None,
        };
        let by_pattern = || Provenance::created(None, patterns::tool(path)?);
        if let Some(origin) = origin.or_else(by_pattern) {
            generated.insert(index, origin);
        }
    }
    take_directories(&mut generated, &machine, "rpm");
    generated
}

/// Returns the label of the package that ships the target of a link.
fn owner_of_target(machine: &ProvenanceInput<'_>, path: &[u8], target: &[u8]) -> Option<String> {
    machine.owner(&tree::link_target(path, target))
}

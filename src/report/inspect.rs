//! Output of `inspect`.

use super::{escape_text, machine_line, table};
use crate::detect::Inventory;
use crate::image;
use crate::model::escape;
use crate::system::mounts::{Class, Mount};
use serde::Serialize;

/// Returns the machine, its base image, mounts and services, and the number of packages and
/// packaged paths.
pub fn inspected(inventory: &Inventory, packages: Option<(usize, usize)>, services: &[String]) -> String {
    let mut lines = vec![("machine", machine_line(inventory))];
    let (reference, reason) = image::intended(inventory, packages.is_some());
    lines.push(("base image", format!("{} ({reason})", reference.as_deref().unwrap_or("scratch"))));
    lines.push(match packages {
        Some((installed, paths)) => ("packages", format!("{installed} installed, {paths} paths")),
        None => ("packages", "no supported package database".to_owned()),
    });
    for found in inventory.mounts.iter().map(mount) {
        let what = if found.walked { "read" } else { "not read" };
        lines.push(("mount", format!("{} ({}): {what}", found.path, found.fstype)));
    }
    lines.extend(services.iter().map(|service| ("service", service.clone())));
    table(&lines)
}

/// One mount in the output of `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MountLine {
    /// Mount point.
    pub path: String,
    /// File system type.
    pub fstype: String,
    /// Device or server.
    pub source: String,
    /// Whether its files are part of the machine.
    pub walked: bool,
}

/// Returns a mount with its names escaped.
pub fn mount(mount: &Mount) -> MountLine {
    MountLine {
        path: escape::display(&mount.point),
        fstype: escape_text(&mount.fstype),
        source: escape::escape(&mount.source),
        walked: mount.class == Class::Local,
    }
}

//! Directories and links that systemd-tmpfiles creates by packaged configuration (tmpfiles.d(5)).

use super::Provenance;
use super::input::ProvenanceInput;
use crate::detect::units::tmpfiles;
use crate::model::tree;
use std::collections::BTreeMap;

/// Map from path without its first slash to the package of the configuration and, for a link, its
/// target.
#[derive(Debug, Default)]
pub(in crate::pkg) struct Paths(BTreeMap<Vec<u8>, (String, Option<Vec<u8>>)>);

impl Paths {
    pub(in crate::pkg) fn load(machine: &ProvenanceInput<'_>) -> Self {
        let mut paths = BTreeMap::new();
        for found in machine.beneath("usr/lib/tmpfiles.d") {
            let file = &*found.node.path;
            let Some(package) = machine.owner(file).filter(|_| file.ends_with(b".conf")) else { continue };
            let Some(text) = machine.read(found) else { continue };
            for (path, target) in created(&text) {
                paths.entry(path).or_insert_with(|| (package.clone(), target));
            }
        }
        Paths(paths)
    }

    /// Returns the provenance of a directory, or of a link with this target.
    pub(in crate::pkg) fn provenance(&self, path: &[u8], target: Option<&[u8]>) -> Option<Provenance> {
        let (package, wanted) = self.0.get(path)?;
        if wanted.as_deref() == target {
            Provenance::created(Some(package.clone()), "tmpfiles.d")
        } else {
            None
        }
    }
}

/// Returns the paths of the lines that create a directory or a link, without paths that contain
/// specifiers or patterns.
fn created(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    tmpfiles::parse(text).0.into_iter().filter_map(|line| {
        let path = line.path.strip_prefix(b"/")?;
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let is_plain = !path.iter().any(|byte| b"%*?[".contains(byte)) && !tree::file_name(path).is_empty();
        let target = match line.kind {
            b'L' => Some(line.argument?),
            kind if b"dDvqQ".contains(&kind) => None,
            _ => return None,
        };
        is_plain.then(|| (path.to_vec(), target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_other_types_and_specifiers_are_skipped() {
        let text = b"# comment\nd /var/lib/systemd/pstore 0755 root root 14d\nL /etc/vconsole.conf - - - - default/keyboard\n\
            q /var/tmp 1777 root root 30d\nD! /tmp/.X11-unix 1777\nd /run/user/%U\nd\nd /\nd relative\nL /etc/x - -\nf /etc/y\n";
        let found: Vec<_> = created(text).collect();
        let expected: [(&[u8], Option<&[u8]>); 4] = [
            (b"var/lib/systemd/pstore", None),
            (b"etc/vconsole.conf", Some(b"default/keyboard")),
            (b"var/tmp", None),
            (b"tmp/.X11-unix", None),
        ];
        assert_eq!(found, expected.map(|(path, target)| (path.to_vec(), target.map(<[u8]>::to_vec))));
    }
}

//! Links of units that `systemctl preset` creates when a package is installed (systemd.preset(5)).

use super::owner_of_target;
use crate::glob::{Dialect, Glob};
use crate::model::tree;
use crate::pkg::provenance::Provenance;
use crate::pkg::provenance::input::ProvenanceInput;
use std::collections::BTreeMap;

/// Lines of the preset files in the order in which systemd reads them; the first match decides.
#[derive(Debug, Default)]
pub(super) struct Presets(Vec<(bool, Glob)>);

impl Presets {
    pub(super) fn load(machine: &ProvenanceInput<'_>) -> Self {
        // Local files replace packaged ones of the same name, and all are read by name.
        let mut files = BTreeMap::new();
        for directory in ["usr/lib/systemd/system-preset", "etc/systemd/system-preset"] {
            for found in machine.beneath(directory) {
                let path = &*found.node.path;
                if path.ends_with(b".preset") {
                    files.insert(tree::file_name(path), found);
                }
            }
        }
        let lines = files.values().filter_map(|found| machine.read(found));
        Presets(lines.flat_map(|text| parse(&text)).collect())
    }

    /// Returns the provenance of a link in `/etc/systemd/system` to a packaged unit.
    pub(super) fn provenance(
        &self,
        machine: &ProvenanceInput<'_>,
        path: &[u8],
        target: &[u8],
    ) -> Option<Provenance> {
        if !tree::is_within(path, b"etc/systemd/system") {
            return None;
        }
        let package = owner_of_target(machine, path, target)?;
        if self.enables(tree::file_name(path)) || self.enables(tree::file_name(target)) {
            Provenance::created(Some(package), "systemd.preset")
        } else {
            None
        }
    }

    fn enables(&self, unit: &[u8]) -> bool {
        self.0.iter().find(|(_, pattern)| pattern.matches(unit)).is_some_and(|(enables, _)| *enables)
    }
}

/// Parses `enable PATTERN` and `disable PATTERN`; the names of instances that can follow are not
/// needed.
fn parse(text: &[u8]) -> Vec<(bool, Glob)> {
    let line = |line: &[u8]| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let enables = match words.next()? {
            b"enable" => true,
            b"disable" | b"ignore" => false,
            _ => return None,
        };
        Some((enables, Glob::new(words.next()?, Dialect::Fnmatch)))
    };
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enables_first_match_decides() {
        let presets = Presets(parse(
            b"# x\nenable sshd.service\n  disable sshd*\nenable  getty@.service tty1\ndisable *\n",
        ));
        for (unit, expected) in
            [("sshd.service", true), ("sshd.socket", false), ("getty@.service", true), ("own.service", false)]
        {
            assert_eq!(presets.enables(unit.as_bytes()), expected, "{unit}");
        }
        assert!(!Presets::default().enables(b"sshd.service"));
    }
}

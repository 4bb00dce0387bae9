//! Links of the alternatives system (update-alternatives(1)) as they are expected on the machine.

use crate::model::tree::Kind;
use crate::pkg::PlannedPackages;
use std::collections::HashMap;

/// A link that `update-alternatives` keeps.
pub(super) struct AlternativeLink {
    /// Index of its group in the catalog.
    pub(super) group: u32,
    /// Where it leads if it is as the database says; nothing where the administrator chose.
    target: Option<Box<[u8]>>,
}

impl AlternativeLink {
    /// Whether an object is this link.
    pub(super) fn is(&self, kind: &Kind) -> bool {
        let Kind::Symlink(found) = kind else { return false };
        self.target.as_ref().is_none_or(|target| target == found)
    }
}

/// Returns the links of all groups, by path.
pub(super) fn alternatives(packages: Option<PlannedPackages<'_>>) -> HashMap<Vec<u8>, AlternativeLink> {
    let mut links = HashMap::new();
    let groups = packages.into_iter().flat_map(|packages| packages.catalog.alternatives.iter().enumerate());
    for (index, group) in groups {
        // Of several of the same priority the first.
        let best = group.choices.iter().rev().max_by_key(|choice| choice.priority).filter(|_| !group.manual);
        let names = std::iter::once((&group.name, &group.link));
        let names = names.chain(group.slaves.iter().map(|(name, link)| (name, link)));
        let targets = best.map(|best| std::iter::once(&best.path).chain(&best.slaves));
        let mut targets = targets.into_iter().flatten();
        for (name, link) in names {
            let chosen = [b"etc/alternatives/", &name[..]].concat();
            let through = [b"/", &chosen[..]].concat().into_boxed_slice();
            let group = index as u32;
            links.insert(link.to_vec(), AlternativeLink { group, target: Some(through) });
            links.insert(chosen, AlternativeLink { group, target: targets.next().cloned() });
        }
    }
    links
}

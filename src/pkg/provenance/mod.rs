//! Which package script or tool made an unpackaged file.

pub(super) mod accounts;
pub(super) mod input;
pub(super) mod tmpfiles;
pub(super) mod tools;

use std::collections::HashMap;
use std::fmt;

/// Script or tool that made an unpackaged path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provenance {
    /// Package, if known.
    pub package: Option<String>,
    /// Tool or record that this is determined from.
    pub how: &'static str,
    /// Comparison of the content with the one that the package made.
    pub state: ContentState,
}

/// Comparison of a generated file with the content that its package made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentState {
    /// Created by the tool; no other process writes to this path.
    Created,
    /// The content is the one that the package made.
    Unchanged,
    /// The content differs: a local change.
    Changed,
}

impl Provenance {
    pub(super) fn new(package: Option<String>, how: &'static str, state: ContentState) -> Self {
        Provenance { package, how, state }
    }

    pub(super) fn created(package: Option<String>, how: &'static str) -> Option<Self> {
        Some(Provenance::new(package, how, ContentState::Created))
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let maker = match &self.package {
            Some(package) => format!("package {package}"),
            None => "package scripts".to_owned(),
        };
        match self.state {
            ContentState::Created => write!(out, "created by {maker} ({})", self.how),
            ContentState::Unchanged => write!(out, "created by {maker} ({}), unchanged", self.how),
            ContentState::Changed => write!(out, "changed since {maker} created it ({})", self.how),
        }
    }
}

/// Provenance of the unpackaged paths of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    origins: Vec<Provenance>,
    /// Index into the tree's objects, to the position in `origins`.
    by_index: HashMap<usize, u32>,
}

impl Generated {
    /// Returns a number for [`Generated::origin`] if the provenance of the object at this index
    /// of the tree is known.
    pub fn why(&self, index: usize) -> Option<u32> {
        self.by_index.get(&index).copied()
    }

    /// Returns the provenance for a number from [`Generated::why`].
    pub fn origin(&self, number: u32) -> &Provenance {
        &self.origins[number as usize]
    }

    pub(super) fn insert(&mut self, index: usize, origin: Provenance) {
        let known = self.origins.iter().position(|known| *known == origin);
        let number = known.unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        });
        self.by_index.insert(index, number as u32);
    }
}

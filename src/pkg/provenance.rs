//! Which tool or package script made a file that no package ships.

use std::collections::HashMap;
use std::fmt;

/// What made an unpackaged path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provenance {
    /// The package, where it is known.
    pub package: Option<String>,
    /// The tool or the record that tells.
    pub how: &'static str,
    /// What is known of the content.
    pub state: ContentState,
}

/// What is known of a generated file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentState {
    /// Nothing, and nobody but the tool writes there.
    Made,
    /// It is what the package made.
    Unchanged,
    /// It is not: the administrator changed it.
    Changed,
}

impl Provenance {
    pub(super) fn new(package: Option<String>, how: &'static str, state: ContentState) -> Self {
        Provenance { package, how, state }
    }

    pub(super) fn made(package: Option<String>, how: &'static str) -> Option<Self> {
        Some(Provenance::new(package, how, ContentState::Made))
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match &self.package {
            Some(package) => format!("package {package}"),
            None => "package scripts".to_owned(),
        };
        match self.state {
            ContentState::Made => write!(out, "made by {who} ({})", self.how),
            ContentState::Unchanged => write!(out, "made by {who} ({}), unchanged", self.how),
            ContentState::Changed => write!(out, "changed since {who} made it ({})", self.how),
        }
    }
}

/// What is known of the paths of a tree that no package ships.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    origins: Vec<Provenance>,
    /// Index into the tree's objects, and into the origins.
    by_index: HashMap<usize, u32>,
}

impl Generated {
    /// Who made the object at this index of the tree, if that is known. See [`Generated::origin`].
    pub fn why(&self, index: usize) -> Option<u32> {
        self.by_index.get(&index).copied()
    }

    /// The origin of a number that [`Generated::why`] gave.
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

//! Every path that installed packages own, stored compactly.

use super::claim::{Claim, ClaimState};
use super::package::PackageId;
use rayon::prelude::*;
use std::ops::Range;

/// An owned path: its packages, and their claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    /// Packages that own the path, ascending.
    pub packages: &'a [PackageId],
    /// Their common claim; without a digest and metadata if the packages contradict each other.
    pub claim: &'a Claim,
}

/// Map from path (relative to the root, in the names of the walked tree) to owners and claim. It
/// needs about 70 bytes per entry in addition to the name.
#[derive(Clone, Debug, Default)]
pub struct OwnedFiles {
    /// All names, sorted.
    names: Vec<u8>,
    entries: Vec<Entry>,
    owners: Vec<PackageId>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: usize,
    length: u32,
    first_owner: u32,
    owners: u32,
    claim: Claim,
    contradicted: bool,
}

impl OwnedFiles {
    /// Returns the owners of a path and their claim, or `None` if it is unpackaged.
    pub fn get(&self, path: &[u8]) -> Option<Owned<'_>> {
        let found = self.entries.binary_search_by(|entry| self.name(entry).cmp(path)).ok()?;
        Some(self.owned(&self.entries[found]))
    }

    /// Returns all paths, sorted bytewise.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Owned<'_>)> {
        self.entries.iter().map(|entry| (self.name(entry), self.owned(entry)))
    }

    /// Returns the number of paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no path is owned.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Merges the files of all packages into one sorted map.
    pub(super) fn merge(packages: Vec<PackageFiles>) -> Self {
        let mut order: Vec<(u32, u32)> =
            Vec::with_capacity(packages.iter().map(|files| files.records.len()).sum());
        for (file, files) in packages.iter().enumerate() {
            order.extend((0..files.records.len()).map(|record| (file as u32, record as u32)));
        }
        let path = |&(file, record): &(u32, u32)| packages[file as usize].path(record as usize);
        order.par_sort_unstable_by(|a, b| {
            let owner = |item: &(u32, u32)| packages[item.0 as usize].package;
            path(a).cmp(path(b)).then_with(|| (owner(a), a.1).cmp(&(owner(b), b.1)))
        });
        let mut owned = OwnedFiles::default();
        for item in &order {
            let files = &packages[item.0 as usize];
            owned.push(path(item), files.package, &files.records[item.1 as usize].claim);
        }
        owned.names.shrink_to_fit();
        owned.entries.shrink_to_fit();
        owned.owners.shrink_to_fit();
        owned
    }

    /// Appends a path that is not less than the last one.
    fn push(&mut self, path: &[u8], package: PackageId, claim: &Claim) {
        let is_new = self.entries.last().is_none_or(|entry| self.name(entry) != path);
        if is_new {
            let (name, first_owner) = (self.names.len(), self.owners.len() as u32);
            self.names.extend_from_slice(path);
            let (length, claim) = (path.len() as u32, claim.clone());
            self.entries.push(Entry { name, length, first_owner, owners: 0, claim, contradicted: false });
        }
        let Some(entry) = self.entries.last_mut() else { return };
        if self.owners[entry.first_owner as usize..].last() != Some(&package) {
            self.owners.push(package);
            entry.owners += 1;
        }
        if !is_new {
            entry.add(claim);
        }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name..entry.name + entry.length as usize]
    }

    fn owned<'a>(&'a self, entry: &'a Entry) -> Owned<'a> {
        let owners = entry.first_owner as usize;
        Owned { packages: &self.owners[owners..owners + entry.owners as usize], claim: &entry.claim }
    }
}

impl Entry {
    /// Combines the claim with that of another owner of the same path.
    fn add(&mut self, other: &Claim) {
        let claim = &mut self.claim;
        let differ = |a: bool, b: bool, equal: bool| a && b && !equal;
        self.contradicted |=
            differ(claim.digest.is_some(), other.digest.is_some(), claim.digest == other.digest)
                || differ(
                    claim.metadata.is_some(),
                    other.metadata.is_some(),
                    claim.metadata == other.metadata,
                );
        if self.contradicted {
            (claim.digest, claim.metadata) = (None, None);
        } else {
            claim.digest = claim.digest.or(other.digest);
            claim.metadata = claim.metadata.take().or_else(|| other.metadata.clone());
        }
        claim.role = claim.role.max(other.role);
        // Obsolete for one owner is not obsolete while another one ships it.
        claim.state = match (claim.state, other.state) {
            (ClaimState::Obsolete, other) => other,
            (own, ClaimState::Obsolete) => own,
            (own, other) => own.max(other),
        };
    }
}

/// The files of one package.
#[derive(Debug)]
pub(super) struct PackageFiles {
    package: PackageId,
    names: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    name: u32,
    length: u32,
    claim: Claim,
}

impl PackageFiles {
    /// Returns a list without files; `capacity` is the expected length of all names in bytes.
    pub(super) fn new(package: PackageId, capacity: usize) -> Self {
        PackageFiles { package, names: Vec::with_capacity(capacity), records: Vec::new() }
    }

    /// Appends a path in the names of the walked tree.
    pub(super) fn push(&mut self, path: &[u8], claim: Claim) {
        // NOTE(u32): a list is at most 256 MiB; a name that a diversion moves beyond 4 GiB is
        // skipped.
        let (Ok(name), Ok(length)) = (u32::try_from(self.names.len()), u32::try_from(path.len())) else {
            return;
        };
        self.names.extend_from_slice(path);
        self.records.push(Record { name, length, claim });
    }

    fn path(&self, record: usize) -> &[u8] {
        let Record { name, length, .. } = &self.records[record];
        let (name, length) = (*name, *length);
        let range: Range<usize> = name as usize..name as usize + length as usize;
        &self.names[range]
    }

    /// Returns the number of paths.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

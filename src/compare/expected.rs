//! Paths that the base image and the package layer certainly provide.
//!
//! A path is certain if it was seen in the base image, or if a package ships it that the build
//! installs in exactly that version and no filter excludes it. Everything else goes into the
//! delta; `apply` then writes only what really differs.

use crate::model::digest::{Algorithm, Digest};
use crate::model::manifest::{Names, ProvidedBy};
use crate::model::merged_usr;
use crate::model::tree::{self, Kind, Node};
use crate::pkg::claim::{ClaimState, ClaimedMetadata, FileRole};
use crate::pkg::plan::{PackageMode, PackageVerdict, PlannedPackages};
use crate::pkg::{Aliases, Owned, PathFilters};

/// The object that the lower layers provide for one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provided<'a> {
    /// Exactly this object, because it was seen in the base image.
    Exact(&'a Node),
    /// The object that a package ships under this path.
    Package {
        /// The layer in which the package puts it there.
        by: ProvidedBy,
        /// Digest of a regular file; `None` for everything else.
        digest: Option<Digest>,
        /// Everything else that the package database records.
        metadata: Option<&'a ClaimedMetadata>,
    },
}

impl Provided<'_> {
    /// Returns the layer that provides it.
    pub fn layer(&self) -> ProvidedBy {
        match self {
            Provided::Exact(_) => ProvidedBy::Base,
            Provided::Package { by, .. } => *by,
        }
    }
}

/// Known contents of the base image.
#[derive(Clone, Debug, Default)]
pub struct BaseView<'a> {
    /// All its objects, sorted; empty if the image was not read.
    pub nodes: &'a [Node],
    /// Its regular files according to its packages, sorted, if only the packages are known.
    pub listed: Option<Vec<(Box<[u8]>, Digest)>>,
    /// Whether it has a merged `/usr`, if the image was not read.
    pub is_merged: bool,
    /// Filters for packaged files that it excludes or may exclude.
    pub filters: PathFilters,
}

/// Known contents of the lower layers.
#[derive(Debug)]
pub struct ExpectedTree<'a> {
    packages: Option<PlannedPackages<'a>>,
    base: BaseView<'a>,
    /// The machine's accounts: packages name the owners of their files.
    names: &'a Names,
    /// Directories of the machine whose packaged files may be unpacked elsewhere, because the
    /// base image does not have the same merged `/usr`.
    apart: Vec<Box<[u8]>>,
}

impl<'a> ExpectedTree<'a> {
    /// Combines the machine's package database and the base image.
    pub fn new(packages: Option<PlannedPackages<'a>>, base: BaseView<'a>, names: &'a Names) -> Self {
        let apart = packages.map(|packages| apart(&packages.catalog.aliases, &base)).unwrap_or_default();
        ExpectedTree { packages, base, names, apart }
    }

    /// Returns every path that the lower layers certainly provide, unsorted, with duplicates.
    pub fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let owned = self.packages.into_iter().flat_map(|packages| packages.catalog.owned.iter());
        let shipped = owned.filter(|(path, owned)| self.given(path).is_some() && self.is_unpacked(owned));
        let seen = self.base.nodes.iter().map(|node| &*node.path);
        seen.chain(shipped.map(|(path, _)| path))
    }

    /// Whether a package of the distribution provides the path, not the package files of the
    /// context.
    fn is_unpacked(&self, owned: &Owned<'_>) -> bool {
        self.has_role(owned, |role| matches!(role, PackageVerdict::Install(_)))
            || self.base.listed.is_some() && self.has_role(owned, |role| *role == PackageVerdict::Base)
    }

    fn has_role(&self, owned: &Owned<'_>, is: impl Fn(&PackageVerdict) -> bool) -> bool {
        self.packages.is_some_and(|packages| packages.any(owned.packages, is))
    }

    /// Returns the algorithm of the digest that this path will be compared with, if there is one.
    pub fn wanted_digest(&self, path: &[u8]) -> Option<Algorithm> {
        let digest = match self.given(path) {
            Some(Provided::Package { digest: Some(digest), .. }) => Some(digest),
            Some(Provided::Exact(_)) => None,
            Some(Provided::Package { .. }) | None => self.shipped(path),
        };
        digest.map(|digest| digest.algorithm())
    }

    /// The machine's accounts.
    pub fn names(&self) -> &'a Names {
        self.names
    }

    /// Returns the digest of the file that a distributed package ships under a path, if it is
    /// known. Packages that only this machine has do not count, because they can contain its
    /// secrets. The lower layers can still exclude the path.
    pub fn shipped(&self, path: &[u8]) -> Option<Digest> {
        let PlannedPackages { catalog, plan } = self.packages?;
        let owned = catalog.owned.get(path).filter(|owned| owned.claim.state != ClaimState::Obsolete)?;
        let is_local = |verdict: &PackageVerdict| {
            plan.mode == PackageMode::Install && matches!(verdict, PackageVerdict::Carry(_))
        };
        owned.claim.digest.filter(|_| !self.has_role(&owned, is_local))
    }

    /// Returns the digest of the base image's file under a path, whatever the machine's metadata.
    pub fn seen(&self, path: &[u8]) -> Option<Digest> {
        let node = &self.base.nodes[tree::find(self.base.nodes, path)?];
        if let Kind::File { sha256, .. } = node.kind { sha256.map(Digest::Sha256) } else { None }
    }

    /// Returns the base image's object under a path whose package files are included in the
    /// context. An equal object need not be included.
    pub fn beneath(&self, path: &[u8]) -> Option<&'a Node> {
        let owned = self.packages?.catalog.owned.get(path)?;
        let travels = self.has_role(&owned, |role| matches!(role, PackageVerdict::Carry(_)));
        travels.then(|| tree::find(self.base.nodes, path)).flatten().map(|index| &self.base.nodes[index])
    }

    /// Returns what the lower layers certainly provide for a path.
    pub fn given(&self, path: &[u8]) -> Option<Provided<'a>> {
        let base = || tree::find(self.base.nodes, path).map(|index| Provided::Exact(&self.base.nodes[index]));
        let Some(PlannedPackages { catalog, plan }) = self.packages else { return base() };
        let shipped_by = catalog.owned.get(path).filter(|owned| owned.claim.role != FileRole::Ghost);
        let Some(owned) = shipped_by else {
            // A file of the base image that no package ships: package scripts may change it.
            return if plan.runs_scripts() { None } else { base() };
        };
        if owned.claim.state == ClaimState::Obsolete {
            return None;
        }
        let shipped = |by| {
            let metadata = owned.claim.metadata.as_deref();
            Provided::Package { by, digest: owned.claim.digest, metadata }
        };
        let listed = || {
            let digest = Some(self.listed(path)?);
            Some(Provided::Package { by: ProvidedBy::Base, digest, metadata: None })
        };
        // One carried owner is enough: the archive then has the machine's object, unless the base
        // image already has it.
        if self.has_role(&owned, |role| matches!(role, PackageVerdict::Carry(_))) {
            let same = listed().filter(|listed| *listed == shipped(ProvidedBy::Base));
            Some(same.unwrap_or_else(|| shipped(ProvidedBy::Packages)))
        } else if self.has_role(&owned, |role| matches!(role, PackageVerdict::Install(_))) {
            self.is_installed(path, &owned).then(|| shipped(ProvidedBy::Packages))
        } else if self.base.listed.is_some() && self.has_role(&owned, |role| *role == PackageVerdict::Base) {
            let shape = || self.is_in_place(path, &owned).then(|| shipped(ProvidedBy::Base));
            if owned.claim.digest.is_some() { listed() } else { shape() }
        } else {
            base().or_else(|| self.is_excluded_by_image(path, &owned).then(|| shipped(ProvidedBy::Packages)))
        }
    }

    /// Whether the base image has the package of the path without the path itself: image makers
    /// exclude documentation and languages. The context then includes these package files.
    fn is_excluded_by_image(&self, path: &[u8], owned: &Owned<'_>) -> bool {
        let is_file = |metadata: &ClaimedMetadata| matches!(metadata.kind, Kind::File { .. });
        let is_known = owned.claim.digest.is_some()
            || owned.claim.metadata.as_deref().is_some_and(|metadata| !is_file(metadata));
        !self.base.nodes.is_empty()
            && is_known
            && self.has_role(owned, |role| *role == PackageVerdict::Base)
            && self.is_in_place(path, owned)
    }

    /// Returns the digest of a file of the base image, if only its packages are known.
    fn listed(&self, path: &[u8]) -> Option<Digest> {
        let files = self.base.listed.as_ref()?;
        let index = files.binary_search_by(|(other, _)| (**other).cmp(path)).ok()?;
        Some(files[index].1)
    }

    /// Whether the installation of a package puts its file exactly there. A base image with
    /// unknown contents may already have the package. Nothing unpacks it again then, and files
    /// that the image excludes stay missing.
    fn is_installed(&self, path: &[u8], owned: &Owned<'_>) -> bool {
        let Some(PlannedPackages { catalog, plan }) = self.packages else { return false };
        self.is_in_place(path, owned)
            && !catalog.path_filters.excludes(path)
            && (plan.base_known || !self.base.filters.excludes(path))
    }

    /// Whether packages unpack to exactly this path.
    fn is_in_place(&self, path: &[u8], owned: &Owned<'_>) -> bool {
        owned.claim.state != ClaimState::Diverted
            && !self.apart.iter().any(|directory| tree::is_within(path, directory))
    }
}

/// Returns the targets of merged-`/usr` links that only the machine has, and the names of those
/// that only the base image has.
fn apart(machine: &Aliases, base: &BaseView<'_>) -> Vec<Box<[u8]>> {
    let usual = Aliases::from_links(merged_usr::USUAL.into_iter().filter(|_| base.is_merged));
    let seen = Aliases::from_links(base.nodes.iter().filter_map(|node| match &node.kind {
        Kind::Symlink(target) if !node.path.contains(&b'/') => Some((&*node.path, &**target)),
        _ => None,
    }));
    let theirs = if base.nodes.is_empty() { usual } else { seen };
    // The links of an image that was not read are unknown; one link means that it is merged.
    let is_merged = |aliases: &Aliases| aliases.iter().next().is_some();
    if base.nodes.is_empty() && is_merged(machine) == is_merged(&theirs) {
        return Vec::new();
    }
    let lacks = |aliases: &Aliases, wanted| !aliases.iter().any(|link| link == wanted);
    let ours = machine.iter().filter(|link| lacks(&theirs, *link)).map(|(_, target)| target.into());
    ours.chain(theirs.iter().filter(|link| lacks(machine, *link)).map(|(name, _)| name.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::Stat;

    fn shown(machine: &[(&str, &str)], base: &BaseView<'_>) -> Vec<String> {
        let apart = apart(&Aliases::from_links(machine.iter().copied()), base);
        apart.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    #[test]
    fn apart_link_on_one_side_returns_its_directory() {
        let link = |name: &str, target: &str| Node {
            path: name.as_bytes().into(),
            kind: Kind::Symlink(target.as_bytes().into()),
            stat: Stat::default(),
            group: 0,
            xattrs: None,
        };
        let merged = [link("bin", "usr/bin"), link("lib", "usr/lib")];
        let split = [link("vmlinuz", "boot/vmlinuz")];
        let seen = |nodes| BaseView { nodes, ..BaseView::default() };
        let unseen = |is_merged| BaseView { is_merged, ..BaseView::default() };
        let both = [("bin", "usr/bin"), ("lib", "usr/lib")];
        assert!(shown(&both, &seen(&merged)).is_empty());
        assert!(shown(&[], &seen(&split)).is_empty());
        assert_eq!(shown(&both, &seen(&split)), ["usr/bin", "usr/lib"]);
        assert_eq!(shown(&[], &seen(&merged)), ["bin", "lib"]);
        let more = [both[0], both[1], ("lib32", "usr/lib32")];
        assert_eq!(shown(&more, &seen(&merged)), ["usr/lib32"]);
        assert!(shown(&both, &unseen(true)).is_empty() && shown(&[], &unseen(false)).is_empty());
        assert_eq!(shown(&both, &unseen(false)), ["usr/bin", "usr/lib"]);
        assert_eq!(shown(&[], &unseen(true))[..3], ["bin", "lib", "lib32"]);
    }
}

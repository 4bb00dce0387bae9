//! What FROM and the package layer will put on the disk, path by path, as far as that is sure.
//!
//! Sure is: seen in the base image, or shipped by a package that the build
//! installs at that very version and that nothing leaves out. Everything else
//! is carried in the delta; `apply` then writes only what really differs.

use crate::layer::{PackageLayer, Role};
use crate::manifest::Layer;
use crate::pkg::{Catalog, Owned, PathFilters};
use crate::tree::{self, Kind, Md5, Node};

/// What the layers below give for one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<'a> {
    /// Exactly this object, seen in the base image.
    Exact(&'a Node),
    /// A regular file with this digest, from a package.
    File(Layer, Md5),
    /// Whatever the package ships under this path, which is no regular file.
    Shipped(Layer),
}

impl Given<'_> {
    /// The layer that gives it.
    pub fn layer(&self) -> Layer {
        match self {
            Given::Exact(_) => Layer::Base,
            Given::File(layer, _) | Given::Shipped(layer) => *layer,
        }
    }
}

/// The base image as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct BaseView<'a> {
    /// What was seen in it, sorted; empty where nothing was.
    pub nodes: &'a [Node],
    /// Its regular files by what its packages ship, sorted, where it was not seen but its packages are known.
    pub listed: Option<Vec<(Box<[u8]>, Md5)>>,
    /// Whether it has a merged `/usr`, where that was not seen.
    pub is_merged: bool,
    /// What it leaves out of packages, or may leave out.
    pub filters: PathFilters,
}

/// The lower layers as far as they are known.
#[derive(Debug)]
pub struct ExpectedTree<'a> {
    packages: Option<(&'a Catalog, &'a PackageLayer)>,
    base: BaseView<'a>,
    /// Whether the base image has the same merged `/usr` as the machine, so that packages unpack to the same paths.
    same_aliases: bool,
}

impl<'a> ExpectedTree<'a> {
    /// From the machine's package database and the base image.
    pub fn new(packages: Option<(&'a Catalog, &'a PackageLayer)>, base: BaseView<'a>) -> Self {
        let Some((catalog, _)) = packages else {
            return ExpectedTree { packages, base, same_aliases: false };
        };
        let mut links: Vec<(&[u8], &[u8])> = catalog.aliases.iter().collect();
        links.sort_unstable();
        let same_aliases = if base.nodes.is_empty() {
            links.is_empty() != base.is_merged
        } else {
            let mut theirs: Vec<(&[u8], &[u8])> = base.nodes.iter().filter_map(alias).collect();
            theirs.sort_unstable();
            links.iter().all(|link| theirs.contains(link)) && theirs.len() == links.len()
        };
        ExpectedTree { packages, base, same_aliases }
    }

    /// Every path that the layers below are known to give, in no order, some twice.
    pub fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let owned = self.packages.into_iter().flat_map(|(catalog, _)| catalog.owned.iter());
        let shipped = owned.filter(|(path, owned)| self.given(path).is_some() && self.is_unpacked(owned));
        let seen = self.base.nodes.iter().map(|node| &*node.path);
        seen.chain(shipped.map(|(path, _)| path))
    }

    /// Whether the distribution's package puts the path there, rather than the machine's own files.
    fn is_unpacked(&self, owned: &Owned<'_>) -> bool {
        self.has_role(owned, |role| matches!(role, Role::Install(_)))
            || self.base.listed.is_some() && self.has_role(owned, |role| *role == Role::Base)
    }

    fn has_role(&self, owned: &Owned<'_>, is: impl Fn(&Role) -> bool) -> bool {
        self.packages
            .is_some_and(|(_, layer)| owned.packages.iter().any(|&index| is(&layer.roles[index as usize])))
    }

    /// Whether dpkg's digest of this path will be compared with.
    pub fn wants_md5(&self, path: &[u8]) -> bool {
        matches!(self.given(path), Some(Given::File(..)))
    }

    /// What the base image was seen to have under a path whose package travels in the context: what is the same there
    /// already need not travel.
    pub fn beneath(&self, path: &[u8]) -> Option<&'a Node> {
        let owned = self.packages?.0.owned.get(path)?;
        let travels = self.has_role(&owned, |role| matches!(role, Role::Carry(_)));
        travels.then(|| tree::find(self.base.nodes, path)).flatten().map(|index| &self.base.nodes[index])
    }

    /// What the layers below surely give for a path.
    pub fn given(&self, path: &[u8]) -> Option<Given<'a>> {
        let base = || tree::find(self.base.nodes, path).map(|index| Given::Exact(&self.base.nodes[index]));
        let Some((catalog, layer)) = self.packages else { return base() };
        let Some(owned) = catalog.owned.get(path) else {
            // Nobody's file in the base image: scripts of packages may change it.
            return if layer.runs_scripts() { None } else { base() };
        };
        if owned.obsolete {
            return None;
        }
        let shipped = |layer| match owned.md5 {
            Some(md5) => Given::File(layer, md5),
            None => Given::Shipped(layer),
        };
        let listed = || self.listed(path).map(|md5| Given::File(Layer::Base, md5));
        // One owner that travels is enough: the machine's own object is in the archive then, unless it is there already.
        if self.has_role(&owned, |role| matches!(role, Role::Carry(_))) {
            let same = listed().filter(|given| *given == shipped(Layer::Base));
            Some(same.unwrap_or_else(|| shipped(Layer::Packages)))
        } else if self.has_role(&owned, |role| matches!(role, Role::Install(_))) {
            self.is_installed(catalog, path, &owned).then(|| shipped(Layer::Packages))
        } else if self.base.listed.is_some() && self.has_role(&owned, |role| *role == Role::Base) {
            let shape = || self.is_in_place(catalog, path, &owned).then_some(Given::Shipped(Layer::Base));
            if owned.md5.is_some() { listed() } else { shape() }
        } else {
            base()
        }
    }

    /// What a package of the base image ships under a path, where only its packages are known.
    fn listed(&self, path: &[u8]) -> Option<Md5> {
        let files = self.base.listed.as_ref()?;
        let index = files.binary_search_by(|(other, _)| (**other).cmp(path)).ok()?;
        Some(files[index].1)
    }

    /// Whether installing a package puts its file exactly there. A base image of which nothing is known may have any
    /// package already, so that nothing unpacks it anew and what the image leaves out stays away.
    fn is_installed(&self, catalog: &Catalog, path: &[u8], owned: &Owned<'_>) -> bool {
        let base_known = self.packages.is_some_and(|(_, layer)| layer.base_known);
        self.is_in_place(catalog, path, owned)
            && !catalog.path_filters.excludes(path)
            && (base_known || !self.base.filters.excludes(path))
    }

    /// Whether packages unpack to this very path.
    fn is_in_place(&self, catalog: &Catalog, path: &[u8], owned: &Owned<'_>) -> bool {
        let aliased = catalog.aliases.iter().any(|(_, target)| tree::is_within(path, target));
        !owned.diverted && (self.same_aliases || !aliased)
    }
}

/// A top-level link of a merged `/usr`.
fn alias(node: &Node) -> Option<(&[u8], &[u8])> {
    let Kind::Symlink(target) = &node.kind else { return None };
    let is_top = !node.path.contains(&b'/') && target.starts_with(b"usr/");
    is_top.then_some((&*node.path, &**target))
}

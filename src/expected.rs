//! What FROM and the package layer will put on the disk, path by path, as far as that is sure.
//!
//! Sure is: seen in the base image, or shipped by a package that the build
//! installs at that very version and that nothing leaves out. Everything else
//! is carried in the delta; `apply` then writes only what really differs.

use crate::layer::{PackageLayer, Role, Way};
use crate::manifest::Layer;
use crate::pkg::{Catalog, Owned};
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

/// Directories that images of Debian's family leave out when they are built (`dpkg.cfg(5)`, `path-exclude`).
const OFTEN_EXCLUDED: &[&[u8]] = &[
    b"usr/share/doc",
    b"usr/share/man",
    b"usr/share/info",
    b"usr/share/locale",
    b"usr/share/lintian",
    b"usr/share/linda",
    b"usr/share/gnome/help",
    b"usr/share/bug",
];

/// The lower layers as far as they are known.
#[derive(Debug)]
pub struct ExpectedTree<'a> {
    packages: Option<(&'a Catalog, &'a PackageLayer)>,
    /// The base image, sorted; empty where nothing is known.
    base: &'a [Node],
    /// Whether the base image has the same merged `/usr` as the machine, so that packages unpack to the same paths.
    same_aliases: bool,
    /// Packages whose files an unknown base image may have and leave out the documentation of.
    maybe_base: Vec<bool>,
}

impl<'a> ExpectedTree<'a> {
    /// From the machine's package database and the base image (empty: not known, or none). `merged_base` says whether
    /// the base image has a merged `/usr` where that cannot be seen.
    pub fn new(
        packages: Option<(&'a Catalog, &'a PackageLayer)>,
        base: &'a [Node],
        merged_base: bool,
    ) -> Self {
        let Some((catalog, layer)) = packages else {
            return ExpectedTree { packages, base, same_aliases: false, maybe_base: Vec::new() };
        };
        let mut links: Vec<(&[u8], &[u8])> = catalog.aliases.iter().collect();
        links.sort_unstable();
        let same_aliases = if base.is_empty() {
            links.is_empty() != merged_base
        } else {
            let mut theirs: Vec<(&[u8], &[u8])> = base.iter().filter_map(alias).collect();
            theirs.sort_unstable();
            links.iter().all(|link| theirs.contains(link)) && theirs.len() == links.len()
        };
        let maybe_base = catalog.packages.iter().map(|package| {
            let minimal = package.essential || package.protected || package.priority == "required";
            !layer.base_known
                && (minimal || package.automatic || package.priority == "important" || package.name == "apt")
        });
        let maybe_base = maybe_base.collect();
        ExpectedTree { packages, base, same_aliases, maybe_base }
    }

    /// Every path that the layers below are known to give, in no order, some twice.
    pub fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let owned = self.packages.into_iter().flat_map(|(catalog, _)| catalog.owned.iter());
        let installed = owned
            .filter(|(path, _)| matches!(self.given(path), Some(given) if given.layer() == Layer::Packages));
        let installed = installed.filter(|(_, owned)| self.is_installed(owned)).map(|(path, _)| path);
        self.base.iter().map(|node| &*node.path).chain(installed)
    }

    /// Whether the archive's package puts the path there, rather than the machine's own files.
    fn is_installed(&self, owned: &Owned<'_>) -> bool {
        let role = |&index: &u32| self.packages.map(|(_, layer)| &layer.roles[index as usize]);
        owned.packages.iter().any(|index| role(index) == Some(&Role::Install))
    }

    /// Whether dpkg's digest of this path will be compared with.
    pub fn wants_md5(&self, path: &[u8]) -> bool {
        matches!(self.given(path), Some(Given::File(..)))
    }

    /// What the layers below surely give for a path.
    pub fn given(&self, path: &[u8]) -> Option<Given<'a>> {
        let base = || tree::find(self.base, path).map(|index| Given::Exact(&self.base[index]));
        let Some((catalog, layer)) = self.packages else { return base() };
        let Some(owned) = catalog.owned.get(path) else {
            // Nobody's file in the base image: scripts of packages may change it.
            return if layer.runs_scripts() { None } else { base() };
        };
        let role =
            |is: fn(&Role) -> bool| owned.packages.iter().any(|&index| is(&layer.roles[index as usize]));
        if role(|role| matches!(role, Role::Install | Role::Carry(_))) {
            self.shipped(catalog, layer, path, &owned)
        } else {
            base()
        }
    }

    fn shipped(
        &self,
        catalog: &Catalog,
        layer: &PackageLayer,
        path: &[u8],
        owned: &Owned<'_>,
    ) -> Option<Given<'a>> {
        // One owner that travels is enough: the machine's own object is in the archive then.
        let carried =
            owned.packages.iter().any(|&index| matches!(layer.roles[index as usize], Role::Carry(_)));
        let sure = carried || layer.way == Way::Install && self.is_sure(catalog, path, owned);
        if !sure || owned.obsolete {
            return None;
        }
        match owned.md5 {
            Some(md5) => Some(Given::File(Layer::Packages, md5)),
            None => Some(Given::Shipped(Layer::Packages)),
        }
    }

    /// Whether installing a package puts its file exactly there.
    fn is_sure(&self, catalog: &Catalog, path: &[u8], owned: &Owned<'_>) -> bool {
        let aliased = catalog.aliases.iter().any(|(_, target)| tree::is_within(path, target));
        let maybe_excluded = OFTEN_EXCLUDED.iter().any(|directory| tree::is_within(path, directory))
            && owned.packages.iter().any(|&index| self.maybe_base[index as usize]);
        !owned.diverted
            && (self.same_aliases || !aliased)
            && !catalog.path_filters.excludes(path)
            && !maybe_excluded
    }
}

/// A top-level link of a merged `/usr`.
fn alias(node: &Node) -> Option<(&[u8], &[u8])> {
    let Kind::Symlink(target) = &node.kind else { return None };
    let is_top = !node.path.contains(&b'/') && target.starts_with(b"usr/");
    is_top.then_some((&*node.path, &**target))
}

//! Whether a file is as its package ships it. That a package owns a file says nothing about its
//! content: configuration is edited in place.

use super::Catalog;
use crate::model::digest::{Algorithm, Digest};
use crate::model::tree;
use crate::system::root::Root;
use sha2::Digest as _;

/// Maximum number of links to follow, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

impl Catalog {
    /// Whether the file at a path (relative to the root) has the content that its package
    /// records. A link counts as unchanged if it leads to an unchanged file of the same package,
    /// because dpkg does not record targets.
    ///
    /// An unpackaged file, one that cannot be read and one without a recorded digest do not
    /// count as unchanged.
    pub fn is_unchanged(&self, root: &Root, path: &[u8]) -> bool {
        let mut path = self.aliases.canonical(path).into_owned();
        let Some(owners) = self.owned.get(&path).map(|owned| owned.packages) else { return false };
        for _ in 0..MAX_LINKS {
            let Some(owned) = self.owned.get(&path) else { return false };
            if !owned.packages.iter().any(|package| owners.contains(package)) {
                return false;
            }
            if let Ok(target) = root.read_link(&path) {
                path = self.aliases.canonical(&tree::link_target(&path, &target)).into_owned();
                continue;
            }
            let Some(claimed) = owned.claim.digest else { return false };
            return root.read(&path).is_ok_and(|content| digest(claimed.algorithm(), &content) == claimed);
        }
        false
    }
}

fn digest(algorithm: Algorithm, content: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Md5 => Digest::Md5(md5::Md5::digest(content).into()),
        Algorithm::Sha1 => Digest::Sha1(<sha1::Sha1 as sha1::Digest>::digest(content).into()),
        Algorithm::Sha256 => Digest::Sha256(sha2::Sha256::digest(content).into()),
    }
}

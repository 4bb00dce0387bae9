//! One version of one package.

use super::dpkg::status::Package;

/// One version of one package, as apt's `name:architecture=version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// The package's name.
    pub name: String,
    /// Its version, compared as text.
    pub version: String,
    /// Its architecture, `all` included.
    pub architecture: String,
}

impl From<&Package> for Pin {
    fn from(package: &Package) -> Self {
        let Package { name, version, architecture, .. } = package;
        Pin { name: name.clone(), version: version.clone(), architecture: architecture.clone() }
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}={}", self.name, self.architecture, self.version)
    }
}

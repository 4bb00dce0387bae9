//! Digests of a file's content, with the algorithm that made them.

/// SHA-256 of a file's content.
pub type Sha256 = [u8; 32];
/// SHA-1 of a file's content, as rpm before 4.6 and apk record it.
pub type Sha1 = [u8; 20];
/// MD5 of a file's content, as dpkg and old rpm databases record it.
pub type Md5 = [u8; 16];

/// How a digest was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 1321.
    Md5,
    /// FIPS 180-4.
    Sha1,
    /// FIPS 180-4.
    Sha256,
}

/// A digest. Digests of different algorithms are never equal, even if their contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// By [`Algorithm::Md5`].
    Md5(Md5),
    /// By [`Algorithm::Sha1`].
    Sha1(Sha1),
    /// By [`Algorithm::Sha256`].
    Sha256(Sha256),
}

impl Digest {
    /// Returns the algorithm that computed it.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Md5(_) => Algorithm::Md5,
            Digest::Sha1(_) => Algorithm::Sha1,
            Digest::Sha256(_) => Algorithm::Sha256,
        }
    }
}

//! The keys that apt trusts, and verification of signatures by them.
//!
//! The rules are those of gpgv for apt. A key that is revoked or expired at `now` does not count,
//! nor does a signature with MD5, SHA-1 or RIPEMD-160. Signatures by unknown keys are ignored if
//! another signature is valid.

use super::source::{Signer, Source};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::model::openpgp::{self, Purpose, check_primary, check_subkey, has_expired};
use crate::system::root::Root;
use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::KeyDetails;
use std::fmt;

/// Public keys with their subkeys.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<SignedPublicKey>);

/// Reason why no signature counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureError {
    /// Not a signed message, or a message with additional text.
    Malformed,
    /// Signed only by unknown keys, which are listed.
    UnknownKeys(Vec<String>),
    /// Signed with a weak digest.
    WeakDigest,
    /// Signed by a key that must not sign: its fingerprint, and the reason.
    Key(String, &'static str),
    /// Signed by a known key, but the signature is of another text.
    WrongText,
}

impl SignatureError {
    /// Returns the reason why a build cannot use the source.
    pub fn of_source(&self) -> &'static str {
        match self {
            SignatureError::Malformed => "has no signed release file",
            SignatureError::UnknownKeys(_) => "is signed by no key that the machine has",
            SignatureError::WeakDigest => "is signed with a weak digest",
            SignatureError::Key(..) => "is signed by a key that has expired or is not allowed to sign",
            SignatureError::WrongText => "has a signature that does not match",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::Malformed => f.write_str("not a signed release file"),
            SignatureError::UnknownKeys(keys) if keys.is_empty() => f.write_str("not signed"),
            SignatureError::UnknownKeys(keys) => {
                write!(f, "signed by keys that the machine does not have ({})", keys.join(", "))
            }
            SignatureError::WeakDigest => f.write_str("signed with a weak digest"),
            SignatureError::Key(key, why) => write!(f, "signed by key {key}, which {why}"),
            SignatureError::WrongText => f.write_str("the signature does not match the text"),
        }
    }
}

impl Keyring {
    /// Parses the keys of one file, armored or binary; unreadable keys are skipped.
    pub fn parse(bytes: &[u8]) -> Self {
        Keyring(openpgp::public_keys(bytes).into_iter().flatten().collect())
    }

    /// Returns the keys of both.
    pub fn with(mut self, mut other: Keyring) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// Returns the keys that may sign a source: those of its `Signed-By`, else all that apt
    /// trusts. A file that cannot be read is a note.
    pub fn of(root: &Root, source: &Source, findings: &mut Findings) -> Self {
        let mut keys = Keyring::default();
        let mut fingerprints = Vec::new();
        for signer in &source.signed_by {
            match signer {
                Signer::File(path) => {
                    keys.add_file(root, path.trim_start_matches('/').as_bytes(), findings);
                }
                Signer::Inline(key) => keys.0.extend(Keyring::parse(key.as_bytes()).0),
                Signer::Fingerprint(fingerprint) => fingerprints.push(fingerprint.as_str()),
            }
        }
        if source.signed_by.is_empty() || !fingerprints.is_empty() {
            let mut trusted = Keyring::default();
            trusted_files(root).iter().for_each(|path| trusted.add_file(root, path, findings));
            let meant = |key: &SignedPublicKey| {
                let own = [key.fingerprint()].into_iter();
                let mut all = own.chain(key.public_subkeys.iter().map(|subkey| subkey.fingerprint()));
                all.any(|known| fingerprints.iter().any(|end| format!("{known:X}").ends_with(end)))
            };
            trusted.0.retain(|key| fingerprints.is_empty() || meant(key));
            keys.0.append(&mut trusted.0);
        }
        keys
    }

    fn add_file(&mut self, root: &Root, path: &[u8], findings: &mut Findings) {
        match root.read(path) {
            Ok(content) => self.0.extend(Keyring::parse(&content).0),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => {
                findings.note(findings::Kind::Unreadable, path, format!("key of a repository: {cause}"))
            }
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies that one of the signatures is of `text`, by one of these keys, and valid at `now`
    /// (seconds since 1970).
    pub fn verify(&self, signatures: &[Signature], text: &[u8], now: i64) -> Result<(), SignatureError> {
        let mut worst = SignatureError::UnknownKeys(signatures.iter().flat_map(issuers).collect());
        for signature in signatures {
            match self.verify_one(signature, text, now) {
                Ok(()) => return Ok(()),
                Err(refusal) => worst = worst.max(refusal),
            }
        }
        Err(worst)
    }

    fn verify_one(&self, signature: &Signature, text: &[u8], now: i64) -> Result<(), SignatureError> {
        use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
        let mut worst = SignatureError::UnknownKeys(issuers(signature));
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            return Err(worst);
        }
        if !matches!(signature.hash_alg(), Some(Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)) {
            return Err(SignatureError::WeakDigest);
        }
        for key in &self.0 {
            let subkeys = key.public_subkeys.iter();
            let subkeys = subkeys.filter(|subkey| is_by(signature, &subkey.key));
            let own = is_by(signature, &key.primary_key);
            let tries = subkeys
                .map(|subkey| {
                    (signature.verify(&subkey.key, text), check_subkey(key, subkey, Purpose::Sign, now))
                })
                .chain(own.then(|| {
                    (signature.verify(&key.primary_key, text), check_primary(key, Purpose::Sign, now))
                }));
            for (verified, standing) in tries {
                worst = worst.max(match (verified, standing) {
                    (Ok(()), Ok(())) if has_expired(signature.created(), lifetime(signature), now) => {
                        SignatureError::Key(
                            format!("{:X}", key.fingerprint()),
                            "set an expiry date that has passed",
                        )
                    }
                    (Ok(()), Ok(())) => return Ok(()),
                    (Ok(()), Err(why)) => SignatureError::Key(format!("{:X}", key.fingerprint()), why),
                    (Err(_), _) => SignatureError::WrongText,
                });
            }
        }
        Err(worst)
    }
}

/// Whether the bytes are public keys without any secret key.
pub fn is_public(bytes: &[u8]) -> bool {
    !Keyring::parse(bytes).is_empty() && !openpgp::has_secret_key(bytes)
}

/// Returns the paths of `trusted.gpg` and its parts: names ending in `.gpg` and `.asc`, as apt
/// reads them.
pub fn trusted_files(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(b"etc/apt/trusted.gpg.d").unwrap_or_default();
    let parts = names.iter().filter(|name| name.ends_with(b".gpg") || name.ends_with(b".asc"));
    let parts = parts.map(|name| [b"etc/apt/trusted.gpg.d/", &name[..]].concat());
    [b"etc/apt/trusted.gpg".to_vec()].into_iter().chain(parts).collect()
}

/// Returns the keys that a signature names as its issuers.
fn issuers(signature: &Signature) -> Vec<String> {
    let fingerprints = signature.issuer_fingerprint().into_iter().map(|known| format!("{known:X}"));
    let keys: Vec<String> = fingerprints.collect();
    match keys.is_empty() {
        true => {
            signature.issuer_key_id().into_iter().map(|id| escape::hex(id.as_ref()).to_uppercase()).collect()
        }
        false => keys,
    }
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|known| **known == key.fingerprint())
        || signature.issuer_key_id().iter().any(|known| **known == key.legacy_key_id())
}

fn lifetime(signature: &Signature) -> Option<u32> {
    signature.signature_expiration_time().map(|time| time.as_secs())
}

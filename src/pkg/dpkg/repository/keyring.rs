//! The keys that apt trusts, and whether one of them has signed something.
//!
//! As gpgv judges for apt: a key that is revoked or expired at `now`, and a signature by MD5, SHA-1 or RIPEMD-160, do
//! not count; signatures by unknown keys do no harm beside a good one.

use super::source::{Signer, Source};
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag, Timestamp};
use std::fmt;

/// A key file larger than this is none; Debian's, with all its keys, has 56 KB.
const MAX_FILE: usize = 8 << 20;
/// More keys in one file are not read.
const MAX_KEYS: usize = 1000;
const MAX_PACKETS: usize = 100 * MAX_KEYS;
const ARMOR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Public keys with their subkeys.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<SignedPublicKey>);

/// Why no signature counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureError {
    /// Not a signed message, or with text beside the signed one.
    Malformed,
    /// Nobody whose key is there has signed it; the keys that are named.
    UnknownKeys(Vec<String>),
    /// By a digest that is broken.
    WeakDigest,
    /// By a key that may not sign: its identifier, and why.
    Key(String, &'static str),
    /// By a key that is there, but of another text.
    WrongText,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::Malformed => f.write_str("not a signed release file"),
            SignatureError::UnknownKeys(keys) if keys.is_empty() => f.write_str("not signed"),
            SignatureError::UnknownKeys(keys) => {
                write!(f, "signed by keys that are not on the machine ({})", keys.join(", "))
            }
            SignatureError::WeakDigest => f.write_str("signed by a broken digest"),
            SignatureError::Key(key, why) => write!(f, "signed by the key {key}, which {why}"),
            SignatureError::WrongText => f.write_str("the signature does not fit"),
        }
    }
}

impl Keyring {
    /// The keys of one file, armored or binary; what cannot be read is passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.len() > MAX_FILE {
            return Keyring::default();
        }
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Keyring(collect(SignedPublicKey::from_bytes_many(bytes)));
        }
        let starts: Vec<usize> = memchr::memmem::find_iter(bytes, ARMOR).collect();
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        let blocks = starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]);
        let keys = blocks
            .flat_map(|block| collect(SignedPublicKey::from_armor_many_buf(block).map(|(keys, _)| keys)));
        Keyring(keys.take(MAX_KEYS).collect())
    }

    /// Whose signature counts for a source: the keys of its `Signed-By`, else all that apt trusts. A file that cannot be
    /// read is a note.
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

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the signatures is one of `text` by a key of these that may sign at `now` (seconds since 1970).
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
                .map(|subkey| (signature.verify(&subkey.key, text), subkey_standing(key, subkey, now)))
                .chain(own.then(|| (signature.verify(&key.primary_key, text), primary_standing(key, now))));
            for (verified, standing) in tries {
                worst = worst.max(match (verified, standing) {
                    (Ok(()), Ok(())) if has_expired(signature.created(), lifetime(signature), now) => {
                        SignatureError::Key(format!("{:X}", key.fingerprint()), "made the signature expire")
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

/// Whether the bytes are public keys and nothing secret.
pub fn is_public(bytes: &[u8]) -> bool {
    let armored = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
    let secret = |packet: Packet| matches!(packet, Packet::SecretKey(_) | Packet::SecretSubkey(_));
    !Keyring::parse(bytes).is_empty()
        && memchr::memmem::find(bytes, b"PRIVATE KEY").is_none()
        && (armored || !PacketParser::new(bytes).take(MAX_PACKETS).flatten().any(secret))
}

/// `trusted.gpg` and its parts: names ending in `.gpg` and `.asc`, as apt reads them.
pub fn trusted_files(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(b"etc/apt/trusted.gpg.d").unwrap_or_default();
    let parts = names.iter().filter(|name| name.ends_with(b".gpg") || name.ends_with(b".asc"));
    let parts = parts.map(|name| [b"etc/apt/trusted.gpg.d/", &name[..]].concat());
    [b"etc/apt/trusted.gpg".to_vec()].into_iter().chain(parts).collect()
}

type Keys<'a> = Box<dyn Iterator<Item = pgp::errors::Result<SignedPublicKey>> + 'a>;

fn collect(keys: pgp::errors::Result<Keys<'_>>) -> Vec<SignedPublicKey> {
    keys.into_iter().flatten().take(MAX_KEYS).flatten().collect()
}

/// The keys that a signature says it is by.
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

fn primary_standing(key: &SignedPublicKey, now: i64) -> Result<(), &'static str> {
    let primary = &key.primary_key;
    let details = &key.details;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err("is revoked");
    }
    let of_users = details.users.iter().flat_map(|user| {
        let valid = |signature: &&Signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(valid)
    });
    let direct = details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    // The newest says until when: that is how a key is prolonged.
    let newest = of_users.chain(direct).max_by_key(|signature| signature.created());
    may_sign(newest, primary.created_at(), now)
}

fn subkey_standing(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Result<(), &'static str> {
    primary_may_bind(key, now)?;
    let primary = &key.primary_key;
    let valid = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    let (revocations, bindings): (Vec<_>, Vec<_>) =
        valid.partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err("is revoked");
    }
    let newest = bindings.into_iter().max_by_key(|signature| signature.created());
    let back = newest.and_then(Signature::embedded_signature);
    match back.map(|back| back.verify_primary_key_binding(&subkey.key, primary)) {
        Some(Ok(())) => may_sign(newest, subkey.key.created_at(), now),
        _ => Err("is not bound to its primary key"),
    }
}

/// As [`primary_standing`], but a primary key that only certifies may have subkeys that sign.
fn primary_may_bind(key: &SignedPublicKey, now: i64) -> Result<(), &'static str> {
    match primary_standing(key, now) {
        Err(NOT_FOR_SIGNING) => Ok(()),
        standing => standing,
    }
}

const NOT_FOR_SIGNING: &str = "is not for signing";

fn may_sign(newest: Option<&Signature>, created: Timestamp, now: i64) -> Result<(), &'static str> {
    let Some(signature) = newest else { return Err("has not signed itself") };
    if has_expired(Some(created), signature.key_expiration_time().map(|time| time.as_secs()), now) {
        return Err("has expired");
    }
    let has_flags = signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    });
    if has_flags && !signature.key_flags().sign() {
        return Err(NOT_FOR_SIGNING);
    }
    Ok(())
}

fn lifetime(signature: &Signature) -> Option<u32> {
    signature.signature_expiration_time().map(|time| time.as_secs())
}

/// A lifetime of 0 is none.
fn has_expired(created: Option<Timestamp>, lifetime: Option<u32>, now: i64) -> bool {
    let lifetime = lifetime.filter(|&seconds| seconds != 0);
    let end = created.zip(lifetime).map(|(created, life)| i64::from(created.as_secs()) + i64::from(life));
    end.is_some_and(|end| end <= now)
}

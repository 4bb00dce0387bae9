//! OpenPGP public keys of a file, and whether a key may sign or encrypt at a given time (RFC
//! 9580).

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::errors::Result as Parsed;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag, Timestamp};

/// Larger files are not read as key files; Debian's, with all its keys, has 56 KB.
const MAX_FILE: usize = 8 << 20;
/// Maximum number of keys read from one file.
const MAX_KEYS: usize = 1000;
const MAX_PACKETS: usize = 100 * MAX_KEYS;
const ARMOR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
const NOT_BOUND: &str = "is not bound to its primary key";

/// The use that a key must be valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing of data.
    Sign,
    /// Encryption of messages or stored data.
    Encrypt,
}

/// Returns the public keys of a file, armored or binary, with an error for each unreadable one.
pub fn public_keys(bytes: &[u8]) -> Vec<Parsed<SignedPublicKey>> {
    if bytes.len() > MAX_FILE {
        return Vec::new();
    }
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return collect(SignedPublicKey::from_bytes_many(bytes));
    }
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, ARMOR).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let blocks = starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]);
    let keys =
        blocks.flat_map(|block| collect(SignedPublicKey::from_armor_many_buf(block).map(|(keys, _)| keys)));
    keys.take(MAX_KEYS).collect()
}

type Keys<'a> = Box<dyn Iterator<Item = Parsed<SignedPublicKey>> + 'a>;

fn collect(keys: Parsed<Keys<'_>>) -> Vec<Parsed<SignedPublicKey>> {
    match keys {
        Ok(keys) => keys.take(MAX_KEYS).collect(),
        Err(cause) => vec![Err(cause)],
    }
}

/// Whether the file has a secret key, armored or binary.
pub fn has_secret_key(bytes: &[u8]) -> bool {
    let is_armored = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
    let is_secret = |packet: Packet| matches!(packet, Packet::SecretKey(_) | Packet::SecretSubkey(_));
    memchr::memmem::find(bytes, b"PRIVATE KEY").is_some()
        || (!is_armored && PacketParser::new(bytes).take(MAX_PACKETS).flatten().any(is_secret))
}

/// Checks that the primary key may be used for `purpose` at `now` (seconds since 1970). The error
/// completes "the key ...".
pub fn check_primary(key: &SignedPublicKey, purpose: Purpose, now: i64) -> Result<(), &'static str> {
    check_flags(valid_primary(key, now)?, purpose)
}

/// Checks that the subkey may be used for `purpose` at `now`, which requires a valid primary key.
/// The error completes "the key ...".
pub fn check_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    purpose: Purpose,
    now: i64,
) -> Result<(), &'static str> {
    valid_primary(key, now)?;
    let primary = &key.primary_key;
    let verified = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    let (revocations, bindings): (Vec<_>, Vec<_>) =
        verified.partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err("is revoked");
    }
    let newest = bindings.into_iter().max_by_key(|signature| signature.created()).ok_or(NOT_BOUND)?;
    // Without the subkey's own signature, a primary key could adopt the signing key of another
    // owner (RFC 9580, 5.2.1.9).
    if purpose == Purpose::Sign {
        let back = newest.embedded_signature().ok_or(NOT_BOUND)?;
        back.verify_primary_key_binding(&subkey.key, primary).map_err(|_| NOT_BOUND)?;
    }
    check_key_lifetime(newest, subkey.key.created_at(), now)?;
    check_flags(newest, purpose)
}

/// Returns the newest self-signature of the primary key if that is neither revoked nor expired.
fn valid_primary(key: &SignedPublicKey, now: i64) -> Result<&Signature, &'static str> {
    let primary = &key.primary_key;
    let details = &key.details;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err("is revoked");
    }
    let of_users = details.users.iter().flat_map(|user| {
        let is_valid = |signature: &&Signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(is_valid)
    });
    let direct = details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    // The newest states the expiry: that is how a key is prolonged.
    let newest = of_users.chain(direct).max_by_key(|signature| signature.created());
    let newest = newest.ok_or("has not signed itself")?;
    check_key_lifetime(newest, primary.created_at(), now)?;
    Ok(newest)
}

fn check_key_lifetime(signature: &Signature, created: Timestamp, now: i64) -> Result<(), &'static str> {
    let lifetime = signature.key_expiration_time().map(|time| time.as_secs());
    if has_expired(Some(created), lifetime, now) { Err("has expired") } else { Ok(()) }
}

fn check_flags(signature: &Signature, purpose: Purpose) -> Result<(), &'static str> {
    let flags = signature.key_flags();
    let (is_allowed, refusal) = match purpose {
        Purpose::Sign => (flags.sign(), "is not for signing"),
        Purpose::Encrypt => (flags.encrypt_comms() || flags.encrypt_storage(), "is not for encryption"),
    };
    let has_flags = signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    });
    if has_flags && !is_allowed { Err(refusal) } else { Ok(()) }
}

/// Whether something created with a lifetime in seconds has expired. A lifetime of 0 is
/// unlimited.
pub fn has_expired(created: Option<Timestamp>, lifetime: Option<u32>, now: i64) -> bool {
    let lifetime = lifetime.filter(|&seconds| seconds != 0);
    let end = created.zip(lifetime).map(|(created, life)| i64::from(created.as_secs()) + i64::from(life));
    end.is_some_and(|end| end <= now)
}

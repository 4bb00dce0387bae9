//! The public key that the withheld files are encrypted to.
//!
//! GnuPG 2.2 and later reads the format: SEIPDv1 (RFC 9580, 5.13.1) with AES-256. The message is
//! not compressed, because the length after compression reveals content.

use crate::model::openpgp::{self, Purpose};
use pgp::composed::{MessageBuilder, SignedPublicKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm::AES256;
use pgp::packet::{PublicKey, PublicSubkey};
use pgp::types::{EncryptionKey, EskType, KeyDetails};
use rand_core::OsRng;
use std::io::{self, Read, Write};

/// A public key that was valid for encryption when it was read.
#[derive(Clone, Debug)]
pub struct Recipient(Key);

#[derive(Clone, Debug)]
enum Key {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl Recipient {
    /// Reads a key file, armored or binary, and chooses the newest subkey that may encrypt at
    /// `now` (seconds since 1970), otherwise the primary key. The error states why the file is
    /// unusable.
    pub fn parse(bytes: &[u8], now: i64) -> Result<Self, String> {
        if openpgp::has_secret_key(bytes) {
            return Err("contains a secret key".to_owned());
        }
        let mut keys = openpgp::public_keys(bytes);
        let key = match (keys.pop(), keys.len()) {
            (None, _) => return Err("contains no OpenPGP public key".to_owned()),
            (Some(key), 0) => key.map_err(|cause| format!("invalid OpenPGP public key: {cause}"))?,
            (Some(_), others) => return Err(format!("contains {} OpenPGP keys instead of one", others + 1)),
        };
        let chosen = choose(&key, now).map_err(|why| format!("the key {:X} {why}", key.fingerprint()))?;
        // Fails if the algorithm of the key is not implemented.
        let encrypted = match &chosen {
            Key::Primary(key) => key.encrypt(OsRng, &[0; 32], EskType::V3_4),
            Key::Subkey(key) => key.encrypt(OsRng, &[0; 32], EskType::V3_4),
        };
        encrypted.map_err(|cause| format!("the key {:X} cannot encrypt: {cause}", key.fingerprint()))?;
        Ok(Recipient(chosen))
    }

    /// Encrypts everything that `plain` yields. The memory for it does not depend on the length:
    /// a few chunks of 512 KiB.
    pub fn encrypt(&self, plain: impl Read, out: impl Write) -> io::Result<()> {
        let mut message = MessageBuilder::from_reader("", plain).seipd_v1(OsRng, AES256);
        match &self.0 {
            Key::Primary(key) => message.encrypt_to_key(OsRng, key),
            Key::Subkey(key) => message.encrypt_to_key(OsRng, key),
        }
        .map_err(io_error)?;
        message.to_writer(OsRng, out).map_err(io_error)
    }
}

fn choose(key: &SignedPublicKey, now: i64) -> Result<Key, &'static str> {
    let check = |subkey| openpgp::check_subkey(key, subkey, Purpose::Encrypt, now);
    let valid = key.public_subkeys.iter().filter(|&subkey| check(subkey).is_ok());
    if let Some(subkey) = valid.max_by_key(|subkey| subkey.key.created_at()) {
        return Ok(Key::Subkey(subkey.key.clone()));
    }
    match openpgp::check_primary(key, Purpose::Encrypt, now) {
        Ok(()) => Ok(Key::Primary(key.primary_key.clone())),
        Err("is not for encryption") => Err("has no valid subkey for encryption"),
        Err(why) => Err(why),
    }
}

/// Keeps the cause of a failed write, by which a full file system is recognized.
fn io_error(error: pgp::errors::Error) -> io::Error {
    match error {
        pgp::errors::Error::IO { source, .. } => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgp::composed::{Deserializable, Message, SignedSecretKey};
    use pgp::types::Password;

    const EARLY_2020: i64 = 1_580_000_000;
    const IN_2024: i64 = 1_704_067_200;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/openpgp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn refusal(name: &str, now: i64) -> String {
        Recipient::parse(&data(name), now).map_or_else(|why| why, |_| "none".to_owned())
    }

    #[test]
    fn parse_each_key_file_is_accepted_or_refused() {
        for (name, now, why) in [
            ("recipient.asc", IN_2024, "none"),
            ("recipient.gpg", IN_2024, "none"),
            ("primary.asc", IN_2024, "none"),
            ("expired.asc", EARLY_2020, "none"),
            ("expired.asc", IN_2024, "has expired"),
            ("expired-subkey.asc", EARLY_2020, "none"),
            ("expired-subkey.asc", IN_2024, "has no valid subkey for encryption"),
            ("revoked.asc", IN_2024, "is revoked"),
            ("revoked-subkey.asc", IN_2024, "has no valid subkey for encryption"),
            ("signs.asc", IN_2024, "has no valid subkey for encryption"),
            ("two.gpg", IN_2024, "contains 2 OpenPGP keys instead of one"),
            ("recipient.secret.asc", IN_2024, "contains a secret key"),
            ("recipient.secret.gpg", IN_2024, "contains a secret key"),
            ("make", IN_2024, "contains no OpenPGP public key"),
        ] {
            let refusal = refusal(name, now);
            assert!(refusal.ends_with(why), "{name} at {now}: {refusal}");
        }
        let mut truncated = data("recipient.gpg");
        truncated.truncate(truncated.len() / 2);
        for bytes in [&truncated[..], b"", &[0x99]] {
            assert!(Recipient::parse(bytes, IN_2024).is_err());
        }
        let armored = [data("recipient.asc"), data("primary.asc")].concat();
        assert!(Recipient::parse(&armored, IN_2024).unwrap_err().contains("2 OpenPGP keys"));
    }

    #[test]
    fn parse_subkey_and_primary_are_chosen_by_flags() {
        let parse = |name| Recipient::parse(&data(name), IN_2024).unwrap().0;
        assert!(matches!(parse("recipient.asc"), Key::Subkey(_)));
        assert!(matches!(parse("primary.asc"), Key::Primary(_)));
    }

    #[test]
    fn encrypt_any_length_is_decrypted_with_the_secret_key() {
        for name in ["recipient", "primary"] {
            let recipient = Recipient::parse(&data(&format!("{name}.asc")), IN_2024).unwrap();
            let armored = data(&format!("{name}.secret.asc"));
            let (secret_key, _) = SignedSecretKey::from_armor_single(&armored[..]).unwrap();
            for length in [0, 1, 512 << 10, (1 << 20) + 1] {
                let plain = vec![b'x'; length];
                let mut encrypted = Vec::new();
                recipient.encrypt(&plain[..], &mut encrypted).unwrap();
                let message = Message::from_bytes(&encrypted[..]).unwrap();
                let mut message = message.decrypt(&Password::empty(), &secret_key).unwrap();
                assert!(message.as_data_vec().unwrap() == plain, "{name} {length}");
            }
        }
    }

    /// A full file system must end with its exit code.
    #[test]
    fn encrypt_failed_write_returns_its_cause() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let recipient = Recipient::parse(&data("recipient.asc"), IN_2024).unwrap();
        for length in [1, 2 << 20] {
            let failed = recipient.encrypt(&vec![0; length][..], Full).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::StorageFull, "{failed}");
        }
    }
}

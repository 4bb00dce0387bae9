//! `--include-secrets`: the context contains the withheld files, encrypted to an OpenPGP key.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use pgp::composed::{Deserializable, Message, SignedSecretKey};
use pgp::types::Password;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use support::tool::{self, Place};
use vm2docker_self::context::tar::Reader;
use vm2docker_self::model::tree::Kind;

const SECRET: &str = "5up3r-5ecret-of-this-machine";
const WITHOUT_BASE: [&str; 4] = ["--base-from", "none", "--compress", "none"];

/// The path of a key that `tests/data/openpgp/make` has generated.
fn key(name: &str) -> String {
    format!("{}/tests/data/openpgp/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Decrypts a message with the secret key in the file `name`.
fn decrypt(message: &Path, name: &str) -> pgp::errors::Result<Vec<u8>> {
    let armored = fs::read(key(name)).unwrap();
    let (secret_key, _) = SignedSecretKey::from_armor_single(&armored[..]).unwrap();
    let file = std::io::BufReader::new(fs::File::open(message).unwrap());
    Ok(Message::from_bytes(file)?.decrypt(&Password::empty(), &secret_key)?.as_data_vec()?)
}

/// The content of each file of a tar archive, by path.
fn contents(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut members = Reader::new(archive);
    while let Some(mut member) = members.next_entry().unwrap() {
        let path = String::from_utf8(member.node.path.to_vec()).unwrap();
        let mut content = Vec::new();
        if matches!(member.node.kind, Kind::File { .. }) {
            member.content.read_to_end(&mut content).unwrap();
        }
        files.insert(path, content);
    }
    files
}

fn machine() -> Place {
    let place = Place::new();
    place.root(
        "machine",
        &format!(
            "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n\
             file 0600 0:0 /root/.ssh/id_ed25519 \"{SECRET}\"\n\
             file 0640 7:7 /etc/ssl/private/site.key \"{SECRET} of the site\"\n\
             file 0644 0:0 /srv/page \"a page that everybody may read\"\n"
        ),
    );
    place
}

/// Names of the context's files that hold these bytes.
fn holders(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut holders = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            holders.extend(self::holders(&entry.path(), bytes));
        } else if memchr::memmem::find(&fs::read(entry.path()).unwrap(), bytes).is_some() {
            holders.push(entry.file_name().into_string().unwrap());
        }
    }
    holders
}

#[test]
fn include_secrets_valid_key_encrypts_withheld_files() {
    let place = machine();
    place.convert("ctx-without", &WITHOUT_BASE).ends(0);
    assert!(!place.path("ctx-without/secrets.tar.gpg").exists());

    let file = key("recipient.asc");
    place.convert("ctx", &[&WITHOUT_BASE[..], &["--include-secrets", &file]].concat()).ends(0);
    let message = place.path("ctx/secrets.tar.gpg");
    let files = contents(&decrypt(&message, "recipient.secret.asc").unwrap());
    assert_eq!(files["root/.ssh/id_ed25519"], SECRET.as_bytes());
    assert_eq!(files["etc/ssl/private/site.key"], format!("{SECRET} of the site").as_bytes());
    assert!(!files.contains_key("srv/page"), "{:?}", files.keys());
    assert!(decrypt(&message, "primary.secret.asc").is_err());

    assert_eq!(holders(&place.path("ctx"), SECRET.as_bytes()), [""; 0]);
    // The page is there: the search would find the secret.
    assert_eq!(holders(&place.path("ctx"), b"a page that everybody may read"), ["delta.tar"]);
    let complete = fs::read_to_string(place.path("ctx/COMPLETE")).unwrap();
    assert!(complete.contains("secrets.tar.gpg"), "{complete}");
    let ignored = fs::read_to_string(place.path("ctx/.dockerignore")).unwrap();
    assert!(ignored.starts_with("*\n") && !ignored.contains("secrets"), "{ignored}");
}

/// GnuPG decrypts several chunks, encrypted to an elliptic-curve subkey and to an RSA primary
/// key.
#[test]
fn include_secrets_large_files_are_decrypted_by_gnupg() {
    if !Path::new("/usr/bin/gpg").exists() {
        return eprintln!("skipped: gpg is not installed");
    }
    let place = machine();
    let large: Vec<u8> = (0..3_000_001_u32).flat_map(|number| number.to_be_bytes()).collect();
    fs::write(place.path("machine/etc/ssl/private/large.key"), &large).unwrap();
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut gpg = tool::command("gpg");
        gpg.env("GNUPGHOME", home.path()).args(["--batch", "--quiet", "--no-permission-warning"]).args(args);
        tool::finish(&mut gpg).ends(0);
    };
    for (name, ctx) in [("recipient", "ctx-curve"), ("primary", "ctx-rsa")] {
        gpg(&["--import", &key(&format!("{name}.secret.asc"))]);
        let file = key(&format!("{name}.asc"));
        place.convert(ctx, &[&WITHOUT_BASE[..], &["--include-secrets", &file]].concat()).ends(0);
        let (message, archive) = (place.path(ctx).join("secrets.tar.gpg"), home.path().join(name));
        gpg(&["--output", archive.to_str().unwrap(), "--decrypt", message.to_str().unwrap()]);
        let files = contents(&fs::read(archive).unwrap());
        assert_eq!(files["root/.ssh/id_ed25519"], SECRET.as_bytes());
        assert!(files["etc/ssl/private/large.key"] == large);
    }
    tool::finish(tool::command("gpgconf").env("GNUPGHOME", home.path()).args(["--kill", "all"])).ends(0);
}

#[test]
fn include_secrets_unusable_key_is_refused_before_any_work() {
    let place = machine();
    for (name, why) in [
        ("missing.asc", "No such file"),
        ("make", "no OpenPGP public key"),
        ("recipient.secret.asc", "contains a secret key"),
        ("expired.asc", "has expired"),
        ("revoked.asc", "is revoked"),
        ("two.gpg", "2 OpenPGP keys instead of one"),
    ] {
        let file = key(name);
        place.convert("ctx", &["--include-secrets", &file]).ends(2).says(&[
            "--include-secrets",
            &file,
            why,
            "gpg --export",
        ]);
        assert!(!place.path("ctx").exists());
    }
}

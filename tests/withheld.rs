//! `--include-secrets`: the withheld files travel, and only who has the key can read them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use age::x25519::Identity;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use support::tool::Place;
use vm2docker_self::context::tar::Reader;
use vm2docker_self::model::tree::Kind;

const SECRET: &str = "5up3r-5ecret-of-this-machine";

/// The archive as whoever has the key reads it: content of each file, by path.
fn decrypt(archive: &Path, identity: &Identity) -> Result<BTreeMap<String, Vec<u8>>, age::DecryptError> {
    let decryptor = age::Decryptor::new(fs::File::open(archive).unwrap())?;
    let mut plain = Vec::new();
    let mut stream = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity))?;
    stream.read_to_end(&mut plain)?;
    let mut files = BTreeMap::new();
    let mut members = Reader::new(&*plain);
    while let Some(mut member) = members.next_entry().unwrap() {
        let path = String::from_utf8(member.node.path.to_vec()).unwrap();
        let mut content = Vec::new();
        if matches!(member.node.kind, Kind::File { .. }) {
            member.content.read_to_end(&mut content).unwrap();
        }
        files.insert(path, content);
    }
    Ok(files)
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
fn withheld_files_travel_only_when_asked_and_only_for_the_key() {
    let place = machine();
    let (identity, stranger) = (Identity::generate(), Identity::generate());
    let options = ["--base-from", "none", "--compress", "none"];
    place.convert("ctx-without", &options).ends(0);
    assert!(!place.path("ctx-without/secrets.tar.age").exists());

    let key = identity.to_public().to_string();
    place.convert("ctx", &[&options[..], &["--include-secrets", &key]].concat()).ends(0);
    let archive = place.path("ctx/secrets.tar.age");
    let files = decrypt(&archive, &identity).unwrap();
    assert_eq!(files["root/.ssh/id_ed25519"], SECRET.as_bytes());
    assert_eq!(files["etc/ssl/private/site.key"], format!("{SECRET} of the site").as_bytes());
    assert!(!files.contains_key("srv/page"), "{:?}", files.keys());
    assert!(decrypt(&archive, &stranger).is_err());

    assert_eq!(holders(&place.path("ctx"), SECRET.as_bytes()), [""; 0]);
    // The page is there: what looks for the secret would find it.
    assert_eq!(holders(&place.path("ctx"), b"a page that everybody may read"), ["delta.tar"]);
    let seal = fs::read_to_string(place.path("ctx/COMPLETE")).unwrap();
    assert!(seal.contains("secrets.tar.age"), "{seal}");
    // No build gets it.
    let ignored = fs::read_to_string(place.path("ctx/.dockerignore")).unwrap();
    assert!(ignored.starts_with("*\n") && !ignored.contains("secrets"), "{ignored}");
}

#[test]
fn what_is_no_key_is_refused_before_any_work() {
    let place = machine();
    for key in ["", "age1", "ssh-ed25519 AAAA", &Identity::generate().to_public().to_string()[..60]] {
        place.convert("ctx", &["--include-secrets", key]).ends(2).says(&["--include-secrets", "age-keygen"]);
        assert!(!place.path("ctx").exists());
    }
}

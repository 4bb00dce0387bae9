//! Content that a distribution publishes and copies of it are not secret.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use support::tool::Place;

/// A package ships an example with a password; its script copied it to /etc.
const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\n"
file 0644 0:0 /var/lib/dpkg/status "Package: app\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
file 0644 0:0 /var/lib/dpkg/info/app.list "/.\n/usr\n/usr/share\n/usr/share/app\n/usr/share/app/app.conf\n/usr/share/app/secrets\n"
file 0644 0:0 /var/lib/dpkg/info/app.md5sums "2af063a542c6af79a2aea4dbbeea4ecd  usr/share/app/app.conf\n7e881d2ed32a516a08b7aa065a5b396b  usr/share/app/secrets\n"
file 0644 0:0 /usr/share/app/app.conf "[db]\npassword = \"Qw8!zR4#kLm2\"\n"
file 0640 0:0 /etc/app.conf "[db]\npassword = \"Qw8!zR4#kLm2\"\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
link 0777 0:0 /root/.pgpass ../srv/dot/pgpass
link 0777 0:0 /root/.bash_history /srv/dot/history
file 0644 0:0 /srv/dot/pgpass "plain words\n"
file 0644 0:0 /srv/dot/history "ls\n"
file 0644 0:0 /opt/app/lib/python3.11/site-packages/lib-1.0.dist-info/RECORD "lib/url.py,sha256=KhK3Up9k7GiP12C22bCCHoe9Ze7acv3nKdapKAYDKiY,55\nlib/own.py,sha256=KhK3Up9k7GiP12C22bCCHoe9Ze7acv3nKdapKAYDKiY,55\n"
file 0644 0:0 /opt/app/lib/python3.11/site-packages/lib/url.py "URL = \"postgres://app:Qw8zR4kLm2@db.corp.example/shop\"\n"
file 0644 0:0 /opt/app/lib/python3.11/site-packages/lib/own.py "URL = \"postgres://app:Qw8zR4kLm5@db.corp.example/shop\"\n"
file 0644 0:0 /opt/app/copy.py "URL = \"postgres://app:Qw8zR4kLm2@db.corp.example/shop\"\n"
file 0644 0:0 /usr/share/app/secrets "# client server secret\n"
file 0600 0:0 /etc/ppp/chap-secrets "# client server secret\n"
file 0600 0:0 /etc/ppp/pap-secrets "u * Qw8!zR4#kLm6\n"
file 0640 0:0 /etc/own.conf "[db]\npassword = \"Qw8!zR4#kLm3\"\n"
"##;

#[test]
fn convert_copy_of_published_file_is_not_withheld() {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &["--base-from", "none", "--compress", "none"]).ends(0);
    let findings = fs::read_to_string(place.path("ctx/findings.jsonl")).unwrap();
    assert!(findings.contains("/etc/own.conf"), "{findings}");
    assert!(!findings.contains("app.conf"), "{findings}");
    let dry = place.convert("ctx2", &["--base-from", "none", "--dry-run", "--json"]).ends(0);
    assert!(dry.out.contains("/etc/own.conf") && !dry.out.contains("/etc/app.conf"), "{}", dry.out);
}

#[test]
fn convert_target_of_secret_link_is_withheld() {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &["--base-from", "none", "--compress", "none"]).ends(0);
    let manifest = zstd::decode_all(fs::File::open(place.path("ctx/manifest.jsonl.zst")).unwrap()).unwrap();
    let records = String::from_utf8(manifest).unwrap();
    for (path, verdict) in [
        ("/root/.pgpass", "keep"),
        ("/srv/dot/pgpass", "withhold"),
        ("/root/.bash_history", "keep"),
        ("/srv/dot/history", "drop"),
    ] {
        let record = records.lines().find(|line| line.contains(&format!("\"path\":\"{path}\""))).unwrap();
        assert!(record.contains(&format!("\"verdict\":\"{verdict}\"")), "{record}");
    }
}

#[test]
fn convert_published_file_of_python_package_is_not_withheld() {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &["--base-from", "none", "--compress", "none"]).ends(0);
    let findings = fs::read_to_string(place.path("ctx/findings.jsonl")).unwrap();
    assert!(
        findings.contains("/site-packages/lib/own.py"),
        "changed since its package shipped it: {findings}"
    );
    assert!(!findings.contains("/url.py") && !findings.contains("/copy.py"), "{findings}");
}

#[test]
fn convert_copy_of_template_with_secret_name_is_not_withheld() {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &["--base-from", "none", "--compress", "none", "--packages", "carry"]).ends(0);
    let findings = fs::read_to_string(place.path("ctx/findings.jsonl")).unwrap();
    assert!(findings.contains("/etc/ppp/pap-secrets"), "{findings}");
    assert!(!findings.contains("/etc/ppp/chap-secrets"), "{findings}");
}

//! Content that a distribution publishes is no secret, in copies of it neither.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use support::tool::Place;

/// A package ships an example with a password; its script copied it to /etc.
const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\n"
file 0644 0:0 /var/lib/dpkg/status "Package: app\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
file 0644 0:0 /var/lib/dpkg/info/app.list "/.\n/usr\n/usr/share\n/usr/share/app\n/usr/share/app/app.conf\n"
file 0644 0:0 /var/lib/dpkg/info/app.md5sums "2af063a542c6af79a2aea4dbbeea4ecd  usr/share/app/app.conf\n"
file 0644 0:0 /usr/share/app/app.conf "[db]\npassword = \"Qw8!zR4#kLm2\"\n"
file 0640 0:0 /etc/app.conf "[db]\npassword = \"Qw8!zR4#kLm2\"\n"
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

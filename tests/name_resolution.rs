//! Converts a stopped machine with names in `/etc/hosts` and settings in `/etc/resolv.conf`, over
//! which container engines mount their own files.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use support::tool::{Place, Ran};

const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
file 0644 0:0 /etc/hostname "shop01\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0755 0:0 /srv/app "app\n"
file 0644 0:0 /etc/systemd/system/app.service "[Service]\nExecStart=/srv/app\n"
file 0644 0:0 /usr/lib/systemd/system/multi-user.target "[Unit]\n"
link 0777 0:0 /etc/systemd/system/default.target /usr/lib/systemd/system/multi-user.target
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/app.service ../app.service
"##;

/// Converts the machine with these files.
fn converted(hosts: &str, resolv_conf: &str, arguments: &[&str]) -> (Place, Ran) {
    let place = Place::new();
    let machine = place.root("machine", MACHINE);
    fs::write(machine.join("etc/hosts"), hosts).unwrap();
    fs::write(machine.join("etc/resolv.conf"), resolv_conf).unwrap();
    let ran =
        place.convert("ctx", &[&["--base-from", "none", "--compress", "none"], arguments].concat()).ends(0);
    (place, ran)
}

/// Returns the text of all files below a folder of the context.
fn texts(place: &Place, folder: &str) -> String {
    let files = fs::read_dir(place.path("ctx").join(folder)).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn convert_custom_hosts_reach_the_containers() {
    let (place, _) = converted("127.0.0.1 localhost\n10.20.30.40 db.internal DB # the database\n", "", &[]);
    let compose = fs::read_to_string(place.path("ctx/compose.yaml")).unwrap();
    for entry in ["db.internal:10.20.30.40", "db:10.20.30.40"] {
        assert!(compose.contains(entry), "no {entry} in\n{compose}");
        let quadlet = texts(&place, "quadlet");
        assert!(quadlet.contains(&format!("--add-host={entry}")), "no {entry} in\n{quadlet}");
    }
    let kubernetes = texts(&place, "kubernetes");
    assert!(kubernetes.contains("hostAliases") && kubernetes.contains("10.20.30.40"), "{kubernetes}");
}

#[test]
fn convert_usual_hosts_are_not_custom() {
    let hosts = "127.0.0.1\tlocalhost localhost.localdomain\n127.0.1.1 shop01.example.com shop01\n\
                 ::1 ip6-localhost ip6-loopback localhost\nff02::1 ip6-allnodes\n10.0.0.7 shop01\n";
    let (place, ran) = converted(hosts, "nameserver 10.0.0.1\noptions edns0 trust-ad\nsearch .\n", &[]);
    let compose = fs::read_to_string(place.path("ctx/compose.yaml")).unwrap();
    assert!(!compose.contains("extra_hosts"), "{compose}");
    assert!(!texts(&place, "kubernetes").contains("hostAliases"));
    assert!(!ran.err.contains("/etc/hosts") && !ran.err.contains("resolv.conf"), "{}", ran.err);
}

#[test]
fn convert_hosts_without_a_form_are_warnings() {
    let (place, ran) = converted("fe80::1%eth0 gate\x1b[2J\n10.1.1.1 ok db_master\n", "", &[]);
    ran.says(&["/etc/hosts: fe80::1%eth0 gate\\x1b[2J", "db_master"]);
    let findings = fs::read_to_string(place.path("ctx/findings.jsonl")).unwrap();
    assert!(findings.contains("name-resolution") && findings.contains("fe80::1%eth0"), "{findings}");
}

#[test]
fn convert_hosts_without_services_are_a_warning() {
    let (_place, ran) = converted("10.20.30.40 db.internal db\n", "", &["--services", "none"]);
    ran.says(&["10.20.30.40 db.internal db"]);
}

#[test]
fn convert_custom_resolv_conf_is_a_warning() {
    let (_place, ran) =
        converted("", "nameserver 10.0.0.1\nsearch corp.example lab.example\noptions ndots:3\n", &[]);
    ran.says(&["search corp.example lab.example", "options ndots:3"]);
}

//! Converts fixture roots and compares the contexts with snapshots and with rules.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::fixture::{self, Deb};
use support::look::{look, paths, times};
use support::tool::{Place, binary, finish};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMIIEvQverysecretkeymaterial\\n-----END PRIVATE KEY-----\\n";

/// A Debian with something of everything.
const DEBIAN: &str = r#"
file 0644 0:0 /usr/lib/os-release "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"
link 0777 0:0 /etc/os-release ../usr/lib/os-release
link 0777 0:0 /bin usr/bin
link 0777 0:0 /sbin usr/sbin
link 0777 0:0 /lib usr/lib
dir 0755 0:0 /usr/bin
dir 0755 0:0 /usr/sbin
dir 0755 0:0 /usr/lib
file 0755 0:0 /usr/bin/ls "ls\n"
file 4755 0:0 /usr/bin/su "su\n"
file 0755 0:0 /usr/bin/tool "tool\n"
file 0644 0:0 /usr/share/tool/pristine "pristine\n"
file 0644 0:0 /usr/share/tool/edited "as shipped\n"
file 0644 0:0 /usr/share/tool/deleted "deleted later\n"
file 0644 0:0 /usr/share/tool/moved.distrib "moved out of the way\n"
file 0644 0:0 /usr/share/tool/moved "the one that is put there\n"
file 0644 0:0 /etc/tool.conf "a=1\n"
file 0644 0:0 /etc/tool.d/untouched "b=1\n"
file 0755 0:0 /usr/local/bin/ours "ours\n"
file 0644 0:0 /opt/local/data "local\n"
file 0644 0:0 /etc/old.conf "left behind\n"
file 0600 0:0 /boot/vmlinuz-6.1.0-9-amd64 "kernel\n"
file 0644 0:0 /usr/lib/modules/6.1.0-9-amd64/kernel/ext4.ko "module\n"
file 0644 0:0 /usr/share/doc/linux-image-6.1.0-9-amd64/copyright "free\n"
file 0644 0:0 /etc/hostname "fixture\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\neve:x:1000:1000::/home/eve:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\neve:x:1000:\n"
file 0640 0:42 /etc/shadow "root:$y$j9T$rootsverysecrethash:19000:0:99999:7:::\neve:$6$evesverysecrethash:19000::::::\nnobody:*:19000::::::\n"
file 0444 0:0 /etc/machine-id "0123456789abcdef0123456789abcdef\n"
file 0600 0:0 /etc/ssh/ssh_host_ed25519_key "-----BEGIN OPENSSH PRIVATE KEY-----\nhostsverysecretkey\n"
file 0600 1000:1000 /home/eve/.bash_history "mysql -pverysecretpassword\n"
file 0640 1000:1000 /home/eve/notes "hello\n"
file 0644 0:0 /var/log/syslog "log\n"
file 0644 0:0 /var/cache/apt/pkgcache.bin "cache\n"
file 0600 0:0 /srv/db/PG_VERSION "15\n"
file 0600 0:0 /srv/db/base/1 "rows\n"
dir 0700 0:0 /srv/db/global
dir 1777 0:0 /tmp
file 0644 0:0 /tmp/scratch "x"
file 0644 0:0 /etc/apt/sources.list "deb http://deb.example.org/debian bookworm main\n"
"#;

/// Changes after the packages were installed.
const LATER: &str = r#"
file 0644 0:0 /usr/share/tool/edited "edited\n"
gone - - /usr/share/tool/deleted
file 0640 0:33 /etc/tool.conf "a=2\n"
file 0644 0:0 /var/lib/dpkg/diversions "/usr/share/tool/moved\n/usr/share/tool/moved.distrib\nlocal\n"
file 0644 0:0 /var/lib/apt/lists/deb.example.org_debian_dists_bookworm_main_binary-amd64_Packages "Package: coreutils\nVersion: 9.1-1\nArchitecture: amd64\n\nPackage: tool\nVersion: 1.0-1\nArchitecture: amd64\n\n"
"#;

const TOOL: Deb<'_> = Deb {
    name: "tool",
    version: "1.0-1",
    status: "",
    fields: "Depends: coreutils\n",
    files: &[
        "/usr/bin/tool",
        "/usr/share/tool/pristine",
        "/usr/share/tool/edited",
        "/usr/share/tool/deleted",
        "/usr/share/tool/moved.distrib",
        "/etc/tool.conf",
        "/etc/tool.d/untouched",
    ],
    conffiles: &["/etc/tool.conf", "/etc/tool.d/untouched"],
    scripts: &["postinst"],
};

const KERNEL: Deb<'_> = Deb {
    name: "linux-image-6.1.0-9-amd64",
    version: "6.1.27-1",
    status: "",
    fields: "",
    files: &[
        "/boot/vmlinuz-6.1.0-9-amd64",
        "/lib/modules/6.1.0-9-amd64/kernel/ext4.ko",
        "/usr/share/doc/linux-image-6.1.0-9-amd64/copyright",
    ],
    conffiles: &[],
    scripts: &["postinst", "prerm"],
};

fn debian() -> Place {
    let place = Place::new();
    let machine = place.root("machine", DEBIAN);
    fixture::lay(&machine, &format!("file 0600 0:0 /srv/app/server.pem \"{KEY}\""));
    let coreutils = Deb {
        name: "coreutils",
        version: "9.1-1",
        fields: "Essential: yes\nPriority: required\n",
        // Built before /usr was merged, so under the old name.
        files: &["/bin/ls", "/bin/su"],
        ..Deb::default()
    };
    let local = Deb {
        name: "local",
        version: "7",
        files: &["/opt/local/data", "/usr/share/tool/moved"],
        ..Deb::default()
    };
    let old = Deb {
        name: "old",
        version: "3",
        status: "deinstall ok config-files",
        files: &["/etc/old.conf"],
        conffiles: &["/etc/old.conf"],
        ..Deb::default()
    };
    fixture::dpkg(&machine, &[coreutils, KERNEL, local, old, TOOL]);
    fixture::lay(&machine, LATER);
    place
}

fn bare(os: &str) -> Place {
    let place = Place::new();
    place.root("machine", &format!("{DEBIAN}\nfile 0644 0:0 /usr/lib/os-release \"{os}\"\n"));
    place
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the files of the context as one text: the list with modes, then each decompressed
/// content.
///
/// Binary contents are shown by their digest. `COMPLETE` has the digest of the executable, which
/// is another one for each build.
fn dump(place: &Place) -> String {
    let files: BTreeMap<_, _> =
        look(&place.path("ctx")).into_iter().filter(|(_, look)| look.kind == 'f').collect();
    let mut list = String::new();
    let mut contents = String::new();
    for (path, look) in files {
        let name = String::from_utf8(path[1..].to_vec()).unwrap();
        list += &format!("{:04o} {name}\n", look.mode);
        if name == "vm2docker-self" || name == "COMPLETE" {
            continue;
        }
        let content = place.unpacked("ctx", &name);
        let text = match String::from_utf8(content) {
            Ok(text) if !text.contains('\0') => text,
            Ok(text) => format!("SHA-256 {}", hex(text.as_bytes())),
            Err(binary) => format!("SHA-256 {}", hex(binary.as_bytes())),
        };
        contents += &format!("\n==> {name} <==\n{text}\n");
    }
    list + &contents
}

/// To accept a change on purpose, run this test with `INSTA_UPDATE=always` and read the
/// difference of `tests/snapshots`. A change of `plan.json` that removes or renames a field needs
/// a new version of its schema too.
#[test]
fn convert_fixture_roots_equal_snapshots() {
    for (name, place, args) in [
        ("debian_installed", debian(), &[][..]),
        ("debian_carried", debian(), &["--packages", "carry"]),
        ("debian_without_database", bare("ID=debian\\nVERSION_ID=12\\n"), &[]),
        ("unknown_distribution", bare("ID=haiku\\n"), &[]),
    ] {
        place.convert("ctx", args).ends(0);
        insta::assert_snapshot!(name, dump(&place));
    }
}

/// Verdict, layer and reason of a path.
fn verdict_of(place: &Place, path: &str) -> String {
    let manifest = place.manifest("ctx");
    let record = manifest.iter().find(|record| record["path"] == path);
    let Some(record) = record else { return "absent".to_owned() };
    let layer = record.get("layer").and_then(|layer| layer.as_str()).unwrap_or("-");
    format!("{} {layer}: {}", record["verdict"].as_str().unwrap(), record["reason"].as_str().unwrap())
}

#[test]
fn plan_each_path_kind_gets_expected_verdict() {
    let place = debian();
    place.convert("ctx", &[] as &[&str]).ends(0);
    for (path, expected) in [
        ("/usr/share/tool/pristine", "keep packages: package tool"),
        ("/usr/bin/ls", "keep packages: package coreutils"),
        ("/usr/share/tool/edited", "keep delta: changed since package tool shipped it"),
        ("/usr/share/tool/deleted", "absent"),
        ("/etc/tool.conf", "keep delta: changed since package tool shipped it"),
        ("/etc/tool.d/untouched", "keep packages: package tool"),
        ("/opt/local/data", "keep packages: package local"),
        ("/etc/old.conf", "keep delta: no package ships it"),
        ("/usr/local/bin/ours", "keep delta: no package ships it"),
        ("/boot/vmlinuz-6.1.0-9-amd64", "drop -: kernel and boot loader: a container has the host's"),
        (
            "/usr/share/doc/linux-image-6.1.0-9-amd64/copyright",
            "drop -: package linux-image-6.1.0-9-amd64 (kernel: a container runs on the host's)",
        ),
        (
            "/var/lib/dpkg/info/linux-image-6.1.0-9-amd64.list",
            "drop -: package linux-image-6.1.0-9-amd64 (kernel: a container runs on the host's)",
        ),
        (
            "/var/lib/dpkg/info/linux-image-6.1.0-9-amd64.prerm",
            "drop -: package linux-image-6.1.0-9-amd64 (kernel: a container runs on the host's)",
        ),
        ("/var/lib/dpkg/info/old.list", "keep generated: created by package scripts (dpkg)"),
        ("/var/lib/dpkg/status", "rewrite delta: packages that are not in the image are not in its database"),
        ("/etc/shadow", "rewrite delta: password hashes replaced"),
        ("/srv/app/server.pem", "withhold -: private key, known by its content"),
        ("/etc/ssh/ssh_host_ed25519_key", "regenerate -: host identity; `ssh-keygen -A` makes new ones"),
        (
            "/srv/db/base/1",
            "volume -: live PostgreSQL data: a volume; copy it with pg_dumpall or pg_basebackup",
        ),
        ("/tmp/scratch", "drop -: temporary files"),
    ] {
        assert_eq!(verdict_of(&place, path), expected, "{path}");
    }
    let deletions = String::from_utf8(place.unpacked("ctx", "deletions.list")).unwrap();
    assert!(deletions.lines().any(|line| line == "/usr/share/tool/deleted"), "{deletions}");
    let plan: serde_json::Value = serde_json::from_slice(&place.unpacked("ctx", "plan.json")).unwrap();
    let local = &plan["packages"]["decisions"]["local"];
    assert_eq!(
        (&local["from"], &local["reason"]),
        (&"context".into(), &"no repository has this version".into())
    );
    assert_eq!((&plan["packages"]["carried"], &plan["packages"]["dropped"]), (&1.into(), &1.into()));
    assert_eq!(plan["volumes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/srv/db"]);
    let places: Vec<_> =
        plan["local_files"]["places"].as_array().unwrap().iter().map(|place| &place["path"]).collect();
    assert!(places.iter().any(|path| **path == "/usr/local"), "{places:?}");
    assert!(!places.iter().any(|path| path.as_str().unwrap().starts_with("/var/lib/dpkg")), "{places:?}");
}

/// Local files precede thousands of files that package scripts generate, so that users find them
/// in the archive.
#[test]
fn delta_local_files_come_first() {
    let place = debian();
    // One inode of the administrator's and of dpkg's.
    fixture::lay(&place.path("machine"), "hard - - /srv/app/link /var/lib/dpkg/info/old.list\n");
    place.convert("ctx", &[] as &[&str]).ends(0);
    let delta = place.unpacked("ctx", "delta.tar.zst");
    let mut reader = vm2docker_self::context::tar::Reader::new(&delta[..]);
    let mut order = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        order.push(String::from_utf8(entry.node.path.to_vec()).unwrap());
    }
    let at = |path: &str| {
        order.iter().position(|member| member == path).unwrap_or_else(|| panic!("{path}: {order:?}"))
    };
    for (before, after) in [
        ("usr/local/bin/ours", "var/lib/dpkg/info/tool.list"),
        ("srv/app/link", "var/lib/dpkg/info/tool.list"),
        ("srv/app", "srv/app/link"),
        ("srv/app/link", "var/lib/dpkg/info/old.list"),
        ("var/lib/dpkg/info/old.list", "var/lib/dpkg/info/tool.list"),
    ] {
        assert!(at(before) < at(after), "{before} and {after} in {order:?}");
    }
}

/// Every file of a context by name.
fn files(context: &Path) -> BTreeMap<Vec<u8>, (u32, u64, Vec<u8>)> {
    look(context).into_iter().map(|(path, look)| (path, (look.mode, look.size, look.sha256))).collect()
}

#[test]
fn threads_and_repetition_change_no_byte() {
    let place = debian();
    // More than the compressor gives to one thread.
    fixture::lay(
        &place.path("machine"),
        "file 0644 0:0 /srv/large @random 20000000\nfile 0644 0:0 /srv/holes @sparse 9000000",
    );
    let many: String = (0..500).map(|n| format!("file 0644 0:0 /srv/many/{}/{n} \"{n}\"\n", n % 7)).collect();
    fixture::lay(&place.path("machine"), &many);
    for packages in ["install", "carry"] {
        let contexts =
            [("1", "ctx-1"), ("8", "ctx-8"), ("8", "ctx-8-again"), ("3", "ctx-3")].map(|(threads, ctx)| {
                place.convert(ctx, &["--threads", threads, "--packages", packages]).ends(0);
                let listed = files(&place.path(ctx));
                fs::remove_dir_all(place.path(ctx)).unwrap();
                listed
            });
        assert!(contexts[0].len() > 10);
        for other in &contexts[1..] {
            assert_eq!(&contexts[0], other);
        }
    }
}

#[test]
fn convert_leaves_machine_unchanged() {
    let place = debian();
    let paths = paths(&place.path("machine"));
    // Access before modification: the next read would be seen (mount(8), relatime).
    paths.iter().for_each(|path| fixture::set_time(path, fixture::TIME));
    let before = times(&paths);
    place.convert("ctx1", &[] as &[&str]).ends(0);
    place.convert("ctx2", &["--packages", "carry", "--dry-run"]).ends(0);
    let after = times(&paths);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

/// Every file of the context, decompressed.
fn contents(place: &Place) -> Vec<(String, Vec<u8>)> {
    let names = look(&place.path("ctx")).into_iter().filter(|(_, look)| look.kind == 'f');
    let names = names.map(|(path, _)| String::from_utf8(path[1..].to_vec()).unwrap());
    names
        .filter(|name| name != "vm2docker-self")
        .map(|name| (name.clone(), place.unpacked("ctx", &name)))
        .collect()
}

#[test]
fn secrets_and_their_digests_are_nowhere() {
    for packages in ["install", "carry"] {
        let place = debian();
        let machine = place.path("machine");
        fixture::lay(
            &machine,
            "hard - - /srv/second-name /etc/shadow\nhard - - /backup/first-name /etc/shadow\nhard - - /srv/app/other.pem /srv/app/server.pem",
        );
        let digests =
            ["srv/app/server.pem", "etc/shadow", "etc/ssh/ssh_host_ed25519_key", "home/eve/.bash_history"]
                .map(|path| hex(&fs::read(machine.join(path)).unwrap()));
        place.convert("ctx", &["--packages", packages]).ends(0);
        for (name, content) in contents(&place) {
            let has = |needle: &str| content.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!has("verysecret"), "{name} holds a secret");
            assert!(!has("0123456789abcdef0123456789abcdef"), "{name} holds the machine's number");
            digests.iter().for_each(|digest| assert!(!has(digest), "{name} holds the digest of a secret"));
        }
        let todo = String::from_utf8(place.unpacked("ctx", "SECRETS.todo")).unwrap();
        assert!(
            todo.contains("/srv/app/server.pem\t0600\t0:0\t") && todo.contains("/srv/app/other.pem\t"),
            "{todo}"
        );
    }
}

#[test]
fn files_that_are_rewritten_keep_their_attributes_and_their_links() {
    let place = Place::new();
    place.root(
        "machine",
        r#"
        file 0644 0:0 /etc/os-release "ID=other\n"
        file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
        acl - - /etc/passwd access u::rw-,u:1000:r--,g::r--,m::r--,o::r--
        xattr - - /etc/passwd user.note "kept"
        file 0640 0:42 /etc/shadow "root:$6$abc:1::::::\n"
        acl - - /etc/shadow access u::rw-,u:1000:r--,g::r--,m::r--,o::---
        hard - - /srv/second-name /etc/shadow
        hard - - /backup/first-name /etc/shadow
        "#,
    );
    place.convert("ctx", &[] as &[&str]).ends(0);
    place.build("ctx", "built").ends(0);
    let (machine, image) = (look(&place.path("machine")), look(&place.path("built")));
    assert_eq!(machine[&b"/etc/passwd"[..]], image[&b"/etc/passwd"[..]]);
    for path in ["/etc/shadow", "/srv/second-name", "/backup/first-name"] {
        let (machine, image) = (&machine[path.as_bytes()], &image[path.as_bytes()]);
        assert_eq!(
            (&machine.first, &machine.xattrs, machine.mode),
            (&image.first, &image.xattrs, image.mode),
            "{path}"
        );
    }
    assert_eq!(fs::read(place.path("built").join("srv/second-name")).unwrap(), b"root:!*:1::::::\n");
}

#[test]
fn convert_damaged_database_reports_line_and_continues() {
    let place = debian();
    let status = place.path("machine").join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == "Package: tool").unwrap();
    let damaged = [&lines[..=at], &["this is not a field"], &lines[at + 1..]].concat().join("\n") + "\n";
    fs::write(&status, damaged).unwrap();
    let said = format!("/var/lib/dpkg/status: line {}", at + 2);
    place.convert("ctx", &[] as &[&str]).ends(3).says(&["incomplete: 1 objects", &said]);
    assert!(place.path("ctx").join("COMPLETE").exists());
    assert_eq!(verdict_of(&place, "/usr/bin/ls"), "keep packages: package coreutils");
}

/// A registry can have an image that is closer to an old machine, but only the contents of the
/// file are known.
#[test]
fn convert_base_from_file_builds_from_that_image() {
    let place = Place::new();
    let root = |name: &str, version: &str| {
        let status = format!(
            "Package: base-files\\nStatus: install ok installed\\nArchitecture: amd64\\nVersion: {version}\\n\\n"
        );
        place.root(
            name,
            &format!(
                "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\nVERSION_CODENAME=bookworm\\n\"\n\
                 file 0644 0:0 /var/lib/dpkg/arch-native \"amd64\\n\"\n\
                 file 0644 0:0 /var/lib/dpkg/status \"{status}\"\n"
            ),
        )
    };
    let (machine, _) = (root("machine", "1"), root("base", "2"));
    let tar = place.pack("base");
    let mut run = binary();
    run.env_remove("VM2DOCKER_OFFLINE").args(["--dry-run", "--json", "--root"]).arg(machine);
    let ran = finish(run.arg("--out").arg(place.path("ctx")).arg("--base-from").arg(tar)).ends(0);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["plan"]["base"]["from"], "debian:12");
    assert_eq!(document["plan"]["packages"]["decisions"]["base-files"]["base_version"], "2");
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["kind"] != "base-image"), "{findings:?}");
}

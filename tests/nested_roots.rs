//! Root file systems in directories of the machine: chroots, containers, snapshots.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::tool::Place;

const MACHINE: &str = r##"
file 0644 0:0 /etc/os-release "ID=homegrown\nVERSION_ID=1\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\n"
file 0644 0:0 /srv/chroot/etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /srv/chroot/usr/bin/app "app\n"
file 0644 0:0 /srv/chroot/var/lib/app/data "data\n"
file 0600 0:0 /srv/chroot/root/.pgpass "plain words\n"
file 0600 0:0 /srv/chroot/root/.bash_history "ls\n"
file 0600 0:0 /srv/chroot/home/eve/.ssh/id_ed25519 "plain words\n"
file 0644 0:0 /srv/chroot/var/log/app.log "kept\n"
file 0600 0:0 /srv/data/root/.bash_history "not a root\n"
file 0600 0:0 /.snapshots/1/snapshot/etc/app.key "old\n"
dir 0755 0:0 /.snapshots/1/snapshot/usr
dir 0755 0:0 /.snapshots/1/snapshot/var
"##;

#[test]
fn convert_nested_root_has_no_secrets() {
    let place = Place::new();
    place.root("machine", MACHINE);
    let run = place.convert("ctx", &["--base", "scratch"]).ends(0);
    let manifest = std::fs::read(place.path("ctx/manifest.jsonl.zst")).unwrap();
    let manifest = String::from_utf8(zstd::decode_all(&manifest[..]).unwrap()).unwrap();
    for (path, verdict) in [
        ("/srv/chroot/usr/bin/app", "keep"),
        ("/srv/chroot/var/log/app.log", "keep"),
        ("/srv/chroot/root/.pgpass", "withhold"),
        ("/srv/chroot/root/.bash_history", "drop"),
        ("/srv/chroot/home/eve/.ssh/id_ed25519", "withhold"),
        ("/srv/data/root/.bash_history", "keep"),
        ("/.snapshots/1/snapshot/etc/app.key", "drop"),
    ] {
        let line = manifest.lines().find(|line| line.contains(&format!("\"path\":\"{path}\""))).unwrap();
        assert!(line.contains(&format!("\"verdict\":\"{verdict}\"")), "{line}");
    }
    let warnings: Vec<&str> = run.err.lines().filter(|line| line.starts_with("warning: /")).collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("/srv/chroot: contains another root"),
        "{warnings:?}"
    );
}

//! Files with holes, from 1 GiB to 300 GiB: holes are not read, not archived, and created again.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::fixture::{self, Deb};
use support::tool::{Place, command, finish, run};

const GIB: u64 = 1 << 30;
/// Name, size, and offsets of 4 bytes of data each.
const FILES: &[(&str, u64, &[u64])] = &[
    ("begin", GIB, &[0]),
    ("end", 2 * GIB, &[2 * GIB - 4]),
    ("both", 300 * GIB, &[0, 300 * GIB - 4]),
    ("middle", 40 * GIB, &[20 * GIB + 12345]),
    ("many", 10 * GIB, &[0, GIB, GIB + 4096, GIB + (1 << 20), 9 * GIB + 1]),
    ("hole", 300 * GIB, &[]),
    ("small", (9 << 20) + 1, &[5 << 20]),
    ("tiny", 1 << 20, &[100]),
];

fn machine(files: &[(&str, u64, &[u64])]) -> Place {
    let place = Place::new();
    place.root(
        "machine",
        "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\ndir 0755 0:0 /srv\n",
    );
    for (name, size, offsets) in files {
        let file = File::create(place.path("machine").join("srv").join(name)).unwrap();
        file.set_len(*size).unwrap();
        for offset in *offsets {
            file.write_all_at(b"DATA", *offset).unwrap();
        }
        file.sync_all().unwrap();
    }
    place
}

/// Asserts that a step took no longer than reading or hashing the holes could take.
fn assert_quick(since: Instant, step: &str) {
    assert!(since.elapsed() < Duration::from_secs(20), "{step}: {:?}", since.elapsed());
}

#[test]
fn convert_build_and_verify_files_with_holes_reads_no_hole() {
    let place = machine(FILES);
    std::fs::hard_link(place.path("machine/srv/both"), place.path("machine/srv/other-name")).unwrap();
    let since = Instant::now();
    place
        .convert("ctx", &["--threads", "1"])
        .ends(0)
        .says(&["warning: /srv/both: 300.0 GiB, 8.0 KiB on disk"]);
    assert_quick(since, "conversion");
    assert!(std::fs::metadata(place.path("ctx").join("delta.tar.zst")).unwrap().len() < 1 << 20);
    let findings = String::from_utf8(place.unpacked("ctx", "findings.jsonl")).unwrap();
    for (name, size, _) in FILES {
        let is_named = findings.contains(&format!("\"path\":\"/srv/{name}\",\"kind\":\"sparse\""))
            || findings
                .lines()
                .any(|line| line.contains("\"sparse\"") && line.contains(&format!("/srv/{name}\"")));
        assert_eq!(is_named, *size >= GIB, "{name}: {findings}");
    }
    let since = Instant::now();
    place.build("ctx", "built").ends(0);
    assert_quick(since, "build");
    let since = Instant::now();
    place.verify("ctx", "built").ends(0);
    assert_quick(since, "verification");
    for (name, size, offsets) in FILES {
        let built = File::open(place.path("built").join("srv").join(name)).unwrap();
        let metadata = built.metadata().unwrap();
        assert_eq!(metadata.len(), *size);
        assert!(metadata.blocks() * 512 <= 32 << 10, "{name}: {} blocks", metadata.blocks());
        for offset in *offsets {
            let mut bytes = [0; 4];
            built.read_exact_at(&mut bytes, *offset).unwrap();
            assert_eq!(&bytes, b"DATA", "{name} at {offset}");
        }
    }
    let manifest = place.manifest("ctx");
    let record = |path: &str| manifest.iter().find(|record| record["path"] == path).unwrap();
    assert!(record("/srv/both")["data_sha256"].is_string() && record("/srv/both")["sha256"].is_null());
    assert!(record("/srv/small")["sha256"].is_string() && record("/srv/small")["data_sha256"].is_null());
}

#[test]
fn convert_any_number_of_threads_writes_same_bytes() {
    let place = machine(FILES);
    for threads in ["1", "4"] {
        place.convert(&format!("ctx{threads}"), &["--threads", threads]).ends(0);
    }
    for name in ["delta.tar.zst", "manifest.jsonl.zst", "findings.jsonl", "plan.json"] {
        let read = |ctx: &str| std::fs::read(place.path(ctx).join(name)).unwrap();
        assert!(read("ctx1") == read("ctx4"), "{name}");
    }
}

#[test]
fn verify_byte_in_hole_or_tar_without_holes_compares_content() {
    let place = machine(&[("data", 2 * GIB, &[0, GIB])]);
    place.convert("ctx", &[] as &[&str]).ends(0);
    place.build("ctx", "built").ends(0);
    // Other holes are the same content.
    let built = File::options().write(true).open(place.path("built/srv/data")).unwrap();
    built.write_all_at(&[0; 1 << 20], GIB + (5 << 20)).unwrap();
    touch(&place);
    place.verify("ctx", "built").ends(0);
    let verify_tar = |sparse: &[&str]| {
        let tar = place.path("built.tar");
        let mut tar_command = command("tar");
        tar_command.args(["--numeric-owner", "--sort=name"]).args(sparse).arg("-C").arg(place.path("built"));
        finish(tar_command.arg("-cf").arg(&tar).arg(".")).ends(0);
        run(["verify".into(), place.path("ctx"), "--tar".into(), tar])
    };
    verify_tar(&[]).ends(0);
    verify_tar(&["--sparse", "--format=pax"]).ends(0);
    verify_tar(&["--sparse", "--format=gnu"]).ends(0);
    built.write_all_at(b"x", GIB + (700 << 20)).unwrap();
    touch(&place);
    assert!(place.verify("ctx", "built").ends(5).out.contains("/srv/data: content differs"));
    verify_tar(&["--sparse", "--format=pax"]).ends(5);
}

/// Gives the built file the time of the machine's.
fn touch(place: &Place) {
    let mut touch = command("touch");
    touch.arg("-r").arg(place.path("machine/srv/data")).arg(place.path("built/srv/data"));
    finish(&mut touch).ends(0);
}

#[test]
fn dry_run_packaged_file_with_300_gib_hole_ends_within_seconds() {
    let place = machine(&[("data", 300 * GIB, &[0, 300 * GIB - 4])]);
    let machine = place.path("machine");
    fixture::lay(&machine, "file 0644 0:0 /opt/tool/db packaged\n");
    let tool = Deb { name: "tool", version: "1", files: &["/opt/tool/db"], ..Deb::default() };
    fixture::dpkg(&machine, &[tool]);
    File::options().write(true).open(machine.join("opt/tool/db")).unwrap().set_len(300 * GIB).unwrap();
    for args in [&["--dry-run"][..], &["--base", "debian:12", "--packages", "carry"]] {
        let since = Instant::now();
        place.convert("ctx", args).ends(0).says(&["/srv/data: 300.0 GiB", "/opt/tool/db: 300.0 GiB"]);
        assert_quick(since, "conversion");
    }
    assert!(place.carried("ctx").iter().any(|path| path.ends_with(b"opt/tool/db")));
}

#[test]
fn convert_file_that_changes_in_its_holes_is_consistent_or_lost() {
    let place = machine(&[("data", 4 * GIB, &[0])]);
    let path = place.path("machine/srv/data");
    let stop = AtomicBool::new(false);
    let ran = std::thread::scope(|threads| {
        threads.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            for number in (0_u64..).take_while(|_| !stop.load(Relaxed)) {
                file.write_all_at(&number.to_le_bytes(), number * 8191 * 4096 % (4 * GIB)).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let ran = place.convert("ctx", &[] as &[&str]);
        stop.store(true, Relaxed);
        ran
    });
    assert!(matches!(ran.code, Some(0 | 3)), "{}", ran.err);
    // The context is complete and can be built, with the file or without it.
    place.build("ctx", "built").ends(0);
    place.verify("ctx", "built").ends(0);
    let record = place.manifest("ctx").into_iter().find(|record| record["path"] == "/srv/data").unwrap();
    assert_eq!(record["verdict"] == "lost", ran.code == Some(3), "{record}");
    assert_eq!(place.path("built/srv/data").exists(), ran.code == Some(0));
}

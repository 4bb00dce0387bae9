//! Machine to context to image and back: a matrix of objects, each damage alone, and random
//! trees.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::ffi::OsString;
use std::path::Path;
use support::fixture::{self, Deb};
use support::look::{differences, look};
use support::matrix;
use support::tool::{Place, from_file};

/// Builds `ctx` over `base`, then compares the result with the machine: by `verify`, by an
/// independent comparison, and by a second run.
#[track_caller]
fn proves(place: &Place, ctx: &str, exceptions: &[&str]) {
    let built = format!("built-{ctx}");
    place.build(ctx, &built).ends(0);
    let verified = place.verify(ctx, &built).ends(0);
    assert!(verified.out.starts_with("equal: "), "{}", verified.out);
    let mut machine = look(&place.path("machine"));
    machine.retain(|path, _| !exceptions.iter().any(|exception| path.starts_with(exception.as_bytes())));
    let mut image = look(&place.path(&built));
    image.retain(|path, _| !exceptions.iter().any(|exception| path.starts_with(exception.as_bytes())));
    let lines = differences(&machine, &image, &place.carried(ctx));
    assert!(
        lines.is_empty(),
        "{ctx}: {} paths differ\n{}",
        lines.len(),
        lines[..lines.len().min(20)].join("\n")
    );

    let again = place.apply(ctx, &built, &[]).ends(0);
    assert!(
        again.err.contains(" 0 files (0 B) written, 0 planned deletions, 0 others removed"),
        "{}",
        again.err
    );
    let total = again.err.split("verified: ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(
        again.err.contains(&format!("verified: {total} paths match ({total} from lower layers")),
        "{}",
        again.err
    );
}

fn matrix_place() -> Place {
    let place = Place::new();
    let (base, machine) = matrix::matrix();
    place.root("base", &base);
    place.root("machine", &machine);
    place
}

#[test]
fn round_trip_matrix_over_known_base() {
    let place = matrix_place();
    let tar = place.pack("base");
    place.convert("ctx", &from_file(&tar)).ends(0);
    proves(&place, "ctx", &[]);
    let carried = place.carried("ctx");
    let same = carried.iter().find(|path| path.starts_with(b"/srv/same/"));
    assert!(same.is_none(), "carried although the base has it: {}", same.unwrap().escape_ascii());
}

#[test]
fn round_trip_matrix_over_unknown_base() {
    let place = matrix_place();
    place.convert("ctx", &["--base", "debian:12", "--base-from", "none"]).ends(0);
    proves(&place, "ctx", &[]);
}

#[test]
fn round_trip_matrix_from_scratch() {
    let place = Place::new();
    place.root("machine", &matrix::matrix().1);
    place.convert("ctx", &[] as &[&str]).ends(0);
    assert!(
        String::from_utf8(place.unpacked("ctx", "Dockerfile")).unwrap().contains("\nFROM scratch AS base\n")
    );
    proves(&place, "ctx", &[]);
}

/// Types that packages ship.
const SHIPPED: &[&str] = &["file", "dir", "full-dir", "link", "to-dir", "hard"];

/// Creates a base and a machine with package databases. The machine has one more package, over
/// objects of other types.
fn packaged() -> Place {
    let place = Place::new();
    let os = "dir 0755 0:0 /srv\nfile 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n".to_owned();
    let (mut base, mut machine) = (os.clone(), os);
    let paths: Vec<String> = {
        let mut paths = String::new();
        matrix::types(&mut String::new(), &mut paths, "/opt/app", SHIPPED);
        paths.lines().map(|line| String::from_utf8(fixture::words(line).remove(3)).unwrap()).collect()
    };
    matrix::types(&mut base, &mut machine, "/opt/app", SHIPPED);
    for root in [&mut base, &mut machine] {
        *root += "file 0755 0:0 /usr/bin/tool \"tool 1\"\nfile 0644 0:0 /etc/tool.conf \"a=1\\n\"\nlink 0777 0:0 /bin usr/bin\n";
    }
    let tool = Deb {
        name: "tool",
        version: "1.0-1",
        files: &["/usr/bin/tool", "/etc/tool.conf"],
        conffiles: &["/etc/tool.conf"],
        ..Deb::default()
    };
    fixture::dpkg(&place.root("base", &base), &[tool]);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let app = Deb { name: "app", version: "2", files: &paths, ..Deb::default() };
    let machine = place.root("machine", &machine);
    fixture::dpkg(&machine, &[tool, app]);
    fixture::lay(
        &machine,
        "file 0640 0:33 /etc/tool.conf \"a=2\\n\"\nfile 0755 0:0 /opt/app/dir-file edited\n",
    );
    place
}

#[test]
fn packages_carried_over_a_base_that_is_known() {
    let place = packaged();
    let tar = place.pack("base");
    let args: Vec<OsString> =
        from_file(&tar).into_iter().chain(["--packages".into(), "carry".into()]).collect();
    place.convert("ctx", &args).ends(0);
    assert!(place.path("ctx").join("packages.tar.zst").exists());
    proves(&place, "ctx", &[]);
}

#[test]
fn packages_carried_over_a_base_that_is_not_known() {
    let place = packaged();
    place.convert("ctx", &["--base", "debian:12", "--packages", "carry"]).ends(0);
    proves(&place, "ctx", &[]);
}

#[test]
fn packages_archive_other_times_of_installation_same_bytes() {
    let place = packaged();
    let args = ["--base", "debian:12", "--packages", "carry"];
    place.convert("ctx", &args).ends(0);
    let link = place.path("machine").join("opt/app/dir-link");
    assert!(link.is_symlink());
    for path in [&link, link.parent().unwrap()] {
        fixture::set_time(path, fixture::TIME + 1000);
    }
    place.convert("ctx-later", &args).ends(0);
    let archive = |ctx: &str| std::fs::read(place.path(ctx).join("packages.tar.zst")).unwrap();
    assert!(archive("ctx") == archive("ctx-later"), "two machines with the same packages share nothing");
}

#[test]
fn packages_carried_onto_nothing() {
    let place = packaged();
    fixture::lay(&place.path("machine"), "file 0644 0:0 /etc/os-release \"ID=other\\n\"");
    std::fs::rename(place.path("base"), place.path("no-base")).unwrap();
    place.convert("ctx", &["--packages", "carry"]).ends(0);
    proves(&place, "ctx", &[]);
}

#[test]
fn packages_that_are_all_in_the_base() {
    let place = packaged();
    let app = place.path("machine").join("var/lib/dpkg");
    std::fs::remove_dir_all(&app).unwrap();
    support::tool::finish(
        support::tool::command("cp").arg("-a").arg(place.path("base").join("var/lib/dpkg")).arg(&app),
    )
    .ends(0);
    let tar = place.pack("base");
    place.convert("ctx", &from_file(&tar)).ends(0);
    assert!(place.path("ctx").join("packages/installed.list").exists());
    proves(&place, "ctx", &[]);
}

/// A small machine with one object of each sort, all of it carried.
fn small() -> Place {
    let place = Place::new();
    let mut machine = "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n".to_owned();
    for kind in matrix::KINDS {
        machine += &matrix::object(kind, &format!("/srv/{kind}"), "0644", "1:2", 1);
    }
    place.root("base", "file 0644 0:0 /usr/lib/given given\ndir 0755 0:0 /srv/only-in-base\n");
    place.root("machine", &(machine + "file 0644 0:0 /usr/lib/given given\n"));
    let tar = place.pack("base");
    place.convert("ctx", &from_file(&tar)).ends(0);
    place.build("ctx", "built").ends(0);
    place
}

/// Damage to the image, the path that `verify` must report, and the text of the report.
const DAMAGES: &[(&str, &str, &str)] = &[
    ("file 0644 1:2 /srv/file \"Content 1 of /srv/file\\n\"", "/srv/file", "content differs"),
    ("file 0644 1:2 /srv/file \"content 1 of /srv/file\\n\\n\"", "/srv/file", "bytes, expected"),
    ("file 0644 0:0 /usr/lib/given Given", "/usr/lib/given", "content differs"),
    ("file 0645 0:0 /usr/lib/given given", "/usr/lib/given", "mode 0645, expected 0644"),
    ("file 0644 0:9 /usr/lib/given given", "/usr/lib/given", "owner 0:9, expected 0:0"),
    ("dir 0755 1:2 /srv/dir", "/srv/dir", "mode 0755, expected 0644"),
    ("dir 0644 2:2 /srv/dir", "/srv/dir", "owner 2:2, expected 1:2"),
    ("link 0777 0:2 /srv/link /etc/target1", "/srv/link", "owner 0:2, expected 1:2"),
    ("link 0777 1:2 /srv/link /etc/target", "/srv/link", "points to /etc/target, expected /etc/target1"),
    ("xattr - - /srv/user-xattr user.comment other", "/srv/user-xattr", "attributes differ: user.comment"),
    ("xattr - - /srv/dir user.new x", "/srv/dir", "attributes differ: user.new"),
    ("acl - - /srv/acl access u::rw-,u:1001:r--,g::r--,m::r--,o::---", "/srv/acl", "system.posix_acl_access"),
    (
        "file 6755 1:2 /srv/setuid \"program 1\"\nfile 0755 1:2 /srv/setuid \"program 1\"",
        "/srv/setuid",
        "mode 0755, expected 6755",
    ),
    (
        "file 0644 1:2 /srv/capability \"content 1 of /srv/capability\\n\"",
        "/srv/capability",
        "security.capability",
    ),
    ("gone - - /srv/fifo", "/srv/fifo", "missing (fifo)"),
    ("file 0644 1:2 /srv/fifo x", "/srv/fifo", "a file, expected a fifo"),
    ("char 0644 1:2 /srv/char 1:5", "/srv/char", "device"),
    ("file 0644 0:0 /srv/extra x", "/srv/extra", "not on the machine (file)"),
    ("dir 0755 0:0 \"/srv/ex\\ntra\"", "/srv/ex\\x0atra", "not on the machine (directory)"),
    ("file 0644 1:2 /srv/hard.second \"content 1 of /srv/hard\\n\"", "/srv/hard.second", "hard links differ"),
    (
        "hard - - /srv/joined /srv/file\ngone - - /srv/empty\nhard - - /srv/empty /srv/joined\ngone - - /srv/joined",
        "/srv/file",
        "hard links differ",
    ),
    ("time - - /srv/file 1600000001", "/srv/file", "modified at 1600000001, expected 1600000000"),
    ("time - - /srv/link 5", "/srv/link", "modified at 5"),
];

#[test]
fn each_damage_to_the_image_is_named() {
    let place = small();
    place.verify("ctx", "built").ends(0);
    for (number, (damage, path, text)) in DAMAGES.iter().enumerate() {
        let copy = format!("damaged{number}");
        place.copy("built", &copy);
        fixture::lay(&place.path(&copy), "dir 0755 0:0 /srv");
        fixture::lay(&place.path(&copy), damage);
        if damage.starts_with("gone - - ") {
            assert!(!fixture::beneath(&place.path(&copy), path.as_bytes()).exists());
        }
        let verified = place.verify("ctx", &copy).ends(5);
        let line = verified.out.lines().find(|line| line.starts_with(&format!("{path}: ")));
        let is_joined = damage.contains("/srv/joined");
        assert!(is_joined || line.is_some_and(|line| line.contains(text)), "{damage}\n{}", verified.out);
        assert!(verified.out.contains(text), "{damage}\n{}", verified.out);
        assert!(
            is_joined || verified.out.contains("different: 1 of "),
            "{damage}: more than one path\n{}",
            verified.out
        );
    }
    assert!(!place.verify("ctx", "base").ends(5).out.is_empty());
}

#[test]
fn times_of_what_the_base_gives_are_not_compared() {
    let place = small();
    fixture::lay(&place.path("built"), "time - - /usr/lib/given 7\ntime - - /srv/dir 8");
    place.verify("ctx", "built").ends(0);
}

/// A copy of the context `ctx` in which one file is changed.
fn spoiled(place: &Place, to: &str, name: &str, spoil: impl FnOnce(&Path)) {
    place.copy("ctx", to);
    spoil(&place.path(to).join(name));
}

/// A file of the context, what is done to it, what is said then.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

#[test]
fn apply_incomplete_context_changes_nothing() {
    let place = small();
    let before = look(&place.path("base"));
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let damages: [Damage<'_>; 8] = [
        ("delta.tar.zst", &cut, "delta.tar.zst is damaged"),
        ("delta.tar.zst", &flip, "delta.tar.zst is damaged"),
        ("delta.tar.zst", &remove, "No such file"),
        ("manifest.jsonl.zst", &flip, "manifest.jsonl.zst is damaged"),
        ("manifest.jsonl.zst", &remove, "No such file"),
        ("deletions.list", &flip, "deletions.list is damaged"),
        ("deletions.list", &remove, "No such file"),
        ("COMPLETE", &remove, "is not a complete context"),
    ];
    for (number, (name, damage, text)) in damages.iter().enumerate() {
        let (ctx, root) = (format!("ctx{number}"), format!("root{number}"));
        spoiled(&place, &ctx, name, damage);
        place.copy("base", &root);
        place.apply(&ctx, &root, &[]).ends(1).says(&[text, name, "hint: "]);
        assert_eq!(look(&place.path(&root)), before, "{name}: something was changed");
    }
}

#[test]
fn apply_other_base_reports_base() {
    let place = small();
    place.copy("base", "other");
    fixture::lay(&place.path("other"), "file 0644 0:0 /usr/lib/given taken");
    let applied = place.apply("ctx", "other", &[]).ends(5);
    applied.says(&["/usr/lib/given: the base image has it", "--base-from FILE", "--packages carry"]);
    // `apply` corrects a difference in metadata without the content.
    place.copy("base", "corrected");
    fixture::lay(
        &place.path("corrected"),
        "file 4711 5:5 /usr/lib/given given\nxattr - - /usr/lib/given user.x y",
    );
    place.apply("ctx", "corrected", &[]).ends(0);
}

#[test]
fn apply_after_interrupted_apply_finishes() {
    let place = small();
    place.copy("base", "half");
    let half = place.path("half");
    fixture::lay(
        &half,
        "file 0600 0:0 /srv/.vm2docker-self.new half\ndir 0700 0:0 /srv/full-dir\nfile 0600 0:0 /srv/file co",
    );
    place.apply("ctx", "half", &[]).ends(0);
    place.verify("ctx", "half").ends(0);
}

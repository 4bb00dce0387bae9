use crate::context::output::partial::*;
use std::fs as plain;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn place(dir: &Path) -> OutputPath {
    OutputPath::open(&dir.join("ctx")).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = plain::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Leaves a partial directory as a killed run does: without a lock.
fn killed(dir: &Path, number: u32) -> std::path::PathBuf {
    let partial = dir.join(format!(".ctx.partial-{number}"));
    plain::create_dir(&partial).unwrap();
    plain::write(partial.join(MARKER), MARKER_TEXT).unwrap();
    plain::create_dir(partial.join("packages")).unwrap();
    plain::write(partial.join("packages/list"), "x").unwrap();
    partial
}

#[test]
fn partial_dir_create_second_run_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let first = PartialDir::create(&place(dir.path()), false).unwrap();
    let error = PartialDir::create(&place(dir.path()), false).unwrap_err();
    assert_eq!(error.code, Code::Locked);
    assert!(clean(&place(dir.path())).unwrap().removed.is_empty(), "its run is not over");
    assert!(PartialDir::create(&OutputPath::open(&dir.path().join("other")).unwrap(), false).is_ok());
    first.remove().unwrap();
    assert_eq!(names(dir.path()), [format!(".other.partial-{}", std::process::id())]);
}

#[test]
fn clean_removes_only_directories_of_killed_runs() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), 1);
    // Killed before it wrote the marker file, while it wrote it, and just before the rename.
    plain::create_dir(dir.path().join(".ctx.partial-2")).unwrap();
    plain::write(killed(dir.path(), 3).join(MARKER), &MARKER_TEXT[..9]).unwrap();
    let ended = killed(dir.path(), 4);
    plain::rename(ended.join(MARKER), ended.join(COMPLETE)).unwrap();
    // Not partial directories of killed runs.
    plain::remove_file(killed(dir.path(), 5).join(MARKER)).unwrap();
    plain::write(killed(dir.path(), 6).join(MARKER), "something else").unwrap();
    plain::write(dir.path().join(".ctx.partial-7"), "a file").unwrap();
    killed(dir.path(), 8);
    plain::rename(dir.path().join(".ctx.partial-8"), dir.path().join("real")).unwrap();
    symlink("real", dir.path().join(".ctx.partial-8")).unwrap();
    killed(dir.path(), 9);
    plain::rename(dir.path().join(".ctx.partial-9"), dir.path().join(".ctx.partial-9x")).unwrap();
    killed(dir.path(), 10);
    plain::rename(dir.path().join(".ctx.partial-10"), dir.path().join(".other.partial-10")).unwrap();

    let cleaned = clean(&place(dir.path())).unwrap();
    let removed: Vec<&str> = cleaned.removed.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(removed, [".ctx.partial-1", ".ctx.partial-2", ".ctx.partial-3", ".ctx.partial-4"]);
    let left: Vec<&str> = cleaned.left.iter().map(|(_, why)| *why).collect();
    let foreign = "has no marker file of a partial context";
    assert_eq!(left, [foreign, foreign, "not a directory", "not a directory"]);
    let kept = [5, 6, 7, 8].map(|number| format!(".ctx.partial-{number}"));
    let kept = kept.into_iter().chain([".ctx.partial-9x", ".other.partial-10", "real"].map(str::to_owned));
    assert_eq!(names(dir.path()), kept.collect::<Vec<_>>());
    assert_eq!(names(&dir.path().join("real")), [MARKER, "packages"]);
}

#[test]
fn partial_dir_remove_replaced_directory_stays() {
    let dir = tempfile::tempdir().unwrap();
    let partial = PartialDir::create(&place(dir.path()), false).unwrap();
    let name = dir.path().join(names(dir.path()).remove(0));
    plain::rename(&name, dir.path().join("elsewhere")).unwrap();
    plain::create_dir(&name).unwrap();
    plain::write(name.join("mine"), "").unwrap();
    partial.remove().unwrap();
    assert!(name.join("mine").exists());
}

#[test]
fn partial_dir_create_inherited_acl_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    plain::set_permissions(dir.path(), plain::Permissions::from_mode(0o2755)).unwrap();
    // user::rwx user:1001:rwx group::rwx mask::rwx other::rwx (acl(5), as Linux stores it).
    let entry =
        |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let entries = [entry(1, none), entry(2, 1001), entry(4, none), entry(16, none), entry(32, none)];
    let list = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
    fs::setxattr(dir.path(), "system.posix_acl_default", &list, fs::XattrFlags::empty()).unwrap();
    let partial = PartialDir::create(&place(dir.path()), false).unwrap();
    for list in ["system.posix_acl_default", "system.posix_acl_access"] {
        assert_eq!(
            fs::fgetxattr(partial.directory(), list, &mut [0_u8; 256][..]),
            Err(Errno::NODATA),
            "{list}"
        );
    }
    partial.remove().unwrap();
}

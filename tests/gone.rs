//! Runs that leave no files: a context that is only sent, and `--remove-self`.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, which runs copies of the program"
)]

mod support;

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::store::{self, Manner, Store};
use support::tool::{Place, Ran, binary, command, finish, run};
use vm2docker_self::context::reader::COMPLETE;

/// Returns a machine with one large file of more than two chunks.
fn machine() -> Place {
    let place = Place::new();
    place.root("machine", "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    std::fs::create_dir_all(place.path("machine/srv")).unwrap();
    std::fs::write(place.path("machine/srv/large"), store::random(40 << 20)).unwrap();
    place
}

fn stream(place: &Place, store: &Store, more: &[&str]) -> Ran {
    let mut command = binary();
    command.arg("--root").arg(place.path("machine")).args([
        "--base-from",
        "none",
        "--upload",
        &store.url("/in/"),
    ]);
    finish(command.args(more))
}

/// Writes the objects of the server into a directory.
fn fetch(store: &Store, to: &Path) {
    for (name, content) in &store.seen.lock().unwrap().objects {
        let file = to.join(name.strip_prefix("/in/").unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
}

#[test]
fn convert_stream_stores_complete_context_on_server() {
    let (place, store) = (machine(), Store::new(Manner::Plain));
    // Connections break during the upload; objects are sent again.
    store.seen.lock().unwrap().cuts = vec![5_000_000, 100, 9_000_000, 1];
    let ran = stream(&place, &store, &["--json"]).ends(0);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let context = place.path("ctx");
    fetch(&store, &context);
    let chunks = (0..3).map(|number| format!("delta.tar.zst.{number:06}"));
    for chunk in chunks {
        assert!(context.join(&chunk).exists(), "{chunk}");
    }
    assert_eq!(document["receipt"]["objects"], store.seen.lock().unwrap().objects.len());
    let check =
        command("sha256sum").args(["--check", "--quiet", COMPLETE]).current_dir(&context).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    // The context builds the machine.
    let built = place.path("built");
    std::fs::create_dir(&built).unwrap();
    run([Path::new("apply"), &context, Path::new("--root"), &built]).ends(0);
    run([Path::new("verify"), &context, Path::new("--root"), &built]).ends(0);
    let large = |root: &str| std::fs::read(place.path(root).join("srv/large")).unwrap();
    assert!(large("built") == large("machine"));
    // A missing chunk is an error.
    std::fs::remove_file(context.join("delta.tar.zst.000001")).unwrap();
    run([Path::new("apply"), &context, Path::new("--root"), &built]).ends(1).says(&["delta.tar.zst.000001"]);
}

#[test]
fn convert_stream_failed_upload_leaves_no_files() {
    let place = machine();
    let before = files(place.dir.path());
    for (manner, objects) in
        [(Manner::Status(507, usize::MAX), 0), (Manner::Forgets, 0), (Manner::Flips(9), 1)]
    {
        let store = Store::new(manner);
        let ran = stream(&place, &store, &[]).ends(12).says(&["upload failed", "no context is kept"]);
        assert_eq!(ran.err.matches("error:").count(), 1, "{}", ran.err);
        let seen = store.seen.lock().unwrap();
        assert!(seen.objects.len() <= objects && !seen.objects.contains_key(&format!("/in/{COMPLETE}")));
    }
    assert_eq!(files(place.dir.path()), before);
    let store = Store::new(Manner::Plain);
    stream(&place, &store, &["--upload-as", "tar"]).ends(2).says(&["--out"]);
    std::fs::rename(place.path("machine"), place.path("elsewhere")).unwrap();
    stream(&place, &store, &[]).ends(1);
    let seen = store.seen.lock().unwrap();
    assert!(seen.objects.is_empty(), "a failed run sends nothing");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = walkdir(directory);
    paths.sort();
    paths
}

fn walkdir(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            paths.extend(walkdir(&path));
        }
        paths.push(path);
    }
    paths
}

/// Copies the executable to `bin/NAME`.
fn copy(place: &Place, name: &str) -> PathBuf {
    let bin = place.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let path = bin.join(name);
    std::fs::copy(env!("CARGO_BIN_EXE_vm2docker-self"), &path).unwrap();
    path
}

#[test]
fn convert_remove_self_removes_executable_after_success() {
    let (place, store) = (machine(), Store::new(Manner::Plain));
    let small = "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n";
    place.root("small", small);
    let convert = |program: &Path, more: &[&str]| {
        let mut command = command(program);
        command.arg("--root").arg(place.path("small")).args([
            "--base-from",
            "none",
            "--offline",
            "--remove-self",
        ]);
        finish(command.args(more))
    };
    let out = place.path("ctx").display().to_string();
    let program = copy(&place, "tool (deleted)");
    convert(&program, &["--out", &out]).ends(0);
    assert!(!program.exists() && Path::new(&out).join(COMPLETE).exists());
    assert_eq!(std::fs::read_dir(place.path("bin")).unwrap().count(), 0);
    // Without --out, neither context nor executable remain.
    let program = copy(&place, "tool");
    convert(&program, &["--upload", &store.url("/in/")]).ends(0);
    assert!(!program.exists() && store.object(&format!("/in/{COMPLETE}")).is_some());
    // A failed run keeps the executable.
    let program = copy(&place, "tool");
    let refusing = Store::new(Manner::Status(507, usize::MAX));
    convert(&program, &["--upload", &refusing.url("/in/")]).ends(12).says(&["507"]);
    assert!(program.exists());
    convert(&program, &["--out", &out]).ends(2);
    assert!(program.exists());
    convert(&program, &["--out", &out, "--dry-run"]).ends(2).says(&["--dry-run"]);
    // An executable with two hard links stays.
    std::fs::hard_link(&program, place.path("bin/second")).unwrap();
    convert(&program, &["--out", &place.path("ctx2").display().to_string()])
        .ends(13)
        .says(&["hard link", "rm -- "]);
    assert!(program.exists() && place.path("bin/second").exists());
    assert!(place.path("ctx2").join(COMPLETE).exists());
}

/// Starts the process that removes `program` and returns when it waits for the start byte.
fn waiting(program: &Path) -> Child {
    waiting_as(Command::new(program).arg("remove-self"))
}

fn waiting_as(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let syscall = format!("/proc/{}/syscall", child.id());
    loop {
        // It waits in read(2) of standard input. The process can be a shell that has not yet
        // executed it.
        let is_it =
            std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().ends_with(b"\0remove-self\0");
        if is_it && std::fs::read_to_string(&syscall).unwrap().starts_with("0 0x0 ") {
            return child;
        }
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
}

/// Sends the start byte and asserts that the process does not remove the executable.
fn assert_refuses(mut child: Child, why: &str) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(13), "{text}");
    assert!(text.contains(why), "{text}");
}

#[test]
fn remove_self_read_only_or_memfd_returns_error() {
    let place = machine();
    let program = copy(&place, "tool");
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$1/tool\" remove-self";
    let bin = place.path("bin");
    let mut command = Command::new("unshare");
    assert_refuses(waiting_as(command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&bin)), "rm -- ");
    assert!(program.exists());
    // An executable in a memfd never had a path.
    let memory = rustix::fs::memfd_create("tool", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut memory = std::fs::File::from(memory);
    std::io::copy(&mut std::fs::File::open(&program).unwrap(), &mut memory).unwrap();
    let opened = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&memory));
    let reopened = std::fs::File::open(&opened).unwrap();
    drop(memory);
    let opened = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&reopened));
    assert_refuses(waiting(Path::new(&opened)), "no longer exists");
}

#[test]
fn remove_self_changed_executable_is_kept() {
    let place = machine();
    let mut refused = 0;
    type Change = fn(&Path);
    let beside = |path: &Path, name: &str| path.with_file_name(name);
    let changes: [(Change, &[&str]); 5] = [
        (|path| std::fs::rename(path, path.with_file_name("moved")).unwrap(), &["moved"]),
        (
            |path| {
                std::fs::write(path.with_file_name("new"), "new").unwrap();
                std::fs::rename(path.with_file_name("new"), path).unwrap();
            },
            &["tool"],
        ),
        (
            |path| {
                std::fs::rename(path, path.with_file_name("moved")).unwrap();
                symlink("moved", path).unwrap();
            },
            &["moved", "tool"],
        ),
        (|path| std::fs::hard_link(path, path.with_file_name("second")).unwrap(), &["second", "tool"]),
        (
            |path| {
                let open = std::fs::Permissions::from_mode(0o777);
                std::fs::set_permissions(path.parent().unwrap(), open).unwrap();
            },
            &["tool"],
        ),
    ];
    for (change, left) in changes {
        let program = copy(&place, "tool");
        let child = waiting(&program);
        change(&program);
        assert_refuses(child, "not removed");
        for name in left {
            assert!(beside(&program, name).symlink_metadata().is_ok(), "{name}");
        }
        std::fs::remove_dir_all(place.path("bin")).unwrap();
        refused += 1;
    }
    assert_eq!(refused, 5);
    // Without the start byte, the executable stays.
    let program = copy(&place, "tool");
    let mut child = waiting(&program);
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(program.exists());
}

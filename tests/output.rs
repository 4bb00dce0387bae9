//! Output directory under fault conditions: full file system, signals, kills, concurrent runs.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use rustix::mount::{self, MountFlags};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::tool::{Place, binary, command, finish, run};

/// Mounted tmpfs of a given size; unmounted when dropped.
struct Memory(PathBuf);

impl Memory {
    fn new(at: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = std::ffi::CString::new(format!("mode=755,{size}")).unwrap();
        mount::mount("tmpfs", &at, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Memory(at)
    }

    /// Returns the free blocks and inodes.
    fn free(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        (stat.f_bfree, stat.f_ffree)
    }

    /// Asserts that the file system is empty and has its free space again.
    ///
    /// Waits up to 2 s because the kernel destroys the mount namespace of the run asynchronously.
    #[track_caller]
    fn assert_unchanged(&self, before: (u64, u64), what: u64) {
        assert_eq!(names(&self.0), [""; 0], "{what}");
        let since = Instant::now();
        while self.free() != before && since.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.free(), before, "{what}");
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        mount::unmount(&self.0, mount::UnmountFlags::DETACH).unwrap();
    }
}

fn machine(files: &str) -> Place {
    let place = Place::new();
    let os_release = "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n";
    place.root("machine", &(os_release.to_owned() + files));
    place
}

fn names(directory: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn convert_full_file_system_leaves_nothing() {
    let place = machine("file 0644 0:0 /srv/data @random 2000000\n");
    let length = fs::metadata(env!("CARGO_BIN_EXE_vm2docker-self")).unwrap().len();
    // Sizes from 4 KiB to more than the context needs: the data and a copy of the executable.
    let enough = length + (3 << 20);
    let mut codes = Vec::new();
    for step in 0..=40 {
        let memory = Memory::new(place.path("small"), &format!("size={}", 4096 + enough * step / 36));
        let before = memory.free();
        let out = memory.0.join("ctx");
        let ran = run([
            "--root",
            place.path("machine").to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
            "--compress",
            "none",
        ]);
        let code = ran.code.unwrap();
        match code {
            0 => assert!(out.join("COMPLETE").exists()),
            10 | 20 => {
                memory.assert_unchanged(before, step);
                assert!(ran.err.contains("hint: "), "{}", ran.err);
            }
            _ => panic!("step {step}: {code}: {}", ran.err),
        }
        codes.push(code);
    }
    let first = codes.iter().position(|code| *code == 0).unwrap();
    assert!(first > 30 && codes[first..].iter().all(|code| *code == 0), "{codes:?}");
}

/// Converts to a memory file system with 64 MiB for the archives.
fn convert_small(place: &Place, args: &[&str]) -> (Memory, (u64, u64), support::tool::Ran) {
    let length = fs::metadata(env!("CARGO_BIN_EXE_vm2docker-self")).unwrap().len();
    let memory = Memory::new(place.path("small"), &format!("size={}", length + (64 << 20)));
    let before = memory.free();
    let (root, out) = (place.path("machine"), memory.0.join("ctx"));
    let paths = ["--root".into(), root.into_os_string(), "--out".into(), out.into_os_string()];
    let ran = run(paths.into_iter().chain(args.iter().map(OsString::from)));
    (memory, before, ran)
}

#[test]
fn convert_large_file_without_space_is_refused_before_reading() {
    let place = machine("file 0644 0:0 /srv/small x\n");
    let large = place.path("machine").join("srv/large");
    fs::write(&large, vec![b'x'; 400 << 20]).unwrap();
    let (memory, before, ran) = convert_small(&place, &[]);
    ran.ends(20).says(&["needs at least", "hint: ", "--out", "the largest is /srv/large (400.0 MiB)"]);
    memory.assert_unchanged(before, 0);
    drop(memory);
    // Without compression, the archive is as large as the files.
    fs::write(&large, vec![b'x'; 80 << 20]).unwrap();
    let (memory, before, ran) = convert_small(&place, &["--compress", "none"]);
    ran.ends(20).says(&["the largest is /srv/large (80.0 MiB)"]);
    memory.assert_unchanged(before, 0);
    drop(memory);
    convert_small(&place, &[]).2.ends(0);
}

#[test]
fn convert_large_files_that_need_no_space_succeeds() {
    let place = machine("file 0644 0:0 /srv/small x\n");
    let path = |name: &str| place.path("machine").join("srv").join(name);
    // A hole, and blocks that are allocated and were never written.
    fs::File::create(path("hole")).unwrap().set_len(40 << 30).unwrap();
    let file = fs::File::create(path("allocated")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 600 << 20).unwrap();
    // Swap space, which is recognized by its content and left out.
    let mut swap = vec![b'x'; 400 << 20];
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    fs::write(path("swap"), swap).unwrap();
    let (_memory, _, ran) = convert_small(&place, &[]);
    ran.ends(0).says(&["/srv/hole: 40.0 GiB, "]);
}

#[test]
fn convert_no_free_inodes_leaves_nothing() {
    let place = machine("file 0644 0:0 /srv/data x\n");
    for inodes in 2..12 {
        let memory = Memory::new(place.path("small"), &format!("size=1g,nr_inodes={inodes}"));
        let before = memory.free();
        let out = memory.0.join("ctx");
        let ran = run(["--root", place.path("machine").to_str().unwrap(), "--out", out.to_str().unwrap()]);
        assert_eq!(ran.code, Some(10), "{inodes}: {}", ran.err);
        memory.assert_unchanged(before, inodes);
    }
}

/// Starts a slow run and waits until its partial directory exists and is locked.
fn start_run(place: &Place) -> (Child, PathBuf) {
    let out = place.dir.path().join("out");
    fs::create_dir_all(&out).unwrap();
    let mut run = binary();
    run.arg("--root").arg(place.path("machine")).arg("--out").arg(out.join("ctx"));
    let child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    // A run locks its partial directory before it writes files into it.
    let is_locked = || names(&out).first().is_some_and(|partial| !names(&out.join(partial)).is_empty());
    while !is_locked() {
        assert!(since.elapsed() < Duration::from_secs(30), "no partial directory after 30 s");
        std::thread::sleep(Duration::from_millis(1));
    }
    (child, out)
}

/// Sparse file that takes long to digest on any CPU.
const SLOW: &str = "file 0644 0:0 /srv/large @sparse 8000000000\n";

fn send(signal: &str, child: &Child) {
    finish(command("kill").arg(format!("-{signal}")).arg(child.id().to_string())).ends(0);
}

#[test]
fn convert_signal_removes_partial_directory() {
    let place = machine(SLOW);
    for (signal, number) in [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15), ("XCPU", 24)] {
        let (mut child, out) = start_run(&place);
        let since = Instant::now();
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(128 + number), "{signal}");
        assert!(since.elapsed() < Duration::from_secs(2), "{signal}: {:?}", since.elapsed());
        assert_eq!(names(&out), [""; 0], "{signal}");
    }
}

#[test]
fn clean_removes_killed_run_and_keeps_active_run() {
    let place = machine(SLOW);
    let (mut killed, out) = start_run(&place);
    let ctx = out.join("ctx");
    let clean =
        || Command::new(env!("CARGO_BIN_EXE_vm2docker-self")).args(["clean", "--out"]).arg(&ctx).output();
    run(["--root", place.path("machine").to_str().unwrap(), "--out", ctx.to_str().unwrap()])
        .ends(11)
        .says(&["another run is writing", "hint: "]);
    let left = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert!(left.contains("its run is still active"), "{left}");
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(names(&out).len(), 1);
    let cleaned = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert!(cleaned.starts_with("removed ") && names(&out).is_empty(), "{cleaned}");
    let again = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert_eq!(again, "no partial directories found\n");
}

//! The output directory under pressure: no room, signals, kills, two runs at once.
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

/// A file system in memory of some size, gone with the value.
struct Memory(PathBuf);

impl Memory {
    fn new(at: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = std::ffi::CString::new(format!("mode=755,{size}")).unwrap();
        mount::mount("tmpfs", &at, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Memory(at)
    }

    /// Blocks and inodes that are free.
    fn free(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        (stat.f_bfree, stat.f_ffree)
    }

    /// Asserts that all is as it was, soon: the kernel takes a mount namespace down when it has the time.
    #[track_caller]
    fn is_as(&self, before: (u64, u64), what: u64) {
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
fn a_full_file_system_is_left_as_it_was() {
    let place = machine("file 0644 0:0 /srv/data @random 2000000\n");
    let length = fs::metadata(env!("CARGO_BIN_EXE_vm2docker-self")).unwrap().len();
    // Whatever the size, from nothing to more than enough: the context has the data and this program.
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
            10 => {
                memory.is_as(before, step);
                assert!(ran.err.contains("hint: "), "{}", ran.err);
            }
            _ => panic!("step {step}: {code}: {}", ran.err),
        }
        codes.push(code);
    }
    let first = codes.iter().position(|code| *code == 0).unwrap();
    assert!(first > 30 && codes[first..].iter().all(|code| *code == 0), "{codes:?}");
}

#[test]
fn a_file_system_without_inodes_is_left_as_it_was() {
    let place = machine("file 0644 0:0 /srv/data x\n");
    for inodes in 2..12 {
        let memory = Memory::new(place.path("small"), &format!("size=1g,nr_inodes={inodes}"));
        let before = memory.free();
        let out = memory.0.join("ctx");
        let ran = run(["--root", place.path("machine").to_str().unwrap(), "--out", out.to_str().unwrap()]);
        assert_eq!(ran.code, Some(10), "{inodes}: {}", ran.err);
        memory.is_as(before, inodes);
    }
}

/// A run that takes its time, begun: its output is there and not finished.
fn begun(place: &Place) -> (Child, PathBuf) {
    let out = place.dir.path().join("out");
    fs::create_dir_all(&out).unwrap();
    let mut run = binary();
    run.arg("--root").arg(place.path("machine")).arg("--out").arg(out.join("ctx"));
    let child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    // Something in it, and not only itself: it is locked then. Of two that are not yet, either may be the first.
    let is_locked = || names(&out).first().is_some_and(|partial| !names(&out.join(partial)).is_empty());
    while !is_locked() {
        assert!(since.elapsed() < Duration::from_secs(30), "no output begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    (child, out)
}

/// Long to digest, whatever the processor.
const SLOW: &str = "file 0644 0:0 /srv/large @sparse 8000000000\n";

fn send(signal: &str, child: &Child) {
    finish(command("kill").arg(format!("-{signal}")).arg(child.id().to_string())).ends(0);
}

#[test]
fn a_signal_ends_the_run_and_leaves_nothing() {
    let place = machine(SLOW);
    for (signal, number) in [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15), ("XCPU", 24)] {
        let (mut child, out) = begun(&place);
        let since = Instant::now();
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(128 + number), "{signal}");
        assert!(since.elapsed() < Duration::from_secs(2), "{signal}: {:?}", since.elapsed());
        assert_eq!(names(&out), [""; 0], "{signal}");
    }
}

#[test]
fn what_a_killed_run_left_is_cleaned_and_a_living_one_is_not() {
    let place = machine(SLOW);
    let (mut killed, out) = begun(&place);
    let ctx = out.join("ctx");
    let clean =
        || Command::new(env!("CARGO_BIN_EXE_vm2docker-self")).args(["clean", "--out"]).arg(&ctx).output();
    run(["--root", place.path("machine").to_str().unwrap(), "--out", ctx.to_str().unwrap()])
        .ends(11)
        .says(&["another run is writing", "hint: "]);
    let left = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert!(left.contains("its run is not over"), "{left}");
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(names(&out).len(), 1);
    let cleaned = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert!(cleaned.starts_with("removed ") && names(&out).is_empty(), "{cleaned}");
    let again = String::from_utf8(clean().unwrap().stderr).unwrap();
    assert_eq!(again, "nothing was left by a killed run\n");
}

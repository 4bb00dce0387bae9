//! The program is static and asks no name service: a static glibc that needs an account or host name loads the machine's
//! own `libnss_*` modules, which may be of another version, and dies of them by a signal.

#![expect(clippy::disallowed_methods, reason = "the test runs the program; the program runs nothing")]
#![allow(clippy::unwrap_used, reason = "a test; clippy.toml's exception does not reach helper functions")]

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vm2docker-self");
/// Every source that names a module which a static program could be made to load.
const NSSWITCH: &str = "\
passwd: files sss systemd mymachines
group: files sss systemd mymachines
shadow: files sss systemd
hosts: resolve [!UNAVAIL=return] mymachines myhostname dns
";
/// What account files hold after twenty years: NIS, text without fields, Latin-1, numbers that are none, no last newline.
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n+::::::\n-eve\n\nno fields\nj\xf6rg:x:1000:1000::/home/j:\nn:x:-1:4294967296:::\n:::::::::\nlast:x:7:7::/";

/// Little-endian number of `length` bytes in an ELF file; both of our architectures are little-endian.
fn number(elf: &[u8], at: usize, length: usize) -> usize {
    elf[at..at + length].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// Type, offset and size of each program header (ELF-64, gABI chapter 5).
fn segments(elf: &[u8]) -> Vec<(usize, usize, usize)> {
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (table, size, count) = (number(elf, 32, 8), number(elf, 54, 2), number(elf, 56, 2));
    let header = |index| table + index * size;
    (0..count)
        .map(header)
        .map(|at| (number(elf, at, 4), number(elf, at + 8, 8), number(elf, at + 32, 8)))
        .collect()
}

#[test]
fn the_program_needs_no_loader_and_no_library() {
    const PT_DYNAMIC: usize = 2;
    const PT_INTERP: usize = 3;
    const DT_NEEDED: usize = 1;
    let elf = fs::read(PROGRAM).unwrap();
    for (kind, offset, size) in segments(&elf) {
        assert_ne!(kind, PT_INTERP, "the program names a loader: it is not static");
        // A static program that can be loaded anywhere has the segment too, without libraries in it.
        if kind == PT_DYNAMIC {
            let tags = elf[offset..offset + size].chunks_exact(16).map(|entry| number(entry, 0, 8));
            assert!(
                tags.take_while(|&tag| tag != 0).all(|tag| tag != DT_NEEDED),
                "the program needs a library"
            );
        }
    }
}

/// A root with nothing that a program could be helped by.
fn bare_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in ["etc", "proc", "root"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    let write = |name: &str, content: &[u8]| fs::write(root.path().join(name), content).unwrap();
    write("etc/nsswitch.conf", NSSWITCH.as_bytes());
    write("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian\"\n");
    write("etc/passwd", PASSWD);
    write("etc/group", b"root:x:0:\n+:::\nj\xf6rg:x:1000\n\xff\n");
    write("etc/hostname", b"machine\n");
    fs::copy(PROGRAM, root.path().join("vm2docker-self")).unwrap();
    root
}

/// Runs `inspect` in the root under strace, in mount and PID name spaces of its own so that no mount outlives the test;
/// gives the exit code and the trace.
fn inspect_in(root: &Path) -> (Option<i32>, String) {
    let script = "mount -t proc proc \"$1/proc\" && exec strace -f -qq -e trace=%file,%network -o \"$2\" chroot \"$1\" \
                  /vm2docker-self inspect --verbose";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-ec", script, "sh"])
        .args([root, trace.path()])
        .output()
        .expect("unshare of util-linux");
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&fs::read(trace.path()).unwrap()).into_owned();
    // Before this call it is chroot's own trace, and chroot is dynamic.
    let begin = text.find("execve(\"/vm2docker-self\"").unwrap_or_else(|| panic!("it was not run: {shown}"));
    let text = text[begin..].to_owned();
    assert!(text.contains("os-release"), "strace saw nothing of it: {shown}");
    (output.status.code(), text)
}

/// Needs root (chroot, mount) and strace (`apt-get install strace`). Without them there is nothing that this could show,
/// and it fails rather than passing unseen.
#[test]
fn no_name_service_module_is_asked_for_in_a_bare_root() {
    assert!(rustix::process::geteuid().is_root(), "needs root, for chroot");
    let strace = Command::new("strace").arg("-V").output();
    assert!(strace.is_ok_and(|output| output.status.success()), "needs strace: apt-get install strace");
    let root = bare_root();
    let (code, trace) = inspect_in(root.path());
    // strace ends by the signal that ended the program, which leaves no code.
    assert!(matches!(code, Some(0 | 3)), "ended with {code:?}");
    for name in ["libnss", "nsswitch.conf", "nscd", "resolv.conf", "ld.so", "libc.so"] {
        let line = trace.lines().find(|line| line.contains(name));
        assert!(line.is_none(), "asked for {name}: {line:?}");
    }
    assert!(!trace.contains("connect("), "connected to something");
    assert!(!trace.contains("+++ killed by"), "ended by a signal");
}

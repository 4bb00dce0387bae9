//! The executable is static and uses no name service. A static glibc that looks up an account or
//! host name loads the machine's `libnss_*` modules. If they are of another version, a signal
//! ends the process.

#![expect(clippy::disallowed_methods, reason = "the test runs the program; the program runs nothing")]
#![allow(clippy::unwrap_used, reason = "a test; clippy.toml's exception does not reach helper functions")]

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vm2docker-self");
/// Every source that names a module which a static program could be made to load.
const NSSWITCH: &str = "\
passwd: files sss systemd mymachines
group: files sss systemd mymachines
shadow: files sss systemd
hosts: resolve [!UNAVAIL=return] mymachines myhostname dns
";
/// `hosts` lines of Debian, Ubuntu, Fedora and domain members.
const HOSTS: [&str; 5] = [
    "files dns",
    "files mymachines mdns4_minimal [NOTFOUND=return] dns myhostname",
    "mymachines resolve [!UNAVAIL=return] files myhostname dns",
    "files resolve [!UNAVAIL=return] myhostname dns",
    "sss files nis wins",
];
/// Account file as found on old machines: NIS, text without fields, Latin-1, invalid numbers, no
/// final newline.
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n+::::::\n-eve\n\nno fields\nj\xf6rg:x:1000:1000::/home/j:\nn:x:-1:4294967296:::\n:::::::::\nlast:x:7:7::/";

/// Returns the little-endian number of `length` bytes in an ELF file. Both supported
/// architectures are little-endian.
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
fn executable_needs_no_loader_and_no_library() {
    const PT_DYNAMIC: usize = 2;
    const PT_INTERP: usize = 3;
    const DT_NEEDED: usize = 1;
    let elf = fs::read(PROGRAM).unwrap();
    for (kind, offset, size) in segments(&elf) {
        assert_ne!(kind, PT_INTERP, "the program names a loader: it is not static");
        // A static program that can be loaded anywhere has the segment too, without libraries in
        // it.
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

/// Runs `inspect` in the root under strace and returns the exit code and the trace. The mount and
/// PID namespaces are new, so that no mount remains after the test.
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

/// Requires root (chroot, mount) and strace (`apt-get install strace`). Fails without them,
/// because it could check nothing.
#[test]
fn no_name_service_module_is_asked_for_in_a_bare_root() {
    assert!(rustix::process::geteuid().is_root(), "needs root, for chroot");
    let strace = Command::new("strace").arg("-V").output();
    assert!(strace.is_ok_and(|output| output.status.success()), "needs strace: apt-get install strace");
    let root = bare_root();
    let (code, trace) = inspect_in(root.path());
    // strace ends by the signal that ended the program, which leaves no code.
    assert!(matches!(code, Some(0 | 3)), "ended with {code:?}");
    // A resolver opens /etc/resolv.conf by its absolute path. The machine's file, which `inspect`
    // reads, is opened relative to the root.
    for name in ["libnss", "nsswitch.conf", "nscd", "/etc/resolv.conf", "ld.so", "libc.so"] {
        let line = trace.lines().find(|line| line.contains(name));
        assert!(line.is_none(), "asked for {name}: {line:?}");
    }
    assert!(!trace.contains("connect("), "connected to something");
    assert!(!trace.contains("+++ killed by"), "ended by a signal");
}

/// Moves the calling thread to a new network namespace with one DNS server. It resolves
/// `store.corp.example` to 127.0.0.1, and `hole.corp.example` to 127.0.0.2 and ::1.
fn own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    // Where systemd-resolved listens, which every address of 127/8 can play.
    let socket = UdpSocket::bind("127.0.0.53:53").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((got, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&answer(&buffer[..got]), from).unwrap();
        }
    });
}

/// To a question with one name (RFC 1035, section 4.1).
fn answer(question: &[u8]) -> Vec<u8> {
    let (name, kind) = (&question[12..], question[question.len() - 3]);
    let address: Option<&[u8]> = match (name, kind) {
        (name, 1) if name.starts_with(b"\x05store\x04corp\x07example\0") => Some(&[127, 0, 0, 1]),
        (name, 1) if name.starts_with(b"\x04hole\x04corp\x07example\0") => Some(&[127, 0, 0, 2]),
        (name, 28) if name.starts_with(b"\x04hole\x04corp\x07example\0") => {
            Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        }
        _ => None,
    };
    let is_ours = name.windows(6).any(|part| part == b"\x04corp\x07");
    let header = [0x81, if is_ours { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    let record = address.map(|address| {
        let fixed = [0xc0, 0x0c, 0, kind, 0, 1, 0, 0, 0, 60, 0, address.len() as u8];
        [&fixed[..], address].concat()
    });
    [&question[..2], &header, name, &record.unwrap_or_default()].concat()
}

/// Returns the first bytes that the first client sends.
fn greeting(listener: &TcpListener) -> Vec<u8> {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let mut said = vec![0; 4096];
                let got = stream.read(&mut said).unwrap();
                said.truncate(got);
                return said;
            }
            Err(_) => assert!(Instant::now() < deadline, "no client connects"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A machine with a context of it in `/ctx`, and the name server above.
fn root_with_context(hosts: &str) -> tempfile::TempDir {
    let root = bare_root();
    let made = Command::new(PROGRAM)
        .arg("--root")
        .arg(root.path())
        .args(["--base-from", "none", "--offline", "--out"])
        .arg(root.path().join("ctx"))
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(root.path().join("etc/nsswitch.conf"), format!("hosts: {hosts}\n")).unwrap();
    let servers = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch corp.example\n";
    fs::write(root.path().join("etc/resolv.conf"), servers).unwrap();
    root
}

fn has_name(said: &[u8], name: &[u8]) -> bool {
    said.windows(name.len()).any(|part| part == name)
}

/// The name is resolved only with `resolv.conf` and its search list, even if `nsswitch.conf`
/// names modules of systemd and sssd.
#[test]
fn resolver_any_nsswitch_conf_resolves_name() {
    assert!(rustix::process::geteuid().is_root(), "needs root, for chroot");
    own_network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for hosts in HOSTS {
        let root = root_with_context(hosts);
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=%file,%network", "-o"])
            .arg(trace.path())
            .arg("chroot")
            .arg(root.path())
            .args(["/vm2docker-self", "upload", "/ctx", &format!("https://store:{port}/in/")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = greeting(&listener);
        // The program, not strace, which would not have written all that it saw.
        let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let traced = rustix::process::Pid::from_raw(traced.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(traced, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(has_name(&said, b"store"), "no server's name in it: {said:?}");
        let text = String::from_utf8_lossy(&fs::read(trace.path()).unwrap()).into_owned();
        let begin = text.find("execve(\"/vm2docker-self\"").unwrap();
        let foreign =
            text[begin..].lines().find(|line| line.contains("libnss") || line.contains("nsswitch.conf"));
        assert_eq!(foreign, None, "{hosts}");
        assert!(text[begin..].contains("/etc/resolv.conf"), "{hosts}");
    }
}

/// If an address drops all packets, the client waits for its timeout and then tries the address
/// of the other family.
#[test]
fn behind_a_black_hole_the_next_address_is_tried() {
    assert!(rustix::process::geteuid().is_root(), "needs root, for chroot");
    own_network();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hole =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&hole, &std::net::SocketAddr::from(([127, 0, 0, 2], port))).unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    // The kernel queues one or two connections that the server does not accept, and then answers
    // no more.
    let short = Duration::from_millis(200);
    let swallowed = std::iter::repeat_with(|| {
        std::net::TcpStream::connect_timeout(&([127, 0, 0, 2], port).into(), short)
    });
    let kept: Vec<_> = swallowed.map_while(Result::ok).take(10).collect();
    assert!(kept.len() < 10, "the address accepts connections");
    let root = root_with_context("files dns");
    let mut child = Command::new("chroot")
        .arg(root.path())
        .args(["/vm2docker-self", "upload", "/ctx", &format!("https://hole:{port}/in/")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = greeting(&listener);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(has_name(&said, b"hole"), "no server's name in it: {said:?}");
}

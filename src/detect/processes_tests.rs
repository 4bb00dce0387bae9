//! Tests with process tables of other machines, of fixtures, and of the machine that runs the
//! tests.

use crate::detect::cgroup::{self, CgroupLocation};
use crate::detect::fixtures::{data, unpack};
use crate::detect::process::*;
use crate::detect::process_files as parse;
use crate::model::findings::Findings;
use crate::system::root::Root;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

fn live(findings: &mut Findings) -> Processes {
    Processes::load(&Root::open(Path::new("/proc")).unwrap(), findings)
}

#[test]
fn load_snapshot_matches_other_tools() {
    let (_directory, root) = unpack("prometheus.tar.xz");
    let proc = Root::open(&Path::new(OsStr::from_bytes(root.absolute())).join("proc")).unwrap();
    let mut findings = Findings::default();
    let processes = Processes::load(&proc, &mut findings);
    let rows = std::fs::read_to_string(data("prometheus.expected.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows {
        let process = processes.get(row["pid"].as_u64().unwrap() as u32);
        // A process without `stat` has ended.
        let Some(process) = process else {
            assert_eq!(row["state"], "", "{row}");
            continue;
        };
        assert_eq!(process.comm.as_ref(), row["comm"].as_str().unwrap().as_bytes());
        assert_eq!(process.parent.to_string(), row["ppid"]);
        assert_eq!(process.state.to_string(), row["state"]);
        if process.is_kernel {
            continue;
        }
        let list = |words: &Words| words.iter().map(|word| String::from_utf8_lossy(word).into()).collect();
        let arguments: Vec<serde_json::Value> = list(&process.argv);
        assert_eq!(arguments, *row["cmdline"].as_array().unwrap_or(&Vec::new()));
        let variables: Vec<serde_json::Value> = list(&process.environ);
        assert_eq!(variables, *row["environ"].as_array().unwrap_or(&Vec::new()));
        let exe = process.exe.as_ref().map(|exe| String::from_utf8_lossy(&exe.path).into_owned());
        assert_eq!(exe.as_deref(), row["exe"].as_str());
        let descriptors: Vec<String> = process.files.iter().map(|file| file.descriptor.to_string()).collect();
        assert_eq!(descriptors.len(), row["fd"].as_object().map_or(0, |files| files.len()));
        assert!(descriptors.iter().all(|number| row["fd"].get(number).is_some()));
    }
    assert_eq!(processes.iter().count(), rows.iter().filter(|row| row["state"] != "").count());
    let vim = processes.get(26231).unwrap();
    assert_eq!((vim.credentials.user.real, vim.umask), (1000, Some(0o022)));
    assert_eq!(vim.credentials.capabilities.effective, 0x3f_ffff_ffff);
    assert_eq!(vim.limits["nofile"], Limit { soft: Some(2048), hard: Some(4096) });
    assert!(processes.get(26232).unwrap().is_kernel);
}

#[test]
fn is_rewritten_title_returns_true_and_arguments_false() {
    for (argv, exe, is_rewritten) in [
        (&b"nginx: master process /usr/sbin/nginx -g daemon off;\0"[..], "/usr/sbin/nginx", true),
        (b"postgres: 15/main: checkpointer \0\0\0\0", "/usr/lib/postgresql/15/bin/postgres", true),
        (b"sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\0\0", "/usr/sbin/sshd", true),
        (b"php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)   \0", "/usr/sbin/php-fpm8.2", true),
        (b"/usr/bin/redis-server 127.0.0.1:6379\0\0\0\0", "/usr/bin/redis-check-rdb", true),
        (b"(sd-pam)\0", "/usr/lib/systemd/systemd", true),
        (b"sendmail: MTA: accepting connections\0", "", true),
        (b"/usr/sbin/nginx\0-g\0daemon on; master_process on;\0", "/usr/sbin/nginx", false),
        (b"/opt/my app/run me\0", "/opt/my app/run me", false),
        (b"./run me\0", "/opt/my app/run me", false),
        (b"/sbin/agetty\0-o\0-p -- \\u\0--noclear\0", "/usr/sbin/agetty", false),
        (b"-bash\0", "/usr/bin/bash", false),
        (b"sh\0-c\0a: b\0", "/usr/bin/busybox", false),
        (b"", "/usr/bin/x", false),
    ] {
        let mut process = sample();
        process.argv = Words { raw: argv.into(), is_cut: false };
        let path = exe.as_bytes().into();
        process.exe = (!exe.is_empty()).then_some(FileRef { path, is_deleted: false, identity: None });
        assert_eq!(process.is_rewritten(), is_rewritten, "{}", String::from_utf8_lossy(argv));
    }
}

#[test]
fn stat_name_with_parentheses_keeps_other_fields() {
    let stat = parse::stat(b"7 (a) R 1 (\n) S 3 0 0 0 0 2097152 0 0 0 0 0 0 0 0 20 -5 1 0 99 0").unwrap();
    assert_eq!((&*stat.comm, stat.state, stat.parent), (&b"a) R 1 (\n"[..], b'S', 3));
    assert_eq!((stat.is_kernel, stat.nice, stat.started), (true, -5, 99));
    for text in [&b""[..], b"7", b"7 )(", b"7 (x) S", b"7 (x) S -1 0 0 0 0 0", b"7 (x"] {
        assert_eq!(parse::stat(text), None);
    }
}

#[test]
fn maps_each_file_is_returned_once() {
    let maps = parse::maps(
        b"55d0-55d1 r--p 00000000 fe:01 12    /usr/bin/a b\n\
          55d1-55d2 r-xp 00001000 fe:01 12    /usr/bin/a b\n\
          7f00-7f01 rw-p 00000000 00:00 0 \n7f01-7f02 r--p 00000000 fe:01 13 /var/x\\012y (deleted)\n\
          7ffd-7ffe rw-p 00000000 00:00 0                          [stack]\ngarbage\n",
    );
    let expected = [(b"/usr/bin/a b".to_vec(), true), (b"/var/x\ny (deleted)".to_vec(), false)];
    assert_eq!(maps, BTreeMap::from(expected));
}

#[test]
fn place_of_control_group_returns_unit() {
    let unit = |name: &str| CgroupLocation::Unit(name.as_bytes().into());
    for (path, place) in [
        ("/system.slice/nginx.service", unit("nginx.service")),
        (
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            unit("postgresql@15-main.service"),
        ),
        ("/system.slice/docker.service/nested/deeper", unit("docker.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", unit("getty@tty1.service")),
        ("/system.slice/srv-a\\x2db.mount", unit("srv-a\\x2db.mount")),
        ("/system.slice/__strange.service", unit("_strange.service")),
        ("/system.slice/run-r1.scope", unit("run-r1.scope")),
        ("/../../system.slice/cron.service", unit("cron.service")),
        ("/custom.slice/custom-own.slice/app.service/init.scope", unit("app.service")),
        ("/user.slice/user-1000.slice/session-3.scope", CgroupLocation::Session),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", CgroupLocation::Session),
        ("/init.scope", CgroupLocation::Outside),
        ("/system.slice", CgroupLocation::Outside),
        ("/openrc/sshd", CgroupLocation::Outside),
        ("/system.slice/.service", CgroupLocation::Outside),
        ("/", CgroupLocation::Outside),
        ("", CgroupLocation::Outside),
    ] {
        assert_eq!(cgroup::place_of(path.as_bytes()), place, "{path}");
    }
    for (text, path) in [
        ("0::/system.slice/a.service\n", "/system.slice/a.service"),
        ("2:cpu:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", "/system.slice/a.service"),
        ("1:name=systemd:/named\n0::/unified\n", "/unified"),
        ("0::/a:b\n", "/a:b"),
        ("3:cpu:/x\n", ""),
        ("garbage", ""),
    ] {
        assert_eq!(cgroup::path_of(text.as_bytes()), path.as_bytes(), "{text}");
    }
}

#[test]
fn container_of_control_group_returns_engine() {
    let id = "0ea0c47ef0e1a90cd10059a0da0abd4da28d3bc35ce15c7beb46da1c7ab02736";
    for (path, container) in [
        (format!("/system.slice/docker-{id}.scope"), Some(Container::Docker)),
        (format!("/docker/{id}"), Some(Container::Docker)),
        (format!("/system.slice/docker-{id}.scope/init.scope"), Some(Container::Docker)),
        (
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            Some(Container::Containerd),
        ),
        (format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"), Some(Container::Crio)),
        (format!("/kubepods/burstable/pod1/{id}"), Some(Container::Kubernetes)),
        (format!("/machine.slice/libpod-{id}.scope/container"), Some(Container::Podman)),
        (
            format!("/user.slice/user-1.slice/user@1.service/user.slice/libpod-{id}.scope"),
            Some(Container::Podman),
        ),
        ("/lxc.payload.web/system.slice/nginx.service".into(), Some(Container::Lxc)),
        ("/lxc/web".into(), Some(Container::Lxc)),
        ("/machine.slice/systemd-nspawn@web.service/payload".into(), Some(Container::Machine)),
        ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope".into(), None),
        (format!("/machine.slice/libpod-conmon-{id}.scope"), Some(Container::Machine)),
        ("/system.slice/docker.service".into(), None),
        ("/system.slice/docker-containerd.service".into(), None),
        ("/system.slice/containerd.service".into(), None),
    ] {
        assert_eq!(cgroup::container_of(format!("0::{path}\n").as_bytes()), container, "{path}");
    }
}

#[test]
fn units_come_from_control_group_pid_file_or_ancestor() {
    let process = |pid, parent, path: &str, contained| Process {
        pid,
        parent,
        started: u64::from(pid),
        cgroup: path.as_bytes().into(),
        contained,
        ..sample()
    };
    let processes: Processes = [
        process(1, 0, "/init.scope", None),
        process(10, 1, "/system.slice/ssh.service", None),
        process(11, 10, "/user.slice/user-0.slice/session-1.scope", None),
        process(12, 11, "/", None),
        process(20, 1, "/", None),
        process(21, 20, "/", None),
        process(30, 1, "/", None),
        process(40, 10, "/system.slice/docker-0ea0c47ef0e1.scope", Some(Container::Docker)),
        // The kernel has reused the PID of the parent, so the parent is younger.
        process(50, 60, "/", None),
        process(60, 1, "/system.slice/new.service", None),
        process(70, 70, "/", None),
    ]
    .into_iter()
    .collect();
    let by_pid_file = BTreeMap::from([(20, b"old.service"[..].into()), (10, b"no.service"[..].into())]);
    let units: Vec<(u32, String)> = cgroup::units(&processes, &by_pid_file)
        .into_iter()
        .map(|(pid, unit)| (pid, String::from_utf8(unit.into()).unwrap()))
        .collect();
    let expected = [(10, "ssh.service"), (20, "old.service"), (21, "old.service"), (60, "new.service")];
    assert_eq!(units, expected.map(|(pid, unit)| (pid, unit.to_owned())));
}

#[test]
fn process_debug_and_json_contain_no_secret() {
    let mut process = sample();
    process.argv = Words { raw: b"mysql\0--password=hunter2\0"[..].into(), is_cut: false };
    process.environ = Words { raw: b"TOKEN=hunter2\0novalue\0=x\0E=\0"[..].into(), is_cut: false };
    assert!(!format!("{process:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&process).unwrap().contains("hunter2"));
    let variables: Vec<_> = process.environ.variables().collect();
    assert_eq!(variables, [(&b"TOKEN"[..], &b"hunter2"[..]), (b"E", b"")]);
    assert_eq!(Words::default().iter().count(), 0);
}

/// Child process that sleeps until the value is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(command: &mut Command) -> Sleeper {
        Sleeper(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "children of the test itself")]
fn load_known_child_returns_all_properties() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("lo\ng");
    let open = std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
    let long = "x".repeat(64 << 10);
    let odd = OsStr::from_bytes(b"\xff\xfe=\x80");
    let script = "while :; do sleep 1; done";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "first", &long]).arg(odd).env_clear().current_dir(directory.path());
    command.env("EMPTY", "").env("ODD", odd).env("PATH", "/usr/bin:/bin").stderr(open);
    let child = Sleeper::start(&mut command);
    let pid = child.0.id();

    let mut findings = Findings::default();
    let processes = live(&mut findings);
    let process = processes.get(pid).unwrap();
    let argv: Vec<&[u8]> = process.argv.iter().collect();
    let arguments = [b"/bin/sh", &b"-c"[..], script.as_bytes(), b"first", long.as_bytes(), odd.as_bytes()];
    assert_eq!(argv, arguments);
    assert!(!process.is_rewritten() && !process.is_kernel);
    let environ: BTreeMap<&[u8], &[u8]> = process.environ.variables().collect();
    assert_eq!(
        environ,
        BTreeMap::from([(&b"EMPTY"[..], &b""[..]), (b"ODD", odd.as_bytes()), (b"PATH", b"/usr/bin:/bin"),])
    );
    let own = std::process::id();
    assert_eq!(process.parent, own);
    assert_eq!(process.cwd.as_deref(), Some(directory.path().as_os_str().as_bytes()));
    assert_eq!(process.root.as_deref(), Some(&b"/"[..]));
    assert_eq!(process.namespaces, processes.get(own).unwrap().namespaces);
    assert!(processes.ancestors(pid).any(|ancestor| ancestor.pid == own));
    let exe = process.exe.as_ref().unwrap();
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!((&*exe.path, exe.is_deleted), (shell.as_os_str().as_bytes(), false));
    assert!(process.mapped.iter().any(|mapped| mapped.path == exe.path && mapped.is_code));
    let error = process.files.iter().find(|file| file.descriptor == 2).unwrap();
    let Target::File(file) = &error.target else { panic!("{error:?}") };
    assert_eq!(&*file.path, log.as_os_str().as_bytes());
    assert!(error.is_writable && error.appends);
    if file.identity.is_some() {
        assert_eq!(file.identity, crate::system::root::identity_of(&log).ok());
    }
    let input = process.files.iter().find(|file| file.descriptor == 0).unwrap();
    assert!(!input.is_writable);
    assert!(process.limits["nofile"].soft.is_some() && process.limits.len() == 16);
    let user = rustix::process::getuid().as_raw();
    assert_eq!(process.credentials.user, Ids { real: user, effective: user, saved: user });

    std::fs::remove_file(&log).unwrap();
    let error = live(&mut findings).get(pid).unwrap().files.iter().find(|file| file.descriptor == 2).cloned();
    let Some(OpenFile { target: Target::File(file), .. }) = error else { panic!("{error:?}") };
    assert!(file.is_deleted && &*file.path == log.as_os_str().as_bytes());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "children of the test itself")]
fn load_short_lived_processes_are_never_mixed_up() {
    // Each process runs two commands in turn. Arguments and environment identify the command.
    let stop = Arc::new(AtomicBool::new(false));
    let is_stopped = Arc::clone(&stop);
    let storm = std::thread::spawn(move || {
        while !is_stopped.load(Relaxed) {
            let spawn = |_| {
                let mut command = Command::new("/bin/sh");
                command.arg0("storm-sh").args(["-c", "MARK=sleep exec /bin/sleep 0.1"]).env_clear();
                command.env("MARK", "sh").spawn().unwrap()
            };
            let children: Vec<Child> = (0..24).map(spawn).collect();
            for mut child in children {
                let _ = child.wait();
            }
        }
    });
    let own = std::process::id();
    let (start, mut rounds, mut seen) = (Instant::now(), 0, 0);
    // On a busy machine a round can miss all of them, so it runs until it has seen some.
    while start.elapsed() < Duration::from_secs(if seen > 0 { 3 } else { 120 }) {
        let mut findings = Findings::default();
        for process in live(&mut findings).iter().filter(|process| process.parent == own) {
            let first = process.argv.iter().next().unwrap_or_default();
            let mark = process.environ.variables().find(|(name, _)| *name == b"MARK").map(|(_, mark)| mark);
            match (first, process.exe.as_ref().map(|exe| &*exe.path)) {
                (b"storm-sh", Some(exe)) => {
                    assert_eq!((mark, exe.ends_with(b"/sleep")), (Some(&b"sh"[..]), false), "{process:?}");
                }
                (b"/bin/sleep", Some(exe)) => {
                    let is_sleep = exe.ends_with(b"/sleep")
                        || exe.ends_with(b"/busybox")
                        || exe.ends_with(b"/coreutils");
                    assert_eq!((mark, is_sleep), (Some(&b"sleep"[..]), true), "{process:?}");
                }
                _ => continue,
            }
            seen += 1;
        }
        rounds += 1;
    }
    stop.store(true, Relaxed);
    storm.join().unwrap();
    assert!(rounds > 0 && seen > 0, "{seen} in {rounds} rounds");
}

proptest! {
    #[test]
    fn parsers_any_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (parse::stat(&text), parse::status(&text), parse::limits(&text), parse::maps(&text));
        let _ = (cgroup::path_of(&text), cgroup::container_of(&text), cgroup::place_of(&text));
        let words = Words { raw: text.into(), is_cut: false };
        let _ = (words.iter().count(), words.variables().count(), format!("{words:?}"));
    }
}

/// Returns a process without properties except its PID.
fn sample() -> Process {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("2")).unwrap();
    let stat = format!("2 (x) S 0 {}0 0\n", "0 ".repeat(17));
    std::fs::write(directory.path().join("2/stat"), stat).unwrap();
    let processes = Processes::load(&Root::open(directory.path()).unwrap(), &mut Findings::default());
    processes.get(2).unwrap().clone()
}

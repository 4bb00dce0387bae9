//! Checks services, sockets, timers and paths: real units, and single settings.

use crate::detect::units::amount::{self, Limit, TimeSpan};
use crate::detect::units::environment::{self, EnvironmentFile};
use crate::detect::units::exec_settings::{Capabilities, DirectoryKind, ProtectSystem};
use crate::detect::units::load::Units;
use crate::detect::units::machine::{TestRoot, host, shown, texts};
use crate::detect::units::names;
use crate::detect::units::path::PathUnit;
use crate::detect::units::service::{KillMode, Restart, ServiceUnit, Type};
use crate::detect::units::socket::{Address, Kind, SocketUnit};
use crate::detect::units::specifiers::Specifiers;
use crate::detect::units::timer::{Event, TimerUnit};
use crate::model::findings::Findings;
use std::time::Duration;

fn service_of(machine: &TestRoot, name: &str) -> (ServiceUnit, Vec<String>) {
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let loaded = units.load(name.as_bytes(), &mut findings).unwrap();
    let service = ServiceUnit::new(&loaded, &host(), &mut findings);
    (service, texts(&findings))
}

/// Parses a service with these lines in `[Service]`.
fn service(lines: &str) -> (ServiceUnit, Vec<String>) {
    let text = format!("[Service]\n{lines}\n");
    service_of(&TestRoot::new(&[("etc/systemd/system/a@x-y.service", text)]), "a@x-y.service")
}

#[test]
fn service_mariadb_has_settings_of_its_unit() {
    let (service, findings) = service_of(&TestRoot::debian("mariadb-server"), "mariadb.service");
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(
        (service.kind, service.restart, service.kill_mode),
        (Type::Notify, Restart::OnAbnormal, KillMode::ControlGroup)
    );
    assert_eq!(service.kill_signal, "SIGTERM");
    assert_eq!(service.settings.user.as_deref(), Some(&b"mysql"[..]));
    assert_eq!(service.settings.protect_system, ProtectSystem::Full);
    // The variable is within a word for the shell, which expands it.
    let arguments = service.exec_start[0].arguments(|_| Some(b"replaced"));
    assert_eq!(shown(&arguments)[..2], ["/bin/sh", "-c"]);
    assert!(shown(&arguments)[2].contains("exec /usr/sbin/mariadbd $MYSQLD_OPTS $_WSREP_NEW_CLUSTER"));
    assert!(service.exec_start_post[0].flags.no_setuid && service.exec_start_pre.is_empty());
}

#[test]
fn service_redis_has_settings_of_its_unit() {
    let (service, findings) = service_of(&TestRoot::debian("redis-server"), "redis-server@two.service");
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(shown(&service.pid_file), ["/run/redis-two/redis-server.pid"]);
    let directories: Vec<(DirectoryKind, String, u16)> =
        service.settings.directories.iter().map(|d| (d.kind, shown([&d.path]).remove(0), d.mode)).collect();
    assert_eq!(directories, [(DirectoryKind::Runtime, "run/redis-two".to_owned(), 0o2755)]);
    assert_eq!(service.timeout_stop, Some(TimeSpan::Infinite));
    assert_eq!(service.settings.umask, Some(0o007));
    assert_eq!(service.settings.limits[0].soft, Some(65535));
}

#[test]
fn service_missing_settings_get_defaults() {
    let (plain, findings) = service("ExecStart=/p");
    assert_eq!((plain.kind, plain.restart, findings.len()), (Type::Simple, Restart::No, 0));
    assert_eq!((plain.settings.capability_bounding_set, plain.timeout_stop), (None, None));
    assert_eq!(service("").0.kind, Type::Oneshot);
    assert_eq!(service("ExecStart=/p\nBusName=org.example.A").0.kind, Type::Dbus);
    let (full, findings) = service(
        "Type=forking\nExecStart=/old\nExecStart=\nExecStart=-/p\nPIDFile=a.pid\nRemainAfterExit=yes\nKillSignal=INT\n\
         KillMode=mixed\nTimeoutStopSec=1min 30s\nRestartSec=100ms\nUser=%i\nSupplementaryGroups=a b\n\
         SupplementaryGroups=c\nDynamicUser=1\nWorkingDirectory=-~\nRootDirectory=/srv/%I\nNice=-5\nOOMScoreAdjust=-900\n\
         LimitNOFILE=1024:524288\nLimitMEMLOCK=64K\nLimitCORE=infinity\nLimitCPU=1min\nLimitNICE=+5\n\
         StateDirectory=a b/c:d\nStateDirectoryMode=0700\nConfigurationDirectory=e\nMemoryMax=1.5G\nCPUQuota=150%\n\
         TasksMax=20%\nDeviceAllow=/dev/null rw\nDeviceAllow=char-pts\nPrivateTmp=yes\nProtectSystem=true\n\
         ReadWritePaths=-/a \"/b c\"\nStandardOutput=append:/var/log/a\nSlice=s.slice\nSockets=a.socket b.socket",
    );
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!((full.exec_start.len(), shown([&full.exec_start[0].program])), (1, vec!["/p".to_owned()]));
    assert_eq!(shown(&full.pid_file), ["/run/a.pid"]);
    assert_eq!((full.kill_signal.as_str(), full.kill_mode), ("SIGINT", KillMode::Mixed));
    assert_eq!(full.timeout_stop, Some(TimeSpan::Finite(Duration::from_secs(90))));
    let settings = full.settings;
    assert_eq!(shown(settings.user.iter().chain(&settings.root_directory)), ["x-y", "/srv/x/y"]);
    assert_eq!(shown(&settings.supplementary_groups), ["a", "b", "c"]);
    let directory = settings.working_directory.unwrap();
    assert!(directory.path.is_none() && directory.optional && settings.dynamic_user && settings.private_tmp);
    let limits: Vec<_> = settings.limits.iter().map(|l| (l.resource, l.soft, l.hard)).collect();
    let expected = [
        ("core", None, None),
        ("cpu", Some(60), Some(60)),
        ("memlock", Some(65536), Some(65536)),
        ("nice", Some(15), Some(15)),
        ("nofile", Some(1024), Some(524_288)),
    ];
    assert_eq!(limits, expected);
    let directories =
        settings.directories.iter().map(|d| (shown([&d.path]).remove(0), d.mode, d.links.len()));
    let expected = [("var/lib/a", 0o700, 0), ("var/lib/b/c", 0o700, 1), ("etc/e", 0o755, 0)];
    assert_eq!(
        directories.collect::<Vec<_>>(),
        expected.map(|(path, mode, links)| (path.to_owned(), mode, links))
    );
    assert_eq!(settings.memory_max, Some(Limit::Absolute(3 << 29)));
    assert_eq!((settings.cpu_quota, settings.tasks_max), (Some(15_000), Some(Limit::Share(2000))));
    assert_eq!(shown(settings.devices.iter().map(|device| &device.access)), ["rw", "rwm"]);
    assert_eq!(shown(&settings.read_write_paths), ["-/a", "/b c"]);
}

#[test]
fn service_invalid_value_is_noted_without_the_value() {
    let (service, findings) = service(
        "Type=hunter2\nExecStart=/p 'hunter2\nEnvironment=hunter2 A=1\nEnvironment='hunter2\nEnvironmentFile=hunter2\n\
         UMask=hunter2\nLimitNOFILE=2:1\nStateDirectory=../hunter2\nKillSignal=hunter2\nUser=%b%d",
    );
    assert_eq!(service.kind, Type::Oneshot);
    assert_eq!(service.settings.environment.get(b"A"), Some(&b"1"[..]));
    let keys = [
        "Environment",
        "Environment",
        "EnvironmentFile",
        "ExecStart",
        "KillSignal",
        "LimitNOFILE",
        "StateDirectory",
        "Type",
        "UMask",
    ];
    let found: Vec<&str> = findings
        .iter()
        .filter_map(|text| Some(text.split_once("[Service] ")?.1.split_once('=')?.0))
        .collect();
    assert_eq!(found, keys, "{findings:?}");
    assert!(findings.iter().any(|text| text.ends_with("unsupported specifiers, left as written: %b %d")));
    assert!(!format!("{findings:?} {service:?}").contains("hunter2"));
}

#[test]
fn capabilities_several_lists_are_merged() {
    let set = |lines: &str| match service(lines).0.settings.capability_bounding_set {
        None => "all".to_owned(),
        Some(Capabilities::Only(set)) => format!("only {}", shown(set).join(" ")),
        Some(Capabilities::AllBut(set)) => format!("all but {}", shown(set).join(" ")),
    };
    for (lines, expected) in [
        ("", "all"),
        ("CapabilityBoundingSet=CAP_A CAP_B\nCapabilityBoundingSet=cap_c", "only CAP_A CAP_B CAP_C"),
        ("CapabilityBoundingSet=CAP_A CAP_B\nCapabilityBoundingSet=~CAP_B", "only CAP_A"),
        ("CapabilityBoundingSet=~CAP_A\nCapabilityBoundingSet=~CAP_B", "all but CAP_A CAP_B"),
        ("CapabilityBoundingSet=~CAP_A CAP_B\nCapabilityBoundingSet=CAP_B", "all but CAP_A"),
        ("CapabilityBoundingSet=CAP_A\nCapabilityBoundingSet=", "only "),
        ("CapabilityBoundingSet=CAP_A\nCapabilityBoundingSet=~", "all but "),
    ] {
        assert_eq!(set(lines), expected, "{lines}");
    }
}

#[test]
fn environment_assignments_and_unset_are_applied() {
    let (service, _) = service(
        "Environment=OLD=1\nEnvironment=\nEnvironment=\"A=b c\" 'B=$A' C=%i D= 1E=x\nEnvironmentFile=-/etc/default/%p\n\
         EnvironmentFile=/etc/d/*.env\nPassEnvironment=P Q\nUnsetEnvironment=A B=x",
    );
    let mut variables = service.settings.environment.clone();
    let all: Vec<String> = variables.iter().map(|(name, value)| shown([name, value]).join("=")).collect();
    assert_eq!(all, ["A=b c", "B=$A", "C=x-y", "D="]);
    service.settings.unset_environment.iter().for_each(|what| variables.unset(what));
    assert_eq!((variables.get(b"A"), variables.get(b"B")), (None, Some(&b"$A"[..])));
    let files = [("etc/d/2.env", "X=2"), ("etc/d/1.env", "X=1\nY=1"), ("etc/d/3.txt", "X=3")];
    let machine = TestRoot::new(&files);
    let paths = |index: usize| shown(service.settings.environment_files[index].paths(&machine.root));
    assert_eq!(paths(0), Vec::<String>::new());
    assert_eq!(paths(1), ["etc/d/1.env", "etc/d/2.env"]);
    let file = EnvironmentFile::parse(b"/e?c/*/3.t[wx]t").unwrap();
    assert_eq!(shown(file.paths(&machine.root)), ["etc/d/3.txt"]);
}

#[test]
fn parse_file_quotes_follow_systemd_rules() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"A=1\nB = 2 3 \n", &["A=1", "B=2 3"]),
        (b"# A=1\n; B=2\n  C=3\nD\nE=5", &["C=3", "E=5"]),
        (b"# goes on \\\nA=1\nB=2", &["B=2"]),
        (b"A=\"x y\" z\nB='it\"s'\"q\"\n", &["A=x yz", "B=it\"sq"]),
        (b"A=\"a\\\"b\\n\\$c\\\nd\"\n", &["A=a\"b\\\\n$cd"]),
        (b"A='a\nb'\n", &["A=a\\x0ab"]),
        (b"A=a\\ \\\n  b\\c\n", &["A=a   bc"]),
        (b"A=it's\nB=a\"b\"\n", &["A=it's", "B=a\"b\""]),
        (b"A=\n1B=x\nexport C=1\n=x\n", &["A="]),
        (b"A=\xff\nA=2\r\n", &["A=2"]),
        (b"A=\"open", &["A=open"]),
        (b"='A=1\nB=2\n", &["B=2"]),
        (b"A=x\x0c\nB\x0c=1\n", &["A=x\\x0c"]),
    ];
    for (text, expected) in cases {
        let variables = environment::parse_file(text);
        let all: Vec<String> = variables.iter().map(|(name, value)| shown([name, value]).join("=")).collect();
        assert_eq!(all, *expected, "{}", String::from_utf8_lossy(text));
    }
    let secret = environment::parse_file(b"PASSWORD=hunter2");
    assert_eq!(format!("{secret:?}"), r#"["PASSWORD"]"#);
}

#[test]
fn amount_each_notation_is_parsed() {
    let micros = |text: &str| Some(amount::time_span(text.as_bytes())?.finite().map(|span| span.as_micros()));
    for (text, expected) in [
        ("5", Some(Some(5_000_000))),
        ("1.5h", Some(Some(5_400_000_000))),
        ("2h 1min3s 4ms", Some(Some(7_263_004_000))),
        ("1 week 1M", Some(Some(604_800_000_000 + 2_629_800_000_000))),
        ("infinity", Some(None)),
        ("0", Some(Some(0))),
        ("", None),
        ("x", None),
        ("5 parsecs", None),
        (".", None),
        ("99999999999999999999", None),
        ("18446744073709551615y", None),
    ] {
        assert_eq!(micros(text), expected, "{text}");
    }
    for (text, expected) in [
        ("512M", Some(Limit::Absolute(512 << 20))),
        ("1.5K", Some(Limit::Absolute(1536))),
        ("7", Some(Limit::Absolute(7))),
        ("1GB", Some(Limit::Absolute(1 << 30))),
        ("12.5%", Some(Limit::Share(1250))),
        ("infinity", Some(Limit::Infinite)),
        ("-1", None),
        ("K", None),
        ("99999999999.999999999999999E", None),
    ] {
        assert_eq!(amount::limit(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn expand_each_specifier_returns_its_value() {
    let host = host();
    let expand = |name: &str, text: &str| {
        let mut specifiers = Specifiers::new(name.as_bytes(), &host);
        let text = shown([specifiers.expand(text.as_bytes())]).remove(0);
        (text, String::from_utf8(specifiers.unknown).unwrap())
    };
    let name = "a-b\\x2dc@d-e\\x2df.service";
    for (text, expected, unknown) in [
        ("%n", "a-b\\\\x2dc@d-e\\\\x2df.service", ""),
        ("%N %p %P", "a-b\\\\x2dc@d-e\\\\x2df a-b\\\\x2dc a/b-c", ""),
        ("%i %I %f", "d-e\\\\x2df d/e-f /d/e-f", ""),
        ("%j %J", "b\\\\x2dc b-c", ""),
        ("%t %S %C %L %E %T %V", "/run /var/lib /var/cache /var/log /etc /tmp /var/tmp", ""),
        ("%H %l %a", "vm.example.org vm x86-64", ""),
        ("%u %U %g %G %h %s", "root 0 root 0 /root /bin/sh", ""),
        ("%m", "0123456789abcdef0123456789abcdef", ""),
        ("100%% %", "100% %", ""),
        ("%b %z %b %v", "%b %z %b %v", "bzv"),
    ] {
        assert_eq!(expand(name, text), (expected.to_owned(), unknown.to_owned()), "{text}");
    }
    assert_eq!(expand("x-y.service", "%f|%i|%j").0, "/x/y||y");
    assert_eq!(
        (names::unit_type(b"a.service"), names::unit_type(b".service"), names::unit_type(b"a b.service")),
        (Some("service"), None, None)
    );
}

#[test]
fn socket_timer_and_path_units_are_interpreted() {
    let text = "[Socket]\nListenStream=8080\nListenStream=127.0.0.1:81\nListenStream=[::1]:82\nListenStream=/run/a\n\
        ListenDatagram=@b\nListenFIFO=/run/f\nListenStream=vsock::1\nListenStream=nonsense\nAccept=yes\nSocketMode=0600\n\
        SocketUser=u\n";
    let files = [
        ("etc/systemd/system/a.socket", text),
        (
            "etc/systemd/system/b.timer",
            "[Timer]\nOnCalendar=daily\nOnCalendar=*-*-* 4:00\nOnBootSec=15min\nOnUnitActiveSec=1d\nPersistent=true\nRandomizedDelaySec=1h\n",
        ),
        ("etc/systemd/system/c.path", "[Path]\nPathExists=/a\nPathChanged=/b\nUnit=d.service\n"),
    ];
    let machine = TestRoot::new(&files);
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let load = |name: &str| units.load(name.as_bytes(), &mut Findings::default()).unwrap();
    let socket = SocketUnit::new(&load("a.socket"), &host(), &mut findings);
    let inet = |ip: &str, port| Address::Inet(ip.parse().unwrap(), port);
    let addresses = [
        (Kind::Stream, inet("::", 8080)),
        (Kind::Stream, inet("127.0.0.1", 81)),
        (Kind::Stream, inet("::1", 82)),
        (Kind::Stream, Address::Path(b"/run/a".to_vec())),
        (Kind::Stream, Address::Other(b"vsock::1".to_vec())),
        (Kind::Datagram, Address::Abstract(b"b".to_vec())),
        (Kind::Fifo, Address::Path(b"/run/f".to_vec())),
    ];
    assert_eq!(socket.listen.into_iter().map(|l| (l.kind, l.address)).collect::<Vec<_>>(), addresses);
    assert_eq!((shown([&socket.service]), socket.mode), (vec!["a@.service".to_owned()], 0o600));
    let timer = TimerUnit::new(&load("b.timer"), &host(), &mut findings);
    assert_eq!(shown(&timer.on_calendar), ["daily", "*-*-* 4:00"]);
    let minutes = |minutes: u64| TimeSpan::Finite(Duration::from_secs(60 * minutes));
    assert_eq!(timer.after, [(Event::Boot, minutes(15)), (Event::UnitStarted, minutes(1440))]);
    assert_eq!((shown([&timer.unit]), timer.persistent), (vec!["b.service".to_owned()], true));
    let path = PathUnit::new(&load("c.path"), &host(), &mut findings);
    assert_eq!((shown([&path.unit]), path.watches.len()), (vec!["d.service".to_owned()], 2));
    assert_eq!(texts(&findings), ["a.socket: [Socket] ListenStream=: invalid address"]);
}

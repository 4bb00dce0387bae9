//! Workloads for tests.

use crate::detect::name_resolution::HostEntry;
use crate::services::model::{
    Command, CompatibilityIssue, Health, IssueKind, IssueSeverity, Mount, Name, Port, Privileges, Protocol,
    Purpose, Restart, SecretFile, Service, SharedNetwork, Signal, SkippedService, User, Variable, Volume,
    Workload,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

pub(super) fn name(text: &str) -> Name {
    Name::from_bytes(text.as_bytes())
}

pub(super) fn variable(text: &str) -> Variable {
    Variable::new(text.as_bytes()).unwrap()
}

pub(super) fn service(text: &str, words: &[&str]) -> Service {
    Service {
        name: name(text),
        unit: format!("{text}.service"),
        description: String::new(),
        command: Command::Exec(words.iter().map(|&word| word.to_owned()).collect()),
        prepare: None,
        user: None,
        working_directory: None,
        environment: BTreeMap::new(),
        secrets: BTreeSet::new(),
        secret_files: BTreeSet::new(),
        ports: BTreeSet::new(),
        mounts: Vec::new(),
        memory_directories: Vec::new(),
        read_only: false,
        stop_signal: Signal("SIGTERM"),
        stop_grace: Duration::from_secs(90),
        restart: Restart::Always,
        health: None,
        depends_on: BTreeSet::new(),
        network: None,
        ulimits: BTreeMap::new(),
        oom_score_adj: None,
        privileges: Privileges::default(),
        memory: None,
        cpu_millis: None,
        tasks: None,
        sysctls: BTreeMap::new(),
    }
}

pub(super) fn port(number: u16, protocol: Protocol, address: &str) -> Port {
    let address: std::net::IpAddr = address.parse().unwrap();
    Port { number, protocol, addresses: BTreeSet::from([address]), public: !address.is_loopback() }
}

pub(super) fn mount(volume: &str, path: &str) -> Mount {
    Mount { volume: name(volume), path: path.into() }
}

pub(super) fn volume(
    text: &str,
    path: &str,
    purpose: Purpose,
    bytes: u64,
    owner: Option<(u32, u32, u16)>,
) -> Volume {
    Volume {
        name: name(text),
        path: path.into(),
        purpose,
        reason: "copy it | carefully".to_owned(),
        bytes,
        owner,
    }
}

fn nginx() -> Service {
    Service {
        description: "A high performance web server".to_owned(),
        ports: BTreeSet::from([
            port(80, Protocol::Tcp, "0.0.0.0"),
            port(80, Protocol::Tcp, "::"),
            port(8081, Protocol::Tcp, "127.0.0.1"),
        ]),
        stop_signal: Signal("SIGQUIT"),
        stop_grace: Duration::from_millis(5500),
        health: Some(Health::Tcp(80)),
        depends_on: BTreeSet::from([name("php-fpm"), name("gone")]),
        network: Some(name("web")),
        mounts: vec![mount("run-php", "/run/php")],
        secret_files: BTreeSet::from([0]),
        prepare: Some(b"mkdir -p /run/php\n".to_vec()),
        ulimits: BTreeMap::from([("core", (Some(0), None)), ("nofile", (Some(1024), Some(524_288)))]),
        sysctls: BTreeMap::from([("net.core.somaxconn".to_owned(), "4096".to_owned())]),
        ..service("nginx", &["/usr/sbin/nginx", "-g", "daemon off;"])
    }
}

fn php() -> Service {
    Service {
        command: Command::Script(b"umask 027\nexec /usr/sbin/php-fpm8.2 --nodaemonize\n".to_vec()),
        health: Some(Health::Socket("/run/php/php8.2-fpm.sock".to_owned())),
        network: Some(name("web")),
        mounts: vec![mount("run-php", "/run/php"), mount("uploads", "/srv/uploads")],
        depends_on: BTreeSet::from([name("postgresql")]),
        environment: BTreeMap::from([
            (variable("APP_DEBUG"), b"no".to_vec()),
            (variable("MOTTO"), b"a \"$HOME\" of\none's own".to_vec()),
            (variable("PATH"), b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin".to_vec()),
        ]),
        secrets: BTreeSet::from([variable("DATABASE_PASSWORD")]),
        sysctls: BTreeMap::from([("kernel.shmmax".to_owned(), "68719476736".to_owned())]),
        restart: Restart::OnFailure,
        ..service("php-fpm", &[])
    }
}

fn postgresql() -> Service {
    Service {
        user: Some(User { uid: 104, gid: 112, groups: BTreeSet::from([111]) }),
        working_directory: Some(b"/var/lib/postgresql".to_vec()),
        ports: BTreeSet::from([port(5432, Protocol::Tcp, "192.0.2.7")]),
        mounts: vec![mount("var-lib-postgresql-15-main", "/var/lib/postgresql/15/main")],
        memory_directories: vec![b"/tmp".to_vec()],
        read_only: true,
        stop_signal: Signal("SIGINT"),
        health: Some(Health::Tcp(5432)),
        oom_score_adj: Some(-900),
        memory: Some(2 << 30),
        cpu_millis: Some(1500),
        tasks: Some(512),
        privileges: Privileges { drop_all: true, ..Privileges::default() },
        ..service("postgresql", &["/usr/lib/postgresql/15/bin/postgres", "-D", "/var/lib/postgresql/15/main"])
    }
}

fn unbound() -> Service {
    Service {
        ports: BTreeSet::from([port(53, Protocol::Udp, "::"), port(53, Protocol::Tcp, "::")]),
        health: Some(Health::Udp(53)),
        restart: Restart::No,
        privileges: Privileges {
            add: BTreeSet::from(["NET_ADMIN", "SYS_CHROOT"]),
            devices: vec![b"/dev/net/tun".to_vec()],
            privileged: Some("it loads a module".to_owned()),
            ..Privileges::default()
        },
        ..service("unbound", &["/usr/sbin/unbound", "-d"])
    }
}

/// Returns a workload with all features: a web server and its application, a database with live
/// data, a DNS server.
pub(super) fn full() -> Workload {
    Workload {
        services: vec![nginx(), php(), postgresql(), unbound()],
        networks: vec![SharedNetwork {
            name: name("web"),
            reasons: vec!["nginx connects to 127.0.0.1:9000".to_owned()],
        }],
        volumes: vec![
            volume("run-php", "/run/php", Purpose::Sockets, 0, Some((33, 33, 0o755))),
            volume("uploads", "/srv/uploads", Purpose::Data, 3 << 30, Some((33, 33, 0o2775))),
            volume(
                "var-lib-postgresql-15-main",
                "/var/lib/postgresql/15/main",
                Purpose::LiveData,
                40 << 20,
                Some((104, 112, 0o700)),
            ),
        ],
        secret_files: vec![SecretFile {
            name: name("etc-ssl-private-site-key"),
            path: b"/etc/ssl/private/site.key".to_vec(),
            owner: (0, 115, 0o640),
        }],
        hosts: vec![
            HostEntry { address: [10, 20, 30, 40].into(), names: vec!["db".to_owned(), "db_a".to_owned()] },
            HostEntry { address: IpAddr::V6(Ipv6Addr::LOCALHOST), names: vec!["own.internal".to_owned()] },
        ],
        skipped: vec![SkippedService {
            unit: "cron.service".to_owned(),
            reason: "runs scheduled jobs".to_owned(),
        }],
        compatibility: vec![CompatibilityIssue {
            severity: IssueSeverity::Warning,
            service: Some(name("unbound")),
            kind: IssueKind::PortCollision,
            evidence: "port 53".to_owned(),
            advice: "check that the host has no DNS server on this port",
        }],
    }
}

fn bad() -> Service {
    let words = [
        "/bin/x",
        "a\nFROM evil",
        "\\",
        "$HOME ${X} $(Y) $$",
        "<<EOF",
        "\"]",
        "%h",
        "#{}",
        "\u{2028}\u{feff}",
        "'",
    ];
    Service {
        unit: "x|y`z.service".to_owned(),
        description: "<b>\n# head".to_owned(),
        working_directory: Some(b"/a b\nRUN evil".to_vec()),
        environment: BTreeMap::from([
            (variable("A"), b"x\nRUN evil".to_vec()),
            (variable("B"), b"$(evil)".to_vec()),
            (variable("C"), b"\xff".to_vec()),
            (variable("D"), b"\\".to_vec()),
            (variable("E"), b"12:30:45".to_vec()),
            (variable("F"), Vec::new()),
            (variable("G"), b"100%n".to_vec()),
        ]),
        mounts: vec![
            mount("bad", "/m $(evil)\n'\""),
            Mount { volume: name("bad"), path: b"/\xff".to_vec() },
            mount("unknown", "/nowhere"),
        ],
        memory_directories: vec![b"/t:mode=1777,exec $X".to_vec(), b"/\xfe".to_vec()],
        secret_files: BTreeSet::from([0, 7]),
        depends_on: BTreeSet::from([name("machine"), name("bad")]),
        ports: BTreeSet::from([port(1, Protocol::Tcp, "::")]),
        stop_grace: Duration::MAX,
        memory: Some(1),
        cpu_millis: Some(0),
        ulimits: BTreeMap::from([("nofile", (Some(u64::MAX), None))]),
        privileges: Privileges {
            devices: vec![b"/dev/a:b".to_vec(), b"/dev/\xff".to_vec(), b"/dev/x y".to_vec()],
            ..Privileges::default()
        },
        sysctls: BTreeMap::from([("kernel.domainname".to_owned(), "$X \"%\n".to_owned())]),
        ..service("bad", &words)
    }
}

/// Returns a workload whose values try to break each format.
pub(super) fn hostile() -> Workload {
    let long = "x".repeat(40_000);
    let machine = Service {
        depends_on: BTreeSet::from([name("bad")]),
        ports: BTreeSet::from([port(1, Protocol::Tcp, "::")]),
        network: Some(name("bad")),
        ..service("machine", &["/bin/y", "it's", &long])
    };
    let volume = volume("bad", "/m $(evil)\n'\"", Purpose::LiveData, u64::MAX, None);
    Workload {
        services: vec![bad(), machine],
        networks: vec![SharedNetwork { name: name("bad"), reasons: vec!["a\nb".to_owned()] }],
        volumes: vec![volume],
        secret_files: vec![SecretFile { name: name("k"), path: b"/k$X\n".to_vec(), owner: (0, 0, 0o600) }],
        ..Workload::default()
    }
}

//! Compares the files of a complete workload with expected files, and checks those of a hostile
//! workload.

use crate::emit::services::samples::{full, hostile, mount, port, service, volume};
use crate::emit::services::*;
use crate::services::model::{Command, Health, Protocol, Purpose, is_plain};
use serde_json::Value;
use std::path::Path;

const PLATFORM: &str = "linux/amd64";

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn files_full_workload_matches_expected_files() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/services-expected");
    let mut files = files(&full(), PLATFORM, "web01.example.org");
    files.insert("README-services.md".to_owned(), readme(&full(), "web01.example.org").into_bytes());
    for (name, content) in &files {
        let path = expected.join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(content), known, "{name}");
    }
}

#[test]
fn files_without_services_returns_none() {
    assert!(files(&Workload::default(), PLATFORM, "x").is_empty());
    assert_eq!(readme(&Workload::default(), "x"), "");
}

#[test]
fn dockerfile_hostile_values_add_no_line() {
    let files = files(&hostile(), PLATFORM, "x");
    let dockerfile = text(&files, "services/bad/Dockerfile");
    let words: Vec<&str> = dockerfile.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = ["ARG", "FROM", "ENV", "ENV", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"];
    assert_eq!(words, expected, "{dockerfile}");
    let command = dockerfile.lines().last().unwrap().strip_prefix("CMD ").unwrap();
    let Command::Exec(expected) = &hostile().services[0].command else { unreachable!() };
    assert_eq!(&serde_json::from_str::<Vec<String>>(command).unwrap(), expected);
    assert!(dockerfile.contains("ENV E=\"12:30:45\"\nENV F=\"\"\nENV G=\"100%n\"\n"), "{dockerfile}");
}

#[test]
fn dockerfile_long_command_runs_entry_script() {
    let files = files(&hostile(), PLATFORM, "x");
    let dockerfile = text(&files, "services/machine/Dockerfile");
    assert!(dockerfile.ends_with("CMD [\"/bin/sh\",\"/vm2docker-entry\"]\n"), "{dockerfile}");
    assert!(text(&files, "services/machine/entry").starts_with("exec '/bin/y' 'it'\\''s' 'xxx"));
}

#[test]
fn compose_hostile_values_are_parsed_unchanged() {
    let files = files(&hostile(), PLATFORM, "Web 01: #{}");
    let compose: Value = yaml_serde::from_slice(&files["compose.yaml"]).unwrap();
    assert_eq!(compose["name"], "web-01");
    let bad = &compose["services"]["bad"];
    let targets: Vec<&str> =
        bad["volumes"].as_array().unwrap().iter().map(|volume| volume["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["/m $$(evil)\n'\"", "/t:mode=1777,exec $$X"]);
    assert_eq!(bad["environment"], serde_json::json!({"E": "12:30:45", "F": "", "G": "100%n"}));
    assert_eq!(bad["secrets"], serde_json::json!([{"source": "k", "target": "/k$$X\n"}]));
    assert_eq!(bad["stop_grace_period"], "2147483647s");
    assert_eq!(bad["devices"], Value::Null);
    assert_eq!(bad["ports"], serde_json::json!(["1:1/tcp"]));
    let limits = &bad["deploy"]["resources"]["limits"];
    assert_eq!(*limits, serde_json::json!({"cpus": "0.010", "memory": "6291456b"}));
    // The network container has no service's name, each port is published once, and there is no
    // cycle.
    assert_eq!(compose["services"]["bad-2"]["ports"], Value::Null);
    let machine = &compose["services"]["machine"];
    assert_eq!(machine["network_mode"], "service:bad-2");
    assert_eq!(machine["image"], "${IMAGE_PREFIX:-web-01}/machine-service:latest");
    assert_eq!(machine["depends_on"], serde_json::json!({"bad-2": {"condition": "service_started"}}));
    assert_eq!(bad["depends_on"], serde_json::json!({"machine": {"condition": "service_started"}}));
}

#[test]
fn kubernetes_all_objects_are_listed_and_have_valid_names() {
    for workload in [full(), hostile()] {
        let files = files(&workload, PLATFORM, "x");
        let object_file = |name: &str| name.strip_prefix("kubernetes/").map(str::to_owned);
        let mut names: Vec<String> = files.keys().filter_map(|name| object_file(name)).collect();
        names.retain(|name| name != "kustomization.yaml");
        let list: Value = yaml_serde::from_slice(&files["kubernetes/kustomization.yaml"]).unwrap();
        let applied: Vec<&String> = names.iter().filter(|name| !name.ends_with(".secret.yaml")).collect();
        assert_eq!(list["resources"], serde_json::json!(applied));
        for name in names {
            let object: Value = yaml_serde::from_slice(&files[&format!("kubernetes/{name}")]).unwrap();
            let own = object["metadata"]["name"].as_str().unwrap();
            assert!(own.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{own}");
            let is_service = object["kind"] == "Service";
            assert!(
                !is_service || own.len() <= 63 && own.starts_with(|c: char| c.is_ascii_lowercase()),
                "{own}"
            );
        }
    }
}

#[test]
fn pods_shared_sockets_or_data_returns_one_pod() {
    let mut workload = full();
    for service in &mut workload.services {
        service.network = None;
    }
    workload.networks.clear();
    let pods = |workload: &Workload| -> Vec<Vec<String>> {
        let pods = super::pods::pods(workload);
        let names =
            |pod: &super::pods::Pod<'_>| pod.members.iter().map(|each| each.name.to_string()).collect();
        pods.iter().map(names).collect()
    };
    let expected = [vec!["nginx", "php-fpm"], vec!["postgresql"], vec!["unbound"]];
    assert_eq!(pods(&workload), expected);
    for service in &mut workload.services {
        service.mounts.clear();
    }
    assert_eq!(pods(&workload), [["nginx"], ["php-fpm"], ["postgresql"], ["unbound"]]);
}

#[test]
fn kubernetes_long_name_with_digit_gets_valid_names() {
    let long = "3".repeat(63);
    let mut service = service(&long, &["/bin/x"]);
    service.ports.insert(port(65535, Protocol::Udp, "::"));
    service.mounts.push(mount("v", "/v"));
    let volumes = vec![volume("v", "/v", Purpose::Data, u64::MAX, None)];
    let workload = Workload { services: vec![service], volumes, ..Workload::default() };
    let files = files(&workload, PLATFORM, "x");
    let pod = format!("{}-0", "3".repeat(44));
    let set: Value = yaml_serde::from_slice(&files[&format!("kubernetes/{pod}.statefulset.yaml")]).unwrap();
    assert_eq!(set["spec"]["serviceName"], format!("s--{pod}--pods"));
    let filler = set["spec"]["template"]["spec"]["initContainers"][0]["name"].as_str().unwrap();
    assert_eq!(filler.len(), 63);
    assert!(files.contains_key(&format!("kubernetes/s--{}.service.yaml", &long[..60])));
    let claim: Value = yaml_serde::from_slice(&files["kubernetes/v.persistentvolumeclaim.yaml"]).unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "17179869184Gi");
}

#[test]
fn quadlet_hostile_values_add_no_line() {
    let files = files(&hostile(), PLATFORM, "x");
    let keys = |name: &str| -> Vec<String> {
        let text = text(&files, &format!("quadlet/{name}"));
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| line.split('=').next().unwrap().to_owned()).collect()
    };
    let expected = [
        "[Unit]",
        "Wants",
        "After",
        "[Container]",
        "ContainerName",
        "Image",
        "RunInit",
        "HostName",
        "Network",
        "NetworkAlias",
        "PublishPort",
        "Environment",
        "Environment",
        "Environment",
        "Ulimit",
        "StopTimeout",
        "PodmanArgs",
        "[Service]",
        "Restart",
        "TimeoutStopSec",
        "[Install]",
        "WantedBy",
    ];
    assert_eq!(keys("x-bad.container"), expected);
    let unit = text(&files, "quadlet/x-bad.container");
    assert!(unit.contains("\nEnvironment=G=100%%n\n"), "{unit}");
    assert!(unit.contains(" \"--sysctl=kernel.domainname=$$X \\\"%%\\x0a\"\n"), "{unit}");
}

#[test]
fn readme_unsupported_paths_are_listed() {
    let text = readme(&hostile(), "x");
    for line in [
        "- `bad`: `/\\xff` \n",
        "- `bad`: `/m $(evil)\\x0a'\"` for Podman and Kubernetes\n",
        "- `bad`: `/dev/a:b` \n",
        "    tar -C $'/m $(evil)\\x0a\\'\"' --numeric-owner",
        "| `bad` | x\\|y`z.service: <b>\\x0a# head |",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn is_plain_special_characters_returns_false() {
    for plain in ["", "/usr/bin:/bin", "a=b,c@d-e_f+g%h", "0"] {
        assert!(is_plain(plain.as_bytes()), "{plain}");
    }
    for other in ["a b", "$a", "a\n", "'", "\"", "\\", "`", "#", "~", "*", "\u{e9}", "\0", &"x".repeat(4097)]
    {
        assert!(!is_plain(other.as_bytes()), "{other}");
    }
}

#[test]
fn check_each_kind_reads_kernel_tables() {
    let script = |health| image::check(&health)[2].clone();
    let tcp = "grep -qsE '^ *[0-9]+: [0-9A-F]+:0050 [0-9A-F]+:0000 0A ' /proc/net/tcp /proc/net/tcp6";
    assert_eq!(script(Health::Tcp(80)), tcp);
    let udp = "grep -qsE '^ *[0-9]+: [0-9A-F]+:D431 ' /proc/net/udp /proc/net/udp6";
    assert_eq!(script(Health::Udp(54321)), udp);
    assert_eq!(script(Health::Socket("/run/x".to_owned())), "test -S /run/x");
}

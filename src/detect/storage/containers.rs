//! Directories in which container engines keep images, containers and volumes.
//!
//! The usual places are rules of the policy. The configured ones come from `daemon.json` and the
//! options of dockerd(8), from containers-storage.conf(5) of the machine and of each user, from
//! containerd's `config.toml` and from lxc.system.conf(5).

use super::{read, relative};
use crate::detect::accounts::Accounts;
use crate::detect::units::Enabled;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use rustix::fs::FileType;

/// Usual places of Docker, Podman and LXC.
const USUAL: [&str; 3] = ["var/lib/docker", "var/lib/containers/storage", "var/lib/lxc"];
/// Usual places of rootless engines in a home directory.
const USUAL_OF_USERS: [&str; 2] = [".local/share/docker", ".local/share/containers/storage"];
/// Files whose key names the place. In containerd's file, `root` precedes all tables.
const FILES: [(&str, &str); 4] = [
    ("etc/containers/storage.conf", "graphroot"),
    ("usr/share/containers/storage.conf", "graphroot"),
    ("etc/containerd/config.toml", "root"),
    ("etc/lxc/lxc.conf", "lxc.lxcpath"),
];
const DOCKER: &str = "etc/docker/daemon.json";
/// Configuration of a user's engines in the home directory.
const DOCKER_OF_USER: &str = ".config/docker/daemon.json";
const CONTAINERS_OF_USER: &str = ".config/containers/storage.conf";
/// Directories of a storage directory with one entry per container: Docker's, and those of
/// Podman's storage drivers.
const CONTAINERS: [&str; 4] = ["containers", "overlay-containers", "vfs-containers", "btrfs-containers"];

/// Returns the configured storage directories, sorted. Reports a directory with containers or
/// volumes, because the image does not contain it.
pub(super) fn load(root: &Root, enabled: &[Enabled], findings: &mut Findings) -> Vec<Vec<u8>> {
    let accounts = Accounts::load(root);
    let homes: Vec<&[u8]> = accounts.users().filter_map(|user| user.home.strip_prefix(b"/")).collect();
    let in_homes =
        |file: &str| homes.iter().map(|home| tree::join(home, file.as_bytes())).collect::<Vec<_>>();

    let mut directories = Vec::new();
    for file in [vec![DOCKER.as_bytes().to_vec()], in_homes(DOCKER_OF_USER)].concat() {
        directories.extend(docker_directories(root, &file, findings));
    }
    let of_users = in_homes(CONTAINERS_OF_USER).into_iter().map(|file| (file, "graphroot"));
    let of_machine = FILES.iter().map(|(file, key)| (file.as_bytes().to_vec(), *key));
    for (file, key) in of_machine.chain(of_users) {
        directories.extend(path_setting(&read(root, &file, findings), key));
    }
    let commands = enabled.iter().filter_map(|enabled| enabled.loaded.unit.last("Service", "ExecStart"));
    directories.extend(commands.filter_map(option_of_dockerd));
    let mut directories: Vec<Vec<u8>> = directories.iter().map(|directory| relative(directory)).collect();
    directories.retain(|directory| !directory.is_empty());
    directories.sort();
    directories.dedup();

    let usual = USUAL.iter().map(|directory| directory.as_bytes().to_vec());
    let of_users = USUAL_OF_USERS.iter().flat_map(|directory| in_homes(directory));
    let mut all: Vec<Vec<u8>> = directories.iter().cloned().chain(usual).chain(of_users).collect();
    all.sort();
    all.dedup();
    all.iter().for_each(|directory| report_contents(root, directory, findings));
    directories
}

fn docker_directories(root: &Root, file: &[u8], findings: &mut Findings) -> Vec<Vec<u8>> {
    let text = read(root, file, findings);
    match serde_json::from_slice::<serde_json::Value>(&text) {
        // `graph` is the name of the option before Docker 17.05.
        Ok(daemon) => {
            let places = ["data-root", "graph"].into_iter().filter_map(|key| daemon[key].as_str());
            places.map(|place| place.as_bytes().to_vec()).collect()
        }
        Err(_) if text.trim_ascii().is_empty() => Vec::new(),
        Err(cause) => {
            let text = format!("not valid JSON, so the place of Docker's storage is unknown: {cause}");
            findings.note(findings::Kind::Unreadable, file, text);
            Vec::new()
        }
    }
}

/// Returns the value of `--data-root`, or of its earlier names, if the command is dockerd(8).
fn option_of_dockerd(command: &[u8]) -> Option<Vec<u8>> {
    const OPTIONS: [&[u8]; 3] = [b"--data-root", b"--graph", b"-g"];
    let mut words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if tree::file_name(words.next()?) != b"dockerd" {
        return None;
    }
    while let Some(word) = words.next() {
        for option in OPTIONS {
            let value = match word.strip_prefix(option) {
                Some([]) => words.next(),
                Some([b'=', value @ ..]) => Some(value),
                _ => continue,
            };
            return value.filter(|value| value.starts_with(b"/")).map(<[u8]>::to_vec);
        }
    }
    None
}

/// Returns the first value of a key that is an absolute path, with or without quotes.
fn path_setting(text: &[u8], key: &str) -> Option<Vec<u8>> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let value = line.trim_ascii().strip_prefix(key.as_bytes())?.trim_ascii_start();
        let value = value.strip_prefix(b"=")?.trim_ascii();
        let value = match value {
            [quote @ (b'"' | b'\''), value @ ..] => value.split(|byte| byte == quote).next()?,
            value => value,
        };
        value.starts_with(b"/").then(|| value.to_vec())
    })
}

/// Reports the containers and volumes of a storage directory.
fn report_contents(root: &Root, directory: &[u8], findings: &mut Findings) {
    let count = |name: &str| subdirectories(root, &tree::join(directory, name.as_bytes())).len();
    // A container of LXC is a directory with the files of its root.
    let is_lxc = |at: &&Vec<u8>| root.stat(&tree::join(at, b"rootfs")).is_ok();
    let of_lxc = subdirectories(root, directory).iter().filter(is_lxc).count();
    let containers = CONTAINERS.into_iter().map(count).sum::<usize>() + of_lxc;
    let volumes = count("volumes");
    if containers + volumes > 0 {
        let text = format!(
            "{containers} containers and {volumes} volumes of a container engine are not in the image; \
             move their images and data separately"
        );
        findings.warning(findings::Kind::Containers, directory, text);
    }
}

fn subdirectories(root: &Root, directory: &[u8]) -> Vec<Vec<u8>> {
    let is_directory = |path: &Vec<u8>| {
        root.stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    let names = root.list(directory).unwrap_or_default().into_iter();
    names.map(|name| tree::join(directory, &name)).filter(is_directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixtures::tree;
    use crate::detect::units::BootUnits;

    #[test]
    fn load_each_configuration_names_its_directory() {
        let (_dir, root) = tree(&[
            ("etc/passwd", "joe:x:1000:1000::/home/joe:/bin/sh\n"),
            ("etc/docker/daemon.json", r#"{"data-root": "/data/docker/", "graph": "/old"}"#),
            ("etc/containers/storage.conf", "[storage]\n# graphroot = \"/no\"\ngraphroot = \"/data/pods\"\n"),
            ("etc/containerd/config.toml", "version = 2\nroot = '/data/containerd'\nrootful = \"/no\"\n"),
            ("etc/lxc/lxc.conf", "lxc.lxcpath = /data/lxc\n"),
            ("home/joe/.config/docker/daemon.json", r#"{"data-root": "/data/joe"}"#),
            ("home/joe/.config/containers/storage.conf", "graphroot=\"/data/joe-pods\"\n"),
            ("usr/lib/systemd/system/multi-user.target", "[Unit]\nWants=docker.service\n"),
            (
                "etc/systemd/system/docker.service",
                "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --data-root /data/option\n",
            ),
        ]);
        let mut findings = Findings::default();
        let enabled = BootUnits::load(&root, &mut findings).enabled;
        let found = load(&root, &enabled, &mut findings);
        let expected = ["containerd", "docker", "joe", "joe-pods", "lxc", "option", "pods"];
        let mut expected: Vec<_> = expected.iter().map(|name| format!("data/{name}").into_bytes()).collect();
        expected.push(b"old".to_vec());
        assert_eq!(found, expected);
        assert!(findings.sorted().is_empty(), "{:?}", findings.sorted());
    }

    #[test]
    fn load_containers_and_volumes_are_reported() {
        let (_dir, root) = tree(&[
            ("etc/passwd", "joe:x:1000:1000::/home/joe:/bin/sh\n"),
            ("etc/docker/daemon.json", r#"{"data-root": "/data/docker"}"#),
            ("data/docker/containers/1a2b/config.v2.json", "{}"),
            ("data/docker/volumes/metadata.db", ""),
            ("data/docker/volumes/db/_data/x", ""),
            ("home/joe/.local/share/containers/storage/overlay-containers/containers.json", "[]"),
            ("home/joe/.local/share/containers/storage/overlay-containers/3c4d/userdata/config.json", "{}"),
            ("var/lib/lxc/web/rootfs/etc/hostname", "web"),
            ("var/lib/docker/overlay2/l/x", ""),
        ]);
        let mut findings = Findings::default();
        load(&root, &[], &mut findings);
        let counts = findings.sorted().into_iter().map(|finding| {
            let text = finding.text.split(" of a").next().unwrap_or_default().to_owned();
            format!("{} {text}", String::from_utf8_lossy(&finding.path))
        });
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [
                "data/docker 1 containers and 1 volumes",
                "home/joe/.local/share/containers/storage 1 containers and 0 volumes",
                "var/lib/lxc 1 containers and 0 volumes",
            ]
        );
    }

    #[test]
    fn option_of_dockerd_each_spelling_is_found() {
        for (command, expected) in [
            ("/usr/bin/dockerd --data-root=/d -H fd://", Some("/d")),
            ("/usr/sbin/dockerd -g /d", Some("/d")),
            ("/usr/bin/dockerd --graph /d", Some("/d")),
            ("/usr/bin/dockerd --data-root=$DIR", None),
            ("/usr/bin/dockerd", None),
            ("/usr/bin/other --data-root=/d", None),
        ] {
            let found = option_of_dockerd(command.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{command}");
        }
    }
}

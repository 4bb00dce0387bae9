//! Recognizes roots that are not those of a machine: containers, WSL, empty directories.

use crate::model::findings::{Findings, Kind};
use crate::system::root::Root;
use memchr::memmem;

/// Files that container engines create in a root: Docker, Podman, LXC and others
/// (`container_interface` of systemd).
const CONTAINER_FILES: &[&str] = &[".dockerenv", "run/.containerenv", "run/systemd/container"];

/// Reports a root that is not that of a machine as a warning: what its kernel, its init process or
/// its packages would show is missing.
pub fn report(root: &Root, has_packages: bool, findings: &mut Findings) {
    if let Some(sign) = container_sign(root) {
        let text = format!(
            "this is a container ({sign}): its image is the better source, and settings of its host are \
             not visible; run it on a machine, or build from the container's own image"
        );
        findings.warning(Kind::ForeignRoot, b"", text);
    } else if root.is_live() && is_wsl(&proc("/proc/version")) {
        let text = "this is Windows Subsystem for Linux: its kernel, network and mounts are those of Windows; \
                    files below /mnt are not included";
        findings.warning(Kind::ForeignRoot, b"", text);
    }
    let has = |path: &[u8]| root.stat(path).is_ok();
    if !has_packages && !has(b"etc/passwd") && !has(b"usr/lib/os-release") && !has(b"etc/os-release") {
        let text = "no operating system: neither accounts, release file nor packages; \
                    pass the root directory of the machine with --root";
        findings.warning(Kind::ForeignRoot, b"", text);
    }
}

/// Returns what shows that the root is that of a container.
fn container_sign(root: &Root) -> Option<String> {
    if let Some(file) = CONTAINER_FILES.iter().find(|file| root.stat(file.as_bytes()).is_ok()) {
        return Some(format!("/{file} exists"));
    }
    // The variable is that of the init process (systemd's "Container Interface").
    let environment = if root.is_live() { proc("/proc/1/environ") } else { Vec::new() };
    let is_set = environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(b"container="));
    is_set.then(|| "its init process has the variable `container`".to_owned())
}

/// Whether the text of `/proc/version` is that of Microsoft's kernel.
fn is_wsl(version: &[u8]) -> bool {
    memmem::find(&version.to_ascii_lowercase(), b"microsoft").is_some()
}

/// Reads a file of `/proc`; empty if it cannot be read, for example without root privileges.
fn proc(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::fixtures::tree;

    fn texts(files: &[(&str, &str)]) -> Vec<String> {
        let (_dir, root) = tree(files);
        let mut findings = Findings::default();
        report(&root, false, &mut findings);
        findings.sorted().into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn report_machine_has_no_warning() {
        assert!(texts(&[("etc/passwd", "root:x:0:0::/root:/bin/sh\n")]).is_empty());
    }

    #[test]
    fn report_containers_are_recognized() {
        for file in CONTAINER_FILES {
            let texts = texts(&[("etc/passwd", ""), (file, "")]);
            assert!(texts.len() == 1 && texts[0].contains(file), "{texts:?}");
        }
    }

    #[test]
    fn report_empty_directory_has_no_operating_system() {
        let texts = texts(&[("lost+found/x", "")]);
        assert!(texts.len() == 1 && texts[0].contains("--root"), "{texts:?}");
    }

    #[test]
    fn is_wsl_matches_both_generations() {
        assert!(is_wsl(b"Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"));
        assert!(is_wsl(b"Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host)"));
        assert!(!is_wsl(b"Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org)"));
    }
}

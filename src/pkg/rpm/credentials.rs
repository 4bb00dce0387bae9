//! Configuration files of yum, dnf, zypper and urpmi that contain passwords of repositories.

use crate::system::root::Root;

/// Directories of repository files and configuration parts.
const DIRECTORIES: [&[u8]; 7] = [
    b"etc/yum.repos.d",
    b"etc/distro.repos.d",
    b"etc/yum/repos.d",
    b"etc/zypp/repos.d",
    b"etc/zypp/services.d",
    b"etc/dnf/libdnf5.conf.d",
    b"etc/dnf/repos.override.d",
];
/// Main configuration files.
const FILES: [&[u8]; 5] = [
    b"etc/yum.conf",
    b"etc/dnf/dnf.conf",
    b"etc/zypp/zypp.conf",
    b"etc/urpmi/urpmi.cfg",
    b"etc/urpmi/proxy.cfg",
];

/// Returns the files that contain a password.
pub(super) fn files(root: &Root) -> Vec<Vec<u8>> {
    let names = |directory: &[u8]| root.list(directory).unwrap_or_default();
    let parts = DIRECTORIES.iter().flat_map(|directory| {
        names(directory).into_iter().map(move |name| [directory, &b"/"[..], &name].concat())
    });
    let all = parts.chain(FILES.iter().map(|path| path.to_vec()));
    all.filter(|path| root.read(path).is_ok_and(|content| holds_password(&content))).collect()
}

/// Whether an address contains `user:password@`, or an option is a password (dnf.conf(5)).
fn holds_password(content: &[u8]) -> bool {
    const OPTIONS: [&[u8]; 2] = [b"password", b"proxy_password"];
    content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).any(|line| {
        let option = line.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        let has_value = memchr::memchr(b'=', line).is_some_and(|at| !line[at + 1..].trim_ascii().is_empty());
        let is_option = has_value && OPTIONS.iter().any(|known| option.eq_ignore_ascii_case(known));
        let has_user = memchr::memmem::find_iter(line, b"://").any(|at| {
            let ends = |byte: &u8| matches!(byte, b'/' | b' ' | b'\t' | b',');
            line[at + 3..].split(ends).next().unwrap_or_default().contains(&b'@')
        });
        is_option || has_user
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_passwords_in_options_and_addresses_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/yum.repos.d/a.repo", "[a]\nbaseurl=https://a.example/x\nusername=u\n password = p\n"),
            ("etc/yum.repos.d/b.repo", "[b]\nbaseurl = https://b.example/ https://u:p@c.example/x\n"),
            ("etc/yum.repos.d/c.repo", "[c]\nname=me@c.example\nbaseurl=https://c.example/a@b\npassword=\n"),
            ("etc/zypp/repos.d/d.repo", "[d]\nbaseurl=https://d.example/?credentials=d\n"),
            ("etc/dnf/dnf.conf", "[main]\nproxy_password=p\n"),
            ("etc/urpmi/urpmi.cfg", "Core ftp://u:p@e.example/media {\n}\n"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = files(&Root::open(dir.path()).unwrap());
        let found: Vec<_> = found.iter().map(|path| std::str::from_utf8(path).unwrap()).collect();
        assert_eq!(
            found,
            ["etc/yum.repos.d/a.repo", "etc/yum.repos.d/b.repo", "etc/dnf/dnf.conf", "etc/urpmi/urpmi.cfg"]
        );
    }
}

//! The account files, which package scripts and sysusers.d(5) write.

use crate::system::root::Root;

/// Account files.
pub(in crate::pkg) const FILES: &[&[u8]] =
    &[b"etc/passwd", b"etc/group", b"etc/shadow", b"etc/gshadow", b"etc/subuid", b"etc/subgid"];

/// Whether all accounts are system accounts without a password: IDs below 1000, and the
/// account of ID 65534 (Debian Policy, 9.2.2).
pub(in crate::pkg) fn only_system(root: &Root) -> bool {
    let read = |path: &[u8]| root.read(path).unwrap_or_default();
    let has_system_ids = |path: &[u8]| {
        lines(&read(path)).all(|line| {
            let number =
                line.split(|&byte| byte == b':').nth(2).and_then(|field| std::str::from_utf8(field).ok());
            number
                .and_then(|number| number.parse().ok())
                .is_some_and(|number: u32| number < 1000 || number == 65534)
        })
    };
    let has_no_password = |line: &[u8]| {
        let field = line.split(|&byte| byte == b':').nth(1);
        field.is_some_and(|hash| hash.is_empty() || hash.starts_with(b"!") || hash.starts_with(b"*"))
    };
    has_system_ids(b"etc/passwd")
        && has_system_ids(b"etc/group")
        && lines(&read(b"etc/shadow")).all(has_no_password)
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_accounts_user_account_or_password_returns_false() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("etc")).unwrap();
        let system = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        for (passwd, shadow, expected) in [
            (system.to_owned(), "root:*:1::::::\n", true),
            (system.to_owned(), "root:$y$j9T$x:1::::::\n", false),
            (format!("{system}ada:x:1000:1000::/home/ada:/bin/sh\n"), "root:!:1::::::\n", false),
            (format!("{system}garbage\n"), "root:!:1::::::\n", false),
        ] {
            std::fs::write(top.path().join("etc/passwd"), &passwd).unwrap();
            std::fs::write(top.path().join("etc/group"), "root:x:0:\n").unwrap();
            std::fs::write(top.path().join("etc/shadow"), shadow).unwrap();
            assert_eq!(only_system(&Root::open(top.path()).unwrap()), expected, "{passwd}{shadow}");
        }
    }
}

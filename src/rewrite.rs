//! Files whose content in the image differs from the machine's, independent of the package
//! manager.
//!
//! The functions are pure, from bytes to bytes, and print no part of their input.

/// Returns the content of the file at `path` for the image, or `None` if no rule rewrites that
/// path.
pub fn rewrite(path: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    Some(match path {
        b"etc/machine-id" | b"var/lib/dbus/machine-id" => Vec::new(),
        b"etc/shadow" | b"etc/gshadow" => lock_passwords(content, b"!*"),
        b"etc/passwd" => lock_passwords(content, b"x"),
        _ => return None,
    })
}

/// Replaces the second field of each line if it contains a hash (shadow(5), gshadow(5),
/// passwd(5)).
///
/// Other values stay: empty, `*`, `!`, `!*`, `!!`, `x`. A locked hash (`!$6$...`) counts as a
/// hash.
fn lock_passwords(content: &[u8], locked: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| -> Vec<u8> {
        let mut fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        if fields.len() > 1 && holds_hash(fields[1]) {
            fields[1] = locked;
        }
        fields.join(&b':')
    };
    let lines: Vec<Vec<u8>> = content.split(|&byte| byte == b'\n').map(line).collect();
    lines.join(&b'\n')
}

fn holds_hash(field: &[u8]) -> bool {
    let marks: &[u8] = b"!*";
    field != b"x" && field.iter().any(|byte| !marks.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str, content: &str) -> String {
        String::from_utf8(rewrite(path.as_bytes(), content.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn rewrite_account_files_locks_hashes_only() {
        let shadow = "root:$y$j9T$abc:19000:0:99999:7:::\ndaemon:*:1::::::\nlocked:!$6$x:1::::::\nnew:!:1::::::\nopen::1::::::\nold:abcdefghijklm:1::::::\n";
        let expected = "root:!*:19000:0:99999:7:::\ndaemon:*:1::::::\nlocked:!*:1::::::\nnew:!:1::::::\nopen::1::::::\nold:!*:1::::::\n";
        assert_eq!(rewritten("etc/shadow", shadow), expected);
        assert_eq!(rewritten("etc/passwd", "a:x:1:1::/:\nb:hash:2:2::/:"), "a:x:1:1::/:\nb:x:2:2::/:");
        assert_eq!(rewritten("etc/gshadow", "adm:*::\nwheel:$1$z::root\n"), "adm:*::\nwheel:!*::root\n");
    }

    #[test]
    fn rewrite_machine_id_empties_it_and_other_files_are_left() {
        assert_eq!(rewritten("etc/machine-id", "0123456789abcdef\n"), "");
        assert!(rewrite(b"etc/fstab", b"x").is_none());
    }
}

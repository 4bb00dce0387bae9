//! Files that are in the image with other content than on the machine, worked out from the machine's.
//!
//! Pure functions from bytes to bytes; nothing that they are given is ever printed.

/// Works out the content of the file at `path`, or nothing if no rule rewrites that path.
///
/// `is_dropped` tells by name and architecture which packages are not in the image.
pub fn rewrite(path: &[u8], content: &[u8], is_dropped: &dyn Fn(&[u8], &[u8]) -> bool) -> Option<Vec<u8>> {
    Some(match path {
        b"etc/machine-id" | b"var/lib/dbus/machine-id" => Vec::new(),
        b"etc/shadow" | b"etc/gshadow" => lock_passwords(content, b"!*"),
        b"etc/passwd" => lock_passwords(content, b"x"),
        b"var/lib/dpkg/status" | b"var/lib/apt/extended_states" => without_stanzas(content, is_dropped),
        _ => return None,
    })
}

/// Replaces the second field of each line where it holds a hash (`shadow(5)`, `gshadow(5)`, `passwd(5)`).
///
/// What is no hash stays: empty, `*`, `!`, `!*`, `!!`, `x`. A locked hash (`!$6$...`) is a hash.
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

/// Leaves out the stanzas of packages that are not in the image; all other bytes stay.
fn without_stanzas(content: &[u8], is_dropped: &dyn Fn(&[u8], &[u8]) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(content.len());
    let mut rest = content;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\n\n")
            .map_or(rest.len(), |at| at + rest[at..].iter().take_while(|&&byte| byte == b'\n').count());
        let (stanza, tail) = rest.split_at(end);
        rest = tail;
        let name = field(stanza, b"Package").unwrap_or_default();
        let architecture = field(stanza, b"Architecture").unwrap_or_default();
        if !is_dropped(name, architecture) {
            kept.extend_from_slice(stanza);
        }
    }
    kept
}

/// The value of a one-line field; names are compared without case (`deb822(5)`).
fn field<'a>(stanza: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    stanza.split(|&byte| byte == b'\n').find_map(|line| {
        let (label, value) = line.split_at(memchr::memchr(b':', line)?);
        label.eq_ignore_ascii_case(name).then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str, content: &str) -> String {
        let dropped = |name: &[u8], architecture: &[u8]| name == b"linux-image" && architecture == b"amd64";
        String::from_utf8(rewrite(path.as_bytes(), content.as_bytes(), &dropped).unwrap()).unwrap()
    }

    #[test]
    fn hashes_go_and_accounts_stay() {
        let shadow = "root:$y$j9T$abc:19000:0:99999:7:::\ndaemon:*:1::::::\nlocked:!$6$x:1::::::\nnew:!:1::::::\nopen::1::::::\nold:abcdefghijklm:1::::::\n";
        let expected = "root:!*:19000:0:99999:7:::\ndaemon:*:1::::::\nlocked:!*:1::::::\nnew:!:1::::::\nopen::1::::::\nold:!*:1::::::\n";
        assert_eq!(rewritten("etc/shadow", shadow), expected);
        assert_eq!(rewritten("etc/passwd", "a:x:1:1::/:\nb:hash:2:2::/:"), "a:x:1:1::/:\nb:x:2:2::/:");
        assert_eq!(rewritten("etc/gshadow", "adm:*::\nwheel:$1$z::root\n"), "adm:*::\nwheel:!*::root\n");
    }

    #[test]
    fn dropped_packages_leave_the_database_and_nothing_else_changes() {
        let status = "Package: a\nStatus: install ok installed\n\npackage: linux-image\nArchitecture: amd64\nDescription: x\n .\n\nPackage: z\nArchitecture: amd64\n";
        let expected = "Package: a\nStatus: install ok installed\n\nPackage: z\nArchitecture: amd64\n";
        assert_eq!(rewritten("var/lib/dpkg/status", status), expected);
        assert_eq!(rewritten("var/lib/dpkg/status", ""), "");
        assert_eq!(rewritten("var/lib/apt/extended_states", expected), expected);
    }

    #[test]
    fn machine_numbers_go() {
        assert_eq!(rewritten("etc/machine-id", "0123456789abcdef\n"), "");
        assert!(rewrite(b"etc/fstab", b"x", &|_, _| false).is_none());
    }
}

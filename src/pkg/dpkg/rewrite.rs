//! Removes dropped packages from dpkg's and apt's databases.

/// Returns the database file at `path` without the packages that `is_dropped` selects by name and
/// architecture. `None` if `path` is not such a file.
pub fn rewrite(path: &[u8], content: &[u8], is_dropped: &dyn Fn(&[u8], &[u8]) -> bool) -> Option<Vec<u8>> {
    match path {
        b"var/lib/dpkg/status" | b"var/lib/apt/extended_states" => Some(without_stanzas(content, is_dropped)),
        _ => None,
    }
}

/// Removes the stanzas of dropped packages; all other bytes stay.
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

/// Returns the value of a one-line field. Names of fields are case-insensitive (deb822(5)).
fn field<'a>(stanza: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    stanza.split(|&byte| byte == b'\n').find_map(|line| {
        let (label, value) = line.split_at(memchr::memchr(b':', line)?);
        label.eq_ignore_ascii_case(name).then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrite_dropped_packages_are_removed_and_other_bytes_stay() {
        let rewritten = |path: &str, content: &str| {
            let dropped =
                |name: &[u8], architecture: &[u8]| name == b"linux-image" && architecture == b"amd64";
            String::from_utf8(rewrite(path.as_bytes(), content.as_bytes(), &dropped).unwrap()).unwrap()
        };
        let status = "Package: a\nStatus: install ok installed\n\npackage: linux-image\nArchitecture: amd64\nDescription: x\n .\n\nPackage: z\nArchitecture: amd64\n";
        let expected = "Package: a\nStatus: install ok installed\n\nPackage: z\nArchitecture: amd64\n";
        assert_eq!(rewritten("var/lib/dpkg/status", status), expected);
        assert_eq!(rewritten("var/lib/dpkg/status", ""), "");
        assert_eq!(rewritten("var/lib/apt/extended_states", expected), expected);
        assert!(rewrite(b"etc/fstab", b"x", &|_, _| false).is_none());
    }
}

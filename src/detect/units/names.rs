//! Splits names of units into their parts (`systemd.unit(5)`, `systemd-escape(1)`).

/// Types of units, which are the suffixes of their names.
const TYPES: &[&str] = &[
    "automount",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "socket",
    "swap",
    "target",
    "timer",
];
/// Maximum length of a unit name in bytes (`UNIT_NAME_MAX` of systemd).
const MAX_NAME: usize = 255;

/// Returns the type of a unit (`service`), or `None` if the name is not a valid unit name.
pub fn unit_type(name: &[u8]) -> Option<&'static str> {
    let dot = memchr::memrchr(b'.', name).filter(|&dot| dot > 0 && name.len() <= MAX_NAME)?;
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(byte);
    if !name.iter().all(is_valid) || name[0] == b'@' {
        return None;
    }
    TYPES.iter().find(|kind| kind.as_bytes() == &name[dot + 1..]).copied()
}

/// Returns the name without its type.
pub fn stem(name: &[u8]) -> &[u8] {
    memchr::memrchr(b'.', name).map_or(name, |dot| &name[..dot])
}

/// Returns the part before the `@`, or the name without its type.
pub fn prefix(name: &[u8]) -> &[u8] {
    let stem = stem(name);
    memchr::memchr(b'@', stem).map_or(stem, |at| &stem[..at])
}

/// Returns the part between the `@` and the type: empty for a template, `None` for other units.
pub fn instance(name: &[u8]) -> Option<&[u8]> {
    let stem = stem(name);
    memchr::memchr(b'@', stem).map(|at| &stem[at + 1..])
}

/// Returns the name of an instance's template.
pub fn template(name: &[u8]) -> Option<Vec<u8>> {
    instance(name).filter(|instance| !instance.is_empty()).map(|_| with_instance(name, b""))
}

/// Returns the name with another instance.
pub fn with_instance(name: &[u8], instance: &[u8]) -> Vec<u8> {
    let suffix = &name[stem(name).len()..];
    [prefix(name), b"@", instance, suffix].concat()
}

/// Returns the name with another type.
pub fn with_type(name: &[u8], kind: &str) -> Vec<u8> {
    [stem(name), b".", kind.as_bytes()].concat()
}

/// Undoes the escapes of a name: `-` is a slash, `\xNN` a byte.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'-', _) => bytes.push(b'/'),
            (b'\\', [b'x', digits @ ..]) if digits.len() >= 2 => {
                match crate::model::escape::unhex::<1>(&digits[..2]) {
                    Some([byte]) => {
                        bytes.push(byte);
                        rest = &digits[2..];
                    }
                    None => bytes.push(b'\\'),
                }
            }
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// Returns the path that an escaped name encodes.
pub fn unescape_path(text: &[u8]) -> Vec<u8> {
    let path = unescape(text);
    if path.starts_with(b"/") { path } else { [b"/", path.as_slice()].concat() }
}

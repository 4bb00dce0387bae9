//! Classification of values at places where a secret could be.

/// Values that documentation and templates have, in lower case.
pub(super) const DUMMIES: &[&str] = &[
    "admin",
    "bar",
    "baz",
    "changeit",
    "changeme",
    "default",
    "dummy",
    "example",
    "false",
    "foo",
    "guest",
    "hunter2",
    "key",
    "letmein",
    "mypass",
    "mypassword",
    "mysecret",
    "nil",
    "no",
    "none",
    "nopassword",
    "null",
    "off",
    "on",
    "pass",
    "passphrase",
    "passw0rd",
    "passwd",
    "password",
    "password1",
    "password123",
    "placeholder",
    "prompt",
    "pw",
    "pwd",
    "redacted",
    "root",
    "s3cr3t",
    "secret",
    "test",
    "testpass",
    "token",
    "true",
    "undefined",
    "unset",
    "user",
    "username",
    "value",
    "yes",
];
/// Parts that only those have.
const DUMMY_PARTS: &[&str] = &[
    "changeme",
    "change_me",
    "change-me",
    "example",
    "placeholder",
    "your_",
    "your-",
    "yourpass",
    "replace_",
    "replaceme",
];

/// Whether a value stands for another one: nothing, a dummy, a variable, a field of a template.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |part: &[u8]| memchr::memmem::find(&lower, part).is_some();
    let is_mask =
        lower.iter().all(|byte| b"x*.-_#?0 ".contains(byte)) || lower.windows(2).all(|two| two[0] == two[1]);
    is_mask
        || DUMMIES.binary_search_by(|dummy| dummy.as_bytes().cmp(&lower)).is_ok()
        || DUMMY_PARTS.iter().any(|part| has(part.as_bytes()))
        || lower.ends_with(b"...")
        || is_template(value)
}

/// Whether the value is a placeholder: `${X}`, `$(x)`, `$X`, `{{x}}`, `<x>`, `%(x)s`, `@X@`,
/// `%s`.
fn is_template(value: &[u8]) -> bool {
    let has = |part: &[u8]| memchr::memmem::find(value, part).is_some();
    let is_name =
        |name: &[u8]| !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
    match value {
        [b'$', name @ ..] if is_name(name) => return true,
        [b'@', name @ .., b'@'] if is_name(name) => return true,
        [b'<', .., b'>'] | [b'[', .., b']'] | [b'{', .., b'}'] | [b'%', .., b'%'] => return true,
        _ => {}
    }
    [&b"${"[..], b"$(", b"{{", b"<%", b"%s", b"%(", b"%v", b"#{"].iter().any(|part| has(part))
}

/// How many of the first bytes are base64 (RFC 4648, either alphabet, without padding).
pub(super) fn base64_run(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
}

/// How many of the first bytes are of a class.
pub(super) fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !is(byte)).unwrap_or(bytes.len())
}

/// The bytes without spaces at their beginning; line ends are none.
pub(super) fn unspaced(bytes: &[u8]) -> &[u8] {
    &bytes[run(bytes, |byte| byte == b' ' || byte == b'\t')..]
}

/// Whether a token is as mixed as random ones are: letters of both cases or digits among letters.
pub(super) fn is_mixed(token: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| token.iter().any(is);
    let classes = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    classes.into_iter().filter(|is| has(*is)).count() >= 2 && entropy(token) >= 3.0
}

/// Shannon's entropy in bits a byte.
pub(super) fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    value.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    let length = value.len() as f32;
    let share = |count: u32| count as f32 / length;
    counts.into_iter().filter(|&count| count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

/// Decodes base64 of either alphabet up to the first byte that is not base64. Skips spaces, line
/// ends and their escapes.
pub(super) fn decode_base64(text: &[u8], most: usize) -> Vec<u8> {
    let mut decoded = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'\\' if matches!(tail, [b'n' | b'r', ..]) => {
                rest = &tail[1..];
                continue;
            }
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
        }
        if decoded.len() >= most {
            break;
        }
    }
    decoded
}

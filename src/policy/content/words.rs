//! Bytes and their classes.

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

//! Values after a name that marks them as secret: `password = x`, `"apiKey": "x"`,
//! `define('DB_PASSWORD', 'x')`, `<password>x</password>`, `requirepass x`.

use super::words::{entropy, is_placeholder, run, unspaced};
use super::{Detection, Kind, Secret, View};
use crate::policy::names;

/// Shorter values, or less mixed ones, are words.
const SHORTEST: usize = 8;
const LEAST_ENTROPY: f32 = 3.0;
/// Configuration gives shorter ones too.
const SHORTEST_CONFIGURED: usize = 3;
/// Longer values are texts.
const LONGEST: usize = 512;

/// Judges the value that belongs to the name around the anchor.
pub(super) fn assignment(view: &View<'_>) -> Option<Detection> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let before = view.before();
    let before = &before[before.len().saturating_sub(64)..];
    let start = before.len() - before.iter().rev().take_while(|byte| is_name(**byte)).count();
    let after = view.after();
    let end = run(&after[..after.len().min(64)], is_name);
    let name = [&before[start..], &after[..end]].concat();
    let commented = is_commented(&before[..start]);
    let value = value_after(&after[end..], view.kind)?;
    if commented || !is_secret(&name) {
        return None;
    }
    let is_digits = value.iter().all(u8::is_ascii_digit);
    let is_path = value.starts_with(b"/") || value.starts_with(b"./") || value.starts_with(b"~/");
    if is_placeholder(value) || is_path || value.eq_ignore_ascii_case(&name) {
        return None;
    }
    match view.kind {
        Kind::Configuration if value.len() >= SHORTEST_CONFIGURED && !(is_digits && value.len() < 6) => {
            Some(Detection::certain(Secret::Password))
        }
        Kind::Any if value.len() >= SHORTEST && entropy(value) >= LEAST_ENTROPY && !is_digits => {
            Some(Detection::likely(Secret::Password))
        }
        _ => None,
    }
}

/// Whether the line's beginning says that the rest is not meant.
fn is_commented(line: &[u8]) -> bool {
    let start = memchr::memrchr(b'\n', line).map_or(0, |end| end + 1);
    let line = unspaced(&line[start..]);
    line.starts_with(b"#") || line.starts_with(b";") || line.starts_with(b"//")
}

fn is_secret(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"--").unwrap_or(name);
    // Settings of Redis and SNMP whose names the general rules do not cover.
    names::is_secret(name) || matches!(name, b"requirepass" | b"masterauth" | b"rocommunity" | b"rwcommunity")
}

/// The literal value after a name; what is computed is none.
fn value_after(rest: &[u8], kind: Kind) -> Option<&[u8]> {
    let quotes = b"\"'";
    let quoted = rest.first().is_some_and(|byte| quotes.contains(byte));
    let rest = if quoted { &rest[1..] } else { rest };
    let rest = rest.strip_prefix(b"]").unwrap_or(rest);
    let spaced = unspaced(rest);
    let value = match spaced {
        [b'=', b'>', value @ ..] | [b':', b'=', value @ ..] => value,
        [b'=', b'=', ..] | [b'=', b'~', ..] => return None,
        [b'=' | b':', value @ ..] => value,
        [b'>', value @ ..] if !quoted && rest.len() == spaced.len() => return Some(upto(value, b"<\n")),
        [b',', value @ ..] if quoted && unspaced(value).first().is_some_and(|byte| quotes.contains(byte)) => {
            value
        }
        value if kind == Kind::Configuration && rest.len() > value.len() && !quoted => value,
        _ => return None,
    };
    let value = unspaced(value);
    match value {
        [quote, value @ ..] if quotes.contains(quote) => Some(upto(value, &[*quote, b'\n'])),
        _ => {
            let value = upto(value, b" \t\r\n,;\"'");
            // A call, an index, an interpolation.
            (!value.iter().any(|byte| b"(){}[]".contains(byte)) && !value.is_empty()).then_some(value)
        }
    }
}

fn upto<'a>(value: &'a [u8], ends: &[u8]) -> &'a [u8] {
    let value = &value[..value.len().min(LONGEST)];
    &value[..run(value, |byte| !ends.contains(&byte))]
}

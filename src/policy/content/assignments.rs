//! Values after a name that marks them as secret, in the forms of configuration and source code:
//!
//! | form | example |
//! |---|---|
//! | assignment | `password = x`, `"apiKey": "x"`, `'password' => 'x'`, `$c['password'] = 'x'` |
//! | call, row | `define('DB_PASSWORD', 'x')`, `VALUES ('smtp_password','x')` |
//! | XML | `<password>x</password>`, `name="password" value="x"`, `<key>password</key><string>x` |
//! | pair | `{"name": "DB_PASSWORD", "value": "x"}`, `- name: DB_PASSWORD`, next line `value: x` |
//! | words | `requirepass x`, `--password x`, `IDENTIFIED BY 'x'` |

use super::values::{self, Strength};
use super::words::{run, unspaced};
use super::{Detection, Secret, Tier, View};
use crate::policy::names::{self, Meaning};

/// Minimum length of a value in files that are configuration of programs with passwords.
const SHORTEST_CONFIGURED: usize = 3;
/// Shorter values that do not look random are words in other files.
const SHORTEST: usize = 8;
/// Longer values are texts.
const LONGEST: usize = 512;
/// Bytes before and after an anchor that a name has.
const LONGEST_NAME: usize = 64;
/// Bytes of XML attributes between a name and its value.
const LONGEST_TAG: usize = 256;
const QUOTES: &[u8] = b"\"'`";

/// A value and how it belongs to its name.
struct Value<'a> {
    bytes: &'a [u8],
    /// Whether only a space is between name and value, so that the name can be a word of a text.
    is_spaced: bool,
    /// Whether it is the last of its line.
    is_last: bool,
}

/// Judges the value that belongs to the name around the anchor.
pub(super) fn assignment(view: &View<'_>) -> Option<Detection> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let before = view.before();
    let before = &before[before.len().saturating_sub(LONGEST_NAME)..];
    let start = before.len() - before.iter().rev().take_while(|byte| is_name(**byte)).count();
    let after = view.after();
    let end = run(&after[..after.len().min(LONGEST_NAME)], is_name);
    // A letter after the name belongs to a word of another alphabet.
    let value = value_after(&before[..start], &after[end..])?;
    let name = [&before[start..], &after[..end]].concat();
    let name = name.strip_suffix(b".").unwrap_or(&name);
    let meaning = names::meaning(name)?;
    if value.bytes.eq_ignore_ascii_case(name) {
        return None;
    }
    // Two words between the bytes of a binary file are not a line of configuration.
    let is_binary = |bytes: &[u8]| {
        let line = &bytes[memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1)..];
        line.iter().any(|byte| byte.is_ascii_control() && !b"\t\r\x0c".contains(byte))
    };
    if value.is_spaced && is_binary(before) {
        return None;
    }
    let found = judge_value(&value, meaning, view.kind.tier)?;
    // Old passwords in comments are often still valid, but examples are in comments too.
    let line = view.before();
    match is_commented(&line[..line.len() - (before.len() - start)]) {
        true if values::is_random(value.bytes) && view.kind.tier > Tier::Data => {
            Some(Detection { certain: false, ..found })
        }
        true => None,
        false => Some(found),
    }
}

/// `IDENTIFIED BY 'x'` of SQL.
pub(super) fn identified(view: &View<'_>) -> Option<Detection> {
    let value = literal(unspaced(&view.after()[12..]).strip_prefix(b"'")?, Some(b'\''));
    judge(value, Meaning::Password, view.kind.tier)
}

/// Returns what a value is that is named like this, in a file of this tier.
pub(super) fn judge(value: &[u8], meaning: Meaning, tier: Tier) -> Option<Detection> {
    judge_value(&Value { bytes: value, is_spaced: false, is_last: true }, meaning, tier)
}

fn judge_value(value: &Value<'_>, meaning: Meaning, tier: Tier) -> Option<Detection> {
    let bytes = value.bytes;
    let is_digits = bytes.iter().all(u8::is_ascii_digit);
    // Values in configuration can have an old encoding; databases and media have bytes at random.
    let is_encoded = tier >= Tier::Settings || std::str::from_utf8(bytes).is_ok();
    let is_text = is_encoded && !bytes.iter().any(u8::is_ascii_control);
    if !is_text
        || bytes.len() > LONGEST
        || values::is_placeholder(bytes)
        || values::is_path(bytes)
        || is_reference(bytes)
    {
        return None;
    }
    let is_web_token = bytes.starts_with(b"eyJ") && memchr::memchr_iter(b'.', bytes).count() == 2;
    let secret = match meaning {
        _ if is_web_token => Secret::WebToken,
        Meaning::Password => Secret::Password,
        Meaning::Token | Meaning::Key => Secret::AccessToken,
    };
    let (certain, likely) = (Detection::certain(secret), Detection::likely(secret));
    let strength = values::strength(bytes);
    let is_word = strength == Strength::Word;
    match tier {
        // Words of a text, as in `password requisite pam_deny.so`.
        _ if value.is_spaced && is_word && (!value.is_last || meaning < Meaning::Password) => None,
        Tier::Configuration if bytes.len() >= SHORTEST_CONFIGURED && !(is_digits && bytes.len() < 6) => {
            Some(certain)
        }
        Tier::Settings => match (meaning, strength) {
            (Meaning::Key, Strength::Random) if value.is_spaced => Some(likely),
            (_, Strength::Random) | (Meaning::Password, Strength::Plain) => Some(certain),
            (Meaning::Token, Strength::Plain) => Some(likely),
            (Meaning::Password, Strength::Word) if !value.is_spaced && bytes.len() >= 6 && !is_digits => {
                Some(likely)
            }
            _ => None,
        },
        Tier::Data => match (meaning, strength) {
            (Meaning::Password | Meaning::Token, Strength::Random) => Some(certain),
            (Meaning::Key, Strength::Random) => Some(likely),
            (Meaning::Password | Meaning::Token, Strength::Plain) if bytes.len() >= SHORTEST => Some(likely),
            _ => None,
        },
        Tier::Code => {
            (strength == Strength::Random && meaning > Meaning::Key && !value.is_spaced).then_some(likely)
        }
        Tier::Configuration => None,
    }
}

/// A value in another place: of Vault, of a cloud, encrypted by the tool that reads the file.
fn is_reference(value: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 8] =
        [b"vault:", b"ref+", b"arn:", b"projects/", b"ENC[", b"secret:", b"env:", b"op://"];
    PREFIXES.iter().any(|prefix| value.starts_with(prefix)) || memchr::memmem::find(value, b"://").is_some()
}

/// Whether the line's beginning says that the rest is not meant.
fn is_commented(line: &[u8]) -> bool {
    let start = memchr::memrchr(b'\n', line).map_or(0, |end| end + 1);
    let line = unspaced(&line[start..]);
    [&b"#"[..], b";", b"//", b"<!--", b"/*", b"* ", b"-- ", b"dnl "].iter().any(|mark| line.starts_with(mark))
}

/// Returns the literal value after a name; what is computed is none.
fn value_after<'a>(before: &[u8], rest: &'a [u8]) -> Option<Value<'a>> {
    let separated = |bytes| Some(Value { bytes, is_spaced: false, is_last: true });
    // The name of an element, with a prefix: `<x:password type="plain">`.
    let is_element = before.ends_with(b"<")
        || before.ends_with(b":")
            && memchr::memrchr(b'<', before)
                .is_some_and(|at| before[at + 1..before.len() - 1].iter().all(u8::is_ascii_alphanumeric));
    if is_element {
        return separated(element(rest)?);
    }
    let escapes = run(rest, |byte| byte == b'\\');
    let quote = rest.get(escapes).copied().filter(|byte| QUOTES.contains(byte));
    let rest = if quote.is_some() { &rest[escapes + 1..] } else { rest };
    let rest = rest.strip_prefix(b"]").unwrap_or(rest);
    let rest = rest.strip_prefix(b"?").unwrap_or(rest);
    // `before` begins in the tag, unless the name is far from its beginning.
    let is_in_tag = memchr::memrchr2(b'<', b'>', before).is_some_and(|at| before[at] == b'<');
    if let Some(value) = pair(rest).or_else(|| attribute(rest, quote.is_some() && is_in_tag)) {
        return separated(value);
    }
    let spaced = unspaced(rest);
    let value = match spaced {
        [b':', b':', b' ', value @ ..] => return separated(literal(unspaced(value), None)),
        [b'=', b'>', value @ ..] | [b':' | b'?' | b'+', b'=', value @ ..] => value,
        [b'=', b'=' | b'~', ..] | [b':', b':', ..] => return None,
        [b'=' | b':', value @ ..] => value,
        [b'|', b'=' | b'|', ..] => return None,
        [b',', value @ ..]
            if quote.is_some() && unspaced(value).first().is_some_and(|byte| QUOTES.contains(byte)) =>
        {
            value
        }
        value if rest.len() > value.len() && quote.is_none() && !value.is_empty() => {
            let bytes = scalar(value)?;
            let is_quoted = QUOTES.contains(&value[0]);
            let end = value.len().min(bytes.len() + if is_quoted { 2 } else { 0 });
            let tail = unspaced(&value[end..]);
            let is_last = is_quoted || tail.first().is_none_or(|byte| b"\r\n;".contains(byte));
            return Some(Value { bytes, is_spaced: true, is_last });
        }
        _ => return None,
    };
    separated(scalar(unspaced(value))?)
}

/// `>x<` after the name of an element and its attributes.
fn element(rest: &[u8]) -> Option<&[u8]> {
    let head = &rest[..rest.len().min(LONGEST_TAG)];
    let end = memchr::memchr2(b'>', b'<', head)?;
    if head[end] != b'>'
        || head[..end].ends_with(b"/")
        || !matches!(head[0], b'>' | b' ' | b'\t' | b'\r' | b'\n')
    {
        return None;
    }
    let content = rest[end + 1..].strip_prefix(b"<![CDATA[").unwrap_or(&rest[end + 1..]);
    let value = upto(content, b"<]\n");
    // A placeholder in angle brackets begins like an element and has no end.
    let tail = content[value.len()..].trim_ascii_start();
    (tail.starts_with(b"</") || tail.starts_with(b"]]>")).then(|| value.trim_ascii())
}

/// A value in an attribute after `name="password"`, or in the element that this attribute names;
/// in the next element after `<key>password</key>`.
fn attribute(rest: &[u8], is_quoted: bool) -> Option<&[u8]> {
    if let Some(tail) = rest.strip_prefix(b"</") {
        let end = memchr::memchr(b'>', &tail[..tail.len().min(LONGEST_NAME)])?;
        let next = tail[end + 1..].trim_ascii_start().strip_prefix(b"<")?;
        return element(&next[run(next, |byte| byte.is_ascii_alphanumeric())..]);
    }
    if !is_quoted || !matches!(rest.first(), Some(b' ' | b'\t' | b'\r' | b'\n' | b'>')) {
        return None;
    }
    let head = &rest[..rest.len().min(LONGEST_TAG)];
    let end = memchr::memchr2(b'>', b'<', head).unwrap_or(head.len());
    for name in [&b"value="[..], b"Value=", b"VALUE=", b"content="] {
        if let Some(at) = memchr::memmem::find(&head[..end], name)
            && let Some(quote) = head.get(at + name.len()).copied().filter(|byte| QUOTES.contains(byte))
        {
            return Some(literal(&rest[at + name.len() + 1..], Some(quote)));
        }
    }
    let is_attributes = head[..end].iter().all(|byte| !b"{};".contains(byte));
    (head.get(end) == Some(&b'>') && is_attributes && !head[..end].ends_with(b"/"))
        .then(|| upto(&rest[end + 1..], b"<\n").trim_ascii())
}

/// The value of a pair whose name is a value itself: a second key follows that is called `value`.
fn pair(rest: &[u8]) -> Option<&[u8]> {
    let tail = rest.strip_prefix(b",").unwrap_or(rest);
    let trimmed = tail.trim_ascii_start();
    if trimmed.len() == rest.len() || rest.len() - trimmed.len() > LONGEST_NAME {
        return None;
    }
    let key = &trimmed[run(trimmed, |byte| QUOTES.contains(&byte))..];
    let names = [&b"value"[..], b"Value", b"VALUE", b"default", b"stringValue", b"val"];
    let after = names.iter().find_map(|name| key.strip_prefix(*name))?;
    let after = unspaced(&after[run(after, |byte| QUOTES.contains(&byte))..]);
    scalar(unspaced(
        after
            .strip_prefix(b":")
            .or_else(|| after.strip_prefix(b"=>"))
            .or_else(|| after.strip_prefix(b"="))?,
    ))
}

/// A quoted or plain scalar.
fn scalar(value: &[u8]) -> Option<&[u8]> {
    // Prefixes of strings in Python, C# and Rust; escaped quotes in strings.
    let prefixed = match value {
        [b'b' | b'r' | b'u' | b'B' | b'R' | b'U' | b'@' | b'L', quote, ..] if QUOTES.contains(quote) => {
            &value[1..]
        }
        _ => value,
    };
    let escapes = run(prefixed, |byte| byte == b'\\');
    match prefixed.get(escapes) {
        Some(quote) if QUOTES.contains(quote) => {
            let inner = literal(&prefixed[escapes + 1..], Some(*quote));
            Some(if escapes > 0 { inner.strip_suffix(b"\\").unwrap_or(inner) } else { inner })
        }
        _ => {
            // YAML's block scalars continue on the next line.
            if let [b'|' | b'>', block @ ..] = value {
                let block = &block[run(block, |byte| b"+-0123456789".contains(&byte))..];
                let block = block.strip_prefix(b"\r").unwrap_or(block).strip_prefix(b"\n")?;
                return Some(upto(unspaced(block), b" \t\r\n"));
            }
            let value = literal(value, None);
            // A type and then the value: `password: str = "x"`.
            (!value.is_empty() && !is_call(value)).then_some(value)
        }
    }
}

/// Whether a plain value is computed: a call, an index, a list.
fn is_call(value: &[u8]) -> bool {
    let at = run(value, |byte| !b"([{".contains(&byte));
    at < value.len() && (at == 0 || !values::is_random(value))
}

/// The text up to the closing quote; without one, up to a space or what separates values.
fn literal(value: &[u8], quote: Option<u8>) -> &[u8] {
    if let Some(quote) = quote {
        return upto(value, &[quote, b'\n']);
    }
    let value = upto(value, b" \t\r\n\"'`<>\\");
    let ends = |at: &usize| {
        let tail = &value[at + 1..];
        let name = run(tail, |byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        tail.is_empty() || name > 0 && tail.get(name) == Some(&b'=')
    };
    let separators = value.iter().enumerate().filter(|(_, byte)| b",;&|".contains(byte)).map(|(at, _)| at);
    // Each separator is looked at once, and what follows it up to the next one.
    let end = separators.take(8).find(ends).unwrap_or(value.len());
    let value = &value[..end];
    value.strip_suffix(b")").filter(|value| !value.contains(&b'(')).unwrap_or(value)
}

fn upto<'a>(value: &'a [u8], ends: &[u8]) -> &'a [u8] {
    let value = &value[..value.len().min(LONGEST + 1)];
    &value[..run(value, |byte| !ends.contains(&byte))]
}

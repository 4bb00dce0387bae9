//! Bytes from the machine as text that is safe to print, and back.
//!
//! Paths are bytes. Wherever one reaches a terminal, a JSON document or a line
//! of a list it is escaped here: valid, printable UTF-8 stays as it is,
//! everything that could end a line, move a cursor, reorder text or is not
//! UTF-8 becomes `\xNN` byte by byte, and the backslash becomes `\\`. The form
//! is reversible, so it is also what the manifest stores.

use std::fmt::Write;

/// `bytes` as one line of printable text; [`unescape`] gives the bytes back.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                c if is_unsafe(c) => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// The path (relative to the root, as the tree holds it) as people write it: absolute and
/// escaped.
pub fn display(path: &[u8]) -> String {
    format!("/{}", escape(path))
}

/// Text of several lines that is safe to print: newlines and tabs stay, and unsafe characters
/// become `\xNN`.
///
/// A backslash stays, because most parts of such a text are escaped already.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => printable.push(character),
            c if is_unsafe(c) => push_hex(&mut printable, c.encode_utf8(&mut [0; 4]).as_bytes()),
            c => printable.push(c),
        }
    }
    printable
}

/// JSON text that is safe to print and has the same meaning: unsafe characters, which only strings
/// contain, become `\uNNNN`.
pub fn printable_json(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !is_unsafe(character) {
            printable.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(printable, "\\u{unit:04x}");
        }
    }
    printable
}

/// Returns one shell word that is on one line and safe for a terminal. Other characters than
/// plain ones are escaped inside `$'...'` (POSIX.1-2024, XCU 2.2.4).
pub fn shell_word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(byte);
    match !bytes.is_empty() && bytes.iter().all(is_plain) {
        true => escape(bytes),
        false => format!("$'{}'", escape(bytes).replace('\'', "\\'")),
    }
}

/// The bytes that [`escape`] was given, or `None` if `text` is not its output.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match rest {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

/// Lower-case hexadecimal, as digests are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // NOTE(unwrap): writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a hexadecimal text of exactly `N` bytes, upper or lower case.
pub fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Control characters, line and paragraph separators, and the characters that
/// reorder or hide text (Unicode Standard Annex 9 and the "Trojan Source" set).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_become_one_printable_line() {
        for (bytes, text) in [
            (&b"etc/passwd"[..], "etc/passwd"),
            (b"a\nb", "a\\x0ab"),
            (b"back\\slash", "back\\\\slash"),
            (b"\x1b[31mred", "\\x1b[31mred"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("grün".as_bytes(), "grün"),
            ("a\u{202e}b".as_bytes(), "a\\xe2\\x80\\xaeb"),
            ("\u{85}".as_bytes(), "\\xc2\\x85"),
        ] {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn printable_control_sequences_become_text() {
        let text = "a\tb\\x41\n\u{1b}[31mred\u{9b}2J\r\u{7f}\u{202e}";
        let expected = "a\tb\\x41\n\\x1b[31mred\\xc2\\x9b2J\\x0d\\x7f\\xe2\\x80\\xae";
        assert_eq!(printable(text), expected);
    }

    #[test]
    fn printable_json_keeps_its_meaning() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b}\u{7f}\n\u{202e}\u{e0041}gr\u{fc}n" });
        let text = printable_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|character| character != '\n' && is_unsafe(character)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn unescape_invalid_escape_returns_none() {
        for text in ["\\", "\\q", "\\x4", "\\xzz"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    #[test]
    fn hexadecimal_needs_the_exact_length() {
        assert_eq!(unhex::<2>(b"00fF"), Some([0, 255]));
        assert_eq!(unhex::<2>(b"00f"), None);
        assert_eq!(unhex::<1>(b"0g"), None);
        assert_eq!(hex(&[0, 255]), "00ff");
    }

    proptest! {
        #[test]
        fn every_name_survives(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }
    }
}

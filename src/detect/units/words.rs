//! Splits values into words as systemd does ("Quoting" in `systemd.syntax(7)`).

/// Removes the first word from `rest` and returns it without quotes and escapes. Returns `None`
/// at the end.
///
/// An unknown escape stays as written, as in systemd.
///
/// # Errors
/// Returns an error if a quote is not closed.
pub(super) fn next(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, Unbalanced> {
    let mut left = rest.trim_ascii_start();
    if left.is_empty() {
        *rest = left;
        return Ok(None);
    }
    let mut word = Vec::new();
    let mut quote = None;
    while let Some((&byte, tail)) = left.split_first() {
        left = tail;
        match byte {
            b'\\' => left = unescape(left, &mut word),
            b'\'' | b'"' if quote.is_none() => quote = Some(byte),
            _ if quote == Some(byte) => quote = None,
            _ if quote.is_none() && byte.is_ascii_whitespace() => break,
            _ => word.push(byte),
        }
    }
    *rest = left.trim_ascii_start();
    if quote.is_some() { Err(Unbalanced) } else { Ok(Some(word)) }
}

/// A quote that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

impl std::fmt::Display for Unbalanced {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("unclosed quote")
    }
}

/// Splits a value into all its words.
pub(super) fn split(mut rest: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut words = Vec::new();
    while let Some(word) = next(&mut rest)? {
        words.push(word);
    }
    Ok(words)
}

/// Splits the value of a variable into words. An unclosed quote ends with the value. A backslash
/// escapes any byte (`EXTRACT_RELAX | EXTRACT_UNQUOTE`).
pub(super) fn split_relaxed(value: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            b'\'' | b'"' if quote.is_none() => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            _ if quote == Some(byte) => quote = None,
            _ if quote.is_none() && byte.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// Decodes an escape after its backslash. Returns the text after the escape.
fn unescape<'a>(text: &'a [u8], word: &mut Vec<u8>) -> &'a [u8] {
    let Some((&first, tail)) = text.split_first() else {
        word.push(b'\\');
        return text;
    };
    if let Some(byte) = single_escape(first) {
        word.push(byte);
        return tail;
    }
    let (digits, radix, start) = match first {
        b'x' => (2, 16, tail),
        b'u' => (4, 16, tail),
        b'U' => (8, 16, tail),
        _ => (3, 8, text),
    };
    // An argument cannot contain NUL, so escapes for NUL are unknown.
    let number = start.get(..digits).and_then(|digits| number(digits, radix)).filter(|&number| number != 0);
    let is_byte = !matches!(first, b'u' | b'U');
    match number {
        Some(number) if is_byte && number <= 255 => word.push(number as u8),
        Some(number) if !is_byte && char::from_u32(number).is_some() => {
            let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
            word.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => {
            word.extend_from_slice(&[b'\\', first]);
            return tail;
        }
    }
    &start[digits..]
}

/// Returns the byte of an escape that consists of one character.
fn single_escape(byte: u8) -> Option<u8> {
    match byte {
        b'a' => Some(7),
        b'b' => Some(8),
        b'f' => Some(12),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(11),
        b's' => Some(b' '),
        b'\\' | b'"' | b'\'' => Some(byte),
        _ => None,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, &digit| {
        number.checked_mul(radix)?.checked_add(char::from(digit).to_digit(radix)?)
    })
}

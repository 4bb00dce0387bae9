//! Any name: unescaping the escaped name returns the bytes.
//! An escaped name is one line without control characters, so it can neither end a list's line
//! nor move a cursor.
//! Any unescaped text is escaped to a text of the same meaning. The same holds for hexadecimal.
#![no_main]

use vm2docker_self::model::escape::{escape, hex, unescape, unhex};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = escape(bytes);
    assert!(!text.chars().any(char::is_control));
    assert_eq!(unescape(&text).as_deref(), Some(bytes));
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(meaning) = unescape(text)
    {
        assert_eq!(unescape(&escape(&meaning)), Some(meaning));
    }
    if let Some(digest) = bytes.first_chunk::<16>() {
        assert_eq!(unhex(hex(digest).as_bytes()), Some(*digest));
    }
    if let Some(digest) = unhex::<4>(bytes) {
        assert!(hex(&digest).as_bytes().eq_ignore_ascii_case(bytes));
    }
});

//! Values as YAML that every reader takes for the same.
//!
//! Readers of YAML 1.1 (kubectl, PyYAML) take the words `no` and `on`, `12:30:45` and `2001-01-01` for something else than
//! strings, and libraries write them as they are. So nothing is plain here that is not surely a string: a word that could
//! be anything else is in double quotes, with the escapes that JSON and YAML have in common.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// `value` as a document in block style; keys in the order of their bytes.
pub(super) fn document(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("keys are strings and no value refuses to be written");
    let mut text = String::new();
    write_value(&mut text, &value, 0, Place::Line);
    text
}

/// Where a value begins.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// On a line of its own, or behind the dash of a list.
    Line,
    /// Behind a key.
    Key,
}

fn write_value(text: &mut String, value: &Value, depth: usize, place: Place) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            if place == Place::Key {
                text.push('\n');
            }
            for (number, (key, value)) in fields.iter().enumerate() {
                if number > 0 || place == Place::Key {
                    indent(text, depth);
                }
                write_string(text, key);
                text.push(':');
                write_value(text, value, depth + 1, Place::Key);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if place == Place::Key {
                text.push('\n');
            }
            for (number, item) in items.iter().enumerate() {
                if number > 0 || place == Place::Key {
                    indent(text, depth);
                }
                text.push_str("- ");
                write_value(text, item, depth + 1, Place::Line);
            }
        }
        scalar => {
            if place == Place::Key {
                text.push(' ');
            }
            match scalar {
                Value::String(string) if is_script(string) => {
                    text.push('|');
                    for line in string.lines() {
                        text.push('\n');
                        indent(text, if line.is_empty() { 0 } else { depth });
                        text.push_str(line);
                    }
                }
                Value::String(string) => write_string(text, string),
                // `{}`, `[]`, numbers and truth: as in JSON.
                other => text.push_str(&other.to_string()),
            }
            text.push('\n');
        }
    }
}

/// Several lines that a block shows as they are: printable, each ended, the first not indented (that would be taken for
/// the block's own depth).
fn is_script(string: &str) -> bool {
    let is_printable = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    let begins = string.starts_with(|first: char| first.is_ascii_graphic());
    let is_plain = begins && string.bytes().all(is_printable);
    is_plain && string.ends_with('\n') && !string.ends_with("\n\n") && string.lines().count() > 1
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn write_string(text: &mut String, string: &str) {
    if is_surely_a_string(string) {
        text.push_str(string);
        return;
    }
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(character),
            '\0'..='\u{ff}' => hex(text, 'x', 2, character),
            // What YAML does not count as printable, or could end a line.
            '\u{2028}'
            | '\u{2029}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{feff}'
            | '\u{fff0}'..='\u{ffff}' => {
                hex(text, 'u', 4, character);
            }
            '\u{10000}'.. => hex(text, 'U', 8, character),
            other => text.push(other),
        }
    }
    text.push('"');
}

fn hex(text: &mut String, letter: char, digits: usize, character: char) {
    let _ = write!(text, "\\{letter}{:0digits$x}", u32::from(character));
}

/// A word that begins with a letter or as a path, and has nothing in it that any version of YAML gives a meaning there.
fn is_surely_a_string(string: &str) -> bool {
    /// Truth and nothing, in all their writings (YAML 1.1 types `bool` and `null`).
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let begins = string.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        || string.starts_with("./");
    // A colon means something only before a blank or at the end.
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:".contains(&byte);
    let is_one = begins && string.bytes().all(is_word) && !string.ends_with(':');
    is_one && !WORDS.iter().any(|word| string.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_could_be_something_else_is_in_quotes() {
        for string in [
            "",
            "no",
            "NO",
            "y",
            "Off",
            "~",
            "null",
            "0755",
            "1e3",
            "1_000",
            "0x1f",
            "12:30:45",
            "2001-01-01",
            ".inf",
            ".nan",
            "a: b",
            "a #b",
            "%x",
            "@x",
            "`x",
            "- x",
            "-",
            "---",
            "...",
            "*x",
            "&x",
            "!x",
            "|",
            ">",
            "?",
            "{a}",
            "[a]",
            "#{}",
            "'",
            "\"",
            "\\",
            "a\nb",
            " a",
            "a ",
            "\u{85}",
            "\u{feff}",
            "\u{7f}",
            "\u{2028}",
            "<<",
            "=",
        ] {
            let text = document(&string);
            assert!(text.starts_with('"') && text.ends_with("\"\n"), "{text}");
            assert_eq!(yaml_serde::from_str::<String>(&text).unwrap(), string, "{text}");
        }
        for string in ["vm2docker/machine:latest", "/var/lib/a.b-c_d", "./x", "nobody", "service:web"] {
            assert_eq!(document(&string), format!("{string}\n"));
        }
    }

    #[test]
    fn the_layout_is_that_of_people() {
        let value = serde_json::json!({
            "name": "x", "list": ["a", {"b": 1, "c": ["d"]}, []], "map": {"e": {}, "f": {"g": true}}, "none": null
        });
        let text = "list:\n  - a\n  - b: 1\n    c:\n      - d\n  - []\nmap:\n  e: {}\n  f:\n    g: true\nname: x\nnone: null\n";
        assert_eq!(document(&value), text);
        assert_eq!(yaml_serde::from_str::<Value>(text).unwrap(), value);
    }

    #[test]
    fn a_script_can_be_read() {
        let script = "#!/bin/sh\n\n  a: \"$b\"\n- c \n";
        let value = serde_json::json!({"x": ["-c", script], "z": script});
        let text = document(&value);
        let block = |depth: &str| format!("|\n{depth}#!/bin/sh\n\n{depth}  a: \"$b\"\n{depth}- c \n");
        assert_eq!(text, format!("x:\n  - \"-c\"\n  - {}z: {}", block("    "), block("  ")));
        assert_eq!(yaml_serde::from_str::<Value>(&text).unwrap(), value);
        for other in [" a\nb\n", "a\nb", "a\nb\n\n", "a\r\nb\n", "\na\n"] {
            assert!(document(&other).starts_with('"'), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(key: String, text: String) {
            let value = BTreeMap::from([(key, vec![text])]);
            prop_assert_eq!(yaml_serde::from_str::<BTreeMap<String, Vec<String>>>(&document(&value)).unwrap(), value);
        }
    }
}

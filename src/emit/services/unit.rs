//! Writes unit files for Quadlet and systemd (`systemd.syntax(7)`, `podman-systemd.unit(5)`).

use std::fmt::Write;

/// A unit file under construction. The machine has no influence on sections and keys.
#[derive(Default)]
pub(super) struct Unit(String);

impl Unit {
    /// Starts a section.
    pub(super) fn section(&mut self, name: &'static str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "[{name}]");
    }

    /// Adds a line with `value` as one word.
    pub(super) fn set(&mut self, key: &'static str, value: impl AsRef<str>) {
        let _ = writeln!(self.0, "{key}={}", word(value.as_ref()));
    }

    /// Adds a line with several words, or nothing if there are none.
    pub(super) fn list(&mut self, key: &'static str, words: impl IntoIterator<Item = String>) {
        let words: Vec<String> = words.into_iter().map(|each| word(&each)).collect();
        if !words.is_empty() {
            let _ = writeln!(self.0, "{key}={}", words.join(" "));
        }
    }

    /// Returns the file's content.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// Quotes `text` as one word. `%` starts a specifier and `$` a variable, and Quadlet passes both
/// to systemd. A word that is not plain gets double quotes and C escapes.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._:@%+,=$-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text;
    }
    let mut word = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => word.extend(['\\', character]),
            control if control.is_ascii_control() => {
                let _ = write!(word, "\\x{:02x}", u32::from(control));
            }
            other => word.push(other),
        }
    }
    word + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_special_characters_are_escaped() {
        for (text, expected) in [
            ("a", "a"),
            ("", "\"\""),
            ("100%n", "100%%n"),
            ("$HOME", "$$HOME"),
            ("a b", "\"a b\""),
            ("a\nExec=evil", "\"a\\x0aExec=evil\""),
            ("\"\\'", "\"\\\"\\\\'\""),
            ("ü;#", "\"ü;#\""),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}

//! Lines of a `--policy` file for one path, ready to paste.

use crate::model::escape;
use std::fmt::Write;

/// Returns the line that keeps a path in the image.
pub fn keep(path: &[u8]) -> String {
    format!("keep {}", pattern(path))
}

/// Returns the line that withholds a path.
pub fn withhold(path: &[u8]) -> String {
    format!("withhold {}", pattern(path))
}

/// Returns a pattern that matches this path, as [`super::parse`] reads it.
fn pattern(path: &[u8]) -> String {
    let mut pattern = String::from("/");
    for character in escape::escape(&literal(path)).chars() {
        // White space ends the pattern, and `#` starts a comment.
        if character.is_whitespace() || character == '#' {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(pattern, "\\x{byte:02x}");
            }
        } else {
            pattern.push(character);
        }
    }
    pattern
}

/// Returns a pattern without wildcards. In brackets, a wildcard matches only itself.
pub(super) fn literal(path: &[u8]) -> Vec<u8> {
    let quote = |&byte: &u8| if b"*?[".contains(&byte) { vec![b'[', byte, b']'] } else { vec![byte] };
    path.iter().flat_map(quote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Policy, parse};
    use proptest::prelude::*;

    #[test]
    fn withhold_special_characters_are_escaped() {
        for (path, line) in [
            (&b"etc/app.conf"[..], "withhold /etc/app.conf"),
            (b"a b#c", "withhold /a\\x20b\\x23c"),
            (b"*[x]?\\", "withhold /[*][[]x][?]\\\\"),
            (b"n\nl\xff", "withhold /n\\x0al\\xff"),
            ("a\u{a0}ü".as_bytes(), "withhold /a\\xc2\\xa0ü"),
        ] {
            assert_eq!(withhold(path), line);
        }
        assert_eq!(keep(b"srv/app/.env"), "keep /srv/app/.env");
    }

    proptest! {
        #[test]
        fn keep_any_path_is_a_rule_for_this_path_only(
            component in "[^/\0]{1,12}|[*?\\[\\]# \\\\a-c]{1,6}", bytes in prop::collection::vec(1_u8.., 1..6),
        ) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|&byte| byte != b'/').collect();
            for name in [component.as_bytes(), &bytes] {
                let path = [b"srv/", name, b"x"].concat();
                let rules = parse(keep(&path).as_bytes(), "p").unwrap();
                prop_assert_eq!(rules.len(), 1);
                let policy = Policy::new(rules, &[]);
                let rule = policy.for_path(&path, None).map(|id| policy.rule(id).action);
                prop_assert_eq!(rule, Some(Action::Keep));
                prop_assert_eq!(policy.for_path(&[&path[..], b"y"].concat(), None), None);
            }
        }
    }
}

//! Path patterns of the policy.
//!
//! `*` and `?` stay within a component, `**` crosses components, `[a-z]` and
//! `[!a-z]` are sets. `dir/**` is everything beneath `dir`; `dir/` is `dir` and
//! everything beneath it. Patterns and paths are bytes.

/// Whether the whole of `path` matches `pattern`.
///
/// Time is linear in the path for every star, whatever the path: only the last
/// star of each sort is ever tried again.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [directory @ .., b'/'] => {
            let beneath = (0..path.len()).filter(|&at| path[at] == b'/');
            beneath.chain([path.len()]).any(|end| matches_exactly(directory, &path[..end]))
        }
        _ => matches_exactly(pattern, path),
    }
}

fn matches_exactly(pattern: &[u8], path: &[u8]) -> bool {
    // Nearly all paths end otherwise than `**/*.keytab`, and need not be searched for what the stars swallow.
    let literal_end = pattern.iter().rposition(|byte| b"*?[]".contains(byte)).map_or(0, |at| at + 1);
    if !path.ends_with(&pattern[literal_end..]) {
        return false;
    }
    let (mut at, mut from) = (0, 0);
    // Where to go on when the rest does not match: after the star, with one byte more swallowed.
    let mut within: Option<(usize, usize)> = None;
    let mut across: Option<(usize, usize)> = None;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [b'*', b'*', ..] => {
                at += 2;
                (across, within) = (Some((at, from)), None);
                continue;
            }
            [b'*', ..] => {
                at += 1;
                within = Some((at, from));
                continue;
            }
            [] if from == path.len() => return true,
            rest => {
                if let Some(length) = path.get(from).and_then(|&byte| match_one(rest, byte)) {
                    (at, from) = (at + length, from + 1);
                    continue;
                }
            }
        }
        match (within, across) {
            (Some((star, swallowed)), _) if path.get(swallowed).is_some_and(|&byte| byte != b'/') => {
                within = Some((star, swallowed + 1));
                (at, from) = (star, swallowed + 1);
            }
            (_, Some((star, swallowed))) if swallowed < path.len() => {
                (across, within) = (Some((star, swallowed + 1)), None);
                (at, from) = (star, swallowed + 1);
            }
            _ => return false,
        }
    }
}

/// Length of the pattern's first element if it matches `byte`.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'[', set @ ..] => {
            let end = set.iter().skip(1).position(|&c| c == b']')? + 1;
            let (negated, members) = match &set[..end] {
                [b'!', members @ ..] => (true, members),
                members => (false, members),
            };
            (byte != b'/' && in_set(members, byte) != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

fn in_set(mut members: &[u8], byte: u8) -> bool {
    while let Some((&first, rest)) = members.split_first() {
        members = rest;
        if let [b'-', last, tail @ ..] = rest {
            if (first..=*last).contains(&byte) {
                return true;
            }
            members = tail;
        } else if first == byte {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        for (pattern, path, expected) in [
            ("etc/passwd", "etc/passwd", true),
            ("etc/passwd", "etc/passwd-", false),
            ("etc/*.conf", "etc/a.conf", true),
            ("etc/*.conf", "etc/a/b.conf", false),
            ("etc/**.conf", "etc/a/b.conf", true),
            ("var/log/**", "var/log/a/b", true),
            ("var/log/**", "var/log", false),
            ("var/log/", "var/log", true),
            ("var/log/", "var/log/a/b", true),
            ("var/log/", "var/logs", false),
            ("home/*/.ssh/", "home/eve/.ssh/id_rsa", true),
            ("**/id_[er]*", "a/b/id_rsa", true),
            ("**/id_[!a-q]*", "a/b/id_dsa", false),
            ("**", "", true),
            ("*", "", true),
            ("?", "/", false),
            ("a*b*c", "aXbXbXc", true),
            ("a**b*c", "aX/bX/bXc", true),
            ("a**b*c", "aX/bX/bX/c", false),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} on {path}");
        }
    }

    /// The definition, without the shortcut of remembering only the last stars.
    fn by_definition(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|at| by_definition(rest, &path[at..])),
            [b'*', rest @ ..] => {
                let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
                (0..=end).any(|at| by_definition(rest, &path[at..]))
            }
            [first, rest @ ..] => path.split_first().is_some_and(|(byte, tail)| {
                (first == byte || *first == b'?' && *byte != b'/') && by_definition(rest, tail)
            }),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/?*]{0,9}", path in "[ab/]{0,12}") {
            prop_assume!(!pattern.ends_with('/') && !pattern.contains("***"));
            let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(matches(pattern, path), by_definition(pattern, path));
        }
    }
}

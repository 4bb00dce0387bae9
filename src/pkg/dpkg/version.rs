//! The order of Debian versions (deb-version(7), Debian policy 5.6.12).

use std::cmp::Ordering;

/// Whether `text` is a version by the grammar of Debian policy: `[epoch:]upstream[-revision]` of
/// the characters `A-Za-z0-9.+~:-`, with a numeric epoch. It is then safe as an argument of apt.
pub fn is_valid(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(byte);
    if !text.iter().all(allowed) {
        return false;
    }
    match memchr::memchr(b':', text) {
        Some(colon) => colon > 0 && text[..colon].iter().all(u8::is_ascii_digit) && colon + 1 < text.len(),
        None => !text.is_empty(),
    }
}

/// Compares two versions; the later one is greater. A missing epoch or revision is 0.
///
/// The order is total, also for text that is not a valid version.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a.as_bytes()), split(b.as_bytes()));
    compare_number(a.epoch, b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    revision: &'a [u8],
}

fn split(text: &[u8]) -> Parts<'_> {
    let colon = memchr::memchr(b':', text).filter(|&at| text[..at].iter().all(u8::is_ascii_digit));
    let (epoch, rest) = colon.map_or((&text[..0], text), |at| (&text[..at], &text[at + 1..]));
    let hyphen = memchr::memrchr(b'-', rest);
    let (upstream, revision) = hyphen.map_or((rest, &rest[..0]), |at| (&rest[..at], &rest[at + 1..]));
    Parts { epoch, upstream, revision }
}

/// Compares a version part: text without digits and numbers alternate.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = a.split_at(run(a, |byte| !byte.is_ascii_digit()));
        let (text_b, rest_b) = b.split_at(run(b, |byte| !byte.is_ascii_digit()));
        let (number_a, tail_a) = rest_a.split_at(run(rest_a, u8::is_ascii_digit));
        let (number_b, tail_b) = rest_b.split_at(run(rest_b, u8::is_ascii_digit));
        let order = compare_text(text_a, text_b).then_with(|| compare_number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (tail_a, tail_b);
    }
    Ordering::Equal
}

fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let length = a.len().max(b.len());
    let weight = |text: &[u8], at: usize| text.get(at).map_or(0, |&byte| weight(byte));
    (0..length)
        .map(|at| weight(a, at).cmp(&weight(b, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Returns the rank of a byte: `~`, then the end of the text (0), then letters, then all others.
fn weight(byte: u8) -> i32 {
    match byte {
        b'~' => -1,
        _ if byte.is_ascii_alphabetic() => i32::from(byte),
        _ => i32::from(byte) + 256,
    }
}

/// Compares numbers of any length; an empty one is 0.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (&a[run(a, |&byte| byte == b'0')..], &b[run(b, |&byte| byte == b'0')..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Returns the length of the prefix of selected bytes.
fn run(bytes: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is(byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compare_versions_of_the_manual_are_ascending() {
        // Each line ascending; `=` joins equal ones.
        for line in [
            "~~ ~~a ~ =0 a",
            "1.0~beta1~svn1245 1.0~beta1 1.0 1.0-0ubuntu1 1.0-1~bpo11+1 1.0-1 1.0-1+b1 1.0-1+deb12u1 1.0-1.1 1.0-2 1.0-10",
            "1.2 1.2a 1.2+dfsg 1.2.0 1.2.3 1.10 2 1:0.1 1:1 2:0 10:0",
            "1.0=1.0-0=0:1.0=00:1.00 1.0-00.1",
            "a ab a+ a.",
            "9 10 99999999999999999999999999 100000000000000000000000000",
            "1-1 1-1-1 1-2-1",
        ] {
            let versions: Vec<(usize, &str)> = line
                .split(' ')
                .enumerate()
                .flat_map(|(rank, names)| names.split('=').map(move |name| (rank, name)))
                .collect();
            for (rank_a, a) in &versions {
                for (rank_b, b) in &versions {
                    assert_eq!(compare(a, b), rank_a.cmp(rank_b), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn is_valid_other_than_policy_syntax_is_rejected() {
        for text in ["1", "1:2.3-4~5+b1", "0", "2:1:3", "a"] {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
        for text in ["", ":1", "a:1", "1:", "1 2", "1_2", "1\n", "1;rm", "1\0", "\u{fc}", "1/2"] {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "runs dpkg itself if the tests run on Debian")]
    fn compare_random_versions_matches_dpkg() {
        let mut state = 1_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let pieces =
            ["0", "1", "2", "09", "10", "~", "+", ".", "a", "b", "-", "~rc1", ".0", "+dfsg", "ubuntu"];
        let mut version = |epochs: usize| {
            let epoch = ["", "1:", "0:"][random(epochs)];
            let tail: String = (0..random(6)).map(|_| pieces[random(pieces.len())]).collect();
            format!("{epoch}{}{tail}", random(3))
        };
        for number in 0..200 {
            let (a, b) = (version(1 + number % 3), version(1 + number % 2));
            let word = match compare(&a, &b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let mut dpkg = std::process::Command::new("dpkg");
            // dpkg rejects a version that ends in a hyphen; its exit code is then neither 0 nor
            // 1.
            match dpkg.args(["--compare-versions", &a, word, &b]).stderr(std::process::Stdio::null()).status()
            {
                Err(_) => return,
                Ok(status) => assert!(status.code() != Some(1), "{a} {word} {b}"),
            }
        }
    }

    proptest! {
        #[test]
        fn compare_any_versions_order_is_total(versions in proptest::array::uniform3("[0-9a-c~+.:-]{0,6}")) {
            let [a, b, c] = &versions;
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }
    }
}

//! Relations between packages: `Depends` and similar fields, and `Provides` (Debian policy 7.1,
//! deb-control(5)).

use super::deb822::trim;
use super::version;
use std::cmp::Ordering;

/// Comparison of an installed version with the version in the relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Less,
    /// `<=`, and the obsolete `<`
    LessEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    GreaterEqual,
    /// `>>`
    Greater,
}

/// One alternative of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Name of a package or a provided name.
    pub name: String,
    /// The qualifier after the name: an architecture, or `any`.
    pub architecture: Option<String>,
    /// Condition on the version.
    pub version: Option<(Operator, String)>,
}

/// Alternatives, the preferred one first. One of them must be installed.
pub type Group = Vec<Relation>;

/// A name that a package provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// Provided name.
    pub name: String,
    /// Architecture of the provided name, if it is not the package's own.
    pub architecture: Option<String>,
    /// Version of the provided name. Without one, it satisfies no versioned relation.
    pub version: Option<String>,
}

impl Relation {
    /// Whether this version satisfies the relation; `None` is an unversioned `Provides`.
    pub fn accepts_version(&self, present: Option<&str>) -> bool {
        match (&self.version, present) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((operator, wanted)), Some(present)) => operator.holds(version::compare(present, wanted)),
        }
    }
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Less => order.is_lt(),
            Operator::LessEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::Greater => order.is_gt(),
        }
    }
}

/// Parses the groups of a field's value. Returns them with the number of relations that could not
/// be parsed.
///
/// The restrictions `[arch]` and `<profile>` belong to source packages; they are ignored here.
pub fn parse_groups(value: &[u8]) -> (Vec<Group>, usize) {
    let mut damaged = 0;
    let mut groups = Vec::new();
    for group in items(value, b',') {
        let relations: Group = items(group, b'|')
            .filter_map(|text| {
                let relation = parse_relation(text);
                damaged += usize::from(relation.is_none());
                relation
            })
            .collect();
        if !relations.is_empty() {
            groups.push(relations);
        }
    }
    (groups, damaged)
}

/// Parses the names of a `Provides` field. Returns them with the number of names that could not
/// be parsed.
pub fn parse_provides(value: &[u8]) -> (Vec<Provision>, usize) {
    let mut damaged = 0;
    let mut provides = Vec::new();
    for text in items(value, b',') {
        match parse_relation(text) {
            Some(Relation { name, architecture, version: None }) => {
                provides.push(Provision { name, architecture, version: None });
            }
            Some(Relation { name, architecture, version: Some((Operator::Equal, version)) }) => {
                provides.push(Provision { name, architecture, version: Some(version) });
            }
            _ => damaged += 1,
        }
    }
    (provides, damaged)
}

/// Returns the parts between separators that are not empty.
fn items(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    value.split(move |&byte| byte == separator).map(trim).filter(|item| !item.is_empty())
}

fn parse_relation(text: &[u8]) -> Option<Relation> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let (name, rest) = take(text, is_name)?;
    let (architecture, rest) = match rest.split_first() {
        Some((b':', tail)) => {
            let (architecture, rest) = take(tail, |byte| byte.is_ascii_alphanumeric() || *byte == b'-')?;
            (Some(architecture), rest)
        }
        _ => (None, rest),
    };
    let (version, rest) = parse_version(trim(rest))?;
    without_restrictions(trim(rest))?;
    Some(Relation { name, architecture, version })
}

/// Parses an optional `(operator version)`. Returns it with the rest.
#[expect(clippy::type_complexity, reason = "the condition in the form of Relation, and the rest")]
fn parse_version(text: &[u8]) -> Option<(Option<(Operator, String)>, &[u8])> {
    let Some(inner) = text.strip_prefix(b"(") else {
        return Some((None, text));
    };
    let end = memchr::memchr(b')', inner)?;
    let (condition, rest) = (trim(&inner[..end]), &inner[end + 1..]);
    let (operator, length) = match condition {
        [b'<', b'<', ..] => (Operator::Less, 2),
        [b'<', b'=', ..] => (Operator::LessEqual, 2),
        [b'>', b'>', ..] => (Operator::Greater, 2),
        [b'>', b'=', ..] => (Operator::GreaterEqual, 2),
        [b'<', ..] => (Operator::LessEqual, 1),
        [b'>', ..] => (Operator::GreaterEqual, 1),
        [b'=', ..] => (Operator::Equal, 1),
        // dpkg treats a version without operator as exact.
        _ => (Operator::Equal, 0),
    };
    let wanted = trim(&condition[length..]);
    let text = std::str::from_utf8(wanted).ok().filter(|_| version::is_valid(wanted))?;
    Some((Some((operator, text.to_owned())), rest))
}

/// Skips `[...]` and `<...>`; `None` if other text follows.
fn without_restrictions(mut rest: &[u8]) -> Option<()> {
    while let Some((first, tail)) = rest.split_first() {
        let close = match first {
            b'[' => b']',
            b'<' => b'>',
            _ => return None,
        };
        rest = trim(&tail[memchr::memchr(close, tail)? + 1..]);
    }
    Some(())
}

/// Splits off the longest prefix of selected bytes, which are ASCII.
fn take(text: &[u8], is: impl Fn(&u8) -> bool) -> Option<(String, &[u8])> {
    let length = text.iter().position(|byte| !is(byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(length);
    let taken = std::str::from_utf8(taken).ok().filter(|taken| !taken.is_empty())?;
    Some((taken.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shows groups separated by `,` and alternatives by `|`, with the names of the operators.
    fn show(value: &[u8]) -> String {
        let (groups, damaged) = parse_groups(value);
        let one = |relation: &Relation| {
            let architecture = relation.architecture.as_ref().map(|a| format!(":{a}")).unwrap_or_default();
            let version = relation.version.as_ref().map(|(o, v)| format!(" {o:?} {v}")).unwrap_or_default();
            format!("{}{architecture}{version}", relation.name)
        };
        let groups: Vec<String> =
            groups.iter().map(|group| group.iter().map(one).collect::<Vec<_>>().join("|")).collect();
        format!("{}{}", groups.join(","), "!".repeat(damaged))
    }

    #[test]
    fn parse_groups_policy_syntax_returns_relations() {
        for (text, expected) in [
            ("", ""),
            ("a", "a"),
            ("a, b|c ,\n d", "a,b|c,d"),
            ("a(>=1),b (<< 2:1-1~) | c ( = 3 )", "a GreaterEqual 1,b Less 2:1-1~|c Equal 3"),
            (
                "a (< 1), b (> 1), c (<= 1), d (>> 1), e (1)",
                "a LessEqual 1,b GreaterEqual 1,c LessEqual 1,d Greater 1,e Equal 1",
            ),
            ("python3:any (>= 3.5~), libc6:i386", "python3:any GreaterEqual 3.5~,libc6:i386"),
            ("a [!i386 amd64], b (>= 1) [linux-any] <!nocheck> <x y>", "a,b GreaterEqual 1"),
            ("a,,b,", "a,b"),
            ("a b, c", "c!"),
            ("a | %%, (>= 1), x (>= ), y (>= 1 2), z (", "a!!!!!"),
            ("a:, b [x", "!!"),
        ] {
            assert_eq!(show(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(show(b"a\xff, b"), "b!");
    }

    #[test]
    fn parse_provides_exact_version_is_kept() {
        let (provides, damaged) = parse_provides(b"mta, api (= 2), x (>= 1), y:any (= 1)");
        let show: Vec<_> = provides.iter().map(|p| (p.name.as_str(), p.version.as_deref())).collect();
        assert_eq!(
            (show.as_slice(), damaged),
            (&[("mta", None), ("api", Some("2")), ("y", Some("1"))][..], 1)
        );
    }

    #[test]
    fn accepts_version_compares_with_condition() {
        let accepts = |text: &str, present| parse_groups(text.as_bytes()).0[0][0].accepts_version(present);
        for (text, present, expected) in [
            ("a", None, true),
            ("a (>= 1)", None, false),
            ("a (>= 1)", Some("1"), true),
            ("a (>> 1)", Some("1"), false),
            ("a (<< 1)", Some("1~rc1"), true),
            ("a (= 1-1)", Some("0:1-1"), true),
            ("a (<= 1)", Some("1.1"), false),
        ] {
            assert_eq!(accepts(text, present), expected, "{text} {present:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_groups_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[a:(<>=)|, \\[\\]1]{0,24}") {
            let _ = (parse_groups(&bytes), parse_provides(&bytes), parse_groups(text.as_bytes()));
        }
    }
}

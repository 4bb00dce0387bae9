//! Glob patterns over bytes, for the policy, for settings of the machine and for dpkg's filters.
//!
//! A pattern is compiled once. The matcher does not backtrack, so its time is at most
//! proportional to the length of the pattern times the length of the text
//! (`docs/decisions/0003-globs.md`).

mod set;

pub(crate) use set::GlobSet;

use memchr::{memchr, memmem};

/// Language of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `*`, `?` and sets (`[a-z]`, `[!a-z]`) stay within a component, `**` crosses components.
    Path,
    /// `fnmatch(3)` without flags, as dpkg calls it: `*`, `?` and sets match `/` too, and `\`
    /// quotes the next byte.
    Fnmatch,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// Literal beginning, up to the first wildcard; the complete pattern if it has no wildcards.
    prefix: Box<[u8]>,
    /// Tokens from the first wildcard to the last one.
    core: Box<[Token]>,
    /// Literal end, after the last wildcard.
    suffix: Box<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Box<[u8]>),
    One(Box<ByteSet>),
    /// Any bytes but `/`.
    Within,
    /// Any bytes.
    Across,
}

impl Glob {
    /// Compiles a pattern; every byte string is valid.
    pub(crate) fn new(pattern: &[u8], dialect: Dialect) -> Self {
        let mut tokens: Vec<Token> = Vec::new();
        let mut literal = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (element, length) = first_element(rest, dialect);
            rest = &rest[length..];
            match element {
                Element::Byte(byte) => literal.push(byte),
                Element::Wildcard(token) => {
                    if !literal.is_empty() {
                        tokens.push(Token::Literal(std::mem::take(&mut literal).into()));
                    }
                    // A second star of the same kind adds nothing.
                    if tokens.last() != Some(&token) || matches!(token, Token::One(_)) {
                        tokens.push(token);
                    }
                }
            }
        }
        let prefix = match tokens.first() {
            None => return Glob { prefix: literal.into(), core: Box::default(), suffix: Box::default() },
            Some(Token::Literal(prefix)) => prefix.clone(),
            Some(_) => Box::default(),
        };
        tokens.drain(..usize::from(!prefix.is_empty()));
        Glob { prefix, core: tokens.into(), suffix: literal.into() }
    }

    /// Whether the pattern matches all of `text`.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        // Most paths do not end like `**/*.keytab`, and comparing the last byte needs no function
        // call.
        if self.suffix.last().is_some_and(|last| text.last() != Some(last)) {
            return false;
        }
        let rest = text.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        rest.is_some_and(|rest| match &*self.core {
            [] => rest.is_empty(),
            [Token::Across] => true,
            [Token::Within] => memchr(b'/', rest).is_none(),
            core => has_literals(core, rest) && matches_core(core, rest),
        })
    }
}

/// Whether `pattern`, of the dialect for paths, matches all of `text`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    Glob::new(pattern, Dialect::Path).matches(text)
}

/// Whether a pattern for paths can only match itself.
pub(crate) fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"*?[".contains(byte))
}

/// Whether every literal part occurs in the text. This test is cheap, and most texts fail it.
fn has_literals(core: &[Token], text: &[u8]) -> bool {
    core.iter().all(|token| match token {
        Token::Literal(literal) => memmem::find(text, literal).is_some(),
        _ => true,
    })
}

/// Follows all possible matches at once: the positions at which a match of the tokens so far can
/// end.
fn matches_core(core: &[Token], text: &[u8]) -> bool {
    let mut ends = vec![0];
    for token in core {
        match token {
            Token::Literal(literal) => {
                ends.retain(|&at| text[at..].starts_with(literal));
                ends.iter_mut().for_each(|at| *at += literal.len());
            }
            Token::One(set) => {
                ends.retain(|&at| text.get(at).is_some_and(|&byte| set.has(byte)));
                ends.iter_mut().for_each(|at| *at += 1);
            }
            Token::Within => {
                let mut reached: Vec<usize> = Vec::new();
                for at in ends {
                    // A position that is already recorded leads to the same matches, because the
                    // component ends at the same place.
                    if reached.last().is_none_or(|&last| last < at) {
                        let length = memchr(b'/', &text[at..]).unwrap_or(text.len() - at);
                        reached.extend(at..=at + length);
                    }
                }
                ends = reached;
            }
            Token::Across => ends = (ends[0]..=text.len()).collect(),
        }
        if ends.is_empty() {
            return false;
        }
    }
    ends.last() == Some(&text.len())
}

enum Element {
    Byte(u8),
    Wildcard(Token),
}

/// Returns the first element of a pattern that is not empty, and its length in bytes.
fn first_element(pattern: &[u8], dialect: Dialect) -> (Element, usize) {
    let any = |dialect| match dialect {
        Dialect::Path => Token::Within,
        Dialect::Fnmatch => Token::Across,
    };
    let one = |mut set: ByteSet| {
        if dialect == Dialect::Path {
            set.remove(b'/');
        }
        Element::Wildcard(Token::One(Box::new(set)))
    };
    match (pattern, dialect) {
        ([b'*', b'*', ..], Dialect::Path) => (Element::Wildcard(Token::Across), 2),
        ([b'*', ..], _) => (Element::Wildcard(any(dialect)), 1),
        ([b'?', ..], _) => (one(ByteSet::default().inverted()), 1),
        ([b'\\', byte, ..], Dialect::Fnmatch) => (Element::Byte(*byte), 2),
        ([b'[', rest @ ..], _) => match (parse_set(rest, dialect), dialect) {
            (Some((set, length)), _) => (one(set), 1 + length),
            (None, Dialect::Fnmatch) => (Element::Byte(b'['), 1),
            // A set that does not end matches nothing.
            (None, Dialect::Path) => (one(ByteSet::default()), pattern.len()),
        },
        (_, _) => (Element::Byte(pattern[0]), 1),
    }
}

/// Parses the set after `[`. Returns it with its length, including the `]`; `None` if there is no
/// `]`.
fn parse_set(text: &[u8], dialect: Dialect) -> Option<(ByteSet, usize)> {
    let is_fnmatch = dialect == Dialect::Fnmatch;
    let is_negated = text.first().is_some_and(|&byte| byte == b'!' || byte == b'^' && is_fnmatch);
    let first = usize::from(is_negated);
    let mut at = first;
    let mut set = ByteSet::default();
    loop {
        match text.get(at)? {
            b']' if at > first => break,
            b'[' if is_fnmatch && text.get(at + 1) == Some(&b':') => {
                let length = memmem::find(&text[at + 2..], b":]")?;
                let class = &text[at + 2..at + 2 + length];
                (0..=u8::MAX).filter(|&byte| is_in_class(class, byte)).for_each(|byte| set.insert(byte));
                at += length + 4;
            }
            _ => {
                let (low, length) = set_member(&text[at..], dialect)?;
                at += length;
                let mut high = low;
                if text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|&next| next != b']') {
                    let (end, length) = set_member(&text[at + 1..], dialect)?;
                    high = end;
                    at += length + 1;
                }
                (low..=high).for_each(|byte| set.insert(byte));
            }
        }
    }
    Some((if is_negated { set.inverted() } else { set }, at + 1))
}

/// Returns a byte of a set, quoted or not, and its length.
fn set_member(text: &[u8], dialect: Dialect) -> Option<(u8, usize)> {
    match (text, dialect) {
        ([b'\\', byte, ..], Dialect::Fnmatch) => Some((*byte, 2)),
        _ => Some((*text.first()?, 1)),
    }
}

/// Whether a byte is in a character class of the POSIX locale.
fn is_in_class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

/// A set of bytes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ByteSet([u64; 4]);

impl ByteSet {
    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    fn inverted(self) -> Self {
        ByteSet(self.0.map(|bits| !bits))
    }
}

#[cfg(test)]
mod tests;

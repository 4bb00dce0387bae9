//! A streaming reader for the XML of repositories: elements, attributes and text.
//!
//! Only what machines write is supported. A document type is skipped if it defines nothing, so
//! there are no entities but the five of XML and character references.

use crate::pkg::rpm::source::Damage;
use std::io::BufRead;

/// Most bytes of one tag, and of the text before a tag.
const MAX_PART: usize = 4 << 20;
/// Most nested elements; repositories have at most six.
const MAX_DEPTH: usize = 64;

/// A part of a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Start of an element: depth (the root has 1), local name without prefix, and attributes.
    Start(usize, &'a [u8], &'a [Attribute]),
    /// End of an element: depth, local name, and the text since the tag before.
    End(usize, &'a [u8], &'a [u8]),
    /// End of the document.
    Finished,
}

/// An attribute of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// Name with its prefix.
    pub name: Vec<u8>,
    /// Value without entities.
    pub value: Vec<u8>,
}

/// Returns the value of an attribute, empty if there is none.
pub(crate) fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> &'a [u8] {
    let found = attributes.iter().find(|attribute| attribute.name == name.as_bytes());
    found.map(|attribute| attribute.value.as_slice()).unwrap_or_default()
}

/// Reads a document. Errors have the offset in the decompressed text.
pub(crate) struct XmlReader<'a> {
    input: &'a mut dyn BufRead,
    offset: u64,
    /// Names of the open elements.
    open: Vec<Vec<u8>>,
    attributes: Vec<Attribute>,
    text: Vec<u8>,
    name: Vec<u8>,
    /// Whether the last element was empty (`<a/>`), so its end is the next event.
    ends: bool,
    has_root: bool,
}

impl<'a> XmlReader<'a> {
    pub(crate) fn new(input: &'a mut dyn BufRead) -> Self {
        let (open, attributes, text, name) = Default::default();
        XmlReader { input, offset: 0, open, attributes, text, name, ends: false, has_root: false }
    }

    /// Returns the offset after the last part.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next part.
    pub(crate) fn next(&mut self) -> Result<Event<'_>, Damage> {
        if self.ends {
            self.ends = false;
            self.name = self.open.pop().unwrap_or_default();
            self.text.clear();
            return Ok(Event::End(self.open.len() + 1, local(&self.name), &self.text));
        }
        self.text.clear();
        loop {
            let start = self.offset;
            let mut raw = Vec::new();
            if !self.read_until(b'<', &mut raw)? {
                let is_complete =
                    self.open.is_empty() && self.has_root && raw.iter().all(u8::is_ascii_whitespace);
                return if is_complete {
                    Ok(Event::Finished)
                } else {
                    Err(self.error("the document is truncated"))
                };
            }
            append_decoded(&raw, &mut self.text).map_err(|reason| Damage::at(start, reason))?;
            if self.text.len() > MAX_PART {
                return Err(self.error("a text is too long"));
            }
            let tag = self.read_tag()?;
            match tag.first() {
                Some(b'?' | b'!') => self.special(&tag)?,
                Some(b'/') => {
                    let name = tag[1..].trim_ascii_end();
                    self.name = self
                        .open
                        .pop()
                        .filter(|open| open == name)
                        .ok_or_else(|| self.error("an end tag does not match"))?;
                    return Ok(Event::End(self.open.len() + 1, local(&self.name), &self.text));
                }
                _ => {
                    self.start(&tag)?;
                    let name = self.open.last().map(Vec::as_slice).unwrap_or_default();
                    return Ok(Event::Start(self.open.len(), local(name), &self.attributes));
                }
            }
        }
    }

    /// Adds the text of a CDATA section; skips comments and instructions.
    fn special(&mut self, tag: &[u8]) -> Result<(), Damage> {
        if let Some(text) = tag.strip_prefix(b"![CDATA[") {
            self.text.extend_from_slice(text.strip_suffix(b"]]").unwrap_or(text));
        } else if tag.starts_with(b"!DOCTYPE") && tag.contains(&b'[') {
            return Err(self.error("a document type with definitions is not supported"));
        }
        Ok(())
    }

    fn start(&mut self, tag: &[u8]) -> Result<(), Damage> {
        let (tag, ends) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let end = tag.iter().position(u8::is_ascii_whitespace).unwrap_or(tag.len());
        let (name, rest) = tag.split_at(end);
        if name.is_empty() || self.open.len() == MAX_DEPTH || (self.open.is_empty() && self.has_root) {
            return Err(self.error("an element is not possible here"));
        }
        self.attributes = attributes(rest).map_err(|reason| self.error(reason))?;
        self.open.push(name.to_vec());
        self.ends = ends;
        self.has_root = true;
        Ok(())
    }

    /// Reads a tag after its `<`. Returns it without the final `>`.
    fn read_tag(&mut self) -> Result<Vec<u8>, Damage> {
        let (mut tag, mut quote) = (Vec::new(), None);
        loop {
            let scanned = tag.len();
            if !self.read_until(b'>', &mut tag)? {
                return Err(self.error("the document is truncated"));
            }
            let is_complete = if tag.starts_with(b"!--") {
                tag.len() >= 5 && tag.ends_with(b"--")
            } else if tag.starts_with(b"![CDATA[") {
                tag.ends_with(b"]]")
            } else {
                quote = open_quote(quote, &tag[scanned..]);
                quote.is_none()
            };
            if is_complete {
                return Ok(tag);
            }
            tag.push(b'>');
        }
    }

    /// Appends the bytes up to `end`, which is consumed. Returns whether it was found.
    fn read_until(&mut self, end: u8, bytes: &mut Vec<u8>) -> Result<bool, Damage> {
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(Damage::at(self.offset, format!("cannot read: {cause}"))),
            };
            if buffer.is_empty() {
                return Ok(false);
            }
            let found = memchr::memchr(end, buffer);
            let length = found.unwrap_or(buffer.len());
            bytes.extend_from_slice(&buffer[..length]);
            let consumed = length + usize::from(found.is_some());
            self.input.consume(consumed);
            self.offset += consumed as u64;
            if bytes.len() > MAX_PART {
                return Err(self.error("a text or tag is too long"));
            }
            if found.is_some() {
                return Ok(true);
            }
        }
    }

    fn error(&self, reason: &str) -> Damage {
        Damage::at(self.offset, reason)
    }
}

/// Returns the quotation mark of the value that is still open after `bytes`; `quote` is the one
/// before them.
fn open_quote(mut quote: Option<u8>, bytes: &[u8]) -> Option<u8> {
    for &byte in bytes {
        match quote {
            Some(open) if open == byte => quote = None,
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            _ => {}
        }
    }
    quote
}

/// Returns a name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    memchr::memrchr(b':', name).map_or(name, |colon| &name[colon + 1..])
}

fn attributes(mut rest: &[u8]) -> Result<Vec<Attribute>, &'static str> {
    const DAMAGED: &str = "an attribute is damaged";
    let mut found = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(found);
        }
        let equals = memchr::memchr(b'=', rest).ok_or(DAMAGED)?;
        let name = rest[..equals].trim_ascii_end();
        rest = rest[equals + 1..].trim_ascii_start();
        let quote = *rest.first().filter(|first| matches!(first, b'"' | b'\'')).ok_or(DAMAGED)?;
        let end = memchr::memchr(quote, &rest[1..]).ok_or(DAMAGED)?;
        let mut value = Vec::new();
        append_decoded(&rest[1..1 + end], &mut value)?;
        found.push(Attribute { name: name.to_vec(), value });
        rest = &rest[end + 2..];
    }
}

/// Appends a text, with entities replaced.
fn append_decoded(mut text: &[u8], decoded: &mut Vec<u8>) -> Result<(), &'static str> {
    const DAMAGED: &str = "an entity is damaged";
    while let Some(at) = memchr::memchr(b'&', text) {
        decoded.extend_from_slice(&text[..at]);
        text = &text[at + 1..];
        let end = memchr::memchr(b';', &text[..text.len().min(12)]).ok_or(DAMAGED)?;
        let character = match &text[..end] {
            b"amp" => '&',
            b"lt" => '<',
            b"gt" => '>',
            b"quot" => '"',
            b"apos" => '\'',
            [b'#', number @ ..] => {
                let number = std::str::from_utf8(number).map_err(|_| DAMAGED)?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                code.ok().and_then(char::from_u32).ok_or(DAMAGED)?
            }
            _ => return Err(DAMAGED),
        };
        decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        text = &text[end + 1..];
    }
    decoded.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shows the events, with `!` and the reason of an error.
    fn show(text: &[u8]) -> String {
        // A small buffer splits every part.
        let mut input = std::io::BufReader::with_capacity(3, text);
        let mut reader = XmlReader::new(&mut input);
        let mut shown = String::new();
        loop {
            match reader.next() {
                Err(damage) => return format!("{shown}!{damage}"),
                Ok(Event::Finished) => return shown,
                Ok(Event::Start(_, name, attributes)) => {
                    shown += &format!("<{}", String::from_utf8_lossy(name));
                    for one in attributes {
                        shown += &format!(
                            " {}={}",
                            String::from_utf8_lossy(&one.name),
                            String::from_utf8_lossy(&one.value)
                        );
                    }
                    shown += ">";
                }
                Ok(Event::End(_, name, text)) => {
                    shown +=
                        &format!("{}</{}>", String::from_utf8_lossy(text), String::from_utf8_lossy(name));
                }
            }
        }
    }

    #[test]
    fn next_documents_return_events() {
        for (text, expected) in [
            ("<a/>", "<a></a>"),
            ("<?xml version='1.0'?>\n<!-- a > b --><a>x</a >\n", "<a>x</a>"),
            ("<r:a b='1' c = \"&lt;>&#65;&#x42;\"><r:d/>t</r:a>", "<a b=1 c=<>AB><d></d>t</a>"),
            ("<a>x<![CDATA[<&>]]>y&amp;z</a>", "<a>x<&>y&z</a>"),
            ("<!DOCTYPE a><a></a>", "<a></a>"),
            ("", "!the document is truncated at offset 0"),
            ("<a><b></a>", "<a><b>!an end tag does not match at offset 10"),
            ("<a>", "<a>!the document is truncated at offset 3"),
            ("<a", "!the document is truncated at offset 2"),
            ("<a/><b/>", "<a></a>!an element is not possible here at offset 8"),
            ("<a>&x;</a>", "<a>!an entity is damaged at offset 3"),
            ("<a b>", "!an attribute is damaged at offset 5"),
            (
                "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
                "!a document type with definitions is not supported at offset 28",
            ),
            ("x<a/>y", "<a></a>!the document is truncated at offset 6"),
        ] {
            assert_eq!(show(text.as_bytes()), expected, "{text}");
        }
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        assert!(show(deep.as_bytes()).ends_with("!an element is not possible here at offset 195"));
        // This takes long if the whole tag is scanned at each `>`.
        let quoted = format!("<a b='{}'/>", ">".repeat(MAX_PART - 10));
        assert!(show(quoted.as_bytes()).ends_with("></a>"));
        let long = format!("<a>{}", "x".repeat(MAX_PART + 10));
        assert!(show(long.as_bytes()).contains("!a text or tag is too long"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn next_any_text_ends(text in "(<a|</a>|<b c='|/>|>|&amp;|&#6;|<!--|-->|x|<!\\[CDATA\\[|\\]\\]>|\"| d=){0,12}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (show(text.as_bytes()), show(&bytes));
        }
    }
}

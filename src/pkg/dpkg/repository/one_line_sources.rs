//! Sources of the form `deb [options] uri suite components`, one per line (sources.list(5),
//! "one-line-style").

use super::source::{MAX_SOURCES, OPTIONS, Parts, Selection, Signer, Source, Style, signer, words};
use crate::model::problem::Problem;
use crate::model::problem::note;

/// Parses one file.
pub(super) fn parse(file: &[u8], content: &[u8]) -> (Vec<Source>, Vec<Problem>) {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in content.split(|&byte| byte == b'\n').enumerate() {
        let line = without_comment(line).trim_ascii();
        if line.is_empty() || sources.len() == MAX_SOURCES {
            continue;
        }
        match std::str::from_utf8(line).map_err(|_| "not UTF-8").and_then(|line| read_line(file, line)) {
            Ok(source) => sources.extend(source),
            Err(text) => note(&mut problems, number + 1, text),
        }
    }
    (sources, problems)
}

/// Removes a comment: a `#` outside of brackets, and the rest of the line.
fn without_comment(line: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'#' => return &line[..at],
            b'[' => at += memchr::memchr(b']', &line[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    line
}

/// Parses a line; `None` if it is not for binary packages.
fn read_line(file: &[u8], line: &str) -> Result<Option<Source>, &'static str> {
    let (kind, mut rest) = word(line).ok_or("not a source")?;
    match kind {
        "deb" => {}
        "deb-src" => return Ok(None),
        _ => return Err("neither deb nor deb-src"),
    }
    let (mut architectures, mut signed_by, mut options) = (Selection::default(), Vec::new(), Vec::new());
    if let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner.split_once(']').ok_or("no closing bracket after the options")?;
        for option in inside.split_ascii_whitespace() {
            let (name, value) = option.split_once('=').ok_or("an option without a value")?;
            read_option(name, value, &mut architectures, &mut signed_by, &mut options)?;
        }
        rest = after.trim_ascii_start();
    }
    let (uri, rest) = word(rest).ok_or("no address")?;
    let (suite, rest) = word(rest).ok_or("no suite")?;
    let components = words(rest).collect();
    let (uri, suite) = (uri.to_owned(), suite.to_owned());
    options.sort_by_key(|(field, _)| OPTIONS.iter().position(|(_, known)| known == field));
    let style = Style::OneLine;
    Parts { file, style, uri, suite, components, architectures, signed_by, options }.source().map(Some)
}

fn read_option(
    name: &str,
    value: &str,
    architectures: &mut Selection,
    signed_by: &mut Vec<Signer>,
    options: &mut Vec<(&'static str, String)>,
) -> Result<(), &'static str> {
    match name {
        "arch" => architectures.only = words(value).collect(),
        "arch+" => architectures.added = words(value).collect(),
        "arch-" => architectures.removed = words(value).collect(),
        "signed-by" => {
            let signers: Option<Vec<Signer>> = words(value).map(|word| signer(&word)).collect();
            *signed_by = signers.ok_or("signed-by is not a path or a fingerprint")?;
        }
        _ => {
            let known = OPTIONS.iter().find(|(option, _)| *option == name);
            options.extend(known.map(|(_, field)| (*field, value.to_owned())));
        }
    }
    Ok(())
}

/// Splits off the first word. White space in brackets or quotation marks belongs to the word.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let mut closing = None;
    let end = text.char_indices().find_map(|(at, character)| {
        match closing {
            Some(end) if character == end => closing = None,
            Some(_) => {}
            // Options are a word of their own, but a bracket inside an address (`cdrom:[...]`) is
            // part of it.
            None if character == '[' && at > 0 => closing = Some(']'),
            None if character == '"' => closing = Some('"'),
            None if character.is_ascii_whitespace() => return Some(at),
            None => {}
        }
        None
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (!word.is_empty()).then_some((word, rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines with the expected sources (address, suite, components), or the line of the problem.
    #[test]
    fn parse_lines_return_sources_as_apt() {
        for (line, expected) in [
            (
                "deb http://a.example/debian bookworm main contrib",
                "http://a.example/debian/|bookworm|main contrib",
            ),
            (
                "  deb\thttp://a.example/debian/ bookworm  main # comment",
                "http://a.example/debian/|bookworm|main",
            ),
            ("# deb http://a.example/debian bookworm main", ""),
            ("deb-src http://a.example/debian bookworm main", ""),
            (
                "deb http://a.example/debian buster/updates main\r",
                "http://a.example/debian/|buster/updates|main",
            ),
            ("deb [trusted=yes] file:/srv/repo ./", "file:/srv/repo/|./|"),
            ("deb http://a.example/flat /", "http://a.example/flat/|/|"),
            (
                "deb cdrom:[Debian GNU/Linux 12 #1]/ bookworm main",
                "cdrom:[Debian GNU/Linux 12 #1]/|bookworm|main",
            ),
            ("deb [ arch=amd64,i386 ] http://u:p@a.example/x y z", "http://a.example/x/|y|z"),
            ("deb cdrom:[x]http://u:p@a.example/debian bookworm main", "problem"),
            ("deb http://a.example/debian bookworm", "problem"),
            ("deb http://a.example/debian ./ main", "problem"),
            ("deb bookworm main", "problem"),
            ("deb [arch=amd64 http://a.example/x y z", "problem"),
            ("deb [signed-by=x] http://a.example/x y z", "problem"),
            ("rpm http://a.example/x y z", "problem"),
            ("deb http://a.example/\u{fffd}", "problem"),
        ] {
            let (sources, problems) = parse(b"etc/apt/sources.list", line.as_bytes());
            let show =
                |source: &Source| format!("{}|{}|{}", source.uri, source.suite, source.components.join(" "));
            let mut got = sources.iter().map(show).collect::<String>();
            problems.iter().for_each(|_| got.push_str("problem"));
            assert_eq!(got, expected, "{line}");
        }
    }

    #[test]
    fn parse_unknown_options_are_ignored() {
        let text = b"deb [arch+=armhf signed-by=/usr/share/keyrings/a.gpg,0123456789ABCDEF! lang=de \
            snapshot=enable check-valid-until=no trusted=yes] http://a.example/x y z";
        let (sources, problems) = parse(b"x", text);
        assert!(problems.is_empty());
        let source = &sources[0];
        assert_eq!(source.architectures.added, ["armhf"]);
        let signers = [
            Signer::File("/usr/share/keyrings/a.gpg".into()),
            Signer::Fingerprint("0123456789ABCDEF".into()),
        ];
        assert_eq!(source.signed_by, signers);
        let fields: Vec<_> = source.options.iter().map(|(field, value)| format!("{field}={value}")).collect();
        assert_eq!(fields, ["Trusted=yes", "Check-Valid-Until=no", "Snapshot=enable"]);
        assert!(source.is_trusted() && source.may_be_expired() && !source.has_credentials);
    }
}

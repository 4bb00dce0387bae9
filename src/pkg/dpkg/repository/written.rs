//! Sources as files for the build's apt, and the key files that they name.

use super::source::{OPTIONS, Selection, Signer, Source, Style};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the files with these sources, by path below `etc/apt`; `sources.list` is always one of
/// them.
///
/// Each source keeps its file, format and order, so that apt behaves as on the machine.
pub fn write(sources: &[Source]) -> BTreeMap<Box<[u8]>, String> {
    let mut files = BTreeMap::from([(b"sources.list".as_slice().into(), String::new())]);
    for source in sources {
        let name = source.file.strip_prefix(b"etc/apt/").unwrap_or(&source.file);
        let text: &mut String = files.entry(name.into()).or_default();
        match source.style {
            Style::OneLine => text.push_str(&one_line(source)),
            Style::Deb822 => text.push_str(&stanza(source)),
        }
    }
    files
}

/// Returns the key files that the sources name, relative to the root. Paths with `.` or `..` are
/// left out, because they could lead out of the root.
pub fn key_files(sources: &[Source]) -> BTreeSet<Box<[u8]>> {
    let signers = sources.iter().flat_map(|source| &source.signed_by);
    let files = signers.filter_map(|signer| match signer {
        Signer::File(path) => Some(path.trim_start_matches('/')),
        Signer::Fingerprint(_) | Signer::Inline(_) => None,
    });
    files.filter(|path| is_plain(path)).map(|path| path.as_bytes().into()).collect()
}

fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn one_line(source: &Source) -> String {
    let mut options: Vec<String> = architectures(&source.architectures)
        .into_iter()
        .map(|(sign, names)| format!("arch{sign}={}", names.join(",")))
        .collect();
    let signers: Vec<&str> = source.signed_by.iter().map(signer).collect();
    if !signers.is_empty() {
        options.push(format!("signed-by={}", signers.join(",")));
    }
    options.extend(source.options.iter().filter_map(|(field, value)| {
        let (name, _) = OPTIONS.iter().find(|(_, known)| known == field)?;
        Some(format!("{name}={}", value.replace(' ', ",")))
    }));
    let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
    let components = source.components.iter().map(|component| format!(" {component}"));
    format!("deb {options}{} {}{}\n", source.uri, source.suite, components.collect::<String>())
}

fn stanza(source: &Source) -> String {
    let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\n", source.uri, source.suite);
    let mut field = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\n"));
    if !source.components.is_empty() {
        field("Components", &source.components.join(" "));
    }
    for (sign, names) in architectures(&source.architectures) {
        let name = ["Architectures-Add", "Architectures-Remove", "Architectures"];
        field(name[["+", "-", ""].iter().position(|known| *known == sign).unwrap_or(2)], &names.join(" "));
    }
    match source.signed_by.as_slice() {
        [] => {}
        [Signer::Inline(key)] => {
            let lines = key.lines().map(|line| if line.is_empty() { "." } else { line });
            field("Signed-By", &lines.map(|line| format!("\n {line}")).collect::<String>());
        }
        signers => field("Signed-By", &signers.iter().map(signer).collect::<Vec<_>>().join(" ")),
    }
    source.options.iter().for_each(|(name, value)| field(name, value));
    text + "\n"
}

/// Returns the parts of the selection that are not empty, with the sign of the option.
fn architectures(selection: &Selection) -> Vec<(&'static str, &[String])> {
    let parts = [("", &selection.only), ("+", &selection.added), ("-", &selection.removed)];
    parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(sign, names)| (sign, names.as_slice()))
        .collect()
}

fn signer(signer: &Signer) -> &str {
    match signer {
        Signer::File(text) | Signer::Fingerprint(text) | Signer::Inline(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::parse;
    use super::*;

    const ONE_LINE: &str = "deb [arch=amd64,i386 signed-by=/k/a.gpg,/root/b.asc check-valid-until=no] \
        https://example.org/x/ bookworm main contrib\n\
        deb [arch+=armhf arch-=i386] http://example.org/y/ ./\n";
    const DEB822: &str = "Types: deb\nURIs: http://example.org/x/\nSuites: bookworm\nComponents: main\n\
        Architectures-Add: i386\nSigned-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n .\n \
        -----END PGP PUBLIC KEY BLOCK-----\nTrusted: yes\n\n\
        Types: deb\nURIs: http://example.org/x/\nSuites: ./\nSigned-By: 0123456789ABCDEF\n\n";

    #[test]
    fn write_parsed_sources_are_written_back() {
        let (mut sources, _) = parse(b"etc/apt/sources.list.d/a.list", ONE_LINE.as_bytes());
        sources.extend(parse(b"etc/apt/sources.list.d/b.sources", DEB822.as_bytes()).0);
        let files = write(&sources);
        let text = |name: &str| files.get(name.as_bytes()).unwrap().as_str();
        assert_eq!(text("sources.list"), "");
        assert_eq!(text("sources.list.d/a.list"), ONE_LINE);
        assert_eq!(text("sources.list.d/b.sources"), DEB822);
        let (odd, _) = parse(b"x", b"deb [signed-by=/../x,/k//y,/k/a\\b,/./z,/] http://example.org/ ./");
        assert!(key_files(&odd).is_empty() && odd[0].signed_by.len() == 5);
        let keys = ["k/a.gpg", "root/b.asc"].map(|path| Box::from(path.as_bytes()));
        assert_eq!(key_files(&sources), BTreeSet::from(keys));
    }
}

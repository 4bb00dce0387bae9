//! Sources in stanzas (sources.list(5), "deb822-style").

use super::source::{MAX_SOURCES, OPTIONS, Parts, Selection, Signer, Source, Style, boolean, signer, words};
use crate::model::problem::Problem;
use crate::model::problem::note;
use crate::pkg::dpkg::deb822::{Stanza, parse_keyed};

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Parses one file.
pub(super) fn parse(file: &[u8], content: &[u8]) -> (Vec<Source>, Vec<Problem>) {
    let (stanzas, mut problems) = parse_keyed(content, "Types");
    let mut sources = Vec::new();
    for stanza in stanzas {
        match read_stanza(file, &stanza, MAX_SOURCES - sources.len()) {
            Ok(found) => sources.extend(found),
            Err(text) => note(&mut problems, stanza.line(), text),
        }
    }
    (sources, problems)
}

fn read_stanza(file: &[u8], stanza: &Stanza<'_>, most: usize) -> Result<Vec<Source>, &'static str> {
    let enabled = text(stanza, "Enabled")?.and_then(boolean).unwrap_or(true);
    if !enabled || !list(stanza, "Types")?.iter().any(|kind| kind == "deb") {
        return Ok(Vec::new());
    }
    let architectures = Selection {
        only: list(stanza, "Architectures")?,
        added: list(stanza, "Architectures-Add")?,
        removed: list(stanza, "Architectures-Remove")?,
    };
    let signed_by = signers(text(stanza, "Signed-By")?.unwrap_or_default())?;
    let mut options = Vec::new();
    for (_, field) in OPTIONS {
        let value = text(stanza, field)?.map(|value| words(value).collect::<Vec<_>>().join(" "));
        options.extend(value.map(|value| (field, value)));
    }
    let (uris, suites) = (list(stanza, "URIs")?, list(stanza, "Suites")?);
    if uris.is_empty() || suites.is_empty() {
        return Err("no address or no suite");
    }
    let components = list(stanza, "Components")?;
    let pairs = uris.iter().flat_map(|uri| suites.iter().map(move |suite| (uri, suite)));
    pairs
        .take(most)
        .map(|(uri, suite)| {
            let (style, uri, suite) = (Style::Deb822, uri.clone(), suite.clone());
            let components = components.clone();
            let (architectures, signed_by) = (architectures.clone(), signed_by.clone());
            let options = options.clone();
            Parts { file, style, uri, suite, components, architectures, signed_by, options }.source()
        })
        .collect()
}

fn text<'a>(stanza: &Stanza<'a>, field: &str) -> Result<Option<&'a str>, &'static str> {
    stanza.get(field).map(std::str::from_utf8).transpose().map_err(|_| "not UTF-8")
}

fn list(stanza: &Stanza<'_>, field: &str) -> Result<Vec<String>, &'static str> {
    Ok(text(stanza, field)?.map(|value| words(value).collect()).unwrap_or_default())
}

/// Parses paths, fingerprints, or a key. The lines of a key are indented, and an empty one is a
/// dot.
fn signers(value: &str) -> Result<Vec<Signer>, &'static str> {
    if !value.starts_with(ARMOR) {
        let signers: Option<Vec<Signer>> = words(value).map(|word| signer(&word)).collect();
        return signers.ok_or("Signed-By is not a path, a fingerprint or a key");
    }
    let lines = value.lines().map(|line| match line.trim() {
        "." => "",
        line => line,
    });
    Ok(vec![Signer::Inline(lines.collect::<Vec<_>>().join("\n") + "\n")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_stanza_returns_source_per_address_and_suite() {
        let text = b"# by hand\nTypes: deb deb-src\nURIs: http://a.example/debian https://u:p@b.example/x\n\
            Suites: bookworm bookworm-updates\nComponents: main\n contrib\nSigned-By: /k/a.gpg /k/b.asc\n\
            architectures: amd64 i386\nTrusted: YES\nX-Repolib-Name: x\n\n\
            Types: deb-src\nURIs: http://c.example/\nSuites: x\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://d.example/\nSuites: x\nComponents: main\n\n\
            Types: deb\nURIs: file:/srv/repo\nSuites: ./\n";
        let (sources, problems) = parse(b"etc/apt/sources.list.d/x.sources", text);
        assert_eq!(problems, []);
        let names: Vec<String> = sources.iter().map(Source::name).collect();
        let expected = [
            "http://a.example/debian/ bookworm",
            "http://a.example/debian/ bookworm-updates",
            "https://b.example/x/ bookworm",
            "https://b.example/x/ bookworm-updates",
            "file:/srv/repo/ ./",
        ];
        assert_eq!(names, expected);
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(sources[0].architectures.only, ["amd64", "i386"]);
        assert_eq!(sources[0].signed_by.len(), 2);
        assert_eq!(
            (sources[0].is_trusted(), sources[2].has_credentials, sources[4].is_local),
            (true, true, true)
        );
    }

    #[test]
    fn parse_inline_key_is_kept() {
        let text = b"Types: deb\nURIs: http://a.example/\nSuites: x/\nSigned-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFit\n =abcd\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let (sources, problems) = parse(b"x.sources", text);
        assert_eq!(problems, []);
        let key =
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBFit\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(sources[0].signed_by, [Signer::Inline(key.into())]);
    }

    #[test]
    fn parse_incomplete_stanza_is_a_problem() {
        for text in [
            "URIs: http://a.example/\nSuites: x/\n",
            "Types: deb\nSuites: x/\n",
            "Types: deb\nURIs: nonsense\nSuites: x/\n",
            "Types: deb\nURIs: http://a.example/\nSuites: x\n",
            "Types: deb\nURIs: http://a.example/\nSuites: x/\nSigned-By: unknown\n",
        ] {
            let (sources, problems) = parse(b"x.sources", text.as_bytes());
            assert_eq!((sources.len(), problems.len()), (0, 1), "{text}");
        }
    }
}

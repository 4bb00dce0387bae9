//! Lists of mirrors: plain lists of URLs, and metalinks (RFC 5854 and its predecessor 3.0).

use super::super::xml::{Event, XmlReader, attribute};
use super::variables::Variables;

/// Maximum number of mirrors of a repository that are read.
const MAX_MIRRORS: usize = 1000;
/// File that metalinks of repositories describe.
const DESCRIBED: &str = "repodata/repomd.xml";

/// Addresses of a repository, and what its metalink states about `repomd.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// URLs with a final slash, in the order of preference.
    pub urls: Vec<String>,
    /// SHA-256 digests of `repomd.xml` in hexadecimal, of which one must match; empty if unknown.
    pub digests: Vec<String>,
}

/// Parses a list of URLs, one per line. Other lines are skipped, as yum and dnf do.
pub(super) fn parse_list(text: &[u8], variables: &Variables) -> Mirrors {
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let urls = lines.filter_map(|line| {
        Some(variables.replace(std::str::from_utf8(line).ok()?).ok()?.trim_end_matches('/').to_owned() + "/")
    });
    Mirrors { urls: urls.filter(|url| is_http(url)).take(MAX_MIRRORS).collect(), digests: Vec::new() }
}

/// Parses a metalink. Damage ends the list.
pub(super) fn parse_metalink(text: &[u8]) -> Mirrors {
    let mut input = text;
    let mut reader = XmlReader::new(&mut input);
    let mut mirrors = Mirrors::default();
    let mut is_sha256 = false;
    while let Ok(event) = reader.next() {
        match event {
            Event::Finished => break,
            Event::Start(_, b"hash", attributes) => {
                is_sha256 = matches!(attribute(attributes, "type"), b"sha256" | b"sha-256");
            }
            Event::End(_, b"hash", text) if is_sha256 && mirrors.digests.len() < MAX_MIRRORS => {
                let digits = String::from_utf8_lossy(text.trim_ascii()).to_ascii_lowercase();
                mirrors.digests.push(digits);
            }
            Event::End(_, b"url", text) if mirrors.urls.len() < MAX_MIRRORS => {
                let url = std::str::from_utf8(text.trim_ascii()).ok();
                let url = url.and_then(|url| url.strip_suffix(DESCRIBED)).filter(|url| is_http(url));
                mirrors.urls.extend(url.map(str::to_owned));
            }
            Event::Start(..) | Event::End(..) => {}
        }
    }
    mirrors
}

fn is_http(url: &str) -> bool {
    (url.starts_with("http://") || url.starts_with("https://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_list_returns_http_urls() {
        let text = b"# mirrors\nhttp://a.example/9/$basearch\n\nftp://b.example/\nrsync://c.example/\nhttps://d.example/9/\n";
        let mirrors = parse_list(text, &Variables::of([("basearch", "x86_64")]));
        assert_eq!(mirrors.urls, ["http://a.example/9/x86_64/", "https://d.example/9/"]);
        assert!(mirrors.digests.is_empty());
    }

    #[test]
    fn parse_metalink_returns_urls_and_digests() {
        let text = br#"<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files>
            <file name="repomd.xml"><mm0:timestamp>1</mm0:timestamp><size>5</size><verification>
            <hash type="md5">00</hash><hash type="sha256">AB01</hash></verification>
            <mm0:alternates><mm0:alternate><verification><hash type="sha256">cd02</hash></verification></mm0:alternate></mm0:alternates>
            <resources maxconnections="1"><url protocol="rsync" type="rsync">rsync://a.example/repodata/repomd.xml</url>
            <url protocol="https" type="https" preference="100">https://b.example/9/os/repodata/repomd.xml</url>
            <url protocol="http">http://c.example/x</url></resources></file></files></metalink>"#;
        let mirrors = parse_metalink(text);
        assert_eq!(mirrors.urls, ["https://b.example/9/os/"]);
        assert_eq!(mirrors.digests, ["ab01", "cd02"]);
        for end in 0..text.len() {
            parse_metalink(&text[..end]);
        }
    }
}

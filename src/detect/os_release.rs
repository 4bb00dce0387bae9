//! Which distribution this is, from `os-release(5)`, and which official image belongs to it.

use crate::findings::Findings;
use crate::root::Root;
use serde::Serialize;

/// The fields of `os-release` that decide about the base image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OsRelease {
    /// `ID`, in lower case.
    pub id: String,
    /// `VERSION_ID`; empty for Debian testing and unstable.
    pub version_id: String,
    /// `VERSION_CODENAME`.
    pub codename: String,
    /// `PRETTY_NAME`, for people.
    pub pretty_name: String,
}

/// Distribution, first and last release with that naming (empty: any), and the image's name.
///
/// Checked on 2026-11-22 against the official images' library. The text before `:` is the repository; the
/// release follows.
const IMAGES: &[(&str, &str)] = &[("debian", "debian")];

impl OsRelease {
    /// Reads `/etc/os-release`, else `/usr/lib/os-release`; without either everything is empty and there is a finding.
    pub fn load(root: &Root, findings: &mut Findings) -> Self {
        let read = root.read(b"etc/os-release").or_else(|_| root.read(b"usr/lib/os-release"));
        read.map(|text| parse(&text)).unwrap_or_else(|cause| {
            findings.note("os-release", b"etc/os-release", format!("the distribution is not known: {cause}"));
            OsRelease::default()
        })
    }

    /// The official image of this distribution and release, if the table has one.
    pub fn image(&self) -> Option<String> {
        let (_, repository) = IMAGES.iter().find(|(id, _)| *id == self.id)?;
        let release = if self.version_id.is_empty() { &self.codename } else { &self.version_id };
        let is_tag =
            !release.is_empty() && release.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        is_tag.then(|| format!("{repository}:{release}"))
    }

    /// Whether the distribution's image has a merged `/usr`: Debian's since 12.
    pub fn image_is_merged(&self) -> bool {
        let version: Option<u32> = self.version_id.split('.').next().and_then(|major| major.parse().ok());
        self.id == "debian" && version.is_none_or(|version| version >= 12)
    }
}

/// Parses `os-release(5)`: `NAME=value` lines, values quoted as in a shell. Of several lines for a name the last counts.
pub fn parse(text: &[u8]) -> OsRelease {
    let mut os = OsRelease::default();
    for line in String::from_utf8_lossy(text).lines() {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let field = match name {
            "ID" => &mut os.id,
            "VERSION_ID" => &mut os.version_id,
            "VERSION_CODENAME" => &mut os.codename,
            "PRETTY_NAME" => &mut os.pretty_name,
            _ => continue,
        };
        *field = unquote(value);
    }
    os.id.make_ascii_lowercase();
    os
}

fn unquote(value: &str) -> String {
    match value.as_bytes() {
        [b'\'', .., b'\''] => value[1..value.len() - 1].to_owned(),
        [b'"', .., b'"'] => {
            let mut text = String::new();
            let mut characters = value[1..value.len() - 1].chars();
            while let Some(character) = characters.next() {
                text.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
            }
            text
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_map_to_images() {
        for (text, image) in [
            ("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", Some("debian:12")),
            ("ID='debian'\nVERSION_ID=11\n", Some("debian:11")),
            ("ID=debian\nVERSION_CODENAME=forky\n", Some("debian:forky")),
            ("ID=debian\n", None),
            ("ID=debian\nVERSION_ID=\"12; rm -rf /\"\n", None),
            ("ID=haiku\nVERSION_ID=1\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()).image().as_deref(), image, "{text}");
        }
    }

    #[test]
    fn quotes_are_a_shells() {
        let os = parse(b"PRETTY_NAME=\"A \\\"B\\\" \\$C\"\nID=\xff\nnonsense\n# ID=x");
        assert_eq!(os.pretty_name, "A \"B\" $C");
        assert_eq!(parse(b"ID=\"").id, "\"");
    }
}

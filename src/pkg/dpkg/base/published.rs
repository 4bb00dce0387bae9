//! Published package lists of official images: a few kilobytes instead of the image.
//!
//! Both formats are created by `dpkg-query -W` in the finished image: the `rootfs.manifest` files
//! that the builders of Debian's images publish, and the pages of docker-library/repo-info.

use super::package_list::{self, Listed, PackageList};
use crate::model::escape;
use crate::pkg::Catalog;
use crate::transfer::net::{Client, Request};

/// The image of the requested list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Name without host: `debian`, `library/debian`, `debian/eol`.
    pub repository: &'a str,
    /// Tag, such as `12`.
    pub tag: &'a str,
    /// Digest of the image, if known. Only a list of exactly this image is used then.
    pub digest: Option<&'a str>,
    /// Codename of the release, such as `bookworm`; empty if unknown.
    pub codename: &'a str,
    /// Docker's name of the architecture, such as `arm/v7`.
    pub architecture: &'a str,
}

/// Function that fetches a document by URL, up to a maximum of bytes. The error is a message.
type Get<'a> = dyn FnMut(&str, u64) -> Result<Vec<u8>, String> + 'a;

/// A publisher of lists.
struct Publisher {
    kind: Kind,
    /// URL template of the list.
    list: &'static str,
    /// URL template of the document that identifies the image of the list; empty for none.
    witness: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pages of docker-library/repo-info; only for amd64 images.
    Page,
    /// Debian's manifests of the current images of its tags.
    Debian,
    /// Debian's manifests of releases past their end of life.
    DebianEol,
}

/// Publishers in the order of the queries, checked on 2026-11-22. Pages come from an image that
/// was pulled; Debian's manifests are published a day or two before the images.
const PUBLISHERS: &[Publisher] = &[
    Publisher {
        kind: Kind::Page,
        list: "https://raw.githubusercontent.com/docker-library/repo-info/master/repos/{image}/local/{tag}.md",
        witness: "https://raw.githubusercontent.com/docker-library/repo-info/master/repos/{image}/remote/{tag}.md",
    },
    Publisher {
        kind: Kind::Debian,
        list: "https://raw.githubusercontent.com/debuerreotype/docker-debian-artifacts/dist-{arch}/{suite}/{slim}rootfs.manifest",
        witness: "https://raw.githubusercontent.com/debuerreotype/docker-debian-artifacts/dist-{arch}/serial",
    },
    Publisher {
        kind: Kind::DebianEol,
        list: "https://raw.githubusercontent.com/debuerreotype/docker-debian-eol-artifacts/dist-{suite}/{suite}/{arch}/{slim}rootfs.manifest",
        witness: "",
    },
];

/// Docker's names of architectures, and the names of the publishers' branches.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("386", "i386"),
    ("amd64", "amd64"),
    ("arm/v5", "arm32v5"),
    ("arm/v7", "arm32v7"),
    ("arm64", "arm64v8"),
    ("arm64/v8", "arm64v8"),
    ("mips64le", "mips64le"),
    ("ppc64le", "ppc64le"),
    ("riscv64", "riscv64"),
    ("s390x", "s390x"),
];

/// Size limits in bytes. A page of Debian 13 has 84 KB, a manifest 2 KB.
const PAGE_LIMIT: u64 = 4 << 20;
const MANIFEST_LIMIT: u64 = 256 << 10;
const SERIAL_LIMIT: u64 = 1 << 10;
/// Maximum number of packages. An image's list has about a hundred; no distribution has this
/// many.
const MAX_PACKAGES: usize = 100_000;

/// Returns the list of an image from the first publisher that has it. The error contains the
/// reason of each publisher.
pub fn fetch(image: &Image<'_>, catalog: &Catalog, client: &Client) -> Result<PackageList, String> {
    let mut get = |address: &str, limit: u64| {
        client.get_bytes(&Request::new(address, limit)).map_err(|failure| failure.to_string())
    };
    fetch_with(image, catalog, &mut get)
}

fn fetch_with(image: &Image<'_>, catalog: &Catalog, get: &mut Get<'_>) -> Result<PackageList, String> {
    let mut reasons = Vec::new();
    for publisher in PUBLISHERS {
        let Some(place) = ListUrl::of(publisher, image) else { continue };
        match place.read(image, catalog, get) {
            Ok(list) => return Ok(list),
            Err(reason) => reasons.push(reason),
        }
    }
    match reasons.is_empty() {
        true => Err("no publisher has a package list of this image".to_owned()),
        false => Err(reasons.join("; ")),
    }
}

/// Location of a publisher's list of an image.
struct ListUrl<'a> {
    publisher: &'a Publisher,
    /// Repository as users write it.
    name: &'a str,
    tag: &'a str,
    /// Publisher's name of the architecture.
    architecture: &'static str,
    /// Suite, for Debian's lists.
    suite: &'a str,
    slim: bool,
    /// Date in the tag.
    day: Option<&'a str>,
}

impl<'a> ListUrl<'a> {
    fn of(publisher: &'a Publisher, image: &Image<'a>) -> Option<Self> {
        let name = image.repository.strip_prefix("library/").unwrap_or(image.repository);
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if image.tag.is_empty() || !plain(image.tag) || !plain(image.codename) {
            return None;
        }
        let (_, architecture) = ARCHITECTURES.iter().find(|(docker, _)| *docker == image.architecture)?;
        let (rest, slim) = image.tag.strip_suffix("-slim").map_or((image.tag, false), |rest| (rest, true));
        let (rest, day) = dated(rest).map_or((rest, None), |(rest, day)| (rest, Some(day)));
        let is_version = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let suite = if is_version { image.codename } else { rest };
        let is_suite = !suite.is_empty() && suite.bytes().all(|b| b.is_ascii_lowercase());
        let fits = match publisher.kind {
            Kind::Page => *architecture == "amd64" && !name.is_empty() && plain(name),
            // The tag of a point release stays behind at the next one, so today's manifest is of
            // another image.
            Kind::Debian => name == "debian" && is_suite && !rest.contains('.'),
            Kind::DebianEol => name == "debian/eol" && is_suite && day.is_none(),
        };
        fits.then_some(ListUrl { publisher, name, tag: image.tag, architecture, suite, slim, day })
    }

    fn fill(&self, template: &str) -> String {
        let slim = if self.slim { "slim/" } else { "" };
        let fields = [
            ("{image}", self.name),
            ("{tag}", self.tag),
            ("{arch}", self.architecture),
            ("{suite}", self.suite),
            ("{slim}", slim),
        ];
        fields.iter().fold(template.to_owned(), |text, (field, value)| text.replace(field, value))
    }

    fn read(&self, image: &Image<'_>, catalog: &Catalog, get: &mut Get<'_>) -> Result<PackageList, String> {
        let address = self.fill(self.publisher.list);
        let at = |reason: String| format!("{address}: {reason}");
        let (packages, witnessed) = if self.publisher.kind == Kind::Page {
            let page = read_page(&get(&address, PAGE_LIMIT)?).map_err(at)?;
            let witnessed = self.witness_page(&page, get);
            (page.packages, witnessed)
        } else {
            let packages = read_manifest(&get(&address, MANIFEST_LIMIT)?).map_err(at)?;
            (packages, self.witness_serial(get).map_err(at)?)
        };
        let Witnessed { tag, digest } = witnessed;
        if image.digest.is_some() && image.digest != digest.as_deref() {
            return Err(at("cannot be matched to the image with this digest".to_owned()));
        }
        let packages = package_list::complete(packages, catalog);
        Ok(PackageList { packages, source: address, tag, digest })
    }

    fn witness_page(&self, page: &Page, get: &mut Get<'_>) -> Witnessed {
        let remote = get(&self.fill(self.publisher.witness), PAGE_LIMIT).unwrap_or_default();
        // Debian's images have midnight of their date as the time of creation; others have the
        // real time.
        let date = page.created.as_deref().and_then(|time| time.strip_suffix("T00:00:00Z"));
        let date = date.map(|day| day.replace('-', "")).filter(|day| self.name == "debian" && is_day(day));
        let tag = match self.day {
            Some(_) => Some(self.tag.to_owned()),
            None => date.as_deref().and_then(|day| self.dated_tag(day)),
        };
        Witnessed { tag, digest: index_digest(&remote, &page.image_id) }
    }

    fn witness_serial(&self, get: &mut Get<'_>) -> Result<Witnessed, String> {
        if self.publisher.witness.is_empty() {
            return Ok(Witnessed::default());
        }
        let serial = get(&self.fill(self.publisher.witness), SERIAL_LIMIT)?;
        let serial = String::from_utf8_lossy(&serial).trim().to_owned();
        if !is_day(&serial) {
            return Err("the publisher's serial is not a date".to_owned());
        }
        if self.day.is_some_and(|day| day != serial) {
            return Err(format!("the published list is of {serial}"));
        }
        Ok(Witnessed { tag: self.dated_tag(&serial), digest: None })
    }

    /// Returns the tag of one date's image, which never changes.
    fn dated_tag(&self, day: &str) -> Option<String> {
        let is_suite = self.suite.bytes().all(|b| b.is_ascii_lowercase()) && !self.suite.is_empty();
        is_suite.then(|| format!("{}-{day}{}", self.suite, if self.slim { "-slim" } else { "" }))
    }
}

/// Image that a list describes.
#[derive(Default)]
struct Witnessed {
    tag: Option<String>,
    digest: Option<String>,
}

/// Splits `bookworm-20260803` or `noble-20260730.1` at its date; the number after the date
/// belongs to it.
pub fn dated(tag: &str) -> Option<(&str, &str)> {
    let (name, day) = tag.rsplit_once('-')?;
    let (date, build) = day.split_once('.').unwrap_or((day, "0"));
    let is_build = !build.is_empty() && build.bytes().all(|b| b.is_ascii_digit());
    (is_day(date) && is_build && !name.is_empty()).then_some((name, day))
}

fn is_day(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Parses `name[:architecture]<TAB>version` lines. Every line must match, so an error page is
/// rejected.
pub fn read_manifest(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not a package list".to_owned())?;
    let mut packages = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let listed = line.split_once('\t').and_then(|(name, version)| Listed::parse(name, version));
        packages.push(listed.ok_or_else(|| format!("line {} is not a package and version", number + 1))?);
    }
    checked(packages)
}

/// A page of repo-info's `local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Digest (`sha256:...`) of the image's configuration.
    pub image_id: String,
    /// Time of the image's creation, RFC 3339.
    pub created: Option<String>,
    /// Packages of the image.
    pub packages: Vec<Listed>,
}

/// Parses a page: `- Image ID: ...`, and the lines of the form "- `name[:architecture]=version`"
/// below the heading `Binary Packages:` of each source package.
pub fn read_page(bytes: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not a page of package lists".to_owned())?;
    let mut page = Page { image_id: String::new(), created: None, packages: Vec::new() };
    let mut in_packages = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(id) = quoted(line, "- Image ID: ") {
            page.image_id = id.to_owned();
        } else if let Some(time) = quoted(line, "- Created: ") {
            page.created = Some(time.to_owned());
        } else if line == "- Arch: `linux`/`amd64`" || line.is_empty() {
            continue;
        } else if line.starts_with("- Arch: ") {
            return Err("for an image of another architecture".to_owned());
        } else if line == "Binary Packages:" {
            in_packages = true;
        } else if let Some(item) = quoted(line, "- ").filter(|_| in_packages) {
            let listed = item.split_once('=').and_then(|(name, version)| Listed::parse(name, version));
            let error = || format!("line {} is not a package and version", number + 1);
            page.packages.push(listed.ok_or_else(error)?);
        } else {
            in_packages = false;
        }
    }
    page.packages = checked(page.packages)?;
    Ok(page)
}

/// Returns the digest of the index that has the image with this configuration for amd64, from a
/// page of repo-info's `remote`.
pub fn index_digest(bytes: &[u8], image_id: &str) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut sections = text.split("\n### ");
    let head = sections.next()?;
    let is_ours = |section: &str| {
        let mut lines = section.lines();
        lines.next().is_some_and(|title| title.ends_with(" - linux; amd64"))
            && lines.any(|line| quoted(line, "-\tImage ID: ") == Some(image_id))
    };
    let pull = head.lines().find_map(|line| line.strip_prefix("$ docker pull "))?;
    let (_, digest) = pull.split_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    let is_digest = escape::unhex::<32>(hex.as_bytes()).is_some() && !image_id.is_empty();
    (is_digest && sections.any(is_ours)).then(|| digest.to_owned())
}

/// Returns the text between backquotes after the start of a line.
fn quoted<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_prefix('`')?.strip_suffix('`')
}

fn checked(packages: Vec<Listed>) -> Result<Vec<Listed>, String> {
    if packages.len() > MAX_PACKAGES {
        return Err(format!("more than {MAX_PACKAGES} packages"));
    }
    match package_list::is_base_system(packages.iter().map(|listed| listed.name.as_str())) {
        true => Ok(packages),
        false => Err("not the package list of a Debian system".to_owned()),
    }
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;

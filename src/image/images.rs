//! Base images of distributions: the table `images.tsv`, and the parents of derivatives.

use crate::detect::os_release::OsRelease;
use crate::glob;
use crate::model::escape;
use crate::pkg::dpkg::base::profile::{self, Profile};

const TABLE: &str = include_str!("images.tsv");
/// Maximum number of `=ID` references to follow: from `el` to a rebuild, and from there to its
/// image.
const MAX_PARENTS: usize = 3;

/// Base image of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Repository and tag for `FROM`. Contains no characters with a meaning in a Dockerfile.
    pub reference: String,
    /// Differences between the image and an installation of its packages.
    pub profile: Profile,
    /// Reason for the choice, for the summary.
    pub reason: String,
    /// Note about the image for the user; can be empty.
    pub note: String,
}

/// Returns the image of this distribution and release or, for a derivative, of its parent.
///
/// Returns `None` if the table has neither.
pub fn of(os: &OsRelease) -> Option<Image> {
    let own = Release::new(&os.id, &os.name, &os.version_id, &os.codename);
    let shown = escape::escape(os.shown().as_bytes());
    if own.find().is_some_and(|row| row.image == "-") {
        return None;
    }
    let known = own.follow().and_then(|(row, release)| {
        let reason = match release == own {
            true => format!("official image of {shown}"),
            false => format!("no image is known for {shown}; using its closest release, {release}"),
        };
        row.fill(&release, reason)
    });
    known.or_else(|| {
        parents(os).into_iter().find_map(|(parent, field)| {
            let (row, parent) = parent.follow()?;
            row.fill(&parent, format!("no image is known for {shown}; using its parent, {parent} ({field})"))
        })
    })
}

/// Returns the profile of an image that the user has set.
///
/// If it is neither the distribution's image nor a mirrored copy (`HOST/library/NAME`), it is
/// assumed to be for the same distribution. Then only the merged `/usr` is known.
pub(super) fn profile_of(reference: &str, os: &OsRelease) -> Profile {
    let Some(image) = of(os) else { return Profile::default() };
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let name = name.split_once("/library/").map_or(name, |(_, name)| name);
    match name.strip_prefix(&*image.reference) {
        Some("") => image.profile,
        Some("-slim") => image.profile.slim(),
        _ => Profile { merged_usr: image.profile.merged_usr, ..Profile::default() },
    }
}

/// Line of the table about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    id: &'static str,
    name: &'static str,
    releases: &'static str,
    image: &'static str,
    usr: &'static str,
    profile: &'static str,
    note: &'static str,
}

/// Release of a distribution, with version and codename completed from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Release<'a> {
    id: &'a str,
    name: &'a str,
    version: String,
    codename: String,
}

impl std::fmt::Display for Release<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let release = if self.version.is_empty() { &self.codename } else { &self.version };
        write!(out, "{} {}", self.id, escape::escape(release.as_bytes()))
    }
}

impl<'a> Release<'a> {
    /// Completes version and codename. A known codename overrides the version, because
    /// derivatives that kept the `ID` of their parent have versions of their own.
    fn new(id: &'a str, name: &'a str, version: &str, codename: &str) -> Self {
        let (known, number) = match codenames().find(|&(known, of, _)| known == codename && of == id) {
            Some((known, _, number)) => (known, number),
            None => (codename, version),
        };
        let is_number = components(number).is_some();
        let by_number = || codenames().find(|&(_, of, release)| of == id && includes(release, number));
        let codename = match by_number().filter(|_| is_number) {
            Some((codename, _, _)) => codename,
            None => known,
        };
        Release { id, name, version: number.to_owned(), codename: codename.to_owned() }
    }

    fn find(&self) -> Option<Row> {
        rows().find(|row| {
            row.id == self.id
                && (row.name == "*" || row.name == self.name)
                && includes(row.releases, &self.version)
        })
    }

    /// Follows `=ID` to a row with an image. Returns the row and the release that it is for.
    fn follow(&self) -> Option<(Row, Release<'a>)> {
        let mut release = self.clone();
        for _ in 0..MAX_PARENTS {
            let row = release.find()?;
            let Some(parent) = row.image.strip_prefix('=') else { return Some((row, release)) };
            let (id, version) = parent.split_once(':').unwrap_or((parent, &release.version));
            release = Release::new(id, "", version, version);
        }
        None
    }
}

impl Row {
    /// Returns the image for a release. `None` if the release lacks a value that the reference
    /// needs, or if the value is not valid in a tag.
    fn fill(&self, release: &Release<'_>, reason: String) -> Option<Image> {
        let numbers: Vec<&str> = release.version.split('.').collect();
        let values = [
            ("{version}", release.version.as_str()),
            ("{major}", numbers.first().copied().unwrap_or_default()),
            ("{minor}", numbers.get(1).copied().unwrap_or("0")),
            ("{codename}", release.codename.as_str()),
        ];
        let mut reference = self.image.to_owned();
        for (place, value) in values {
            if reference.contains(place) {
                let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if value.is_empty() || value.len() > 32 || !value.bytes().all(is_tag) {
                    return None;
                }
                reference = reference.replace(place, value);
            }
        }
        let profile = Profile { merged_usr: self.usr == "merged", ..profile::by_name(self.profile)? };
        Some(Image { reference, profile, reason, note: self.note.to_owned() })
    }
}

/// Returns possible parents of a derivative, the most reliable first, each with the os-release(5)
/// field that states it.
fn parents(os: &OsRelease) -> Vec<(Release<'_>, &'static str)> {
    let by_codename = [
        (&os.ubuntu_codename, "UBUNTU_CODENAME"),
        (&os.debian_codename, "DEBIAN_CODENAME"),
        (&os.codename, "VERSION_CODENAME"),
    ];
    let by_codename = by_codename.into_iter().filter_map(|(codename, field)| {
        let (_, id, release) = codenames().find(|(known, ..)| known == codename)?;
        Some((Release::new(id, "", release, release), field))
    });
    let by_platform =
        platform(&os.platform).map(|(id, release)| (Release::new(id, "", release, ""), "PLATFORM_ID"));
    let is_ubuntu = os.id_like.iter().any(|id| id == "ubuntu");
    let by_id = os.id_like.iter().filter_map(|id| {
        let (id, version) = match id.as_str() {
            // Derivatives of Debian and Ubuntu have versions of their own. /etc/debian_version is
            // used for Debian; Ubuntu's names the next Debian release, not its parent.
            "debian" if !is_ubuntu => ("debian", os.debian_version.as_str()),
            "debian" | "ubuntu" => return None,
            "rhel" | "centos" => ("el", os.version_id.as_str()),
            id => (id, os.version_id.as_str()),
        };
        (id != "debian" || components(version).is_some())
            .then(|| (Release::new(id, "", version, ""), "ID_LIKE"))
    });
    by_codename.chain(by_platform).chain(by_id).collect()
}

/// Parses `PLATFORM_ID` values such as `el9` and `f43` into family and release.
fn platform(platform: &str) -> Option<(&'static str, &str)> {
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let enterprise = platform.strip_prefix("el").filter(is_number).map(|release| ("el", release));
    enterprise.or_else(|| platform.strip_prefix('f').filter(is_number).map(|release| ("fedora", release)))
}

/// Returns the fields of the table's lines of one kind, without the first field.
fn lines(kind: &'static str) -> impl Iterator<Item = impl Iterator<Item = &'static str>> {
    TABLE.lines().filter_map(move |line| {
        let mut fields = line.split('\t');
        (fields.next() == Some(kind)).then_some(fields)
    })
}

fn rows() -> impl Iterator<Item = Row> {
    lines("image").filter_map(|mut fields| {
        Some(Row {
            id: fields.next()?,
            name: fields.next()?,
            releases: fields.next()?,
            image: fields.next()?,
            usr: fields.next()?,
            profile: fields.next()?,
            note: fields.next()?,
        })
    })
}

/// Returns all codenames, each with `ID` and release.
fn codenames() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    lines("codename").filter_map(|mut fields| Some((fields.next()?, fields.next()?, fields.next()?)))
}

/// Whether the `releases` field of the table includes a version: `*`, `A..B`, `A`, or a pattern.
fn includes(releases: &str, version: &str) -> bool {
    if releases == "*" {
        return true;
    }
    let (from, to) = releases.split_once("..").unwrap_or((releases, releases));
    let Some(from) = components(from) else {
        return glob::matches(releases.as_bytes(), version.as_bytes());
    };
    let Some(version) = components(version) else { return false };
    let is_within = components(to).is_none_or(|to| shortened(&version, &to) <= to);
    shortened(&version, &from) >= from && is_within
}

/// Parses the numbers of a version. Returns `None` if it has other characters.
fn components(version: &str) -> Option<Vec<u32>> {
    let is_version = version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let numbers = || version.split('.').map(|number| number.parse().ok()).collect();
    if is_version { numbers() } else { None }
}

/// Shortens a version to as many components as the bound has, so that a bound of `8` includes
/// 8.x.
fn shortened(version: &[u32], bound: &[u32]) -> Vec<u32> {
    (0..bound.len()).map(|index| version.get(index).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;

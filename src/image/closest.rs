//! Finds the dated tag of an image that is closest to the machine.
//!
//! A machine that was not upgraded for some time has older packages than the current image. The
//! build downgrades each package that differs, and both versions stay in the layers of the image.

use crate::model::size;
use crate::pkg::dpkg::base::published::dated;
use crate::pkg::dpkg::repository::date;
use crate::pkg::{Catalog, Pin};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Maximum number of package lists to fetch. A release has about a hundred dated tags.
const MAX_LISTS: usize = 4;

/// Current image, and the tags to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Name before the tag: `debian`.
    pub repository: &'a str,
    /// Current tag, which moves: `12` or `bookworm-slim`.
    pub tag: &'a str,
    /// Packages of the current image.
    pub packages: &'a [Pin],
    /// All tags of the repository.
    pub tags: &'a [String],
    /// Codename of the release.
    pub codename: &'a str,
    /// Day of the last change of the machine's packages, in days since 1970-01-01.
    pub day: i64,
    /// Packages of the machine.
    pub catalog: &'a Catalog,
}

/// Result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    /// Tag for `FROM`: the current one or a dated one.
    pub tag: String,
    /// Packages of that image.
    pub packages: Vec<Pin>,
    /// Reason for the choice, for the summary.
    pub reason: String,
}

/// Finds the tag whose packages differ least from the machine's, by installed size.
///
/// Returns the current tag if the machine's packages are not older on balance, or if no other tag
/// is closer. `packages_of` returns the packages of a tag, or `None` if they are not available.
/// It is called at most four times.
///
/// The search starts at the tag nearest to `day` and goes to older or newer tags, depending on
/// the versions. The steps double until the search has passed the target, then it bisects.
pub fn closest(search: &Search<'_>, packages_of: &mut dyn FnMut(&str) -> Option<Vec<Pin>>) -> Closest {
    let mut seen: Vec<(&str, Vec<Pin>)> = vec![(search.tag, search.packages.to_vec())];
    let candidates = candidates(search);
    if balance(search.packages, search.catalog).is_lt() && !candidates.is_empty() {
        fetch_nearest(search, &candidates, packages_of, &mut seen);
    }
    let names: BTreeSet<Key<'_>> = seen.iter().flat_map(|(_, packages)| packages.iter().map(key)).collect();
    let differences: Vec<Difference> =
        seen.iter().map(|(_, packages)| difference(packages, &names, search.catalog)).collect();
    // min_by_key returns the first of equal elements, so the current tag is preferred.
    let best = (0..seen.len()).min_by_key(|&at| differences[at]).unwrap_or_default();
    let name = |at: usize| format!("{}:{}", search.repository, seen[at].0);
    let mut reason = format!("{}: {}", name(best), differences[best].text(seen[best].1.len()));
    if best > 0 {
        let Difference { bytes, packages } = differences[0];
        reason += &format!(", compared with {packages} ({}) in {}", size::bytes(bytes), name(0));
    }
    let (tag, packages) = seen.swap_remove(best);
    Closest { tag: tag.to_owned(), packages, reason }
}

/// Returns the dated tags of the same release and variant, oldest first, each with its day and
/// build number.
fn candidates<'a>(search: &Search<'a>) -> Vec<(i64, u32, &'a str)> {
    let variant = |tag: &str| tag.ends_with("-slim");
    let candidate = |tag: &'a String| {
        let (name, day) = dated(tag.strip_suffix("-slim").unwrap_or(tag))?;
        let (date, build) = day.split_once('.').unwrap_or((day, "0"));
        let fits = name == search.codename && variant(tag) == variant(search.tag) && tag != search.tag;
        fits.then_some((day_number(date)?, build.parse().ok()?, tag.as_str()))
    };
    let mut candidates: Vec<_> = search.tags.iter().filter_map(candidate).collect();
    candidates.sort_unstable();
    candidates
}

/// Fetches the packages of dated tags around the machine's versions and adds them to `seen`.
fn fetch_nearest<'a>(
    search: &Search<'a>,
    candidates: &[(i64, u32, &'a str)],
    packages_of: &mut dyn FnMut(&str) -> Option<Vec<Pin>>,
    seen: &mut Vec<(&'a str, Vec<Pin>)>,
) {
    // The target is in `low..high`. The flags state whether a fetched tag has set the bound.
    let (mut low, mut high) = (0, candidates.len());
    let (mut from_below, mut from_above) = (false, false);
    let mut step = 1;
    let distance = |&at: &usize| (candidates[at].0.abs_diff(search.day), at);
    let Some(mut at) = (low..high).min_by_key(distance) else { return };
    for _ in 0..MAX_LISTS {
        let tag = candidates[at].2;
        let Some(packages) = packages_of(tag) else { return };
        let order = balance(&packages, search.catalog);
        seen.push((tag, packages));
        match order {
            Ordering::Less => (high, from_above) = (at, true),
            Ordering::Greater => (low, from_below) = (at + 1, true),
            Ordering::Equal => return,
        }
        if low >= high {
            return;
        }
        at = match (from_below, from_above) {
            (true, true) => low + (high - low) / 2,
            (false, _) => high.saturating_sub(step).max(low),
            (true, false) => (low + step - 1).min(high - 1),
        };
        step *= 2;
    }
}

type Key<'a> = (&'a str, &'a str);

fn key(pin: &Pin) -> Key<'_> {
    (&pin.name, &pin.architecture)
}

/// Returns the machine's version of a package and its installed size in bytes.
fn installed<'a>((name, architecture): Key<'_>, catalog: &'a Catalog) -> Option<(&'a str, u64)> {
    let package = &catalog[catalog.find(name, architecture)?];
    package.installed.then_some((package.version.as_str(), package.installed_bytes))
}

/// Whether more packages of the machine are older than those of an image than are newer.
pub fn is_older(packages: &[Pin], catalog: &Catalog) -> bool {
    balance(packages, catalog).is_lt()
}

/// Counts packages with newer and older versions on the machine and compares the counts. `Less`
/// means that the machine is older.
fn balance(packages: &[Pin], catalog: &Catalog) -> Ordering {
    let compare = |pin: &Pin| match installed(key(pin), catalog) {
        Some((installed, _)) => catalog.family.manager().compare_versions(installed, &pin.version),
        None => Ordering::Equal,
    };
    let sum: i64 = packages.iter().map(|pin| i64::from(compare(pin) as i8)).sum();
    sum.cmp(&0)
}

/// Difference between the packages of an image and of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    /// Installed size in bytes of the machine's packages that differ or are missing in the image.
    bytes: u64,
    /// Number of these packages, plus the packages that only the image has.
    packages: usize,
}

impl Difference {
    fn text(self, of: usize) -> String {
        format!("{} of {of} packages differ ({})", self.packages, size::bytes(self.bytes))
    }
}

/// Compares an image with the machine. `names` are the packages of all images of the search.
fn difference(packages: &[Pin], names: &BTreeSet<Key<'_>>, catalog: &Catalog) -> Difference {
    let in_image: std::collections::BTreeMap<Key<'_>, &str> =
        packages.iter().map(|pin| (key(pin), pin.version.as_str())).collect();
    let mut difference = Difference { bytes: 0, packages: 0 };
    for name in names {
        let (version, bytes) =
            installed(*name, catalog).map_or((None, 0), |(version, bytes)| (Some(version), bytes));
        if version != in_image.get(name).copied() {
            difference.packages += 1;
            difference.bytes = difference.bytes.saturating_add(bytes);
        }
    }
    difference
}

/// Returns the days from 1970-01-01 to a date such as `20260803`.
fn day_number(date: &str) -> Option<i64> {
    let number: i64 = date.parse().ok()?;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| date::days(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::{Family, Package};

    /// Returns a catalog of packages with name, version and installed size in KiB.
    fn catalog(packages: &[(&str, u32, u64)]) -> Catalog {
        let package = |(name, version, kib): &(&str, u32, u64)| Package {
            name: (*name).to_owned(),
            version: version.to_string(),
            architecture: "all".to_owned(),
            label: (*name).to_owned(),
            installed: true,
            broken: false,
            automatic: false,
            installed_bytes: kib * 1024,
        };
        let packages = packages.iter().map(package).collect();
        Catalog { packages, ..Catalog::empty(Family::Dpkg, "amd64") }
    }

    fn pin(name: &str, version: u32) -> Pin {
        Pin { name: name.to_owned(), version: version.to_string(), architecture: "all".to_owned() }
    }

    /// Returns tags of twenty months.
    ///
    /// The version of package `aa` is the number of the month, that of `bb` half of it. Package
    /// `cc` exists from the tenth month on.
    fn tags() -> Vec<String> {
        let month =
            |number: u32| format!("bookworm-{}{:02}15", 2025 + (number - 1) / 12, (number - 1) % 12 + 1);
        let mut tags: Vec<String> = (1..=20).rev().map(month).collect();
        let slim: Vec<String> = tags.iter().map(|tag| format!("{tag}-slim")).collect();
        tags.extend(slim);
        tags.extend(
            ["12", "bookworm", "trixie-20250115", "bookworm-backports", "bookworm-20259915"]
                .map(str::to_owned),
        );
        tags
    }

    fn packages(number: u32) -> Vec<Pin> {
        let mut packages = vec![pin("aa", number), pin("bb", number / 2)];
        if number >= 10 {
            packages.push(pin("cc", 1));
        }
        packages
    }

    fn number_of(tag: &str) -> u32 {
        let tag = tag.trim_end_matches("-slim");
        let (year, month): (u32, u32) = (tag[9..13].parse().unwrap(), tag[13..15].parse().unwrap());
        (year - 2025) * 12 + month
    }

    /// Returns the chosen tag and the numbers of the tags whose packages were fetched.
    fn find(machine: &[(&str, u32, u64)], day: &str, tag: &str) -> (Closest, Vec<u32>) {
        let (tags, catalog, current) = (tags(), catalog(machine), packages(21));
        let search = Search {
            repository: "debian",
            tag,
            packages: &current,
            tags: &tags,
            codename: "bookworm",
            day: day_number(day).unwrap(),
            catalog: &catalog,
        };
        let mut asked = Vec::new();
        let found = closest(&search, &mut |tag: &str| {
            asked.push(number_of(tag));
            Some(packages(number_of(tag)))
        });
        (found, asked)
    }

    #[test]
    fn closest_starts_at_day_and_follows_versions() {
        for (machine, day, tag, asked) in [
            // Upgraded on that day.
            (&[("aa", 7, 100), ("bb", 3, 50)][..], "20250716", "bookworm-20250715", &[7][..]),
            // One package was installed later: back by one, two, four tags.
            (&[("aa", 5, 100), ("bb", 2, 50)], "20251116", "bookworm-20250415", &[11, 10, 8, 4]),
            (&[("aa", 8, 100), ("bb", 4, 50)], "20251116", "bookworm-20250815", &[11, 10, 8]),
            (&[("aa", 1, 100), ("bb", 0, 50)], "20250516", "bookworm-20250115", &[5, 4, 2, 1]),
            // The clock was wrong: forward by one, two tags, then bisect.
            (&[("aa", 4, 100), ("bb", 2, 50)], "19700102", "bookworm-20250415", &[1, 2, 4]),
            (&[("aa", 2, 100), ("bb", 1, 50)], "20250316", "bookworm-20250215", &[3, 2]),
            (&[("aa", 7, 100), ("bb", 3, 50)], "20250416", "bookworm-20250715", &[4, 5, 7]),
            (&[("aa", 6, 100), ("bb", 3, 50)], "20250416", "bookworm-20250615", &[4, 5, 7, 6]),
            // Equal to the current image.
            (&[("aa", 21, 100), ("bb", 10, 50), ("cc", 1, 1)], "20260916", "12", &[]),
            // Newer than the current image.
            (&[("aa", 22, 100), ("bb", 10, 50), ("cc", 1, 1)], "20250116", "12", &[]),
            // As many older as newer packages.
            (&[("aa", 22, 100), ("bb", 9, 50), ("cc", 1, 1)], "20250116", "12", &[]),
        ] {
            let (found, evaluated) = find(machine, day, "12");
            assert_eq!(
                (found.tag.as_str(), &evaluated[..]),
                (tag, asked),
                "{machine:?} {day}: {}",
                found.reason
            );
        }
    }

    #[test]
    fn closest_reason_compares_with_current_tag() {
        let machine = &[("aa", 7, 100), ("bb", 2, 50), ("zz", 1, 1000)];
        let (found, _) = find(machine, "20250716", "12");
        assert_eq!(
            found.reason,
            "debian:bookworm-20250715: 1 of 2 packages differ (50.0 KiB), compared with 3 (150.0 KiB) in debian:12"
        );
        assert_eq!(found.packages, packages(7));
        let (found, _) = find(&[("aa", 21, 100), ("bb", 10, 50)], "20250716", "bookworm");
        assert_eq!(found.reason, "debian:bookworm: 1 of 3 packages differ (0 B)");
    }

    #[test]
    fn closest_slim_tag_returns_slim_tag() {
        let (found, _) = find(&[("aa", 7, 100), ("bb", 3, 50)], "20250716", "12-slim");
        assert_eq!(found.tag, "bookworm-20250715-slim");
    }

    #[test]
    fn closest_unavailable_list_ends_search() {
        let (tags, catalog, current) = (tags(), catalog(&[("aa", 7, 100)]), packages(21));
        let search = Search {
            repository: "debian",
            tag: "12",
            packages: &current,
            tags: &tags,
            codename: "bookworm",
            day: day_number("20250716").unwrap(),
            catalog: &catalog,
        };
        let mut asked = 0;
        let found = closest(&search, &mut |_: &str| {
            asked += 1;
            None
        });
        assert_eq!((found.tag.as_str(), asked), ("12", 1));
        let found = closest(&Search { tags: &[], ..search }, &mut |_: &str| None);
        assert_eq!(found.tag, "12");
    }

    #[test]
    fn day_number_date_counts_from_1970() {
        for (date, number) in [
            ("19700101", Some(0)),
            ("20000229", Some(11_016)),
            ("20240301", Some(19_783)),
            ("20261301", None),
            ("20260100", None),
        ] {
            assert_eq!(day_number(date), number, "{date}");
        }
    }
}

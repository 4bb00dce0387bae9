//! Which of the dated tags of an image is closest to the machine: a machine that was not upgraded for long has older packages
//! than today's image, and every one that differs is downgraded in the build and stays in the image twice.

use crate::model::size;
use crate::pkg::dpkg::base::published::dated;
use crate::pkg::dpkg::repository::date;
use crate::pkg::{Catalog, Pin};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Lists that are asked for at most. Between the first tags of a release and the last there are about a hundred.
const MAX_LISTS: usize = 4;

/// The image that is there by name, and what else there is to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The name before the tag, `debian`.
    pub repository: &'a str,
    /// The tag that moves, `12` or `bookworm-slim`.
    pub tag: &'a str,
    /// The packages of that image.
    pub packages: &'a [Pin],
    /// All tags of the repository.
    pub tags: &'a [String],
    /// The release's codename.
    pub codename: &'a str,
    /// The day on which the machine's packages were last changed, in days since 1970-01-01.
    pub day: i64,
    /// The machine's packages.
    pub catalog: &'a Catalog,
}

/// The tag to build FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    /// That of the search, or a dated one.
    pub tag: String,
    /// The packages of that image.
    pub packages: Vec<Pin>,
    /// Why this one, for people.
    pub reason: String,
}

/// Finds the dated tag whose packages differ least from the machine's, by their size; the search's own tag stays unless the
/// machine's packages are older on balance and another tag is really closer. `packages_of` gives the packages of a tag,
/// `None` if they cannot be had; it is asked four times at most.
///
/// It begins with the tag nearest to the machine's day and goes to older or newer ones, as the machine's packages are older
/// or newer than the image's, in growing steps, then by halves.
pub fn closest(search: &Search<'_>, packages_of: &mut dyn FnMut(&str) -> Option<Vec<Pin>>) -> Closest {
    let mut seen: Vec<(&str, Vec<Pin>)> = vec![(search.tag, search.packages.to_vec())];
    let candidates = candidates(search);
    if balance(search.packages, search.catalog).is_lt() && !candidates.is_empty() {
        climb(search, &candidates, packages_of, &mut seen);
    }
    let names: BTreeSet<Key<'_>> = seen.iter().flat_map(|(_, packages)| packages.iter().map(key)).collect();
    let differences: Vec<Difference> =
        seen.iter().map(|(_, packages)| difference(packages, &names, search.catalog)).collect();
    // The first one of equals: the search's own tag before others.
    let best = (0..seen.len()).min_by_key(|&at| differences[at]).unwrap_or_default();
    let name = |at: usize| format!("{}:{}", search.repository, seen[at].0);
    let mut reason = format!("{}: {}", name(best), differences[best].text(seen[best].1.len()));
    if best > 0 {
        let Difference { bytes, packages } = differences[0];
        reason += &format!(" against {packages} ({}) in {}", size::bytes(bytes), name(0));
    }
    let (tag, packages) = seen.swap_remove(best);
    Closest { tag: tag.to_owned(), packages, reason }
}

/// The dated tags of the same release and variant, the oldest first, with their day and the number of the day's build.
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

fn climb<'a>(
    search: &Search<'a>,
    candidates: &[(i64, u32, &'a str)],
    packages_of: &mut dyn FnMut(&str) -> Option<Vec<Pin>>,
    seen: &mut Vec<(&'a str, Vec<Pin>)>,
) {
    // What is left lies between these, the second one excluded; the flags say whether a tag was seen that sets the bound.
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

/// The machine's version of a package and its size in bytes.
fn installed<'a>((name, architecture): Key<'_>, catalog: &'a Catalog) -> Option<(&'a str, u64)> {
    let package = &catalog[catalog.find(name, architecture)?];
    package.installed.then_some((package.version.as_str(), package.installed_bytes))
}

/// Whether the machine's packages are older than an image's on balance.
pub fn is_older(packages: &[Pin], catalog: &Catalog) -> bool {
    balance(packages, catalog).is_lt()
}

/// Whether the machine's versions are older than the image's on balance, or newer.
fn balance(packages: &[Pin], catalog: &Catalog) -> Ordering {
    let compare = |pin: &Pin| match installed(key(pin), catalog) {
        Some((ours, _)) => catalog.family.manager().compare_versions(ours, &pin.version),
        None => Ordering::Equal,
    };
    let sum: i64 = packages.iter().map(|pin| i64::from(compare(pin) as i8)).sum();
    sum.cmp(&0)
}

/// How far an image is from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    /// Installed size of the machine's packages that the image has not at that version.
    bytes: u64,
    /// Their number, and that of the packages that only the image has.
    packages: usize,
}

impl Difference {
    fn text(self, of: usize) -> String {
        format!("{} of {of} packages differ ({})", self.packages, size::bytes(self.bytes))
    }
}

/// Over all packages that one of the images has.
fn difference(packages: &[Pin], names: &BTreeSet<Key<'_>>, catalog: &Catalog) -> Difference {
    let theirs: std::collections::BTreeMap<Key<'_>, &str> =
        packages.iter().map(|pin| (key(pin), pin.version.as_str())).collect();
    let mut difference = Difference { bytes: 0, packages: 0 };
    for name in names {
        let (ours, bytes) = installed(*name, catalog).map_or((None, 0), |(ours, bytes)| (Some(ours), bytes));
        if ours != theirs.get(name).copied() {
            difference.packages += 1;
            difference.bytes = difference.bytes.saturating_add(bytes);
        }
    }
    difference
}

/// Days from 1970-01-01 to a day like `20260803`.
fn day_number(date: &str) -> Option<i64> {
    let number: i64 = date.parse().ok()?;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| date::days(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::{Family, Package};

    /// Packages `name version` of the machine, each of so many KiB.
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

    /// Tags of twenty months; the package `aa` of each has the month's number as its version, `bb` half of it, `cc` is new in
    /// the tenth.
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

    /// The chosen tag and the tags whose packages were asked for, by number.
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
    fn the_nearest_day_is_the_beginning_and_versions_lead_on() {
        for (machine, day, tag, asked) in [
            // As upgraded on that day.
            (&[("aa", 7, 100), ("bb", 3, 50)][..], "20250716", "bookworm-20250715", &[7][..]),
            // The day is that of a package installed later: back, one, two, four.
            (&[("aa", 5, 100), ("bb", 2, 50)], "20251116", "bookworm-20250415", &[11, 10, 8, 4]),
            (&[("aa", 8, 100), ("bb", 4, 50)], "20251116", "bookworm-20250815", &[11, 10, 8]),
            (&[("aa", 1, 100), ("bb", 0, 50)], "20250516", "bookworm-20250115", &[5, 4, 2, 1]),
            // The clock was wrong: forward, one, two, and half of what is left.
            (&[("aa", 4, 100), ("bb", 2, 50)], "19700102", "bookworm-20250415", &[1, 2, 4]),
            (&[("aa", 2, 100), ("bb", 1, 50)], "20250316", "bookworm-20250215", &[3, 2]),
            (&[("aa", 7, 100), ("bb", 3, 50)], "20250416", "bookworm-20250715", &[4, 5, 7]),
            (&[("aa", 6, 100), ("bb", 3, 50)], "20250416", "bookworm-20250615", &[4, 5, 7, 6]),
            // Already there.
            (&[("aa", 21, 100), ("bb", 10, 50), ("cc", 1, 1)], "20260916", "12", &[]),
            // Newer than the image.
            (&[("aa", 22, 100), ("bb", 10, 50), ("cc", 1, 1)], "20250116", "12", &[]),
            // As many older as newer.
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
    fn the_reason_compares_with_the_tag_that_moves() {
        let machine = &[("aa", 7, 100), ("bb", 2, 50), ("zz", 1, 1000)];
        let (found, _) = find(machine, "20250716", "12");
        assert_eq!(
            found.reason,
            "debian:bookworm-20250715: 1 of 2 packages differ (50.0 KiB) against 3 (150.0 KiB) in debian:12"
        );
        assert_eq!(found.packages, packages(7));
        let (found, _) = find(&[("aa", 21, 100), ("bb", 10, 50)], "20250716", "bookworm");
        assert_eq!(found.reason, "debian:bookworm: 1 of 3 packages differ (0 B)");
    }

    #[test]
    fn variants_are_not_mixed() {
        let (found, _) = find(&[("aa", 7, 100), ("bb", 3, 50)], "20250716", "12-slim");
        assert_eq!(found.tag, "bookworm-20250715-slim");
    }

    #[test]
    fn what_cannot_be_had_ends_the_search() {
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
    fn days_are_counted_from_1970() {
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

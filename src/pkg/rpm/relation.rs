//! Relations between packages: a name with a range of versions, and whether two of them overlap.

use crate::pkg::rpm::version::{Evr, compare};
use std::cmp::Ordering;

/// Comparison of a relation, and other flags of it (`rpmsenseFlags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sense(
    /// Bits as rpm stores them.
    pub u32,
);

impl Sense {
    /// `<`
    pub const LESS: Sense = Sense(1 << 1);
    /// `>`
    pub const GREATER: Sense = Sense(1 << 2);
    /// `=`
    pub const EQUAL: Sense = Sense(1 << 3);
    /// Needed before the package's scripts run (old form).
    pub const PREREQ: Sense = Sense(1 << 6);
    /// Needed by the scripts `%pretrans` before the transaction.
    pub const PRETRANS: Sense = Sense(1 << 7);
    /// Interpreter of a script.
    pub const INTERPRETER: Sense = Sense(1 << 8);
    /// Needed by `%pre`.
    pub const SCRIPT_PRE: Sense = Sense(1 << 9);
    /// Needed by `%post`.
    pub const SCRIPT_POST: Sense = Sense(1 << 10);
    /// Needed by `%preun`.
    pub const SCRIPT_PREUN: Sense = Sense(1 << 11);
    /// Needed by `%postun`.
    pub const SCRIPT_POSTUN: Sense = Sense(1 << 12);
    /// Not an error if it is absent.
    pub const MISSING_OK: Sense = Sense(1 << 19);
    /// A feature of rpm itself.
    pub const RPMLIB: Sense = Sense(1 << 24);
    /// In SUSE's old tags: a recommendation instead of a suggestion.
    pub const STRONG: Sense = Sense(1 << 27);
    /// The provided name is a configuration file.
    pub const CONFIG: Sense = Sense(1 << 28);
    /// Not relevant to the order of a transaction.
    pub const META: Sense = Sense(1 << 29);

    /// Bits of the comparison.
    const COMPARISON: u32 = 15;

    /// Whether all of these flags are set.
    pub fn has(self, flags: Sense) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether the relation names versions.
    pub fn is_versioned(self) -> bool {
        self.0 & Self::COMPARISON != 0
    }

    /// Parses an operator. `None` for any other text.
    pub(crate) fn parse(operator: &[u8]) -> Option<Self> {
        let (less, greater, equal) = (Self::LESS.0, Self::GREATER.0, Self::EQUAL.0);
        let bits = match operator {
            b"<" => less,
            b">" => greater,
            b"=" | b"==" => equal,
            b"<=" | b"=<" => less | equal,
            b">=" | b"=>" => greater | equal,
            b"<>" => less | greater,
            _ => return None,
        };
        Some(Sense(bits))
    }
}

/// A name that a package provides or needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Name: of a package, of any other capability, an absolute path, `rpmlib(FEATURE)`, or a rich
    /// dependency, which begins with `(` and is parsed by
    /// [`Expression`](crate::pkg::rpm::rich::Expression).
    pub name: &'a [u8],
    /// Comparison and other flags.
    pub sense: Sense,
    /// Version with optional epoch and release; empty if there is none.
    pub version: &'a [u8],
}

impl Relation<'_> {
    /// Whether it is a rich dependency.
    pub fn is_rich(&self) -> bool {
        self.name.starts_with(b"(")
    }

    /// Whether it is a feature of rpm itself, which every installed package's rpm has.
    pub fn is_rpmlib(&self) -> bool {
        self.sense.has(Sense::RPMLIB) || (self.name.starts_with(b"rpmlib(") && self.name.ends_with(b")"))
    }

    /// Whether a provided name satisfies this relation: their names are equal and their ranges of
    /// versions have a version in common. Without a version, any version satisfies.
    pub fn overlaps(&self, provided: &Relation<'_>) -> bool {
        self.name == provided.name
            && (!self.sense.is_versioned()
                || !provided.sense.is_versioned()
                || self.version.is_empty()
                || provided.version.is_empty()
                || versions_overlap(provided.version, provided.sense, self.version, self.sense))
    }
}

/// Whether two ranges have a version in common. A missing epoch equals 0; a missing release equals
/// every release if its side includes the version itself.
fn versions_overlap(a: &[u8], a_sense: Sense, b: &[u8], b_sense: Sense) -> bool {
    let (a, b) = (Evr::parse(a), Evr::parse(b));
    let mut order = a.compare_epoch(&b).then_with(|| compare(a.version, b.version));
    if order.is_eq() {
        let release = |evr: &Evr<'_>| evr.release.is_some_and(|release| !release.is_empty());
        match (release(&a), release(&b)) {
            (true, true) => order = compare(a.release.unwrap_or_default(), b.release.unwrap_or_default()),
            (true, false) if b_sense.has(Sense::EQUAL) => return true,
            (false, true) if a_sense.has(Sense::EQUAL) => return true,
            _ => {}
        }
    }
    let both = |sense| a_sense.has(sense) && b_sense.has(sense);
    match order {
        Ordering::Less => a_sense.has(Sense::GREATER) || b_sense.has(Sense::LESS),
        Ordering::Greater => a_sense.has(Sense::LESS) || b_sense.has(Sense::GREATER),
        Ordering::Equal => both(Sense::EQUAL) || both(Sense::LESS) || both(Sense::GREATER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relation(text: &str) -> Relation<'_> {
        let words: Vec<&str> = text.split(' ').collect();
        let sense = words.get(1).map(|operator| Sense::parse(operator.as_bytes()).unwrap());
        let version = words.get(2).map_or(&b""[..], |version| version.as_bytes());
        Relation { name: words[0].as_bytes(), sense: sense.unwrap_or_default(), version }
    }

    #[test]
    fn overlaps_test_table_of_rpm_matches() {
        // A provided name, the version of the relation, and for which of these operators they
        // overlap: = >= <= < > <> (rpm's tests/rpmdepmatch.at).
        const OPERATORS: [&str; 6] = ["=", ">=", "<=", "<", ">", "<>"];
        for (provided, version, expected) in [
            ("b", "1.2", "000000"),
            ("a", "1.2", "111111"),
            ("a = 1.2", "1.2", "111000"),
            ("a = 1.2", "1.3", "001101"),
            ("a = 1.2-1", "1.2-1", "111000"),
            ("a = 1.2-1", "1.2-2", "001101"),
            ("a = 1.3-1", "1.2-2", "010011"),
            ("a = 0:1.2", "1.2", "111000"),
            ("a = 1.2", "0:1.2", "111000"),
            ("a = 1:1.2", "1.2", "010011"),
            ("a = 1.2", "1:1.2", "001101"),
            ("a = 2:1.2", "2:1.2", "111000"),
            ("a > 1.2", "1.2", "010011"),
            ("a < 1.2", "1.2", "001101"),
            ("a >= 1.2", "1.2", "111011"),
            ("a <= 1.2", "1.2", "111101"),
            ("a <> 1.2", "1.2", "011111"),
            // A missing release, from rpmverOverlap().
            ("a = 1.2-1", "1.2", "111000"),
            ("a = 1.2", "1.2-1", "111111"),
            ("a < 1.2", "1.2-1", "001101"),
        ] {
            let overlaps =
                |operator: &&str| relation(&format!("a {operator} {version}")).overlaps(&relation(provided));
            let found: String =
                OPERATORS.iter().map(|operator| if overlaps(operator) { '1' } else { '0' }).collect();
            assert_eq!(found, expected, "{provided} {version}");
        }
        for provided in ["a", "a = 1.2", "a < 1.2", "a > 1.2", "a <= 1.2", "a >= 1.2", "a <> 1.2"] {
            assert!(relation("a").overlaps(&relation(provided)), "{provided}");
            assert!(!relation("b").overlaps(&relation(provided)), "{provided}");
        }
    }

    #[test]
    fn is_rpmlib_by_flag_or_name() {
        assert!(relation("rpmlib(CompressedFileNames) <= 3.0.4-1").is_rpmlib());
        assert!(Relation { name: b"x", sense: Sense::RPMLIB, version: b"" }.is_rpmlib());
        assert!(!relation("rpmlib").is_rpmlib());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn overlaps_any_ranges_is_symmetric(bits in (0_u32..8, 0_u32..8), versions in proptest::array::uniform2("([01]:)?[01]{1,2}(-[01])?")) {
            let a = Relation { name: b"a", sense: Sense(bits.0 * 2), version: versions[0].as_bytes() };
            let b = Relation { name: b"a", sense: Sense(bits.1 * 2), version: versions[1].as_bytes() };
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }
    }
}

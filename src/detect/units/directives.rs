//! Table of the directives of unit files, with their treatment in containers.
//!
//! Covers `systemd.unit(5)`, `systemd.service(5)`, `systemd.exec(5)`, `systemd.kill(5)`,
//! `systemd.resource-control(5)`, `systemd.socket(5)` and `systemd.timer(5)`.

use super::load::Loaded;
use super::parse;
use crate::model::escape::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Rows of sections, directive, treatment, reason or advice, and values without effect.
const ROWS: &str = include_str!("directives.tsv");
/// Advice for a directive that is not in the table.
const UNKNOWN: &str = "check systemd's manual pages: the directive is misspelled, or newer than this program";

/// The treatment of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// The service cannot work without a change.
    Blocker,
    /// The service can fail, or behave differently from the machine.
    Warning,
    /// Information only.
    Info,
    /// The container definition has its effect, or the conversion reports it elsewhere.
    Translated,
    /// A container works without it.
    Harmless,
}

/// A directive that a unit sets and that must be reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Directive {
    /// Severity of the report; never [`Treatment::Translated`] or [`Treatment::Harmless`].
    pub treatment: Treatment,
    /// Section and name, escaped: `[Service] LoadCredential=`. Values can be secret.
    pub name: String,
    /// Whether the directive is in the table.
    pub is_known: bool,
    /// Recommended action.
    pub advice: &'static str,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    treatment: Treatment,
    text: &'static str,
    /// Values without effect, in addition to the empty value and to `no`.
    quiet: &'static str,
}

impl Directive {
    /// Returns the directives of a unit to report, sorted.
    pub fn reported(loaded: &Loaded) -> BTreeSet<Self> {
        let mut reported = BTreeSet::new();
        // Later values replace earlier ones or extend a list. An empty value resets both.
        let mut last: BTreeMap<(&[u8], &[u8]), bool> = BTreeMap::new();
        for section in ["Unit", "Install", "Service", "Socket", "Timer"] {
            for (key, value) in loaded.unit.assignments(section) {
                let row = row(section, key);
                last.insert((section.as_bytes(), key), row.is_none_or(|row| row.has_effect(value)));
            }
        }
        for ((section, key), has_effect) in last {
            // Systemd ignores directives with this prefix (systemd.unit(5)).
            if !has_effect || key.starts_with(b"X-") {
                continue;
            }
            let row = std::str::from_utf8(section).ok().and_then(|section| row(section, key));
            let (treatment, advice) =
                row.map_or((Treatment::Warning, UNKNOWN), |row| (row.treatment, row.text));
            if !matches!(treatment, Treatment::Translated | Treatment::Harmless) {
                let name = format!("[{}] {}=", escape(section), escape(key));
                reported.insert(Directive { treatment, name, is_known: row.is_some(), advice });
            }
        }
        reported
    }
}

impl Row {
    fn parse(line: &'static str) -> Option<(&'static str, &'static str, Row)> {
        let mut fields = line.split('\t');
        let (sections, name, treatment, text) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let treatment = match treatment {
            "blocker" => Treatment::Blocker,
            "warning" => Treatment::Warning,
            "info" => Treatment::Info,
            "translated" => Treatment::Translated,
            "harmless" => Treatment::Harmless,
            _ => return None,
        };
        Some((sections, name, Row { treatment, text, quiet: fields.next().unwrap_or_default() }))
    }

    fn has_effect(self, value: &[u8]) -> bool {
        let is_quiet = self.quiet.split(',').any(|quiet| value.eq_ignore_ascii_case(quiet.as_bytes()));
        !value.is_empty() && !is_quiet && parse::boolean(value) != Some(false)
    }
}

/// Returns the row of a directive.
fn row(section: &str, name: &[u8]) -> Option<Row> {
    static TABLE: LazyLock<BTreeMap<(&str, &[u8]), Row>> = LazyLock::new(|| {
        let rows = ROWS.lines().filter(|line| !line.starts_with('#')).filter_map(Row::parse);
        let rows = rows.flat_map(|(sections, name, row)| {
            sections.split(',').flat_map(names_of).map(move |section| ((*section, name.as_bytes()), row))
        });
        rows.collect()
    });
    TABLE.get(&(section, name)).copied()
}

/// Returns the sections that a row's word means.
fn names_of(word: &str) -> &'static [&'static str] {
    match word {
        "unit" => &["Unit"],
        "install" => &["Install"],
        "service" => &["Service"],
        "socket" => &["Socket"],
        "timer" => &["Timer"],
        // Settings of processes and control groups, which services and sockets have.
        "exec" => &["Service", "Socket"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::units::Units;
    use crate::detect::units::machine::{TestRoot, data};
    use crate::model::findings::Findings;

    #[test]
    fn rows_table_has_every_directive_of_systemd() {
        let list = data("directives-252.tsv");
        let list = String::from_utf8(list).unwrap();
        let mut count = 0;
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let (section, name) = line.split_once('\t').unwrap();
            assert!(row(section, name.as_bytes()).is_some(), "[{section}] {name}");
            count += 1;
        }
        assert_eq!(count, 638);
    }

    #[test]
    fn rows_table_is_valid() {
        for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
            let (sections, name, row) = Row::parse(line).unwrap();
            assert!(sections.split(',').all(|word| !names_of(word).is_empty()), "{line}");
            assert!(!name.is_empty() && !row.text.is_empty() && line.split('\t').count() <= 5, "{line}");
        }
    }

    #[test]
    fn reported_directives_have_an_effect_and_no_value() {
        let unit = "[Unit]\nOnFailure=mail@%n.service\nX-Own=1\nConditionPathExists=/x\n[Service]\n\
            ExecStart=/bin/x\nLoadCredential=a:/secret\nBindPaths=/a\nBindPaths=\nPrivateNetwork=no\n\
            ProtectHome=yes\nRootDirectory=/srv\nStandardOutput=journal\nStandardError=file:/x\nExecStrat=/bin/y\n";
        let machine = TestRoot::new(&[("etc/systemd/system/x.service", unit)]);
        let mut findings = Findings::default();
        let units = Units::index(&machine.root, &mut findings);
        let loaded = units.load(b"x.service", &mut findings).unwrap();
        let reported: Vec<(Treatment, String)> =
            Directive::reported(&loaded).into_iter().map(|found| (found.treatment, found.name)).collect();
        let expected = [
            (Treatment::Blocker, "[Service] LoadCredential="),
            (Treatment::Blocker, "[Service] RootDirectory="),
            (Treatment::Warning, "[Service] ExecStrat="),
            (Treatment::Warning, "[Unit] OnFailure="),
            (Treatment::Info, "[Service] StandardError="),
        ];
        assert_eq!(reported, expected.map(|(treatment, name)| (treatment, name.to_owned())));
    }
}

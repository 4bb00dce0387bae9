//! Table of units that belong to the operating system, with reasons.

use crate::glob::GlobSet;
use std::sync::LazyLock;

/// Rows of pattern and reason.
const ROWS: &str = include_str!("system_units.tsv");

/// Returns the reason why a unit belongs to the operating system. Ignores the type suffix
/// (`.service`, `.timer`, ...).
pub(super) fn system_unit_reason(unit: &[u8]) -> Option<&'static str> {
    let endings: [&[u8]; 4] = [b".service", b".timer", b".socket", b".path"];
    let stem = endings.iter().find_map(|ending| unit.strip_suffix(*ending)).unwrap_or(unit);
    static TABLE: LazyLock<(GlobSet, Vec<&str>)> = LazyLock::new(|| {
        let (patterns, reasons): (Vec<_>, Vec<_>) =
            rows().map(|(pattern, why)| (pattern.as_bytes(), why)).unzip();
        (GlobSet::new(patterns), reasons)
    });
    let (patterns, reasons) = &*TABLE;
    patterns.first(stem, |_| true).map(|id| reasons[id as usize])
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_table_has_unique_patterns_with_reasons() {
        let lines = ROWS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
        assert_eq!(rows().count(), lines);
        assert!(
            rows()
                .all(|(pattern, reason)| !pattern.is_empty() && !reason.is_empty() && !reason.contains('\t'))
        );
        let mut patterns: Vec<_> = rows().map(|(pattern, _)| pattern).collect();
        patterns.sort_unstable();
        patterns.dedup();
        assert_eq!(patterns.len(), lines, "duplicate pattern");
    }

    #[test]
    fn system_unit_reason_application_unit_returns_none() {
        for unit in [
            "nginx.service",
            "postgresql@15-main.service",
            "mariadb.service",
            "cron.service",
            "named.service",
            "postfix@-.service",
            "shop.service",
            "systemd.service",
            "dovecot.service",
            "tick.timer",
            "gettysburg.service",
            "httpd.service",
            "php-fpm.service",
            "crond.service",
        ] {
            assert_eq!(system_unit_reason(unit.as_bytes()), None, "{unit}");
        }
        for unit in [
            "systemd-journald.service",
            "getty@tty1.service",
            "ssh.service",
            "apt-daily.timer",
            "docker.socket",
            "rhsmcertd.service",
            "dnf-makecache.timer",
            "kdump.service",
            "btrfsmaintenance-refresh.path",
        ] {
            assert!(system_unit_reason(unit.as_bytes()).is_some(), "{unit}");
        }
    }
}

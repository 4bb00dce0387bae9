//! Output of findings: the losses by name, and all findings with `--verbose`.

use super::SHOWN;
use crate::model::escape;
use crate::model::findings::{Finding, Findings, Kind, Severity};
use std::collections::BTreeMap;

/// Returns the number of losses and the first of them; empty if there are none.
pub fn losses(findings: &Findings) -> String {
    let all = findings.sorted();
    let losses: Vec<_> = all.iter().filter(|finding| finding.severity == Severity::Loss).collect();
    if losses.is_empty() {
        return String::new();
    }
    let mut text = format!("incomplete: {} objects could not be read or included\n", losses.len());
    for loss in losses.iter().take(SHOWN) {
        text += &format!("  {}: {}\n", escape::display(&loss.path), loss.text);
    }
    if losses.len() > SHOWN {
        text += &format!("  ... and {} more, listed in findings.jsonl\n", losses.len() - SHOWN);
    }
    text
}

/// Returns the first warnings of each kind, one per line; empty if there are none.
pub fn warnings(findings: &Findings) -> String {
    let mut kinds: BTreeMap<Kind, Vec<Finding>> = BTreeMap::new();
    for finding in findings.sorted().into_iter().filter(|finding| finding.severity == Severity::Warning) {
        kinds.entry(finding.kind).or_default().push(finding);
    }
    let mut text = String::new();
    for (kind, warnings) in kinds {
        for Finding { path, text: what, .. } in warnings.iter().take(SHOWN) {
            let place = if path.is_empty() { String::new() } else { format!("{}: ", escape::display(path)) };
            text += &format!("warning: {place}{what}\n");
        }
        if warnings.len() > SHOWN {
            let rest = warnings.len() - SHOWN;
            text += &format!("warning: {rest} more of kind {}, listed in findings.jsonl\n", kind.name());
        }
    }
    text
}

/// Returns all findings, one per line. The summary has the likely secrets, grouped.
pub fn findings(findings: &Findings) -> String {
    let line = |finding: &Finding| {
        format!("{}: {}: {}\n", finding.kind.name(), escape::display(&finding.path), finding.text)
    };
    let sorted = findings.sorted();
    sorted.iter().filter(|finding| finding.kind != Kind::Suspicious).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_hostile_name_is_escaped() {
        let mut findings = Findings::default();
        assert_eq!(losses(&findings), "");
        findings.loss(Kind::Unreadable, b"a\x1b[2J", "Input/output error");
        findings.note(Kind::Withheld, b"b", "secret");
        assert_eq!(
            losses(&findings),
            "incomplete: 1 objects could not be read or included\n  /a\\x1b[2J: Input/output error\n"
        );
    }
}

//! Findings for people: losses by name, and all of them on request.

use super::SHOWN;
use crate::model::escape;
use crate::model::findings::{Finding, Findings, Severity};

/// The losses, the first of them by name.
pub fn losses(findings: &Findings) -> String {
    let all = findings.sorted();
    let losses: Vec<_> = all.iter().filter(|finding| finding.severity == Severity::Loss).collect();
    if losses.is_empty() {
        return String::new();
    }
    let mut text = format!("incomplete: {} objects could not be read or kept\n", losses.len());
    for loss in losses.iter().take(SHOWN) {
        text += &format!("  {}: {}\n", escape::display(&loss.path), loss.text);
    }
    if losses.len() > SHOWN {
        text += &format!("  ... and {} more; all are in findings.jsonl\n", losses.len() - SHOWN);
    }
    text
}

/// Every finding, a line each.
pub fn findings(findings: &Findings) -> String {
    let line = |finding: &Finding| {
        format!("{}: {}: {}\n", finding.kind.name(), escape::display(&finding.path), finding.text)
    };
    findings.sorted().iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::findings::Kind;

    #[test]
    fn losses_are_named_and_escaped() {
        let mut findings = Findings::default();
        assert_eq!(losses(&findings), "");
        findings.loss(Kind::Unreadable, b"a\x1b[2J", "Input/output error");
        findings.note(Kind::Withheld, b"b", "secret");
        assert_eq!(
            losses(&findings),
            "incomplete: 1 objects could not be read or kept\n  /a\\x1b[2J: Input/output error\n"
        );
    }
}

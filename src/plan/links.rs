//! Secrets and rewritten files under their other names: hard links and symbolic links.

use super::{Decision, Known, PlanInput, Reason};
use crate::model::manifest::{ProvidedBy, Verdict};
use crate::model::tree::{self, Kind};
use crate::policy::Action;
use crate::walk::WalkedEntry;
use std::collections::{HashMap, HashSet};

/// Applies a rule for secrets to the file that a symbolic link leads to. Does not change files that
/// a distribution publishes.
pub(super) fn withhold_targets(facts: PlanInput<'_>, known: &Known, decisions: &mut [Decision]) {
    for link in &facts.tree.found {
        let Some(id) = facts.secret_rule(link) else { continue };
        let Some(index) = facts.tree.resolve(&link.node.path) else { continue };
        let target = &facts.tree.found[index];
        let decision = &decisions[index];
        let is_own = decision.verdict.in_image()
            && decision.layer == Some(ProvidedBy::Delta)
            && !known.is_published(target);
        // The content of a certificate file shows whether it also contains a key.
        let is_known = known.secret(target).is_none() && is_certificate(&target.node.path);
        if is_own
            && !facts.is_wanted(target)
            && matches!(target.node.kind, Kind::File { size: 1.., .. })
            && !is_known
        {
            let is_dropped = facts.policy.rule(id).action == Action::DropSecret;
            let verdict = if is_dropped { Verdict::Drop } else { Verdict::Withhold };
            decisions[index] = Decision { verdict, layer: None, why: Reason::Rule(id) };
        }
    }
}

fn is_certificate(path: &[u8]) -> bool {
    [&b".pem"[..], b".crt", b".cer"].iter().any(|ending| tree::file_name(path).ends_with(ending))
}

/// A secret is an inode: none of its names is in the image, unless a rule of the user keeps it.
pub(super) fn withhold_names(facts: PlanInput<'_>, decisions: &mut [Decision]) {
    let found = &facts.tree.found;
    let is_secret = |decision: &Decision| match (decision.verdict, decision.why) {
        (Verdict::Withhold | Verdict::Regenerate, _) => true,
        (_, Reason::Rule(id)) => facts.policy.rule(id).action == Action::DropSecret,
        _ => false,
    };
    let linked = found.iter().zip(decisions.iter()).filter(|(found, _)| found.node.group != 0);
    let secret: HashSet<u32> =
        linked.filter(|(_, decision)| is_secret(decision)).map(|(found, _)| found.node.group).collect();
    for (entry, decision) in found.iter().zip(decisions) {
        let is_secret = secret.contains(&entry.node.group) && !facts.is_wanted(entry);
        if is_secret && decision.verdict.in_image() {
            *decision = Decision { verdict: Verdict::Withhold, layer: None, why: Reason::LinkedSecret };
        }
    }
}

/// Rewrites a file under all its names, so that no name keeps the original content.
pub(super) fn rewrite_names(found: &[WalkedEntry], decisions: &mut [Decision]) {
    let rewritten: HashMap<u32, Decision> = found
        .iter()
        .zip(decisions.iter())
        .filter(|(found, decision)| found.node.group != 0 && decision.verdict == Verdict::Rewrite)
        .map(|(found, decision)| (found.node.group, *decision))
        .collect();
    for (found, decision) in found.iter().zip(decisions).filter(|(_, decision)| decision.verdict.in_image()) {
        if let Some(other) = rewritten.get(&found.node.group) {
            *decision = *other;
        }
    }
}

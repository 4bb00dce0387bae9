//! Secrets in figures: withheld files, and files in the image that may be secret.

use super::Count;
use crate::model::escape;
use crate::model::manifest::Verdict;
use crate::model::tree::{self, Kind, Node};
use crate::plan::{Plan, PlanInput};
use crate::policy::content::Detection;
use crate::services::Workload;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of places with likely secrets.
const MOST_PLACES: usize = 8;
/// Maximum number of components of such a place.
const MOST_COMPONENTS: usize = 32;

/// Secrets of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecretSummary {
    /// Withheld files that a service needs.
    pub needed: Count,
    /// Withheld files that no service needs.
    pub unneeded: Count,
    /// Files in the image that may be secret.
    pub likely: Count,
    /// Places of these, as few as show all of them; at most 8.
    pub likely_places: Vec<LikelyPlace>,
    /// Places that are not listed.
    pub more: usize,
}

/// A file that may be secret, or a directory with such files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LikelyPlace {
    /// Its path, escaped.
    pub path: String,
    /// Number of files and their bytes.
    #[serde(flatten)]
    pub count: Count,
    /// Kinds of secrets that they may contain.
    pub kinds: BTreeSet<&'static str>,
}

impl Count {
    fn add(&mut self, node: &Node) {
        self.paths += 1;
        self.bytes += node.size();
    }
}

pub(super) fn secrets(facts: PlanInput<'_>, plan: &Plan, workload: &Workload) -> SecretSummary {
    let mut summary = SecretSummary::default();
    let needed: BTreeSet<&[u8]> = workload.secret_files.iter().map(|file| &file.path[1..]).collect();
    let withheld = facts.tree.found.iter().zip(&plan.decisions);
    let withheld = withheld.filter(|(found, decision)| {
        decision.verdict == Verdict::Withhold && found.node.kind != Kind::Directory
    });
    for (found, _) in withheld {
        let is_needed = needed.contains(&*found.node.path);
        if is_needed { &mut summary.needed } else { &mut summary.unneeded }.add(&found.node);
    }
    let likely: Vec<(&Node, Detection)> = plan
        .likely_secrets
        .iter()
        .map(|(&index, &detection)| (&facts.tree.found[index].node, detection))
        .collect();
    likely.iter().for_each(|(node, _)| summary.likely.add(node));
    (summary.likely_places, summary.more) = places(&likely);
    summary
}

/// Returns the places of files and the number of further places: the deepest directories of which
/// there are few.
fn places(files: &[(&Node, Detection)]) -> (Vec<LikelyPlace>, usize) {
    let at_depth = |depth: usize| {
        let mut places: BTreeMap<&[u8], Vec<&(&Node, Detection)>> = BTreeMap::new();
        for file in files {
            let path = &file.0.path;
            let end = memchr::memchr_iter(b'/', path).nth(depth - 1).unwrap_or(path.len());
            places.entry(&path[..end]).or_default().push(file);
        }
        places
    };
    let depth = (1..=MOST_COMPONENTS).rev().find(|&depth| at_depth(depth).len() <= MOST_PLACES);
    let mut places: Vec<LikelyPlace> = at_depth(depth.unwrap_or(1))
        .into_iter()
        .map(|(path, files)| {
            let mut count = Count::default();
            files.iter().for_each(|(node, _)| count.add(node));
            let kinds = files.iter().map(|(_, detection)| detection.secret.name()).collect();
            LikelyPlace { path: escape::display(common_directory(path, &files)), count, kinds }
        })
        .collect();
    places.sort_by(|a, b| b.count.paths.cmp(&a.count.paths).then_with(|| a.path.cmp(&b.path)));
    let more = places.len().saturating_sub(MOST_PLACES);
    places.truncate(MOST_PLACES);
    (places, more)
}

/// Returns the innermost directory of all files in a place, or the file if there is one.
fn common_directory<'a>(place: &'a [u8], files: &[&(&'a Node, Detection)]) -> &'a [u8] {
    let mut common: &[u8] = files.first().map_or(place, |(node, _)| &node.path);
    for (node, _) in files {
        while !tree::is_within(&node.path, common) {
            common = tree::parent(common);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::Stat;
    use crate::policy::content::Detection;

    fn shown(paths: &[&str]) -> (Vec<(String, u64)>, usize) {
        let node = |path: &&str| Node {
            path: path.as_bytes().into(),
            kind: Kind::File { size: 1, sha256: None },
            stat: Stat::default(),
            group: 0,
            xattrs: None,
        };
        let nodes: Vec<Node> = paths.iter().map(node).collect();
        let files: Vec<_> = nodes.iter().map(|node| (node, Detection::by_name())).collect();
        let (places, more) = places(&files);
        (places.into_iter().map(|place| (place.path, place.count.paths)).collect(), more)
    }

    #[test]
    fn places_few_files_are_listed_and_many_are_grouped() {
        assert_eq!(shown(&[]), (Vec::new(), 0));
        let list = |places: &[(&str, u64)]| {
            places.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect()
        };
        assert_eq!(shown(&["etc/a", "srv/b/c"]), (list(&[("/etc/a", 1), ("/srv/b/c", 1)]), 0));
        let many: Vec<String> = (0..20).map(|number| format!("opt/x/{}/{number}", number % 3)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).chain(["srv/b/c"]).collect();
        let (places, more) = shown(&many);
        assert_eq!(
            (places, more),
            (list(&[("/opt/x/0", 7), ("/opt/x/1", 7), ("/opt/x/2", 6), ("/srv/b/c", 1)]), 0)
        );
        let top: Vec<String> = (0..12).map(|number| format!("top{number}/file")).collect();
        let (places, more) = shown(&top.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((places.len(), more), (8, 4));
    }
}

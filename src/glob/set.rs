//! Many patterns matched against one path at once.

use super::{Dialect, Glob, is_literal};

/// Patterns for paths in an order; a path is compared only with those that begin as it does.
///
/// `dir/` matches `dir` and everything beneath it. The components of a pattern up to its first
/// wildcard lead through a tree, as does a component that is `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GlobSet {
    /// The nodes are not nested boxes, because a path in an account file can be as deep as the
    /// file is long, and dropping nested boxes needs stack.
    nodes: Vec<Node>,
}

/// Node at which patterns and paths begin.
const ROOT: usize = 0;
/// Node at which patterns begin that are relative to several directories.
const SHARED: usize = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Nodes of the possible next components, sorted by component.
    literal: Vec<(Box<[u8]>, usize)>,
    /// Node of a component `*`.
    any: Option<usize>,
    /// Whether the shared patterns are relative to this directory too.
    has_shared: bool,
    /// Patterns that end here, in ascending order.
    ends: Vec<u32>,
    /// Rest of the patterns whose next component has wildcards, in ascending order.
    rests: Vec<(u32, Glob)>,
}

impl GlobSet {
    /// Compiles the patterns; their positions are their numbers.
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut set = GlobSet::default();
        for (pattern, id) in patterns.into_iter().zip(0..) {
            set.insert(pattern, id);
        }
        set
    }

    /// Adds a pattern, whose number must not be less than those before.
    pub(crate) fn insert(&mut self, pattern: &[u8], id: u32) {
        self.insert_at(ROOT, pattern, id);
    }

    /// Adds a pattern relative to every directory of [`GlobSet::share`], with the same condition.
    pub(crate) fn insert_shared(&mut self, pattern: &[u8], id: u32) {
        self.insert_at(SHARED, pattern, id);
    }

    /// Makes the shared patterns relative to this directory too. Thousands of home directories
    /// need no more memory than their names. A component `*` is any; the path has no other
    /// wildcards.
    pub(crate) fn share(&mut self, directory: &[u8]) {
        let mut node = ROOT;
        for component in directory.split(|&byte| byte == b'/').filter(|_| !directory.is_empty()) {
            node = self.child_or_new(node, component);
        }
        self.nodes[node].has_shared = true;
    }

    /// Returns the first pattern that matches all of `path` and that `accepts` takes.
    pub(crate) fn first(&self, path: &[u8], accepts: impl Fn(u32) -> bool) -> Option<u32> {
        let mut first: Option<u32> = None;
        let mut pending = Vec::new();
        let mut next = Some((ROOT, path));
        while let Some((node, path)) = next {
            let node = &self.nodes[node];
            if node.has_shared {
                pending.push((SHARED, path));
            }
            let is_better = |id: u32| first.is_none_or(|first| id < first);
            let candidates = node.rests.iter().take_while(|(id, _)| is_better(*id));
            first = candidates
                .filter(|(id, glob)| glob.matches(path) && accepts(*id))
                .map(|(id, _)| *id)
                .next()
                .or(first);
            let (component, rest) = split(path);
            for child in node.child(component).into_iter().chain(node.any) {
                match rest {
                    Some(rest) => pending.push((child, rest)),
                    None => {
                        let mut ends = self.nodes[child].ends.iter().copied();
                        first = first.into_iter().chain(ends.find(|&id| accepts(id))).min();
                    }
                }
            }
            next = pending.pop();
        }
        first
    }

    fn insert_at(&mut self, node: usize, pattern: &[u8], id: u32) {
        if let Some(directory) = pattern.strip_suffix(b"/") {
            self.insert_path(node, &[directory, b"/**"].concat(), id);
        }
        self.insert_path(node, pattern.strip_suffix(b"/").unwrap_or(pattern), id);
    }

    fn insert_path(&mut self, mut node: usize, pattern: &[u8], id: u32) {
        let mut rest = Some(pattern);
        while let Some(pattern) = rest {
            let (component, next) = split(pattern);
            if component != b"*" && !is_literal(component) {
                self.nodes[node].rests.push((id, Glob::new(pattern, Dialect::Path)));
                return;
            }
            node = self.child_or_new(node, component);
            rest = next;
        }
        self.nodes[node].ends.push(id);
    }

    fn child_or_new(&mut self, node: usize, component: &[u8]) -> usize {
        let new = self.nodes.len();
        let parent = &mut self.nodes[node];
        let child = match component {
            b"*" => *parent.any.get_or_insert(new),
            _ => match parent.position(component) {
                Ok(at) => parent.literal[at].1,
                Err(at) => {
                    parent.literal.insert(at, (component.into(), new));
                    new
                }
            },
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }
}

impl Default for GlobSet {
    fn default() -> Self {
        GlobSet { nodes: vec![Node::default(), Node::default()] }
    }
}

impl Node {
    fn child(&self, component: &[u8]) -> Option<usize> {
        self.position(component).ok().map(|at| self.literal[at].1)
    }

    fn position(&self, component: &[u8]) -> Result<usize, usize> {
        self.literal.binary_search_by(|(name, _)| (**name).cmp(component))
    }
}

/// Splits off the first component; returns the rest if there is a slash.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'/', path) {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

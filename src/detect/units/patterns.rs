//! Finds the paths that match a pattern of `glob(7)`.

use crate::glob::{self, Dialect, Glob};
use crate::model::tree;
use crate::system::root::Root;

/// Returns the paths that exist and match, relative to the root, sorted. Each component of
/// `pattern` can be a pattern.
pub(super) fn matching(root: &Root, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut paths = vec![Vec::new()];
    for component in pattern.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
        let is_literal = glob::is_literal(component) && !component.contains(&b'\\');
        let pattern = Glob::new(component, Dialect::Fnmatch);
        let mut next = Vec::new();
        for directory in paths {
            if is_literal {
                next.push(tree::join(&directory, component));
                continue;
            }
            for name in root.list(&directory).unwrap_or_default() {
                // A wildcard does not match a leading dot (glob(7)).
                if pattern.matches(&name) && (component[0] == b'.' || name[0] != b'.') {
                    next.push(tree::join(&directory, &name));
                }
            }
        }
        paths = next;
    }
    paths.retain(|path| root.stat(path).is_ok());
    paths.sort();
    paths
}

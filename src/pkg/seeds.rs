//! Account files that must exist before the first package is installed, so that UIDs and GIDs are
//! the machine's.

use super::manager::BuildFile;
use crate::system::root::Root;

/// Returns the account files below `root/`.
pub fn accounts(root: &Root, rewritten: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<BuildFile> {
    let mut files = Vec::new();
    for name in ["passwd", "group", "shadow", "gshadow"] {
        let path = format!("etc/{name}");
        // Account files may be withheld or excluded, so only content that a rule has rewritten
        // gets in.
        let content = match rewritten(path.as_bytes()) {
            Some(content) => content,
            None if name == "group" => root.read(path.as_bytes()).unwrap_or_default(),
            None => continue,
        };
        if !content.is_empty() {
            files.push(BuildFile { name: format!("root/{path}"), content });
        }
    }
    files
}

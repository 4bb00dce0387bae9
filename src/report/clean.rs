//! Output of `clean`.

use crate::context::output::partial::Cleaned;

/// Returns the removed and the remaining partial directories.
pub fn cleaned(cleaned: &Cleaned) -> String {
    let removed = cleaned.removed.iter().map(|path| format!("removed {path}\n"));
    let left = cleaned.left.iter().map(|(path, why)| format!("not removed: {path}: {why}\n"));
    let text: String = removed.chain(left).collect();
    if text.is_empty() { "no partial directories found\n".to_owned() } else { text }
}

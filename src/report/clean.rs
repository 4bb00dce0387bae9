//! What `clean` prints.

use crate::context::output::partial::Cleaned;

/// What `clean` did.
pub fn cleaned(cleaned: &Cleaned) -> String {
    let removed = cleaned.removed.iter().map(|path| format!("removed {path}\n"));
    let left = cleaned.left.iter().map(|(path, why)| format!("left {path}: {why}\n"));
    let text: String = removed.chain(left).collect();
    if text.is_empty() { "nothing was left by a killed run\n".to_owned() } else { text }
}

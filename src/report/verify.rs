//! Output of `verify`.

use crate::apply::verify::Verified;

/// Returns the differences and the result.
pub fn verified(verified: &Verified) -> String {
    let mut text: String = verified.differences.iter().map(|line| format!("{line}\n")).collect();
    text += &match verified.differences.len() {
        0 => format!("equal: {} paths\n", verified.paths),
        count => format!("different: {count} of {} paths\n", verified.paths),
    };
    if verified.unseen > 0 {
        text += &format!(
            "not compared: ACLs and user.* attributes of {} paths, which this archive cannot contain; the build verified them\n",
            verified.unseen
        );
    }
    text
}

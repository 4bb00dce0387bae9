//! What `verify` prints.

use crate::apply::verify::Verified;

/// What `verify` found.
pub fn verified(verified: &Verified) -> String {
    let mut text: String = verified.differences.iter().map(|line| format!("{line}\n")).collect();
    text += &match verified.differences.len() {
        0 => format!("equal: {} paths\n", verified.paths),
        count => format!("different: {count} of {} paths\n", verified.paths),
    };
    if verified.unseen > 0 {
        text += &format!(
            "not shown by this stream: ACLs and user.* attributes of {} paths; the build has proven them\n",
            verified.unseen
        );
    }
    text
}

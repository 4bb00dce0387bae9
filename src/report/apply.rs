//! What `apply` prints in a build.

use crate::apply::{Applied, Prepared};
use crate::model::size::bytes;

/// What `apply` did to the system layer.
pub fn applied(applied: &Applied) -> String {
    format!(
        "the image is the machine: {} paths proven; {} were there, {} files ({}) written, {} removed as planned, {} more\n",
        applied.kept,
        applied.untouched,
        applied.written.0,
        bytes(applied.written.1),
        applied.removed.0,
        applied.removed.1,
    )
}

/// What `apply` did to the package layer.
pub fn prepared(prepared: &Prepared) -> String {
    format!(
        "package layer: {} packages checked, {} members unpacked, {} leftovers removed\n",
        prepared.checked, prepared.unpacked, prepared.removed
    )
}

//! Output of `apply` in a build.

use crate::apply::{Applied, Prepared};
use crate::model::size::bytes;

/// Returns what `apply` changed in the system layer, after verification.
pub fn applied(applied: &Applied) -> String {
    format!(
        "verified: {} paths match ({} from lower layers, {} files ({}) written, {} planned deletions, {} others removed)\n",
        applied.kept,
        applied.untouched,
        applied.written.0,
        bytes(applied.written.1),
        applied.removed.0,
        applied.removed.1,
    )
}

/// Returns what `apply` changed in the package layer.
pub fn prepared(prepared: &Prepared) -> String {
    format!(
        "package layer: {} packages checked, {} files unpacked, {} files removed\n",
        prepared.checked, prepared.unpacked, prepared.removed
    )
}

//! Standard output and standard error: the only place that writes to them.

use crate::model::document::{Document, Schema};
use serde::Serialize;
use std::io::Write;

/// One JSON document on standard output.
pub fn json(content: &(impl Schema + Serialize)) {
    match serde_json::to_string_pretty(&Document::new(content)) {
        Ok(text) => answer(&text),
        Err(cause) => tell(&format!("error: the result cannot be written as JSON: {cause}")),
    }
}

/// Text for people on standard output: what they asked to see.
pub fn answer(text: &str) {
    // Whoever closed the pipe does not want to read on; the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Text for people on standard error: what happened.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// The same, if there is anything to say.
pub fn tell_if(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

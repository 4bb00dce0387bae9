//! Standard output and standard error. No other module writes to them.

use crate::model::document::{Document, Schema};
use serde::Serialize;
use std::io::Write;

/// Prints a JSON document on standard output.
pub fn json(content: &(impl Schema + Serialize)) {
    match serde_json::to_string_pretty(&Document::new(content)) {
        Ok(text) => answer(&text),
        Err(cause) => tell(&format!("error: cannot write the result as JSON: {cause}")),
    }
}

/// Prints the requested output on standard output.
pub fn answer(text: &str) {
    // If the reader closed the pipe (as `head` does), it needs no more output.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Prints a message on standard error.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// Prints a message on standard error, unless it is empty.
pub fn tell_if(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

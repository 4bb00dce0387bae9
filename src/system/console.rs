//! Standard output and standard error. No other module writes to them.
//!
//! Texts can contain parts of a context or of the machine. Here all of them lose the characters
//! that control a terminal.

use crate::model::document::{Document, Schema};
use crate::model::escape;
use serde::Serialize;
use std::io::Write;

/// Prints a JSON document on standard output.
pub fn json(content: &(impl Schema + Serialize)) {
    match serde_json::to_string_pretty(&Document::new(content)) {
        Ok(text) => write_line(std::io::stdout(), &escape::printable_json(&text)),
        Err(cause) => tell(&format!("error: cannot write the result as JSON: {cause}")),
    }
}

/// Prints the requested output on standard output.
pub fn answer(text: &str) {
    write_line(std::io::stdout(), &escape::printable(text));
}

/// Prints a message on standard error.
pub fn tell(text: &str) {
    write_line(std::io::stderr(), &escape::printable(text));
}

fn write_line(mut stream: impl Write, text: &str) {
    // If the reader closed the pipe (as `head` does), it needs no more output.
    let _ = writeln!(stream, "{}", text.trim_end());
}

/// Prints a message on standard error, unless it is empty.
pub fn tell_if(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

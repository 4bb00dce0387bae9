//! Lines that parsers of line-based files could not use.
//!
//! Every such parser takes bytes, returns the lines that it could parse, and reports each other
//! line as a [`Problem`]. It never fails as a whole.

use std::fmt;

/// Problems beyond this number are not recorded; the file is not a database any more.
pub(crate) const MAX_PROBLEMS: usize = 1000;

/// A line that could not be used: its number and the reason, but never its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1-based.
    pub line: usize,
    /// The reason.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Keeps a problem unless there are far too many already.
pub(crate) fn note(problems: &mut Vec<Problem>, line: usize, text: impl Into<String>) {
    if problems.len() < MAX_PROBLEMS {
        problems.push(Problem { line, text: text.into() });
    }
}

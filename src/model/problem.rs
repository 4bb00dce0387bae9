//! What parsers of line-based files could not use.
//!
//! Every such parser takes bytes, returns what it could read, and reports each other line as a [`Problem`]; none of them
//! fails as a whole.

use std::fmt;

/// Problems beyond this number are not recorded; the file is not a database any more.
pub(crate) const MAX_PROBLEMS: usize = 1000;

/// A line that could not be used, for people; never the line's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1-based.
    pub line: usize,
    /// What is wrong with it.
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

//! A service while it is decided how it runs in a container.

use super::command::Run;
use super::connections::Text;
use super::listening::Listening;
use super::model::Name;
use super::survey::Candidate;

/// A service on its way to a container.
pub(super) struct Draft<'a> {
    pub(super) name: Name,
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) run: Run,
    pub(super) listening: Listening,
    /// Configuration, without comments.
    pub(super) texts: Vec<Text>,
}

//! A service while it is decided how it runs in a container.

use super::command::Run;
use super::connections::Text;
use super::listening::Listening;
use super::model::Name;
use super::script::Preparation;
use super::survey::Candidate;

/// A service with the facts that its container definition needs.
pub(super) struct Draft<'a> {
    pub(super) name: Name,
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) run: Run,
    pub(super) listening: Listening,
    /// Configuration files and variables, without comments.
    pub(super) texts: Vec<Text>,
    /// Paths that the build of the image creates.
    pub(super) preparation: Preparation,
}

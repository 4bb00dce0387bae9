//! Writes the context.
//!
//! Other users cannot redirect the output or read it. It gets its final name when it is complete.
//!
//! - [`place`]: the output path, as an open parent directory and a name.
//! - [`partial`]: the partial directory, locked by its run; `clean` removes abandoned ones.
//! - [`room`]: the space limit.
//! - [`sink`]: the files of a context, digested while they are written. They are stored on disk
//!   by `kept` and read back, or sent to the upload child by [`sent`].

mod kept;
pub mod partial;
pub mod place;
pub mod room;
pub mod sent;
pub mod sink;

pub use partial::{CleanupHandle, PartialDir, remove_scratch};
pub use place::OutputPath;
pub use sink::{ContextFile, ContextWriter};

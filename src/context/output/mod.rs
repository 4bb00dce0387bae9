//! The output directory: found without trusting anybody, private from the start, under its final name only when it is whole.
//!
//! - [`place`]: where it will stand, as an opened parent directory.
//! - [`partial`]: the directory that grows beside it, locked by its run, and what `clean` may remove.
//! - [`room`]: how much of the file system may be used.
//! - [`sink`]: the files of a context, digested while they are written and read back before they are sealed: `kept` on a disk,
//!   or [`sent`] while they are made.

mod kept;
pub mod partial;
pub mod place;
pub mod room;
pub mod sent;
pub mod sink;

pub use partial::{CleanupHandle, PartialDir, remove_scratch};
pub use place::OutputPath;
pub use sink::{ContextFile, ContextWriter};

//! The services of a machine, as its files define them: systemd's units, scripts of System V, OpenRC, runit and
//! supervisor, and cron's jobs. Nothing is executed, no manager is asked.
//!
//! ```text
//! load    ──► Loaded       a unit's file and drop-ins, by systemd's search path      parse.rs: the syntax
//! service ──► ServiceUnit  what the assignments mean; so socket, timer, path         pure
//! enabled ──► Enabled      what a boot starts, and what starts it
//! other   ──► OtherService what other managers start
//! cron    ──► Job          what runs at times
//! ```
//!
//! Values are bytes. Those of variables and arguments may be secret, so no debugging form shows them.

pub mod exec_settings;

pub mod amount;
pub mod cron;
pub mod enabled;
pub mod environment;
pub mod exec;
pub mod load;
pub mod names;
pub mod other;
pub mod parse;
pub mod path;
mod section;
pub mod service;
pub mod socket;
pub mod specifiers;
pub mod supervisor;
pub mod sysv;
pub mod timer;
pub mod tmpfiles;
mod words;

pub use enabled::{Enabled, enabled};
pub use environment::Variables;
pub use exec::Exec;
pub use exec_settings::ExecContext;
pub use load::{Loaded, Units};
pub use other::OtherService;
pub use parse::Unit;
pub use service::ServiceUnit;
pub use specifiers::Host;

#[cfg(test)]
mod enabled_tests;
#[cfg(test)]
mod exec_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod service_tests;

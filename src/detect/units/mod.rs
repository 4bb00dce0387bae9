//! Reads the definitions of services from files: systemd units, System V init scripts, OpenRC,
//! runit, supervisor, and cron jobs. Executes nothing and queries no service manager.
//!
//! ```text
//! load    ──► Loaded       unit file with drop-ins (syntax: parse.rs)
//! service ──► ServiceUnit  meaning of the assignments; also socket, timer, path (pure)
//! enabled ──► Enabled      units that start at boot, and why
//! other   ──► OtherService services of other service managers
//! cron    ──► Job          scheduled jobs
//! ```
//!
//! Values are bytes. Variables and arguments can contain secrets, so `Debug` never shows their
//! values.

pub mod exec_settings;

pub mod amount;
pub mod conditions;
pub mod cron;
pub mod directives;
pub mod enabled;
pub mod environment;
pub mod exec;
pub mod load;
pub mod names;
pub mod other;
pub mod parse;
pub mod path;
mod patterns;
mod section;
pub mod service;
pub mod socket;
pub mod specifiers;
pub mod supervisor;
pub mod sysv;
pub mod timer;
pub mod tmpfiles;
pub mod user_units;
mod words;

pub use enabled::{BootUnits, Enabled};
pub use environment::Variables;
pub use exec::Exec;
pub use exec_settings::ExecSettings;
pub use load::{Loaded, Units};
pub use other::OtherService;
pub use parse::Unit;
pub use service::ServiceUnit;
pub use specifiers::Host;

#[cfg(test)]
mod enabled_tests;
#[cfg(test)]
pub(crate) mod environment_tests;
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

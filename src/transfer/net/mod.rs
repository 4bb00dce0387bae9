//! The network: one blocking HTTP client for everything that is asked for.
//!
//! - [`Client`]: requests, redirects, repetitions, limits of time and size.
//! - [`resolver`], [`dns`]: names of hosts without the C library.
//! - `answered`: what was refused is known at once.
//! - `connector`: one address after the other.
//! - `traffic`: what all requests of a run share.
//! - `trust`: the authorities whose certificates are accepted.
//! - [`Failure`]: why something did not come.

mod early_response;

mod body;
mod client;
mod connector;
pub mod dns;
mod failure;
pub mod resolver;
#[cfg(test)]
pub(crate) mod server;
mod traffic;
mod trust;
mod url;

pub use body::Body;
pub use client::{Client, Request, Response, Sending, Settings, Timeouts};
pub use failure::Failure;
pub use traffic::Stats;
pub use trust::check_ca_file;
pub use ureq::http::Method;
pub use url::{Address, base64, basic};

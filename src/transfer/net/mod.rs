//! Blocking HTTP client that all network access uses.
//!
//! - [`Client`]: requests, redirects, retries, limits of time and size.
//! - [`resolver`], [`dns`]: host name lookup without the C library.
//! - `early_response`: handles a final response that arrives instead of `100 Continue`.
//! - `connector`: tries the IP addresses of a host one after the other.
//! - `traffic`: state that all requests of a run share, such as the time budget.
//! - `trust`: the CA certificates.
//! - [`Failure`]: the reason why a request failed.

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

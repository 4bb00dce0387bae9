//! Everything that goes over the network.
//!
//! - [`net`]: HTTP requests with bounded time and size, name resolution, certificates.
//! - [`upload`]: a context to a server, until the server has confirmed it.

pub mod net;
pub mod upload;

//! Network access.
//!
//! - [`net`]: HTTP client with limits of time and size, name resolution, CA certificates.
//! - [`upload`]: sends a context to a server and verifies that the server has stored it.

pub mod net;
pub mod upload;

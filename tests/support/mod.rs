//! Shared parts of the integration tests: fixture roots written as text, the executable, and a
//! comparison of roots that shares no code with it.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod fixture;
pub(crate) mod images;
pub(crate) mod look;
pub(crate) mod matrix;
pub(crate) mod schema;
pub(crate) mod store;
pub(crate) mod tool;

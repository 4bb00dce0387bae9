//! What the tests of the whole program share: fixture roots written as text, the binary, and a look at a root that
//! has no code in common with it.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod fixture;
pub(crate) mod images;
pub(crate) mod look;
pub(crate) mod matrix;
pub(crate) mod schema;
pub(crate) mod store;
pub(crate) mod tool;

//! TODO-DOC pkg::dpkg::base

pub mod contents;
pub mod minbase;
pub mod package_list;
pub mod profile;
pub mod published;

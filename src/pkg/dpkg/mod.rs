//! TODO-DOC pkg::dpkg

pub mod admin;
pub mod base;
pub mod database;
pub mod deb822;
pub mod filters;
pub mod lock;
pub mod provenance;
pub mod repositories;
pub mod repository;
pub mod rewrite;
pub mod status;
pub mod version;

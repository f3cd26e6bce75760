//! Countersign: a standalone token issuer and authorization server.
//!
//! Modules in dependency order; a module may use only those above it, and each outside crate has one door.
//! Start reading at [`oauth::grant::refresh`] with `docs/ARCHITECTURE.md` beside it.

pub mod admin;
pub mod app;
pub mod cache;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod id;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod lane;
pub mod limits;
pub mod login_name;
pub mod metrics;
pub mod oauth;
pub mod password_hash;
pub mod protocol;
pub mod reason;
pub mod secret;
pub mod settings;
pub mod store;
pub mod token;
pub mod web;

//! Countersign: an OAuth 2.1 authorization server and OpenID Provider in one program.
//!
//! Modules in dependency order; a module may use only those above it (`protocol` and `reason` name each other: what is
//! asked and why it is refused), and each outside crate has one door.
//! Start reading at [`oauth::grant::refresh`] with `docs/ARCHITECTURE.md` beside it.

// ── ground: pure, no IO
pub mod clock;
pub mod secret;
pub mod id;
pub mod protocol;
pub mod reason;
pub mod login_name;

// ── doors: each owns one outside crate or one resource and hides it
pub mod settings;
pub mod metrics;
pub mod lane;
pub mod store;
pub mod cache;
pub mod fetch;
pub mod password_hash;
pub mod keys;
pub mod limits;
pub mod clients;
pub mod client_keys;
pub mod status;
pub mod app;

// ── rules: what OAuth and we ourselves require
pub mod token;
pub mod identity;
pub mod oauth;
pub mod admin;
pub mod jobs;

// ── surface
pub mod web;
pub mod cli;

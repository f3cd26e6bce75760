//! Who is at the keyboard. Knows clients and grants by name; refuses to know endpoints and tokens.

pub mod browser;
pub mod login;
pub mod place;
pub mod remembered;
pub mod self_service;
pub mod session;

//! Who is at the keyboard. Refuses to know what OAuth is.

pub mod browser;
pub mod login;
pub mod place;
pub mod remembered;
pub mod self_service;
pub mod session;

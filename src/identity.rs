//! Who is at the keyboard. Refuses to know what OAuth is.

pub mod browser;
pub mod login;
pub mod session;

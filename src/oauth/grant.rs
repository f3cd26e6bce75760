//! The grant types. Each turns an offer into an [`crate::token::Authorization`] and does nothing else.

pub mod client_credentials;
pub mod password;
pub mod refresh;

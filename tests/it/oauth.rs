//! The protocol, seen from outside: a file for each feature.

mod access_token;
mod authorization_code;
mod authorize;
mod authorize_steps;
mod bad_input;
mod bound_tokens;
mod browser_sessions;
mod client_assertions;
mod client_certificates;
mod client_credentials;
mod documents;
mod introspection;
mod pushed_requests;
mod request_claims;
mod request_objects;
mod logout;
mod metadata;
mod registration;
mod revocation;
mod rotation;
mod rotation_model;
mod rotation_races;
mod token_exchange;
mod userinfo;

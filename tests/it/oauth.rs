//! The protocol, seen from outside: a file for each feature.

mod access_token;
mod account;
mod authorization_code;
mod authorize;
mod authorize_steps;
mod backchannel_logout;
mod bad_input;
mod binding;
mod browser_sessions;
mod client_credentials;
mod documents;
mod introspection;
mod logout;
mod remembered;
mod revocation;
mod rotation;
mod rotation_model;
mod rotation_races;
mod userinfo;

//! The protocol, seen from outside: a file for each feature.

mod access_token;
mod bad_input;
mod client_credentials;
mod documents;
mod introspection;
mod revocation;
mod rotation;
mod rotation_model;
mod rotation_races;

//! The RFCs as types. Untrusted text becomes a typed value here or is refused here; nothing below parses again.
//! Pure: no clock, no store, no settings. Refuses to know who is asking and whether they may.

pub mod authorize_request;
pub mod authorize_response;
pub mod bearer;
pub mod claims_request;
pub mod client_assertion;
pub mod client_certificate;
pub mod client_credentials;
pub mod client_metadata;
pub mod confirmation;
pub mod device_authorization;
pub mod discovery_document;
pub mod dpop;
pub mod error_code;
pub mod jose;
pub mod logout;
pub mod origin;
pub mod params;
pub mod pkce;
pub mod redirect_uri;
pub mod registration_response;
pub mod resource;
pub mod scope;
pub mod standard_claims;
pub mod token_request;
pub mod token_response;
pub mod user_code;

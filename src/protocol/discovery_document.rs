//! Authorization server metadata (RFC 8414 §2): says what is switched on, nothing else.

use serde::Serialize;
use utoipa::ToSchema;

use super::client_metadata::AuthMethod;
use super::token_request::GrantType;

/// The document at `/.well-known/oauth-authorization-server`.
#[derive(Serialize, ToSchema)]
pub struct DiscoveryDocument {
    /// Equal to the setting and to every token's `iss`, byte for byte.
    pub issuer: String,
    /// Where tokens are issued.
    pub token_endpoint: String,
    /// Where the public keys are.
    pub jwks_uri: String,
    /// RFC 7009.
    pub revocation_endpoint: String,
    /// RFC 7662.
    pub introspection_endpoint: String,
    /// draft-ietf-oauth-status-list §9.1: where the status lists are named.
    pub status_list_aggregation_endpoint: String,
    /// Where changes of the status lists are told as they happen.
    pub status_events_endpoint: String,
    /// Where verifiers say how far they have come.
    pub status_receipts_endpoint: String,
    /// Grant types that a third party may be given. `password` exists for first-party clients alone and is not listed.
    pub grant_types_supported: Vec<&'static str>,
    /// Empty: there is no authorization endpoint (RFC 8414 §2 requires the member).
    pub response_types_supported: Vec<&'static str>,
    /// How clients authenticate at the token endpoint.
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// The same at the revocation endpoint.
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// At the introspection endpoint, where public clients are refused.
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
}

impl DiscoveryDocument {
    /// The document of `issuer`, to which paths are appended as it is.
    pub fn new(issuer: &str) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let confidential: Vec<_> = AuthMethod::ALL.into_iter().filter(|method| *method != "none").collect();
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: at("/token"),
            jwks_uri: at("/jwks.json"),
            revocation_endpoint: at("/revoke"),
            introspection_endpoint: at("/introspect"),
            status_list_aggregation_endpoint: at("/status"),
            status_events_endpoint: at("/status/events"),
            status_receipts_endpoint: at("/status/receipts"),
            grant_types_supported: vec![GrantType::ClientCredentials.as_str(), GrantType::RefreshToken.as_str()],
            response_types_supported: Vec::new(),
            token_endpoint_auth_methods_supported: AuthMethod::ALL.to_vec(),
            revocation_endpoint_auth_methods_supported: AuthMethod::ALL.to_vec(),
            introspection_endpoint_auth_methods_supported: confidential,
        }
    }
}

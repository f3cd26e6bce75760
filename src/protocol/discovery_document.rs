//! Authorization server metadata (RFC 8414 §2): says what is switched on, nothing else.

use serde::Serialize;
use utoipa::ToSchema;

use super::authorize_request::{Prompt, ResponseMode};
use super::client_metadata::AuthMethod;
use super::pkce;
use super::standard_claims::SCOPES;
use super::token_request::GrantType;

/// The document at `/.well-known/oauth-authorization-server` and at `/.well-known/openid-configuration` (OpenID Connect
/// Discovery §3).
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the specifications say so what is there")]
pub struct DiscoveryDocument {
    /// Equal to the setting and to every token's `iss`, byte for byte.
    pub issuer: String,
    /// Where a browser is sent for a code.
    pub authorization_endpoint: String,
    /// Where tokens are issued.
    pub token_endpoint: String,
    /// OpenID Connect Core §5.3.
    pub userinfo_endpoint: String,
    /// Where the public keys are.
    pub jwks_uri: String,
    /// OpenID Connect RP-Initiated Logout §2.1.
    pub end_session_endpoint: String,
    /// OpenID Connect Back-Channel Logout §2.1.
    pub backchannel_logout_supported: bool,
    /// With `sid`.
    pub backchannel_logout_session_supported: bool,
    /// OpenID Connect Front-Channel Logout §3.
    pub frontchannel_logout_supported: bool,
    /// With `iss` and `sid`.
    pub frontchannel_logout_session_supported: bool,
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
    /// `code` alone.
    pub response_types_supported: Vec<&'static str>,
    /// How an answer travels.
    pub response_modes_supported: Vec<&'static str>,
    /// RFC 7636: `S256` alone.
    pub code_challenge_methods_supported: Vec<&'static str>,
    /// RFC 9207: always.
    pub authorization_response_iss_parameter_supported: bool,
    /// OpenID Connect Core §3.1.2.1.
    pub prompt_values_supported: Vec<&'static str>,
    /// Scopes that every server knows; clients have others of their own.
    pub scopes_supported: Vec<&'static str>,
    /// Claims that an account may have.
    pub claims_supported: Vec<&'static str>,
    /// OpenID Connect Core §8: `sub` is the same for every client.
    pub subject_types_supported: Vec<&'static str>,
    /// How ID tokens are signed.
    pub id_token_signing_alg_values_supported: Vec<&'static str>,
    /// The strength of a log-in.
    pub acr_values_supported: Vec<&'static str>,
    /// Languages of the pages.
    pub ui_locales_supported: Vec<&'static str>,
    /// OpenID Connect Core §6.2. Taken for granted unless it is said.
    pub request_uri_parameter_supported: bool,
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
            authorization_endpoint: at("/authorize"),
            token_endpoint: at("/token"),
            userinfo_endpoint: at("/userinfo"),
            jwks_uri: at("/jwks.json"),
            end_session_endpoint: at("/logout"),
            backchannel_logout_supported: true,
            backchannel_logout_session_supported: true,
            frontchannel_logout_supported: true,
            frontchannel_logout_session_supported: true,
            revocation_endpoint: at("/revoke"),
            introspection_endpoint: at("/introspect"),
            status_list_aggregation_endpoint: at("/status"),
            status_events_endpoint: at("/status/events"),
            status_receipts_endpoint: at("/status/receipts"),
            grant_types_supported: vec![
                GrantType::AuthorizationCode.as_str(),
                GrantType::ClientCredentials.as_str(),
                GrantType::RefreshToken.as_str(),
            ],
            response_types_supported: vec!["code"],
            response_modes_supported: ResponseMode::ALL.to_vec(),
            code_challenge_methods_supported: vec![pkce::METHOD],
            authorization_response_iss_parameter_supported: true,
            prompt_values_supported: Prompt::ALL.map(Prompt::as_str).to_vec(),
            scopes_supported: ["openid"]
                .into_iter()
                .chain(SCOPES.map(|(scope, _)| scope))
                .chain(["offline_access"])
                .collect(),
            claims_supported: ["sub"]
                .into_iter()
                .chain(SCOPES.into_iter().flat_map(|(_, claims)| claims.iter().copied()))
                .collect(),
            subject_types_supported: vec!["public"],
            id_token_signing_alg_values_supported: vec!["RS256"],
            acr_values_supported: vec!["aal1"],
            ui_locales_supported: vec!["en", "de"],
            request_uri_parameter_supported: false,
            token_endpoint_auth_methods_supported: AuthMethod::ALL.to_vec(),
            revocation_endpoint_auth_methods_supported: AuthMethod::ALL.to_vec(),
            introspection_endpoint_auth_methods_supported: confidential,
        }
    }
}

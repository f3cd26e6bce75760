//! Authorization server metadata (RFC 8414 §2): says what is switched on, nothing else.

use serde::Serialize;
use utoipa::ToSchema;

use super::authorize_request::{Prompt, ResponseMode};
use super::client_metadata::AuthMethod;
use super::jose::{Algorithm, OwnAlgorithm};
use super::pkce;
use super::standard_claims::SCOPES;
use super::token_request::GrantType;

/// The languages that pages speak, the first for whoever reads none of them.
pub const UI_LOCALES: [&str; 2] = ["en", "de"];

/// The document at `/.well-known/oauth-authorization-server` and at `/.well-known/openid-configuration` (OpenID Connect
/// Discovery §3).
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "members of the standards, each of its own")]
pub struct DiscoveryDocument {
    /// Equal to the setting and to every token's `iss`, byte for byte.
    pub issuer: String,
    /// Where a browser is sent for a code.
    pub authorization_endpoint: String,
    /// draft-ietf-oauth-first-party-apps §10: where first-party apps get codes by themselves.
    pub authorization_challenge_endpoint: String,
    /// Where tokens are issued.
    pub token_endpoint: String,
    /// RFC 8628 §4.
    pub device_authorization_endpoint: String,
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
    /// RFC 7591 §3, where clients may register themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
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
    /// OpenID Connect Core §8: `sub` is the same for every client, or for those of a sector.
    pub subject_types_supported: Vec<&'static str>,
    /// How ID tokens are signed: now, and when the standby signs.
    pub id_token_signing_alg_values_supported: Vec<&'static str>,
    /// The strength of a log-in.
    pub acr_values_supported: Vec<&'static str>,
    /// Languages of the pages.
    pub ui_locales_supported: Vec<&'static str>,
    /// RFC 9126 §5.
    pub pushed_authorization_request_endpoint: String,
    /// RFC 9126 §5: for those clients alone that say so.
    pub require_pushed_authorization_requests: bool,
    /// OpenID Connect Core §6.1, RFC 9101.
    pub request_parameter_supported: bool,
    /// OpenID Connect Core §6.2: nothing is fetched; what was pushed is RFC 9126's.
    pub request_uri_parameter_supported: bool,
    /// How request objects may be signed.
    pub request_object_signing_alg_values_supported: Vec<&'static str>,
    /// OpenID Connect Core §5.5.
    pub claims_parameter_supported: bool,
    /// How answers of the userinfo endpoint are signed, for clients that want it.
    pub userinfo_signing_alg_values_supported: Vec<&'static str>,
    /// RFC 9449 §5.1: how proofs of possession may be signed.
    pub dpop_signing_alg_values_supported: Vec<&'static str>,
    /// RFC 8705 §3.3.
    pub tls_client_certificate_bound_access_tokens: bool,
    /// RFC 7523 §2.2: how assertions may be signed.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// The same at the revocation endpoint.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// The same at the introspection endpoint.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// How clients authenticate at the token endpoint.
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// The same at the revocation endpoint.
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// At the introspection endpoint, where public clients are refused.
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
}

/// What is switched on by settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct With {
    /// Client certificates that a trusted proxy shows.
    pub certificates: bool,
    /// And the proxy's word on who issued them.
    pub trusted_certificates: bool,
    /// Clients may register themselves.
    pub registration: bool,
}

impl DiscoveryDocument {
    /// The document of `issuer`, to which paths are appended as it is; it signs by these algorithms.
    pub fn new(issuer: &str, with: With, signs_by: &[OwnAlgorithm]) -> Self {
        let signs_by: Vec<_> = signs_by.iter().map(|algorithm| algorithm.as_str()).collect();
        let at = |path: &str| format!("{issuer}{path}");
        let own = with.certificates.then_some(AuthMethod::BY_OWN_CERTIFICATE);
        let trusted = with.trusted_certificates.then_some(AuthMethod::BY_TRUSTED_CERTIFICATE);
        let methods: Vec<_> = AuthMethod::PLAIN.into_iter().chain(trusted).chain(own).collect();
        let confidential: Vec<_> = methods.iter().copied().filter(|method| *method != "none").collect();
        Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: at("/authorize"),
            authorization_challenge_endpoint: at("/authorize-challenge"),
            token_endpoint: at("/token"),
            device_authorization_endpoint: at("/device_authorization"),
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
            registration_endpoint: with.registration.then(|| at("/register")),
            grant_types_supported: vec![
                GrantType::AuthorizationCode.as_str(),
                GrantType::ClientCredentials.as_str(),
                GrantType::RefreshToken.as_str(),
                GrantType::TokenExchange.as_str(),
                GrantType::DeviceCode.as_str(),
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
            claims_supported: ["sub", "auth_time", "acr", "amr"]
                .into_iter()
                .chain(SCOPES.into_iter().flat_map(|(_, claims)| claims.iter().copied()))
                .collect(),
            subject_types_supported: vec!["public", "pairwise"],
            id_token_signing_alg_values_supported: signs_by.clone(),
            acr_values_supported: vec!["aal1"],
            ui_locales_supported: UI_LOCALES.to_vec(),
            pushed_authorization_request_endpoint: at("/par"),
            require_pushed_authorization_requests: false,
            request_parameter_supported: true,
            request_uri_parameter_supported: false,
            request_object_signing_alg_values_supported: Algorithm::ALL.to_vec(),
            claims_parameter_supported: true,
            userinfo_signing_alg_values_supported: signs_by,
            dpop_signing_alg_values_supported: Algorithm::ALL.to_vec(),
            tls_client_certificate_bound_access_tokens: with.certificates,
            token_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.to_vec(),
            revocation_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.to_vec(),
            introspection_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.to_vec(),
            token_endpoint_auth_methods_supported: methods.clone(),
            revocation_endpoint_auth_methods_supported: methods.clone(),
            introspection_endpoint_auth_methods_supported: confidential,
        }
    }
}

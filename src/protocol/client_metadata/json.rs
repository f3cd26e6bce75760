//! Client metadata as JSON (RFC 7591 §2): what is sent to register a client and what is stored. Refuses to know the rules.

use std::ops::Not;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::exchange::ExchangeMode;
use super::proof::AuthMethod;
use super::subject::SubjectType;
use crate::protocol::jose::{Algorithm, OwnAlgorithm};
use crate::protocol::redirect_uri::ApplicationType;

/// The JSON form of [`ClientMetadata`](super::ClientMetadata): what is sent to register a client and what is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(description = "Client metadata (RFC 7591 §2)")]
#[expect(clippy::struct_excessive_bools, reason = "members of the standards, each of its own")]
pub struct ClientMetadataJson {
    /// RFC 7591 §3.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// RFC 7591 §2: for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// RFC 7591 §2.
    pub token_endpoint_auth_method: AuthMethod,
    /// RFC 7591 §2: with `redirect_uris`, `authorization_code` when left out; empty for a resource server that only introspects.
    pub grant_types: Vec<String>,
    /// RFC 7591 §2: everything that the client may ask for.
    pub scope: String,
    /// Ours: the resources that the client may get tokens for, and may introspect tokens of.
    pub audiences: Vec<String>,
    /// Ours: life of its access tokens in seconds; absent means the server's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_ttl: Option<u64>,
    /// Ours: fixed claims of its access tokens.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub extra_claims: Map<String, Value>,
    /// RFC 7591 §2: where answers of the authorization endpoint may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// RFC 7591 §2: `code`, and nothing else; may be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_types: Vec<String>,
    /// OpenID Connect Registration §2.
    pub application_type: ApplicationType,
    /// OpenID Connect RP-Initiated Logout §3.1: where a browser may go after it has logged out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_logout_redirect_uris: Vec<String>,
    /// OpenID Connect Back-Channel Logout §2.2: where it is told that somebody logged out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// The same: whether it needs `sid`, which it gets anyway.
    #[serde(skip_serializing_if = "Not::not")]
    pub backchannel_logout_session_required: bool,
    /// OpenID Connect Front-Channel Logout §2: what a browser shows in a frame when somebody logged out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_uri: Option<String>,
    /// The same: whether it needs `iss` and `sid`, which it gets anyway.
    #[serde(skip_serializing_if = "Not::not")]
    pub frontchannel_logout_session_required: bool,
    /// Ours: the origins whose pages may read what this server answers the client (RFC 9700 §2.6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// OpenID Connect Registration §2: how old a log-in may be, in seconds, when a request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u64>,
    /// Ours: it belongs to whoever runs this server, so that nobody is asked whether it may.
    #[serde(skip_serializing_if = "Not::not")]
    pub first_party: bool,
    /// Ours: its refresh tokens travel in a cookie that its pages cannot read; for a page of whoever runs this server.
    #[serde(skip_serializing_if = "Not::not")]
    pub refresh_cookie: bool,
    /// Ours: a confidential client that sends a nonce with each OpenID request may do without PKCE (RFC 9700 §2.1.1).
    #[serde(skip_serializing_if = "Not::not")]
    pub pkce_optional: bool,
    /// RFC 7591 §2: a page about the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// RFC 7591 §2: what it does with people's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// RFC 7591 §2: its terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// RFC 7591 §2: how to reach whoever answers for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// RFC 7591 §2: the keys that the client signs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Value>,
    /// RFC 7591 §2: where they are found instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// OpenID Connect Registration §2: the one algorithm of `private_key_jwt`; absent means any that fits a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<Algorithm>,
    /// Ours: assertions may name the token endpoint in place of the issuer, as older libraries do.
    #[serde(skip_serializing_if = "Not::not")]
    pub token_endpoint_audience: bool,
    /// RFC 8705 §2.1.2: the subject of the certificate of `tls_client_auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// RFC 8705 §2.1.2: or a DNS name in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    /// RFC 8705 §2.1.2: or a URI in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    /// RFC 8705 §3.4: its access tokens are bound to its certificate.
    #[serde(skip_serializing_if = "Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// RFC 9449 §5.2: its access tokens are bound to a key, always.
    #[serde(skip_serializing_if = "Not::not")]
    pub dpop_bound_access_tokens: bool,
    /// RFC 9126 §6: it pushes its authorization requests, always.
    #[serde(skip_serializing_if = "Not::not")]
    pub require_pushed_authorization_requests: bool,
    /// RFC 9101 §10.5: it signs its authorization requests, always.
    #[serde(skip_serializing_if = "Not::not")]
    pub require_signed_request_object: bool,
    /// OpenID Connect Registration §2: the one algorithm of its request objects; absent means any that fits a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object_signing_alg: Option<Algorithm>,
    /// OpenID Connect Registration §2: whether people have a name for each sector.
    #[serde(skip_serializing_if = "SubjectType::is_public")]
    pub subject_type: SubjectType,
    /// OpenID Connect Registration §5: where those that belong to the sector are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sector_identifier_uri: Option<String>,
    /// OpenID Connect Registration §2: the answer of the userinfo endpoint is signed, by the algorithm of this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo_signed_response_alg: Option<OwnAlgorithm>,
    /// OpenID Connect Registration §2: the algorithm of this server, which every ID token is signed with; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_signed_response_alg: Option<OwnAlgorithm>,
    /// Ours: how its exchanged tokens name it (RFC 8693 §1.1).
    #[serde(skip_serializing_if = "ExchangeMode::is_delegation")]
    pub token_exchange: ExchangeMode,
    /// Ours: its app may send what a person typed to the authorization challenge endpoint.
    #[serde(skip_serializing_if = "Not::not")]
    pub authorization_challenge: bool,
}

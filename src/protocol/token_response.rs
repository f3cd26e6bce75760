//! The bodies of successful answers: tokens (RFC 6749 §5.1) and introspection (RFC 7662 §2.2).

use serde::Serialize;
use utoipa::ToSchema;

use super::confirmation::Confirmation;

/// RFC 6749 §5.1. `scope` is always said, so that a client need not remember what it asked for.
#[derive(Serialize, ToSchema)]
pub struct TokenResponse {
    /// An RFC 9068 JWT.
    pub access_token: String,
    /// `Bearer`, or `DPoP` for a token that is bound to a key (RFC 9449 §5).
    pub token_type: &'static str,
    /// Life of the access token in seconds.
    pub expires_in: u64,
    /// The successor of the presented refresh token, or the first one of a new grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// OpenID Connect Core §3.1.3.3: who logged in, for the client itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// The scope of the access token.
    pub scope: String,
    /// RFC 8693 §2.2.1: what the access token is, when it was made of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
}

/// draft-ietf-oauth-first-party-apps §5.2.1.
#[derive(Serialize, ToSchema)]
pub struct AuthorizationChallengeResponse {
    /// To be exchanged at the token endpoint, without `redirect_uri`.
    pub authorization_code: String,
}

/// RFC 9126 §2.2.
#[derive(Serialize, ToSchema)]
pub struct PushedResponse {
    /// What the browser brings in place of the parameters.
    pub request_uri: String,
    /// How long it is good for, in seconds.
    pub expires_in: u64,
}

/// RFC 7662 §2.2. An inactive token is `{"active":false}` and nothing more.
#[derive(Default, Serialize, ToSchema)]
pub struct IntrospectionResponse {
    /// Whether the token is one of ours and may be relied on now.
    pub active: bool,
    /// The token's scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The client that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `Bearer` or `DPoP` for an access token; absent for a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// Seconds since the epoch when it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Seconds since the epoch when it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// The account, or the client itself for `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The resources that the token is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Vec<String>>,
    /// This issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The access token's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The public identifier of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// RFC 9449 §6.2, RFC 8705 §3.2: the key that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub cnf: Option<Confirmation>,
    /// RFC 8693 §4.1: who acts for the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub act: Option<serde_json::Value>,
}

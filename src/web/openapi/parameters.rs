//! What endpoints read from forms, queries and headers, for the documentation alone: the readers are in `protocol`. A test
//! compares these with what those read.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// How a client says who it is and proves it, when it does not use HTTP Basic (RFC 6749 §2.3.1, RFC 7523 §2.2).
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as they are called on the wire")]
pub(in crate::web) struct ClientForm {
    /// Who asks; may be left out with HTTP Basic and with an assertion.
    client_id: Option<String>,
    /// With `client_secret_post`.
    client_secret: Option<String>,
    /// With `private_key_jwt`: a JWT that the client signed.
    client_assertion: Option<String>,
    /// With `client_assertion`: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
}

/// What is asked of the authorization endpoint, whichever way it comes (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1).
#[derive(Serialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct RequestForm {
    /// `code`. Must be there, but for `request_uri` and at the authorization challenge endpoint.
    response_type: Option<String>,
    /// Space-delimited; everything that the client may ask for if left out.
    scope: Option<String>,
    /// RFC 8707 §2.1; may be repeated; all that the client may have if left out.
    resource: Option<Vec<String>>,
    /// RFC 7636 §4.2: must be there, but for clients that may do without.
    code_challenge: Option<String>,
    /// `S256`.
    code_challenge_method: Option<String>,
    /// For the ID token.
    nonce: Option<String>,
    /// `none`, `login`, `consent`, `select_account`; space-delimited.
    prompt: Option<String>,
    /// How many seconds ago the person may have logged in.
    max_age: Option<u64>,
    /// The name that the log-in page begins with.
    login_hint: Option<String>,
    /// An ID token of whom the client means.
    id_token_hint: Option<String>,
    /// Languages that the person reads, the best first; space-delimited.
    ui_locales: Option<String>,
    /// Claims by name, as JSON (OpenID Connect Core §5.5).
    claims: Option<String>,
    /// Taken and not needed: a strength that must be is asked for by `claims`.
    acr_values: Option<String>,
    /// Taken and not needed: no claim is in several languages.
    claims_locales: Option<String>,
    /// RFC 9449 §10: the thumbprint of the key that whoever redeems the code must show.
    dpop_jkt: Option<String>,
}

/// The form of a token request.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct TokenForm {
    /// `authorization_code`, `password`, `client_credentials`, `refresh_token`,
    /// `urn:ietf:params:oauth:grant-type:device_code` or `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// With `password`: an e-mail address or a user name.
    username: Option<String>,
    /// With `password`.
    password: Option<String>,
    /// With `authorization_code`.
    code: Option<String>,
    /// With `authorization_code`: what fits the request's `code_challenge` (RFC 7636 §4.5).
    code_verifier: Option<String>,
    /// With `authorization_code`: where the code was sent.
    redirect_uri: Option<String>,
    /// With `urn:ietf:params:oauth:grant-type:device_code`.
    device_code: Option<String>,
    /// With `refresh_token`; not of a client whose refresh tokens travel in a cookie.
    refresh_token: Option<String>,
    /// With `refresh_token`, 16 to 128 visible characters: the same for every repeat of one refresh, so that a repeat
    /// is known as such even after the leeway.
    refresh_attempt: Option<String>,
    /// With `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693 §2.1): somebody's access token.
    subject_token: Option<String>,
    /// With `subject_token`: `urn:ietf:params:oauth:token-type:access_token`.
    subject_token_type: Option<String>,
    /// With `subject_token`: an access token of whoever acts, if not the client itself.
    actor_token: Option<String>,
    /// With `actor_token`: `urn:ietf:params:oauth:token-type:access_token`.
    actor_token_type: Option<String>,
    /// With `subject_token`: `urn:ietf:params:oauth:token-type:access_token`, and nothing else.
    requested_token_type: Option<String>,
    /// With `subject_token`: the same as `resource`; may be repeated.
    audience: Option<Vec<String>>,
    /// Space-delimited; less than all that is allowed.
    scope: Option<String>,
    /// RFC 8707 §2.2; may be repeated.
    resource: Option<Vec<String>>,
    #[serde(flatten)]
    client: ClientForm,
}

/// The form of an app that asks for a code by itself.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct ChallengeForm {
    /// An e-mail address or a user name.
    username: Option<String>,
    /// With `username`.
    password: Option<String>,
    /// What an answer before told to go on with; then the rest may be left out.
    auth_session: Option<String>,
    #[serde(flatten)]
    request: RequestForm,
    #[serde(flatten)]
    client: ClientForm,
}

/// The form of a device that begins.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct DeviceForm {
    /// Space-delimited; everything that the client may ask for if left out.
    scope: Option<String>,
    /// RFC 8707 §2.1; may be repeated; all that the client may have if left out.
    resource: Option<Vec<String>>,
    #[serde(flatten)]
    client: ClientForm,
}

/// The form of a pushed request: what the authorization endpoint takes but for `request_uri`, and the client's credentials.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct PushForm {
    /// Where the answer goes; may be left out where one is registered and `openid` is not asked for.
    redirect_uri: Option<String>,
    /// `query` or `form_post`.
    response_mode: Option<String>,
    /// Comes back as it is, at most 2 KiB.
    state: Option<String>,
    /// All of it in an object that the client signed (RFC 9101); then nothing beside it counts.
    request: Option<String>,
    #[serde(flatten)]
    asked: RequestForm,
    #[serde(flatten)]
    client: ClientForm,
}

/// The form of a revocation.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct RevocationForm {
    /// A refresh token or an access token. A client whose refresh tokens travel in a cookie may leave it out.
    token: Option<String>,
    /// Taken and not needed.
    token_type_hint: Option<String>,
    #[serde(flatten)]
    client: ClientForm,
}

/// The form of an introspection.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct IntrospectionForm {
    /// A refresh token or an access token.
    token: String,
    /// Taken and not needed.
    token_type_hint: Option<String>,
    #[serde(flatten)]
    client: ClientForm,
}

/// A proof that the client has a key.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(in crate::web) struct ProofHeader {
    /// A proof that the client has a key, for tokens that are bound to it (RFC 9449 §4).
    #[param(rename = "DPoP", nullable = false)]
    proof: Option<String>,
}

/// What a page sends whose refresh tokens travel in a cookie.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(in crate::web) struct CookieHeader {
    /// `cookie`, of a client whose refresh tokens travel in a cookie: other sites' pages cannot send it.
    #[param(rename = "Countersign-Refresh", nullable = false)]
    mark: Option<String>,
}

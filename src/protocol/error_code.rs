//! The error codes that our protocol endpoints answer with, as RFC 6749 §5.2, RFC 8628 §3.5, RFC 8707 §2, RFC 7009 §2.2.1 and
//! RFC 7591 §3.2.2 name them.

/// The `error` member of a refusal's JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// RFC 6749 §5.2: a parameter is missing, repeated, malformed or not to be combined.
    InvalidRequest,
    /// RFC 6749 §5.2: client authentication failed.
    InvalidClient,
    /// RFC 6749 §5.2: the credentials or the refresh token are not, or no longer, good.
    InvalidGrant,
    /// RFC 6749 §5.2: this client may not use this grant type.
    UnauthorizedClient,
    /// RFC 6749 §5.2: no such grant type here.
    UnsupportedGrantType,
    /// RFC 6749 §5.2: the scope is unknown, malformed, or beyond what was granted.
    InvalidScope,
    /// RFC 8707 §2: the resource is unknown, malformed, or not this client's.
    InvalidTarget,
    /// RFC 6749 §4.1.2.1: only `code` leaves the authorization endpoint.
    UnsupportedResponseType,
    /// RFC 6749 §4.1.2.1: the person said no.
    AccessDenied,
    /// RFC 8628 §3.5: the person has not answered yet.
    AuthorizationPending,
    /// RFC 8628 §3.5: the device asks too often.
    SlowDown,
    /// RFC 8628 §3.5: the device's time is over.
    ExpiredToken,
    /// draft-ietf-oauth-first-party-apps §5.2.2: there is more to ask the person.
    InsufficientAuthorization,
    /// draft-ietf-oauth-first-party-apps §5.2.2: the `auth_session` is not good.
    InvalidSession,
    /// draft-ietf-oauth-first-party-apps §5.2.2.1: only a browser will do.
    RedirectToWeb,
    /// OpenID Connect Core §3.1.2.6: the person would have to log in.
    LoginRequired,
    /// OpenID Connect Core §3.1.2.6: the person would have to consent.
    ConsentRequired,
    /// OpenID Connect Unmet Authentication Requirements §2.
    UnmetAuthenticationRequirements,
    /// OpenID Connect Core §3.1.2.6: `registration` is not taken.
    RegistrationNotSupported,
    /// RFC 6750 §3.1: the access token is not, or no longer, good.
    InvalidToken,
    /// RFC 6750 §3.1: the access token does not allow this.
    InsufficientScope,
    /// RFC 9449 §5: the proof is missing, malformed, or for something else.
    InvalidDpopProof,
    /// RFC 9449 §8: the proof must repeat what `DPoP-Nonce` says.
    UseDpopNonce,
    /// RFC 9101 §7: the request object is not, or no longer, good.
    InvalidRequestObject,
    /// RFC 9101 §7: nobody pushed such a request, or it is over.
    InvalidRequestUri,
    /// RFC 7591 §3.2.2: a redirect URI cannot be registered.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2: another member cannot be registered.
    InvalidClientMetadata,
    /// RFC 6749 §4.1.2.1, borrowed for the token endpoint: come back later.
    TemporarilyUnavailable,
    /// RFC 6749 §4.1.2.1, borrowed for the token endpoint: our fault.
    ServerError,
}

impl ErrorCode {
    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InsufficientAuthorization => "insufficient_authorization",
            Self::InvalidSession => "invalid_session",
            Self::RedirectToWeb => "redirect_to_web",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status that goes with the code unless a refusal has a more telling one (413, 429, …).
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::InvalidClient
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::UnsupportedResponseType
            | Self::AccessDenied
            | Self::AuthorizationPending
            | Self::SlowDown
            | Self::ExpiredToken
            | Self::InsufficientAuthorization
            | Self::InvalidSession
            | Self::RedirectToWeb
            | Self::LoginRequired
            | Self::ConsentRequired
            | Self::UnmetAuthenticationRequirements
            | Self::RegistrationNotSupported
            | Self::InvalidDpopProof
            | Self::UseDpopNonce
            | Self::InvalidRequestObject
            | Self::InvalidRequestUri
            | Self::InvalidRedirectUri
            | Self::InvalidClientMetadata => 400,
            Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
        }
    }
}

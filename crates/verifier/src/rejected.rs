//! Why a request is refused: what it is called, which status it gets. What a client is told in which header is
//! decided in [`crate::challenge`]. Nothing of a token is in here, so that all of it may be logged.

use std::time::Duration;

/// Why a request is refused.
///
/// There are three sorts. The token is no good: 401. It is good and does not suffice: 403, or 401 when logging in again
/// would help. And we cannot tell: 503, since a client that met our own blindness with a 401 would throw a good token
/// away.
///
/// ```
/// use countersign_verifier::Rejected;
///
/// assert_eq!(Rejected::Expired.code(), "expired");
/// assert_eq!(Rejected::Expired.status(), 401);
/// assert_eq!(Rejected::StatusUnavailable.status(), 503);
/// assert_eq!(Rejected::InsufficientScope { needed: "orders:write".to_owned() }.status(), 403);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The request has no token, or none in a way that is understood.
    #[error("the request has no bearer token")]
    Missing,
    /// The request has more than one `Authorization`, or one that cannot be read.
    #[error("the request's Authorization cannot be read")]
    Ambiguous,
    /// Not three base64url parts of a bounded size with JSON inside.
    #[error("the token is malformed")]
    Malformed,
    /// Its header is not that of an access token.
    #[error("the token is not an access token")]
    WrongHeader,
    /// Another issuer's.
    #[error("the token is another issuer's")]
    OtherIssuer,
    /// No published key has that `kid`.
    #[error("the token was signed with an unknown key")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim is missing, of the wrong type or beyond what is accepted.
    #[error("the token lacks a claim or has a wrong one")]
    BadClaims,
    /// Meant for another service.
    #[error("the token is meant for another audience")]
    OtherAudience,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// From the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Taken back: its grant, its account, its client, or the key that signed it.
    #[error("the token was revoked")]
    Revoked,
    /// Bound to a key and presented as a bearer's, or the other way round.
    #[error("the token is presented by the wrong scheme")]
    WrongScheme,
    /// Bound to another key than that of the proof.
    #[error("the token is bound to another key")]
    OtherKey,
    /// Bound to a key, and nothing proves that the sender holds it.
    #[error("the request has no DPoP proof")]
    ProofMissing,
    /// More than one proof, one that cannot be read, or one that its own key has not signed.
    #[error("the DPoP proof is malformed or not signed by its own key")]
    BadProof,
    /// A proof for another method, address or token. If all clients meet it, the address that was given to
    /// [`VerifierBuilder::dpop`](crate::VerifierBuilder::dpop) is not the one that they call.
    #[error("the DPoP proof is for another request")]
    ProofOfOtherRequest,
    /// A proof of more than a minute ago, or from the future.
    #[error("the DPoP proof was not made just now")]
    ProofOutOfTime,
    /// A proof that was used before.
    #[error("the DPoP proof was used before")]
    ProofReplayed,
    /// There is no room to remember one more proof, so that it could be used again.
    #[error("no more DPoP proofs can be taken at the moment")]
    ProofsFull,
    /// Good, but without a scope that is needed here.
    #[error("the token lacks the scope that is needed")]
    InsufficientScope {
        /// The scopes that would do, separated by spaces.
        needed: String,
    },
    /// Good, but its subject lacks a role that is needed here.
    #[error("the token lacks the role that is needed")]
    InsufficientRole {
        /// The role.
        needed: String,
    },
    /// Good, but its subject has to log in again, or better (RFC 9470).
    #[error("the token's log-in is too weak or too old")]
    StepUp {
        /// What would be strong enough, the best first; empty if strength is not the matter.
        acr_values: Vec<String>,
        /// How old a log-in may be, in seconds, if age is the matter.
        max_age: Option<u64>,
    },
    /// There are no keys to check with, or they are too old.
    #[error("the issuer's keys are not known at the moment")]
    KeysUnavailable,
    /// Whether the token was revoked is not known, or not freshly enough.
    #[error("the token's status is not known at the moment")]
    StatusUnavailable,
}

impl Rejected {
    /// A name that stays: for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
            Self::WrongHeader => "wrong_header",
            Self::OtherIssuer => "other_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::BadClaims => "bad_claims",
            Self::OtherAudience => "other_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::WrongScheme => "wrong_scheme",
            Self::OtherKey => "other_key",
            Self::ProofMissing => "proof_missing",
            Self::BadProof => "bad_proof",
            Self::ProofOfOtherRequest => "proof_of_other_request",
            Self::ProofOutOfTime => "proof_out_of_time",
            Self::ProofReplayed => "proof_replayed",
            Self::ProofsFull => "proofs_full",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::InsufficientRole { .. } => "insufficient_role",
            Self::StepUp { .. } => "step_up",
            Self::KeysUnavailable => "keys_unavailable",
            Self::StatusUnavailable => "status_unavailable",
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            // RFC 6750 §3.1: invalid_request is 400.
            Self::Ambiguous => 400,
            // RFC 6750 §3.1: insufficient_scope is 403.
            Self::InsufficientScope { .. } | Self::InsufficientRole { .. } => 403,
            Self::KeysUnavailable | Self::StatusUnavailable | Self::ProofsFull => 503,
            // RFC 6750 §3.1: invalid_token is 401; RFC 9470 §3: so is insufficient_user_authentication; RFC 9449 §7.1:
            // and invalid_dpop_proof.
            Self::Missing
            | Self::Malformed
            | Self::WrongHeader
            | Self::OtherIssuer
            | Self::UnknownKey
            | Self::BadSignature
            | Self::BadClaims
            | Self::OtherAudience
            | Self::Expired
            | Self::NotYetValid
            | Self::Revoked
            | Self::WrongScheme
            | Self::OtherKey
            | Self::ProofMissing
            | Self::BadProof
            | Self::ProofOfOtherRequest
            | Self::ProofOutOfTime
            | Self::ProofReplayed
            | Self::StepUp { .. } => 401,
        }
    }

    /// How long a client should wait before it asks again, if waiting helps: for `Retry-After` (RFC 9110 §10.2.3).
    ///
    /// ```
    /// # use countersign_verifier::Rejected;
    /// assert!(Rejected::KeysUnavailable.retry_after().is_some());
    /// assert!(Rejected::Expired.retry_after().is_none());
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        (self.status() == 503).then_some(Duration::from_secs(2))
    }
}

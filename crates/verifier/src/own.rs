//! What the issuer itself asks of its own tokens: of access tokens for introspection and revocation, of ID tokens where
//! they come back as hints.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::claims::Payload;
use crate::{Claims, KeySet, Rejected, jws, verifier};

/// How far clocks of one issuer's machines may be apart, in seconds.
const LEEWAY: i64 = 30;

/// The claims of an access token of `issuer`, whomever it is for and whatever has become of its grant: for the issuer's own
/// endpoints (RFC 7662, RFC 7009), which know both by themselves. A key that it is bound to (`cnf`) is for the caller to look
/// at, as one of the claims `T`. A service wants [`crate::Verifier::verify`].
///
/// `now` is in seconds since the epoch. There is no leeway for `exp`: it was set by the same clock.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, KeySet, Rejected, verify_own};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let keys = KeySet::parse(issuer.jwks().as_bytes())?;
/// let token = issuer.token().sub("usr_1").sign();
/// let claims: Claims = verify_own(&token, "https://as.example", &keys, issuer.now())?;
/// assert_eq!(claims.sub, "usr_1");
/// let later = issuer.now() + 86_400;
/// let refused: Result<Claims, _> = verify_own(&token, "https://as.example", &keys, later);
/// assert_eq!(refused.unwrap_err(), Rejected::Expired);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Rejected`]: the token is none of this issuer's, or its time is not now.
pub fn verify_own<T: DeserializeOwned>(
    token: &str,
    issuer: &str,
    keys: &KeySet,
    now: i64,
) -> Result<Claims<T>, Rejected> {
    let signed = jws::parse(token, verifier::MAX_BYTES, &verifier::TYPES)?;
    signed.is_of(issuer)?;
    signed.verify(keys)?;
    let payload: Payload = signed.claims()?;
    // RFC 7519 §4.1.4.
    if payload.exp.0 <= now {
        return Err(Rejected::Expired);
    }
    if payload.iat.0 > now.saturating_add(LEEWAY) {
        return Err(Rejected::NotYetValid);
    }
    let place = payload.status.as_ref().and_then(|claim| claim.place(issuer));
    let other = verifier::other_claims(&signed).ok_or(Rejected::BadClaims)?;
    Ok(payload.into_claims(other, (signed.kid, place), now))
}

/// What an ID token says of whom it was issued about and to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OwnIdToken {
    /// The account.
    pub sub: String,
    /// The client.
    pub aud: String,
    /// The grant that it came with.
    pub sid: String,
}

/// What an ID token of `issuer` says, however old it is: for the issuer's own endpoints, which take one as a hint (OpenID
/// Connect Core §3.1.2.1, RP-Initiated Logout §2). It lets nobody in.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{KeySet, Rejected, verify_own_id_token};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let keys = KeySet::parse(issuer.jwks().as_bytes())?;
/// let access_token = issuer.token().sub("usr_1").sign();
/// let refused = verify_own_id_token(&access_token, "https://as.example", &keys);
/// assert_eq!(refused.unwrap_err(), Rejected::WrongHeader);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Rejected`]: it is no ID token of this issuer's.
pub fn verify_own_id_token(token: &str, issuer: &str, keys: &KeySet) -> Result<OwnIdToken, Rejected> {
    // RFC 8725 §3.12: an access token is none.
    let signed = jws::parse(token, verifier::MAX_BYTES, &["JWT"])?;
    signed.is_of(issuer)?;
    signed.verify(keys)?;
    signed.claims()
}

//! Proofs of possession (RFC 9449 §4): a JWT in a header, made for one request by the key that it carries.

use std::time::Duration;

use countersign_verifier::is_same_address;
use serde::Deserialize;

use super::jose::{Jwk, UnverifiedJws};
use crate::clock::Timestamp;
use crate::reason::DpopRefusal;

/// How old a proof may be, and how far ahead its clock (RFC 9449 §11.1), when it has no nonce of ours.
pub const WINDOW: Duration = Duration::from_mins(1);
/// The most bytes of a `jti`.
const MAX_JTI_BYTES: usize = 256;

/// A proof that has the right form; its signature has not been looked at.
#[derive(Debug)]
pub struct UnverifiedProof {
    /// The proof as it was signed.
    pub jws: UnverifiedJws,
    /// The key that it says made it.
    pub jwk: Jwk,
    claims: Claims,
}

#[derive(Debug, Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    ath: Option<String>,
    nonce: Option<String>,
}

/// The request that a proof must be made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its URI, without query and fragment.
    pub uri: &'a str,
    /// The hash of the access token beside it (RFC 9449 §4.3 no. 12).
    pub ath: Option<&'a str>,
}

impl UnverifiedProof {
    /// Reads the header (RFC 9449 §4.3 nos. 2 to 7).
    ///
    /// # Errors
    /// [`DpopRefusal::Malformed`].
    pub fn parse(text: &str) -> Result<Self, DpopRefusal> {
        let jws = UnverifiedJws::parse(text).ok_or(DpopRefusal::Malformed)?;
        if jws.header.typ.as_deref() != Some("dpop+jwt") {
            return Err(DpopRefusal::Malformed);
        }
        // RFC 9449 §4.3 no. 7: a public key; what shows a private one is refused.
        let jwk = jws.header.jwk.as_ref().and_then(Jwk::parse).ok_or(DpopRefusal::Malformed)?;
        let claims: Claims = serde_json::from_slice(&jws.payload).map_err(|_| DpopRefusal::Malformed)?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_JTI_BYTES {
            return Err(DpopRefusal::Malformed);
        }
        Ok(Self { jws, jwk, claims })
    }

    /// The name of the proof, good once for its key.
    pub fn jti(&self) -> &str {
        &self.claims.jti
    }

    /// What of ours it repeats (RFC 9449 §8).
    pub fn nonce(&self) -> Option<&str> {
        self.claims.nonce.as_deref()
    }

    /// Whether it was made for that request (RFC 9449 §4.3 nos. 8, 9 and 12).
    ///
    /// # Errors
    /// [`DpopRefusal::OtherRequest`].
    pub fn must_be_for(&self, target: Target<'_>) -> Result<(), DpopRefusal> {
        let same = self.claims.htm == target.method
            && is_same_address(&self.claims.htu, target.uri)
            && target.ath.is_none_or(|ath| self.claims.ath.as_deref() == Some(ath));
        if same { Ok(()) } else { Err(DpopRefusal::OtherRequest) }
    }

    /// Whether it was made at about `now` (RFC 9449 §4.3 no. 11).
    pub fn is_of_this_moment(&self, now: Timestamp) -> bool {
        let at = Timestamp::from_micros(self.claims.iat.saturating_mul(1_000_000));
        at <= now.plus(WINDOW) && now <= at.plus(WINDOW)
    }
}

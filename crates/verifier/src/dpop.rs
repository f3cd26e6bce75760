//! Proofs of possession (RFC 9449 §4.3, §7): whether the sender of a request holds the key that its token is bound to. What is
//! wrong with the token itself is found out before.

mod address;
mod key;
mod proof;
mod seen;

pub use address::is_same_address;

use crate::clock::Clock;
use crate::issuer_url::{self, UrlError};
use crate::request::Request;
use crate::{Rejected, base64url, digest};
use proof::Proof;
use seen::Seen;

/// What proofs may be signed with, as a challenge lists them (RFC 9449 §7.1): asymmetric algorithms alone.
pub(crate) const ALGORITHMS: &str = "ES256 EdDSA Ed25519 PS256 RS256";
/// How old a proof may be, and how far ahead its clock, in seconds (RFC 9449 §11.1).
const WINDOW: i64 = 60;

/// Looks at proofs for one service.
pub(crate) struct Dpop {
    /// How clients spell the service: an origin, and the path before the paths that it sees itself, if there is one.
    base: String,
    seen: Seen,
}

impl Dpop {
    /// For a service that clients call by that address.
    pub(crate) fn at(base: &str) -> Result<Self, UrlError> {
        issuer_url::permitted(base)?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), seen: Seen::new(seen::ROOM) })
    }

    /// Lets a request through whose proof was made for it and its `token` by the key of that thumbprint, now, and uses the proof
    /// up.
    pub(crate) fn admit(
        &self,
        request: &Request<'_>,
        (token, jkt): (&str, &str),
        clock: &Clock,
    ) -> Result<(), Rejected> {
        let text = request.proof.clone()?;
        let both = digest::sha256(format!("{token} {text}").as_bytes());
        // The same request is looked at again, which is no replay: another request has nothing to find here.
        if request.proven.as_ref().and_then(|proven| proven.get()) == Some(&both) {
            return Ok(());
        }
        let proof = Proof::parse(text)?;
        // RFC 9449 §4.3 nos. 8, 9 and 12: for this method, this address and this token. Host is whatever the client wrote.
        let ath = base64url::encode(&digest::sha256(token.as_bytes()));
        let made_for_it = proof.claims.htm == request.method && proof.claims.ath == ath;
        if !made_for_it || !address::is_same(&proof.claims.htu, &self.base, request.path) {
            return Err(Rejected::ProofOfOtherRequest);
        }
        // RFC 9449 §4.3 no. 11: made at about this moment. Both are bounded, so that nothing overflows.
        if (clock.unix_seconds() - proof.claims.iat.0).abs() > WINDOW {
            return Err(Rejected::ProofOutOfTime);
        }
        // RFC 9449 §4.3 no. 12, §6.1: by the key that the token is bound to.
        if proof.thumbprint() != jkt {
            return Err(Rejected::OtherKey);
        }
        // RFC 9449 §4.3 nos. 5 and 6: and it was that key.
        if !proof.is_signed() {
            return Err(Rejected::BadProof);
        }
        // RFC 9449 §11.1: once. Last, so that only who holds a good token and its key takes up room.
        self.seen.claim(&format!("{jkt} {}", proof.claims.jti), clock.monotonic())?;
        if let Some(proven) = &request.proven {
            // Of all looks at one request only one comes this far.
            let _ = proven.set(both);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

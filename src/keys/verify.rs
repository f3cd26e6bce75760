//! Verifying our own access tokens, by the crate that services verify them with, under the keys that we publish: what is
//! issued and what is accepted cannot drift apart.

use countersign_verifier::{Claims, KeySet, OwnIdToken, Rejected, verify_own, verify_own_id_token};

use serde::Deserialize;

use super::jwks;
use crate::clock::Timestamp;
use crate::protocol::confirmation::Confirmation;
use crate::store::signing_keys::StoredKey;

/// What our own access tokens say beside what every service reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct OwnClaims {
    /// The key that the token is bound to (RFC 7800 §3.1).
    pub cnf: Option<Confirmation>,
    /// Who acts for its subject (RFC 8693 §4.1).
    pub act: Option<serde_json::Value>,
}

/// The public halves of our own keys, prepared.
#[derive(Debug, Default)]
pub(super) struct Verifiers(Option<KeySet>);

impl Verifiers {
    pub(super) fn new(keys: &[StoredKey]) -> Self {
        Self(KeySet::parse(&jwks::document(keys).bytes).ok())
    }

    /// The claims of a token of ours at `now`.
    pub(super) fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Claims<OwnClaims>, Rejected> {
        let keys = self.0.as_ref().ok_or(Rejected::KeysUnavailable)?;
        verify_own(token, issuer, keys, now.unix_seconds())
    }

    /// What an ID token of ours says, however old it is.
    pub(super) fn verify_id_token(&self, token: &str, issuer: &str) -> Result<OwnIdToken, Rejected> {
        let keys = self.0.as_ref().ok_or(Rejected::KeysUnavailable)?;
        verify_own_id_token(token, issuer, keys)
    }
}

//! A proof (RFC 9449 §4.2): its form, its key, its signature.

use serde::Deserialize;

use super::key::{self, PublicKey};
use crate::claims::NumericDate;
use crate::{Rejected, base64url, json};

/// The most bytes of a proof.
const MAX_BYTES: usize = 16 * 1024;
/// The most bytes of a `jti`.
const MAX_JTI_BYTES: usize = 256;

/// A proof that has the right form; its signature has not been looked at.
pub(super) struct Proof<'t> {
    pub(super) claims: Claims,
    message: &'t str,
    signature: Vec<u8>,
    alg: String,
    key: PublicKey,
}

/// RFC 9449 §4.2.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) jti: String,
    pub(super) htm: String,
    pub(super) htu: String,
    pub(super) iat: NumericDate,
    pub(super) ath: String,
}

/// The header. Members that name a key elsewhere (`jku`, `x5u`, `x5c`) are not read (RFC 8725 §3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    jwk: serde_json::Value,
    #[serde(default, deserialize_with = "json::present")]
    crit: bool,
    #[serde(default, deserialize_with = "json::present")]
    b64: bool,
}

impl<'t> Proof<'t> {
    /// Takes a proof apart (RFC 9449 §4.3 nos. 2 to 7).
    pub(super) fn parse(text: &'t str) -> Result<Self, Rejected> {
        Self::read(text).ok_or(Rejected::BadProof)
    }

    fn read(text: &'t str) -> Option<Self> {
        // RFC 8725 §3.14: a bound before any work.
        if text.len() > MAX_BYTES {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header: Header = json::parse(&base64url::decode(header)?)?;
        // RFC 9449 §4.3 no. 4; RFC 7515 §4.1.11: an extension that is not understood. RFC 7797 §3: neither is b64.
        if header.typ != "dpop+jwt" || header.crit || header.b64 {
            return None;
        }
        // RFC 9449 §4.3 nos. 5 and 7: an asymmetric algorithm, the one that the key is for; a public key.
        let key = key::parse(&header.jwk, &header.alg)?;
        let claims: Claims = json::parse(&base64url::decode(payload)?)?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_JTI_BYTES {
            return None;
        }
        Some(Self { claims, message, signature: base64url::decode(signature)?, alg: header.alg, key })
    }

    /// The thumbprint of the key that it shows.
    pub(super) fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// Whether that key made its signature.
    pub(super) fn is_signed(&self) -> bool {
        self.key.made(&self.signature, self.message.as_bytes(), &self.alg)
    }
}

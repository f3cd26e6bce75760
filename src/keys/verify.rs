//! Verifying our own access tokens. `jsonwebtoken` checks the signature and nothing else: it looks at neither `typ` nor
//! `crit` and takes a malformed `iss`, `aud` or `sub` for an absent one, so everything else is decided here (RFC 8725).

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::clock::Timestamp;
use crate::secret::decode_base64url;

/// The most bytes of a token (RFC 8725 §3.14 wants a bound before any decoding).
const MAX_BYTES: usize = 16 * 1024;
/// How far clocks may be apart, in seconds.
const LEEWAY_SECONDS: i64 = 30;

/// Why a token is not one of ours, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Not three base64url parts of a bounded size.
    NotACompactJws,
    /// Its header is not that of our access tokens.
    WrongHeader,
    /// No published key has that `kid`.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// A claim is missing or of the wrong type.
    BadClaims,
    /// Another issuer's.
    OtherIssuer,
    /// Over, or not yet begun.
    OutOfTime,
}

/// The header; members that could name a key from outside (`jku`, `jwk`, `x5u`, `x5c`) are not read at all.
#[derive(Deserialize)]
struct HeaderMembers {
    alg: String,
    typ: String,
    kid: String,
    crit: Option<IgnoredAny>,
}

/// The claims that every access token of ours has, and those that only some have.
#[derive(Clone, Debug, Deserialize)]
pub struct VerifiedClaims {
    /// RFC 9068 §2.2.
    pub iss: String,
    /// RFC 9068 §2.2.
    pub sub: String,
    /// RFC 9068 §2.2; always a list.
    pub aud: Vec<String>,
    /// RFC 9068 §2.2.
    pub client_id: String,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Seconds since the epoch.
    pub iat: i64,
    /// RFC 9068 §2.2.
    pub jti: String,
    /// RFC 9068 §2.2.3.
    pub scope: String,
    /// The grant, when an account is behind it.
    pub sid: Option<String>,
}

/// Verifies `token` against the published keys.
pub(super) fn verify(
    token: &str,
    keys: &HashMap<String, DecodingKey>,
    issuer: &str,
    now: Timestamp,
) -> Result<VerifiedClaims, Rejected> {
    let (message, signature, header, payload) = split(token).ok_or(Rejected::NotACompactJws)?;
    let header: HeaderMembers = parse_json(header).ok_or(Rejected::WrongHeader)?;
    // RFC 8725 §3.1: one algorithm, exactly spelled; §3.11: the type of our access tokens; RFC 7515 §4.1.11: no crit.
    if header.alg != "RS256" || header.typ != "at+jwt" || header.crit.is_some() {
        return Err(Rejected::WrongHeader);
    }
    // RFC 8725 §3.10: kid is an opaque string that is found or not.
    let key = keys.get(&header.kid).ok_or(Rejected::UnknownKey)?;
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, Algorithm::RS256) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Err(Rejected::BadSignature),
    }
    let claims: VerifiedClaims = parse_json(payload).ok_or(Rejected::BadClaims)?;
    if claims.iss != issuer {
        return Err(Rejected::OtherIssuer);
    }
    let now = now.unix_seconds();
    if claims.exp <= now || claims.iat > now.saturating_add(LEEWAY_SECONDS) {
        return Err(Rejected::OutOfTime);
    }
    Ok(claims)
}

/// The signed part, the signature, the header and the payload.
fn split(token: &str) -> Option<(&str, &str, &str, &str)> {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if token.len() > MAX_BYTES {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let well_formed = |part: &str| !part.is_empty() && part.bytes().all(base64url);
    [header, payload, signature].into_iter().all(well_formed).then_some((message, signature, header, payload))
}

fn parse_json<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&decode_base64url(part)?).ok()
}

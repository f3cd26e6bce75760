//! The JWKS (RFC 7517 §5) as the bytes that are served, and the names of keys (RFC 7638).

use bytes::Bytes;
use serde::Serialize;

use crate::protocol::jose::OwnAlgorithm;
use crate::secret::{Digest, encode_base64url};
use crate::store::signing_keys::StoredKey;

/// A public document ready to be served.
#[derive(Debug)]
pub struct Document {
    /// Its JSON, shared by all answers.
    pub bytes: Bytes,
    /// A strong entity tag with its quotes (RFC 9110 §8.8.3).
    pub etag: String,
}

impl Document {
    /// A document of `value`.
    pub fn new(value: &impl Serialize) -> Self {
        Self::of(Bytes::from(serde_json::to_vec(value).unwrap_or_default()))
    }

    /// A document of these bytes.
    pub fn of(bytes: Bytes) -> Self {
        let etag = format!("\"{}\"", encode_base64url(Digest::sha256(&bytes).as_bytes()));
        Self { bytes, etag }
    }
}

/// Public members only; `alg` and `use` on each, since some verifiers skip a key without them.
#[derive(Serialize)]
struct Jwk<'k> {
    kty: &'static str,
    #[serde(rename = "use")]
    key_use: &'static str,
    alg: OwnAlgorithm,
    kid: &'k str,
    n: String,
    e: String,
}

#[derive(Serialize)]
struct Jwks<'k> {
    keys: Vec<Jwk<'k>>,
}

/// The JWKS of the published keys.
pub(super) fn document(keys: &[StoredKey]) -> Document {
    Document::new(&Jwks { keys: keys.iter().map(Jwk::of).collect() })
}

/// One key as JSON.
pub(super) fn jwk(key: &StoredKey) -> serde_json::Value {
    serde_json::to_value(Jwk::of(key)).unwrap_or_default()
}

impl<'k> Jwk<'k> {
    fn of(key: &'k StoredKey) -> Self {
        Self {
            kty: "RSA",
            key_use: "sig",
            alg: key.algorithm,
            kid: &key.kid,
            n: encode_base64url(&key.modulus),
            e: encode_base64url(&key.exponent),
        }
    }
}

/// The name of a key: the SHA-256 thumbprint of its required members in lexical order (RFC 7638 §3).
pub(super) fn thumbprint(modulus: &[u8], exponent: &[u8]) -> String {
    let (n, e) = (encode_base64url(modulus), encode_base64url(exponent));
    let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    encode_base64url(Digest::sha256(members.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::decode_base64url;

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 7638 §3.1, whose modulus is that of RFC 7517 appendix A.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
                 jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqz\
                 s8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-\
                 G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let modulus = decode_base64url(n).unwrap();
        assert_eq!(thumbprint(&modulus, &[1, 0, 1]), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}

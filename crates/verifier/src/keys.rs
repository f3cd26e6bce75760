//! The issuer's public keys, out of a JWKS (RFC 7517 §5). What could not have signed an access token is left out; a set
//! that is doubtful as a whole is refused, so that the one before it stays.

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde::Deserialize;

use crate::{base64url, json};

/// The most bytes of a JWKS.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// The most keys in a JWKS.
const MAX_KEYS: usize = 16;
/// The most bytes of a `kid`.
pub(crate) const MAX_KID_BYTES: usize = 128;
/// 65537, which is what every key of ours has and every library expects.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// The public keys of an issuer, prepared for verifying.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{KeySet, KeySetError};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let keys = KeySet::parse(issuer.jwks().as_bytes())?;
/// assert_eq!(keys.kids().count(), 2);
/// assert_eq!(KeySet::parse(br#"{"keys":[]}"#).unwrap_err(), KeySetError::NoUsableKey);
/// # Ok::<(), KeySetError>(())
/// ```
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why a JWKS is refused as a whole.
///
/// ```
/// use countersign_verifier::{KeySet, KeySetError};
///
/// assert_eq!(KeySet::parse(b"<html>").unwrap_err(), KeySetError::NotAJwks);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// More than 64 KiB.
    #[error("the JWKS is larger than 64 KiB")]
    TooLarge,
    /// No JSON of that form.
    #[error("this is no JWKS")]
    NotAJwks,
    /// More than 16 keys.
    #[error("the JWKS has more than 16 keys")]
    TooManyKeys,
    /// Two keys have one name.
    #[error("the JWKS names two keys alike")]
    RepeatedKid,
    /// Not one key that could have signed a token.
    #[error("the JWKS has no key to verify with")]
    NoUsableKey,
}

/// An algorithm that an issuer may sign by (RFC 7518 §3.1), exactly spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt as long.
    #[serde(rename = "PS256")]
    Ps256,
}

#[cfg(any(test, feature = "conformance"))]
impl Algorithm {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The one that it is not.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Rs256 => Self::Ps256,
            Self::Ps256 => Self::Rs256,
        }
    }
}

/// A public key and the one algorithm that it is for.
#[derive(Debug)]
pub(crate) struct Key {
    kid: String,
    pub(crate) alg: Algorithm,
    /// It verifies by that algorithm and no other.
    pub(crate) public: ParsedPublicKey,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    key_use: String,
    alg: Algorithm,
    n: String,
    e: String,
    key_ops: Option<Vec<String>>,
}

impl KeySet {
    /// Reads a JWKS. A key that is not for verifying RS256 or PS256 is left out, as RFC 7517 §5 asks.
    ///
    /// # Errors
    /// [`KeySetError`] for a set that must not take the place of the one before.
    pub fn parse(jwks: &[u8]) -> Result<Self, KeySetError> {
        if jwks.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let Jwks { keys: listed } = json::parse(jwks).ok_or(KeySetError::NotAJwks)?;
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys: Vec<Key> = Vec::with_capacity(listed.len());
        for key in listed.into_iter().filter_map(usable) {
            // RFC 7517 §4.5: keys of a set should have distinct kids; which of two is meant cannot be told.
            if keys.iter().any(|known| known.kid == key.kid) {
                return Err(KeySetError::RepeatedKid);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// The names of the keys that can be verified with.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
    }

    /// The key of that name. RFC 8725 §3.10: a kid is an opaque text that is found or not.
    pub(crate) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

/// The key, if an access token may have been signed with it.
fn usable(jwk: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let for_signatures = jwk.kty == "RSA" && jwk.key_use == "sig";
    // RFC 7517 §4.3: key_ops narrows what a key is for.
    let for_verifying = jwk.key_ops.is_none_or(|operations| operations.iter().any(|one| one == "verify"));
    let named = (1..=MAX_KID_BYTES).contains(&jwk.kid.len());
    let (n, e) = (base64url::decode(&jwk.n)?, base64url::decode(&jwk.e)?);
    // RFC 7518 §3.3: 2048 bits or more; more than 4096 only costs time. A modulus is odd.
    let sized = (2048..=4096).contains(&bits(&n)) && n.last().is_some_and(|byte| byte % 2 == 1);
    if !(for_signatures && for_verifying && named && sized && e == EXPONENT) {
        return None;
    }
    // RFC 8725 §3.1: a key has one algorithm, and it is said with the key.
    let parameters = match jwk.alg {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
    };
    let public = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()?;
    Some(Key { kid: jwk.kid, alg: jwk.alg, public })
}

/// The length of a number without leading zeros; 0 for any other (RFC 7518 §6.3.1.1).
pub(crate) fn bits(number: &[u8]) -> usize {
    match number.first() {
        None | Some(0) => 0,
        Some(first) => number.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::TestIssuer;

    fn jwks() -> Value {
        serde_json::from_str(&TestIssuer::new("https://as.example", "x").jwks()).unwrap()
    }

    fn kids(set: &Value) -> Result<usize, KeySetError> {
        KeySet::parse(set.to_string().as_bytes()).map(|keys| keys.kids().count())
    }

    #[test]
    fn a_key_for_anything_else_is_left_out() {
        let whole = jwks();
        assert_eq!(kids(&whole), Ok(2));
        let n = whole["keys"][0]["n"].as_str().unwrap();
        let modulus = base64url::decode(n).unwrap();
        let short = base64url::encode(&modulus[1..]);
        let even = base64url::encode(&[&modulus[..255], &[2]].concat());
        let padded = base64url::encode(&[&[0], modulus.as_slice()].concat());
        let long = base64url::encode(&modulus.repeat(3));
        for (member, value) in [
            ("kty", json!("EC")),
            ("use", json!("enc")),
            ("alg", json!("PS384")),
            ("alg", json!("ps256")),
            ("alg", json!("RSA-OAEP")),
            ("alg", Value::Null),
            ("kid", json!("")),
            ("kid", json!("k".repeat(129))),
            ("kid", json!(7)),
            ("e", json!("AQ")),
            ("e", json!("Aw")),
            ("e", json!("AAEAAQ")),
            ("n", json!(short)),
            ("n", json!(even)),
            ("n", json!(padded)),
            ("n", json!(long)),
            ("n", json!(format!("{n}="))),
            ("key_ops", json!(["encrypt"])),
        ] {
            let mut set = whole.clone();
            set["keys"][0][member] = value.clone();
            assert_eq!(kids(&set), Ok(1), "{member} {value}");
        }
        let mut without = whole.clone();
        without["keys"][0].as_object_mut().unwrap().remove("alg");
        assert_eq!(kids(&without), Ok(1), "a key that does not say what it is for");
    }

    #[test]
    fn each_key_has_the_algorithm_that_it_says() {
        let mut set = jwks();
        set["keys"][1]["alg"] = json!("PS256");
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let algorithm = |nth: usize| keys.find(set["keys"][nth]["kid"].as_str().unwrap()).unwrap().alg;
        assert_eq!((algorithm(0), algorithm(1)), (Algorithm::Rs256, Algorithm::Ps256));
    }

    #[test]
    fn a_doubtful_set_is_refused_as_a_whole() {
        let mut twice = jwks();
        twice["keys"][1]["kid"] = twice["keys"][0]["kid"].clone();
        assert_eq!(kids(&twice), Err(KeySetError::RepeatedKid));
        let many = json!({ "keys": vec![jwks()["keys"][0].clone(); 17] });
        assert_eq!(kids(&many), Err(KeySetError::TooManyKeys));
        assert_eq!(kids(&json!({ "keys": [] })), Err(KeySetError::NoUsableKey));
        assert_eq!(kids(&json!({ "keys": {} })), Err(KeySetError::NotAJwks));
        assert_eq!(kids(&json!([])), Err(KeySetError::NotAJwks));
        assert_eq!(KeySet::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err(), KeySetError::TooLarge);
        assert_eq!(KeySet::parse(br#"{"keys":[],"keys":[]}"#).unwrap_err(), KeySetError::NotAJwks);
        assert_eq!(KeySet::parse(b"").unwrap_err(), KeySetError::NotAJwks);
    }
}

//! A client that holds a key, for tests of services that take proofs of possession (RFC 9449).

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Map, Value, json};

use super::misused;
use crate::{base64url, digest};

/// Holds a key that tokens are bound to, and makes proofs with it.
///
/// ```
/// use countersign_verifier::testing::{TestHolder, TestIssuer};
/// use countersign_verifier::{Claims, Request};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example"));
/// let holder = TestHolder::new();
/// let token = issuer.token().bound_to(&holder).sign();
/// let proof = holder.proof("GET", "https://orders.example/orders", &token, issuer.now());
///
/// let authorization = format!("DPoP {token}");
/// let request = Request::new("GET", "/orders").authorization([&authorization]).dpop([&proof]);
/// let claims: Claims = verifier.verify_request(&request)?;
/// # Ok::<(), countersign_verifier::Rejected>(())
/// ```
#[derive(Debug)]
pub struct TestHolder {
    pair: EcdsaKeyPair,
}

impl Default for TestHolder {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHolder {
    /// With a key of its own, on P-256.
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self { pair: pair.unwrap_or_else(|_| misused("no key can be made")) }
    }

    /// The public key.
    pub(crate) fn jwk(&self) -> Map<String, Value> {
        // SEC 1 §2.3.3: a byte that says so, and two coordinates.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        let members = json!({ "crv": "P-256", "kty": "EC", "x": base64url::encode(x), "y": base64url::encode(y) });
        members.as_object().cloned().unwrap_or_default()
    }

    /// The thumbprint of its key (RFC 7638): the `jkt` of tokens that are bound to it.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestHolder;
    /// assert_eq!(TestHolder::new().jkt().len(), 43);
    /// ```
    pub fn jkt(&self) -> String {
        // RFC 7638 §3: the required members, which are all of them, in lexical order.
        base64url::encode(&digest::sha256(Value::Object(self.jwk()).to_string().as_bytes()))
    }

    /// A proof for one request to that URL with that token, made at `now`, in seconds since the epoch.
    pub fn proof(&self, method: &str, url: &str, token: &str, now: i64) -> String {
        let mut jti = [0; 16];
        if rand::fill(&mut jti).is_err() {
            misused("there is no randomness");
        }
        let ath = base64url::encode(&digest::sha256(token.as_bytes()));
        let jti = base64url::encode(&jti);
        self.sign(
            &json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() }),
            &json!({ "jti": jti, "htm": method, "htu": url, "iat": now, "ath": ath }),
        )
    }

    /// A proof that says exactly this.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestHolder;
    /// use serde_json::json;
    ///
    /// let proof = TestHolder::new().sign(&json!({ "typ": "JWT", "alg": "none" }), &json!({}));
    /// assert_eq!(proof.split('.').count(), 3);
    /// ```
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let message = format!("{}.{}", encode(header), encode(claims));
        match self.pair.sign(&SystemRandom::new(), message.as_bytes()) {
            Ok(signature) => format!("{message}.{}", base64url::encode(signature.as_ref())),
            Err(_) => misused("the key cannot sign"),
        }
    }
}

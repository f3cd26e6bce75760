//! Keys for tests, made once with `openssl genpkey`. They are public, so they are worth nothing anywhere else.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::misused;
use crate::{base64url, digest};

/// PKCS#8 in DER, as base64 with line breaks. The last is a stranger's.
const TEXTS: [&str; 5] = [
    include_str!("test-key-1.b64"),
    include_str!("test-key-2.b64"),
    include_str!("test-key-3.b64"),
    include_str!("test-key-4.b64"),
    include_str!("test-key-5.b64"),
];

static KEYS: LazyLock<Vec<TestKey>> = LazyLock::new(|| TEXTS.iter().map(|text| TestKey::parse(text)).collect());

#[derive(Debug)]
pub(super) struct TestKey {
    pair: RsaKeyPair,
    pub(super) kid: String,
}

/// The key of that turn; the fifth has the first one again.
pub(super) fn nth(turn: usize) -> &'static TestKey {
    KEYS.get(turn % 4).unwrap_or_else(|| misused("there are five test keys"))
}

/// A key that is in no JWKS.
pub(super) fn stranger() -> &'static TestKey {
    KEYS.last().unwrap_or_else(|| misused("there are five test keys"))
}

impl TestKey {
    fn parse(text: &str) -> Self {
        let text: String = text.split_ascii_whitespace().collect();
        let der = STANDARD.decode(text).unwrap_or_default();
        let pair = RsaKeyPair::from_pkcs8(&der).unwrap_or_else(|_| misused("a test key cannot be read"));
        let mut key = Self { pair, kid: String::new() };
        // RFC 7638 §3: the required members in lexical order.
        let (n, e) = key.numbers();
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        key.kid = base64url::encode(&digest::sha256(members.as_bytes()));
        key
    }

    fn numbers(&self) -> (String, String) {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        (base64url::encode(&public.n), base64url::encode(&public.e))
    }

    pub(super) fn jwk(&self) -> Value {
        let (n, e) = self.numbers();
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": e })
    }

    /// A compact JWS of exactly these texts, by PS256 if the header says so and by RS256 otherwise.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        let says: Option<Value> = serde_json::from_str(header).ok();
        let by_ps256 = says.is_some_and(|header| header.get("alg").is_some_and(|alg| alg == "PS256"));
        let encoding: &dyn RsaEncoding = if by_ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
        let message = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature);
        if signed.is_err() {
            misused("a test key cannot sign");
        }
        format!("{message}.{}", base64url::encode(&signature))
    }
}

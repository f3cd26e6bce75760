//! A key of a client's: assertions, request objects and proofs of possession that it signs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use countersign::secret::{Digest, Random, encode_base64url};
use serde_json::{Value, json};

use crate::app::TestApp;

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

pub struct ClientKey {
    pair: Pair,
    pub kid: String,
}

impl ClientKey {
    pub fn p256() -> Self {
        Self::of(Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()))
    }

    /// With its private half as a file of a client's holds it.
    pub fn p256_with_pem() -> (Self, String) {
        use base64::Engine as _;
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
        (Self::of(Pair::P256(pair)), format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
    }

    pub fn ed25519() -> Self {
        Self::of(Pair::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    pub fn rsa() -> Self {
        Self::of(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    /// Of a private half in PEM, PKCS#8.
    pub fn rsa_of(pem: &str) -> Self {
        use base64::Engine as _;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        Self::of(Pair::Rsa(RsaKeyPair::from_pkcs8(&der).unwrap()))
    }

    fn of(pair: Pair) -> Self {
        Self { pair, kid: encode_base64url(&Random.bytes::<6>()) }
    }

    /// The public half, without a name.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode_base64url(&point[1..33]), "y": encode_base64url(&point[33..]) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode_base64url(pair.public_key().as_ref()) })
            }
            Pair::Rsa(pair) => {
                let components: aws_lc_rs::signature::RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                json!({ "kty": "RSA", "n": encode_base64url(&components.n), "e": encode_base64url(&components.e) })
            }
        }
    }

    pub fn jwks(&self) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(self.kid);
        json!({ "keys": [jwk] })
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let members: std::collections::BTreeMap<_, _> = jwk.as_object().unwrap().iter().collect();
        let text = serde_json::to_string(&members).unwrap();
        encode_base64url(Digest::sha256(text.as_bytes()).as_bytes())
    }

    fn alg(&self) -> &'static str {
        match self.pair {
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// A compact JWS with exactly that header.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            encode_base64url(header.to_string().as_bytes()),
            encode_base64url(claims.to_string().as_bytes())
        );
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = if header["alg"] == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = padding;
                pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", encode_base64url(&signature))
    }

    /// The same with the header that goes with the key.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": self.alg(), "kid": self.kid }), claims)
    }

    /// RFC 7523 §3, with some claims changed, or left out when `null`.
    pub fn assertion(&self, app: &TestApp, client_id: &str, changes: &Value) -> String {
        let now = app.app.clock.now().unix_seconds();
        let jti = encode_base64url(&Random.bytes::<16>());
        let mut claims =
            json!({ "iss": client_id, "sub": client_id, "aud": app.base, "iat": now, "exp": now + 60, "jti": jti });
        change(&mut claims, changes);
        self.sign(&claims)
    }

    /// RFC 9449 §4.2, with some claims changed, or left out when `null`.
    pub fn proof(&self, app: &TestApp, (method, path): (&str, &str), changes: &Value) -> String {
        let now = app.app.clock.now().unix_seconds();
        let jti = encode_base64url(&Random.bytes::<16>());
        let mut claims = json!({ "jti": jti, "htm": method, "htu": format!("{}{path}", app.base), "iat": now });
        change(&mut claims, changes);
        self.sign_with(&json!({ "typ": "dpop+jwt", "alg": self.alg(), "jwk": self.jwk() }), &claims)
    }
}

fn change(claims: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
}

/// The `ath` of an access token.
pub fn ath(token: &str) -> String {
    encode_base64url(Digest::sha256(token.as_bytes()).as_bytes())
}

/// What a client sends that proves itself by an assertion.
pub fn asserted<'a>(assertion: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    form.extend(more);
    form
}

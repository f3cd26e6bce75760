//! Signs whatever it is told, in good and in bad ways.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::NoKey;
use crate::keys::Algorithm;
use crate::{base64url, digest};

/// A key of the trial.
#[derive(Debug)]
pub(super) struct Signer {
    pair: RsaKeyPair,
    /// RFC 7638.
    pub(super) kid: String,
    /// RFC 8725 §3.1: the one that the key is for.
    pub(super) algorithm: Algorithm,
}

impl Signer {
    pub(super) fn generate() -> Result<Self, NoKey> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| NoKey)?;
        let mut signer = Self { pair, kid: String::new(), algorithm: Algorithm::Rs256 };
        // RFC 7638 §3: the required members in lexical order.
        let (n, e) = signer.numbers();
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        signer.kid = base64url::encode(&digest::sha256(members.as_bytes()));
        Ok(signer)
    }

    fn numbers(&self) -> (String, String) {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        (base64url::encode(&public.n), base64url::encode(&public.e))
    }

    pub(super) fn jwk(&self) -> Value {
        let (n, e) = self.numbers();
        json!({ "kty": "RSA", "use": "sig", "alg": self.algorithm.as_str(), "kid": self.kid, "n": n, "e": e })
    }

    /// The public key as it lies about in many programs: PKCS#1 in DER.
    pub(super) fn public_der(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// The same as PEM.
    pub(super) fn public_pem(&self) -> String {
        let body = STANDARD.encode(self.public_der());
        let lines: Vec<String> =
            body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// By the algorithm that the key is for, whatever the header says.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_by(self.algorithm, header, payload)
    }

    pub(super) fn sign_by(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let encoding: &'static dyn RsaEncoding = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            Algorithm::Ps256 => &RSA_PSS_SHA256,
        };
        self.signed(encoding, header, payload)
    }

    pub(super) fn rs512(&self, header: &str, payload: &str) -> String {
        self.signed(&RSA_PKCS1_SHA512, header, payload)
    }

    fn signed(&self, encoding: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        // A key that has just been made signs; if it did not, the token would be as bad as most others here.
        let _ = self.pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature);
        format!("{message}.{}", base64url::encode(&signature))
    }
}

/// Signed with a secret that the verifier does not think of as one.
pub(super) fn hs256(secret: &[u8], header: &str, payload: &str) -> String {
    let message = message(header, payload);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url::encode(tag.as_ref()))
}

/// What is signed of a compact JWS.
pub(super) fn message(header: &str, payload: &str) -> String {
    format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()))
}

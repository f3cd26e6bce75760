//! Signing with a key that was parsed once. `jsonwebtoken` parses the private key anew for every signature; its
//! provider seam takes a factory of signers, and ours finds the parsed key by the name that the encoding key carries.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils, aws_lc};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::KeysError;
use crate::store::signing_keys::StoredKey;

/// Parsed keys by `kid`. The provider's factories are plain functions, so what they find must be reachable from one.
static PARSED: LazyLock<RwLock<HashMap<String, Arc<RsaKeyPair>>>> = LazyLock::new(RwLock::default);

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: find_signer, verifier_factory: make_verifier, key_utils: KEY_UTILS };

const KEY_UTILS: KeyUtils = KeyUtils::new_unimplemented();

struct ParsedSigner(Arc<RsaKeyPair>);

impl Signer<Vec<u8>> for ParsedSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignatureError::new())?;
        Ok(signature)
    }
}

impl JwtSigner for ParsedSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

/// The signer of the key whose `kid` the encoding key carries in place of key material.
fn find_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    let parsed = std::str::from_utf8(key.as_bytes())
        .ok()
        .filter(|_| *algorithm == Algorithm::RS256)
        .and_then(|kid| PARSED.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned());
    parsed
        .map(|parsed| Box::new(ParsedSigner(parsed)) as Box<dyn JwtSigner>)
        .ok_or_else(|| ErrorKind::InvalidKeyFormat.into())
}

fn make_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    (aws_lc::DEFAULT_PROVIDER.verifier_factory)(algorithm, key)
}

/// A key that signs, ready to.
pub(super) struct ActiveKey {
    kid: String,
    header: Header,
    reference: EncodingKey,
}

impl ActiveKey {
    /// Parses a private half and sees it sign something that the public half in the row verifies.
    pub(super) fn new(stored: &StoredKey, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeysError> {
        let unusable = |why| KeysError::Unusable { kid: stored.kid.clone(), why };
        let parsed = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|_| unusable("its private half is no RSA key"))?;
        drop(pkcs8);
        let kid = super::jwks::thumbprint(&stored.modulus, &stored.exponent);
        if kid != stored.kid {
            return Err(unusable("its public half does not have this kid"));
        }
        let parsed = Arc::new(parsed);
        let sample = b"countersign self-test";
        let signature = ParsedSigner(parsed.clone()).try_sign(sample).map_err(|_| unusable("it does not sign"))?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, parsed.public_key().as_ref());
        let same = aws_lc_rs::signature::RsaPublicKeyComponents { n: &stored.modulus, e: &stored.exponent };
        let verified = public.verify(sample, &signature).is_ok()
            && same.verify(&RSA_PKCS1_2048_8192_SHA256, sample, &signature).is_ok();
        if !verified {
            return Err(unusable("its public half does not verify what its private half signs"));
        }
        // The first to come installs; everyone after finds it installed.
        let _ = PROVIDER.install_default();
        PARSED.write().unwrap_or_else(PoisonError::into_inner).insert(kid.clone(), parsed);
        let mut header = Header::new(Algorithm::RS256);
        // RFC 9068 §2.1: typ at+jwt.
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(kid.clone());
        let reference = EncodingKey::from_rsa_der(kid.as_bytes());
        Ok(Self { kid, header, reference })
    }

    /// Signs claims as an access token.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, KeysError> {
        jsonwebtoken::encode(&self.header, claims, &self.reference)
            .map_err(|_| KeysError::Unusable { kid: self.kid.clone(), why: "it does not sign" })
    }
}

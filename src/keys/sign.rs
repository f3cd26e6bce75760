//! Signing with a key that was parsed once. `jsonwebtoken` parses the private key anew for every signature; its
//! provider seam takes a factory of signers, and ours finds the parsed key by the name that the encoding key carries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair, RsaParameters, UnparsedPublicKey,
};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils, aws_lc};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;

use super::KeysError;
use crate::protocol::jose::OwnAlgorithm;
use crate::store::signing_keys::StoredKey;

/// Keys that sign, by a number that their encoding key carries. The provider's factories are plain functions, so what they
/// find must be reachable from one.
static PARSED: LazyLock<RwLock<HashMap<u64, ParsedSigner>>> = LazyLock::new(RwLock::default);

/// How many have signed in this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: find_signer, verifier_factory: make_verifier, key_utils: KEY_UTILS };

const KEY_UTILS: KeyUtils = KeyUtils::new_unimplemented();

/// A private half and the one algorithm that it signs by (RFC 8725 §3.1).
#[derive(Clone)]
struct ParsedSigner {
    pair: Arc<RsaKeyPair>,
    algorithm: OwnAlgorithm,
}

impl Signer<Vec<u8>> for ParsedSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let encoding: &dyn RsaEncoding = match self.algorithm {
            OwnAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
            // RFC 7518 §3.5: SHA-256 as the hash and in MGF1, and a salt as long as its output.
            OwnAlgorithm::Ps256 => &RSA_PSS_SHA256,
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| SignatureError::new())?;
        Ok(signature)
    }
}

impl JwtSigner for ParsedSigner {
    fn algorithm(&self) -> Algorithm {
        name(self.algorithm)
    }
}

const fn name(algorithm: OwnAlgorithm) -> Algorithm {
    match algorithm {
        OwnAlgorithm::Rs256 => Algorithm::RS256,
        OwnAlgorithm::Ps256 => Algorithm::PS256,
    }
}

/// The signer of the key whose number the encoding key carries in place of key material. That it signs by the algorithm of the
/// header, `encode` asks of the signer itself.
fn find_signer(_: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    let parsed = <[u8; 8]>::try_from(key.as_bytes()).ok().and_then(|number| {
        PARSED.read().unwrap_or_else(PoisonError::into_inner).get(&u64::from_be_bytes(number)).cloned()
    });
    parsed.map(|parsed| Box::new(parsed) as Box<dyn JwtSigner>).ok_or_else(|| ErrorKind::InvalidKeyFormat.into())
}

fn make_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    (aws_lc::DEFAULT_PROVIDER.verifier_factory)(algorithm, key)
}

/// A private half, parsed, that was seen to work.
pub(super) struct ParsedKey {
    kid: String,
    signer: ParsedSigner,
}

impl ParsedKey {
    /// Parses a private half and sees it sign something that the public half in the row verifies.
    pub(super) fn new(stored: &StoredKey, pkcs8: &[u8]) -> Result<Self, KeysError> {
        let unusable = |why| KeysError::Unusable { kid: stored.kid.clone(), why };
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| unusable("its private half is no RSA key"))?;
        let kid = super::jwks::thumbprint(&stored.modulus, &stored.exponent);
        if kid != stored.kid {
            return Err(unusable("its public half does not have this kid"));
        }
        let signer = ParsedSigner { pair: Arc::new(pair), algorithm: stored.algorithm };
        let parameters: &'static RsaParameters = match stored.algorithm {
            OwnAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            OwnAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        };
        let sample = b"countersign self-test";
        let signature = signer.try_sign(sample).map_err(|_| unusable("it does not sign"))?;
        let public = UnparsedPublicKey::new(parameters, signer.pair.public_key().as_ref());
        let same = aws_lc_rs::signature::RsaPublicKeyComponents { n: &stored.modulus, e: &stored.exponent };
        let verified = public.verify(sample, &signature).is_ok() && same.verify(parameters, sample, &signature).is_ok();
        if !verified {
            return Err(unusable("its public half does not verify what its private half signs"));
        }
        Ok(Self { kid, signer })
    }
}

/// What is signed, by its `typ` (RFC 8725 §3.11), so that none passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// RFC 9068 §2.1.
    AccessToken,
    /// draft-ietf-oauth-status-list §5.1.
    StatusList,
    /// A checkpoint of the feed.
    StatusCheckpoint,
    /// OpenID Connect Core §2.
    IdToken,
    /// OpenID Connect Back-Channel Logout §2.4.
    LogoutToken,
    /// OpenID Connect Core §5.3.2: of a type of its own, since it could pass for an ID token otherwise.
    UserInfo,
}

impl TokenType {
    const fn typ(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            Self::StatusList => "statuslist+jwt",
            Self::StatusCheckpoint => "status-checkpoint+jwt",
            Self::IdToken => "JWT",
            Self::LogoutToken => "logout+jwt",
            Self::UserInfo => "userinfo+jwt",
        }
    }
}

/// The key that signs, ready to; its private half goes when it is dropped.
pub(super) struct ActiveKey {
    kid: String,
    number: u64,
    header: Header,
    reference: EncodingKey,
}

impl ActiveKey {
    /// Makes a key the one that signs.
    pub(super) fn new(key: ParsedKey) -> Self {
        // The first to come installs; everyone after finds it installed.
        let _ = PROVIDER.install_default();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut header = Header::new(name(key.signer.algorithm));
        PARSED.write().unwrap_or_else(PoisonError::into_inner).insert(number, key.signer);
        header.typ = Some(TokenType::AccessToken.typ().to_owned());
        header.kid = Some(key.kid.clone());
        let reference = EncodingKey::from_rsa_der(&number.to_be_bytes());
        Self { kid: key.kid, number, header, reference }
    }

    /// RFC 7638 thumbprint.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs claims as a token of that type.
    pub(super) fn sign(&self, token_type: TokenType, claims: &impl Serialize) -> Result<String, KeysError> {
        let other;
        let header = match token_type {
            TokenType::AccessToken => &self.header,
            TokenType::StatusList
            | TokenType::StatusCheckpoint
            | TokenType::IdToken
            | TokenType::LogoutToken
            | TokenType::UserInfo => {
                other = Header { typ: Some(token_type.typ().to_owned()), ..self.header.clone() };
                &other
            }
        };
        jsonwebtoken::encode(header, claims, &self.reference)
            .map_err(|_| KeysError::Unusable { kid: self.kid.clone(), why: "it does not sign" })
    }
}

impl Drop for ActiveKey {
    fn drop(&mut self) {
        PARSED.write().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::master::MasterKey;
    use crate::keys::{generate, jwks, wrap};
    use crate::secret::Random;
    use crate::store::signing_keys::{KeyOrigin, KeyState};

    fn row(master: &MasterKey, algorithm: OwnAlgorithm) -> StoredKey {
        let key = generate::generate(2048).unwrap();
        wrap::stored(master, &key, KeyState::Active, (KeyOrigin::Generated, algorithm)).unwrap()
    }

    fn active(master: &MasterKey, row: &StoredKey) -> ActiveKey {
        ActiveKey::new(wrap::see_it_work(master, row).unwrap().unwrap())
    }

    #[test]
    fn a_key_signs_by_its_own_algorithm_alone() {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(&folder.path().join("master.key"), &Random, true).unwrap();
        for (own, other) in [(OwnAlgorithm::Rs256, OwnAlgorithm::Ps256), (OwnAlgorithm::Ps256, OwnAlgorithm::Rs256)] {
            let row = row(&master, own);
            let key = active(&master, &row);
            let token = key.sign(TokenType::AccessToken, &serde_json::json!({ "sub": "x" })).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            let header = jsonwebtoken::decode_header(&token).unwrap();
            assert_eq!((header.alg, header.kid.as_ref()), (name(own), Some(&row.kid)));
            let made = |parameters: &'static RsaParameters| {
                let public = aws_lc_rs::signature::RsaPublicKeyComponents { n: &row.modulus, e: &row.exponent };
                let signature = crate::secret::decode_base64url(signature).unwrap();
                public.verify(parameters, message.as_bytes(), &signature).is_ok()
            };
            assert_eq!(made(&RSA_PKCS1_2048_8192_SHA256), own == OwnAlgorithm::Rs256);
            // RFC 7518 §3.5: this one takes a salt of 32 bytes and no other.
            assert_eq!(made(&RSA_PSS_2048_8192_SHA256), own == OwnAlgorithm::Ps256);
            let header = Header { alg: name(other), ..key.header.clone() };
            assert!(jsonwebtoken::encode(&header, &serde_json::json!({}), &key.reference).is_err());
        }
    }

    #[test]
    fn a_private_half_goes_with_the_key_set_that_held_it() {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(&folder.path().join("master.key"), &Random, true).unwrap();
        let key = generate::generate(2048).unwrap();
        let row = wrap::stored(&master, &key, KeyState::Active, (KeyOrigin::Generated, OwnAlgorithm::Rs256)).unwrap();
        let load = || active(&master, &row);
        let is_there = |number: u64| PARSED.read().unwrap().contains_key(&number);
        let (first, second) = (load(), load());
        assert_eq!(first.kid(), jwks::thumbprint(&key.modulus, &key.exponent));
        let number = first.number;
        drop(first);
        assert!(!is_there(number) && is_there(second.number));
        second.sign(TokenType::AccessToken, &serde_json::json!({})).unwrap();
    }
}

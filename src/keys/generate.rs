//! Making RSA keys. `aws-lc-rs` generates, three times as fast as the `rsa` crate does; `rsa` reads the result and checks
//! it as it would a key from elsewhere. No private-key operation of `rsa` is used (RUSTSEC-2023-0071 concerns those).

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as AwsLcKeyPair, KeySize};
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use zeroize::Zeroizing;

use super::KeysError;
use crate::protocol::jose::OwnAlgorithm;

/// An RSA key.
pub(super) struct KeyPair {
    /// PKCS#8 DER (RFC 5208).
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
    /// Big endian.
    pub(super) modulus: Vec<u8>,
    /// Big endian; 65537.
    pub(super) exponent: Vec<u8>,
}

/// What keys are made.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Their size in bits, 2048 or 3072.
    pub bits: usize,
    /// What they sign by for ever; also keys from elsewhere.
    pub algorithm: OwnAlgorithm,
}

/// Generates a key of `bits` bits, 2048 or 3072, with the exponent 65537.
pub(super) fn generate(bits: usize) -> Result<KeyPair, KeysError> {
    let size = if bits == 3072 { KeySize::Rsa3072 } else { KeySize::Rsa2048 };
    let pair = AwsLcKeyPair::generate(size).map_err(|_| KeysError::NotGenerated)?;
    let der = pair.as_der().map_err(|_| KeysError::NotGenerated)?;
    let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
    let key = RsaPrivateKey::from_pkcs8_der(&pkcs8).map_err(|_| KeysError::NotGenerated)?;
    key.validate().map_err(|_| KeysError::NotGenerated)?;
    let (modulus, exponent) = (key.n().to_bytes_be(), key.e().to_bytes_be());
    // NIST SP 800-131A: at least 2048 bits; RFC 8017 §3.1: the exponent that everyone can use.
    if modulus.len() * 8 != bits || exponent != [1, 0, 1] {
        return Err(KeysError::NotGenerated);
    }
    Ok(KeyPair { pkcs8, modulus, exponent })
}

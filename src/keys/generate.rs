//! Making RSA keys. The `rsa` crate generates and encodes; it never signs (RUSTSEC-2023-0071 concerns its private-key
//! operations, which are not used).

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use zeroize::Zeroizing;

use super::KeysError;

/// A fresh RSA key.
pub(super) struct GeneratedKey {
    /// PKCS#8 DER (RFC 5208).
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
    /// Big endian.
    pub(super) modulus: Vec<u8>,
    /// Big endian; 65537.
    pub(super) exponent: Vec<u8>,
}

/// Generates a key of `bits` bits with the exponent 65537.
pub(super) fn generate(bits: usize) -> Result<GeneratedKey, KeysError> {
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).map_err(|_| KeysError::NotGenerated)?;
    let pkcs8 = key.to_pkcs8_der().map_err(|_| KeysError::NotGenerated)?;
    Ok(GeneratedKey {
        pkcs8: Zeroizing::new(pkcs8.as_bytes().to_vec()),
        modulus: key.n().to_bytes_be(),
        exponent: key.e().to_bytes_be(),
    })
}

//! Keys from elsewhere. What is weak or not ours to use is refused, by name (RFC 8725 §3.5, NIST SP 800-131A).

use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
use rsa::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::generate::KeyPair;

/// The smallest modulus in bits.
const LEAST_BITS: usize = 2048;
/// The largest: verifying takes longer with each bit, and some verifiers take no more.
const MOST_BITS: usize = 4096;
/// Factors below this are tried.
const SMALL_FACTORS: u32 = 10_000;
/// How many steps of Fermat's method are tried.
const FERMAT_STEPS: u32 = 100;
/// The most bytes of a file that may be a key.
pub const MAX_PEM_BYTES: u64 = 64 * 1024;
/// The most characters of a `kid` that another issuer chose.
const MAX_KID_BYTES: usize = 200;

/// Why a key from elsewhere is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not what is read here.
    #[error("it is no RSA private key in PEM, PKCS#8 or PKCS#1")]
    NotAPrivateKey,
    /// Its password is not asked for here.
    #[error("it is encrypted: `openssl pkey -in FILE -out PLAIN` decrypts it")]
    Encrypted,
    /// It cannot sign.
    #[error("it is a public key, which cannot sign: --verify-only imports it as another issuer's")]
    OnlyPublic,
    /// Nothing to read.
    #[error("the file is empty")]
    Empty,
    /// Not what is read here.
    #[error("it is no RSA public key in PEM")]
    NotAPublicKey,
    /// Somebody may factor it.
    #[error("its modulus has {0} bits: it must have {LEAST_BITS} to {MOST_BITS}, a multiple of 8")]
    WrongSize(usize),
    /// Too small a one makes forgeries easier; others are not understood everywhere.
    #[error("its public exponent is not 65537")]
    WrongExponent,
    /// Anyone can factor it.
    #[error("its two primes are too close to each other: anyone can find them")]
    PrimesTooClose,
    /// It is no product of two large primes.
    #[error("it is no product of two large primes: anyone can forge its signatures")]
    NotTwoPrimes,
    /// Its numbers do not belong together.
    #[error("its numbers do not belong together: it is corrupt")]
    Inconsistent,
    /// Its slot in the JWKS would be taken for as long.
    #[error("its tokens must live for a second at least and 30 days at most")]
    UnusualLife,
    /// It cannot be in a JWKS or a header.
    #[error("the kid must have 1 to {MAX_KID_BYTES} visible ASCII characters")]
    MalformedKid,
}

/// Reads a private key.
///
/// # Errors
/// [`ImportError`].
pub(super) fn private_key(pem: &str) -> Result<KeyPair, ImportError> {
    let key = RsaPrivateKey::from_pkcs8_pem(pem)
        .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem))
        .map_err(|_| what_it_is_instead(pem))?;
    refuse_weak(&key.to_public_key())?;
    key.validate().map_err(|_| ImportError::Inconsistent)?;
    let [one, other] = key.primes() else { return Err(ImportError::Inconsistent) };
    // FIPS 186-5 appendix A.1.3: each has half of the bits; a small one is found by trying.
    if [one, other].iter().any(|prime| prime.bits() * 2 != key.n().bits() || !may_be_prime(prime)) {
        return Err(ImportError::NotTwoPrimes);
    }
    // FIPS 186-5 appendix A.1.3: |p - q| > 2^(nlen/2 - 100), or Fermat's method finds them.
    let apart = if one > other { one - other } else { other - one };
    if apart.bits() <= key.n().bits() / 2 - 100 {
        return Err(ImportError::PrimesTooClose);
    }
    let der = key.to_pkcs8_der().map_err(|_| ImportError::Inconsistent)?;
    let pkcs8 = Zeroizing::new(der.as_bytes().to_vec());
    Ok(KeyPair { pkcs8, modulus: key.n().to_bytes_be(), exponent: key.e().to_bytes_be() })
}

/// What was given in place of a private key, by what stands at its top (RFC 7468).
fn what_it_is_instead(pem: &str) -> ImportError {
    let top = pem.lines().find(|line| line.starts_with("-----BEGIN"));
    let says = |word: &str| top.is_some_and(|line| line.contains(word));
    match top {
        None if pem.trim().is_empty() => ImportError::Empty,
        // The older form says so in a line of its own (RFC 1421 §4.6.1.1).
        _ if says("ENCRYPTED") || pem.contains("Proc-Type: 4,ENCRYPTED") => ImportError::Encrypted,
        _ if says("PUBLIC") || says("CERTIFICATE") => ImportError::OnlyPublic,
        Some(_) | None => ImportError::NotAPrivateKey,
    }
}

/// Reads a public key: its modulus and exponent, big endian.
///
/// # Errors
/// [`ImportError`].
pub(super) fn public_key(pem: &str) -> Result<(Vec<u8>, Vec<u8>), ImportError> {
    let key = RsaPublicKey::from_public_key_pem(pem)
        .or_else(|_| RsaPublicKey::from_pkcs1_pem(pem))
        .map_err(|_| ImportError::NotAPublicKey)?;
    refuse_weak(&key)?;
    if !may_be_a_modulus(key.n()) {
        return Err(ImportError::NotTwoPrimes);
    }
    Ok((key.n().to_bytes_be(), key.e().to_bytes_be()))
}

/// A public key as PEM (RFC 7468 §13).
///
/// # Errors
/// [`ImportError::Inconsistent`] when the numbers are no RSA key.
pub(super) fn public_pem(modulus: &[u8], exponent: &[u8]) -> Result<String, ImportError> {
    RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent))
        .ok()
        .and_then(|key| key.to_public_key_pem(LineEnding::LF).ok())
        .ok_or(ImportError::Inconsistent)
}

/// Another issuer's name for a key that cannot be ours too. It is an opaque string (RFC 8725 §3.10).
///
/// # Errors
/// [`ImportError::MalformedKid`].
pub(super) fn refuse_bad_kid(kid: &str) -> Result<(), ImportError> {
    let fits = (1..=MAX_KID_BYTES).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(ImportError::MalformedKid) }
}

/// Fermat's test: every prime passes it, and no number of a mistaken hand does.
fn may_be_prime(number: &BigUint) -> bool {
    let one = BigUint::from(1_u8);
    [2_u8, 3, 5, 7].iter().all(|base| BigUint::from(*base).modpow(&(number - &one), number) == one)
}

/// Whether a modulus is neither prime, nor has a small factor, nor two factors that Fermat's method finds at once.
fn may_be_a_modulus(modulus: &BigUint) -> bool {
    let zero = BigUint::from(0_u8);
    let is_square = |number: &BigUint| {
        let root = number.sqrt();
        &root * &root == *number
    };
    let has_small_factor = || (2_u32..SMALL_FACTORS).any(|factor| modulus % factor == zero);
    if may_be_prime(modulus) || has_small_factor() || is_square(modulus) {
        return false;
    }
    let first = modulus.sqrt() + 1_u8;
    (0..FERMAT_STEPS).all(|step| {
        let middle = &first + step;
        !is_square(&(&middle * &middle - modulus))
    })
}

fn refuse_weak(key: &RsaPublicKey) -> Result<(), ImportError> {
    let bits = key.n().bits();
    if !(LEAST_BITS..=MOST_BITS).contains(&bits) || !bits.is_multiple_of(8) {
        return Err(ImportError::WrongSize(bits));
    }
    // RFC 8017 §3.1: the exponent that everyone can use.
    if *key.e() != BigUint::from(65_537_u32) {
        return Err(ImportError::WrongExponent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::generate;

    #[test]
    fn a_modulus_of_two_large_primes_is_told_from_others() {
        let good = BigUint::from_bytes_be(&generate::generate(2048).unwrap().modulus);
        assert!(may_be_a_modulus(&good));
        // 2^521 - 1 and 2^127 - 1 are primes (Mersenne).
        let mersenne = |bits: usize| (BigUint::from(1_u8) << bits) - 1_u8;
        let prime = mersenne(521);
        assert!(may_be_prime(&prime) && may_be_prime(&mersenne(127)) && !may_be_prime(&mersenne(523)));
        for bad in [prime.clone(), &prime * 9973_u32, &prime * &prime, &good - 1_u8] {
            assert!(!may_be_a_modulus(&bad), "{} bits", bad.bits());
        }
        // Two factors near each other: (m - 3)(m + 3) for an m whose neighbours have no small factor.
        let far = (mersenne(521) * 6_u8, BigUint::from(35_u8));
        let close = (&far.0 - &far.1) * (&far.0 + &far.1);
        assert!(!may_be_a_modulus(&close));
    }
}

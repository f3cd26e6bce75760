//! Secrets: random bytes, texts that never print themselves, digests, and equality in constant time.
//! Refuses to know which secret is meant, or where it is kept.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// The system's source of randomness, passed to whatever needs some.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Random {
    /// `N` unpredictable bytes.
    ///
    /// Ends the process when the system has no randomness to give: nothing here is safe to do without it.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        if rand::fill(&mut bytes).is_err() {
            std::process::abort();
        }
        bytes
    }
}

/// A secret as a person or a client presents it: a password, a client secret. Wiped when dropped; never printed,
/// never serialised.
#[derive(Clone)]
pub struct PlainSecret(Zeroizing<String>);

impl PlainSecret {
    /// Takes charge of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Every call is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainSecret(…)")
    }
}

/// A 256-bit key derived for one purpose. Wiped when dropped.
#[derive(Clone)]
pub struct PurposeKey(Zeroizing<[u8; 32]>);

impl PurposeKey {
    /// Takes charge of `bytes`.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's bytes, for the primitive that uses them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA-256 of the parts, each preceded by its length so that no two lists of parts collide (RFC 2104).
    pub fn mac(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice()));
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        Digest::from_tag(context.sign().as_ref())
    }
}

impl fmt::Debug for PurposeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PurposeKey(…)")
    }
}

/// 32 bytes that stand for a secret. Compared in constant time only (ASVS 11.2.4).
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_tag(digest::digest(&digest::SHA256, bytes).as_ref())
    }

    /// SHA-256 of the parts, each preceded by its length so that no two lists of parts collide.
    pub fn sha256_of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        Self::from_tag(context.finish().as_ref())
    }

    /// From stored bytes; `None` unless there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_tag(tag: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(tag) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// base64url without padding (RFC 7515 §2), the spelling of every binary value we hand out.
pub fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of exactly the text [`encode_base64url`] writes; any other spelling of the same bytes is `None`.
pub fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// What a client secret starts with, so that scanners of repositories and logs can find a leaked one.
pub const CLIENT_SECRET_PREFIX: &str = "css_";

/// A new client secret of 256 random bits. It is shown once and kept as a digest only.
pub fn new_client_secret(random: &Random) -> PlainSecret {
    let bytes = Zeroizing::new(random.bytes::<32>());
    PlainSecret::new(format!("{CLIENT_SECRET_PREFIX}{}", encode_base64url(bytes.as_slice())))
}

/// What an initial access token starts with, and what lets a client change its registration.
const INITIAL_ACCESS_TOKEN_PREFIX: &str = "csi_";
const REGISTRATION_TOKEN_PREFIX: &str = "csm_";

/// A new initial access token (RFC 7591 §1.2) of 256 random bits. It is shown once and kept as a digest only.
pub fn new_initial_access_token(random: &Random) -> PlainSecret {
    let bytes = Zeroizing::new(random.bytes::<32>());
    PlainSecret::new(format!("{INITIAL_ACCESS_TOKEN_PREFIX}{}", encode_base64url(bytes.as_slice())))
}

/// A new registration access token (RFC 7592 §1.2) of 256 random bits, kept as a digest only.
pub fn new_registration_token(random: &Random) -> PlainSecret {
    let bytes = Zeroizing::new(random.bytes::<32>());
    PlainSecret::new(format!("{REGISTRATION_TOKEN_PREFIX}{}", encode_base64url(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print_themselves() {
        let secret = PlainSecret::new("open sesame");
        let key = PurposeKey::new([7; 32]);
        let printed = format!("{secret:?} {key:?} {:?}", Digest::sha256(b"x"));
        assert!(!printed.contains("sesame") && !printed.contains('7'), "{printed}");
    }

    #[test]
    fn a_mac_tells_lists_of_parts_apart() {
        let key = PurposeKey::new([1; 32]);
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_ne!(key.mac(&[b"ab"]), PurposeKey::new([2; 32]).mac(&[b"ab"]));
        assert_eq!(key.mac(&[b"ab", b"c"]), key.mac(&[b"ab", b"c"]));
    }

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(decode_base64url("_w"), Some(vec![255]));
        for other in ["_x", "_w=", "_w==", "/w", " _w", "_w\n"] {
            assert_eq!(decode_base64url(other), None, "{other:?}");
        }
    }

    #[test]
    fn client_secrets_have_256_bits_and_differ() {
        let (one, two) = (new_client_secret(&Random), new_client_secret(&Random));
        assert_eq!(one.expose().len(), 4 + 43);
        assert_ne!(one.expose(), two.expose());
    }
}

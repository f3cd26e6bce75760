//! Proof Key for Code Exchange (RFC 7636), the `S256` method alone: whoever redeems a code shows that it asked for it.

use crate::reason::{AuthorizeRefusal, CodeRefusal, Refusal, RequestRefusal};
use crate::secret::{Digest, decode_base64url};

/// The one method that exists here. RFC 9700 §2.1.1: `plain` shows the verifier to whoever sees the request.
pub const METHOD: &str = "S256";

/// The bounds of a verifier (RFC 7636 §4.1).
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

/// What a client says of its verifier when it asks for a code: the SHA-256 of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeChallenge(Digest);

impl CodeChallenge {
    /// Reads `code_challenge` and `code_challenge_method`.
    ///
    /// # Errors
    /// [`AuthorizeRefusal::ChallengeMethod`] for any method but `S256`, an absent one included;
    /// [`RequestRefusal::MalformedParameter`] when the challenge is no base64url of 32 bytes.
    pub fn parse(challenge: &str, method: Option<&str>) -> Result<Self, Refusal> {
        // RFC 7636 §4.3: an absent method means plain, which RFC 9700 §2.1.1 leaves to the past.
        if method != Some(METHOD) {
            return Err(AuthorizeRefusal::ChallengeMethod.into());
        }
        // RFC 7636 §4.2: BASE64URL(SHA256(verifier)), 43 characters.
        decode_base64url(challenge)
            .and_then(|bytes| Self::from_slice(&bytes))
            .ok_or_else(|| Refusal::from(RequestRefusal::MalformedParameter).about("code_challenge"))
    }

    /// From the 32 bytes that the database holds.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Digest::from_slice(bytes).map(Self)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// RFC 7636 §4.6: whether it is the challenge of that verifier; compared in constant time.
    ///
    /// # Errors
    /// [`CodeRefusal::WrongVerifier`].
    pub fn meet(&self, verifier: &str) -> Result<(), CodeRefusal> {
        // RFC 7636 §4.1: 43 to 128 of the unreserved characters; what is none was not used to make a challenge either.
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let well_formed = VERIFIER_BYTES.contains(&verifier.len()) && verifier.bytes().all(unreserved);
        if well_formed && Digest::sha256(verifier.as_bytes()) == self.0 {
            return Ok(());
        }
        Err(CodeRefusal::WrongVerifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_fits() {
        let challenge = CodeChallenge::parse(CHALLENGE, Some("S256")).unwrap();
        assert_eq!(challenge.meet(VERIFIER), Ok(()));
        for other in [&VERIFIER[1..], &format!("{VERIFIER}a"), CHALLENGE, "", &VERIFIER.to_lowercase()] {
            assert_eq!(challenge.meet(other), Err(CodeRefusal::WrongVerifier), "{other}");
        }
    }

    #[test]
    fn only_s256_is_a_method() {
        for method in [None, Some("plain"), Some("s256"), Some("S512"), Some("")] {
            let refusal = CodeChallenge::parse(CHALLENGE, method).unwrap_err();
            assert_eq!(refusal.reason, AuthorizeRefusal::ChallengeMethod.into(), "{method:?}");
        }
    }

    #[test]
    fn a_challenge_has_the_size_of_a_digest_and_one_spelling() {
        for challenge in ["", "a", &CHALLENGE[1..], &format!("{CHALLENGE}a"), &format!("{CHALLENGE}="), "+/", VERIFIER]
        {
            let parsed = CodeChallenge::parse(challenge, Some("S256"));
            assert_eq!(parsed.is_ok(), challenge == VERIFIER, "{challenge}: 32 bytes of base64url, whatever they are");
        }
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for (verifier, fits) in [
            ("a".repeat(42), false),
            ("a".repeat(43), true),
            ("a".repeat(128), true),
            ("a".repeat(129), false),
            (format!("{}+", "a".repeat(43)), false),
            (format!("{}/", "a".repeat(43)), false),
            (format!("{}=", "a".repeat(43)), false),
            (format!("{}ä", "a".repeat(43)), false),
            (format!("-._~{}", "a".repeat(43)), true),
        ] {
            let challenge = CodeChallenge(Digest::sha256(verifier.as_bytes()));
            assert_eq!(challenge.meet(&verifier).is_ok(), fits, "{verifier}");
        }
    }
}

//! What a refused client is told: the value of `WWW-Authenticate` (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3,
//! RFC 9728 §5.1). Whatever it is given, it writes no character that could end a value or a header.

use std::fmt::Write as _;

use crate::{Rejected, dpop};

/// What a client is told of a proof that will not do (RFC 9449 §12.2).
const PROOF_ERROR: &str = "invalid_dpop_proof";

/// What a challenge says about the service itself.
///
/// ```
/// use countersign_verifier::{Challenge, Rejected};
///
/// let challenge = Challenge::new().realm("orders");
/// assert_eq!(Rejected::Missing.www_authenticate(&challenge).as_deref(), Some(r#"Bearer realm="orders""#));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Challenge {
    realm: Option<String>,
    resource_metadata: Option<String>,
    schemes: Schemes,
}

/// How a token may be presented here, as far as a client is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Schemes {
    /// As a bearer's (RFC 6750).
    #[default]
    Bearer,
    /// With a proof (RFC 9449), too.
    BearerOrDpop,
    /// It was with a proof.
    Dpop,
}

impl Challenge {
    /// One that says nothing of the service.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a name for what is protected (RFC 9110 §11.5).
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = Some(realm.to_owned());
        self
    }

    /// With the address of the service's own metadata (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(mut self, url: &str) -> Self {
        self.resource_metadata = Some(url.to_owned());
        self
    }

    pub(crate) fn schemes(mut self, schemes: Schemes) -> Self {
        self.schemes = schemes;
        self
    }
}

impl Rejected {
    /// The `error` that a client is told, if any.
    fn error(&self) -> Option<&'static str> {
        match self {
            // RFC 6750 §3.1: no error code for a request without authentication.
            Self::Missing | Self::KeysUnavailable | Self::StatusUnavailable | Self::ProofsFull => None,
            Self::Ambiguous => Some("invalid_request"),
            Self::InsufficientScope { .. } | Self::InsufficientRole { .. } => Some("insufficient_scope"),
            // RFC 9470 §3.
            Self::StepUp { .. } => Some("insufficient_user_authentication"),
            Self::Malformed
            | Self::WrongHeader
            | Self::OtherIssuer
            | Self::UnknownKey
            | Self::BadSignature
            | Self::BadClaims
            | Self::OtherAudience
            | Self::Expired
            | Self::NotYetValid
            | Self::Revoked
            | Self::WrongScheme
            | Self::OtherKey => Some("invalid_token"),
            // RFC 9449 §7.1.
            Self::ProofMissing
            | Self::BadProof
            | Self::ProofOfOtherRequest
            | Self::ProofOutOfTime
            | Self::ProofReplayed => Some(PROOF_ERROR),
        }
    }

    /// The value of `WWW-Authenticate`; none for a 503, which is no fault of the client's.
    ///
    /// ```
    /// use countersign_verifier::{Challenge, Rejected};
    ///
    /// let refused = Rejected::InsufficientScope { needed: "orders:write".to_owned() };
    /// assert_eq!(
    ///     refused.www_authenticate(&Challenge::new()).as_deref(),
    ///     Some(concat!(
    ///         r#"Bearer error="insufficient_scope", error_description="the token lacks the scope that is needed", "#,
    ///         r#"scope="orders:write""#,
    ///     )),
    /// );
    /// ```
    pub fn www_authenticate(&self, challenge: &Challenge) -> Option<String> {
        if self.status() == 503 {
            return None;
        }
        let error = self.error();
        // RFC 9449 §7.1: who is told of a proof is told by its scheme.
        let schemes = if error == Some(PROOF_ERROR) { Schemes::Dpop } else { challenge.schemes };
        let mut parameters = Parameters(String::new());
        if schemes == Schemes::Dpop {
            parameters.push("algs", dpop::ALGORITHMS);
        }
        if let Some(realm) = &challenge.realm {
            parameters.push("realm", realm);
        }
        if let Some(error) = error {
            parameters.push("error", error);
            parameters.push("error_description", &self.to_string());
        }
        if let Self::InsufficientScope { needed } = self {
            parameters.push("scope", needed);
        }
        if let Self::StepUp { acr_values, max_age } = self {
            // RFC 9470 §3: acr_values separated by spaces, max_age in seconds.
            if !acr_values.is_empty() {
                parameters.push("acr_values", &acr_values.join(" "));
            }
            if let Some(seconds) = max_age {
                parameters.push("max_age", &seconds.to_string());
            }
        }
        if let Some(url) = &challenge.resource_metadata {
            parameters.push("resource_metadata", url);
        }
        let Parameters(parameters) = parameters;
        Some(match schemes {
            Schemes::Dpop => format!("DPoP{parameters}"),
            // RFC 9449 §7.2: where both will do both are said, to somebody who has to come again with another token.
            Schemes::BearerOrDpop if self.status() == 401 => {
                format!("Bearer{parameters}, DPoP algs=\"{}\"", dpop::ALGORITHMS)
            }
            Schemes::Bearer | Schemes::BearerOrDpop => format!("Bearer{parameters}"),
        })
    }

    /// A body for the answer, `application/problem+json` (RFC 9457).
    ///
    /// ```
    /// # use countersign_verifier::Rejected;
    /// assert_eq!(
    ///     Rejected::Expired.problem(),
    ///     r#"{"type":"about:blank","title":"the token has expired","status":401,"code":"expired"}"#,
    /// );
    /// ```
    pub fn problem(&self) -> String {
        // Both texts are ours and have nothing to escape.
        let (title, status, code) = (self.to_string(), self.status(), self.code());
        format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"code":"{code}"}}"#)
    }
}

struct Parameters(String);

impl Parameters {
    fn push(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { " " } else { ", " };
        // RFC 6750 §3: values are of %x20-21 / %x23-5B / %x5D-7E; neither a quote nor a line break can be among them.
        let value: String =
            value.chars().filter(|char| matches!(char, ' '..='~') && !matches!(char, '"' | '\\')).collect();
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{separator}{name}=\"{value}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge_of(rejected: &Rejected) -> String {
        rejected.www_authenticate(&Challenge::new().realm("orders")).unwrap_or_default()
    }

    #[test]
    fn a_request_without_a_token_is_told_no_error() {
        assert_eq!(challenge_of(&Rejected::Missing), r#"Bearer realm="orders""#);
        assert_eq!(Rejected::Missing.www_authenticate(&Challenge::new()).as_deref(), Some("Bearer"));
    }

    #[test]
    fn the_errors_are_those_of_the_rfcs() {
        assert!(challenge_of(&Rejected::Expired).contains(r#"error="invalid_token""#));
        assert!(challenge_of(&Rejected::Ambiguous).contains(r#"error="invalid_request""#));
        let step_up = Rejected::StepUp { acr_values: vec!["mfa".to_owned(), "phr".to_owned()], max_age: Some(300) };
        assert!(challenge_of(&step_up).ends_with(r#", acr_values="mfa phr", max_age="300""#));
        assert!(challenge_of(&step_up).contains(r#"error="insufficient_user_authentication""#));
        assert_eq!(Rejected::KeysUnavailable.www_authenticate(&Challenge::new()), None);
        assert_eq!(Rejected::StatusUnavailable.www_authenticate(&Challenge::new()), None);
    }

    #[test]
    fn whoever_has_to_prove_a_key_is_told_so_by_that_scheme() {
        const ALGS: &str = r#"algs="ES256 EdDSA Ed25519 PS256 RS256""#;
        let told = |rejected: &Rejected, schemes| {
            rejected.www_authenticate(&Challenge::new().schemes(schemes)).unwrap_or_default()
        };
        for schemes in [Schemes::Bearer, Schemes::BearerOrDpop, Schemes::Dpop] {
            let text = told(&Rejected::ProofMissing, schemes);
            assert!(text.starts_with(&format!(r#"DPoP {ALGS}, error="invalid_dpop_proof", "#)), "{text}");
        }
        let expired = |schemes| told(&Rejected::Expired, schemes);
        assert!(expired(Schemes::Bearer).starts_with(r#"Bearer error="invalid_token", "#));
        assert!(!expired(Schemes::Bearer).contains("DPoP"));
        assert!(expired(Schemes::BearerOrDpop).starts_with(r#"Bearer error="invalid_token", "#));
        assert!(expired(Schemes::BearerOrDpop).ends_with(&format!(", DPoP {ALGS}")));
        assert!(expired(Schemes::Dpop).starts_with(&format!(r#"DPoP {ALGS}, error="invalid_token", "#)));
        assert_eq!(told(&Rejected::Missing, Schemes::BearerOrDpop), format!("Bearer, DPoP {ALGS}"));
        let refused = Rejected::InsufficientRole { needed: "admin".to_owned() };
        assert!(
            !told(&refused, Schemes::BearerOrDpop).contains("DPoP"),
            "another token of the scheme would do no better"
        );
        assert_eq!(told(&Rejected::ProofsFull, Schemes::Dpop), "");
    }

    #[test]
    fn no_value_ends_its_quotes_or_its_line() {
        let refused = Rejected::InsufficientScope { needed: "a\" x=\"y\r\nSet-Cookie: b\\\u{7f}ä".to_owned() };
        let challenge = Challenge::new().resource_metadata("https://orders.example/\r\n\"");
        let value = refused.www_authenticate(&challenge).unwrap();
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value}");
        assert!(
            value.ends_with(r#"scope="a x=ySet-Cookie: b", resource_metadata="https://orders.example/""#),
            "{value}"
        );
    }

    #[test]
    fn the_body_is_json() {
        let body: serde_json::Value = serde_json::from_str(&Rejected::Revoked.problem()).unwrap();
        assert_eq!(body["code"], "revoked");
    }
}

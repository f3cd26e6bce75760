//! A token for a test, as good or as bad as the test wants it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{TestHolder, TestIssuer, key};
use crate::status_list;

/// Makes a token. Unless it is told otherwise the token is good.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{NoOtherClaims, Rejected};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let elsewhere = issuer.token().audience("https://billing.example").sign();
/// let outcome = issuer.verifier().verify::<NoOtherClaims>(&elsewhere);
/// assert_eq!(outcome.unwrap_err(), Rejected::OtherAudience);
/// ```
#[derive(Debug)]
#[must_use]
pub struct TokenBuilder<'i> {
    issuer: &'i TestIssuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    forged: bool,
}

impl<'i> TokenBuilder<'i> {
    pub(super) fn new(issuer: &'i TestIssuer, number: u64) -> Self {
        let (iss, aud) = issuer.names();
        let now = issuer.now();
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": issuer.kid() });
        let claims = json!({
            "iss": iss, "sub": "usr_test", "aud": aud, "client_id": "test_client", "iat": now, "exp": now + 600,
            "jti": format!("test-{number}"), "scope": "", "sid": format!("grant-{number}"),
            "status": { "status_list": { "idx": number, "uri": status_list::uri(iss, 0) } },
        });
        let members = |value: Value| value.as_object().cloned().unwrap_or_default();
        Self { issuer, header: members(header), claims: members(claims), forged: false }
    }

    /// Whom it is about.
    #[expect(clippy::should_implement_trait, reason = "the claim is called so")]
    pub fn sub(self, sub: &str) -> Self {
        self.claim("sub", sub)
    }

    /// To which client it was given.
    pub fn client_id(self, client_id: &str) -> Self {
        self.claim("client_id", client_id)
    }

    /// What it allows.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// The roles of its subject.
    pub fn roles(self, roles: &[&str]) -> Self {
        self.claim("roles", roles)
    }

    /// For which service.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Bound to the key of that holder (RFC 9449 §6.1).
    pub fn bound_to(self, holder: &TestHolder) -> Self {
        self.claim("cnf", json!({ "jkt": holder.jkt() }))
    }

    /// Any claim.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().claim("tenant", "acme").claim("auth_time", issuer.now()).sign();
    /// ```
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Without a claim.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().without("jti").sign();
    /// ```
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Issued at that second since the epoch, and ten minutes long.
    pub fn issued(self, iat: i64) -> Self {
        self.claim("iat", iat).claim("exp", iat + 600)
    }

    /// Expired so long ago. Within its leeway, 30 seconds unless set, a verifier accepts it all the same.
    pub fn expired_by(self, span: Duration) -> Self {
        let exp = self.issuer.now().saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
        self.claim("iat", exp - 600).claim("exp", exp)
    }

    /// Another `kid` than that of the key that signs it.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Another type.
    pub fn typ(self, typ: &str) -> Self {
        self.header("typ", typ)
    }

    /// Any member of the header.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().header("alg", "none").sign();
    /// ```
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Signed with a key that is not the issuer's, under the issuer's `kid`.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, Rejected, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let outcome = issuer.verifier().verify::<NoOtherClaims>(&issuer.token().forged().sign());
    /// assert_eq!(outcome.unwrap_err(), Rejected::BadSignature);
    /// ```
    pub fn forged(mut self) -> Self {
        self.forged = true;
        self
    }

    /// The token.
    pub fn sign(self) -> String {
        let payload = Value::Object(self.claims.clone()).to_string();
        self.sign_payload(&payload)
    }

    /// A token that says exactly this.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, Rejected, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().sign_payload(r#"{"iss":"https://as.example","sub":"a","sub":"b"}"#);
    /// assert_eq!(issuer.verifier().verify::<NoOtherClaims>(&token).unwrap_err(), Rejected::BadClaims);
    /// ```
    pub fn sign_payload(self, payload: &str) -> String {
        let key = if self.forged { key::stranger() } else { self.issuer.signing_key() };
        key.sign(&Value::Object(self.header).to_string(), payload)
    }
}

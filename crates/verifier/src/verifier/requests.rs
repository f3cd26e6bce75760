//! Whole requests: a token, the scheme by which it comes, and the proof beside it.

use serde::de::DeserializeOwned;

use super::{Inner, Verifier};
use crate::bearer::{Scheme, token_of};
use crate::challenge::Schemes;
use crate::request::Request;
use crate::{Challenge, Claims, Refused, Rejected};

impl Verifier {
    /// The claims of a request's token, if it is good now. With [`VerifierBuilder::dpop`](crate::VerifierBuilder::dpop) it may be
    /// one that is bound to a key, with a proof that its sender holds that key (RFC 9449); the proof is used up by this.
    ///
    /// ```
    /// use countersign_verifier::testing::{TestHolder, TestIssuer};
    /// use countersign_verifier::{Claims, NoOtherClaims, Rejected, Request};
    ///
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example"));
    /// let holder = TestHolder::new();
    /// let token = issuer.token().bound_to(&holder).sign();
    /// let authorization = format!("DPoP {token}");
    /// let proof = holder.proof("GET", "https://orders.example/orders", &token, issuer.now());
    ///
    /// let request = Request::new("GET", "/orders").authorization([&authorization]).dpop([&proof]);
    /// let claims: Claims = verifier.verify_request(&request)?;
    /// assert_eq!(verifier.verify_request::<NoOtherClaims>(&request).unwrap_err(), Rejected::ProofReplayed);
    /// # Ok::<(), Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`]; [`Verifier::refuse`] makes the answer of it.
    pub fn verify_request<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<Claims<T>, Rejected> {
        let token = self.0.token_of(request)?;
        self.observed(self.0.verify(token, Some(request), true))
    }

    /// The same, but a look for a key that is not known yet is waited for, as in [`Verifier::verify_waiting`].
    ///
    /// ```
    /// # use countersign_verifier::{Claims, Rejected, Request, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let (verifier, authorization) = (issuer.verifier(), format!("Bearer {}", issuer.token().sign()));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let request = Request::new("GET", "/orders").authorization([&authorization]);
    /// let claims: Claims = verifier.verify_request_waiting(&request).await?;
    /// # Ok::<(), Rejected>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Rejected`].
    #[cfg(feature = "fetch")]
    pub async fn verify_request_waiting<T>(&self, request: &Request<'_>) -> Result<Claims<T>, Rejected>
    where
        T: DeserializeOwned,
    {
        let token = self.0.token_of(request)?;
        self.waiting(token, Some(request)).await
    }

    /// As patiently as can be done here: with nothing that fetches there is nothing to wait for.
    #[cfg(any(feature = "actix", feature = "tower"))]
    #[cfg_attr(not(feature = "fetch"), expect(clippy::unused_async, reason = "it waits where something fetches"))]
    pub(crate) async fn verify_patiently<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
    ) -> Result<Claims<T>, Rejected> {
        #[cfg(feature = "fetch")]
        return self.verify_request_waiting(request).await;
        #[cfg(not(feature = "fetch"))]
        return self.verify_request(request);
    }

    /// The answer to a request that is refused, with a challenge of the scheme that it came by (RFC 9449 §7.1) and whatever
    /// `challenge` says of the service.
    ///
    /// ```
    /// use countersign_verifier::testing::TestIssuer;
    /// use countersign_verifier::{Challenge, Rejected, Request};
    ///
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example"));
    /// let refused = verifier.refuse(&Request::new("GET", "/orders"), Rejected::Missing, Challenge::new());
    /// let challenge = r#"Bearer, DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#;
    /// assert!(refused.headers().contains(&("www-authenticate", challenge.to_owned())));
    /// ```
    pub fn refuse(&self, request: &Request<'_>, rejected: Rejected, challenge: Challenge) -> Refused {
        let schemes = match &self.0.dpop {
            None => Schemes::Bearer,
            Some(_) if request.is_dpop() => Schemes::Dpop,
            Some(_) => Schemes::BearerOrDpop,
        };
        Refused::new(rejected, challenge.schemes(schemes))
    }
}

impl Inner {
    /// The token of a request, if it comes by a scheme that is spoken here.
    fn token_of<'r>(&self, request: &Request<'r>) -> Result<&'r str, Rejected> {
        match request.authorization.clone()? {
            (Scheme::Dpop, _) if self.dpop.is_none() => Err(Rejected::Missing),
            (_, rest) => token_of(rest),
        }
    }
}

//! What of a request decides whether it is let through: its token, how that comes, and what proves its sender.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::Rejected;
use crate::bearer::{Scheme, presented};

/// A request as a [`Verifier`](crate::Verifier) looks at it: for [`Verifier::verify_request`](crate::Verifier::verify_request). The
/// method and the path are needed for proofs of possession alone (RFC 9449).
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, Request};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let authorization = format!("Bearer {}", issuer.token().sub("usr_1").sign());
/// let request = Request::new("GET", "/orders?page=2").authorization([&authorization]).dpop([] as [&str; 0]);
/// let claims: Claims = issuer.verifier().verify_request(&request)?;
/// assert_eq!(claims.sub, "usr_1");
/// # Ok::<(), countersign_verifier::Rejected>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Request<'r> {
    pub(crate) method: &'r str,
    pub(crate) path: &'r str,
    /// The scheme and what follows it.
    pub(crate) authorization: Result<(Scheme, &'r str), Rejected>,
    pub(crate) proof: Result<&'r str, Rejected>,
    /// Where it is kept what was let through, for web integrations that look at a request more than once.
    pub(crate) proven: Option<Proven>,
}

/// The digest of the token and the proof that were let through on a request, once they are: whoever looks at the same request again,
/// or at the same time, finds it.
pub(crate) type Proven = Arc<OnceLock<[u8; 32]>>;

impl<'r> Request<'r> {
    /// A request without any header: its method, and its path as the service sees it. A query is not looked at.
    pub fn new(method: &'r str, path: &'r str) -> Self {
        let (authorization, proof) = (Err(Rejected::Missing), Err(Rejected::ProofMissing));
        Self { method, path, authorization, proof, proven: None }
    }

    /// With the values of its `Authorization` headers, all of them.
    pub fn authorization<V: AsRef<[u8]> + ?Sized + 'r>(mut self, values: impl IntoIterator<Item = &'r V>) -> Self {
        self.authorization = presented(values);
        self
    }

    /// With the values of its `DPoP` headers, all of them.
    pub fn dpop<V: AsRef<[u8]> + ?Sized + 'r>(mut self, values: impl IntoIterator<Item = &'r V>) -> Self {
        let mut values = values.into_iter();
        self.proof = match (values.next(), values.next()) {
            (None, _) => Err(Rejected::ProofMissing),
            (Some(one), None) => str::from_utf8(one.as_ref()).map_err(|_| Rejected::BadProof),
            // RFC 9449 §4.3 no. 1: not more than one.
            (Some(_), Some(_)) => Err(Rejected::BadProof),
        };
        self
    }

    /// A request that may have been looked at before.
    #[cfg(any(feature = "actix", feature = "tower"))]
    pub(crate) fn proven(mut self, proven: Option<Proven>) -> Self {
        self.proven = proven;
        self
    }

    /// Whether its token comes as one that is bound to a key (RFC 9449 §7.1).
    pub(crate) fn is_dpop(&self) -> bool {
        matches!(self.authorization, Ok((Scheme::Dpop, _)))
    }
}

/// Nothing of the token or of a proof.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

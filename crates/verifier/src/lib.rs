//! Verifies access tokens of a Countersign server where they are used: no request per token, and yet a revoked one is
//! refused within seconds.
//!
//! A [`Verifier`] is made once and shared. [`Verifier::verify`] does no IO and takes no lock; it says what the token
//! claims, or why it is [`Rejected`] and what to answer. [`Verifier::verify_request`] does the same for a whole [`Request`].
//!
//! ```
//! use countersign_verifier::testing::TestIssuer;
//! use countersign_verifier::{Challenge, Claims, Rejected, Verifier, bearer};
//!
//! fn order(verifier: &Verifier, authorization: &[&str]) -> Result<String, Rejected> {
//!     let token = bearer(authorization.iter().copied())?;
//!     let claims: Claims = verifier.verify(token)?;
//!     claims.require_scope("orders:write")?;
//!     Ok(claims.sub)
//! }
//!
//! // In a test the issuer is one in memory.
//! let issuer = TestIssuer::new("https://as.example", "https://orders.example");
//! let verifier = issuer.verifier();
//! let header = format!("Bearer {}", issuer.token().sub("usr_1").scope("orders:write").sign());
//! assert_eq!(order(&verifier, &[&header]).unwrap(), "usr_1");
//!
//! let header = format!("Bearer {}", issuer.token().scope("orders:read").sign());
//! let refused = order(&verifier, &[&header]).unwrap_err();
//! assert_eq!(refused.status(), 403);
//! assert!(refused.www_authenticate(&Challenge::new()).unwrap().contains("insufficient_scope"));
//! ```
//!
//! # What is checked
//!
//! Type, algorithm, key and signature, issuer, audience, times, the claims that RFC 9068 requires, that no member comes
//! twice; then the token's status. A token that is bound to a key (`cnf`) is refused, unless it is bound by `cnf.jkt` and
//! [`VerifierBuilder::dpop`] says that proofs are looked at: then [`Verifier::verify_request`] and the web integrations want a
//! DPoP proof with it (RFC 9449 §4.3), for this method, address and token, of just now, by that key, and never seen before.
//! What cannot be known at the moment is answered with 503, never with 401: a client would throw a good token away.

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
mod base64url;
mod bearer;
mod builder;
mod challenge;
mod claims;
mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod digest;
mod dpop;
pub mod feed;
#[cfg(feature = "fetch")]
mod fetch;
mod issuer_url;
mod json;
mod jws;
mod keys;
mod observer;
mod own;
mod refused;
mod rejected;
mod request;
mod requirement;
pub mod status;
pub mod status_list;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "tower")]
pub mod tower;
mod verifier;

pub use bearer::bearer;
pub use builder::{BuildError, OnStale, StatusSource, VerifierBuilder};
pub use challenge::Challenge;
pub use claims::{Claims, NoOtherClaims, Scope};
pub use dpop::is_same_address;
#[cfg(feature = "fetch")]
pub use fetch::{Endpoints, Secret};
pub use issuer_url::UrlError;
pub use keys::{KeySet, KeySetError};
pub use observer::Observer;
pub use own::{OwnIdToken, verify_own, verify_own_id_token};
pub use refused::Refused;
pub use rejected::Rejected;
pub use request::Request;
pub use requirement::{Requirement, Requirements};
pub use verifier::Verifier;

/// The examples of the front page hold.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

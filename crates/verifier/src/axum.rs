//! Extractors for axum. The verifier comes from the router's state; behind the layer of [`crate::tower`] the claims do.

use std::marker::PhantomData;

use axum_core::extract::{FromRef, FromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::tower::{presented, render};
use crate::verifier::VerifiedBy;
use crate::{Challenge, Claims, NoOtherClaims, Refused, Rejected, Requirement, Verifier};

/// The claims of a request with a good token. Without one the handler is not called, and the answer says why.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use countersign_verifier::axum::Authenticated;
/// use countersign_verifier::testing::TestIssuer;
///
/// async fn whoami(Authenticated(claims): Authenticated) -> String {
///     claims.sub
/// }
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let router: Router = Router::new().route("/whoami", get(whoami)).with_state(issuer.verifier());
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated<T = NoOtherClaims>(pub Claims<T>);

/// The claims of a request with a good token, none of one without a token. A bad token is refused all the same.
///
/// ```
/// use countersign_verifier::axum::MaybeAuthenticated;
///
/// async fn greet(MaybeAuthenticated(claims): MaybeAuthenticated) -> String {
///     claims.map_or_else(|| "stranger".to_owned(), |claims| claims.sub)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MaybeAuthenticated<T = NoOtherClaims>(pub Option<Claims<T>>);

/// The claims of a request whose token meets `R`.
///
/// ```
/// use countersign_verifier::axum::Allowed;
/// use countersign_verifier::{Claims, Rejected, Requirement};
///
/// struct WriteOrders;
///
/// impl Requirement for WriteOrders {
///     fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected> {
///         claims.require_scope("orders:write")
///     }
/// }
///
/// async fn order(allowed: Allowed<WriteOrders>) -> String {
///     allowed.claims.sub
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Allowed<R, T = NoOtherClaims> {
    /// What the token says.
    pub claims: Claims<T>,
    requirement: PhantomData<fn() -> R>,
}

async fn claims_of<T>(parts: &mut Parts, verifier: &Verifier) -> Result<Claims<T>, Rejected>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    // Behind the layer it was verified already, if by this verifier: another one's word does not count.
    let by = parts.extensions.get::<VerifiedBy<T>>().filter(|by| by.is(verifier));
    if let Some(claims) = by.and_then(|_| parts.extensions.get::<Claims<T>>()) {
        return Ok(claims.clone());
    }
    verifier.verify_patiently(&presented(parts, verifier)).await
}

fn refused(parts: &mut Parts, verifier: &Verifier, rejected: Rejected) -> Refused {
    let challenge = parts.extensions.get::<Challenge>().cloned().unwrap_or_default();
    verifier.refuse(&presented(parts, verifier), rejected, challenge)
}

impl<S, T> FromRequestParts<S> for Authenticated<T>
where
    S: Send + Sync,
    Verifier: FromRef<S>,
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let verifier = Verifier::from_ref(state);
        let claims = claims_of(parts, &verifier).await;
        claims.map(Self).map_err(|rejected| refused(parts, &verifier, rejected))
    }
}

impl<S, T> FromRequestParts<S> for MaybeAuthenticated<T>
where
    S: Send + Sync,
    Verifier: FromRef<S>,
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let verifier = Verifier::from_ref(state);
        match claims_of(parts, &verifier).await {
            Ok(claims) => Ok(Self(Some(claims))),
            Err(Rejected::Missing) => Ok(Self(None)),
            Err(rejected) => Err(refused(parts, &verifier, rejected)),
        }
    }
}

impl<S, R, T> FromRequestParts<S> for Allowed<R, T>
where
    S: Send + Sync,
    Verifier: FromRef<S>,
    R: Requirement,
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let verifier = Verifier::from_ref(state);
        let claims = claims_of(parts, &verifier).await;
        let admitted = claims.and_then(|claims| R::admit(&claims).map(|()| claims));
        let admitted = admitted.map_err(|rejected| refused(parts, &verifier, rejected))?;
        Ok(Self { claims: admitted, requirement: PhantomData })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        render(&self)
    }
}

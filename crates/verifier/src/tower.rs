//! A layer that lets only requests with a good token through, for whatever speaks `tower` and `http`. The claims are among
//! the request's extensions from there on.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use crate::verifier::{ProvenTo, VerifiedBy};
use crate::{Challenge, Claims, NoOtherClaims, Refused, Requirements, Verifier};

/// A layer that answers by itself whatever has no good token.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::tower::Protect;
/// use countersign_verifier::{Claims, Requirements};
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let layer = Protect::new(issuer.verifier()).require(Requirements::new().scope("orders:write"));
/// let service = layer.layer(service_fn(async |request: Request<()>| {
///     let claims = request.extensions().get::<Claims>().map(|claims| claims.sub.clone());
///     Ok::<_, std::convert::Infallible>(Response::new(claims.unwrap_or_default()))
/// }));
///
/// let token = issuer.token().sub("usr_1").scope("orders:write").sign();
/// let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(service.clone().oneshot(request).await.unwrap().into_body(), "usr_1");
/// assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 401);
/// # });
/// ```
pub struct Protect<T = NoOtherClaims> {
    verifier: Verifier,
    challenge: Challenge,
    requirements: Requirements,
    claims: PhantomData<fn() -> T>,
}

impl Protect {
    /// A layer for a service without claims of its own.
    pub fn new(verifier: Verifier) -> Self {
        Self::with_claims(verifier)
    }
}

impl<T> Protect<T> {
    /// A layer that reads the claims `T` of the service's own, too.
    ///
    /// ```
    /// # use countersign_verifier::{testing::TestIssuer, tower::Protect};
    /// #[derive(Clone, serde::Deserialize)]
    /// struct Tenant {
    ///     tenant: String,
    /// }
    ///
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let layer = Protect::<Tenant>::with_claims(issuer.verifier());
    /// ```
    pub fn with_claims(verifier: Verifier) -> Self {
        let (challenge, requirements) = (Challenge::new(), Requirements::new());
        Self { verifier, challenge, requirements, claims: PhantomData }
    }

    /// What is asked of a token.
    #[must_use]
    pub fn require(mut self, requirements: Requirements) -> Self {
        self.requirements = requirements;
        self
    }

    /// What the service says of itself where it refuses.
    ///
    /// ```
    /// # use countersign_verifier::{Challenge, testing::TestIssuer, tower::Protect};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let layer = Protect::new(issuer.verifier()).challenge(Challenge::new().realm("orders"));
    /// ```
    #[must_use]
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = challenge;
        self
    }
}

impl<T> Clone for Protect<T> {
    fn clone(&self) -> Self {
        Self {
            verifier: self.verifier.clone(),
            challenge: self.challenge.clone(),
            requirements: self.requirements.clone(),
            claims: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Protect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protect").field("requirements", &self.requirements).finish_non_exhaustive()
    }
}

impl<S, T> Layer<S> for Protect<T> {
    type Service = Protected<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Protected { inner, protect: self.clone() }
    }
}

/// A service behind [`Protect`].
///
/// ```
/// # use countersign_verifier::{testing::TestIssuer, tower::{Protect, Protected}};
/// # use tower::Layer;
/// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let service: Protected<&str> = Protect::new(issuer.verifier()).layer("a service");
/// ```
#[derive(Debug)]
pub struct Protected<S, T = NoOtherClaims> {
    inner: S,
    protect: Protect<T>,
}

impl<S: Clone, T> Clone for Protected<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), protect: self.protect.clone() }
    }
}

impl<S, T, B, R> Service<Request<B>> for Protected<S, T>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    T: DeserializeOwned + Clone + Send + Sync + 'static,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was ready is the one that has to be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let protect = self.protect.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let outcome = protect.verifier.verify_patiently::<T>(&presented(&mut parts, &protect.verifier)).await;
            let admitted = outcome.and_then(|claims| protect.requirements.admit(&claims).map(|()| claims));
            match admitted {
                Ok(claims) => {
                    parts.extensions.insert::<Claims<T>>(claims);
                    parts.extensions.insert(VerifiedBy::<T>::new(protect.verifier));
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(rejected) => {
                    let presented = presented(&mut parts, &protect.verifier);
                    Ok(render(&protect.verifier.refuse(&presented, rejected, protect.challenge)))
                }
            }
        })
    }
}

/// What of a request `verifier` looks at.
pub(crate) fn presented<'r>(parts: &'r mut Parts, verifier: &Verifier) -> crate::Request<'r> {
    let mut proven = parts.extensions.get::<ProvenTo>().and_then(|known| known.proven(verifier));
    if let (None, Some(begun)) = (&proven, ProvenTo::begin(verifier)) {
        proven = begun.proven(verifier);
        parts.extensions.insert(begun);
    }
    let values = |name| parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    crate::Request::new(parts.method.as_str(), parts.uri.path())
        .authorization(values(AUTHORIZATION))
        .dpop(values(HeaderName::from_static("dpop")))
        .proven(proven)
}

pub(crate) fn render<R: From<String>>(refused: &Refused) -> Response<R> {
    let mut response = Response::new(R::from(refused.body()));
    *response.status_mut() = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in refused.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

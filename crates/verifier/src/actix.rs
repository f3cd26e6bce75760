//! Extractors and a middleware for actix-web. The verifier comes from `app_data`, a [`Challenge`] too if there is one;
//! behind the middleware the claims are there already.

use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, error, web};
use serde::de::DeserializeOwned;

use crate::verifier::{ProvenTo, VerifiedBy};
use crate::{Challenge, Claims, NoOtherClaims, Refused, Rejected, Request, Requirement, Requirements, Verifier};

/// The claims of a request with a good token. Without one the handler is not called, and the answer says why.
///
/// ```
/// use actix_web::{App, web};
/// use countersign_verifier::actix::Authenticated;
/// use countersign_verifier::testing::TestIssuer;
///
/// async fn whoami(Authenticated(claims): Authenticated) -> String {
///     claims.sub
/// }
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let app = App::new().app_data(web::Data::new(issuer.verifier())).route("/whoami", web::get().to(whoami));
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated<T = NoOtherClaims>(pub Claims<T>);

/// The claims of a request with a good token, none of one without a token. A bad token is refused all the same.
///
/// ```
/// use countersign_verifier::actix::MaybeAuthenticated;
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
/// use countersign_verifier::actix::Allowed;
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

type LocalFuture<O> = Pin<Box<dyn Future<Output = O>>>;

/// What of a request `verifier` looks at.
fn presented<'r>(request: &'r HttpRequest, verifier: &Verifier) -> Request<'r> {
    let mut proven = request.extensions().get::<ProvenTo>().and_then(|known| known.proven(verifier));
    if let (None, Some(begun)) = (&proven, ProvenTo::begin(verifier)) {
        proven = begun.proven(verifier);
        request.extensions_mut().insert(begun);
    }
    let values = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    Request::new(request.method().as_str(), request.uri().path())
        .authorization(values(AUTHORIZATION))
        .dpop(values(HeaderName::from_static("dpop")))
        .proven(proven)
}

/// The claims of a request that `R` admits, or why there are none; no verifier at all is the program's own fault.
async fn admitted<R, T>(request: &HttpRequest) -> Result<Result<Claims<T>, Refusal>, Error>
where
    R: Requirement,
    T: DeserializeOwned + Clone + 'static,
{
    let bare = || request.app_data::<Verifier>().cloned();
    let verifier = request.app_data::<web::Data<Verifier>>().map(|data| data.get_ref().clone()).or_else(bare);
    // Behind the middleware it was verified already. If the application has a verifier of its own, only that one's word counts.
    let known = {
        let extensions = request.extensions();
        let ours = |by: &&VerifiedBy<T>| verifier.as_ref().is_none_or(|verifier| by.is(verifier));
        let by = extensions.get::<VerifiedBy<T>>().filter(ours);
        by.and_then(|by| extensions.get::<Claims<T>>().map(|claims| (by.verifier().clone(), claims.clone())))
    };
    let (verifier, claims) = if let Some((verifier, claims)) = known {
        (verifier, Ok(claims))
    } else {
        let verifier = verifier.ok_or_else(|| error::ErrorInternalServerError("no verifier is configured"))?;
        let claims = verifier.verify_patiently(&presented(request, &verifier)).await;
        (verifier, claims)
    };
    let admitted = claims.and_then(|claims| R::admit(&claims).map(|()| claims));
    Ok(admitted.map_err(|rejected| Refusal { verifier, rejected }))
}

/// Why a request is refused, and by whom.
struct Refusal {
    verifier: Verifier,
    rejected: Rejected,
}

impl Refusal {
    fn answer(self, request: &HttpRequest) -> Error {
        let challenge = request.app_data::<Challenge>().cloned().unwrap_or_default();
        self.verifier.refuse(&presented(request, &self.verifier), self.rejected, challenge).into()
    }
}

impl<T: DeserializeOwned + Clone + 'static> FromRequest for Authenticated<T> {
    type Error = Error;
    type Future = LocalFuture<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(
            async move { admitted::<(), T>(&request).await?.map(Self).map_err(|refusal| refusal.answer(&request)) },
        )
    }
}

impl<T: DeserializeOwned + Clone + 'static> FromRequest for MaybeAuthenticated<T> {
    type Error = Error;
    type Future = LocalFuture<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            match admitted::<(), T>(&request).await? {
                Ok(claims) => Ok(Self(Some(claims))),
                Err(Refusal { rejected: Rejected::Missing, .. }) => Ok(Self(None)),
                Err(refusal) => Err(refusal.answer(&request)),
            }
        })
    }
}

impl<R: Requirement, T: DeserializeOwned + Clone + 'static> FromRequest for Allowed<R, T> {
    type Error = Error;
    type Future = LocalFuture<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let claims = admitted::<R, T>(&request).await?.map_err(|refusal| refusal.answer(&request))?;
            Ok(Self { claims, requirement: PhantomData })
        })
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        for header in self.headers() {
            response.insert_header(header);
        }
        response.body(self.body())
    }
}

/// A middleware that answers by itself whatever has no good token.
///
/// ```
/// use actix_web::{App, web};
/// use countersign_verifier::Requirements;
/// use countersign_verifier::actix::Protect;
/// use countersign_verifier::testing::TestIssuer;
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let writers = Protect::new(issuer.verifier()).require(Requirements::new().scope("orders:write"));
/// let app = App::new().service(web::scope("/orders").wrap(writers));
/// ```
#[derive(Debug)]
pub struct Protect<T = NoOtherClaims> {
    verifier: Verifier,
    challenge: Challenge,
    requirements: Requirements,
    claims: PhantomData<fn() -> T>,
}

impl Protect {
    /// A middleware for a service without claims of its own.
    pub fn new(verifier: Verifier) -> Self {
        Self::with_claims(verifier)
    }
}

impl<T> Protect<T> {
    /// A middleware that reads the claims `T` of the service's own, too.
    ///
    /// ```
    /// # use countersign_verifier::{actix::Protect, testing::TestIssuer};
    /// #[derive(Clone, serde::Deserialize)]
    /// struct Tenant {
    ///     tenant: String,
    /// }
    ///
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let middleware = Protect::<Tenant>::with_claims(issuer.verifier());
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
    /// # use countersign_verifier::{Challenge, actix::Protect, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let middleware = Protect::new(issuer.verifier()).challenge(Challenge::new().realm("orders"));
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

impl<S, T, B> Transform<S, ServiceRequest> for Protect<T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    T: DeserializeOwned + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Protected<S, T>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(Protected { inner: Rc::new(inner), protect: self.clone() }))
    }
}

/// A service behind [`Protect`].
///
/// ```
/// fn is_public<S, T>(_: countersign_verifier::actix::Protected<S, T>) {}
/// ```
#[derive(Debug)]
pub struct Protected<S, T = NoOtherClaims> {
    inner: Rc<S>,
    protect: Protect<T>,
}

impl<S, T, B> Service<ServiceRequest> for Protected<S, T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    T: DeserializeOwned + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = LocalFuture<Result<Self::Response, Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (inner, protect) = (Rc::clone(&self.inner), self.protect.clone());
        Box::pin(async move {
            let presented = presented(request.request(), &protect.verifier);
            let outcome = protect.verifier.verify_patiently::<T>(&presented).await;
            match outcome.and_then(|claims| protect.requirements.admit(&claims).map(|()| claims)) {
                Ok(claims) => {
                    request.extensions_mut().insert(claims);
                    request.extensions_mut().insert(VerifiedBy::<T>::new(protect.verifier));
                    Ok(inner.call(request).await?.map_into_left_body())
                }
                Err(rejected) => {
                    let response = protect.verifier.refuse(&presented, rejected, protect.challenge).error_response();
                    Ok(request.into_response(response).map_into_right_body())
                }
            }
        })
    }
}

//! Which pages of other origins may read an answer (Fetch Standard §3.3): those that the client concerned registered, by name;
//! everybody's, for documents that are the same for all. Nothing is ever echoed that is not registered (RFC 9700 §2.6).

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::pages::cookies::MARK;
use super::{State, body, error, oauth};
use crate::protocol::client_credentials::ClientId;

/// What a page may send beside the usual.
static REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, DPoP");
/// The same of a page whose client has a cookie.
static WITH_COOKIE: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, DPoP, Countersign-Refresh");
/// What a page may read beside the usual.
static EXPOSED: HeaderValue = HeaderValue::from_static("WWW-Authenticate, DPoP-Nonce, Retry-After");
/// How long a browser may keep the answer to its preflight, in seconds.
static MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of the page that a request comes from; none if there are two.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(ORIGIN);
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Lets a page read the answer if the client concerned registered its origin. Whoever may not read it gets it all the same.
pub(super) fn admit(
    request: &HttpRequest,
    state: &State,
    client_id: Option<&ClientId>,
    mut answer: HttpResponse,
) -> HttpResponse {
    let headers = answer.headers_mut();
    // RFC 9110 §12.5.5: the answer differs by it, for whatever stands in between.
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let client = client_id.and_then(|id| state.app.clients.find(id)).filter(|client| client.disabled_at.is_none());
    let registered = origin(request.headers()).filter(|origin| {
        client.is_some_and(|client| client.metadata.allowed_origins.iter().any(|known| known.as_str() == *origin))
    });
    if let Some(origin) = registered.and_then(|origin| HeaderValue::from_str(origin).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED.clone());
    }
    answer
}

/// The same at an endpoint to which a client's cookie may come: if it has one, a page gets what it got by it.
pub(super) fn admit_with_cookie(
    request: &HttpRequest,
    state: &State,
    client_id: Option<&ClientId>,
    answer: HttpResponse,
) -> HttpResponse {
    let mut answer = admit(request, state, client_id, answer);
    let client = client_id.and_then(|id| state.app.clients.find(id));
    let has_cookie = client.is_some_and(|client| client.metadata.refresh_cookie);
    // Fetch Standard §3.3.5: only beside an origin that is named.
    if has_cookie && answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    answer
}

/// The question that a browser asks before a request to an endpoint that takes POST.
pub(super) async fn preflight(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    match allowed(&request, &state, "POST") {
        Some(answer) => {
            body::discard(&request, payload).await;
            answer
        }
        None => admit(&request, &state, None, oauth::method_not_allowed(request.clone(), payload, state.clone()).await),
    }
}

/// The same, before a request that a client's cookie may come with.
pub(super) async fn preflight_with_cookie(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let mut answer = preflight(request.clone(), payload, state.clone()).await;
    let allowed = answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
    let has_cookie = origin(request.headers()).is_some_and(|origin| state.app.clients.knows_cookie_origin(origin));
    if allowed && has_cookie && asks_for_mark(request.headers()) {
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, WITH_COOKIE.clone());
    }
    answer
}

/// Whether a page wants to send the header by which it means its cookie.
fn asks_for_mark(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|name| name.trim().eq_ignore_ascii_case(MARK))
}

/// The same, before a request to an endpoint that takes GET, too.
pub(super) async fn preflight_to_read(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    match allowed(&request, &state, "GET, POST") {
        Some(answer) => {
            body::discard(&request, payload).await;
            answer
        }
        None => admit(&request, &state, None, error::get_and_post(request.clone(), payload).await),
    }
}

/// The answer to a preflight from an origin that some client registered: which client asks is not known yet.
fn allowed(request: &HttpRequest, state: &State, methods: &'static str) -> Option<HttpResponse> {
    request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let origin = origin(request.headers()).filter(|origin| state.app.clients.knows_origin(origin))?;
    let mut answer = HttpResponse::NoContent();
    answer.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_str(origin).ok()?));
    answer.insert_header((ACCESS_CONTROL_ALLOW_METHODS, methods));
    answer.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS.clone()));
    answer.insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE.clone()));
    answer.insert_header((VARY, "Origin"));
    Some(answer.finish())
}

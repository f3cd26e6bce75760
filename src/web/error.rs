//! Delivering refusals: JSON of RFC 6749 §5.2 at protocol endpoints, problem details (RFC 9457) elsewhere; one log line
//! and one count for each, here at the edge.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::DPOP;
use super::{State, body, observe};
use crate::metrics::Endpoint;
use crate::oauth::possession;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::jose::Algorithm;
use crate::reason::{BearerRefusal, Reason, Refusal, RegistrationRefusal, Weight};

/// RFC 6749 §5.2.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// The error code.
    pub error: &'static str,
    /// Fixed text for developers; never echoes input, absent where it would tell too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// draft-ietf-oauth-first-party-apps §5.2.2: what the next request goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_session: Option<String>,
    /// In 5xx answers: the request's name in our log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
}

/// The answer to a refused protocol request.
pub(super) fn refuse(request: &HttpRequest, state: &State, refusal: &Refusal) -> HttpResponse {
    refuse_as(request, state, refusal, (refusal.reason.row().code, None))
}

/// The same by another error code, with what the client may go on with.
pub(super) fn refuse_as(
    request: &HttpRequest,
    state: &State,
    refusal: &Refusal,
    (code, auth_session): (ErrorCode, Option<String>),
) -> HttpResponse {
    let trace = observe::trace(request, state).to_string();
    record_at(request, state, refusal, &trace);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body_trace = status.is_server_error().then_some(trace);
    let (error, error_description) = (code.as_str(), refusal.description());
    let mut answer = json(status, &ErrorBody { error, error_description, auth_session, trace: body_trace });
    let headers = answer.headers_mut();
    let bearer = matches!(refusal.reason, Reason::Bearer(_));
    if (status == StatusCode::UNAUTHORIZED || bearer)
        && let Some(challenge) = challenge(refusal)
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    say_when(&mut answer, refusal);
    offer_nonce(request, state, &mut answer);
    answer
}

/// RFC 9449 §8: whoever proves possession of a key is told what to repeat next time.
pub(super) fn offer_nonce(request: &HttpRequest, state: &State, answer: &mut HttpResponse) {
    if !request.headers().contains_key(DPOP) {
        return;
    }
    let nonce = possession::nonce(&state.app).and_then(|nonce| HeaderValue::from_str(nonce.expose()).ok());
    if let Some(nonce) = nonce {
        answer.headers_mut().insert(HeaderName::from_static("dpop-nonce"), nonce);
    }
}

/// How to authenticate, for whoever did not.
fn challenge(refusal: &Refusal) -> Option<HeaderValue> {
    let algs = Algorithm::ALL.join(" ");
    let text = match refusal.reason {
        // RFC 6750 §3: no error code for a request without any token.
        Reason::Bearer(BearerRefusal::Missing) => format!(r#"Bearer realm="countersign", DPoP algs="{algs}""#),
        // RFC 9449 §7.1, §9.
        Reason::Bearer(BearerRefusal::Unproven | BearerRefusal::NonceWanted) => {
            let error = refusal.reason.row().code.as_str();
            format!(r#"DPoP error="{error}", algs="{algs}""#)
        }
        Reason::Registration(RegistrationRefusal::TokenMissing) => r#"Bearer realm="countersign""#.to_owned(),
        Reason::Bearer(BearerRefusal::Invalid) => r#"Bearer realm="countersign", error="invalid_token""#.to_owned(),
        Reason::Bearer(BearerRefusal::NotOpenId) => {
            r#"Bearer realm="countersign", error="insufficient_scope", scope="openid""#.to_owned()
        }
        // RFC 6749 §5.2: the scheme that the client used; RFC 7617 §2.
        Reason::Request(_)
        | Reason::Client(_)
        | Reason::Login(_)
        | Reason::Grant(_)
        | Reason::Authorize(_)
        | Reason::Code(_)
        | Reason::Device(_)
        | Reason::Challenge(_)
        | Reason::Dpop(_)
        | Reason::Exchange(_)
        | Reason::Registration(_)
        | Reason::Capacity(_) => r#"Basic realm="countersign", charset="UTF-8""#.to_owned(),
    };
    HeaderValue::from_str(&text).ok()
}

/// Says when to come back, where a refusal knows.
pub(super) fn say_when(answer: &mut HttpResponse, refusal: &Refusal) {
    if let Some(wait) = refusal.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
}

/// RFC 9110 §10.2.3: whole seconds, rounded up, so that whoever obeys does not come too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// A JSON answer of a protocol endpoint (RFC 6749 §5.1: `application/json;charset=UTF-8`).
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(body).unwrap_or_default();
    HttpResponse::build(status).content_type("application/json;charset=UTF-8").body(body)
}

/// Counts a refusal and writes it down, once.
pub(super) fn record_at(request: &HttpRequest, state: &State, refusal: &Refusal, trace: &str) {
    let endpoint = Endpoint::at(request.match_info().as_str());
    state.app.metrics.record_refusal(endpoint, refusal.reason);
    let endpoint = endpoint.path();
    let error_id = refusal.reason.id();
    let client_id = refusal.client_id.as_ref().map(ToString::to_string);
    let grant_id = refusal.grant_id.map(|id| id.to_string());
    let (client_id, grant_id) = (client_id.as_deref(), grant_id.as_deref());
    match refusal.reason.row().weight {
        Weight::Routine => tracing::debug!(trace, endpoint, error_id, client_id, grant_id, "refused"),
        Weight::Suspicious => tracing::warn!(trace, endpoint, error_id, client_id, grant_id, "refused"),
        Weight::Fault => tracing::error!(trace, endpoint, error_id, client_id, grant_id, "refused"),
    }
}

/// The answer to a request for something that is not here.
pub(super) async fn not_found(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::discard(&request, payload).await;
    problem(StatusCode::NOT_FOUND, "there is nothing here")
}

/// The answer to a method that a document does not take.
pub(super) async fn read_only(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::discard(&request, payload).await;
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// The answer to a method that an endpoint for browsers does not take.
pub(super) async fn get_and_post(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::discard(&request, payload).await;
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    answer
}

/// The answer to a method that a client's registration does not take (RFC 7592 §2).
pub(super) async fn get_put_and_delete(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::discard(&request, payload).await;
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET, PUT and DELETE");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, PUT, DELETE"));
    answer
}

/// A problem that is not the protocol's.
pub(super) fn problem(status: StatusCode, title: &'static str) -> HttpResponse {
    let body = serde_json::to_vec(&Problem { title, status: status.as_u16() }).unwrap_or_default();
    HttpResponse::build(status).content_type("application/problem+json").body(body)
}

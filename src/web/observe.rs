//! Around every request: its name in the log, its bounds, its count and time, and the headers of its answer.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use super::connection::Turn;
use super::{State, body, error, headers};
use crate::id::TraceId;
use crate::metrics::Endpoint;
use crate::reason::RequestRefusal;

/// The request's name in the log, in its extensions once somebody asked for it.
#[derive(Clone, Copy)]
struct Trace(TraceId);

/// The request's name in the log.
pub(super) fn trace(request: &HttpRequest, state: &State) -> TraceId {
    let mut extensions = request.extensions_mut();
    if let Some(Trace(known)) = extensions.get() {
        return *known;
    }
    let fresh = TraceId::new(state.app.clock.now(), &state.app.random);
    extensions.insert(Trace(fresh));
    fresh
}

/// The middleware.
pub(super) async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let turn = request.conn_data::<Turn>();
    let _running = turn.map(|turn| turn.begin(body::length(request.headers()) != Some(0)));
    let clock = &state.app.clock;
    let began = clock.monotonic();
    let endpoint = Endpoint::at(request.match_info().as_str());
    let mut response = if headers::size_of(request.head()) > headers::MAX_HEAD_BYTES {
        let answer = error::refuse(request.request(), &state, &RequestRefusal::HeadersTooLarge.into());
        request.into_response(answer).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    headers::secure(response.headers_mut(), state.app.issuer.starts_with("https:"));
    let (status, took) = (response.status().as_u16(), clock.monotonic().saturating_sub(began));
    state.app.metrics.record_answer(endpoint, status, took);
    if tracing::enabled!(tracing::Level::DEBUG) {
        let (trace, method) = (trace(response.request(), &state), response.request().method());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // RFC 9700 §4.3.2: neither path nor query, which may hold what they should not; the endpoint's name is ours.
        tracing::debug!(%trace, %method, endpoint = endpoint.path(), status, took_ms, "answered");
    }
    Ok(response)
}

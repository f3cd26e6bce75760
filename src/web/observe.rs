//! Around every request: its name in the log, its bounds, its count and time, and the headers of its answer.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use super::{State, error, headers};
use crate::id::TraceId;
use crate::reason::{Refusal, RequestRefusal};

/// The request's name in the log, in its extensions.
#[derive(Clone, Copy)]
pub(super) struct Trace(pub(super) TraceId);

/// The middleware.
pub(super) async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let clock = &state.app.clock;
    let (began, trace) = (clock.monotonic(), TraceId::new(clock.now(), &state.app.random));
    request.extensions_mut().insert(Trace(trace));
    let endpoint = request.match_pattern().unwrap_or_else(|| "other".to_owned());
    let method = request.method().clone();
    let mut response = if headers::size_of(request.head()) > headers::MAX_HEAD_BYTES {
        let refusal = Refusal::from(RequestRefusal::HeadersTooLarge);
        let answer = error::refuse(request.request(), &state, "other", &refusal);
        request.into_response(answer).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    headers::secure(response.headers_mut(), state.app.issuer.starts_with("https:"));
    let (status, took) = (response.status().as_u16(), clock.monotonic().saturating_sub(began));
    state.app.metrics.record_answer(&endpoint, status, took);
    // RFC 9700 §4.3.2: neither path nor query, which may hold what they should not; the pattern is ours.
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(%trace, %method, endpoint, status, took_ms, "answered");
    Ok(response)
}

//! The endpoints of clients that register themselves: decode, one hop, deliver.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::oauth::hop;
use super::{State, body, error, extract};
use crate::oauth::RequestContext;
use crate::oauth::register::{self, RegistrationCall};
use crate::protocol::client_metadata::ClientMetadataJson;
use crate::protocol::registration_response::RegistrationResponse;
use crate::reason::Refusal;

/// Registers a client (RFC 7591 §3, OpenID Connect Dynamic Client Registration §3). Only where `registration.mode` lets them.
#[utoipa::path(post, path = "/register", tag = "registration",
    request_body(content = ClientMetadataJson, content_type = "application/json", description = "Client metadata. `grant_types` left out is `authorization_code`; `scope` and `audiences` left out are all that the operator allows"),
    responses(
        (status = 201, description = "Registered (RFC 7591 §3.2.1): what with, `client_id`, `client_secret`, `registration_access_token`", body = Object),
        (status = 400, description = "`invalid_redirect_uri` or `invalid_client_metadata`", body = error::ErrorBody),
        (status = 401, description = "No good initial access token", body = error::ErrorBody),
        (status = 404, description = "Clients do not register themselves here"),
        (status = 429, description = "Too many: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy, or as many as may be are registered", body = error::ErrorBody)))]
pub(super) async fn register(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let work = |state: &State, call: &RegistrationCall, context: &RequestContext| {
        register::register(&state.app, call, context)
    };
    answer(&request, &state, StatusCode::CREATED, on_token_lane(&request, payload, &state, work).await)
}

/// What a client is registered with (RFC 7592 §2.1).
#[utoipa::path(get, path = "/register/{client_id}", tag = "registration",
    params(("client_id" = String, Path, description = "The client")),
    responses(
        (status = 200, description = "What it is registered with (RFC 7592 §3), without its secret", body = Object),
        (status = 401, description = "Not with the registration access token of this client", body = error::ErrorBody)))]
pub(super) async fn show(request: HttpRequest, id: Path<String>, payload: Payload, state: Data<State>) -> HttpResponse {
    let work = move |state: &State, call: &RegistrationCall, _: &RequestContext| register::show(&state.app, &id, call);
    answer(&request, &state, StatusCode::OK, on_token_lane(&request, payload, &state, work).await)
}

/// Registers a client otherwise (RFC 7592 §2.2).
#[utoipa::path(put, path = "/register/{client_id}", tag = "registration",
    params(("client_id" = String, Path, description = "The client")),
    request_body(content = ClientMetadataJson, content_type = "application/json", description = "All of its metadata with its `client_id`; a `client_secret`, if there is one, must be its own"),
    responses(
        (status = 200, description = "What it is registered with now; a `client_secret` if it needs one and had none", body = Object),
        (status = 400, description = "`invalid_redirect_uri` or `invalid_client_metadata`", body = error::ErrorBody),
        (status = 401, description = "Not with the registration access token of this client", body = error::ErrorBody)))]
pub(super) async fn replace(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let work = move |state: &State, call: &RegistrationCall, context: &RequestContext| {
        register::replace(&state.app, &id, call, context)
    };
    answer(&request, &state, StatusCode::OK, on_token_lane(&request, payload, &state, work).await)
}

/// Ends a registration (RFC 7592 §2.3).
#[utoipa::path(delete, path = "/register/{client_id}", tag = "registration",
    params(("client_id" = String, Path, description = "The client")),
    responses(
        (status = 204, description = "Over for good, with whatever the client was granted"),
        (status = 401, description = "Not with the registration access token of this client", body = error::ErrorBody)))]
pub(super) async fn remove(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let work = move |state: &State, call: &RegistrationCall, context: &RequestContext| {
        register::remove(&state.app, &id, call, context)
    };
    match on_token_lane(&request, payload, &state, work).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(refusal) => error::refuse(&request, &state, &refusal),
    }
}

async fn on_token_lane<T: Send + 'static>(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    work: impl FnOnce(&State, &RegistrationCall, &RequestContext) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let context = extract::context(request, state);
    let body = body::read(request, payload).await?.to_vec();
    let headers = request.headers();
    let call = RegistrationCall {
        authorization: extract::authorization(headers)?.map(<[u8]>::to_vec),
        content_type: extract::content_type(headers).map(str::to_owned),
        body,
    };
    let inner = Data::clone(state);
    hop(request, state, &state.lanes.token, move |()| work(&inner, &call, &context)).await
}

fn answer(
    request: &HttpRequest,
    state: &State,
    status: StatusCode,
    outcome: Result<RegistrationResponse, Refusal>,
) -> HttpResponse {
    let response = match outcome {
        Ok(response) => response,
        Err(refusal) => return error::refuse(request, state, &refusal),
    };
    let mut answer = error::json(status, &response);
    // RFC 9110 §15.3.2: where what was made is.
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::from_str(&response.registration_client_uri)
    {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

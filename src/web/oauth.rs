//! The protocol endpoints: body, client address, one hop, answer.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::openapi::parameters;
use super::pages::cookies;
use super::{State, body, cors, error, extract, observe};
use crate::lane::Lane;
use crate::oauth::authorize_challenge::{ChallengeCall, Challenged, challenge};
use crate::oauth::device;
use crate::oauth::introspect::introspect;
use crate::oauth::pushed_request::{PushCall, push};
use crate::oauth::refresh_cookie::{Cookie, Page};
use crate::oauth::revoke::revoke;
use crate::oauth::token::{LaneKind, TokenCall, exchange};
use crate::oauth::userinfo::{UserInfo, userinfo};
use crate::oauth::{PresentedToken, RequestContext};
use crate::password_hash::HashMemory;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::device_authorization::{DeviceAuthorizationRequest, DeviceAuthorizationResponse};
use crate::protocol::token_response::{
    AuthorizationChallengeResponse, IntrospectionResponse, PushedResponse, TokenResponse,
};
use crate::reason::{CapacityRefusal, Refusal, RequestRefusal};

/// Exchanges a code, credentials or a refresh token for tokens (RFC 6749 §3.2).
#[utoipa::path(post, path = "/token", tag = "oauth", params(parameters::ProofHeader, parameters::CookieHeader),
    request_body(content = parameters::TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens (RFC 6749 §5.1)", body = TokenResponse),
        (status = 400, description = "Refused (RFC 6749 §5.2)", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 429, description = "Too many attempts: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy or a part is away: Retry-After says when", body = error::ErrorBody)))]
pub(super) async fn token(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let mut client_id = None;
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let headers = request.headers();
        let call = TokenCall::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
        let app = state.app.clone();
        let page = cookies::page(&request, &app, call.client_id());
        client_id = Some(call.client_id().clone());
        let call = call.from_page(page);
        match call.lane(&app, &context) {
            LaneKind::Here => {
                span(&request, &state).in_scope(|| exchange(&app, call, &context, &mut HashMemory::default()))
            }
            LaneKind::Token => {
                let work = move |(): &mut ()| exchange(&app, call, &context, &mut HashMemory::default());
                hop(&request, &state, &state.lanes.token, work).await
            }
            LaneKind::Hash => {
                let work = move |memory: &mut HashMemory| exchange(&app, call, &context, memory);
                hop(&request, &state, &state.lanes.hash, work).await
            }
        }
    };
    let (tokens, cookie) =
        outcome.await.map_or_else(|refusal| (Err(refusal), None), |(ok, cookie)| (Ok(ok), Some(cookie)));
    let answer = with_cookie(&state, client_id.as_ref(), cookie.as_ref(), answer(&request, &state, tokens));
    cors::admit_with_cookie(&request, &state, client_id.as_ref(), answer)
}

/// An answer that sets or clears a client's cookie.
fn with_cookie(
    state: &State,
    client_id: Option<&ClientId>,
    cookie: Option<&Cookie>,
    mut answer: HttpResponse,
) -> HttpResponse {
    let cookie = client_id.zip(cookie).and_then(|(client_id, cookie)| cookies::refresh(&state.app, client_id, cookie));
    if let Some(cookie) = cookie {
        // A cookie that cannot be written is not there, and the next refresh says so.
        let _ = answer.add_cookie(&cookie);
    }
    answer
}

/// Gives a first-party app a code for what a person told it (draft-ietf-oauth-first-party-apps §5).
#[utoipa::path(post, path = "/authorize-challenge", tag = "oauth", params(parameters::ProofHeader),
    request_body(content = parameters::ChallengeForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A code", body = AuthorizationChallengeResponse),
        (status = 400, description = "Refused, or there is more to ask the person: `insufficient_authorization`", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 429, description = "Too many attempts: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy or a part is away: Retry-After says when", body = error::ErrorBody)))]
pub(super) async fn authorization_challenge(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let context = extract::context(&request, &state);
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let headers = request.headers();
        let call = ChallengeCall::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
        let app = state.app.clone();
        if call.wants_hash(&app) {
            let work = move |memory: &mut HashMemory| challenge(&app, call, &context, memory);
            return hop(&request, &state, &state.lanes.hash, work).await;
        }
        let work = move |(): &mut ()| challenge(&app, call, &context, &mut HashMemory::default());
        hop(&request, &state, &state.lanes.token, work).await
    };
    match outcome.await {
        Ok(Challenged::Code(authorization_code)) => {
            answer(&request, &state, Ok(AuthorizationChallengeResponse { authorization_code }))
        }
        Ok(Challenged::Refused { refusal, error, auth_session }) => {
            error::refuse_as(&request, &state, &refusal, (error, auth_session))
        }
        Err(refusal) => error::refuse(&request, &state, &refusal),
    }
}

/// Lets a device without a browser begin (RFC 8628 §3.1).
#[utoipa::path(post, path = "/device_authorization", tag = "oauth",
    request_body(content = parameters::DeviceForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Codes for the device and for the person (RFC 8628 §3.2)", body = DeviceAuthorizationResponse),
        (status = 400, description = "Refused (RFC 6749 §5.2)", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 429, description = "Too many devices: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy or a part is away: Retry-After says when", body = error::ErrorBody)))]
pub(super) async fn device_authorization(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let mut client_id = None;
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let headers = request.headers();
        let authorization = extract::authorization(headers)?;
        let asked = DeviceAuthorizationRequest::parse(extract::content_type(headers), authorization, &body)?;
        client_id = Some(asked.presented.client_id.clone());
        let app = state.app.clone();
        hop(&request, &state, &state.lanes.token, move |()| device::begin(&app, &asked, &context)).await
    };
    let answer = answer(&request, &state, outcome.await);
    cors::admit(&request, &state, client_id.as_ref(), answer)
}

/// Ends the grant behind a token (RFC 7009 §2).
#[utoipa::path(post, path = "/revoke", tag = "oauth", params(parameters::CookieHeader),
    request_body(content = parameters::RevocationForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Revoked, or nothing to revoke"),
        (status = 400, description = "Refused", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 503, description = "Not revoked: try again", body = error::ErrorBody)))]
pub(super) async fn revocation(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let work = |state: &State, (call, page): (&PresentedToken, &Page), context: &RequestContext| {
        revoke(&state.app, call, page, context)
    };
    let (client_id, outcome) = on_token_lane(&request, payload, &state, work).await;
    let answer = match outcome {
        Ok(cookie) => with_cookie(&state, client_id.as_ref(), Some(&cookie), HttpResponse::Ok().finish()),
        Err(refusal) => error::refuse(&request, &state, &refusal),
    };
    cors::admit_with_cookie(&request, &state, client_id.as_ref(), answer)
}

/// Says whether a token may be relied on (RFC 7662 §2).
#[utoipa::path(post, path = "/introspect", tag = "oauth",
    request_body(content = parameters::IntrospectionForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Active or not", body = IntrospectionResponse),
        (status = 400, description = "Refused", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 503, description = "No answer now", body = error::ErrorBody)))]
pub(super) async fn introspection(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    // No page of another origin reads this: introspection is for services.
    let work = |state: &State, (call, _): (&PresentedToken, &Page), context: &RequestContext| {
        introspect(&state.app, call, context)
    };
    let (_, outcome) = on_token_lane(&request, payload, &state, work).await;
    answer(&request, &state, outcome)
}

/// Says who is behind an access token (OpenID Connect Core §5.3).
#[utoipa::path(get, path = "/userinfo", tag = "oauth", params(parameters::ProofHeader),
    responses(
        (status = 200, description = "Claims of the account, as far as the scope allows", body = Object),
        (status = 401, description = "The access token is missing or not valid (RFC 6750 §3.1)", body = error::ErrorBody),
        (status = 403, description = "The access token does not have the scope openid", body = error::ErrorBody),
        (status = 503, description = "No answer now", body = error::ErrorBody)))]
pub(super) async fn user_information(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    body::discard(&request, payload).await;
    let outcome = async {
        let authorization = extract::authorization(request.headers())?.map(<[u8]>::to_vec);
        let (app, context) = (state.app.clone(), extract::context(&request, &state));
        let method = request.method().as_str().to_owned();
        let work = move |(): &mut ()| userinfo(&app, &method, authorization.as_deref(), &context);
        hop(&request, &state, &state.lanes.token, work).await
    };
    let (client_id, mut answer) = match outcome.await {
        Ok((client_id, UserInfo::Plain(claims))) => (Some(client_id), error::json(StatusCode::OK, &claims)),
        Ok((client_id, UserInfo::Signed(jwt))) => {
            (Some(client_id), HttpResponse::Ok().content_type("application/jwt").body(jwt))
        }
        Err(refusal) => (refusal.client_id.clone(), error::refuse(&request, &state, &refusal)),
    };
    error::offer_nonce(&request, &state, &mut answer);
    cors::admit(&request, &state, client_id.as_ref(), answer)
}

/// Takes an authorization request beforehand (RFC 9126 §2).
#[utoipa::path(post, path = "/par", tag = "oauth", params(parameters::ProofHeader),
    request_body(content = parameters::PushForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 201, description = "What the browser brings (RFC 9126 §2.2)", body = PushedResponse),
        (status = 400, description = "Refused, as the authorization endpoint would", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 429, description = "Too many requests: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy or a part is away: Retry-After says when", body = error::ErrorBody)))]
pub(super) async fn pushed_request(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let mut client_id = None;
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let headers = request.headers();
        let call = PushCall::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
        client_id = Some(call.client_id().clone());
        let app = state.app.clone();
        hop(&request, &state, &state.lanes.token, move |()| push(&app, call, &context)).await
    };
    let mut answer = answer(&request, &state, outcome.await);
    if answer.status() == StatusCode::OK {
        // RFC 9126 §2.2.
        *answer.status_mut() = StatusCode::CREATED;
    }
    cors::admit(&request, &state, client_id.as_ref(), answer)
}

/// The answer to a method that a protocol endpoint does not take (RFC 6749 §3.2).
pub(super) async fn method_not_allowed(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    body::discard(&request, payload).await;
    error::refuse(&request, &state, &RequestRefusal::MethodNotAllowed.into())
}

fn answer(request: &HttpRequest, state: &State, outcome: Result<impl Serialize, Refusal>) -> HttpResponse {
    match outcome {
        // RFC 6749 §5.1: no-store, which every answer of ours has unless it says otherwise.
        Ok(body) => {
            let mut answer = error::json(StatusCode::OK, &body);
            error::offer_nonce(request, state, &mut answer);
            answer
        }
        Err(refusal) => error::refuse(request, state, &refusal),
    }
}

/// Reads a request about one token and does its work on the token lane; says who presented it, too.
async fn on_token_lane<T: Send + 'static>(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    work: impl Fn(&State, (&PresentedToken, &Page), &RequestContext) -> Result<T, Refusal> + Send + 'static,
) -> (Option<ClientId>, Result<T, Refusal>) {
    let context = extract::context(request, state);
    let mut client_id = None;
    let outcome = async {
        let body = body::read(request, payload).await?;
        let headers = request.headers();
        let call = PresentedToken::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
        client_id = Some(call.client_id().clone());
        let page = cookies::page(request, &state.app, call.client_id());
        let inner = Data::clone(state);
        hop(request, state, &state.lanes.token, move |()| work(&inner, (&call, &page), &context)).await
    };
    let outcome = outcome.await;
    (client_id, outcome)
}

/// One hop to a lane. The work is not cancelled with its asker: it is one transaction, made or not.
pub(super) async fn hop<S: Send + 'static, T: Send + 'static>(
    request: &HttpRequest,
    state: &State,
    lane: &Lane<S>,
    work: impl FnOnce(&mut S) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let span = span(request, state);
    let mut ticket = lane.submit(move |thread: &mut S| span.in_scope(|| work(thread)))?;
    let mut answered = tokio::time::timeout(ticket.longest_wait, &mut ticket.answered).await;
    if answered.is_err() && !ticket.give_up() {
        let rest = extract::REQUEST_DEADLINE.saturating_sub(ticket.longest_wait);
        answered = tokio::time::timeout(rest, &mut ticket.answered).await;
    }
    match answered {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(CapacityRefusal::Defect.into()),
        Err(_) => Err(CapacityRefusal::DeadlinePassed.into()),
    }
}

/// What every log line of a request's work carries.
fn span(request: &HttpRequest, state: &State) -> tracing::Span {
    let trace = observe::trace(request, state);
    tracing::error_span!("request", %trace)
}

//! The protocol endpoints: body, client address, one hop, answer.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{State, body, error, extract, observe};
use crate::lane::Lane;
use crate::oauth::introspect::introspect;
use crate::oauth::revoke::revoke;
use crate::oauth::token::{LaneKind, TokenCall, exchange};
use crate::oauth::userinfo::userinfo;
use crate::oauth::{PresentedToken, RequestContext};
use crate::password_hash::HashMemory;
use crate::protocol::token_response::{IntrospectionResponse, TokenResponse};
use crate::reason::{CapacityRefusal, Refusal, RequestRefusal};

/// The form of a token request, for the documentation; the reader is [`TokenCall::parse`].
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct TokenForm {
    /// `authorization_code`, `password`, `client_credentials` or `refresh_token`.
    grant_type: String,
    /// With `none` or `client_secret_post`.
    client_id: Option<String>,
    /// With `client_secret_post`.
    client_secret: Option<String>,
    /// With `password`: an e-mail address or a user name.
    username: Option<String>,
    /// With `password`.
    password: Option<String>,
    /// With `authorization_code`.
    code: Option<String>,
    /// With `authorization_code`: what fits the request's `code_challenge` (RFC 7636 §4.5).
    code_verifier: Option<String>,
    /// With `authorization_code`: where the code was sent.
    redirect_uri: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    /// With `refresh_token`, 16 to 128 visible characters: the same for every repeat of one refresh, so that a repeat
    /// is known as such even after the leeway.
    refresh_attempt: Option<String>,
    /// Space-delimited; less than all that is allowed.
    scope: Option<String>,
    /// RFC 8707; may be repeated.
    resource: Option<Vec<String>>,
}

/// The form of revocation and introspection, for the documentation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct TokenParameterForm {
    /// A refresh token or an access token.
    token: String,
    /// Taken and not needed.
    token_type_hint: Option<String>,
    /// With `none` or `client_secret_post`.
    client_id: Option<String>,
    /// With `client_secret_post`.
    client_secret: Option<String>,
}

/// Exchanges a code, credentials or a refresh token for tokens (RFC 6749 §3.2).
#[utoipa::path(post, path = "/token", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens (RFC 6749 §5.1)", body = TokenResponse),
        (status = 400, description = "Refused (RFC 6749 §5.2)", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 429, description = "Too many attempts: Retry-After says when", body = error::ErrorBody),
        (status = 503, description = "Busy or a part is away: Retry-After says when", body = error::ErrorBody)))]
pub(super) async fn token(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let headers = request.headers();
        let call = TokenCall::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
        let app = state.app.clone();
        match call.lane(&app) {
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
    answer(&request, &state, outcome.await)
}

/// Ends the grant behind a token (RFC 7009 §2).
#[utoipa::path(post, path = "/revoke", tag = "oauth",
    request_body(content = TokenParameterForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Revoked, or nothing to revoke"),
        (status = 400, description = "Refused", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 503, description = "Not revoked: try again", body = error::ErrorBody)))]
pub(super) async fn revocation(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let outcome = on_token_lane(&request, payload, &state, |state, call, context| revoke(&state.app, call, context));
    match outcome.await {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(refusal) => error::refuse(&request, &state, &refusal),
    }
}

/// Says whether a token may be relied on (RFC 7662 §2).
#[utoipa::path(post, path = "/introspect", tag = "oauth",
    request_body(content = TokenParameterForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Active or not", body = IntrospectionResponse),
        (status = 400, description = "Refused", body = error::ErrorBody),
        (status = 401, description = "Client authentication in the Authorization header failed", body = error::ErrorBody),
        (status = 503, description = "No answer now", body = error::ErrorBody)))]
pub(super) async fn introspection(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let outcome = on_token_lane(&request, payload, &state, |state, call, _| introspect(&state.app, call));
    answer(&request, &state, outcome.await)
}

/// Says who is behind an access token (OpenID Connect Core §5.3).
#[utoipa::path(get, path = "/userinfo", tag = "oauth",
    responses(
        (status = 200, description = "Claims of the account, as far as the scope allows", body = Object),
        (status = 401, description = "The access token is missing or not valid (RFC 6750 §3.1)", body = error::ErrorBody),
        (status = 403, description = "The access token does not have the scope openid", body = error::ErrorBody),
        (status = 503, description = "No answer now", body = error::ErrorBody)))]
pub(super) async fn user_information(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    body::discard(&request, payload).await;
    let outcome = async {
        let authorization = extract::authorization(request.headers())?.map(<[u8]>::to_vec);
        let app = state.app.clone();
        hop(&request, &state, &state.lanes.token, move |()| userinfo(&app, authorization.as_deref())).await
    };
    answer(&request, &state, outcome.await)
}

/// The answer to a method that a protocol endpoint does not take (RFC 6749 §3.2).
pub(super) async fn method_not_allowed(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    body::discard(&request, payload).await;
    error::refuse(&request, &state, &RequestRefusal::MethodNotAllowed.into())
}

fn answer(request: &HttpRequest, state: &State, outcome: Result<impl Serialize, Refusal>) -> HttpResponse {
    match outcome {
        // RFC 6749 §5.1: no-store, which every answer of ours has unless it says otherwise.
        Ok(body) => error::json(actix_web::http::StatusCode::OK, &body),
        Err(refusal) => error::refuse(request, state, &refusal),
    }
}

/// Reads a request about one token and does its work on the token lane.
async fn on_token_lane<T: Send + 'static>(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    work: impl Fn(&State, &PresentedToken, &RequestContext) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let context = extract::context(request, state);
    let body = body::read(request, payload).await?;
    let headers = request.headers();
    let call = PresentedToken::parse(extract::content_type(headers), extract::authorization(headers)?, &body)?;
    let inner = Data::clone(state);
    hop(request, state, &state.lanes.token, move |()| work(&inner, &call, &context)).await
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

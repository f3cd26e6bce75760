//! What people see: rendered here, complete without scripts, under a policy that lets nothing else in (CSP Level 3).

pub(super) mod account;
pub(super) mod assets;
pub(super) mod authorize;
mod cookies;
mod forms;
pub(super) mod logout;
mod texts;

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use cookies::Kind;

use super::oauth::hop;
use super::{State, error, observe};
use crate::app::App;
use crate::identity::browser::Visitor;
use crate::reason::{AuthorizeRefusal, CapacityRefusal, Reason, Refusal};
use texts::Texts;

/// A page. `form_action` is where its form may end beside here.
fn page(status: StatusCode, template: &impl Template, form_action: &str) -> HttpResponse {
    page_with_frames(status, template, form_action, "'none'")
}

/// A page with frames of these sources.
fn page_with_frames(
    status: StatusCode,
    template: &impl Template,
    form_action: &str,
    frame_sources: &str,
) -> HttpResponse {
    let Ok(body) = template.render() else { return HttpResponse::InternalServerError().finish() };
    let policy = format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self' {form_action}; \
         frame-src {frame_sources}; frame-ancestors 'none'; base-uri 'none'"
    );
    let mut answer = HttpResponse::build(status);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.insert_header((CONTENT_SECURITY_POLICY, policy));
    }
    // A browser that is to tell nobody where it comes from says "null" for its own pages' origin, too.
    answer.insert_header((REFERRER_POLICY, "same-origin"));
    answer.content_type("text/html; charset=utf-8").body(body)
}

/// RFC 9700 §4.12: 303, so that no browser posts again what a person typed.
fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// Works on the token lane, and says which browser cookie must be set first, if one must.
async fn on_token_lane<T: Send + 'static>(
    request: &HttpRequest,
    state: &Data<State>,
    work: impl FnOnce(&App, &Visitor) -> Result<T, Refusal> + Send + 'static,
) -> Result<(T, Option<Cookie<'static>>), Refusal> {
    let (visitor, was_here) = cookies::visitor(request, &state.app);
    let fresh = (!was_here).then(|| cookies::cookie(&state.app, Kind::Browser, visitor.browser.cookie()));
    let app = state.app.clone();
    let done = hop(request, state, &state.lanes.token, move |()| work(&app, &visitor)).await?;
    Ok((done, fresh))
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'a> {
    texts: &'a Texts,
    explanation: &'a str,
    error_id: &'a str,
    trace: Option<String>,
}

/// The page of a refusal that no client may be told of.
fn refused(request: &HttpRequest, state: &State, refusal: &Refusal) -> HttpResponse {
    let texts = texts::of(request, &[]);
    let trace = observe::trace(request, state).to_string();
    error::record_at(request, state, refusal, &trace);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let shown = RefusedPage {
        texts,
        explanation: explanation(texts, refusal.reason),
        error_id: refusal.reason.id(),
        trace: status.is_server_error().then_some(trace),
    };
    let mut answer = page(status, &shown, "");
    error::say_when(&mut answer, refusal);
    answer
}

/// What a person is told; the developer finds the rest by its `error_id` in `docs/ERRORS.md`.
fn explanation(texts: &Texts, reason: Reason) -> &str {
    match reason {
        Reason::Authorize(AuthorizeRefusal::StepUnknown | AuthorizeRefusal::CrossSite) => texts.step_over,
        Reason::Capacity(CapacityRefusal::TooManyWait) => texts.wait,
        Reason::Capacity(_) => texts.busy,
        Reason::Request(_)
        | Reason::Client(_)
        | Reason::Login(_)
        | Reason::Grant(_)
        | Reason::Authorize(_)
        | Reason::Code(_)
        | Reason::Bearer(_) => texts.application_at_fault,
    }
}

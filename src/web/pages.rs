//! What people see: rendered here, complete without scripts, under a policy that lets nothing else in (CSP Level 3).

pub(super) mod account;
pub(super) mod assets;
pub(super) mod authorize;
pub(super) mod cookies;
pub(super) mod device;
mod forms;
mod look;
pub(super) mod logout;
mod texts;

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY};
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use askama::Template;

use cookies::Kind;
pub(super) use look::Look;

use super::oauth::hop;
use super::{State, error, extract, observe};
use crate::app::App;
use crate::identity::browser::Visitor;
use crate::identity::remembered::{self, Memory, Restored};
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

/// Works on the token lane, for whoever is logged in or remembered, and says which cookies must be set with the answer.
async fn on_token_lane<T: Send + 'static>(
    request: &HttpRequest,
    state: &Data<State>,
    work: impl FnOnce(&App, &Visitor) -> Result<T, Refusal> + Send + 'static,
) -> Result<(T, Vec<Cookie<'static>>), Refusal> {
    let (mut visitor, was_here) = cookies::visitor(request, &state.app);
    let mut set = Vec::new();
    if !was_here {
        set.push(cookies::cookie(&state.app, Kind::Browser, visitor.browser.cookie()));
    }
    let (app, deadline) = (state.app.clone(), extract::context(request, state).deadline);
    let (done, restored) = hop(request, state, &state.lanes.token, move |()| {
        let restored = remembered::restore(&app, &mut visitor, &deadline)?;
        Ok((work(&app, &visitor), restored))
    })
    .await?;
    match restored {
        Restored::Nothing => {}
        Restored::Forget => set.push(cookies::removal(&state.app, Kind::Remembered)),
        Restored::LoggedIn { session, remembered } => {
            set.extend(cookies::log_in(&state.app, &session, &Memory::Set(remembered)));
        }
    }
    if done.is_err() {
        request.extensions_mut().insert(Unsent(std::mem::take(&mut set)));
    }
    Ok((done?, set))
}

/// Cookies of a request that was then refused: a secret that was moved on goes to the browser whatever came of the rest.
struct Unsent(Vec<Cookie<'static>>);

fn add_cookies(answer: &mut HttpResponse, set: &[Cookie<'static>]) {
    for cookie in set {
        // A cookie that cannot be written is not there, and the next step says so.
        let _ = answer.add_cookie(cookie);
    }
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
    let texts = texts::of(request, &refusal.ui_locales);
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
    if let Some(Unsent(set)) = request.extensions_mut().remove() {
        add_cookies(&mut answer, &set);
    }
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
        | Reason::Device(_)
        | Reason::Challenge(_)
        | Reason::Dpop(_)
        | Reason::Exchange(_)
        | Reason::Registration(_)
        | Reason::Bearer(_) => texts.application_at_fault,
    }
}

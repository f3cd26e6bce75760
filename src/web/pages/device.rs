//! The page on which a person types the code that a device shows (RFC 8628 §3.3), and the one that says what came of it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::authorize::deliver;
use super::texts::{self, Texts};
use super::{add_cookies, forms, on_token_lane, page, refused};
use crate::oauth::authorize::Answered;
use crate::oauth::device;
use crate::protocol::params::Params;
use crate::protocol::user_code::UserCode;
use crate::reason::{CapacityRefusal, DeviceRefusal, Reason, Refusal};
use crate::web::{State, error, extract, observe};

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage<'a> {
    texts: &'a Texts,
    form_token: &'a str,
    user_code: &'a str,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "device_answered.html")]
struct AnsweredPage<'a> {
    texts: &'a Texts,
    title: &'a str,
    explanation: &'a str,
}

/// The page, filled in with the code of `verification_uri_complete` (RFC 8628 §3.3.1); the person still sends it off.
#[utoipa::path(get, path = "/device", tag = "oauth",
    params(("user_code" = Option<String>, Query, description = "The code that the page begins with")),
    responses((status = 200, description = "A page to type a device's code into")))]
pub(in crate::web) async fn device_page(request: HttpRequest, state: Data<State>) -> HttpResponse {
    let filled_in = || {
        let params = Params::parse_query(request.query_string().as_bytes()).ok()?;
        UserCode::parse(params.find("user_code")?)
    };
    let filled_in = filled_in().map(|user_code| user_code.to_string()).unwrap_or_default();
    ask(&request, &state, &filled_in, None).await
}

/// Takes the code that a person typed.
pub(in crate::web) async fn device_code(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let typed = match forms::read(&request, payload).await.and_then(|params| {
        forms::refuse_cross_site(&request, &state.app)?;
        params.refuse_repeated()?;
        let text = |name| params.find(name).unwrap_or_default().to_owned();
        Ok((text("user_code"), text("form_token")))
    }) {
        Ok(typed) => typed,
        Err(refusal) => return refused(&request, &state, &refusal),
    };
    let (user_code, form_token) = typed.clone();
    let work =
        move |app: &crate::app::App, visitor: &_| device::enter(app, (&user_code, &form_token), visitor, &context);
    match on_token_lane(&request, &state, work).await {
        Err(refusal) if is_told_there(&refusal) => ask(&request, &state, &typed.0, Some(&refusal)).await,
        outcome => deliver(&request, &state, outcome),
    }
}

/// Whether the person may try again on the same page.
fn is_told_there(refusal: &Refusal) -> bool {
    refusal.reason == Reason::Device(DeviceRefusal::UnknownUserCode)
        || refusal.reason == Reason::Capacity(CapacityRefusal::TooManyWait)
}

async fn ask(request: &HttpRequest, state: &Data<State>, user_code: &str, refusal: Option<&Refusal>) -> HttpResponse {
    let (form_token, set) = match on_token_lane(request, state, device::form_token).await {
        Ok(done) => done,
        Err(refusal) => return refused(request, state, &refusal),
    };
    let texts = texts::of(request, &[]);
    let problem = refusal.map(|refusal| if refusal.status() == 429 { texts.wait } else { texts.unknown_device_code });
    let status = refusal.and_then(|refusal| StatusCode::from_u16(refusal.status()).ok()).unwrap_or(StatusCode::OK);
    let mut answer = page(status, &DevicePage { texts, form_token: &form_token, user_code, problem }, "");
    if let Some(refusal) = refusal {
        error::record_at(request, state, refusal, &observe::trace(request, state).to_string());
        error::say_when(&mut answer, refusal);
    }
    add_cookies(&mut answer, &set);
    answer
}

/// What a person is told who has answered: there is nothing more to do here.
pub(super) fn answered(request: &HttpRequest, answered: Answered) -> HttpResponse {
    let texts = texts::of(request, &[]);
    let (title, explanation) = match answered {
        Answered::Allowed => (texts.device_allowed, texts.back_to_device),
        Answered::Denied => (texts.device_denied, texts.nothing_let_in),
    };
    page(StatusCode::OK, &AnsweredPage { texts, title, explanation }, "")
}

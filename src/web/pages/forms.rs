//! What a page's own form sends, and whether it was sent from here.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, ORIGIN};
use actix_web::web::Payload;

use crate::app::App;
use crate::oauth::authorize::steps::{LogInForm, StepForm};
use crate::protocol::params::Params;
use crate::protocol::token_request::Credentials;
use crate::reason::{AuthorizeRefusal, Refusal};
use crate::web::{body, extract};

/// Reads a form; what is in it twice is noted and not refused yet.
pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Params, Refusal> {
    let body = body::read(request, payload).await?;
    Params::parse_form(extract::content_type(request.headers()), &body)
}

/// ASVS 3.5.1, OWASP CSRF: a form that another site's page sends does nothing, whatever else it holds.
pub(super) fn refuse_cross_site(request: &HttpRequest, app: &App) -> Result<(), Refusal> {
    let ours = match text(request.headers(), "sec-fetch-site") {
        Some(site) => site == "same-origin",
        // Browsers that do not say where a request comes from say which origin sends it.
        None => text(request.headers(), ORIGIN.as_str()) == Some(&app.issuer),
    };
    if ours { Ok(()) } else { Err(AuthorizeRefusal::CrossSite.into()) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The name of the waiting request in a page's query.
pub(super) fn request_of(query: &str) -> Result<String, Refusal> {
    let params = Params::parse_query(query.as_bytes())?;
    params.refuse_repeated()?;
    Ok(params.find("request").ok_or(AuthorizeRefusal::StepUnknown)?.to_owned())
}

/// Whether a page's query has that parameter.
pub(super) fn has(query: &str, name: &str) -> bool {
    Params::parse_query(query.as_bytes()).is_ok_and(|params| params.find(name).is_some())
}

/// The form of a step.
pub(super) fn step(params: &Params) -> Result<StepForm, Refusal> {
    params.refuse_repeated()?;
    Ok(StepForm {
        request: params.find("request").ok_or(AuthorizeRefusal::StepUnknown)?.to_owned(),
        form_token: params.find("form_token").unwrap_or_default().to_owned(),
    })
}

/// The log-in form.
pub(super) fn log_in(params: &Params) -> Result<LogInForm, Refusal> {
    Ok(LogInForm {
        step: step(params)?,
        credentials: Credentials::parse(params)?,
        remember: params.find("remember") == Some("yes"),
    })
}

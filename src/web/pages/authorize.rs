//! The authorization endpoint and its pages: decode, one hop, deliver.

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::cookies;
use super::texts::{self, Texts};
use super::{add_cookies, device, forms, on_token_lane, page, refused, see_other};
use crate::app::App;
use crate::identity::browser::Visitor;
use crate::oauth::RequestContext;
use crate::oauth::authorize::steps::{self, LogInForm, Question, Shown};
use crate::oauth::authorize::{Destination, Outcome, Step, authorize};
use crate::password_hash::HashMemory;
use crate::protocol::authorize_request::ResponseMode;
use crate::protocol::authorize_response::AuthorizeResponse;
use crate::protocol::client_metadata::About;
use crate::protocol::params::Params;
use crate::reason::{AuthorizeRefusal, Reason, Refusal};
use crate::web::oauth::hop;
use crate::web::openapi::parameters;
use crate::web::{State, body, error, extract, observe};

/// The most bytes of a form that is sent on as a link.
const MAX_QUERY_BYTES: usize = 8 * 1024;

#[derive(Template)]
#[template(path = "login.html")]
struct LogInPage<'a> {
    texts: &'a Texts,
    client_name: Option<&'a str>,
    request: &'a str,
    form_token: &'a str,
    about: About,
    username: &'a str,
    problem: Option<&'a str>,
    /// How long the browser may be remembered, if it may.
    remember_days: Option<String>,
}

#[derive(Template)]
#[template(path = "select_account.html")]
struct SelectAccountPage<'a> {
    texts: &'a Texts,
    client_name: &'a str,
    email: &'a str,
    request: &'a str,
    form_token: &'a str,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    texts: &'a Texts,
    client_name: &'a str,
    email: &'a str,
    scopes: Vec<String>,
    destination: String,
    user_code: Option<String>,
    days: String,
    registered_itself: bool,
    about: About,
    request: &'a str,
    form_token: &'a str,
}

#[derive(Template)]
#[template(path = "form_post.html")]
struct FormPostPage<'a> {
    texts: &'a Texts,
    action: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

/// Asks for a code (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2). For a browser; by POST with the same parameters in a form.
#[utoipa::path(get, path = "/authorize", tag = "oauth",
    params(
        ("client_id" = String, Query, description = "Who asks"),
        ("redirect_uri" = Option<String>, Query, description = "Where the answer goes; may be left out where one is registered and `openid` is not asked for"),
        ("response_mode" = Option<String>, Query, description = "`query` or `form_post`"),
        ("state" = Option<String>, Query, description = "Comes back as it is, at most 2 KiB"),
        ("request" = Option<String>, Query, description = "All of it in an object that the client signed (RFC 9101); then nothing beside it but `client_id` counts"),
        ("request_uri" = Option<String>, Query, description = "What was pushed before (RFC 9126); then nothing beside it but `client_id` counts"),
        parameters::RequestForm),
    responses(
        (status = 303, description = "To the redirect URI with `code` or `error`, `state` and `iss`, or to a page that asks"),
        (status = 200, description = "A form that posts the answer to the redirect URI (`form_post`)"),
        (status = 400, description = "A page: the client or its redirect URI is not known")))]
pub(in crate::web) async fn authorization(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    // RFC 6749 §3.1: GET, and POST with the same parameters in its form.
    let params = if request.method() == actix_web::http::Method::POST {
        match posted(&request, payload).await {
            // Our cookies do not come with another site's form (RFC 6265bis §5.6.7, Lax); they come with what it leads to.
            Ok(query) if query.len() <= MAX_QUERY_BYTES && !cookies::visitor(&request, &state.app).1 => {
                return see_other(&format!("/authorize?{query}"));
            }
            Ok(query) => Params::parse_query(query.as_bytes()),
            Err(refusal) => Err(refusal),
        }
    } else {
        Params::parse_query(request.query_string().as_bytes())
    };
    let outcome = async {
        let params = params?;
        on_token_lane(&request, &state, move |app, visitor| authorize(app, params, visitor, &context)).await
    };
    deliver(&request, &state, outcome.await)
}

/// The form of an authorization request, as a query of one spelling.
async fn posted(request: &HttpRequest, payload: Payload) -> Result<String, Refusal> {
    let body = body::read(request, payload).await?;
    Params::parse_form(extract::content_type(request.headers()), &body)?;
    let pairs = url::form_urlencoded::parse(&body);
    Ok(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

/// The page to log in on.
pub(in crate::web) async fn log_in_page(request: HttpRequest, state: Data<State>) -> HttpResponse {
    show(&request, &state, Step::LogIn).await
}

/// The page to say which account on.
pub(in crate::web) async fn select_account_page(request: HttpRequest, state: Data<State>) -> HttpResponse {
    show(&request, &state, Step::SelectAccount).await
}

/// Goes on as whoever is logged in.
pub(in crate::web) async fn select_account(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let outcome = async {
        let params = forms::read(&request, payload).await?;
        forms::refuse_cross_site(&request, &state.app)?;
        let form = forms::step(&params)?;
        on_token_lane(&request, &state, move |app, visitor| steps::select_account(app, &form, visitor, &context)).await
    };
    deliver(&request, &state, outcome.await)
}

/// The page to allow something on.
pub(in crate::web) async fn consent_page(request: HttpRequest, state: Data<State>) -> HttpResponse {
    show(&request, &state, Step::Consent).await
}

async fn show(request: &HttpRequest, state: &Data<State>, step: Step) -> HttpResponse {
    let context = extract::context(request, state);
    let id = match forms::request_of(request.query_string()) {
        Ok(id) => id,
        Err(refusal) => return refused(request, state, &refusal),
    };
    // Whoever is not the one who is logged in says so.
    let another = step == Step::LogIn && forms::has(request.query_string(), "another");
    let name = id.clone();
    let work = move |app: &App, visitor: &Visitor| {
        if another {
            return steps::show_log_in(app, &name, visitor).map(Shown::Question);
        }
        steps::show(app, &name, visitor, &context)
    };
    match on_token_lane(request, state, work).await {
        Ok((Shown::Question(question), set)) => {
            let mut answer = if question.step == step {
                ask(request, state, &question, (&id, None))
            } else {
                // Another step is due.
                see_other(&step_path(question.step, &id))
            };
            add_cookies(&mut answer, &set);
            answer
        }
        Ok((Shown::Done(outcome), set)) => deliver(request, state, Ok((*outcome, set))),
        Err(refusal) => refused(request, state, &refusal),
    }
}

/// Logs a person in.
pub(in crate::web) async fn log_in(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let sent = match forms::read(&request, payload).await.and_then(|params| {
        forms::refuse_cross_site(&request, &state.app)?;
        forms::log_in(&params)
    }) {
        Ok(sent) => sent,
        Err(refusal) => return refused(&request, &state, &refusal),
    };
    let (id, username) = (sent.step.request.clone(), sent.credentials.username.clone());
    match try_log_in(&request, &state, sent, context).await {
        Ok((set, outcome)) => deliver(&request, &state, Ok((outcome, set))),
        Err(refusal) if matches!(refusal.reason, Reason::Login(_)) || refusal.status() == 503 => {
            ask_again(&request, &state, (&id, &username), &refusal).await
        }
        Err(refusal) => refused(&request, &state, &refusal),
    }
}

async fn try_log_in(
    request: &HttpRequest,
    state: &Data<State>,
    sent: LogInForm,
    context: RequestContext,
) -> Result<(Vec<Cookie<'static>>, Outcome), Refusal> {
    let (visitor, _) = cookies::visitor(request, &state.app);
    let app = state.app.clone();
    let work = move |hash_memory: &mut HashMemory| steps::log_in(&app, hash_memory, &sent, &visitor, &context);
    let (cookies, outcome) = hop(request, state, &state.lanes.hash, work).await?;
    Ok((cookies::log_in(&state.app, &cookies.session, &cookies.memory), outcome))
}

/// The page again, with what was wrong; the same for whatever was wrong (ASVS 6.3.8).
async fn ask_again(
    request: &HttpRequest,
    state: &Data<State>,
    (id, username): (&str, &str),
    refusal: &Refusal,
) -> HttpResponse {
    let name = id.to_owned();
    // Whoever has sent the form wants to log in, whoever is logged in.
    let work = move |app: &App, visitor: &Visitor| steps::show_log_in(app, &name, visitor);
    let (question, set) = match on_token_lane(request, state, work).await {
        Ok(shown) => shown,
        Err(refusal) => return refused(request, state, &refusal),
    };
    let trace = observe::trace(request, state).to_string();
    error::record_at(request, state, refusal, &trace);
    let texts = texts::of(request, &question.ui_locales);
    let problem = match refusal.status() {
        429 => texts.wait,
        503 => texts.busy,
        _ => texts.wrong_credentials,
    };
    let mut answer = ask(request, state, &question, (id, Some((username, problem))));
    *answer.status_mut() = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    error::say_when(&mut answer, refusal);
    add_cookies(&mut answer, &set);
    answer
}

/// Takes a person's yes or no.
pub(in crate::web) async fn consent(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let context = extract::context(&request, &state);
    let outcome = async {
        let params = forms::read(&request, payload).await?;
        forms::refuse_cross_site(&request, &state.app)?;
        let form = forms::step(&params)?;
        let allowed = match params.find("decision") {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err(AuthorizeRefusal::StepUnknown.into()),
        };
        on_token_lane(&request, &state, move |app, visitor| steps::consent(app, &form, allowed, visitor, &context))
            .await
    };
    deliver(&request, &state, outcome.await)
}

pub(super) fn deliver(
    request: &HttpRequest,
    state: &State,
    outcome: Result<(Outcome, Vec<Cookie<'static>>), Refusal>,
) -> HttpResponse {
    let (outcome, set) = match outcome {
        Ok(outcome) => outcome,
        Err(refusal) => return refused(request, state, &refusal),
    };
    let mut answer = match outcome {
        Outcome::Answer(response) => respond(request, &response),
        Outcome::Refuse(response, refusal) => {
            error::record_at(request, state, &refusal, &observe::trace(request, state).to_string());
            respond(request, &response)
        }
        Outcome::Ask(step, id) => see_other(&step_path(step, &id)),
        Outcome::Account => see_other("/account"),
        Outcome::Answered(answered) => device::answered(request, answered),
    };
    add_cookies(&mut answer, &set);
    answer
}

/// Sends an answer to the client by way of the browser (RFC 6749 §4.1.2, OAuth 2.0 Form Post §2).
fn respond(request: &HttpRequest, response: &AuthorizeResponse) -> HttpResponse {
    if response.return_to.mode == ResponseMode::Query {
        return see_other(&response.location());
    }
    let redirect = &response.return_to.redirect;
    let shown = FormPostPage {
        texts: texts::of(request, &response.return_to.ui_locales),
        action: redirect.as_str(),
        parameters: response.parameters().collect(),
    };
    page(StatusCode::OK, &shown, &redirect.form_action())
}

fn step_path(step: Step, id: &str) -> String {
    match step {
        Step::LogIn => format!("/login?request={id}"),
        Step::SelectAccount => format!("/select-account?request={id}"),
        Step::Consent => format!("/consent?request={id}"),
    }
}

fn ask(
    request: &HttpRequest,
    state: &State,
    question: &Question,
    (id, problem): (&str, Option<(&str, &str)>),
) -> HttpResponse {
    let texts = texts::of(request, &question.ui_locales);
    let (form_action, destination, user_code) = match question.asker.as_ref().map(|asker| &asker.destination) {
        Some(Destination::Client(to)) => (to.redirect.form_action(), to.redirect.destination(), None),
        Some(Destination::Device(device)) => (String::new(), String::new(), Some(device.user_code.to_string())),
        None => (String::new(), String::new(), None),
    };
    let client_name = question.asker.as_ref().map(|asker| {
        let name = &asker.client.metadata.name;
        if name.is_empty() { asker.client.id.as_str() } else { name }
    });
    let about = question.asker.as_ref().map_or_else(About::default, |asker| {
        let metadata = &asker.client.metadata;
        if asker.client.registration.is_some() {
            metadata.about.at(&metadata.redirect_uris)
        } else {
            metadata.about.clone()
        }
    });
    match (question.step, &question.asker) {
        (Step::Consent, Some(asker)) => {
            let shown = ConsentPage {
                texts,
                client_name: client_name.unwrap_or_default(),
                email: question.logged_in.as_deref().unwrap_or_default(),
                scopes: texts.scopes(&asker.scope),
                destination,
                user_code,
                days: texts.days(state.app.settings.tokens.refresh_absolute_ttl),
                registered_itself: asker.client.registration.is_some(),
                about,
                request: id,
                form_token: &question.form_token,
            };
            page(StatusCode::OK, &shown, &form_action)
        }
        (Step::SelectAccount, Some(_)) => {
            let shown = SelectAccountPage {
                texts,
                client_name: client_name.unwrap_or_default(),
                email: question.logged_in.as_deref().unwrap_or_default(),
                request: id,
                form_token: &question.form_token,
            };
            page(StatusCode::OK, &shown, &form_action)
        }
        (Step::LogIn | Step::SelectAccount | Step::Consent, _) => {
            let hint = question.login_hint.as_deref().unwrap_or_default();
            let remember_ttl = state.app.settings.sessions.remember_ttl;
            let shown = LogInPage {
                texts,
                client_name,
                request: id,
                form_token: &question.form_token,
                about,
                username: problem.map_or(hint, |(username, _)| username),
                problem: problem.map(|(_, text)| text),
                remember_days: (!remember_ttl.is_zero()).then(|| texts.days(remember_ttl)),
            };
            page(StatusCode::OK, &shown, &form_action)
        }
    }
}

//! The account's own page: decode, one hop, deliver.

use actix_web::http::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::texts::{self, Texts};
use super::{add_cookies, forms, logout, on_token_lane, page, refused, see_other};
use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::identity::browser::Visitor;
use crate::identity::remembered::SeriesName;
use crate::identity::self_service::{self, Carried, Opened, Overview, ShownGrant, ShownRemembered, ShownSession, Wish};
use crate::oauth::end_session::{self, Frame};
use crate::protocol::params::Params;
use crate::reason::{AuthorizeRefusal, Refusal};
use crate::web::{State, error, extract};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    texts: &'a Texts,
    email: &'a str,
    form_token: &'a str,
    sessions: &'a [ShownSession],
    remembered: &'a [ShownRemembered],
    grants: Vec<(&'a ShownGrant, String)>,
}

impl AccountPage<'_> {
    /// An instant to the minute, as people read it in any language.
    fn instant(at: &Timestamp) -> String {
        let text = at.to_string();
        text.get(..16).map(|minute| format!("{} UTC", minute.replace('T', " "))).unwrap_or(text)
    }
}

/// What comes of a request.
enum Done {
    Page(Overview),
    Ended,
    /// This browser's log-in ended, too; these frames say so to clients.
    OutHere(Vec<Frame>),
    /// The person logs in first, under this name.
    LogIn(String),
    Nobody,
}

/// Where a person is logged in, and what has access to the account. For a browser, which is led to the log-in page and back; by
/// POST, with what the page's own forms send, to end one of these.
#[utoipa::path(get, path = "/account", tag = "account",
    responses(
        (status = 200, description = "The page"),
        (status = 303, description = "To the log-in page"),
        (status = 401, description = "Nobody is logged in (RFC 9457), for whoever asks for JSON")))]
pub(in crate::web) async fn account(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    match answer(&request, payload, &state).await {
        Ok(answer) => answer,
        Err(refusal) => refused(&request, &state, &refusal),
    }
}

async fn answer(request: &HttpRequest, payload: Payload, state: &Data<State>) -> Result<HttpResponse, Refusal> {
    let deadline = extract::context(request, state).deadline;
    let wish = if request.method() == Method::POST {
        let params = forms::read(request, payload).await?;
        forms::refuse_cross_site(request, &state.app)?;
        params.refuse_repeated()?;
        Some((wish(&params)?, params.find("form_token").unwrap_or_default().to_owned()))
    } else {
        None
    };
    let json = wants_json(request);
    let work = move |app: &App, visitor: &Visitor| done(app, wish.as_ref(), visitor, (json, &deadline));
    let (done, set) = on_token_lane(request, state, work).await?;
    // Whoever has just logged out takes no cookies along.
    let is_out = matches!(done, Done::OutHere(_));
    let texts = texts::of(request, &[]);
    let mut answer = match done {
        Done::Page(overview) => show(texts, &overview),
        Done::OutHere(frames) => logout::logged_out_here(state, texts, &frames),
        Done::Ended => see_other("/account"),
        Done::LogIn(id) => see_other(&format!("/login?request={id}")),
        Done::Nobody => nobody(),
    };
    if !is_out {
        add_cookies(&mut answer, &set);
    }
    Ok(answer)
}

fn done(
    app: &App,
    wish: Option<&(Wish, String)>,
    visitor: &Visitor,
    (json, deadline): (bool, &Deadline),
) -> Result<Done, Refusal> {
    let done = match wish {
        Some((wish, form_token)) => {
            // Afterwards nobody knows any more which.
            let frames = end_session::frames_here(app, visitor)?;
            match self_service::end(app, (*wish, form_token), visitor, deadline)? {
                Carried::LogIn => None,
                Carried::Out => Some(Done::Ended),
                Carried::OutHere => Some(Done::OutHere(frames)),
            }
        }
        None => match self_service::open(app, visitor)? {
            Opened::Page(overview) => Some(Done::Page(overview)),
            Opened::LogIn => None,
        },
    };
    match done {
        Some(done) => Ok(done),
        None if json => Ok(Done::Nobody),
        None => Ok(Done::LogIn(self_service::wait_for_log_in(app, visitor, deadline)?)),
    }
}

/// What the button that was pressed ends.
fn wish(params: &Params) -> Result<Wish, Refusal> {
    let malformed = || Refusal::from(AuthorizeRefusal::StepUnknown);
    let pressed: Vec<_> = ["session", "remembered", "grant", "everything"]
        .into_iter()
        .filter_map(|name| Some((name, params.find(name)?)))
        .collect();
    match pressed.as_slice() {
        [("session", id)] => Ok(Wish::Session(id.parse().map_err(|_| malformed())?)),
        [("remembered", id)] => Ok(Wish::Remembered(SeriesName::parse(id).ok_or_else(malformed)?)),
        [("grant", id)] => Ok(Wish::Grant(id.parse().map_err(|_| malformed())?)),
        [("everything", _)] => Ok(Wish::Everything),
        _ => Err(malformed()),
    }
}

fn show(texts: &Texts, overview: &Overview) -> HttpResponse {
    let shown = AccountPage {
        texts,
        email: &overview.email,
        form_token: &overview.form_token,
        sessions: &overview.sessions,
        remembered: &overview.remembered,
        grants: overview.grants.iter().map(|grant| (grant, texts.scopes(&grant.scope).join(", "))).collect(),
    };
    page(StatusCode::OK, &shown, "")
}

/// RFC 9110 §12.5.1: a program that reads no pages is told so, and not led anywhere.
fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = |media: &str| {
        accept
            .split(',')
            .any(|range| range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media)))
    };
    (names("application/json") || names("application/problem+json")) && !names("text/html")
}

fn nobody() -> HttpResponse {
    let mut answer = error::problem(StatusCode::UNAUTHORIZED, "nobody is logged in");
    // RFC 9110 §15.5.2: a challenge, though no scheme that is registered has cookies.
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Cookie realm="countersign""#));
    answer
}

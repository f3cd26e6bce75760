//! Logging out: the endpoint, and the page that asks.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::http::header::{CLEAR_SITE_DATA, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::cookies::{self, Kind};
use super::texts::{self, Texts};
use super::{add_cookies, forms, on_token_lane, page, page_with_frames, refused, see_other};
use crate::oauth::end_session::{Ended, Frame, end_session};
use crate::protocol::authorize_request::parse_ui_locales;
use crate::protocol::params::Params;
use crate::reason::Refusal;
use crate::web::{State, extract};

#[derive(Template)]
#[template(path = "logout.html")]
struct LogoutPage<'a> {
    texts: &'a Texts,
    email: Option<String>,
    form_token: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

#[derive(Template)]
#[template(path = "logged_out.html")]
struct LoggedOutPage<'a> {
    texts: &'a Texts,
    frames: &'a [Frame],
    location: Option<&'a str>,
}

/// How long the frames have before the browser goes on, in seconds.
const FRAMES_HAVE: u8 = 2;

/// What of the request the page that asks sends back.
const KEPT: [&str; 5] = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales"];

/// Ends the log-in at a browser (OpenID Connect RP-Initiated Logout §2).
#[utoipa::path(get, path = "/logout", tag = "oauth",
    params(
        ("id_token_hint" = Option<String>, Query, description = "An ID token of the log-in that is to end: nobody is asked then"),
        ("client_id" = Option<String>, Query, description = "Who asks, if there is no hint"),
        ("post_logout_redirect_uri" = Option<String>, Query, description = "Where the browser goes afterwards; registered"),
        ("state" = Option<String>, Query, description = "Goes there with it"),
        ("ui_locales" = Option<String>, Query, description = "Languages that the person reads")),
    responses(
        (status = 303, description = "Logged out, on to `post_logout_redirect_uri`"),
        (status = 200, description = "A page: logged out, or asking"),
        (status = 400, description = "A page: the URI is not registered, or the client is not the hint's; nothing was ended")))]
pub(in crate::web) async fn logout(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    match answer(&request, payload, &state).await {
        Ok(answer) => answer,
        Err(refusal) => refused(&request, &state, &refusal),
    }
}

async fn answer(request: &HttpRequest, payload: Payload, state: &Data<State>) -> Result<HttpResponse, Refusal> {
    let context = extract::context(request, state);
    let is_post = request.method() == actix_web::http::Method::POST;
    let params = if is_post {
        forms::read(request, payload).await?
    } else {
        Params::parse_query(request.query_string().as_bytes())?
    };
    let form_token = params.find("form_token").filter(|_| is_post).map(str::to_owned);
    if form_token.is_some() {
        forms::refuse_cross_site(request, &state.app)?;
    } else if is_post {
        // A client's own form comes without our cookies (RFC 6265bis §5.6.7, Lax); what it leads to comes with them.
        return Ok(see_other(&format!("/logout?{}", params.to_form(&KEPT))));
    }
    let kept: Vec<(&str, String)> =
        KEPT.into_iter().filter_map(|name| Some((name, params.find(name)?.to_owned()))).collect();
    let locales = parse_ui_locales(&params);
    let work =
        move |app: &crate::app::App, visitor: &_| end_session(app, (&params, form_token.as_deref()), visitor, &context);
    let (ended, set) = on_token_lane(request, state, work).await.map_err(|refusal| refusal.read_in(&locales))?;
    let texts = texts::of(request, &locales);
    match ended {
        Ended::Ask { form_token, email, form_action } => {
            let parameters = kept.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let shown = LogoutPage { texts, email, form_token: &form_token, parameters };
            let mut answer = page(StatusCode::OK, &shown, form_action.as_deref().unwrap_or_default());
            add_cookies(&mut answer, &set);
            Ok(answer)
        }
        Ended::Done(location, frames) => {
            let mut answer = match &location {
                Some(location) if frames.is_empty() => see_other(location),
                Some(_) | None => logged_out(texts, location.as_deref(), &frames),
            };
            clear(state, &mut answer);
            Ok(answer)
        }
    }
}

/// ASVS 14.3.1: what was shown is nobody's to see any more. Cookies would be those of our neighbours, too.
fn clear(state: &State, answer: &mut HttpResponse) {
    answer.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"storage\""));
    add_cookies(answer, &[Kind::Session, Kind::Remembered].map(|kind| cookies::removal(&state.app, kind)));
}

/// The page that says so, for whoever ended the log-in of this browser elsewhere.
pub(super) fn logged_out_here(state: &State, texts: &Texts, frames: &[Frame]) -> HttpResponse {
    let mut answer = logged_out(texts, None, frames);
    clear(state, &mut answer);
    answer
}

/// The page that says so and shows the clients theirs (Front-Channel Logout §3), then goes on, without any script.
fn logged_out(texts: &Texts, location: Option<&str>, frames: &[Frame]) -> HttpResponse {
    let sources: BTreeSet<&str> = frames.iter().map(|frame| frame.source.as_str()).collect();
    let sources = sources.into_iter().collect::<Vec<_>>().join(" ");
    let sources = if sources.is_empty() { "'none'" } else { &sources };
    let mut answer = page_with_frames(StatusCode::OK, &LoggedOutPage { texts, frames, location }, "", sources);
    if let Some(location) = location
        && let Ok(refresh) = HeaderValue::from_str(&format!("{FRAMES_HAVE}; url={location}"))
    {
        answer.headers_mut().insert(HeaderName::from_static("refresh"), refresh);
    }
    answer
}

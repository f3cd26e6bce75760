//! The cookies (ASVS 3.3): what a browser is known by, who is logged in there, and what it remembers of that when it was closed,
//! none of which says anything itself; and a refresh token of a page that is not to have it.

use std::borrow::Cow;

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration as Age;
use actix_web::cookie::{Cookie, CookieBuilder, SameSite};
use actix_web::http::header::{COOKIE, HeaderMap, USER_AGENT};

use crate::app::App;
use crate::identity::browser::{Browser, Visitor};
use crate::identity::place::Place;
use crate::identity::remembered::{Memory, RememberedToken};
use crate::identity::session::SessionToken;
use crate::oauth::refresh_cookie;
use crate::protocol::client_credentials::ClientId;
use crate::secret::PlainSecret;
use crate::web::{cors, extract};

/// Which cookie.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Browser,
    Session,
    Remembered,
}

impl Kind {
    /// RFC 6265bis §4.1.3.2: with the prefix a browser takes it from this host alone, over TLS alone. Plain http is a
    /// loopback server, where browsers disagree about secure cookies.
    const fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Browser, true) => "__Host-countersign-browser",
            (Self::Browser, false) => "countersign-browser",
            (Self::Session, true) => "__Host-countersign-session",
            (Self::Session, false) => "countersign-session",
            (Self::Remembered, true) => "__Host-countersign-remembered",
            (Self::Remembered, false) => "countersign-remembered",
        }
    }
}

fn is_secure(app: &App) -> bool {
    app.issuer.starts_with("https:")
}

/// The browser that sent a request, and whether it was here before.
pub(super) fn visitor(request: &HttpRequest, app: &App) -> (Visitor, bool) {
    let value = |kind: Kind| value(request.headers(), kind.name(is_secure(app)));
    // ASVS 7.2.4: what we did not make is never taken up.
    let known = value(Kind::Browser).and_then(Browser::parse);
    let session = value(Kind::Session).and_then(SessionToken::parse);
    let was_here = known.is_some();
    let browser = known.unwrap_or_else(|| Browser::new(&app.random));
    let user_agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let place = Place::new(extract::network(request, app), user_agent);
    let remembered = value(Kind::Remembered).and_then(RememberedToken::parse);
    (Visitor { browser, session, remembered, place }, was_here)
}

/// The value of the one cookie of that name (RFC 6265 §4.2.1), by the very bytes that the browser judged its prefix by: a
/// reader that decodes names, or trims more than a browser does, takes a neighbour's cookie for ours.
fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    let mut found = pairs.filter_map(|pair| {
        let start = pair.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
        pair.split_at_checked(start)?.1.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    });
    match (found.next(), found.next()) {
        (Some(value), None) => std::str::from_utf8(value).ok(),
        // Two of them could be read differently by whoever sets and whoever reads.
        _ => None,
    }
}

/// A cookie to set: until the browser is closed, for no script, and for no request that another site's page makes, except
/// when a person comes from there (ASVS 3.3.1 to 3.3.4).
pub(super) fn cookie(app: &App, kind: Kind, value: &PlainSecret) -> Cookie<'static> {
    build(app, kind.name(is_secure(app)), value).same_site(SameSite::Lax).finish()
}

/// What holds for each cookie of ours: for no script, and over TLS alone (ASVS 3.3.1, 3.3.4).
fn build<'a>(app: &App, name: impl Into<Cow<'a, str>>, value: &PlainSecret) -> CookieBuilder<'a> {
    Cookie::build(name, value.expose().to_owned()).path("/").secure(is_secure(app)).http_only(true)
}

/// The cookies of a log-in.
pub(super) fn log_in(app: &App, session: &PlainSecret, memory: &Memory) -> Vec<Cookie<'static>> {
    let remembered = match memory {
        Memory::Kept => None,
        Memory::Set(remembered) => {
            let mut cookie = cookie(app, Kind::Remembered, &remembered.value);
            let seconds = i64::try_from(remembered.max_age.as_secs()).unwrap_or(i64::MAX);
            // The one that outlives the browser's being closed.
            cookie.set_max_age(Age::seconds(seconds));
            Some(cookie)
        }
        Memory::Cleared => Some(removal(app, Kind::Remembered)),
    };
    [cookie(app, Kind::Session, session)].into_iter().chain(remembered).collect()
}

/// A cookie that takes the one of that kind away.
pub(super) fn removal(app: &App, kind: Kind) -> Cookie<'static> {
    let mut cookie = cookie(app, kind, &PlainSecret::new(""));
    cookie.make_removal();
    cookie
}

/// The header by which a page says that it means the cookie. No form has it, and a browser asks before a page of another
/// origin sends it.
pub(in crate::web) const MARK: &str = "countersign-refresh";

/// The name of the cookie with a client's refresh token. With the prefix it is for this host alone, so that no neighbour
/// puts one in its place (RFC 6265bis §4.1.3.2); that wants the path `/`, which lets `/revoke` have it, too.
fn refresh_name(app: &App, client_id: &ClientId) -> String {
    let prefix = if is_secure(app) { "__Host-" } else { "" };
    format!("{prefix}countersign-refresh.{client_id}")
}

/// What a browser says of the page that a client's request comes from.
pub(in crate::web) fn page(request: &HttpRequest, app: &App, client_id: &ClientId) -> refresh_cookie::Page {
    let headers = request.headers();
    let mut marks = headers.get_all(MARK);
    refresh_cookie::Page {
        origin: cors::origin(headers).map(str::to_owned),
        marked: matches!((marks.next(), marks.next()), (Some(mark), None) if mark == "cookie"),
        cookie: value(headers, &refresh_name(app, client_id)).map(PlainSecret::new),
    }
}

/// Sets or clears the cookie with a client's refresh token: for no script, and for no request that begins at another site
/// (ASVS 3.3.1 to 3.3.4).
pub(in crate::web) fn refresh(
    app: &App,
    client_id: &ClientId,
    cookie: &refresh_cookie::Cookie,
) -> Option<Cookie<'static>> {
    let strict = |value| build(app, refresh_name(app, client_id), value).same_site(SameSite::Strict);
    match cookie {
        refresh_cookie::Cookie::Kept => None,
        refresh_cookie::Cookie::Set(token, life) => {
            let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            Some(strict(token).max_age(Age::seconds(seconds)).finish())
        }
        refresh_cookie::Cookie::Cleared => Some(strict(&PlainSecret::new("")).max_age(Age::ZERO).finish()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_ours_by_its_very_name() {
        let name = "__Host-countersign-session";
        for (headers, expected) in [
            (&["__Host-countersign-session=good"][..], Some("good")),
            (&["a=b; __Host-countersign-session=good; c=d"], Some("good")),
            (&["a=b;\t__Host-countersign-session=good"], Some("good")),
            (&["\u{e4}=x; __Host-countersign-session=good"], Some("good")),
            (&["a=b", "__Host-countersign-session=good"], Some("good")),
            (&["%5F%5FHost-countersign-session=evil; __Host-countersign-session=good"], Some("good")),
            (&["\u{2000}__Host-countersign-session=evil; __Host-countersign-session=good"], Some("good")),
            (&["%5F%5FHost-countersign-session=evil"], None),
            (&["\u{a0}__Host-countersign-session=evil"], None),
            (&["__host-countersign-session=evil"], None),
            (&["x__Host-countersign-session=evil"], None),
            (&["__Host-countersign-session =evil"], None),
            (&["=__Host-countersign-session=evil"], None),
            (&["__Host-countersign-session=good; __Host-countersign-session=evil"], None),
            (&["__Host-countersign-session"], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(COOKIE, HeaderValue::from_bytes(header.as_bytes()).unwrap());
            }
            assert_eq!(value(&map, name), expected, "{headers:?}");
        }
    }
}

//! The two cookies (ASVS 3.3): what a browser is known by, and who is logged in there. Neither says anything itself.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite};

use crate::app::App;
use crate::identity::browser::Browser;
use crate::identity::session::SessionToken;
use crate::oauth::authorize::Visitor;
use crate::secret::PlainSecret;

/// Which cookie.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Browser,
    Session,
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
        }
    }
}

fn is_secure(app: &App) -> bool {
    app.issuer.starts_with("https:")
}

/// The browser that sent a request, and whether it was here before.
pub(super) fn visitor(request: &HttpRequest, app: &App) -> (Visitor, bool) {
    let value = |kind: Kind| request.cookie(kind.name(is_secure(app)));
    // ASVS 7.2.4: what we did not make is never taken up.
    let known = value(Kind::Browser).and_then(|cookie| Browser::parse(cookie.value()));
    let session = value(Kind::Session).and_then(|cookie| SessionToken::parse(cookie.value()));
    let was_here = known.is_some();
    (Visitor { browser: known.unwrap_or_else(|| Browser::new(&app.random)), session }, was_here)
}

/// A cookie to set: until the browser is closed, for no script, and for no request that another site's page makes, except
/// when a person comes from there (ASVS 3.3.1 to 3.3.4).
pub(super) fn cookie(app: &App, kind: Kind, value: &PlainSecret) -> Cookie<'static> {
    let secure = is_secure(app);
    Cookie::build(kind.name(secure), value.expose().to_owned())
        .path("/")
        .secure(secure)
        .http_only(true)
        .same_site(SameSite::Lax)
        .finish()
}

//! Refresh tokens that a page of our own never sees: a cookie carries them, so that a script that was slipped into the page
//! carries none away (draft-ietf-oauth-browser-based-apps). Cookies come by themselves, so whoever means this one says so in a
//! way that no other site's page can. Refuses to know what HTTP calls a cookie.

use std::time::Duration;

use crate::app::App;
use crate::protocol::token_response::TokenResponse;
use crate::reason::{ClientRefusal, GrantRefusal, Refusal, RequestRefusal};
use crate::secret::PlainSecret;
use crate::store::clients::Client;

/// What a browser says of the page that a request comes from, beside the form.
#[derive(Debug, Default)]
pub struct Page {
    /// The page's origin.
    pub origin: Option<String>,
    /// Whether the request carries the mark that has a browser ask first.
    pub marked: bool,
    /// The value of the client's cookie.
    pub cookie: Option<PlainSecret>,
}

/// What becomes of the client's cookie.
#[derive(Debug)]
pub enum Cookie {
    /// It stays as it is.
    Kept,
    /// It carries this from now on, for that long.
    Set(PlainSecret, Duration),
    /// It is gone.
    Cleared,
}

/// Whether a client's refresh tokens travel so; then every request of its is a page's own.
///
/// # Errors
/// [`ClientRefusal::ForeignPage`], before anything is looked at that could change something.
pub(super) fn is_used(app: &App, client: &Client, page: &Page) -> Result<bool, Refusal> {
    if !client.metadata.refresh_cookie {
        return Ok(false);
    }
    let origin = page.origin.as_deref().unwrap_or_default();
    let origins = &client.metadata.allowed_origins;
    // A client without origins is served where this server is.
    let own = if origins.is_empty() { origin == app.issuer } else { origins.iter().any(|own| own.as_str() == origin) };
    // ASVS 3.5.1, 3.5.2: an origin of the client's and nobody else's, and a header that no form and no simple request can have,
    // so that a browser asked us before it sent the cookie.
    if own && page.marked { Ok(true) } else { Err(Refusal::from(ClientRefusal::ForeignPage).of_client(&client.id)) }
}

/// The refresh token of a request: the form's, or for a client that has a cookie the cookie's alone.
///
/// # Errors
/// It is missing, or where it may not be.
pub(super) fn presented<'a>(
    used: bool,
    in_form: Option<&'a PlainSecret>,
    page: &'a Page,
) -> Result<&'a PlainSecret, Refusal> {
    match (used, in_form) {
        (false, Some(token)) => Ok(token),
        (false, None) => Err(Refusal::from(RequestRefusal::MissingParameter).about("refresh_token")),
        // A script that has a refresh token was not meant to.
        (true, Some(_)) => Err(Refusal::from(RequestRefusal::MalformedParameter).about("refresh_token")),
        (true, None) => Ok(page.cookie.as_ref().ok_or(GrantRefusal::NoCookie)?),
    }
}

/// Takes the refresh token out of an answer and puts it into the cookie, for as long as the grant lives unused.
pub(super) fn put_away(app: &App, used: bool, tokens: &mut TokenResponse) -> Cookie {
    if !used {
        return Cookie::Kept;
    }
    let token = tokens.refresh_token.take().map(PlainSecret::new);
    token.map_or(Cookie::Kept, |token| Cookie::Set(token, app.settings.tokens.refresh_idle_ttl))
}

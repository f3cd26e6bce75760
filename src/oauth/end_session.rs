//! Logging out at a client's word (OpenID Connect RP-Initiated Logout 1.0): the log-in at the browser ends, and with it what
//! came from it. The browser tells clients that want it so (Front-Channel Logout 1.0); others are told by us, elsewhere.

use crate::app::App;
use crate::id::{GrantId, SessionId};
use crate::identity::browser::Visitor;
use crate::identity::session;
use crate::oauth::RequestContext;
use crate::protocol::authorize_request::parse_state;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::params::Params;
use crate::protocol::redirect_uri::{self, ValidatedRedirect};
use crate::reason::{AuthorizeRefusal, CapacityRefusal, Refusal, RequestRefusal};
use crate::store::browser_sessions::BrowserSession;
use crate::store::grants::{self, EndedBy, listing};
use crate::token::revoke::end_grant;

/// The most grants of a log-in whose clients are shown in frames.
const MOST_FRAMES: i64 = 50;

/// A client's page that a browser shows to it alone (Front-Channel Logout §2).
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The page, with `iss` and `sid`.
    pub uri: String,
    /// What a content security policy names it by.
    pub source: String,
}

/// What comes of a request to log out.
pub enum Ended {
    /// Nobody is logged in any more; once the frames have been shown, the browser may go there.
    Done(Option<String>, Vec<Frame>),
    /// The person is asked first.
    Ask {
        /// What the form must send back so that it is known to be ours.
        form_token: String,
        /// The e-mail address of whoever is logged in; none of a log-in that lets nobody in any more.
        email: Option<String>,
        /// Where the form may end beside here.
        form_action: Option<String>,
    },
}

/// A client that asks, as far as it can be known.
struct Asking {
    /// The grant whose ID token it shows.
    grant_id: Option<GrantId>,
    /// Where the browser goes afterwards.
    redirect: Option<ValidatedRedirect>,
    /// What goes there with it.
    state: Option<String>,
    /// Whether it registered itself.
    is_registrant: bool,
}

impl Asking {
    fn location(&self) -> Option<String> {
        let pairs: Vec<(&str, &str)> = self.state.iter().map(|state| ("state", state.as_str())).collect();
        let redirect = self.redirect.as_ref()?;
        Some(if pairs.is_empty() { redirect.to_string() } else { redirect.with(&pairs) })
    }
}

/// Ends the log-in at a browser. `form_token` is what the page that asks the person put into its form.
///
/// # Errors
/// What only a page can say: the URI is not registered, or the client is not the hint's. Nothing was ended then.
pub fn end_session(
    app: &App,
    (params, form_token): (&Params, Option<&str>),
    visitor: &Visitor,
    context: &RequestContext,
) -> Result<Ended, Refusal> {
    params.refuse_repeated()?;
    let asking = read(app, params)?;
    let hinted = session_of(app, asking.grant_id)?;
    // One that lets nobody in any more is ended, too: what came from it goes on.
    let Some(found) = session::find_unended(app, visitor.session.as_ref())? else {
        // An ID token is the client's, not the person's: without the browser of the log-in it ends what that client has, and
        // nothing of others.
        if let Some(id) = asking.grant_id.filter(|_| hinted.is_some()) {
            let found = app.db.read(|tx| grants::find(tx, id))?;
            // OpenID Connect Back-Channel Logout §2.7: what was issued for offline access outlives the log-in.
            if found.is_some_and(|found| !found.grant.scope.contains("offline_access")) {
                end_grant(app, id, EndedBy::LogOut, &context.deadline)?;
            }
        }
        // Nobody confirms anything here, so only somebody who was given an ID token says where to go; and RFC 9700 §4.11.2:
        // nobody whom nobody has looked at.
        let location = asking.location().filter(|_| asking.grant_id.is_some() && !asking.is_registrant);
        return Ok(Ended::Done(location, Vec::new()));
    };
    let subject: [&[u8]; 2] = [b"log out", found.session.id.as_bytes()];
    let confirmed = form_token.is_some_and(|token| visitor.browser.showed(app, &subject, token));
    if form_token.is_some() && !confirmed {
        return Err(AuthorizeRefusal::CrossSite.into());
    }
    // RP-Initiated Logout §2: without the hint of this very log-in the person MUST be asked.
    if !confirmed && hinted != Some(found.session.id) {
        let form_token = visitor.browser.form_token(app, &subject).ok_or(CapacityRefusal::CannotSign)?;
        let form_action = asking.redirect.as_ref().map(ValidatedRedirect::form_action);
        let email = session::is_live(app, &found).then_some(found.email);
        return Ok(Ended::Ask { form_token, email, form_action });
    }
    let frames = frames(app, &found.session)?;
    session::end(app, found.session.id, &context.deadline)?;
    tracing::info!(event = "logged_out", account_id = %found.session.account_id);
    Ok(Ended::Done(asking.location(), frames))
}

/// The clients' pages that are to be shown when the log-in of this browser ends.
///
/// # Errors
/// The store's own reasons.
pub fn frames_here(app: &App, visitor: &Visitor) -> Result<Vec<Frame>, Refusal> {
    let found = session::find_here(app, visitor, None)?;
    found.map_or_else(|| Ok(Vec::new()), |found| frames(app, &found.session))
}

/// The clients' pages that are to be shown when a log-in ends.
fn frames(app: &App, session: &BrowserSession) -> Result<Vec<Frame>, Refusal> {
    let grants = app.db.read(|tx| listing::of_session(tx, session.id, session.remembered_id, MOST_FRAMES))?;
    let frame = |(grant_id, client_id): (GrantId, ClientId)| {
        let client = app.clients.find(&client_id).filter(|client| client.disabled_at.is_none())?;
        let uri = client.metadata.frontchannel_logout.as_ref()?;
        Some(Frame { uri: uri.frame(&app.issuer, &grant_id.to_string()), source: uri.frame_source() })
    };
    Ok(grants.into_iter().filter_map(frame).collect())
}

fn read(app: &App, params: &Params) -> Result<Asking, Refusal> {
    // One that no published key verifies, since it is too old or not ours, is as good as none: the person is asked.
    let hint = params.find("id_token_hint").and_then(|hint| app.keyring.verify_id_token(hint, &app.issuer).ok());
    // RP-Initiated Logout §2: with both, they MUST be of the same client.
    let named = params.find("client_id");
    if hint.as_ref().is_some_and(|hint| named.is_some_and(|named| named != hint.aud)) {
        return Err(Refusal::from(RequestRefusal::MalformedParameter).about("client_id"));
    }
    let client_id = hint.as_ref().map(|hint| hint.aud.as_str()).or(named).and_then(ClientId::parse);
    let client = client_id.and_then(|id| app.clients.find(&id));
    let redirect = match params.find("post_logout_redirect_uri") {
        None => None,
        Some(uri) => {
            let metadata = client.as_ref().map(|client| &client.metadata);
            // RP-Initiated Logout §3: exactly one of those registered; RFC 9700 §4.11: nobody else's.
            let redirect = metadata.and_then(|metadata| {
                redirect_uri::validate(&metadata.post_logout_redirect_uris, Some(uri), metadata.application_type)
            });
            Some(redirect.ok_or(AuthorizeRefusal::RedirectNotRegistered)?)
        }
    };
    let grant_id = hint.and_then(|hint| hint.sid.parse().ok());
    let is_registrant = client.is_some_and(|client| client.registration.is_some());
    Ok(Asking { grant_id, redirect, state: parse_state(params)?, is_registrant })
}

/// The log-in that a grant came from.
fn session_of(app: &App, grant_id: Option<GrantId>) -> Result<Option<SessionId>, Refusal> {
    let Some(id) = grant_id else { return Ok(None) };
    Ok(app.db.read(|tx| grants::find(tx, id))?.and_then(|found| found.grant.session_id))
}

//! What people see and end of their own (ASVS 7.5.2): where they are logged in, and what has access to their account. To see
//! it a log-in is enough; to end something it must be a fresh one.

use super::browser::Visitor;
use super::remembered::SeriesName;
use super::session;
use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::id::{AccountId, GrantId, SessionId};
use crate::protocol::scope::Scope;
use crate::reason::{AuthorizeRefusal, CapacityRefusal, Refusal};
use crate::secret::encode_base64url;
use crate::store::authorize_requests::{self, REQUEST_ID_BYTES, WaitingRequest, Waits};
use crate::store::browser_sessions::{self, BrowserSession, SessionOfAccount};
use crate::store::grants::{self, EndedBy, listing};
use crate::store::remembered_log_ins::{self, RememberedLogIn};
use crate::store::{self, Write, consents};

/// The most log-ins, and the most grants, that are shown.
const MOST_SHOWN: i64 = 100;

/// The account as its owner sees it.
pub struct Overview {
    /// Whose it is.
    pub email: String,
    /// Where that person is logged in, the latest use first.
    pub sessions: Vec<ShownSession>,
    /// Where the person will be logged in again, the latest use first.
    pub remembered: Vec<ShownRemembered>,
    /// What has access, the latest first.
    pub grants: Vec<ShownGrant>,
    /// What the forms must send back so that they are known to be ours.
    pub form_token: String,
}

/// A log-in at a browser.
pub struct ShownSession {
    /// Its identifier.
    pub id: SessionId,
    /// The kind of browser and of system, as far as it is known.
    pub user_agent: String,
    /// The network that the person logged in from.
    pub network: String,
    /// When it was used last, roughly.
    pub seen_at: Timestamp,
    /// Whether it is the one of this browser.
    pub is_here: bool,
}

/// A browser that remembers a log-in and has none at the moment.
pub struct ShownRemembered {
    /// Its name, which is not the one in the cookie.
    pub name: SeriesName,
    /// The kind of browser and of system.
    pub user_agent: String,
    /// The network that the person logged in from.
    pub network: String,
    /// When it was used last.
    pub moved_at: Timestamp,
}

/// A client's access.
pub struct ShownGrant {
    /// Its identifier.
    pub id: GrantId,
    /// The client's name for people.
    pub client_name: String,
    /// What it may do.
    pub scope: Scope,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was renewed last.
    pub used_at: Timestamp,
}

/// What comes of a request for the page.
pub enum Opened {
    /// The page.
    Page(Overview),
    /// The person logs in first.
    LogIn,
}

/// The account of whoever is logged in.
///
/// # Errors
/// The store's own reasons.
pub fn open(app: &App, visitor: &Visitor) -> Result<Opened, Refusal> {
    let Some(found) = session::find_here(app, visitor, None)? else { return Ok(Opened::LogIn) };
    let form_token = visitor.browser.form_token(app, &subject(&found)).ok_or(CapacityRefusal::CannotSign)?;
    let (id, now, here) = (found.session.account_id, app.clock.now(), found.session.id);
    let rested = now.minus(app.settings.sessions.idle_ttl);
    let (sessions, remembered, grants) = app.db.read(|tx| {
        let sessions = browser_sessions::list_live(tx, id, (now, rested), MOST_SHOWN)?;
        let remembered = remembered_log_ins::list_live(tx, id, now, MOST_SHOWN)?;
        Ok((sessions, remembered, listing::of_account(tx, id, now, MOST_SHOWN)?))
    })?;
    let rests = |series: &RememberedLogIn| !sessions.iter().any(|session| session.remembered_id == Some(series.id));
    let remembered = remembered.into_iter().filter(rests).map(|series| ShownRemembered {
        name: SeriesName::of(series.id),
        user_agent: series.user_agent,
        network: series.network,
        moved_at: series.moved_at,
    });
    let remembered = remembered.collect();
    let sessions = sessions.into_iter().map(|session| shown_session(session, here)).collect();
    let grants = grants.into_iter().map(|grant| {
        let client = app.clients.find(&grant.client_id);
        let name = client.map(|client| client.metadata.name.clone()).filter(|name| !name.is_empty());
        ShownGrant {
            id: grant.id,
            client_name: name.unwrap_or_else(|| grant.client_id.to_string()),
            scope: grant.scope,
            created_at: grant.created_at,
            // A refresh that rotated nothing shows in the idle life that it began anew.
            used_at: grant.rotated_at.max(grant.idle_expires_at.minus(app.settings.tokens.refresh_idle_ttl)),
        }
    });
    Ok(Opened::Page(Overview { email: found.email, sessions, remembered, grants: grants.collect(), form_token }))
}

fn shown_session(session: BrowserSession, here: SessionId) -> ShownSession {
    ShownSession {
        is_here: session.id == here,
        id: session.id,
        user_agent: session.user_agent.unwrap_or_default(),
        network: session.network.unwrap_or_default(),
        seen_at: session.seen_at,
    }
}

/// Keeps the wish to see the account until the person has logged in; the name under which it waits. What the browser comes
/// back to is a name of ours, never a URL (CWE-601).
///
/// # Errors
/// [`CapacityRefusal::TooManyWait`]; the store's own reasons.
pub fn wait_for_log_in(app: &App, visitor: &Visitor, deadline: &Deadline) -> Result<String, Refusal> {
    app.account_requests.admit(&app.cache, visitor.place.network)?;
    let id = encode_base64url(&app.random.bytes::<REQUEST_ID_BYTES>());
    let waiting = WaitingRequest::new(&id, visitor.browser.digest(), Waits::Account, app.clock.now());
    app.db.write_before(deadline, move |tx| authorize_requests::insert(tx, &waiting))?;
    Ok(id)
}

/// What a person ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A log-in at a browser.
    Session(SessionId),
    /// What a browser remembers.
    Remembered(SeriesName),
    /// A client's access.
    Grant(GrantId),
    /// All log-ins, and all access.
    Everything,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It is over, or was before, or never was this person's.
    Out,
    /// It is over, and this browser's log-in with it.
    OutHere,
    /// The person logs in first.
    LogIn,
}

/// Ends what a person wishes, if it is that person's.
///
/// # Errors
/// [`AuthorizeRefusal::CrossSite`]; the store's own reasons. Without an error the end is durable.
pub fn end(
    app: &App,
    (wish, form_token): (Wish, &str),
    visitor: &Visitor,
    deadline: &Deadline,
) -> Result<Carried, Refusal> {
    let Some(found) = session::find_here(app, visitor, None)? else { return Ok(Carried::LogIn) };
    // ASVS 3.5.1: only a form that was shown to this person in this browser.
    if !visitor.browser.showed(app, &subject(&found), form_token) {
        return Err(AuthorizeRefusal::CrossSite.into());
    }
    // ASVS 7.5.2: after a log-in of just now.
    if !session::is_fresh(app, &found) {
        return Ok(Carried::LogIn);
    }
    let (owner, now) = (found.session.account_id, app.clock.now());
    let ended = app.db.write_before(deadline, move |tx| match wish {
        Wish::Session(id) => browser_sessions::end_of_owner(tx, (id, owner), now),
        Wish::Remembered(name) => {
            // CWE-639: among those of that person, as for grants.
            let mine = remembered_log_ins::list_live(tx, owner, now, MOST_SHOWN)?;
            let meant = mine.iter().find(|series| SeriesName::of(series.id) == name);
            meant.map_or(Ok(false), |series| remembered_log_ins::end(tx, series.id, EndedBy::LogOut, now))
        }
        Wish::Grant(id) => end_grant(tx, (id, owner), now),
        Wish::Everything => {
            browser_sessions::end_of_account(tx, owner, now)?;
            grants::end_of_account(tx, owner, EndedBy::Person, now)?;
            Ok(true)
        }
    })?;
    tracing::info!(event = "ended_by_person", account_id = %owner, ended, ?wish);
    let here = match wish {
        Wish::Session(id) => id == found.session.id,
        Wish::Remembered(name) => found.session.remembered_id.map(SeriesName::of) == Some(name),
        Wish::Grant(_) => false,
        Wish::Everything => true,
    };
    Ok(if here { Carried::OutHere } else { Carried::Out })
}

/// Ends a grant and forgets that it was allowed: whoever comes back is asked.
fn end_grant(tx: &mut Write<'_>, (id, owner): (GrantId, AccountId), now: Timestamp) -> Result<bool, store::Error> {
    // CWE-639: a name that somebody else's page shows ends nothing.
    let mine = grants::find(tx, id)?.filter(|found| found.grant.account_id == owner);
    let Some(found) = mine else { return Ok(false) };
    consents::remove(tx, (owner, &found.grant.client_id))?;
    grants::end(tx, id, EndedBy::Person, now)
}

fn subject(found: &SessionOfAccount) -> [&[u8]; 2] {
    [b"account", found.session.id.as_bytes()]
}

//! Log-ins at a browser: begun with a proven password, known by a cookie, over after a while. Refuses to know
//! what HTTP calls a cookie.

use std::time::Duration;

use super::browser::Visitor;
use super::login::ProvenPassword;
use super::place::Place;
use super::remembered::{self, Memory, RememberedToken};
use crate::app::App;
use crate::clock::Deadline;
use crate::id::SessionId;
use crate::protocol::client_credentials::ClientId;
use crate::reason::{LoginRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, decode_base64url, encode_base64url};
use crate::settings::Binding;
use crate::store::browser_sessions::{self, BrowserSession, SessionOfAccount};
use crate::store::grants::EndedBy;
use crate::store::remembered_log_ins::{self, RememberedLogIn};
use crate::store::{self, DatabaseTime, Write, accounts, authorize_requests};

/// Random bytes of what a cookie says: 256 bits (ASVS 7.2.3).
const TOKEN_BYTES: usize = 32;
/// A use that came this shortly after the one before is not written down.
const TOUCH_AFTER: Duration = Duration::from_mins(1);

/// What a browser's cookie says: the session's for as long as it is not renewed.
pub struct SessionToken(Digest);

impl SessionToken {
    /// Reads a cookie's value; `None` for what we never put there.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode_base64url(text)?;
        (bytes.len() == TOKEN_BYTES).then(|| Self(Digest::sha256(&bytes)))
    }

    /// A new one, and the value of its cookie.
    pub(super) fn new(app: &App) -> (Self, PlainSecret) {
        let bytes = app.random.bytes::<TOKEN_BYTES>();
        (Self(Digest::sha256(&bytes)), PlainSecret::new(encode_base64url(&bytes)))
    }
}

/// The live session behind a cookie, and what its account has allowed that client.
///
/// # Errors
/// The store's own reasons.
pub fn find(
    app: &App,
    token: Option<&SessionToken>,
    client_id: Option<&ClientId>,
) -> Result<Option<SessionOfAccount>, Refusal> {
    Ok(find_any(app, token, client_id)?.filter(|found| is_live(app, found)))
}

/// The same, for whoever wants something by it: none where it is used elsewhere than the person logged in. Who that is says the
/// password.
///
/// # Errors
/// The store's own reasons.
pub fn find_here(
    app: &App,
    visitor: &Visitor,
    client_id: Option<&ClientId>,
) -> Result<Option<SessionOfAccount>, Refusal> {
    let found = find(app, visitor.session.as_ref(), client_id)?;
    Ok(found.filter(|found| suits(app.settings.sessions.binding, &found.session, &visitor.place)))
}

/// NIST SP 800-63B-4 §5.3: a cookie that is somewhere else may be a copy.
fn suits(binding: Binding, session: &BrowserSession, place: &Place) -> bool {
    let same_browser = session.user_agent.as_ref().is_none_or(|known| *known == place.user_agent);
    let same_network = session.network.as_ref().is_none_or(|known| *known == place.network.to_string());
    match binding {
        Binding::Off => true,
        // People move from one network to another all day, and seldom from one browser to another with its cookies.
        Binding::Normal => same_browser,
        Binding::Strong => same_browser && same_network,
    }
}

/// The session behind a cookie that was not ended, whether it still lets anybody in or not: what came from it may go on.
///
/// # Errors
/// The store's own reasons.
pub fn find_unended(app: &App, token: Option<&SessionToken>) -> Result<Option<SessionOfAccount>, Refusal> {
    Ok(find_any(app, token, None)?.filter(|found| found.session.ended_at.is_none()))
}

fn find_any(
    app: &App,
    token: Option<&SessionToken>,
    client_id: Option<&ClientId>,
) -> Result<Option<SessionOfAccount>, Refusal> {
    let Some(SessionToken(digest)) = token else { return Ok(None) };
    Ok(app.db.read(|tx| browser_sessions::find(tx, digest, client_id))?)
}

/// ASVS 7.3.1, 7.3.2: neither ended nor run out, of an account that is as it was.
pub fn is_live(app: &App, found: &SessionOfAccount) -> bool {
    let (now, session) = (app.clock.now(), &found.session);
    let over = session.ended_at.is_some() || found.account_disabled || found.credentials_changed;
    let idle = now >= session.seen_at.plus(app.settings.sessions.idle_ttl);
    !over && !idle && now < session.expires_at
}

/// Whether the person logged in so lately that what is sensitive may be done without a password.
pub fn is_fresh(app: &App, found: &SessionOfAccount) -> bool {
    app.clock.now() <= found.session.auth_time.plus(app.settings.sessions.fresh_for)
}

/// Notes the first use of a session that its browser remembers: the answer that brought its cookie was not lost.
///
/// # Errors
/// The store's own reasons.
pub(super) fn note_first_use(app: &App, session: &BrowserSession, deadline: &Deadline) -> Result<(), Refusal> {
    if session.remembered_id.is_some() && session.seen_at <= session.created_at {
        let (id, now) = (session.id, app.clock.now());
        app.db.write_before(deadline, move |tx| browser_sessions::touch(tx, id, now))?;
    }
    Ok(())
}

/// Whether its use is worth writing down.
pub fn wants_touch(app: &App, session: &BrowserSession) -> bool {
    app.clock.now() >= session.seen_at.plus(TOUCH_AFTER)
}

/// A session that a proven password, or what a browser remembers of one, is to begin.
#[derive(Clone)]
pub struct NewSession {
    row: BrowserSession,
    token: Digest,
    credentials_version: i64,
    not_after: DatabaseTime,
}

impl NewSession {
    fn new(app: &App, proven: &ProvenPassword, place: &Place, token: &SessionToken, deadline: &Deadline) -> Self {
        let now = app.clock.now();
        let row = BrowserSession {
            id: SessionId::new(now, &app.random),
            account_id: proven.account.id,
            amr: proven.amr(),
            auth_time: proven.auth_time,
            created_at: now,
            seen_at: now,
            expires_at: now.plus(app.settings.sessions.absolute_ttl),
            ended_at: None,
            network: Some(place.network.to_string()),
            user_agent: Some(place.user_agent.clone()),
            remembered_id: None,
        };
        let not_after = proven.read_at.plus(deadline.remaining());
        Self { row, token: token.0, credentials_version: proven.account.credentials_version, not_after }
    }

    /// One of a log-in that a browser remembers; nothing comes of it after `not_after`.
    pub(super) fn restored(app: &App, of: &RememberedLogIn, token: &SessionToken, not_after: DatabaseTime) -> Self {
        let now = app.clock.now();
        let row = BrowserSession {
            id: SessionId::new(now, &app.random),
            account_id: of.account_id,
            amr: of.amr.clone(),
            // OpenID Connect Core §2: when the person logged in, which was not now.
            auth_time: of.auth_time,
            created_at: now,
            seen_at: now,
            expires_at: now.plus(app.settings.sessions.absolute_ttl).min(of.expires_at),
            ended_at: None,
            network: Some(of.network.clone()),
            user_agent: Some(of.user_agent.clone()),
            remembered_id: Some(of.id),
        };
        Self { row, token: token.0, credentials_version: of.credentials_version, not_after }
    }

    /// One of a log-in without a browser: nobody has its cookie.
    pub fn without_browser(app: &App, proven: &ProvenPassword, place: &Place, deadline: &Deadline) -> Self {
        let (token, _) = SessionToken::new(app);
        Self::new(app, proven, place, &token, deadline)
    }

    /// Its identifier.
    pub fn id(&self) -> SessionId {
        self.row.id
    }

    /// Adds it; `false` when the account is not what it was.
    ///
    /// # Errors
    /// [`store::Error::Expired`]; the store's own reasons.
    pub fn insert(&self, tx: &mut Write<'_>) -> Result<bool, store::Error> {
        let Self { row, token, credentials_version, not_after } = self;
        if browser_sessions::insert(tx, row, token, *credentials_version, *not_after)? {
            return Ok(true);
        }
        // Too late is not changed.
        let unchanged = accounts::are_credentials(tx, row.account_id, *credentials_version)?;
        if unchanged { Err(store::Error::Expired) } else { Ok(false) }
    }

    /// Puts it in the place of the one whose identifier it has; `false` when that was ended, or the account is not what it was.
    fn renew(&self, tx: &mut Write<'_>) -> Result<bool, store::Error> {
        browser_sessions::renew(tx, &self.row, &self.token, self.credentials_version, self.not_after)
    }
}

/// A session that has just begun.
pub struct Begun {
    /// Its identifier.
    pub id: SessionId,
    /// What names it from now on.
    pub token: SessionToken,
    /// The value of its cookie.
    pub cookie: PlainSecret,
    /// What becomes of what the browser remembers.
    pub memory: Memory,
}

/// What a session begins with, beside the proof.
pub struct Beginning<'a> {
    /// The session that the browser had.
    pub current: Option<&'a SessionOfAccount>,
    /// What the browser remembers.
    pub remembered: Option<&'a RememberedToken>,
    /// What waits for the person to log in.
    pub request: Digest,
    /// Where the person is.
    pub place: &'a Place,
    /// Whether the browser is to be remembered.
    pub remember: bool,
}

/// Begins a session for whoever proved a password, with a cookie that nobody had before (ASVS 7.2.4). In the place of
/// the current one: a later log-in of the same account goes on with it, another account's ends it, with what the browser
/// remembers of that account.
///
/// # Errors
/// [`LoginRefusal::AccountChanged`]; the store's own reasons.
pub fn begin(
    app: &App,
    proven: &ProvenPassword,
    beginning: &Beginning<'_>,
    deadline: &Deadline,
) -> Result<Begun, Refusal> {
    let (current, request, account_id) = (beginning.current, beginning.request, proven.account.id);
    let (now, random) = (app.clock.now(), app.random);
    let (token, cookie) = SessionToken::new(app);
    let mut session = NewSession::new(app, proven, beginning.place, &token, deadline);
    let same = current.filter(|current| current.session.account_id == account_id);
    let (renews, other) = (same.is_some(), current.filter(|_| same.is_none()).map(|other| other.session.id));
    if let Some(same) = same {
        session.row.id = same.session.id;
    }
    let remember = beginning.remember && !app.settings.sessions.remember_ttl.is_zero();
    let (series, set) = remember.then(|| remembered::begin(app, proven, beginning.place)).unzip();
    let brought = remembered::find_brought(app, beginning.remembered, deadline)?;
    let (own, others) = match brought {
        Some(brought) if brought.account_id == account_id => (Some(brought), None),
        brought => (None, brought.map(|brought| brought.id)),
    };
    // What the browser remembered of the log-in before, by its session.
    let before = same.and_then(|same| same.session.remembered_id);
    session.row.remembered_id = series.as_ref().map(|series| series.id).or(own.as_ref().map(|own| own.id));
    let memory = match set {
        Some(cookie) => Memory::Set(cookie),
        None if own.is_none() && beginning.remembered.is_some() => Memory::Cleared,
        None => Memory::Kept,
    };
    let began = app.db.write_before(deadline, move |tx| {
        if let Some(series) = &series {
            accounts::lock(tx, series.account_id)?;
        }
        let mut session = session.clone();
        if !(renews && session.renew(tx)?) {
            session.row.id = SessionId::new(now, &random);
            if !session.insert(tx)? {
                return Ok(None);
            }
        }
        if let Some(series) = &series {
            // What was remembered gives way, and what came of it goes on under the new name: it ends with that.
            if let Some(own) = &own {
                own.give_way(tx, series.id, now)?;
            }
            if let Some(before) = before {
                remembered_log_ins::replace(tx, before, series.id, now)?;
            }
            remembered_log_ins::insert(tx, series)?;
        }
        authorize_requests::note_log_in(tx, &request, session.id())?;
        // Last, since whoever else ends something waits from here to the commit. Nobody is logged in again at a browser where
        // somebody else has logged in since.
        if let Some(others) = others {
            remembered_log_ins::end(tx, others, EndedBy::LogOut, now)?;
        }
        if let Some(other) = other {
            browser_sessions::end(tx, other, now)?;
        }
        Ok(Some(session.id()))
    })?;
    let id = began.ok_or(LoginRefusal::AccountChanged)?;
    Ok(Begun { id, token, cookie, memory })
}

/// Ends a session and what came from it.
///
/// # Errors
/// The store's own reasons; without an error the end is durable.
pub fn end(app: &App, id: SessionId, deadline: &Deadline) -> Result<bool, Refusal> {
    let now = app.clock.now();
    Ok(app.db.write_before(deadline, move |tx| browser_sessions::end(tx, id, now))?)
}

//! Rows of accounts that are logged in at a browser.

use diesel::prelude::*;

use super::dialect::{DatabaseTime, database_now};
use super::grants::EndedBy;
use super::prepared::{Bind, Statement};
use super::schema::{accounts, browser_sessions, consents};
use super::{Error, Read, Write, grants, logout_notices, remembered_log_ins};
use crate::clock::Timestamp;
use crate::id::{AccountId, RememberedId, SessionId};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::scope::Scope;
use crate::secret::Digest;

const TABLE: &str = "browser_sessions";

/// An account that is logged in at a browser.
#[derive(Clone)]
pub struct BrowserSession {
    /// Its identifier, which only its owner's own page shows.
    pub id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// How the person logged in last (RFC 8176).
    pub amr: Vec<String>,
    /// When.
    pub auth_time: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last, roughly.
    pub seen_at: Timestamp,
    /// Over then at the latest.
    pub expires_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// The network that the person logged in from.
    pub network: Option<String>,
    /// The kind of browser and of system that the person logged in with.
    pub user_agent: Option<String>,
    /// What the browser remembers of it.
    pub remembered_id: Option<RememberedId>,
}

/// A session with what must be known of its account to honour it.
pub struct SessionOfAccount {
    /// The session.
    pub session: BrowserSession,
    /// The version of the credentials that it was made with.
    pub credentials_version: i64,
    /// Whether the account's password was changed, or the account disabled, since it was made.
    pub credentials_changed: bool,
    /// Whether its account is disabled.
    pub account_disabled: bool,
    /// The account's e-mail address, to be shown to whoever is logged in.
    pub email: String,
    /// What the account has allowed the client that was asked about.
    pub consented: Option<Scope>,
    /// When it was read.
    pub read_at: DatabaseTime,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = browser_sessions)]
struct Row {
    id: Vec<u8>,
    account_id: Vec<u8>,
    credentials_version: i64,
    amr: String,
    auth_time: i64,
    created_at: i64,
    seen_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
    network: Option<String>,
    user_agent: Option<String>,
    remembered_id: Option<Vec<u8>>,
}

impl Row {
    fn parse(self) -> Option<BrowserSession> {
        let remembered_id = match self.remembered_id {
            Some(bytes) => Some(RememberedId::from_slice(&bytes).ok()?),
            None => None,
        };
        Some(BrowserSession {
            remembered_id,
            id: SessionId::from_slice(&self.id).ok()?,
            account_id: AccountId::from_slice(&self.account_id).ok()?,
            amr: serde_json::from_str(&self.amr).ok()?,
            auth_time: Timestamp::from_micros(self.auth_time),
            created_at: Timestamp::from_micros(self.created_at),
            seen_at: Timestamp::from_micros(self.seen_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            ended_at: self.ended_at.map(Timestamp::from_micros),
            network: self.network,
            user_agent: self.user_agent,
        })
    }
}

/// A session's row with its account's `credentials_version`, `disabled_at` and e-mail address, the scope that was allowed,
/// and when they were read.
type Joined = (Row, i64, Option<i64>, String, Option<String>, i64);

const INSERT: &str = "INSERT INTO browser_sessions (id, token_digest, account_id, credentials_version, amr, auth_time, \
    created_at, seen_at, expires_at, network, user_agent, remembered_id) \
    SELECT ?, ?, id, credentials_version, ?, ?, ?, ?, ?, ?, ?, ? \
    FROM accounts WHERE id = ? AND credentials_version = ? AND disabled_at IS NULL AND database_now() <= ?";

/// Adds the session of a log-in for which the account was read when its credentials had `seen_version`. `false` when the
/// account was disabled or its password changed meanwhile, or when `not_after` has passed.
///
/// # Errors
/// The store's own reasons.
pub fn insert(
    tx: &mut Write<'_>,
    session: &BrowserSession,
    token: &Digest,
    seen_version: i64,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let amr = serde_json::to_string(&session.amr).map_err(|_| Error::Corrupt { table: TABLE })?;
    let binds = vec![
        Bind::Bytes(session.id.as_bytes()),
        Bind::Bytes(token.as_bytes()),
        Bind::Text(&amr),
        Bind::Big(session.auth_time.as_micros()),
        Bind::Big(session.created_at.as_micros()),
        Bind::Big(session.seen_at.as_micros()),
        Bind::Big(session.expires_at.as_micros()),
        Bind::MaybeText(session.network.as_deref()),
        Bind::MaybeText(session.user_agent.as_deref()),
        Bind::MaybeBytes(session.remembered_id.as_ref().map(RememberedId::as_bytes)),
        Bind::Bytes(session.account_id.as_bytes()),
        Bind::Big(seen_version),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(INSERT, binds).execute(tx.conn())? == 1)
}

const RENEW: &str = "UPDATE browser_sessions \
    SET token_digest = ?, amr = ?, auth_time = ?, seen_at = ?, expires_at = ?, network = ?, user_agent = ?, \
    remembered_id = COALESCE(?, remembered_id) \
    WHERE id = ? AND ended_at IS NULL AND credentials_version = ? AND database_now() <= ? \
    AND EXISTS (SELECT 1 FROM accounts WHERE accounts.id = browser_sessions.account_id \
    AND accounts.credentials_version = browser_sessions.credentials_version AND accounts.disabled_at IS NULL)";

/// Puts a later log-in of the same account, in the same browser, in the place of the one before: what came from the session
/// stays bound to it, and belongs to what the browser remembers from now on; what the browser's cookie said is worth nothing any
/// more (ASVS 7.2.4). `false` as for [`insert`], or when the session was ended.
///
/// # Errors
/// The store's own reasons.
pub fn renew(
    tx: &mut Write<'_>,
    session: &BrowserSession,
    token: &Digest,
    seen_version: i64,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let amr = serde_json::to_string(&session.amr).map_err(|_| Error::Corrupt { table: TABLE })?;
    let binds = vec![
        Bind::Bytes(token.as_bytes()),
        Bind::Text(&amr),
        Bind::Big(session.auth_time.as_micros()),
        Bind::Big(session.seen_at.as_micros()),
        Bind::Big(session.expires_at.as_micros()),
        Bind::MaybeText(session.network.as_deref()),
        Bind::MaybeText(session.user_agent.as_deref()),
        Bind::MaybeBytes(session.remembered_id.as_ref().map(RememberedId::as_bytes)),
        Bind::Bytes(session.id.as_bytes()),
        Bind::Big(seen_version),
        Bind::Big(not_after.0),
    ];
    if Statement::new(RENEW, binds).execute(tx.conn())? != 1 {
        return Ok(false);
    }
    if let Some(remembered) = session.remembered_id {
        grants::join_remembered(tx, session.id, remembered)?;
    }
    // Whoever renews a session has its cookie.
    remembered_log_ins::keep_of_session(tx, session.id, session.seen_at)?;
    Ok(true)
}

/// The session that a browser's cookie names, and what its account has allowed that client.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn find(
    tx: &mut Read<'_>,
    token: &Digest,
    client_id: Option<&ClientId>,
) -> Result<Option<SessionOfAccount>, Error> {
    let of_client = client_id.map_or("", ClientId::as_str);
    let consented = consents::account_id.eq(accounts::id).and(consents::client_id.eq(of_client));
    let found: Option<Joined> = browser_sessions::table
        .inner_join(accounts::table)
        .left_join(consents::table.on(consented))
        .filter(browser_sessions::token_digest.eq(token.as_bytes().to_vec()))
        .select((
            Row::as_select(),
            accounts::credentials_version,
            accounts::disabled_at,
            accounts::email,
            consents::scope.nullable(),
            database_now(),
        ))
        .get_result(tx.conn())
        .optional()?;
    let Some((row, credentials_version, disabled_at, email, scope, read_at)) = found else { return Ok(None) };
    let corrupt = Error::Corrupt { table: TABLE };
    let consented = match scope {
        Some(text) => Some(Scope::from_stored(&text).map_err(|_| Error::Corrupt { table: "consents" })?),
        None => None,
    };
    Ok(Some(SessionOfAccount {
        credentials_changed: row.credentials_version != credentials_version,
        credentials_version: row.credentials_version,
        session: row.parse().ok_or(corrupt)?,
        account_disabled: disabled_at.is_some(),
        email,
        consented,
        read_at: DatabaseTime(read_at),
    }))
}

pub(super) const TOUCH: &str = "UPDATE browser_sessions SET seen_at = ? WHERE id = ? AND ended_at IS NULL";

/// Notes that a session was used, and so that its cookie came to whoever it was made for. `false` when it was ended; otherwise
/// whoever ends it waits until this transaction is over, and finds what it made.
///
/// # Errors
/// The store's own reasons.
pub fn touch(tx: &mut Write<'_>, id: SessionId, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    if Statement::new(TOUCH, binds).execute(tx.conn())? != 1 {
        return Ok(false);
    }
    remembered_log_ins::keep_of_session(tx, id, now)?;
    Ok(true)
}

const END: &str = "UPDATE browser_sessions SET ended_at = ? WHERE id = ? AND ended_at IS NULL";

/// Ends a session and what came from it, whether its row is still there or not; what the browser remembers of it, and the
/// other sessions that came from that. `false` when it was over already.
///
/// # Errors
/// The store's own reasons.
pub fn end(tx: &mut Write<'_>, id: SessionId, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    // Whoever makes a grant of it holds its row: after this, none is made.
    let ended = Statement::new(END, binds).execute(tx.conn())? == 1;
    let of_same: Option<Option<Vec<u8>>> = browser_sessions::table
        .find(id.as_bytes())
        .select(browser_sessions::remembered_id)
        .get_result(tx.conn())
        .optional()?;
    let known = of_same.is_some();
    let corrupt = |_| Error::Corrupt { table: TABLE };
    let remembered = of_same.flatten().map(|bytes| RememberedId::from_slice(&bytes)).transpose().map_err(corrupt)?;
    // Whoever shows an old ID token again and again has nobody told again.
    if ended || !known {
        logout_notices::insert_of_session(tx, id, now)?;
    }
    if let Some(remembered) = remembered {
        // Also when it made room for another: its row is gone then.
        if ended {
            logout_notices::insert_of_remembered(tx, remembered, now)?;
        }
        remembered_log_ins::end(tx, remembered, EndedBy::LogOut, now)?;
    }
    // Last, since whoever else ends something waits from here to the commit.
    grants::end_of_session(tx, id, now)?;
    Ok(ended)
}

const END_OF_REMEMBERED: &str = "UPDATE browser_sessions SET ended_at = ? WHERE remembered_id = ? AND ended_at IS NULL";

/// Ends the sessions that came from what a browser remembers; what came from them is for the caller to end.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_remembered(tx: &mut Write<'_>, id: RememberedId, now: Timestamp) -> Result<(), Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    Statement::new(END_OF_REMEMBERED, binds).execute(tx.conn())?;
    Ok(())
}

const FOLLOW: &str = "UPDATE browser_sessions SET remembered_id = ? WHERE remembered_id = ? AND ended_at IS NULL";

/// Has the sessions of what a browser remembered belong to what has taken its place.
///
/// # Errors
/// The store's own reasons.
pub(super) fn follow_remembered(tx: &mut Write<'_>, from: RememberedId, to: RememberedId) -> Result<(), Error> {
    let binds = vec![Bind::Bytes(to.as_bytes()), Bind::Bytes(from.as_bytes())];
    Statement::new(FOLLOW, binds).execute(tx.conn())?;
    Ok(())
}

/// The sessions of an account that let somebody in at `now`, the one that was used last first; those that were used last before
/// `rested` do not.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn list_live(
    tx: &mut Read<'_>,
    id: AccountId,
    (now, rested): (Timestamp, Timestamp),
    limit: i64,
) -> Result<Vec<BrowserSession>, Error> {
    let rows: Vec<Row> = browser_sessions::table
        .inner_join(accounts::table)
        .filter(browser_sessions::account_id.eq(id.as_bytes()))
        .filter(browser_sessions::credentials_version.eq(accounts::credentials_version))
        .filter(browser_sessions::ended_at.is_null())
        .filter(browser_sessions::expires_at.gt(now.as_micros()))
        .filter(browser_sessions::seen_at.gt(rested.as_micros()))
        .order((browser_sessions::seen_at.desc(), browser_sessions::id))
        .limit(limit)
        .select(Row::as_select())
        .load(tx.conn())?;
    rows.into_iter().map(|row| row.parse().ok_or(Error::Corrupt { table: TABLE })).collect()
}

/// Ends a session and what came from it, if it is that account's. `false` when it is not, or was over already.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_owner(tx: &mut Write<'_>, (id, owner): (SessionId, AccountId), now: Timestamp) -> Result<bool, Error> {
    let found: Option<Vec<u8>> = browser_sessions::table
        .find(id.as_bytes())
        .select(browser_sessions::account_id)
        .get_result(tx.conn())
        .optional()?;
    // CWE-639: no session changes hands.
    if found.as_deref() == Some(owner.as_bytes()) { end(tx, id, now) } else { Ok(false) }
}

/// Ends every session of an account, and what browsers remember of them; what came from them is for the caller to end.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_account(tx: &mut Write<'_>, id: AccountId, now: Timestamp) -> Result<usize, Error> {
    remembered_log_ins::end_of_account(tx, id, now)?;
    let live = browser_sessions::table
        .filter(browser_sessions::account_id.eq(id.as_bytes()))
        .filter(browser_sessions::ended_at.is_null());
    Ok(diesel::update(live).set(browser_sessions::ended_at.eq(now.as_micros())).execute(tx.conn())?)
}

const REMOVE_EXPIRED: &str = "DELETE FROM browser_sessions WHERE id IN \
    (SELECT id FROM browser_sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` sessions whose last moment was before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

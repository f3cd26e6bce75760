//! Rows of log-ins that a browser remembers: each use moves the series on, by one conditional statement.

use diesel::prelude::*;

use super::dialect::{DatabaseTime, database_now};
use super::grants::{self, EndedBy};
use super::prepared::{Bind, Statement};
use super::schema::{accounts, remembered_log_ins};
use super::{Error, Read, Write, browser_sessions, logout_notices};
use crate::clock::Timestamp;
use crate::id::{AccountId, RememberedId, SessionId};
use crate::secret::Digest;

const TABLE: &str = "remembered_log_ins";
/// The most that an account has.
pub const MOST_OF_ACCOUNT: i64 = 20;

/// A log-in that a browser remembers.
#[derive(Clone)]
pub struct RememberedLogIn {
    /// Its identifier.
    pub id: RememberedId,
    /// The digest of the secret that is good now.
    pub secret: Digest,
    /// The digest of the one before.
    pub spent: Option<Digest>,
    /// Whose it is.
    pub account_id: AccountId,
    /// The version of the credentials that the person logged in with.
    pub credentials_version: i64,
    /// How the person logged in (RFC 8176).
    pub amr: Vec<String>,
    /// When the person logged in.
    pub auth_time: Timestamp,
    /// When the secret before was used.
    pub moved_at: Timestamp,
    /// When something showed first that the answer to that had come to its browser.
    pub kept_at: Option<Timestamp>,
    /// Over then.
    pub expires_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// The network that the person logged in from.
    pub network: String,
    /// The kind of browser and of system that the person logged in with.
    pub user_agent: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = remembered_log_ins)]
struct Row {
    id: Vec<u8>,
    secret_digest: Vec<u8>,
    spent_digest: Option<Vec<u8>>,
    account_id: Vec<u8>,
    credentials_version: i64,
    amr: String,
    auth_time: i64,
    moved_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
    network: String,
    user_agent: String,
    kept_at: Option<i64>,
}

impl Row {
    fn parse(self) -> Option<RememberedLogIn> {
        let spent = match self.spent_digest {
            Some(bytes) => Some(Digest::from_slice(&bytes)?),
            None => None,
        };
        Some(RememberedLogIn {
            id: RememberedId::from_slice(&self.id).ok()?,
            secret: Digest::from_slice(&self.secret_digest)?,
            spent,
            account_id: AccountId::from_slice(&self.account_id).ok()?,
            credentials_version: self.credentials_version,
            amr: serde_json::from_str(&self.amr).ok()?,
            auth_time: Timestamp::from_micros(self.auth_time),
            moved_at: Timestamp::from_micros(self.moved_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            ended_at: self.ended_at.map(Timestamp::from_micros),
            kept_at: self.kept_at.map(Timestamp::from_micros),
            network: self.network,
            user_agent: self.user_agent,
        })
    }
}

const MAKE_ROOM: &str = "DELETE FROM remembered_log_ins WHERE account_id = ? AND id NOT IN \
    (SELECT id FROM remembered_log_ins WHERE account_id = ? AND ended_at IS NULL \
    ORDER BY moved_at DESC, id DESC LIMIT ?)";
const INSERT: &str = "INSERT INTO remembered_log_ins (id, secret_digest, account_id, credentials_version, amr, auth_time, \
    moved_at, expires_at, network, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Adds one, beside the session of the log-in itself. Of the account's others those leave that are over, and those that were
/// used longest ago when there are too many; whoever adds one holds the account ([`accounts::lock`](super::accounts::lock)).
///
/// # Errors
/// The store's own reasons.
pub fn insert(tx: &mut Write<'_>, row: &RememberedLogIn) -> Result<(), Error> {
    let amr = serde_json::to_string(&row.amr).map_err(|_| Error::Corrupt { table: TABLE })?;
    let account_id = row.account_id.as_bytes();
    // ASVS 2.4.1: whoever logs in without end fills nothing.
    let others = vec![Bind::Bytes(account_id), Bind::Bytes(account_id), Bind::Big(MOST_OF_ACCOUNT - 1)];
    Statement::new(MAKE_ROOM, others).execute(tx.conn())?;
    let binds = vec![
        Bind::Bytes(row.id.as_bytes()),
        Bind::Bytes(row.secret.as_bytes()),
        Bind::Bytes(account_id),
        Bind::Big(row.credentials_version),
        Bind::Text(&amr),
        Bind::Big(row.auth_time.as_micros()),
        Bind::Big(row.moved_at.as_micros()),
        Bind::Big(row.expires_at.as_micros()),
        Bind::Text(&row.network),
        Bind::Text(&row.user_agent),
    ];
    Statement::new(INSERT, binds).execute(tx.conn())?;
    Ok(())
}

/// The one of that identifier, and when it was read.
///
/// # Errors
/// [`Error::Corrupt`] when it cannot be read; the store's own reasons.
pub fn find(tx: &mut Read<'_>, id: RememberedId) -> Result<Option<(RememberedLogIn, DatabaseTime)>, Error> {
    let found: Option<(Row, i64)> = remembered_log_ins::table
        .find(id.as_bytes().to_vec())
        .select((Row::as_select(), database_now()))
        .get_result(tx.conn())
        .optional()?;
    let Some((row, read_at)) = found else { return Ok(None) };
    Ok(Some((row.parse().ok_or(Error::Corrupt { table: TABLE })?, DatabaseTime(read_at))))
}

/// Those of an account that let somebody in at `now`, the one that was used last first.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn list_live(tx: &mut Read<'_>, id: AccountId, now: Timestamp, limit: i64) -> Result<Vec<RememberedLogIn>, Error> {
    let rows: Vec<Row> = remembered_log_ins::table
        .inner_join(accounts::table)
        .filter(remembered_log_ins::account_id.eq(id.as_bytes()))
        .filter(remembered_log_ins::credentials_version.eq(accounts::credentials_version))
        .filter(remembered_log_ins::ended_at.is_null())
        .filter(remembered_log_ins::expires_at.gt(now.as_micros()))
        .order((remembered_log_ins::moved_at.desc(), remembered_log_ins::id))
        .limit(limit)
        .select(Row::as_select())
        .load(tx.conn())?;
    rows.into_iter().map(|row| row.parse().ok_or(Error::Corrupt { table: TABLE })).collect()
}

/// What takes the place of a secret, by its digest.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The secret that is good.
    pub from: Digest,
    /// The one that is good instead.
    pub to: Digest,
}

const MOVE_ON: &str = "UPDATE remembered_log_ins SET secret_digest = ?, spent_digest = ?, moved_at = ?, kept_at = NULL \
    WHERE id = ? AND secret_digest = ? AND ended_at IS NULL";

/// Spends the secret that is good, which only one can. `false` when somebody else has, or it was ended.
///
/// # Errors
/// The store's own reasons.
pub fn move_on(tx: &mut Write<'_>, id: RememberedId, turn: &Turn, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![
        Bind::Bytes(turn.to.as_bytes()),
        Bind::Bytes(turn.from.as_bytes()),
        Bind::Big(now.as_micros()),
        Bind::Bytes(id.as_bytes()),
        Bind::Bytes(turn.from.as_bytes()),
    ];
    Ok(Statement::new(MOVE_ON, binds).execute(tx.conn())? == 1)
}

const ANSWER_ANEW: &str = "UPDATE remembered_log_ins SET secret_digest = ?, moved_at = ? \
    WHERE id = ? AND secret_digest = ? AND kept_at IS NULL AND ended_at IS NULL";

/// Takes back a secret that came to nobody, as far as is known, with the sessions beside it, and has another follow the one that
/// was spent. `false` when it came to somebody after all, somebody else was first, or it was ended.
///
/// # Errors
/// The store's own reasons.
pub fn answer_anew(tx: &mut Write<'_>, id: RememberedId, turn: &Turn, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![
        Bind::Bytes(turn.to.as_bytes()),
        Bind::Big(now.as_micros()),
        Bind::Bytes(id.as_bytes()),
        Bind::Bytes(turn.from.as_bytes()),
    ];
    if Statement::new(ANSWER_ANEW, binds).execute(tx.conn())? != 1 {
        return Ok(false);
    }
    browser_sessions::end_of_remembered(tx, id, now)?;
    Ok(true)
}

pub(super) const KEEP_OF_SESSION: &str = "UPDATE remembered_log_ins SET kept_at = ? WHERE kept_at IS NULL \
    AND id = (SELECT remembered_id FROM browser_sessions WHERE browser_sessions.id = ?)";

/// Notes that a session was used of what its browser remembers: the answer that brought it was not lost.
///
/// # Errors
/// The store's own reasons.
pub(super) fn keep_of_session(tx: &mut Write<'_>, id: SessionId, now: Timestamp) -> Result<(), Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    Statement::new(KEEP_OF_SESSION, binds).execute(tx.conn())?;
    Ok(())
}

const HOLD: &str = "UPDATE remembered_log_ins SET moved_at = moved_at \
    WHERE id = ? AND secret_digest = ? AND ended_at IS NULL";

/// Whether that is the secret still; whoever ends it waits until this transaction is over, and finds what it made.
///
/// # Errors
/// The store's own reasons.
pub fn hold(tx: &mut Write<'_>, id: RememberedId, secret: &Digest) -> Result<bool, Error> {
    let binds = vec![Bind::Bytes(id.as_bytes()), Bind::Bytes(secret.as_bytes())];
    Ok(Statement::new(HOLD, binds).execute(tx.conn())? == 1)
}

const END: &str = "UPDATE remembered_log_ins SET ended_at = ? WHERE id = ? AND ended_at IS NULL";

/// Ends one, with the sessions that came from it and what came from those, however long they have been gone; all of their
/// clients are told, also of what goes on. `false` when it was over already.
///
/// # Errors
/// The store's own reasons.
pub fn end(tx: &mut Write<'_>, id: RememberedId, by: EndedBy, now: Timestamp) -> Result<bool, Error> {
    let ended = forget(tx, id, now)?;
    // Whoever makes a grant of a session holds its row: after this, none is made.
    browser_sessions::end_of_remembered(tx, id, now)?;
    if ended {
        logout_notices::insert_of_remembered(tx, id, now)?;
    }
    grants::end_of_remembered(tx, id, by, now)?;
    Ok(ended)
}

/// Puts another in the place of one: what came from the one belongs to the other.
///
/// # Errors
/// The store's own reasons.
pub fn replace(tx: &mut Write<'_>, from: RememberedId, to: RememberedId, now: Timestamp) -> Result<(), Error> {
    forget(tx, from, now)?;
    // In this order, as in `end`: what is being made of a session is waited for.
    browser_sessions::follow_remembered(tx, from, to)?;
    grants::follow_remembered(tx, from, to)
}

/// Ends one, and leaves what came from it. `false` when it was over already.
fn forget(tx: &mut Write<'_>, id: RememberedId, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    Ok(Statement::new(END, binds).execute(tx.conn())? == 1)
}

const END_OF_ACCOUNT: &str = "UPDATE remembered_log_ins SET ended_at = ? WHERE account_id = ? AND ended_at IS NULL";

/// Ends all of an account.
///
/// # Errors
/// The store's own reasons.
pub(super) fn end_of_account(tx: &mut Write<'_>, id: AccountId, now: Timestamp) -> Result<(), Error> {
    let binds = vec![Bind::Big(now.as_micros()), Bind::Bytes(id.as_bytes())];
    Statement::new(END_OF_ACCOUNT, binds).execute(tx.conn())?;
    Ok(())
}

const REMOVE_EXPIRED: &str = "DELETE FROM remembered_log_ins WHERE id IN \
    (SELECT id FROM remembered_log_ins WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` of them whose last moment was before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! Rows of clients that are to be told that somebody logged out, one for a grant. Written in the transaction that ends the
//! log-in or the grant, so that no end goes untold; taken from there until the client has answered.

use diesel::dsl::min;
use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::{clients, logout_notices};
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, RememberedId, SessionId};
use crate::protocol::client_credentials::ClientId;

/// A client that is to be told.
#[derive(Clone)]
pub struct LogoutNotice {
    /// The grant that came from the log-in.
    pub grant_id: GrantId,
    /// Who logged out.
    pub account_id: AccountId,
    /// Whom to tell.
    pub client_id: ClientId,
    /// How often it was tried.
    pub attempts: i16,
    /// When to try next.
    pub due_at: Timestamp,
    /// When the log-in ended.
    pub created_at: Timestamp,
}

/// Takes down the live grants of some kind whose clients want to be told; what they are registered with is looked at once more
/// before anybody is. Of a grant that waits already there is one notice.
macro_rules! insert_where {
    ($which:literal) => {
        concat!(
            "INSERT INTO logout_notices (grant_id, client_id, account_id, attempts, due_at, created_at) ",
            "SELECT grants.id, grants.client_id, grants.account_id, 0, ?, ? ",
            "FROM grants INNER JOIN clients ON clients.id = grants.client_id WHERE ",
            $which,
            " AND grants.ended_at IS NULL AND grants.session_id IS NOT NULL ",
            "AND clients.metadata LIKE '%\"backchannel_logout_uri\":%' ON CONFLICT (grant_id) DO NOTHING"
        )
    };
}

const INSERT_OF_GRANT: &str = insert_where!("grants.id = ?");
const INSERT_OF_SESSION: &str = insert_where!("grants.session_id = ?");
const INSERT_OF_REMEMBERED: &str = insert_where!("grants.remembered_id = ?");
const INSERT_OF_ACCOUNT: &str = insert_where!("grants.account_id = ?");
const INSERT_OUTDATED: &str = insert_where!("grants.account_id = ? AND grants.credentials_version <> ?");

fn insert(tx: &mut Write<'_>, sql: &'static str, which: Vec<Bind<'_>>, now: Timestamp) -> Result<(), Error> {
    let mut binds = vec![Bind::Big(now.as_micros()), Bind::Big(now.as_micros())];
    binds.extend(which);
    Statement::new(sql, binds).execute(tx.conn())?;
    Ok(())
}

/// The client of a grant that is about to end is to be told.
///
/// # Errors
/// The store's own reasons.
pub(super) fn insert_of_grant(tx: &mut Write<'_>, id: GrantId, now: Timestamp) -> Result<(), Error> {
    insert(tx, INSERT_OF_GRANT, vec![Bind::Bytes(id.as_bytes())], now)
}

/// The clients of all that came from a log-in at a browser are to be told.
///
/// # Errors
/// The store's own reasons.
pub(super) fn insert_of_session(tx: &mut Write<'_>, id: SessionId, now: Timestamp) -> Result<(), Error> {
    insert(tx, INSERT_OF_SESSION, vec![Bind::Bytes(id.as_bytes())], now)
}

/// The clients of all that came from what a browser remembers are to be told.
///
/// # Errors
/// The store's own reasons.
pub(super) fn insert_of_remembered(tx: &mut Write<'_>, id: RememberedId, now: Timestamp) -> Result<(), Error> {
    insert(tx, INSERT_OF_REMEMBERED, vec![Bind::Bytes(id.as_bytes())], now)
}

/// The clients of all that came from an account's log-ins at browsers are to be told.
///
/// # Errors
/// The store's own reasons.
pub(super) fn insert_of_account(tx: &mut Write<'_>, id: AccountId, now: Timestamp) -> Result<(), Error> {
    insert(tx, INSERT_OF_ACCOUNT, vec![Bind::Bytes(id.as_bytes())], now)
}

/// The same of what was made for other credentials than those of `version`.
///
/// # Errors
/// The store's own reasons.
pub(super) fn insert_outdated(
    tx: &mut Write<'_>,
    (id, version): (AccountId, i64),
    now: Timestamp,
) -> Result<(), Error> {
    insert(tx, INSERT_OUTDATED, vec![Bind::Bytes(id.as_bytes()), Bind::Big(version)], now)
}

/// At most `limit` of the clients that registered themselves, or of the others, that are to be told something now: the one that has
/// waited longest first.
///
/// # Errors
/// The store's own reasons.
pub fn list_due_clients(
    tx: &mut Read<'_>,
    registered_themselves: bool,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ClientId>, Error> {
    let ids: Vec<String> = logout_notices::table
        .inner_join(clients::table)
        .filter(clients::registration_digest.is_not_null().eq(registered_themselves))
        .filter(logout_notices::due_at.le(now.as_micros()))
        .group_by(logout_notices::client_id)
        .order(min(logout_notices::due_at))
        .limit(limit)
        .select(logout_notices::client_id)
        .load(tx.conn())?;
    Ok(ids.iter().filter_map(|id| ClientId::parse(id)).collect())
}

/// Grant, account, tries, when next, since when.
type Row = (Vec<u8>, Vec<u8>, i16, i64, i64);

/// What a client is to be told now, the oldest first.
///
/// # Errors
/// [`Error::Corrupt`] when it cannot be read; the store's own reasons.
pub fn find_due(tx: &mut Read<'_>, client_id: &ClientId, now: Timestamp) -> Result<Option<LogoutNotice>, Error> {
    let row: Option<Row> = logout_notices::table
        .filter(logout_notices::client_id.eq(client_id.as_str()))
        .filter(logout_notices::due_at.le(now.as_micros()))
        .order((logout_notices::due_at, logout_notices::grant_id))
        .select((
            logout_notices::grant_id,
            logout_notices::account_id,
            logout_notices::attempts,
            logout_notices::due_at,
            logout_notices::created_at,
        ))
        .first(tx.conn())
        .optional()?;
    let Some((grant_id, account_id, attempts, due_at, created_at)) = row else { return Ok(None) };
    let corrupt = |_| Error::Corrupt { table: "logout_notices" };
    Ok(Some(LogoutNotice {
        grant_id: GrantId::from_slice(&grant_id).map_err(corrupt)?,
        account_id: AccountId::from_slice(&account_id).map_err(corrupt)?,
        client_id: client_id.clone(),
        attempts,
        due_at: Timestamp::from_micros(due_at),
        created_at: Timestamp::from_micros(created_at),
    }))
}

const CLAIM: &str = "UPDATE logout_notices SET attempts = attempts + 1, due_at = ? \
    WHERE grant_id = ? AND attempts = ? AND due_at = ?";

/// Takes a notice that is due, which only one can; whoever then fails, or falls, is followed at `next`. `false` when
/// somebody else has.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, notice: &LogoutNotice, next: Timestamp) -> Result<bool, Error> {
    let binds = vec![
        Bind::Big(next.as_micros()),
        Bind::Bytes(notice.grant_id.as_bytes()),
        Bind::Small(notice.attempts),
        Bind::Big(notice.due_at.as_micros()),
    ];
    Ok(Statement::new(CLAIM, binds).execute(tx.conn())? == 1)
}

const GIVE_BACK: &str = "UPDATE logout_notices SET attempts = ?, due_at = ? WHERE grant_id = ? AND attempts = ?";

/// Gives back a notice that was claimed, since nobody was called: that was no try, and the next is at `next`.
///
/// # Errors
/// The store's own reasons.
pub fn give_back(tx: &mut Write<'_>, notice: &LogoutNotice, next: Timestamp) -> Result<(), Error> {
    let binds = vec![
        Bind::Small(notice.attempts),
        Bind::Big(next.as_micros()),
        Bind::Bytes(notice.grant_id.as_bytes()),
        Bind::Small(notice.attempts.saturating_add(1)),
    ];
    Statement::new(GIVE_BACK, binds).execute(tx.conn())?;
    Ok(())
}

const REMOVE: &str = "DELETE FROM logout_notices WHERE grant_id = ?";

/// Removes a notice: the client was told, or will not be.
///
/// # Errors
/// The store's own reasons.
pub fn remove(tx: &mut Write<'_>, id: GrantId) -> Result<(), Error> {
    Statement::new(REMOVE, vec![Bind::Bytes(id.as_bytes())]).execute(tx.conn())?;
    Ok(())
}

const POSTPONE: &str = "UPDATE logout_notices SET due_at = ? WHERE client_id = ? AND due_at < ?";

/// Leaves a client that does not answer in peace for a while, whatever else it is to be told.
///
/// # Errors
/// The store's own reasons.
pub fn postpone(tx: &mut Write<'_>, client_id: &ClientId, next: Timestamp) -> Result<(), Error> {
    let next = next.as_micros();
    let binds = vec![Bind::Big(next), Bind::Text(client_id.as_str()), Bind::Big(next)];
    Statement::new(POSTPONE, binds).execute(tx.conn())?;
    Ok(())
}

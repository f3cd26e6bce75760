//! Grants as they are looked through: of a log-in at a browser, and by whoever gave them.

use diesel::prelude::*;

use super::TABLE;
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, RememberedId, SessionId};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::scope::Scope;
use crate::store::schema::{accounts, grants};
use crate::store::{Error, Read};

/// The grants that came from a log-in at a browser, or from what that browser remembers, and were not ended, the oldest first, each
/// with its client.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn of_session(
    tx: &mut Read<'_>,
    id: SessionId,
    remembered: Option<RememberedId>,
    limit: i64,
) -> Result<Vec<(GrantId, ClientId)>, Error> {
    let remembered = remembered.map(|id| id.as_bytes().to_vec());
    let rows: Vec<(Vec<u8>, String)> = grants::table
        .filter(grants::session_id.eq(id.as_bytes()).or(grants::remembered_id.eq(remembered)))
        .filter(grants::ended_at.is_null())
        .order(grants::id)
        .limit(limit)
        .select((grants::id, grants::client_id))
        .load(tx.conn())?;
    let parse =
        |(id, client_id): (Vec<u8>, String)| Some((GrantId::from_slice(&id).ok()?, ClientId::parse(&client_id)?));
    rows.into_iter().map(|row| parse(row).ok_or(Error::Corrupt { table: TABLE })).collect()
}

/// A grant as its owner sees it.
pub struct ListedGrant {
    /// Its identifier.
    pub id: GrantId,
    /// The client that it was given to.
    pub client_id: ClientId,
    /// What was granted.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its refresh token was used last, or it was made.
    pub rotated_at: Timestamp,
    /// When it is over unless it is used before.
    pub idle_expires_at: Timestamp,
}

type ListedRow = (Vec<u8>, String, String, i64, i64, i64);

fn parse_listed((id, client_id, scope, created_at, rotated_at, idle_expires_at): ListedRow) -> Option<ListedGrant> {
    Some(ListedGrant {
        id: GrantId::from_slice(&id).ok()?,
        client_id: ClientId::parse(&client_id)?,
        scope: Scope::from_stored(&scope).ok()?,
        created_at: Timestamp::from_micros(created_at),
        rotated_at: Timestamp::from_micros(rotated_at),
        idle_expires_at: Timestamp::from_micros(idle_expires_at),
    })
}

/// What is in force of an account's grants: neither ended nor run out, nor made for credentials that it has no more.
#[diesel::dsl::auto_type]
fn live(account_id: Vec<u8>, now: i64) -> _ {
    grants::table
        .inner_join(accounts::table)
        .filter(grants::account_id.eq(account_id))
        .filter(grants::credentials_version.eq(accounts::credentials_version))
        .filter(grants::ended_at.is_null())
        .filter(grants::expires_at.gt(now))
        .filter(grants::idle_expires_at.gt(now))
}

/// The grants of an account that are in force, the latest first.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn of_account(tx: &mut Read<'_>, id: AccountId, now: Timestamp, limit: i64) -> Result<Vec<ListedGrant>, Error> {
    let rows: Vec<ListedRow> = live(id.as_bytes().to_vec(), now.as_micros())
        .order(grants::id.desc())
        .limit(limit)
        .select((
            grants::id,
            grants::client_id,
            grants::scope,
            grants::created_at,
            grants::rotated_at,
            grants::idle_expires_at,
        ))
        .load(tx.conn())?;
    rows.into_iter().map(|row| parse_listed(row).ok_or(Error::Corrupt { table: TABLE })).collect()
}

/// How many grants of an account are neither ended nor expired.
///
/// # Errors
/// The store's own reasons.
pub fn count_live(tx: &mut Read<'_>, id: AccountId, now: Timestamp) -> Result<i64, Error> {
    Ok(live(id.as_bytes().to_vec(), now.as_micros()).count().get_result(tx.conn())?)
}

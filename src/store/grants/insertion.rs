//! A grant that is added, as the last thing that is looked at: of an account, a client and a log-in that are what they were.

use diesel::RunQueryDsl as _;

use super::{Grant, TABLE};
use crate::id::SessionId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::Resource;
use crate::store::dialect::DatabaseTime;
use crate::store::prepared::{Bind, Statement};
use crate::store::{Error, Write};

pub(in crate::store) const INSERT: &str = "INSERT INTO grants (id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, \
    generation, winner, siblings, rotated_at, idle_expires_at, expires_at, status_position, session_id, confirmation, claims, \
    subject, remembered_id, credentials_version) \
    SELECT ?, ?, id, ?, ?, ?, ?, ?, ?, 1, 0, 1, ?, ?, ?, ?, ?, ?, ?, ?, \
    (SELECT remembered_id FROM browser_sessions WHERE browser_sessions.id = ?), credentials_version \
    FROM accounts WHERE id = ? AND credentials_version = ? AND disabled_at IS NULL AND database_now() <= ? \
    AND NOT EXISTS (SELECT 1 FROM clients WHERE clients.id = ? AND clients.disabled_at IS NOT NULL)";

/// Adds the grant of a log-in for which the account was read when its credentials had `seen_version`; it belongs to what the
/// browser remembers of that log-in, if it does. `false` when the
/// account or the client was disabled or the password changed meanwhile, or when `not_after` has passed; of an account that
/// is changed at this very moment, the grant is over as soon as it is there.
///
/// # Errors
/// [`Error::Conflict`] when its client does not exist.
pub fn insert(tx: &mut Write<'_>, grant: &Grant, seen_version: i64, not_after: DatabaseTime) -> Result<bool, Error> {
    insert_by(tx, (INSERT, Vec::new()), grant, seen_version, not_after)
}

/// The same as the last part of a longer statement, and what goes before.
pub(in crate::store) fn insert_by(
    tx: &mut Write<'_>,
    (sql, mut binds): (&'static str, Vec<Bind<'_>>),
    grant: &Grant,
    seen_version: i64,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let corrupt = |_| Error::Corrupt { table: TABLE };
    let audiences: Vec<_> = grant.audiences.iter().map(Resource::as_str).collect();
    let audiences = serde_json::to_string(&audiences).map_err(corrupt)?;
    let (scope, amr) = (grant.scope.to_string(), serde_json::to_string(&grant.amr).map_err(corrupt)?);
    let confirmation = grant.confirmation.as_ref().and_then(Confirmation::to_stored);
    let claims = grant.claims.to_stored();
    binds.extend([
        Bind::Bytes(grant.id.as_bytes()),
        Bind::Bytes(&grant.handle.0),
        Bind::Text(grant.client_id.as_str()),
        Bind::Text(&scope),
        Bind::Text(&audiences),
        Bind::Text(&amr),
        Bind::Big(grant.auth_time.as_micros()),
        Bind::Big(grant.created_at.as_micros()),
        Bind::Big(grant.rotation.rotated_at.as_micros()),
        Bind::Big(grant.idle_expires_at.as_micros()),
        Bind::Big(grant.expires_at.as_micros()),
        Bind::Big(grant.status_position),
        Bind::MaybeBytes(grant.session_id.as_ref().map(SessionId::as_bytes)),
        Bind::MaybeText(confirmation.as_deref()),
        Bind::MaybeText(claims.as_deref()),
        Bind::MaybeText(grant.subject.as_deref()),
        Bind::MaybeBytes(grant.session_id.as_ref().map(SessionId::as_bytes)),
        Bind::Bytes(grant.account_id.as_bytes()),
        Bind::Big(seen_version),
        Bind::Big(not_after.0),
        Bind::Text(grant.client_id.as_str()),
    ]);
    Ok(Statement::new(sql, binds).execute(tx.conn())? == 1)
}

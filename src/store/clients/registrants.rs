//! Clients that registered themselves: how many there are, and which of them leave. Refuses to know who may register.

use std::time::Duration;

use diesel::prelude::*;

use super::disable;
use crate::clock::Timestamp;
use crate::protocol::client_credentials::ClientId;
use crate::secret::{Digest, Random};
use crate::store::dialect::lock_client;
use crate::store::epochs::{self, Topic};
use crate::store::prepared::{Bind, Statement};
use crate::store::schema::clients;
use crate::store::{Error, Write, consents};

/// The digest of nothing that anybody could show: a client that deleted itself is nobody's to change.
const NOBODYS: [u8; 32] = [0; 32];

/// How many clients have registered themselves, those that are over included as long as they are here. Nobody else changes
/// that until this transaction ends.
///
/// # Errors
/// The store's own reasons.
pub fn count(tx: &mut Write<'_>) -> Result<i64, Error> {
    epochs::lock(tx, Topic::Clients)?;
    Ok(clients::table.filter(clients::registration_digest.is_not_null()).count().get_result(tx.conn())?)
}

/// How long after its registration a client is left for those who begin to use it: it takes nobody's word to begin, so that
/// whoever wants to could keep it for ever.
const POSTPONED_FOR: Duration = Duration::from_hours(7 * 24);

const POSTPONE: &str =
    "UPDATE clients SET unused_since = ? WHERE id = ? AND unused_since IS NOT NULL AND created_at > ?";

/// Notes that somebody has begun to use a client that nobody has allowed anything yet: it is left until that has come to
/// something, in the first week after its registration.
///
/// # Errors
/// The store's own reasons.
pub fn postpone(tx: &mut Write<'_>, id: &ClientId, now: Timestamp) -> Result<(), Error> {
    // CWE-770: nobody need log in to begin, and that keeps nothing for ever.
    let made_after = now.minus(POSTPONED_FOR).as_micros();
    let binds = vec![Bind::Big(now.as_micros()), Bind::Text(id.as_str()), Bind::Big(made_after)];
    Statement::new(POSTPONE, binds).execute(tx.conn())?;
    Ok(())
}

const KEEP: &str =
    "UPDATE clients SET unused_since = NULL WHERE id = ? AND unused_since IS NOT NULL AND disabled_at IS NULL";

/// Notes that a client is used: somebody has allowed it something, and it stays; not if it deleted itself meanwhile.
///
/// # Errors
/// The store's own reasons.
pub fn keep(tx: &mut Write<'_>, id: &ClientId) -> Result<(), Error> {
    Statement::new(KEEP, vec![Bind::Text(id.as_str())]).execute(tx.conn())?;
    Ok(())
}

/// Ends a client's registration at its own word, which works once; `false` otherwise. One that nobody has allowed anything is
/// gone with that; any other is disabled, and leaves once nothing is left of what it was granted ([`remove_unused`]).
///
/// # Errors
/// The store's own reasons.
pub fn deregister(
    tx: &mut Write<'_>,
    (id, registration): (&ClientId, &Digest),
    now: Timestamp,
    random: Random,
) -> Result<bool, Error> {
    lock_client(tx.conn(), id.as_str())?;
    let own = clients::table
        .find(id.as_str())
        .filter(clients::registration_digest.eq(registration.as_bytes().as_slice()))
        .filter(clients::disabled_at.is_null());
    let unused_since: Option<Option<i64>> = diesel::update(own)
        .set(clients::registration_digest.eq(NOBODYS.as_slice()))
        .returning(clients::unused_since)
        .get_result(tx.conn())
        .optional()?;
    let Some(unused_since) = unused_since else { return Ok(false) };
    // CWE-770: whoever registers and deletes, again and again, leaves nothing behind.
    if unused_since.is_some() && remove_if_free(tx, id.as_str())? {
        epochs::advance(tx, Topic::Clients)?;
        return Ok(true);
    }
    consents::remove_of_client(tx, id)?;
    diesel::update(clients::table.find(id.as_str()))
        .set(clients::unused_since.eq(now.as_micros()))
        .execute(tx.conn())?;
    disable(tx, id, now, random)
}

/// How long a client that registered itself is kept while nobody allows it anything, after it was registered or somebody last
/// began to use it: no longer than somebody takes who has just installed it. Whoever begins is believed for the first week
/// alone ([`postpone`]), so that it is gone after eight days.
const UNUSED_TTL: Duration = Duration::from_hours(24);

// The database's clock must agree, since what is removed does not come back.
const HOLD_UNUSED: &str = "UPDATE clients SET unused_since = unused_since \
    WHERE id = ? AND unused_since < ? AND unused_since < database_now() - ?";
// What somebody allowed by a device, or at a server from before the column, is noted nowhere else; of what was allowed and
// taken back there is a grant for a while. What one had that deleted itself keeps nothing.
const KEEP_USED: &str = "UPDATE clients SET unused_since = NULL WHERE id = ? AND registration_digest <> ? \
    AND (EXISTS (SELECT 1 FROM consents WHERE client_id = ?) OR EXISTS (SELECT 1 FROM grants WHERE client_id = ?))";
// What was allowed while it deleted itself is worth nothing.
const FORGET_CONSENTS: &str = "DELETE FROM consents WHERE client_id = ? \
    AND EXISTS (SELECT 1 FROM clients WHERE id = ? AND registration_digest = ?)";
const IS_FREE: &str = "UPDATE clients SET unused_since = unused_since WHERE id = ? \
    AND NOT EXISTS (SELECT 1 FROM grants WHERE client_id = ?) \
    AND NOT EXISTS (SELECT 1 FROM consents WHERE client_id = ?) \
    AND NOT EXISTS (SELECT 1 FROM authorization_codes WHERE client_id = ?) \
    AND NOT EXISTS (SELECT 1 FROM device_codes WHERE client_id = ?) \
    AND NOT EXISTS (SELECT 1 FROM logout_notices WHERE client_id = ?)";
const LOOK_AGAIN: &str = "UPDATE clients SET unused_since = ? WHERE id = ?";
const REMOVE_SECRETS: &str = "DELETE FROM client_secrets WHERE client_id = ?";
// CWE-770: whoever goes on pushing keeps neither its client nor those that leave with it.
const REMOVE_PUSHED: &str = "DELETE FROM pushed_requests WHERE client_id = ?";
const REMOVE: &str = "DELETE FROM clients WHERE id = ?";

/// What came of a step through clients that nobody uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// The clients that were removed.
    pub removed: Vec<String>,
    /// How many were due: none of them is again for a day, if it is still there.
    pub seen: usize,
}

/// Looks at the clients that registered themselves and that nobody has used or begun to for a day, at most `limit` of them,
/// and removes those that nothing refers to. The others are looked at again a day later.
///
/// # Errors
/// The store's own reasons.
pub fn remove_unused(tx: &mut Write<'_>, now: Timestamp, limit: i64) -> Result<Gone, Error> {
    let before = now.minus(UNUSED_TTL).as_micros();
    let ttl = i64::try_from(UNUSED_TTL.as_micros()).unwrap_or(i64::MAX);
    let due: Vec<String> = clients::table
        .filter(clients::unused_since.lt(before))
        .order(clients::unused_since)
        .limit(limit)
        .select(clients::id)
        .load(tx.conn())?;
    let mut gone = Gone::default();
    for id in due {
        // Whoever allows it something, or begins to, is waited for, and it stays; or waits here, and finds it gone.
        lock_client(tx.conn(), &id)?;
        let held = vec![Bind::Text(&id), Bind::Big(before), Bind::Big(ttl)];
        if Statement::new(HOLD_UNUSED, held).execute(tx.conn())? == 0 {
            continue;
        }
        gone.seen += 1;
        let of_it = vec![Bind::Text(&id), Bind::Bytes(&NOBODYS), Bind::Text(&id), Bind::Text(&id)];
        if Statement::new(KEEP_USED, of_it).execute(tx.conn())? == 1 {
            continue;
        }
        let of_it = vec![Bind::Text(&id), Bind::Text(&id), Bind::Bytes(&NOBODYS)];
        Statement::new(FORGET_CONSENTS, of_it).execute(tx.conn())?;
        if remove_if_free(tx, &id)? {
            gone.removed.push(id);
        } else {
            let again = vec![Bind::Big(now.as_micros()), Bind::Text(&id)];
            Statement::new(LOOK_AGAIN, again).execute(tx.conn())?;
        }
    }
    if !gone.removed.is_empty() {
        epochs::advance(tx, Topic::Clients)?;
    }
    Ok(gone)
}

/// Removes a client that [`lock_client`] has locked, if nothing refers to it but what leaves with it.
fn remove_if_free(tx: &mut Write<'_>, id: &str) -> Result<bool, Error> {
    let of_it = (0..IS_FREE.matches('?').count()).map(|_| Bind::Text(id)).collect();
    if Statement::new(IS_FREE, of_it).execute(tx.conn())? == 0 {
        return Ok(false);
    }
    for statement in [REMOVE_SECRETS, REMOVE_PUSHED, REMOVE] {
        Statement::new(statement, vec![Bind::Text(id)]).execute(tx.conn())?;
    }
    Ok(true)
}

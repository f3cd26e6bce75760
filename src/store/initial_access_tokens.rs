//! Rows of initial access tokens (RFC 7591 §1.2): what lets somebody register so many clients until then. Only digests.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::initial_access_tokens;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Keeps a token that is good for so many registrations until then.
///
/// # Errors
/// The store's own reasons.
pub fn insert(
    tx: &mut Write<'_>,
    digest: &Digest,
    uses: i32,
    (created_at, expires_at): (Timestamp, Timestamp),
) -> Result<(), Error> {
    diesel::insert_into(initial_access_tokens::table)
        .values((
            initial_access_tokens::digest.eq(digest.as_bytes().as_slice()),
            initial_access_tokens::uses_left.eq(uses),
            initial_access_tokens::created_at.eq(created_at.as_micros()),
            initial_access_tokens::expires_at.eq(expires_at.as_micros()),
        ))
        .execute(tx.conn())?;
    Ok(())
}

/// Whether that token is good for one more registration.
///
/// # Errors
/// The store's own reasons.
pub fn is_good(tx: &mut Read<'_>, digest: &Digest, now: Timestamp) -> Result<bool, Error> {
    let found: Option<(i32, i64)> = initial_access_tokens::table
        .find(digest.as_bytes().as_slice())
        .select((initial_access_tokens::uses_left, initial_access_tokens::expires_at))
        .get_result(tx.conn())
        .optional()?;
    Ok(found.is_some_and(|(uses_left, expires_at)| uses_left > 0 && now.as_micros() < expires_at))
}

const CLAIM: &str = "UPDATE initial_access_tokens SET uses_left = uses_left - 1 \
    WHERE digest = ? AND uses_left > 0 AND expires_at > ?";

/// Uses a token once; `false` when it is used up, over, or none of ours.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, digest: &Digest, now: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Bytes(digest.as_bytes()), Bind::Big(now.as_micros())];
    Ok(Statement::new(CLAIM, binds).execute(tx.conn())? == 1)
}

const REMOVE_ALL: &str = "DELETE FROM initial_access_tokens";

/// Removes every token; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_all(tx: &mut Write<'_>) -> Result<usize, Error> {
    Ok(Statement::new(REMOVE_ALL, Vec::new()).execute(tx.conn())?)
}

const REMOVE_EXPIRED: &str = "DELETE FROM initial_access_tokens WHERE digest IN \
    (SELECT digest FROM initial_access_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ?)";

/// Removes at most `limit` tokens that were good until before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! Access tokens that were revoked one by one: those that have no grant whose end would end them.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::revoked_tokens;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

/// Remembers a revoked token until it would have expired.
///
/// # Errors
/// [`Error::Conflict`] when it is revoked already.
pub fn insert(tx: &mut Write<'_>, jti: &str, expires_at: Timestamp) -> Result<(), Error> {
    diesel::insert_into(revoked_tokens::table)
        .values((revoked_tokens::jti.eq(jti), revoked_tokens::expires_at.eq(expires_at.as_micros())))
        .execute(tx.conn())?;
    Ok(())
}

/// Whether that token is revoked.
///
/// # Errors
/// The store's own reasons.
pub fn contains(tx: &mut Read<'_>, jti: &str) -> Result<bool, Error> {
    let found: Option<String> =
        revoked_tokens::table.find(jti).select(revoked_tokens::jti).get_result(tx.conn()).optional()?;
    Ok(found.is_some())
}

const REMOVE_EXPIRED: &str = "DELETE FROM revoked_tokens WHERE jti IN \
    (SELECT jti FROM revoked_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` rows of tokens that expired before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

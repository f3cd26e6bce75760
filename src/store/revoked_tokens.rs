//! Access tokens that were revoked one by one: those that have no grant whose end would end them.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::revoked_tokens;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

const INSERT: &str = "INSERT INTO revoked_tokens (jti, expires_at) VALUES (?, ?) ON CONFLICT (jti) DO NOTHING";

/// Remembers a revoked token until it would have expired; `false` when it was revoked already.
///
/// # Errors
/// The store's own reasons.
pub fn insert(tx: &mut Write<'_>, jti: &str, expires_at: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Text(jti), Bind::Big(expires_at.as_micros())];
    Ok(Statement::new(INSERT, binds).execute(tx.conn())? == 1)
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

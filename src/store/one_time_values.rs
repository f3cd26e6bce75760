//! Values that are good once: names of assertions and of proofs. Kept until they would be refused anyway.

use diesel::RunQueryDsl as _;

use super::prepared::{Bind, Statement};
use super::{Error, Write};
use crate::clock::Timestamp;
use crate::secret::Digest;

const INSERT: &str = "INSERT INTO one_time_values (digest, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING";

/// Uses a value up. `false` when it has been used.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, value: &Digest, expires_at: Timestamp) -> Result<bool, Error> {
    let binds = vec![Bind::Bytes(value.as_bytes()), Bind::Big(expires_at.as_micros())];
    Ok(Statement::new(INSERT, binds).execute(tx.conn())? == 1)
}

const REMOVE_EXPIRED: &str = "DELETE FROM one_time_values WHERE digest IN \
    (SELECT digest FROM one_time_values WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` values that were over before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! What refreshes change of a grant's row: one conditional statement each, after which the row is as it was read and one step on,
//! or nothing has changed.

use diesel::RunQueryDsl as _;

use super::{Rotation, TABLE};
use crate::clock::Timestamp;
use crate::id::GrantId;
use crate::store::dialect::DatabaseTime;
use crate::store::prepared::{Bind, Statement};
use crate::store::{Error, Write};

/// The rotation. No indexed column changes, so that PostgreSQL writes no index (a heap-only update).
const ROTATE: &str = "UPDATE grants \
    SET generation = ?, winner = ?, siblings = ?, rotated_at = ?, attempt = ?, idle_expires_at = ? \
    WHERE id = ? AND generation = ? AND ended_at IS NULL AND database_now() <= ?";

/// Moves a grant from `from` to its next generation, in which `to.winner` is the sibling that was used, unless
/// `not_after` has passed. `false` when it has, or when the row is no longer as it was read; nothing is changed then.
///
/// # Errors
/// The store's own reasons.
pub fn rotate(
    tx: &mut Write<'_>,
    (id, from): (GrantId, u32),
    to: &Rotation,
    idle_expires_at: Timestamp,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let corrupt = |_| Error::Corrupt { table: TABLE };
    let attempt = to.attempt.as_ref().map(|digest| digest.as_bytes().as_slice());
    let binds = vec![
        Bind::Int(i32::try_from(to.generation).map_err(corrupt)?),
        Bind::Small(to.winner.into()),
        Bind::Small(to.siblings.into()),
        Bind::Big(to.rotated_at.as_micros()),
        Bind::MaybeBytes(attempt),
        Bind::Big(idle_expires_at.as_micros()),
        Bind::Bytes(id.as_bytes()),
        Bind::Int(i32::try_from(from).map_err(corrupt)?),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(ROTATE, binds).execute(tx.conn())? == 1)
}

/// One more token of the same generation.
const ADD_SIBLING: &str = "UPDATE grants SET siblings = siblings + 1 \
    WHERE id = ? AND generation = ? AND siblings = ? AND ended_at IS NULL AND database_now() <= ?";

/// Puts one more sibling beside the `seen.siblings` of a generation, unless `not_after` has passed. `false` when it has,
/// or when the row is no longer as it was read; nothing is changed then.
///
/// # Errors
/// The store's own reasons.
pub fn add_sibling(tx: &mut Write<'_>, id: GrantId, seen: &Rotation, not_after: DatabaseTime) -> Result<bool, Error> {
    let generation = i32::try_from(seen.generation).map_err(|_| Error::Corrupt { table: TABLE })?;
    let binds = vec![
        Bind::Bytes(id.as_bytes()),
        Bind::Int(generation),
        Bind::Small(seen.siblings.into()),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(ADD_SIBLING, binds).execute(tx.conn())? == 1)
}

/// A use that rotates nothing.
const KEEP: &str = "UPDATE grants SET idle_expires_at = ? \
    WHERE id = ? AND generation = ? AND ended_at IS NULL AND database_now() <= ?";

/// Lets the tokens of a generation rest until `idle_expires_at`, unless `not_after` has passed. `false` when it has, or when
/// the row is no longer as it was read; nothing is changed then.
///
/// # Errors
/// The store's own reasons.
pub fn keep(
    tx: &mut Write<'_>,
    (id, generation): (GrantId, u32),
    idle_expires_at: Timestamp,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let binds = vec![
        Bind::Big(idle_expires_at.as_micros()),
        Bind::Bytes(id.as_bytes()),
        Bind::Int(i32::try_from(generation).map_err(|_| Error::Corrupt { table: TABLE })?),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(KEEP, binds).execute(tx.conn())? == 1)
}

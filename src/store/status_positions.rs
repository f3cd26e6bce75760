//! Where grants and clients stand in the status lists: positions, and who hands out which.
//!
//! Positions are handed out in blocks that lie together, so that one query finds what is free of a block; which bit of its
//! list a position is, the list's permutation tells.

use std::collections::HashSet;
use std::time::Duration;

use diesel::dsl::{count_star, max};
use diesel::prelude::*;

use super::instances::InstanceId;
use super::prepared::{Bind, Statement};
use super::schema::{clients, grants, status_bits, status_leases, status_lists};
use super::status_changes;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::secret::Random;

/// How many positions a list has.
pub const LIST_POSITIONS: i64 = 1 << 20;
/// How many positions are handed out together.
pub const BLOCK_POSITIONS: i64 = 1024;
/// How many of them have to be free.
const ENOUGH_FREE: usize = 256;
/// How many blocks are looked at before another list is opened.
const TRIES: u32 = 16;
/// A block that was leased so long ago is nobody's, in microseconds; its holder gave it up long before.
const LEASE: i64 = 3_600_000_000;

/// A list, and what scatters its positions.
pub type ListRow = (i32, Vec<u8>);

/// All lists in order.
///
/// # Errors
/// The store's own reasons.
pub fn load_lists(tx: &mut Read<'_>) -> Result<Vec<ListRow>, Error> {
    Ok(status_lists::table.order(status_lists::list).load(tx.conn())?)
}

/// Leases a block to an instance: the positions in it that are free. The newest list is kept empty, so that every verifier
/// has heard of a list before a token names it.
///
/// # Errors
/// The store's own reasons.
pub fn lease(tx: &mut Write<'_>, holder: InstanceId, random: Random) -> Result<Vec<i64>, Error> {
    loop {
        let blocks = usable_lists(tx)? * (LIST_POSITIONS / BLOCK_POSITIONS);
        for _ in 0..TRIES {
            let block = below(blocks, random);
            if !take(tx, block, holder)? {
                continue;
            }
            // Only now that nobody else hands it out.
            let free = free_in(tx, block)?;
            if free.len() >= ENOUGH_FREE {
                return Ok(free);
            }
            diesel::delete(status_leases::table.find(block)).execute(tx.conn())?;
        }
        open_list(tx, random)?;
    }
}

/// One free position, for what is made too rarely to keep a block for. It is free until this transaction ends.
///
/// # Errors
/// The store's own reasons.
pub fn find_free(tx: &mut Write<'_>, random: Random) -> Result<i64, Error> {
    let holder = random.bytes();
    let free = lease(tx, holder, random)?;
    // Whoever wants the block waits until this transaction ends, and sees then what became of it.
    give_up(tx, holder)?;
    let nth = below(i64::try_from(free.len()).unwrap_or(1), random);
    let found = usize::try_from(nth).ok().and_then(|nth| free.get(nth)).copied();
    found.ok_or(Error::Corrupt { table: "status_leases" })
}

/// Sees to it that the lists of all positions exist, and one more.
///
/// # Errors
/// The store's own reasons.
pub fn prepare(tx: &mut Write<'_>, random: Random) -> Result<(), Error> {
    let highest: Option<i64> =
        grants::table.filter(grants::ended_at.is_null()).select(max(grants::status_position)).first(tx.conn())?;
    while usable_lists(tx)? * LIST_POSITIONS <= highest.unwrap_or(0) {
        open_list(tx, random)?;
    }
    Ok(())
}

/// Gives up what an instance has leased.
///
/// # Errors
/// The store's own reasons.
pub fn give_up(tx: &mut Write<'_>, holder: InstanceId) -> Result<(), Error> {
    diesel::delete(status_leases::table.filter(status_leases::holder.eq(holder.as_slice()))).execute(tx.conn())?;
    Ok(())
}

/// All lists but the newest.
fn usable_lists(tx: &mut Read<'_>) -> Result<i64, Error> {
    let lists: i64 = status_lists::table.select(count_star()).first(tx.conn())?;
    Ok((lists - 1).max(1))
}

const OPEN_LIST: &str = "INSERT INTO status_lists (list, permutation) VALUES (?, ?) ON CONFLICT (list) DO NOTHING";

fn open_list(tx: &mut Write<'_>, random: Random) -> Result<(), Error> {
    let newest: Option<i32> = status_lists::table.select(max(status_lists::list)).first(tx.conn())?;
    let (list, permutation) = (newest.map_or(0, |newest| newest + 1), random.bytes::<16>());
    let binds = vec![Bind::Int(list), Bind::Bytes(&permutation)];
    // Another instance may have opened the same one.
    if Statement::new(OPEN_LIST, binds).execute(tx.conn())? == 1 {
        let lists = u64::try_from(list + 1).map_err(|_| Error::Corrupt { table: "status_lists" })?;
        status_changes::announce_lists(tx, lists)?;
    }
    Ok(())
}

fn bounds(block: i64) -> (i64, i64) {
    (block * BLOCK_POSITIONS, (block + 1) * BLOCK_POSITIONS - 1)
}

/// The positions of a block that nothing has, and that do not rest either.
fn free_in(tx: &mut Read<'_>, block: i64) -> Result<Vec<i64>, Error> {
    let (first, last) = bounds(block);
    let of_grants: Vec<i64> = grants::table
        .filter(grants::ended_at.is_null().and(grants::status_position.between(first, last)))
        .select(grants::status_position)
        .load(tx.conn())?;
    let of_clients: Vec<i64> = clients::table
        .filter(clients::status_position.between(first, last))
        .select(clients::status_position)
        .load(tx.conn())?;
    let resting: Vec<i64> = status_bits::table
        .filter(status_bits::position.between(first, last))
        .select(status_bits::position)
        .load(tx.conn())?;
    let taken: HashSet<i64> = of_grants.into_iter().chain(of_clients).chain(resting).collect();
    Ok((first..=last).filter(|position| !taken.contains(position)).collect())
}

const TAKE: &str = "INSERT INTO status_leases (block, holder, leased_at) VALUES (?, ?, database_now()) \
    ON CONFLICT (block) DO UPDATE SET holder = excluded.holder, leased_at = excluded.leased_at \
    WHERE status_leases.leased_at < database_now() - ?";

fn take(tx: &mut Write<'_>, block: i64, holder: InstanceId) -> Result<bool, Error> {
    let binds = vec![Bind::Big(block), Bind::Bytes(&holder), Bind::Big(LEASE)];
    Ok(Statement::new(TAKE, binds).execute(tx.conn())? == 1)
}

const REMOVE_RESTED: &str = "DELETE FROM status_bits WHERE position IN \
    (SELECT position FROM status_bits WHERE cleared_at < ? ORDER BY ended_at LIMIT ?) AND cleared_at < database_now() - ?";

/// Lets at most `limit` positions be handed out again that were cleared longer than `rest` ago, both by `now` and by the
/// database's clock; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_rested(tx: &mut Write<'_>, now: Timestamp, rest: Duration, limit: i64) -> Result<usize, Error> {
    let span = i64::try_from(rest.as_micros()).unwrap_or(i64::MAX);
    let binds = vec![Bind::Big(now.minus(rest).as_micros()), Bind::Big(limit), Bind::Big(span)];
    Ok(Statement::new(REMOVE_RESTED, binds).execute(tx.conn())?)
}

/// A number from 0 to `end - 1`.
fn below(end: i64, random: Random) -> i64 {
    let number = u64::from_le_bytes(random.bytes::<8>());
    i64::try_from(number % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
}

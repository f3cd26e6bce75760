//! Counts of failed log-ins. An attempt is counted before its password is looked at, in one statement, so that guesses
//! made at the same time cannot pass the limit together.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer};

use super::prepared::{Bind, Statement};
use super::schema::login_attempts;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// When failures begin to cost time, and how much at most.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// The failure after which the first wait begins.
    pub failures_until_wait: u32,
    /// The longest wait.
    pub longest_wait: Duration,
}

/// Whether an attempt may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was counted as a failure until [`clear`] says otherwise.
    Counted,
    /// Nothing was counted; the next may be made then.
    Blocked {
        /// When the wait ends.
        until: Timestamp,
    },
}

/// Counts an attempt under `key` unless an earlier one's wait is not over. The wait after the n-th failure after the
/// one that begins the waits is 2^n seconds.
const COUNT: &str = "INSERT INTO login_attempts (key, failures, tried_at, blocked_until) \
    VALUES ($1, 1, $2, CASE WHEN 1 < $3 THEN 0 ELSE $2 + 1000000 END) \
    ON CONFLICT (key) DO UPDATE SET \
        failures = login_attempts.failures + 1, \
        tried_at = $2, \
        blocked_until = CASE \
            WHEN login_attempts.failures + 1 < $3 THEN 0 \
            WHEN login_attempts.failures + 1 - $3 > 20 THEN $2 + $4 \
            WHEN (CAST(1000000 AS BIGINT) << (login_attempts.failures + 1 - $3)) > $4 THEN $2 + $4 \
            ELSE $2 + (CAST(1000000 AS BIGINT) << (login_attempts.failures + 1 - $3)) END \
    WHERE login_attempts.blocked_until <= $2 OR login_attempts.blocked_until > $2 + $4";

/// Counts an attempt.
///
/// # Errors
/// The store's own reasons.
pub fn count(tx: &mut Write<'_>, key: &Digest, throttle: Throttle, now: Timestamp) -> Result<Attempt, Error> {
    let longest = i64::try_from(throttle.longest_wait.as_micros()).unwrap_or(i64::MAX);
    let counted = diesel::sql_query(COUNT)
        .bind::<Binary, _>(key.as_bytes().as_slice())
        .bind::<BigInt, _>(now.as_micros())
        .bind::<Integer, _>(i32::try_from(throttle.failures_until_wait).unwrap_or(i32::MAX))
        .bind::<BigInt, _>(longest)
        .execute(tx.conn())?;
    if counted == 1 {
        return Ok(Attempt::Counted);
    }
    Ok(Attempt::Blocked { until: blocked_until(tx, key, throttle, now)?.unwrap_or(now) })
}

/// When the wait under `key` ends, if there is one at `now`. A wait longer than the longest was written by a clock that
/// was wrong, and counts as none.
///
/// # Errors
/// The store's own reasons.
pub fn blocked_until(
    tx: &mut Read<'_>,
    key: &Digest,
    throttle: Throttle,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let until: Option<i64> = login_attempts::table
        .find(key.as_bytes().as_slice())
        .filter(login_attempts::blocked_until.gt(now.as_micros()))
        .filter(login_attempts::blocked_until.le(now.plus(throttle.longest_wait).as_micros()))
        .select(login_attempts::blocked_until)
        .get_result(tx.conn())
        .optional()?;
    Ok(until.map(Timestamp::from_micros))
}

/// Whether a log-in under `key` has ever succeeded since `since`.
///
/// # Errors
/// The store's own reasons.
pub fn has_succeeded_since(tx: &mut Read<'_>, key: &Digest, since: Timestamp) -> Result<bool, Error> {
    let at: Option<Option<i64>> = login_attempts::table
        .find(key.as_bytes().as_slice())
        .select(login_attempts::succeeded_at)
        .get_result(tx.conn())
        .optional()?;
    Ok(at.flatten().is_some_and(|at| at >= since.as_micros()))
}

/// Forgets the failures under a key after a log-in that succeeded. Callers take keys in the order in which they were
/// counted, so that two log-ins of one account never wait for each other in a circle.
///
/// # Errors
/// The store's own reasons.
pub fn clear(tx: &mut Write<'_>, key: &Digest, now: Timestamp) -> Result<(), Error> {
    diesel::update(login_attempts::table.find(key.as_bytes().as_slice()))
        .set((
            login_attempts::failures.eq(0),
            login_attempts::blocked_until.eq(0),
            login_attempts::succeeded_at.eq(now.as_micros()),
        ))
        .execute(tx.conn())?;
    Ok(())
}

/// Forgets the failures under a key.
///
/// # Errors
/// The store's own reasons.
pub fn forget(tx: &mut Write<'_>, key: &Digest) -> Result<(), Error> {
    diesel::delete(login_attempts::table.find(key.as_bytes().as_slice())).execute(tx.conn())?;
    Ok(())
}

const REMOVE_STALE: &str = "DELETE FROM login_attempts WHERE key IN \
    (SELECT key FROM login_attempts WHERE tried_at < ? AND (succeeded_at IS NULL OR tried_at < ?) \
     ORDER BY tried_at LIMIT ?)";

/// Removes at most `limit` rows that nobody has tried since `failed_before`, or since `succeeded_before` if a log-in
/// ever succeeded under them; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_stale(
    tx: &mut Write<'_>,
    failed_before: Timestamp,
    succeeded_before: Timestamp,
    limit: i64,
) -> Result<usize, Error> {
    let binds = vec![Bind::Big(failed_before.as_micros()), Bind::Big(succeeded_before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_STALE, binds).execute(tx.conn())?)
}

//! Counts of failed log-ins, and the memory of those that succeeded.

use std::time::Duration;

use diesel::prelude::*;

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

/// What is remembered under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Failures since the last log-in that succeeded.
    pub failures: u32,
    /// When the wait ends that the last failure began.
    pub blocked_until: Timestamp,
    /// When a log-in last succeeded.
    pub succeeded_at: Option<Timestamp>,
}

impl Count {
    /// When the wait ends, if there is one at `now`. A wait longer than the longest was written by a clock that was
    /// wrong, and counts as none.
    pub fn wait(&self, throttle: Throttle, now: Timestamp) -> Option<Timestamp> {
        let until = self.blocked_until;
        (until > now && until <= now.plus(throttle.longest_wait)).then_some(until)
    }
}

/// What is remembered under two keys, in their order.
///
/// # Errors
/// The store's own reasons.
pub fn find(tx: &mut Read<'_>, keys: [&Digest; 2]) -> Result<[Option<Count>; 2], Error> {
    let [one, other] = keys.map(|key| key.as_bytes().as_slice());
    let rows: Vec<(Vec<u8>, i32, i64, Option<i64>)> = login_attempts::table
        .filter(login_attempts::key.eq(one).or(login_attempts::key.eq(other)))
        .select((
            login_attempts::key,
            login_attempts::failures,
            login_attempts::blocked_until,
            login_attempts::succeeded_at,
        ))
        .load(tx.conn())?;
    let count = |key: &[u8]| {
        let (_, failures, blocked_until, succeeded_at) = rows.iter().find(|row| row.0 == key)?;
        Some(Count {
            failures: u32::try_from(*failures).unwrap_or(0),
            blocked_until: Timestamp::from_micros(*blocked_until),
            succeeded_at: succeeded_at.map(Timestamp::from_micros),
        })
    };
    Ok([count(one), count(other)])
}

/// Counts a failure. The wait after the n-th failure after the one that begins the waits is 2^n seconds.
const COUNT_FAILURE: &str = "INSERT INTO login_attempts (key, failures, tried_at, blocked_until) \
    VALUES (?, 1, ?, CASE WHEN 1 < ? THEN 0 ELSE ? END) \
    ON CONFLICT (key) DO UPDATE SET \
        failures = login_attempts.failures + 1, \
        tried_at = ?, \
        blocked_until = CASE \
            WHEN login_attempts.failures + 1 < ? THEN 0 \
            WHEN login_attempts.failures + 1 - ? > 20 THEN ? \
            WHEN (CAST(1000000 AS BIGINT) << (login_attempts.failures + 1 - ?)) > ? THEN ? \
            ELSE ? + (CAST(1000000 AS BIGINT) << (login_attempts.failures + 1 - ?)) END";

/// Counts a failed log-in under a key.
///
/// # Errors
/// The store's own reasons.
pub fn count_failure(tx: &mut Write<'_>, key: &Digest, throttle: Throttle, now: Timestamp) -> Result<(), Error> {
    let first_wait = i32::try_from(throttle.failures_until_wait).unwrap_or(i32::MAX);
    let longest = i64::try_from(throttle.longest_wait.as_micros()).unwrap_or(i64::MAX);
    let (at, latest) = (now.as_micros(), now.plus(throttle.longest_wait).as_micros());
    let binds = vec![
        Bind::Bytes(key.as_bytes()),
        Bind::Big(at),
        Bind::Int(first_wait),
        Bind::Big(now.plus(Duration::from_secs(1)).as_micros()),
        Bind::Big(at),
        Bind::Int(first_wait),
        Bind::Int(first_wait),
        Bind::Big(latest),
        Bind::Int(first_wait),
        Bind::Big(longest),
        Bind::Big(latest),
        Bind::Big(at),
        Bind::Int(first_wait),
    ];
    Statement::new(COUNT_FAILURE, binds).execute(tx.conn())?;
    Ok(())
}

const COUNT_SUCCESS: &str = "INSERT INTO login_attempts (key, failures, tried_at, blocked_until, succeeded_at) \
    VALUES (?, 0, ?, 0, ?) \
    ON CONFLICT (key) DO UPDATE SET failures = 0, tried_at = ?, blocked_until = 0, succeeded_at = ?";

/// Forgets the failures under a key after a log-in that succeeded, and remembers when that was. Callers take keys in the
/// order in which failures are counted, so that two log-ins of one account never wait for each other in a circle.
///
/// # Errors
/// The store's own reasons.
pub fn count_success(tx: &mut Write<'_>, key: &Digest, now: Timestamp) -> Result<(), Error> {
    let mut binds = vec![Bind::Bytes(key.as_bytes())];
    binds.extend((0..4).map(|_| Bind::Big(now.as_micros())));
    Statement::new(COUNT_SUCCESS, binds).execute(tx.conn())?;
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

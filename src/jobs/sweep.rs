//! The sweep: rows that can no longer matter leave in small steps, each short enough that nobody notices waiting for it,
//! with pauses in between, so that a million of them are gone in minutes and requests go on as if nothing happened.
//!
//! What is deleted does not come back, so a clock that is wrong for a moment must not decide it: the sweep goes by the
//! wall clock only as far as it moved no faster than the monotonic one since the start, and where grants and revocations
//! are concerned the database's clock must agree.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::store::clients::registrants::{self, Gone};
use crate::store::{
    self, Write, authorization_codes, authorize_requests, browser_sessions, device_codes, grants,
    initial_access_tokens, login_attempts, one_time_values, pushed_requests, remembered_log_ins, revoked_tokens,
    status_changes, status_positions, status_receipts,
};

/// From the start, or from the end of one round, to the next.
const BETWEEN_ROUNDS: Duration = Duration::from_mins(1);
/// How long a step should take; the number of rows follows from it.
const STEP: Duration = Duration::from_millis(2);
/// The rest after a step, by the step: a twentieth of one connection's time, or of the writer's, is all that a sweep takes.
const REST: u32 = 20;
/// Bounds of the rows that a step removes. A client takes a handful of statements.
const FEWEST_ROWS: i64 = 25;
const FEWEST_CLIENTS: i64 = 1;
const MOST_ROWS: i64 = 500;
/// A clock that goes back a little must not revive what was revoked, nor make a spent token look unknown.
const MARGIN: Duration = Duration::from_hours(24);
/// How long a position rests after its bit was cleared: longer than any verifier goes on without news (`max_stale`, 15 min at most), so that none
/// takes the next grant there for the one that is over.
const REST_OF_POSITIONS: Duration = Duration::from_mins(30);
/// How long changes are kept for verifiers that come back: longer than any list lives that they could go on from.
const CHANGES_TTL: Duration = Duration::from_hours(1);
/// How long a verifier that says nothing any more is remembered: whoever was ended without a farewell is no news.
const RECEIPTS_TTL: Duration = Duration::from_hours(1);
/// How long a code is kept that bought nothing: there is nothing that its second use could end.
const UNUSED_CODES_TTL: Duration = Duration::from_mins(5);
/// How far instances' clocks are apart at the most: a value that one has given up could be good for another.
const BETWEEN_CLOCKS: Duration = Duration::from_mins(5);
/// How long a device's code is known for one that is over.
const DEVICE_CODES_TTL: Duration = Duration::from_mins(5);
/// How long counts of log-ins are kept: of failures only, and of networks that are remembered as known.
const FAILURES_TTL: Duration = Duration::from_hours(30 * 24);
const KNOWN_NETWORKS_TTL: Duration = Duration::from_hours(100 * 24);

type Remove<T> = fn(&mut Write<'_>, Timestamp, i64) -> Result<T, store::Error>;

/// What is swept: each table with what removes at most so many of its rows that are over at an instant.
const TABLES: [(&str, Remove<usize>); 14] = [
    ("grants", |tx, now, rows| grants::remove_expired(tx, now.minus(MARGIN), rows)),
    ("revoked_tokens", |tx, now, rows| revoked_tokens::remove_expired(tx, now.minus(MARGIN), rows)),
    ("status_bits", |tx, now, rows| status_positions::remove_rested(tx, now, REST_OF_POSITIONS, rows)),
    ("status_changes", |tx, now, rows| status_changes::remove_old(tx, now.minus(CHANGES_TTL), rows)),
    ("status_receipts", |tx, now, rows| status_receipts::forget(tx, now.minus(RECEIPTS_TTL), rows)),
    ("authorize_requests", |tx, now, rows| authorize_requests::remove_expired(tx, now, rows)),
    ("pushed_requests", |tx, now, rows| pushed_requests::remove_expired(tx, now, rows)),
    ("authorization_codes", |tx, now, rows| {
        authorization_codes::remove_expired(tx, (now.minus(UNUSED_CODES_TTL), now.minus(MARGIN)), rows)
    }),
    ("one_time_values", |tx, now, rows| one_time_values::remove_expired(tx, now.minus(BETWEEN_CLOCKS), rows)),
    ("device_codes", |tx, now, rows| device_codes::remove_expired(tx, now.minus(DEVICE_CODES_TTL), rows)),
    ("browser_sessions", |tx, now, rows| browser_sessions::remove_expired(tx, now.minus(MARGIN), rows)),
    ("remembered_log_ins", |tx, now, rows| remembered_log_ins::remove_expired(tx, now.minus(MARGIN), rows)),
    ("initial_access_tokens", |tx, now, rows| initial_access_tokens::remove_expired(tx, now, rows)),
    ("login_attempts", |tx, now, rows| {
        login_attempts::remove_stale(tx, now.minus(FAILURES_TTL), now.minus(KNOWN_NETWORKS_TTL), rows)
    }),
];

/// Swept last, after the rows that refer to them.
const CLIENTS: &str = "clients";

/// Sweeps, round after round, until it is told to stop.
pub(super) fn run(app: &App, stopped: &Receiver<()>) {
    let mut sweep = Sweep::new(app);
    while rest(stopped, BETWEEN_ROUNDS) {
        if !sweep.round(stopped) {
            return;
        }
    }
}

/// A sweep, and what it knows of time and pace.
pub struct Sweep<'a> {
    app: &'a App,
    /// When it began, by the wall clock and by the monotonic one.
    started_at: Timestamp,
    started: Duration,
    rows: i64,
}

impl<'a> Sweep<'a> {
    /// A sweep that begins now.
    pub fn new(app: &'a App) -> Self {
        Self { app, started_at: app.clock.now(), started: app.clock.monotonic(), rows: FEWEST_ROWS }
    }

    /// Sweeps every table until nothing of it is over; `false` when it was told to stop.
    pub fn round(&mut self, stopped: &Receiver<()>) -> bool {
        TABLES.iter().all(|(table, remove)| self.table(table, *remove, |rows| (*rows, *rows), stopped))
            && self.table(CLIENTS, registrants::remove_unused, tell, stopped)
    }

    /// Sweeps one table. `count` says of a step how many rows it removed, and how many it was done with.
    fn table<T: Send + 'static>(
        &mut self,
        table: &'static str,
        remove: Remove<T>,
        count: fn(&T) -> (usize, usize),
        stopped: &Receiver<()>,
    ) -> bool {
        let app = self.app;
        let fewest = if table == CLIENTS { FEWEST_CLIENTS } else { FEWEST_ROWS };
        loop {
            let (began, limit) = (app.clock.monotonic(), self.rows.max(fewest));
            let now = believable(app.clock.now(), self.started_at, began.saturating_sub(self.started));
            let (removed, done) = match app.db.write_relaxed(move |tx| remove(tx, now, limit)) {
                Ok(step) => count(&step),
                Err(error) => {
                    tracing::warn!(%error, table, "the sweep goes on later");
                    return true;
                }
            };
            app.metrics.record_swept(table, removed);
            if i64::try_from(done) != Ok(limit) {
                return true;
            }
            let took = app.clock.monotonic().saturating_sub(began);
            self.rows = next_rows(limit, took).max(fewest);
            if !rest(stopped, took.saturating_mul(REST)) {
                return false;
            }
        }
    }
}

/// Says which clients are gone.
fn tell(gone: &Gone) -> (usize, usize) {
    for client_id in &gone.removed {
        tracing::info!(event = "client_swept", %client_id);
    }
    (gone.removed.len(), gone.seen)
}

/// Clears the bits of what has been over for long enough, and removes such cut-offs.
pub fn loosen(app: &App, now: Timestamp) {
    loop {
        match app.db.write(move |tx| status_changes::loosen(tx, now, MOST_ROWS)) {
            Ok(loosened) if i64::try_from(loosened).is_ok_and(|loosened| loosened >= MOST_ROWS) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "bits of what has long been over are cleared later");
                return;
            }
        }
    }
}

/// The wall clock, unless it has moved further since the start than time has passed.
pub(super) fn believable(wall: Timestamp, started_at: Timestamp, passed: Duration) -> Timestamp {
    wall.min(started_at.plus(passed))
}

/// As many rows as fit into a step, judged by the last one: half of them, or half as many again, rounded up.
fn next_rows(rows: i64, took: Duration) -> i64 {
    let next = if took > STEP { rows / 2 } else { rows + (rows + 1) / 2 };
    next.min(MOST_ROWS)
}

fn rest(stopped: &Receiver<()>, span: Duration) -> bool {
    stopped.recv_timeout(span) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_and_one_that_jumps_back_is() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let after_a_minute = |wall| believable(wall, at(1000), Duration::from_mins(1));
        assert_eq!(after_a_minute(at(1060)), at(1060));
        assert_eq!(after_a_minute(at(400_000_000)), at(1060));
        assert_eq!(after_a_minute(at(500)), at(500));
    }

    #[test]
    fn steps_grow_while_they_are_short_and_shrink_when_they_are_not() {
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(40));
        assert_eq!((next_rows(30, short), next_rows(100, short), next_rows(400, short)), (45, 150, MOST_ROWS));
        assert_eq!((next_rows(400, long), next_rows(1, short), next_rows(1, long)), (200, 2, 0));
    }
}

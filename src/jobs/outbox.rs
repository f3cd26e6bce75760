//! Finishes what was begun: grants that end one after the other, and what is over for so long that nobody need know it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::sweep::{believable, loosen};
use crate::app::App;
use crate::store::outbox;

/// How often it is looked whether something is to be done.
const BEAT: Duration = Duration::from_secs(1);
/// How often bits are cleared that no token alive can need.
const BETWEEN_LOOSENINGS: Duration = Duration::from_secs(5);
/// How long a task that failed is put off.
const POSTPONED: Duration = Duration::from_secs(10);
/// The rest after a step, so that others come in between.
const REST: Duration = Duration::from_millis(20);

pub(super) fn run(app: &App, stopped: &Receiver<()>) {
    let (started_at, started) = (app.clock.now(), app.clock.monotonic());
    let mut loosened = started;
    let mut rest = BEAT;
    while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
        rest = if step(app) { REST } else { BEAT };
        let now = app.clock.monotonic();
        if now.saturating_sub(loosened) >= BETWEEN_LOOSENINGS {
            loosened = now;
            loosen(app, believable(app.clock.now(), started_at, now.saturating_sub(started)));
        }
    }
}

/// Takes one step of what is due; `false` when nothing is, or it did not work.
fn step(app: &App) -> bool {
    let now = app.clock.now();
    let failed = match app.db.read(outbox::find_due) {
        Ok(None) => return false,
        Ok(Some(due)) => {
            let again = due.clone();
            let Err(error) = app.db.write(move |tx| outbox::step(tx, &due, now)) else { return true };
            // If that fails too, it is the database, and nothing else could be done.
            drop(app.db.write(move |tx| outbox::postpone(tx, &again, POSTPONED)));
            error
        }
        Err(error) => error,
    };
    tracing::warn!(error = %failed, "what was begun is finished later");
    false
}

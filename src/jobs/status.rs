//! Follows what is over: takes in what any instance ended, signs the lists, and signs checkpoints for those who follow.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::app::App;
use crate::store::status_changes::Head;
use crate::token::status_list::{self, Compressed};

/// How often the database is asked for changes.
const BEAT: Duration = Duration::from_millis(100);
/// How soon the lists are signed anew when something has changed, at the soonest; and that this takes no more than a
/// twentieth of one processor's time.
const LISTS_AT_MOST: Duration = Duration::from_secs(1);
const REST: u32 = 20;
/// How often they are while nothing has.
const LISTS_AT_LEAST: Duration = Duration::from_secs(10);
/// How often checkpoints are signed, while somebody follows: after so much time or so many changes.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(10);
const CHECKPOINT_FOR_NEW: Duration = Duration::from_secs(1);
const CHANGES_TO_A_CHECKPOINT: i64 = 100;

/// What was done last.
#[derive(Default)]
pub(super) struct StatusJob {
    compressed: Vec<Compressed>,
    signed: Option<(Head, Duration)>,
    rest: Duration,
    checkpoint: (i64, Duration),
    followed: usize,
    awaited: bool,
    fails: bool,
}

impl StatusJob {
    /// Learns what is over before anything is served.
    pub(super) fn begin(&mut self, app: &App) {
        self.told(app.status.begin(&app.db, &app.clock, app.random).map_err(|error| error.to_string()));
        self.sign(app);
    }

    pub(super) fn run(mut self, app: &App, stopped: &Receiver<()>) {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            self.told(app.status.catch_up(&app.db, &app.clock).map_err(|error| error.to_string()));
            self.sign(app);
        }
        // What was leased and not handed out may go to others at once; if not, they have it in an hour.
        drop(app.status.leave(&app.db));
    }

    /// Each failure is told once, not ten times a second.
    fn told(&mut self, outcome: Result<(), String>) {
        let failed = outcome.is_err();
        if let (Err(error), false) = (outcome, self.fails) {
            tracing::error!(%error, "what is over is not known any more: verifiers ask other instances, or wait");
        }
        self.fails = failed;
    }

    fn sign(&mut self, app: &App) {
        let now = app.clock.monotonic();
        let due = |(head, at): (Head, Duration), last: Head| {
            let since = now.saturating_sub(at);
            since >= LISTS_AT_LEAST.max(self.rest) || since >= LISTS_AT_MOST.max(self.rest) && head != last
        };
        let Some(last) = app.status.current_head(now) else { return };
        let (seq, at) = self.checkpoint;
        let follow = app.status.followers();
        // Whoever has just come waits for one.
        self.awaited |= follow > std::mem::replace(&mut self.followed, follow);
        let pause = if self.awaited { CHECKPOINT_FOR_NEW } else { BETWEEN_CHECKPOINTS };
        let checks = follow > 0 && (last.seq - seq >= CHANGES_TO_A_CHECKPOINT || now.saturating_sub(at) >= pause);
        let lists = self.signed.is_none_or(|signed| due(signed, last));
        if !checks && !lists {
            return;
        }
        let Some((view, current)) = app.status.view() else { return };
        if lists {
            match status_list::sign_lists(app, (&view, current), &mut self.compressed) {
                Ok(documents) => {
                    app.status.publish(documents);
                    self.signed = Some((view.head, now));
                }
                Err(error) => tracing::warn!(%error, "the status lists could not be signed"),
            }
            self.rest = app.clock.monotonic().saturating_sub(now).saturating_mul(REST);
        }
        if checks {
            match status_list::sign_checkpoint(app, (&view, current)) {
                Ok(token) => app.status.put_checkpoint(view.head, token),
                Err(error) => tracing::warn!(%error, "a checkpoint could not be signed"),
            }
            self.checkpoint = (view.head.seq, now);
            self.awaited = false;
        }
    }
}

//! The part of an instance in the lives of signing keys: it takes the step that is due.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::keys::life::LifeError;
use crate::keys::schedule::{CLOCK_ERROR, Step};
use crate::keys::situation::{NotNow, Situation};
use crate::store::instances;

/// How often the master key is read again: another version may have been added.
const BETWEEN_READS: Duration = Duration::from_secs(5);
/// After how long an instance that was not there is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// Takes the steps. Beside the watch over the database: making a key takes its time, and so may a file.
#[derive(Default)]
pub(super) struct KeyJob {
    /// When the master key was last read.
    master_key_read: Duration,
    /// The database's clock and ours, together, when they were first read.
    started: Option<(Timestamp, Duration)>,
    /// When an instance last served before this one, until it is known what that means for the keys.
    silent_since: Option<Timestamp>,
    /// Whether it was said that clocks are apart.
    told_apart: bool,
    /// What kept the last step from being taken, so that it is said once.
    waits: Option<String>,
    /// Whether the master key could not be read again, so that it is said once.
    master_key_fails: bool,
}

impl KeyJob {
    /// Before the first request: takes what is due, with a view to how long nobody served.
    pub(super) fn begin(&mut self, app: &App) {
        self.silent_since = app.db.read(instances::last_seen).ok().flatten();
        self.take_steps(app);
        drop(app.db.write_relaxed(|tx| {
            let forgotten = instances::now(tx)?.minus(FORGET_AFTER);
            instances::forget(tx, forgotten)
        }));
    }

    /// Reads the master key again and takes what is due.
    pub(super) fn beat(&mut self, app: &App) {
        let now = app.clock.monotonic();
        if now.saturating_sub(self.master_key_read) >= BETWEEN_READS {
            self.master_key_read = now;
            let reloaded = app.reload_master_key();
            if let Err(error) = &reloaded
                && !self.master_key_fails
            {
                tracing::error!(%error, "the master key could not be read again: the old one stays in use");
            }
            self.master_key_fails = reloaded.is_err();
        }
        self.take_steps(app);
    }

    /// Takes every step that is due; there are never many.
    fn take_steps(&mut self, app: &App) {
        while let Some(step) = self.take_step(app) {
            if matches!(step, Step::Rotate { .. }) {
                self.silent_since = None;
            }
            match step {
                Step::Generate => tracing::info!("made a signing key that stands by"),
                Step::Rotate { to, after_silence } => {
                    tracing::info!(kid = %to, after_silence, "another signing key signs from now on");
                }
                Step::Retire { kid } => tracing::info!(%kid, "a signing key has left the JWKS"),
            }
        }
    }

    fn take_step(&mut self, app: &App) -> Option<Step> {
        if let Some((began, at)) = self.started {
            // What is known without asking the database says that nothing is due, almost always.
            let now = began.plus(app.clock.monotonic().saturating_sub(at));
            app.key_life().schedule.due(&app.keyring.list(), now, self.silent_since)?;
        }
        let situation = match app.db.read(Situation::load) {
            Ok(situation) => situation,
            Err(error) => {
                tracing::warn!(%error, "the lives of the signing keys could not be looked at");
                return None;
            }
        };
        // A clock that jumps ahead while we run ends nothing: only as much time counts as has passed for us too.
        let monotonic = app.clock.monotonic();
        let ours = app.clock.now();
        let apart = ours.since(situation.now).max(situation.now.since(ours)) > CLOCK_ERROR;
        let (began, at) = match self.started {
            Some(started) => started,
            // If one is ahead, the other knows better what is not due yet.
            None if apart => {
                if !std::mem::replace(&mut self.told_apart, true) {
                    tracing::warn!(%ours, database = %situation.now, "our clock and the database's are apart");
                }
                (situation.now.min(ours), monotonic)
            }
            None => *self.started.insert((situation.now, monotonic)),
        };
        let now = began.plus(monotonic.saturating_sub(at));
        match app.key_life().take_due_step(&situation, now, self.silent_since) {
            Ok(None) => {
                (self.waits, self.silent_since) = (None, None);
                None
            }
            Ok(step) => {
                self.waits = None;
                step
            }
            Err(error) => {
                let said = error.to_string();
                if self.waits.as_ref() != Some(&said) {
                    if matches!(error, LifeError::NotNow(NotNow::NotYetPublished { .. })) {
                        tracing::info!(%error, "a signing key waits");
                    } else {
                        tracing::error!(%error, "a signing key could not take its step");
                    }
                    self.waits = Some(said);
                }
                None
            }
        }
    }
}

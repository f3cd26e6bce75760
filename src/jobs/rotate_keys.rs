//! The part of an instance in the lives of signing keys: it says which keys it publishes, and takes the step that is due.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::keys::life::LifeError;
use crate::keys::schedule::Step;
use crate::keys::situation::{NotNow, Situation};
use crate::store::epochs::Epochs;
use crate::store::instances::{self, InstanceId};

/// How often an instance says that it is there when nothing has changed; a twelfth of the time after which it is taken for
/// gone.
const BETWEEN_SIGNS: Duration = Duration::from_secs(5);
/// After how long an instance that was not there is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// What one instance remembers between beats.
pub(super) struct KeyJob {
    id: InstanceId,
    said: Option<(Epochs, Duration)>,
    /// The database's clock and ours, together, when they were first read.
    started: Option<(Timestamp, Duration)>,
    /// What kept the last step from being taken, so that it is said once.
    waits: Option<String>,
    /// Whether the master key could not be read again, so that it is said once.
    master_key_fails: bool,
}

impl KeyJob {
    pub(super) fn new(app: &App) -> Self {
        Self { id: app.random.bytes(), said: None, started: None, waits: None, master_key_fails: false }
    }

    /// Before the first request: takes what is due, with a view to how long nobody served.
    pub(super) fn begin(&mut self, app: &App) {
        let silent_since = app.db.read(instances::last_seen).ok().flatten();
        self.take_steps(app, silent_since);
        drop(app.db.write_relaxed(|tx| {
            let forgotten = instances::now(tx)?.minus(FORGET_AFTER);
            instances::forget(tx, forgotten)
        }));
    }

    /// Says which keys are published, now that they are, and takes what is due.
    pub(super) fn beat(&mut self, app: &App, published: Epochs) {
        let now = app.clock.monotonic();
        let due = self.said.is_none_or(|(said, at)| said != published || now.saturating_sub(at) >= BETWEEN_SIGNS);
        if due {
            let reloaded = app.reload_master_key();
            if let Err(error) = &reloaded
                && !self.master_key_fails
            {
                tracing::error!(%error, "the master key could not be read again: the old one stays in use");
            }
            self.master_key_fails = reloaded.is_err();
            let (id, master_key) = (self.id, app.secrets.load().master_key.seen());
            let said = app.db.write_relaxed(move |tx| instances::beat(tx, id, published.signing_keys, master_key));
            match said {
                Ok(()) => self.said = Some((published, now)),
                Err(error) => tracing::warn!(%error, "this instance could not say that it is there"),
            }
        }
        self.take_steps(app, None);
    }

    /// Nobody need wait for this instance.
    pub(super) fn leave(&self, app: &App) {
        let id = self.id;
        drop(app.db.write_relaxed(move |tx| instances::leave(tx, id)));
    }

    /// Takes every step that is due; there are never many.
    fn take_steps(&mut self, app: &App, mut silent_since: Option<Timestamp>) {
        while let Some(step) = self.take_step(app, silent_since) {
            silent_since = None;
            match step {
                Step::Generate => tracing::info!("made a signing key that stands by"),
                Step::Rotate { to, after_silence } => {
                    tracing::info!(kid = %to, after_silence, "another signing key signs from now on");
                }
                Step::Retire { kid } => tracing::info!(%kid, "a signing key has left the JWKS"),
            }
        }
    }

    fn take_step(&mut self, app: &App, silent_since: Option<Timestamp>) -> Option<Step> {
        if let Some((began, at)) = self.started {
            // What is known without asking the database says that nothing is due, almost always.
            let now = began.plus(app.clock.monotonic().saturating_sub(at));
            app.key_life().schedule.due(&app.keyring.list(), now, silent_since)?;
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
        let (began, at) = *self.started.get_or_insert((situation.now, monotonic));
        let now = began.plus(monotonic.saturating_sub(at));
        match app.key_life().take_due_step(&situation, now, silent_since) {
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

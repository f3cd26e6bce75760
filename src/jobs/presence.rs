//! The sign of life of an instance: whoever lets another key sign waits until all that are there publish it.

use std::time::Duration;

use crate::app::App;
use crate::store::epochs::Epochs;
use crate::store::instances::{self, InstanceId, MasterKeySeen};

/// How often an instance says that it is there when nothing has changed; a twelfth of the time after which it is taken for
/// gone.
const BETWEEN_SIGNS: Duration = Duration::from_secs(5);

/// Says that this instance is there, with which keys.
pub(super) struct Presence {
    id: InstanceId,
    said: Option<(Epochs, MasterKeySeen, Duration)>,
}

impl Presence {
    pub(super) fn new(app: &App) -> Self {
        Self { id: app.random.bytes(), said: None }
    }

    /// Says which keys are published, now that they are.
    pub(super) fn beat(&mut self, app: &App, published: Epochs) {
        let (now, master_key) = (app.clock.monotonic(), app.secrets.load().master_key.seen());
        let is_said = |(epochs, seen, at): (Epochs, MasterKeySeen, Duration)| {
            epochs == published && seen == master_key && now.saturating_sub(at) < BETWEEN_SIGNS
        };
        if self.said.is_some_and(is_said) {
            return;
        }
        let id = self.id;
        match app.db.write_relaxed(move |tx| instances::beat(tx, id, published.signing_keys, master_key)) {
            Ok(()) => self.said = Some((published, master_key, now)),
            Err(error) => tracing::warn!(%error, "this instance could not say that it is there"),
        }
    }

    /// Nobody need wait for this instance.
    pub(super) fn leave(&self, app: &App) {
        let id = self.id;
        drop(app.db.write_relaxed(move |tx| instances::leave(tx, id)));
    }
}

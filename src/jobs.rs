//! What a server does by itself: once a second it looks whether its parts answer and whether clients or keys have
//! changed; once a minute it sweeps counters that nobody needs any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::app::App;
use crate::store::epochs::{self, Epochs};
use crate::store::{self, login_attempts, revoked_tokens};

/// How often the epochs are read.
const BEAT: Duration = Duration::from_secs(1);
/// Beats between sweeps.
const BEATS_PER_SWEEP: u64 = 60;
/// The most rows that one step of a sweep removes from one table, and the most steps.
const SWEEP_ROWS: i64 = 500;
const SWEEP_STEPS: usize = 20;
/// How long counts of log-ins are kept: of failures only, and of networks that are remembered as known.
const FAILURES_TTL: Duration = Duration::from_hours(30 * 24);
const KNOWN_NETWORKS_TTL: Duration = Duration::from_hours(100 * 24);
/// A check older than this says nothing.
const STALE_AFTER: Duration = Duration::from_secs(4);

/// What the last check found.
#[derive(Default)]
pub struct Health {
    database: AtomicBool,
    signing_keys: AtomicBool,
    cache: AtomicBool,
    draining: AtomicBool,
    checked_at_ms: AtomicU64,
}

/// Whether a server can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// The newest signing keys are in use; otherwise those from before still are.
    pub signing_keys: bool,
    /// The cache answers; without it the server counts for itself.
    pub cache: bool,
    /// The server is about to stop.
    pub draining: bool,
}

impl Readiness {
    /// Whether requests should be sent here.
    pub fn is_ready(self) -> bool {
        self.database && !self.draining
    }
}

impl Health {
    /// What is known at `now`, a monotonic reading.
    pub fn readiness(&self, now: Duration) -> Readiness {
        let checked_at = Duration::from_millis(self.checked_at_ms.load(Ordering::Acquire));
        let fresh = now.saturating_sub(checked_at) < STALE_AFTER;
        Readiness {
            // A check that hangs is a part that does not answer.
            database: fresh && self.database.load(Ordering::Relaxed),
            signing_keys: self.signing_keys.load(Ordering::Relaxed),
            cache: self.cache.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    /// From now on, not ready.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// The running loop; dropping it stops it.
pub struct Jobs {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// What the last check found.
    pub health: Arc<Health>,
}

impl Jobs {
    /// Makes the first check, then starts the loop.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(app: Arc<App>) -> std::io::Result<Self> {
        let health = Arc::new(Health::default());
        // Everything is taken once more: a change between loading it and reading the epochs would go unnoticed.
        let nothing = Epochs::default();
        let seen = check(&app, &health).map_or(nothing, |current| follow(&app, &health, nothing, current));
        let (stop, stopped) = sync_channel(1);
        let thread = {
            let health = health.clone();
            std::thread::Builder::new().name("jobs".to_owned()).spawn(move || run(&app, &health, &stopped, seen))?
        };
        Ok(Self { stop: Some(stop), thread: Some(thread), health })
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(app: &App, health: &Health, stopped: &Receiver<()>, mut seen: Epochs) {
    let mut beat: u64 = 0;
    while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        beat = beat.wrapping_add(1);
        if let Some(current) = check(app, health) {
            seen = follow(app, health, seen, current);
        }
        if beat.is_multiple_of(BEATS_PER_SWEEP)
            && let Err(error) = sweep(app)
        {
            tracing::warn!(%error, "the sweep did not finish");
        }
    }
}

/// Looks whether the parts answer; the epochs, if the database does.
fn check(app: &App, health: &Health) -> Option<Epochs> {
    let epochs = app.db.read(epochs::load);
    let cache = app.cache.is_up();
    if health.database.swap(epochs.is_ok(), Ordering::Relaxed) && epochs.is_err() {
        tracing::error!("the database does not answer");
    }
    health.cache.store(cache, Ordering::Relaxed);
    let now = u64::try_from(app.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    health.checked_at_ms.store(now, Ordering::Release);
    epochs.ok()
}

/// Takes anew what has changed; what could not be taken is tried again at the next beat.
fn follow(app: &App, health: &Health, seen: Epochs, current: Epochs) -> Epochs {
    let mut followed = seen;
    if current.clients != seen.clients {
        match app.clients.reload(&app.db) {
            Ok(()) => followed.clients = current.clients,
            Err(error) => tracing::error!(%error, "clients could not be loaded: the old ones stay"),
        }
    }
    if current.signing_keys != seen.signing_keys {
        match app.keyring.reload(&app.db, &app.master_key) {
            Ok(()) => followed.signing_keys = current.signing_keys,
            Err(error) => tracing::error!(%error, "signing keys could not be loaded: the old ones stay"),
        }
    }
    let current_keys = followed.signing_keys == current.signing_keys;
    health.signing_keys.store(current_keys, Ordering::Relaxed);
    followed
}

/// Removes what can no longer matter, in small steps, so that nobody waits long for the writer.
fn sweep(app: &App) -> Result<(), store::Error> {
    let now = app.clock.now();
    let (failed, known) = (now.minus(FAILURES_TTL), now.minus(KNOWN_NETWORKS_TTL));
    for _ in 0..SWEEP_STEPS {
        let removed = app.db.write(move |tx| {
            let attempts = login_attempts::remove_stale(tx, failed, known, SWEEP_ROWS)?;
            // A day's margin: a clock that goes back a little must not revive what was revoked.
            Ok(attempts + revoked_tokens::remove_expired(tx, now.minus(Duration::from_hours(24)), SWEEP_ROWS)?)
        })?;
        if removed == 0 {
            break;
        }
    }
    Ok(())
}

//! What a server does by itself: once a second it looks whether its parts answer and whether clients or keys have
//! changed; beside that it takes the steps of signing keys that are due, tells clients who logged out, and sweeps away what
//! is over.

mod logout_notices;
mod outbox;
mod presence;
mod rotate_keys;
mod status;
pub mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use self::presence::Presence;
use self::rotate_keys::KeyJob;
use self::status::StatusJob;
pub use self::sweep::loosen;
use crate::app::App;
use crate::clock::Clock;
use crate::keys::KeysError;
use crate::store::epochs::{self, Epochs};

/// How often the epochs are read.
const BEAT: Duration = Duration::from_secs(1);
/// How often the log of an embedded database is copied into it.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_millis(100);
/// How long the end of the server waits for what runs, all together.
const LAST_STEP: Duration = Duration::from_secs(1);
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

/// A loop in a thread of its own.
struct Running {
    stop: SyncSender<()>,
    /// Closed when the loop is over.
    over: Receiver<()>,
    thread: JoinHandle<()>,
}

/// The running loops; dropping them stops them.
pub struct Jobs {
    running: Vec<Running>,
    /// What the last check found.
    pub health: Arc<Health>,
}

impl Jobs {
    /// Makes the first check, then starts the loops.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(app: Arc<App>) -> std::io::Result<Self> {
        let health = Arc::new(Health::default());
        // Everything is taken once more: a change between loading it and reading the epochs would go unnoticed.
        let nothing = Epochs::default();
        let mut key_job = KeyJob::default();
        key_job.begin(&app);
        let mut presence = Presence::new(&app);
        let looked_at = app.clock.monotonic();
        let mut told = None;
        let seen = check(&app, &health)
            .map_or(nothing, |current| follow(&app, &health, (nothing, current), looked_at, &mut told));
        presence.beat(&app, seen);
        let mut jobs = Self { running: Vec::new(), health: health.clone() };
        let (rotating, sweeping) = (app.clone(), app.clone());
        let (following, finishing, telling) = (app.clone(), app.clone(), app.clone());
        let mut status = StatusJob::default();
        status.begin(&app);
        if app.db.needs_checkpoints() {
            let kept = app.clone();
            jobs.spawn("checkpoint", move |stopped| checkpoint(&kept, stopped))?;
        }
        jobs.spawn("watch", move |stopped| watch(&app, &health, stopped, (seen, presence, told)))?;
        jobs.spawn("keys", move |stopped| {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                key_job.beat(&rotating);
            }
        })?;
        jobs.spawn("status", move |stopped| status.run(&following, stopped))?;
        jobs.spawn("outbox", move |stopped| outbox::run(&finishing, stopped))?;
        jobs.spawn("logout", move |stopped| logout_notices::run(&telling, stopped))?;
        jobs.spawn("sweep", move |stopped| sweep::run(&sweeping, stopped))?;
        Ok(jobs)
    }

    fn spawn(&mut self, name: &str, job: impl FnOnce(&Receiver<()>) + Send + 'static) -> std::io::Result<()> {
        let (stop, stopped) = sync_channel(1);
        let (running, over) = sync_channel(0);
        let run = move || {
            job(&stopped);
            drop(running);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        self.running.push(Running { stop, over, thread });
        Ok(())
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // All are told before any is waited for.
        let told = self.running.drain(..).map(|Running { stop, over, thread }| {
            drop(stop);
            (over, thread)
        });
        let told = told.collect::<Vec<_>>();
        let clock = Clock::system();
        for (over, thread) in told {
            // It may hang with its database. What it does is one transaction, made or not: the process may end beside it.
            if over.recv_timeout(LAST_STEP.saturating_sub(clock.monotonic())) != Err(RecvTimeoutError::Timeout) {
                let _ = thread.join();
            }
        }
    }
}

/// Copies what is committed from the log of an embedded database into it, beside the writer, which otherwise does so
/// within a commit that requests wait for.
fn checkpoint(app: &App, stopped: &Receiver<()>) {
    let mut fails = false;
    while stopped.recv_timeout(BETWEEN_CHECKPOINTS) == Err(RecvTimeoutError::Timeout) {
        let outcome = app.db.checkpoint();
        if let Err(error) = &outcome
            && !fails
        {
            tracing::warn!(%error, "the log of the database is not copied into it");
        }
        fails = outcome.is_err();
    }
}

fn watch(
    app: &App,
    health: &Health,
    stopped: &Receiver<()>,
    (mut seen, mut presence, mut told): (Epochs, Presence, Option<String>),
) {
    let mut signs = true;
    while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        let looked_at = app.clock.monotonic();
        if std::mem::replace(&mut signs, app.keyring.is_confirmed(looked_at)) && !signs {
            tracing::error!(error = %KeysError::Unconfirmed, "nothing is signed any more");
        }
        if let Some(current) = check(app, health) {
            seen = follow(app, health, (seen, current), looked_at, &mut told);
            presence.beat(app, seen);
        }
    }
    presence.leave(app);
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
fn follow(
    app: &App,
    health: &Health,
    (seen, current): (Epochs, Epochs),
    looked_at: Duration,
    told: &mut Option<String>,
) -> Epochs {
    let mut followed = seen;
    if current.clients != seen.clients {
        match app.clients.reload(&app.db) {
            Ok(()) => followed.clients = current.clients,
            Err(error) => tracing::error!(%error, "clients could not be loaded: the old ones stay"),
        }
    }
    if current.signing_keys != seen.signing_keys || app.keyring.is_behind() {
        match app.reload_keys() {
            Ok(()) => (followed.signing_keys, *told) = (current.signing_keys, None),
            Err(error) => {
                // Each reason once, not each second.
                let why = error.to_string();
                if told.as_ref() != Some(&why) {
                    tracing::error!(%error, "signing keys could not be loaded: the old ones stay, less what has left");
                    *told = Some(why);
                }
            }
        }
    }
    let current_keys = followed.signing_keys == current.signing_keys && !app.keyring.is_behind();
    if current_keys {
        app.keyring.confirm(looked_at);
    }
    health.signing_keys.store(current_keys, Ordering::Relaxed);
    followed
}

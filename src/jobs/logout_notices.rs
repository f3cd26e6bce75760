//! Tells clients that somebody logged out (OpenID Connect Back-Channel Logout 1.0): one call at a time to a client, so that
//! one that does not answer holds up no other, and again with growing pauses until it has answered or hours have passed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::app::App;
use crate::client_keys;
use crate::fetch::{Caller, FetchError};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::logout::LogoutUri;
use crate::store;
use crate::store::clients::Client;
use crate::store::grants;
use crate::store::logout_notices::{self, LogoutNotice};
use crate::token::logout_token;

/// How often it is looked whether somebody is to be told.
const BEAT: Duration = Duration::from_secs(1);
/// The most clients at once: half of the calls out that there may be, so that others find a way out, too.
const MOST_AT_ONCE: usize = 4;
/// Those of them that may have registered themselves: anybody can have clients that never answer.
const MOST_REGISTRANTS: usize = 2;
/// The most calls to one client before others have their turn.
const MOST_IN_A_ROW: usize = 8;
/// The pause after the first try, three times as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After this long it is given up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(6);

/// The clients that are being told something by this instance, and who made them.
#[derive(Default)]
struct Serving(Mutex<BTreeMap<ClientId, Caller>>);

impl Serving {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClientId, Caller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's turn.
struct Turn<'s> {
    serving: &'s Serving,
    client_id: ClientId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.serving.lock().remove(&self.client_id);
    }
}

pub(super) fn run(app: &App, stopped: &Receiver<()>) {
    let (serving, stopping) = (Serving::default(), AtomicBool::new(false));
    let (serving, stopping) = (&serving, &stopping);
    std::thread::scope(|scope| {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            for (client_id, caller) in whom_to_tell(app, serving) {
                serving.lock().insert(client_id.clone(), caller);
                let turn = Turn { serving, client_id };
                let thread = std::thread::Builder::new().name("logout".to_owned());
                // Without a thread the turn is over, and the next beat tries.
                let _ = thread.spawn_scoped(scope, move || serve(app, &turn.client_id, stopping));
            }
        }
        stopping.store(true, Ordering::Relaxed);
    });
}

/// Clients that are to be told something now and for which there is a thread: those of operators first, so that nobody keeps them
/// waiting who registers clients (CWE-400).
fn whom_to_tell(app: &App, serving: &Serving) -> Vec<(ClientId, Caller)> {
    let held = serving.lock().clone();
    let mut chosen = Vec::new();
    for (caller, most) in [(Caller::Known, MOST_AT_ONCE), (Caller::Registrant, MOST_REGISTRANTS)] {
        let alike = held.values().filter(|held| **held == caller).count();
        let free = most.saturating_sub(alike).min(MOST_AT_ONCE.saturating_sub(held.len() + chosen.len()));
        if free == 0 {
            continue;
        }
        let (now, limit) = (app.clock.now(), i64::try_from(MOST_AT_ONCE * 2).unwrap_or(i64::MAX));
        let registered = caller == Caller::Registrant;
        match app.db.read(|tx| logout_notices::list_due_clients(tx, registered, now, limit)) {
            Ok(due) => {
                let others = due.into_iter().filter(|client_id| !held.contains_key(client_id));
                chosen.extend(others.take(free).map(|client_id| (client_id, caller)));
            }
            Err(error) => tracing::warn!(%error, "clients are told of log-outs later"),
        }
    }
    chosen
}

/// Tells one client what it is to be told, until there is nothing more or it does not answer.
fn serve(app: &App, client_id: &ClientId, stopping: &AtomicBool) {
    for _ in 0..MOST_IN_A_ROW {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        match tell_next(app, client_id) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, %client_id, "a client is told of log-outs later");
                return;
            }
        }
    }
}

/// Makes one call; `false` when there is nothing to say, or nobody who listens.
fn tell_next(app: &App, client_id: &ClientId) -> Result<bool, store::Error> {
    let now = app.clock.now();
    let Some(notice) = app.db.read(|tx| logout_notices::find_due(tx, client_id, now))? else { return Ok(false) };
    let (claimed, next) = (notice.clone(), now.plus(pause_after(notice.attempts)));
    // Another instance may have been first.
    if !app.db.write(move |tx| logout_notices::claim(tx, &claimed, next))? {
        return Ok(true);
    }
    let grant_id = notice.grant_id;
    let client = app.clients.find(client_id).filter(|client| client.disabled_at.is_none());
    let Some(client) = client.filter(|client| client.metadata.backchannel_logout.is_some()) else {
        // It does not want to know any more.
        app.db.write(move |tx| logout_notices::remove(tx, grant_id))?;
        return Ok(true);
    };
    let why = match call(app, &client, &notice) {
        Ok(()) => {
            tracing::info!(event = "logout_told", %client_id, %grant_id);
            app.metrics.record_logout_notice("sent");
            app.db.write(move |tx| logout_notices::remove(tx, grant_id))?;
            return Ok(true);
        }
        Err(Untold::NotCalled) => {
            // The client has done nothing wrong; those that have waited longer come first.
            let soon = app.clock.now().plus(BEAT);
            app.db.write(move |tx| logout_notices::give_back(tx, &notice, soon))?;
            return Ok(false);
        }
        Err(Untold::Failed(why)) => why,
    };
    tracing::warn!(%client_id, %grant_id, attempts = notice.attempts, why, "a client was not told of a log-out");
    app.metrics.record_logout_notice("failed");
    let given_up = app.clock.now() >= notice.created_at.plus(GIVE_UP_AFTER);
    if given_up {
        app.metrics.record_logout_notice("given_up");
    }
    let client_id = client_id.clone();
    app.db.write(move |tx| {
        if given_up {
            logout_notices::remove(tx, grant_id)?;
        }
        logout_notices::postpone(tx, &client_id, next)
    })?;
    Ok(false)
}

/// Why a client was not told.
enum Untold {
    /// There were too many calls out at once.
    NotCalled,
    /// It did not answer, or could not be called.
    Failed(String),
}

/// Back-Channel Logout §2.5: a form with the token alone; any 2xx is a yes (§2.8).
fn call(app: &App, client: &Client, notice: &LogoutNotice) -> Result<(), Untold> {
    let uri = client.metadata.backchannel_logout.as_ref().map(LogoutUri::as_str).unwrap_or_default();
    let token = token(app, client, notice).map_err(Untold::Failed)?;
    // base64url and dots need no encoding.
    let called = app.fetcher.post_form(uri, format!("logout_token={token}"), client_keys::caller(client));
    called.map(drop).map_err(|error| {
        if matches!(error, FetchError::Busy) { Untold::NotCalled } else { Untold::Failed(error.to_string()) }
    })
}

fn token(app: &App, client: &Client, notice: &LogoutNotice) -> Result<String, String> {
    // OpenID Connect Core §8.1: by the name that the client knew the person by, whatever it is registered with since.
    let grant = app.db.read(|tx| grants::find(tx, notice.grant_id)).map_err(|error| error.to_string())?;
    let subject = grant.ok_or("the grant is gone")?.grant.subject_text();
    logout_token::issue(app, &client.id, (&subject, notice.grant_id)).map_err(|error| error.to_string())
}

fn pause_after(attempts: i16) -> Duration {
    let times = 3_u32.saturating_pow(u32::try_from(attempts).unwrap_or(0));
    FIRST_PAUSE.saturating_mul(times).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_an_hour() {
        let pauses: Vec<_> = (0..8).map(|attempts| pause_after(attempts).as_secs()).collect();
        assert_eq!(pauses, [10, 30, 90, 270, 810, 2430, 3600, 3600]);
        assert_eq!(pause_after(i16::MAX), LONGEST_PAUSE);
    }
}

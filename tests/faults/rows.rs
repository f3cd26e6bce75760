//! The rows: each injects one fault under honest load and says what it saw.

mod answers;
mod clock;
mod corrupt;
mod disk;
mod gone;
mod kills;
mod link;
mod master_key;
mod outage;
mod pool;
mod redis;
mod rotation;
mod slow;
mod steps;
mod stop;
mod thief;
mod verifiers;

use std::time::{Duration, Instant};

use crate::client::{Deed, Honest};
use crate::database::Backend::{self, Postgres, Sqlite};
use crate::fleet::Fleet;
use crate::report::Run;

/// One row of the table.
pub struct Row {
    pub name: &'static str,
    /// What holds, as a sentence.
    pub title: &'static str,
    pub run: fn(&mut Run),
    /// The databases of a short run, and of a full one.
    pub short: &'static [Backend],
    pub full: &'static [Backend],
}

const BOTH: &[Backend] = &[Sqlite, Postgres];
const ONLY_SQLITE: &[Backend] = &[Sqlite];
const ONLY_POSTGRES: &[Backend] = &[Postgres];

/// Every row, in the order in which they run.
pub const ALL: [Row; 20] = [
    row("F-1", "a server killed in a storm of refreshes loses nothing that it answered", kills::row, (BOTH, BOTH)),
    row("F-2", "a client whose answers are lost is never logged out", answers::dropped, (BOTH, BOTH)),
    row("F-3", "a request that arrives twice harms nobody", answers::duplicated, (ONLY_POSTGRES, BOTH)),
    row("F-5", "a thief and a client can never both go on", thief::row, (BOTH, BOTH)),
    row(
        "F-6",
        "without PostgreSQL nothing is promised and nobody is logged out",
        outage::stopped,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
    row(
        "F-7",
        "a PostgreSQL that hangs holds up no answer beyond the deadline",
        outage::frozen,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
    row("F-9", "locked rows and an exhausted pool are told at once", pool::row, (ONLY_POSTGRES, BOTH)),
    row(
        "F-10",
        "Redis gone, frozen, slow or flushed costs nobody anything",
        redis::row,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
    row("F-12", "a clock that jumps logs nobody out and revives nothing", clock::row, (ONLY_SQLITE, BOTH)),
    row("F-13", "a full disk refuses and does not corrupt", disk::row, (ONLY_SQLITE, ONLY_SQLITE)),
    row(
        "F-15",
        "instances that rotate signing keys at once, and are killed in it, sign what every verifier knows",
        rotation::row,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
    row(
        "F-16",
        "instances that are killed in the middle of a signing key's step leave it taken or not",
        steps::row,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
    row("F-19", "a server that is told to stop finishes what it began", stop::row, (BOTH, BOTH)),
    row(
        "F-20",
        "a master key that cannot be read stops starts and nothing that runs",
        master_key::row,
        (ONLY_SQLITE, BOTH),
    ),
    row("F-21", "a corrupt row fails alone", corrupt::row, (ONLY_SQLITE, BOTH)),
    row("F-25", "slow clients hold up nobody else and are let go", slow::slow_clients, (ONLY_SQLITE, BOTH)),
    row("F-26", "a flood of log-ins does not drown refreshes", slow::log_in_flood, (ONLY_POSTGRES, BOTH)),
    row("F-33", "a bad way to PostgreSQL costs time and no grant", link::row, (ONLY_POSTGRES, ONLY_POSTGRES)),
    row("F-28", "a client gone in the middle of a request finds its grant whole", gone::row, (ONLY_POSTGRES, BOTH)),
    row(
        "F-34",
        "an end that was answered is in force at every verifier within seconds, though instances are killed",
        verifiers::row,
        (ONLY_POSTGRES, ONLY_POSTGRES),
    ),
];

const fn row(
    name: &'static str,
    title: &'static str,
    run: fn(&mut Run),
    (short, full): (&'static [Backend], &'static [Backend]),
) -> Row {
    Row { name, title, run, short, full }
}

/// How many instances serve at once: SQLite is one server's.
fn instances_on(backend: Backend) -> usize {
    if backend == Postgres { 2 } else { 1 }
}

/// Lets clients work for a while.
fn work_for(run: &mut Run, fleet: &Fleet, span: Duration, doing: &str) {
    let began = Instant::now();
    while began.elapsed() < span && !fleet.is_over() {
        std::thread::sleep(Duration::from_millis(100).min(span));
        run.progress(format_args!("{doing}, {} refreshes", fleet.turns()));
    }
}

/// When it came true within the five seconds that readiness has; `None` when it did not.
fn eventually(holds: impl Fn() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if holds() {
            return Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// How long after `ended_at` the last client had its first success; `None` when one never had.
fn recovery(clients: &[Honest], ended_at: Instant) -> Option<Duration> {
    let first_success = |client: &Honest| {
        let mut events = client.history.iter().filter(|event| event.deed == Deed::Refresh);
        let event = events.find(|event| event.finished > ended_at && event.status() == Some(200))?;
        Some(event.finished.duration_since(ended_at))
    };
    clients.iter().map(first_success).try_fold(Duration::ZERO, |worst, one| Some(worst.max(one?)))
}

/// Fails the row unless service was back within five seconds.
fn must_recover(run: &mut Run, clients: &[Honest], ended_at: Instant) {
    let back = recovery(clients, ended_at);
    let said = back.map_or("never".to_owned(), crate::report::span);
    run.figure(format_args!("last client served again after {said}"));
    run.must(back.is_some_and(|back| back <= Duration::from_secs(5)), "service was not back within 5 s");
}

/// The time within which that share of answered refreshes between two instants was answered.
fn refresh_time(clients: &[Honest], (from, to): (Instant, Instant), share: f64) -> Duration {
    let events = clients.iter().flat_map(|client| &client.history);
    let within = events.filter(|event| event.deed == Deed::Refresh && event.started >= from && event.finished <= to);
    let looks: Vec<_> =
        within.map(|event| crate::watch::Look { at: event.started, took: event.took(), status: 200 }).collect();
    crate::watch::percentile(&looks, share)
}

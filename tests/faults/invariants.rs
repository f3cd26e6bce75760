//! What must hold whatever happened, judged from what clients saw and from the database once all is at rest. A request
//! without an answer may or may not have been carried out.
//!
//! I1 at most one winner a generation · I2 an honest client is never logged out · I3 afterwards one live generation a
//! grant · I4 what was revoked stays revoked · I6 a token that was handed out has its row · I8 nothing succeeds without
//! the authority it needs · I9 every request is answered in time · I11 readiness tells the truth.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::client::{ANSWER_LIMIT, Deed, Event, Honest, Outcome, TokenName};
use crate::database::{Database, GrantRow};
use crate::http::NoAnswer;

/// What was found, and the figures of it.
#[derive(Default)]
pub struct Verdict {
    pub violations: Vec<String>,
    pub log_outs: usize,
    pub unserved: usize,
    pub requests: usize,
    pub refreshed: usize,
    pub repeats: usize,
    pub unanswered: usize,
    pub unavailable: usize,
    pub revoked: usize,
    pub worst_answer: Duration,
    pub longest_refresh: Duration,
}

impl Verdict {
    fn must(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(violation());
        }
    }
}

/// Judges clients that are at rest, what else was asked in their names, and their grants.
pub fn judge(clients: &[Honest], copies: &[Event], database: &Database) -> Verdict {
    let mut verdict = Verdict::default();
    count(clients, &mut verdict);
    let events: Vec<&Event> = clients.iter().flat_map(|client| &client.history).chain(copies).collect();
    one_winner_a_generation(&events, &mut verdict);
    let rows: HashMap<[u8; 16], GrantRow> =
        database.grants().into_iter().map(|row| (row.handle.clone().try_into().unwrap(), row)).collect();
    handed_out_is_durable(&events, &rows, &mut verdict);
    for client in clients {
        live_where_the_client_is(client, &rows, &mut verdict);
        revoked_is_over(client, &rows, &mut verdict);
    }
    for line in database.unsound() {
        verdict.violations.push(format!("the database says {line}"));
    }
    verdict
}

fn count(clients: &[Honest], verdict: &mut Verdict) {
    for client in clients {
        verdict.log_outs += client.log_outs.len();
        verdict.unserved += client.unserved;
        verdict.longest_refresh = verdict.longest_refresh.max(client.longest);
        verdict.revoked += client.revoked.len();
        let mut seen = HashSet::new();
        for event in &client.history {
            verdict.requests += 1;
            verdict.worst_answer = verdict.worst_answer.max(event.took());
            let again = event.deed == Deed::Refresh && event.presented.is_some_and(|name| !seen.insert(name));
            verdict.repeats += usize::from(again);
            verdict.refreshed += usize::from(event.deed == Deed::Refresh && event.status() == Some(200));
            verdict.unanswered += usize::from(event.status().is_none());
            verdict.unavailable += usize::from(event.status() == Some(503));
            // I9: answered in time, or the connection visibly closed.
            let silent = event.outcome == Outcome::Unanswered(NoAnswer::TimedOut);
            verdict.must(!silent, || format!("I9: a {:?} was not answered within {ANSWER_LIMIT:?}", event.deed));
            if let Outcome::Answered { status: 503, retry_after: false, .. } = event.outcome {
                verdict.violations.push("a 503 did not say Retry-After".to_owned());
            }
            let known = event.status().is_none_or(|status| matches!(status, 200 | 400 | 429 | 503));
            verdict.must(known, || format!("a {:?} was answered {:?}", event.deed, event.status()));
        }
        verdict.must(client.log_outs.is_empty(), || format!("I2: an honest client was told {:?}", client.log_outs));
        verdict.must(client.unserved == 0, || "I2: an honest client gave up within the leeway".to_owned());
    }
}

/// I1, from outside: every answer carries another token, and all answers of one generation go back to one token of the
/// generation before.
fn one_winner_a_generation(events: &[&Event], verdict: &mut Verdict) {
    let (mut given, mut winners) = (HashSet::new(), HashMap::new());
    for event in events {
        let Some(name) = event.given() else { continue };
        verdict.must(given.insert(name), || format!("I1: generation {} was handed out twice", name.generation));
        let Some(presented) = event.presented.filter(|_| event.deed == Deed::Refresh) else { continue };
        let winner = *winners.entry((name.handle, name.generation)).or_insert(presented);
        verdict.must(winner == presented, || format!("I1: generation {} has two winners", name.generation));
        let next = presented.generation + 1 == name.generation && presented.handle == name.handle;
        verdict.must(next, || format!("I1: {} led to {}", presented.generation, name.generation));
    }
}

/// I6: what was handed out is in the database, killed or not.
fn handed_out_is_durable(events: &[&Event], rows: &HashMap<[u8; 16], GrantRow>, verdict: &mut Verdict) {
    for name in events.iter().filter_map(|event| event.given()) {
        let Some(row) = rows.get(&name.handle) else {
            verdict.violations.push("I6: a token was handed out of a grant that has no row".to_owned());
            continue;
        };
        let (generation, siblings) = (i64::from(row.generation), i64::from(row.siblings));
        let durable = generation > i64::from(name.generation)
            || (generation == i64::from(name.generation) && siblings >= i64::from(name.sibling));
        verdict.must(durable, || {
            format!("I6: token {}.{} was handed out, the row is at {generation}", name.generation, name.sibling)
        });
    }
}

/// I3: the client that is at rest holds a token of the one live generation.
fn live_where_the_client_is(client: &Honest, rows: &HashMap<[u8; 16], GrantRow>, verdict: &mut Verdict) {
    let Some(name) = client.holds() else { return };
    let Some(row) = rows.get(&name.handle) else { return };
    verdict.must(row.ended_by.is_none(), || format!("I2: an honest client's grant was ended by {:?}", row.ended_by));
    verdict.must(i64::from(row.generation) == i64::from(name.generation), || {
        format!("I3: the client holds generation {}, the row is at {}", name.generation, row.generation)
    });
}

/// I4: nothing of a revoked grant is accepted by a request that began after the revocation was answered.
fn revoked_is_over(client: &Honest, rows: &HashMap<[u8; 16], GrantRow>, verdict: &mut Verdict) {
    for (name, known_at) in &client.revoked {
        let accepted = |event: &&Event| {
            let of_it = event.presented.is_some_and(|presented| presented.handle == name.handle);
            of_it && event.deed == Deed::Refresh && event.started >= *known_at && event.status() == Some(200)
        };
        verdict.must(!client.history.iter().any(|event| accepted(&event)), || {
            "I4: a revoked grant was refreshed".to_owned()
        });
        let over = rows.get(&name.handle).is_some_and(|row| row.ended_by.is_some());
        verdict.must(over, || "I4: a revoked grant is in force".to_owned());
    }
}

/// I8: no request that needs the database succeeded wholly within a time in which there was none.
pub fn succeeded_between(clients: &[Honest], from: Instant, to: Instant) -> usize {
    let events = clients.iter().flat_map(|client| &client.history);
    events.filter(|event| event.started > from && event.finished < to && event.status() == Some(200)).count()
}

/// Rotations that were made by a request after its deadline: it was sent and given up while the database stood still,
/// was refused, and yet its token turned out to be spent when it came again.
pub fn rotated_after_the_deadline(clients: &[Honest], frozen_at: Instant, thawed_at: Instant) -> usize {
    let deadline = Duration::from_secs(10);
    let margin = Duration::from_millis(20);
    let mut found = 0;
    for client in clients {
        let mut tries: HashMap<TokenName, Vec<&Event>> = HashMap::new();
        for event in client.history.iter().filter(|event| event.deed == Deed::Refresh) {
            if let Some(presented) = event.presented {
                tries.entry(presented).or_default().push(event);
            }
        }
        for events in tries.values() {
            let Some(given) = events.iter().find_map(|event| event.given()) else { continue };
            let refused = |event: &&&Event| event.given().is_none();
            // Every try before the one that succeeded was made and was over while nothing could be decided in time.
            let hopeless = |event: &&Event| event.started > frozen_at + margin && event.started + deadline < thawed_at;
            let earlier: Vec<_> = events.iter().filter(refused).collect();
            if given.sibling > 1 && !earlier.is_empty() && earlier.iter().all(|event| hopeless(event)) {
                found += 1;
            }
        }
    }
    found
}

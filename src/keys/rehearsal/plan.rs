//! The lives of keys under a plan, by the steps that servers take.

use std::time::Duration;

use serde::Serialize;

use super::Rehearsal;
use crate::clock::Timestamp;
use crate::keys::schedule::{self, Step};
use crate::protocol::jose::OwnAlgorithm;
use crate::store::signing_keys::{KeyOrigin, KeyState, StoredKey};

/// A key's life, in seconds from the beginning.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedKey {
    /// It is in the JWKS from then on.
    pub published_at: f64,
    /// It signs from then on.
    pub signs_from: Option<f64>,
    /// It signs until then.
    pub signs_until: Option<f64>,
    /// It leaves the JWKS.
    pub leaves_at: Option<f64>,
    /// It is found to be compromised.
    pub compromised_at: Option<f64>,
}

/// Everything that happens to the keys.
pub(super) fn keys(rehearsal: &Rehearsal) -> Vec<PlannedKey> {
    let schedule = rehearsal.schedule;
    let mut now = Timestamp::from_micros(0);
    let first = StoredKey { longest_life: schedule.usual_life, ..row(1, KeyState::Active, now) };
    let mut rows = vec![first, row(2, KeyState::Standby, now)];
    let (mut rotations, mut compromised) = (0, false);
    while rotations < rehearsal.rotations || !compromised && rehearsal.compromise_after.is_some() {
        let published: Vec<StoredKey> = rows.iter().filter(|row| row.state.is_published()).cloned().collect();
        if let Some(step) = schedule.due(&published, now, None) {
            rotations += u32::from(matches!(step, Step::Rotate { .. }));
            take(&mut rows, &step, now, schedule.usual_life);
            continue;
        }
        let compromise_at = rehearsal
            .compromise_after
            .filter(|_| !compromised && rotations > 0)
            .and_then(|after| Some(schedule::active(&rows)?.activated_at?.plus(after)));
        if compromise_at.is_some_and(|at| at <= now) {
            compromise(&mut rows, now, schedule.usual_life);
            compromised = true;
            continue;
        }
        let times = published.iter().flat_map(|key| {
            let own = match key.state {
                KeyState::Active => schedule.turn_ends(key),
                KeyState::Standby => Some(schedule.may_sign_from(key)),
                KeyState::Retiring | KeyState::Retired | KeyState::Compromised => schedule.leaves_at(key),
            };
            [own, compromise_at]
        });
        // Nothing left to wait for: the plan never rotates.
        let Some(next) = times.flatten().filter(|at| *at > now).min_by_key(|at| at.as_micros()) else { break };
        now = next;
    }
    // The last one is an operator's, as soon as it is allowed: of a standby that was just published.
    if rehearsal.rotations > 0
        && let Some(standby) = schedule::successor(&rows)
    {
        let (to, at) = (standby.kid.clone(), schedule.may_sign_from(standby).max(now));
        take(&mut rows, &Step::Rotate { to, after_silence: false }, at, schedule.usual_life);
    }
    // What has signed leaves in the end.
    rows.iter()
        .map(|row| PlannedKey {
            published_at: seconds(row.published_at),
            signs_from: row.activated_at.map(seconds),
            signs_until: row.retiring_at.map(seconds),
            leaves_at: row.ended_at.or_else(|| schedule.leaves_at(row)).map(seconds),
            compromised_at: row.ended_at.filter(|_| row.state == KeyState::Compromised).map(seconds),
        })
        .collect()
}

/// The instants at which something changes: a key signs, leaves or is lost.
pub(super) fn events(keys: &[PlannedKey]) -> Vec<f64> {
    let first = keys.first().map_or(0.0, |key| key.published_at);
    let all = keys.iter().flat_map(|key| [key.signs_from, key.leaves_at, key.compromised_at]);
    let mut events: Vec<f64> = all.flatten().filter(|at| *at > first).collect();
    events.sort_by(f64::total_cmp);
    events.dedup();
    events
}

/// The key that an instance signs with, which follows each change with a lag of its own.
pub(super) fn signer(keys: &[PlannedKey], at: f64, lags: Option<&Vec<f64>>) -> Option<usize> {
    let lag = |number: usize| lags.and_then(|lags| lags.get(number)).copied().unwrap_or(0.0);
    // The first key signs from the beginning, without anyone being late.
    let signs = |(number, key): &(usize, &PlannedKey)| {
        key.signs_from.is_some_and(|from| at >= if from > 0.0 { from + lag(*number) } else { from })
    };
    keys.iter().enumerate().filter(signs).map(|(number, _)| number).next_back()
}

fn take(rows: &mut Vec<StoredKey>, step: &Step, now: Timestamp, life: Duration) {
    match step {
        Step::Generate => {}
        Step::Rotate { to, .. } => {
            for row in rows.iter_mut() {
                if row.state == KeyState::Active {
                    (row.state, row.retiring_at) = (KeyState::Retiring, Some(now));
                } else if row.kid == *to {
                    (row.state, row.activated_at, row.longest_life) = (KeyState::Active, Some(now), life);
                }
            }
        }
        Step::Retire { kid } => {
            for row in rows.iter_mut().filter(|row| row.kid == *kid) {
                (row.state, row.ended_at) = (KeyState::Retired, Some(now));
            }
            return;
        }
    }
    add_standby(rows, now);
}

fn compromise(rows: &mut Vec<StoredKey>, now: Timestamp, life: Duration) {
    let heir = schedule::successor(rows).map(|key| key.kid.clone());
    for row in rows.iter_mut() {
        if row.state == KeyState::Active {
            (row.state, row.ended_at, row.retiring_at) = (KeyState::Compromised, Some(now), Some(now));
        } else if Some(&row.kid) == heir.as_ref() {
            (row.state, row.activated_at, row.longest_life) = (KeyState::Active, Some(now), life);
        }
    }
    add_standby(rows, now);
}

fn add_standby(rows: &mut Vec<StoredKey>, now: Timestamp) {
    let position = u32::try_from(rows.len()).unwrap_or(u32::MAX).saturating_add(1);
    rows.push(row(position, KeyState::Standby, now));
}

fn row(position: u32, state: KeyState, now: Timestamp) -> StoredKey {
    StoredKey {
        kid: position.to_string(),
        position,
        state,
        origin: KeyOrigin::Generated,
        algorithm: OwnAlgorithm::Rs256,
        modulus: Vec::new(),
        exponent: Vec::new(),
        wrapped: None,
        key_version: 1,
        published_at: now,
        activated_at: (state == KeyState::Active).then_some(now),
        retiring_at: None,
        ended_at: None,
        longest_life: Duration::ZERO,
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.since(Timestamp::from_micros(0)).as_secs_f64()
}

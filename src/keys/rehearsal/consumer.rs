//! One service that verifies, as its library does.

use fastrand::Rng;

use super::plan::PlannedKey;
use crate::keys::consumers::{Cache, Consumer, MAX_AGE, UnknownKid};

/// What a service finds around it.
pub(super) struct World<'w> {
    pub(super) keys: &'w [PlannedKey],
    /// How late each instance is with each key.
    pub(super) lags: &'w [Vec<f64>],
    /// For how long from each event on the JWKS cannot be fetched.
    pub(super) outage: f64,
    pub(super) events: &'w [f64],
}

impl World<'_> {
    fn is_out(&self, at: f64) -> bool {
        self.events.iter().any(|event| (*event..*event + self.outage).contains(&at))
    }

    /// Whether a JWKS that is fetched then holds a key: it may have been kept on the way for as long as we allow, and comes
    /// from an instance that may be late.
    fn holds(&self, key: usize, (as_of, lags): (f64, Option<&Vec<f64>>)) -> bool {
        let lag = lags.and_then(|lags| lags.get(key)).copied().unwrap_or(0.0);
        self.keys.get(key).is_some_and(|key| {
            let published_at = if key.published_at > 0.0 { key.published_at + lag } else { key.published_at };
            let ends_at = key.compromised_at.or(key.leaves_at);
            published_at <= as_of && ends_at.is_none_or(|at| as_of < at + lag)
        })
    }
}

/// A service.
pub(super) struct Service<'c> {
    consumer: &'c Consumer,
    /// The keys that it has, with when it got each.
    known: Vec<(usize, f64)>,
    /// The keys of the JWKS before the last, with until when it goes back to each.
    last_good: Vec<(usize, f64)>,
    /// What was in the JWKS that it last fetched, if it keeps that beneath its keys.
    set: Vec<usize>,
    /// When it last fetched the JWKS.
    fetched_at: Option<f64>,
}

impl<'c> Service<'c> {
    pub(super) fn new(consumer: &'c Consumer) -> Self {
        Self { consumer, known: Vec::new(), last_good: Vec::new(), set: Vec::new(), fetched_at: None }
    }

    /// Whether it accepts the signature of that key.
    pub(super) fn verify(&mut self, key: usize, at: f64, world: &World<'_>, rng: &mut Rng) -> bool {
        self.expire(at, world, rng);
        if self.knows(key) || self.last_good.iter().any(|(known, until)| *known == key && at < *until) {
            return true;
        }
        match self.consumer.unknown_kid {
            UnknownKid::Reject => false,
            UnknownKid::Refetch(pause) => {
                if self.may_fetch(at, pause.as_secs_f64()) {
                    self.fetch(key, at, world, rng);
                }
                self.knows(key)
            }
            UnknownKid::RejectAndRefetch(pause) => {
                if self.may_fetch(at, pause.as_secs_f64()) {
                    self.fetch(key, at, world, rng);
                }
                false
            }
        }
    }

    fn knows(&self, key: usize) -> bool {
        self.known.iter().any(|(known, _)| *known == key)
    }

    fn may_fetch(&self, at: f64, pause: f64) -> bool {
        self.fetched_at.is_none_or(|fetched_at| at - fetched_at >= pause)
    }

    /// Drops or renews what it has kept for long enough.
    fn expire(&mut self, at: f64, world: &World<'_>, rng: &mut Rng) {
        match self.consumer.cache {
            Cache::Set(life) => {
                if self.may_fetch(at, life.as_secs_f64())
                    && !self.fetch_set(at, world, rng)
                    && !self.consumer.survives_outage
                {
                    self.known.clear();
                }
            }
            Cache::EachKey(life) => self.known.retain(|(_, since)| at - since < life.as_secs_f64()),
            Cache::SetForEver => {
                if self.fetched_at.is_none() {
                    self.fetch_set(at, world, rng);
                }
            }
            Cache::EachKeyOverSet(life) => {
                self.known.retain(|(_, since)| at - since < life.as_secs_f64());
                let gone = self.set.iter().filter(|key| !self.known.iter().any(|(known, _)| known == *key));
                let again: Vec<_> = gone.map(|key| (*key, at)).collect();
                self.known.extend(again);
            }
            Cache::EachKeyForEver => {}
        }
    }

    fn fetch(&mut self, key: usize, at: f64, world: &World<'_>, rng: &mut Rng) {
        match self.consumer.cache {
            Cache::Set(_) | Cache::SetForEver => {
                self.fetch_set(at, world, rng);
            }
            Cache::EachKeyOverSet(_) => {
                if !world.is_out(at) {
                    self.fetched_at = Some(at);
                    let seen = seen(at, world, rng);
                    self.set = (0..world.keys.len()).filter(|key| world.holds(*key, seen)).collect();
                    if self.set.contains(&key) {
                        self.known.push((key, at));
                    }
                }
            }
            Cache::EachKey(_) | Cache::EachKeyForEver => {
                if !world.is_out(at) {
                    self.fetched_at = Some(at);
                    if world.holds(key, seen(at, world, rng)) {
                        self.known.push((key, at));
                    }
                }
            }
        }
    }

    /// Fetches the JWKS; `false` when it cannot be.
    fn fetch_set(&mut self, at: f64, world: &World<'_>, rng: &mut Rng) -> bool {
        if world.is_out(at) {
            return false;
        }
        let seen = seen(at, world, rng);
        let until = at + self.consumer.last_known_good.as_secs_f64();
        self.last_good = self.known.iter().map(|(key, _)| (*key, until)).collect();
        self.known = (0..world.keys.len()).filter(|key| world.holds(*key, seen)).map(|key| (key, at)).collect();
        self.fetched_at = Some(at);
        true
    }
}

/// As of when the JWKS is that somebody gets, and from which instance.
fn seen<'w>(at: f64, world: &World<'w>, rng: &mut Rng) -> (f64, Option<&'w Vec<f64>>) {
    let as_of = (at - rng.f64() * MAX_AGE.as_secs_f64()).max(0.0);
    (as_of, world.lags.get(rng.usize(..world.lags.len().max(1))))
}

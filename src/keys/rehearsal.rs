//! A plan of rotation, rehearsed against models of those who verify: which of them would reject a good token, and for how
//! long. The steps are those of the schedule that servers follow; time is a number; chance comes from a seed.

mod consumer;
pub mod picture;
mod plan;

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use super::consumers::{CONSUMERS, Consumer};
use super::schedule::{Schedule, UNCONFIRMED};
use consumer::Service;
pub use plan::PlannedKey;

/// Services of each kind of consumer, each with twice the traffic of the one before.
const SERVICES: u32 = 8;
/// The shortest distance in time from an event at which a token is looked at, in seconds.
const NEAREST: f64 = 0.5;

/// What is rehearsed.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal {
    /// The schedule.
    pub schedule: Schedule,
    /// Instances of the server. Each follows a change at a time of its own, a minute late at worst.
    pub instances: usize,
    /// Rotations when they are due; one more follows as soon as it is allowed.
    pub rotations: u32,
    /// How long after the first rotation the signing key is found to be compromised, if it is.
    pub compromise_after: Option<Duration>,
    /// For how long the JWKS cannot be fetched, from each change on.
    pub outage: Duration,
    /// Tokens to verify, in all.
    pub tokens: u64,
    /// Where chance begins.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The keys, with seconds from the beginning.
    pub keys: Vec<PlannedKey>,
    /// Each kind of consumer.
    pub consumers: Vec<Finding>,
    /// Tokens that were verified.
    pub tokens: u64,
    /// Good ones that were rejected.
    pub rejected: u64,
}

/// What came of it for one kind of consumer.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub consumer: &'static str,
    /// Tokens that it verified.
    pub tokens: u64,
    /// Good ones that it rejected.
    pub rejected: u64,
    /// From when to when it rejected good tokens, after one event each, in seconds from the beginning.
    pub rejects: Vec<(f64, f64)>,
    /// How long after the key was found to be compromised it still accepted what a thief signs, in seconds.
    pub accepts_thief_for: Option<f64>,
}

/// Who signed a token.
enum Signer {
    /// A server, with the key of this number.
    Server(usize),
    /// Whoever has the compromised key.
    Thief(usize),
}

/// A token on its way to a service.
struct Arrival {
    at: f64,
    signer: Signer,
}

impl Rehearsal {
    /// Rehearses; `progress` is told how much is done, from 0 to 1.
    pub fn run(&self, mut progress: impl FnMut(f64)) -> Findings {
        let keys = plan::keys(self);
        let events = plan::events(&keys);
        let mut findings = Vec::with_capacity(CONSUMERS.len());
        for (number, consumer) in CONSUMERS.iter().enumerate() {
            let mut rng = Rng::with_seed(self.seed.wrapping_add(u64::try_from(number).unwrap_or(0)));
            findings.push(self.try_consumer(consumer, &keys, &events, &mut rng));
            progress(fraction(number + 1, CONSUMERS.len()));
        }
        let total = |count: fn(&Finding) -> u64| findings.iter().map(count).sum();
        Findings {
            tokens: total(|finding| finding.tokens),
            rejected: total(|finding| finding.rejected),
            keys,
            consumers: findings,
        }
    }

    fn try_consumer(&self, consumer: &Consumer, keys: &[PlannedKey], events: &[f64], rng: &mut Rng) -> Finding {
        let share = self.tokens / u64::try_from(CONSUMERS.len()).unwrap_or(1);
        let mut finding =
            Finding { consumer: consumer.name, tokens: 0, rejected: 0, rejects: Vec::new(), accepts_thief_for: None };
        // From event to event: when good tokens were first and last rejected.
        let mut windows: Vec<Option<(f64, f64)>> = vec![None; events.len()];
        for service in 0..SERVICES {
            let count = (share << service) / ((1 << SERVICES) - 1);
            let lags = self.lags(keys.len(), rng);
            let mut arrivals = self.arrivals(count, keys, (events, &lags), rng);
            arrivals.sort_by(|one, other| one.at.total_cmp(&other.at));
            let mut service = Service::new(consumer);
            for arrival in &arrivals {
                let world = consumer::World { keys, lags: &lags, outage: self.outage.as_secs_f64(), events };
                match arrival.signer {
                    Signer::Server(key) => {
                        finding.tokens += 1;
                        let accepted = service.verify(key, arrival.at, &world, rng);
                        // What a compromised key signed is meant to die with it.
                        let is_good =
                            keys.get(key).is_some_and(|key| key.compromised_at.is_none_or(|at| arrival.at < at));
                        if is_good && !accepted {
                            finding.rejected += 1;
                            let event = events.iter().rposition(|at| *at <= arrival.at).unwrap_or(0);
                            if let Some(window) = windows.get_mut(event) {
                                let (first, _) = window.unwrap_or((arrival.at, arrival.at));
                                *window = Some((first.min(arrival.at), arrival.at));
                            }
                        }
                    }
                    Signer::Thief(key) => {
                        let since = keys.get(key).and_then(|key| key.compromised_at).unwrap_or(arrival.at);
                        if service.verify(key, arrival.at, &world, rng) {
                            let longest = finding.accepts_thief_for.unwrap_or(0.0).max(arrival.at - since);
                            finding.accepts_thief_for = Some(longest);
                        }
                    }
                }
            }
        }
        finding.rejects = windows.into_iter().flatten().collect();
        finding
    }

    /// How late each instance is with each key's first signature, in seconds: a minute at worst, then it stops signing.
    fn lags(&self, keys: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
        let instance = |rng: &mut Rng| (0..keys).map(|_| rng.f64() * UNCONFIRMED.as_secs_f64()).collect();
        (0..self.instances.max(1)).map(|_| instance(rng)).collect()
    }

    /// Tokens around the events, dense near them and thin far away.
    fn arrivals(
        &self,
        count: u64,
        keys: &[PlannedKey],
        (events, lags): (&[f64], &[Vec<f64>]),
        rng: &mut Rng,
    ) -> Vec<Arrival> {
        let farthest = 2.0 * (self.schedule.publish_lead + self.schedule.retain).as_secs_f64().max(86_400.0);
        let life = self.schedule.usual_life.as_secs_f64();
        let stolen = keys.iter().position(|key| key.compromised_at.is_some());
        let mut arrivals = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            let event = events.get(rng.usize(..events.len().max(1))).copied().unwrap_or(0.0);
            let offset = NEAREST * (farthest / NEAREST).powf(rng.f64());
            let signed_at = if rng.bool() { event + offset } else { event - offset }.max(0.0);
            let lag = lags.get(rng.usize(..lags.len().max(1)));
            if let Some(key) = plan::signer(keys, signed_at, lag) {
                arrivals.push(Arrival { at: signed_at + rng.f64() * life, signer: Signer::Server(key) });
            }
            // One in sixteen tokens after the theft is the thief's.
            if let Some((key, since)) = stolen.and_then(|key| Some((key, keys.get(key)?.compromised_at?)))
                && rng.u8(..) < 16
            {
                arrivals.push(Arrival { at: since + offset, signer: Signer::Thief(key) });
            }
        }
        arrivals
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of consumers are small")]
fn fraction(done: usize, all: usize) -> f64 {
    done as f64 / all as f64
}

//! When a signing key takes its next step: a function of the rows and the time, the same for every instance.
//!
//! A key is published long before it signs and long after it has signed last, since whoever verifies may keep a JWKS for
//! hours and look for no key that is not in it. How long, follows from what is known of them (`consumers.rs`).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::signing_keys::{KeyOrigin, KeyState, StoredKey};

/// How long an instance goes on signing with keys that it could not compare with the database's.
pub const UNCONFIRMED: Duration = Duration::from_mins(1);
/// The largest leeway of verifiers in use: that of .NET.
pub const VERIFIER_LEEWAY: Duration = Duration::from_mins(5);
/// How far clocks may be apart: those of instances, the database and verifiers.
pub const CLOCK_ERROR: Duration = Duration::from_secs(30);
/// For what nobody has thought of.
pub const MARGIN: Duration = Duration::from_mins(1);
/// The least time from publication to the first signature.
pub const SHORTEST_LEAD: Duration = Duration::from_mins(30);
/// The longest that anything of it may take: ten years.
pub const LONGEST_SPAN: Duration = Duration::from_hours(24 * 3650);
/// The most keys in a JWKS; some verifiers keep no more.
pub const MOST_PUBLISHED: usize = 5;

/// How keys live, as set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs.
    pub publish_lead: Duration,
    /// How long a key at least stays published after it signed last.
    pub retain: Duration,
    /// The life of an access token whose client has none of its own.
    pub usual_life: Duration,
}

/// A step that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no key to take over: one is made.
    Generate,
    /// The standby signs from now on.
    Rotate {
        /// Which.
        to: String,
        /// Whether the instances were silent so long that caches may have forgotten the active key.
        after_silence: bool,
    },
    /// No token of the key is alive: it leaves.
    Retire {
        /// Which.
        kid: String,
    },
}

/// A schedule under which good tokens would be rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// By how much, and why.
    #[error("{key} is {}, {} too short: it must be at least {}, {why}", human(*.set), human(.least.saturating_sub(*.set)), human(*.least))]
    TooShort {
        /// The setting.
        key: &'static str,
        /// What it is.
        set: Duration,
        /// What it must be.
        least: Duration,
        /// Why.
        why: &'static str,
    },
    /// Nobody means that.
    #[error("keys.publish_lead, keys.retain and keys.rotate_every may be ten years at most: one is {}", human(*.set))]
    TooLong {
        /// What it is.
        set: Duration,
    },
}

impl Schedule {
    /// Whether no verifier rejects a good token under it.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn check(&self) -> Result<(), ScheduleError> {
        let at_least = |key, set: Duration, least: Duration, why| {
            if set < least { Err(ScheduleError::TooShort { key, set, least, why }) } else { Ok(()) }
        };
        let spans = [self.publish_lead, self.retain, self.rotate_every];
        if let Some(set) = spans.into_iter().find(|span| *span > LONGEST_SPAN) {
            return Err(ScheduleError::TooLong { set });
        }
        at_least(
            "keys.publish_lead",
            self.publish_lead,
            SHORTEST_LEAD,
            "since verifiers hold a JWKS that long and some look for no key that is not in it",
        )?;
        at_least(
            "keys.retain",
            self.retain,
            shortest_retention(self.usual_life),
            "the life of an access token and what clocks, leeways and an instance out of touch add to it",
        )?;
        at_least(
            "keys.rotate_every",
            self.rotate_every,
            self.publish_lead + self.retain,
            "keys.publish_lead and keys.retain together, so that no more than three keys are published",
        )
    }

    /// How long a key stays published after it signed last: whatever it signed has expired at every verifier by then.
    pub fn retention(&self, longest_life: Duration) -> Duration {
        self.retain.max(shortest_retention(longest_life))
    }

    /// When a key may sign: from then on every cache that is no older than the lead holds it.
    pub fn may_sign_from(&self, key: &StoredKey) -> Timestamp {
        key.published_at.plus(self.publish_lead)
    }

    /// When an active key's turn is over; for ever when it has none.
    pub fn turn_ends(&self, key: &StoredKey) -> Option<Timestamp> {
        key.activated_at.map(|at| at.plus(self.rotate_every))
    }

    /// When a retiring key leaves.
    pub fn leaves_at(&self, key: &StoredKey) -> Option<Timestamp> {
        key.retiring_at.map(|at| at.plus(self.retention(key.longest_life)))
    }

    /// The one step that is due now, the most urgent first. `silent_since` is when an instance last served, if none has
    /// since.
    pub fn due(&self, keys: &[StoredKey], now: Timestamp, silent_since: Option<Timestamp>) -> Option<Step> {
        let leaves = |key: &&StoredKey| self.leaves_at(key).is_some_and(|at| at <= now);
        if let Some(over) = in_state(keys, KeyState::Retiring).find(leaves) {
            return Some(Step::Retire { kid: over.kid.clone() });
        }
        // Without a key that signs the keys were given up, or are being put back.
        let active = active(keys)?;
        let Some(standby) = successor(keys) else { return Some(Step::Generate) };
        let turn_is_over = self.turn_ends(active).is_some_and(|at| at <= now);
        // Either nobody served, or the database is an old copy: rows may be missing in which the standby took over and
        // the active key left. In both cases caches that hold anything hold the standby.
        let after_silence = silent_since.is_some_and(|since| now.since(since) > self.retention(Duration::ZERO));
        let may_sign = self.may_sign_from(standby) <= now;
        ((turn_is_over || after_silence) && may_sign)
            .then(|| Step::Rotate { to: standby.kid.clone(), after_silence: !turn_is_over })
    }
}

/// The least retention that protects tokens of this life: an instance may sign for a while after the switch, and clocks
/// and leeways add to what a token lives.
pub fn shortest_retention(longest_life: Duration) -> Duration {
    UNCONFIRMED + longest_life + VERIFIER_LEEWAY + CLOCK_ERROR + MARGIN
}

/// The key that signs.
pub fn active(keys: &[StoredKey]) -> Option<&StoredKey> {
    in_state(keys, KeyState::Active).next()
}

/// The key that takes over: of those that stand by, the one that has been published longest.
pub fn successor(keys: &[StoredKey]) -> Option<&StoredKey> {
    let signs = |key: &&StoredKey| key.origin != KeyOrigin::VerifyOnly;
    in_state(keys, KeyState::Standby).filter(signs).min_by_key(|key| (key.published_at, key.position))
}

fn in_state(keys: &[StoredKey], state: KeyState) -> impl Iterator<Item = &StoredKey> {
    keys.iter().filter(move |key| key.state == state)
}

fn human(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jose::OwnAlgorithm;

    const HOUR: Duration = Duration::from_hours(1);
    const DAY: Duration = Duration::from_hours(24);
    const SCHEDULE: Schedule = Schedule {
        rotate_every: Duration::from_hours(90 * 24),
        publish_lead: DAY,
        retain: DAY,
        usual_life: Duration::from_mins(10),
    };

    fn at(span: Duration) -> Timestamp {
        Timestamp::from_micros(0).plus(span)
    }

    fn key(kid: &str, state: KeyState, published: Duration) -> StoredKey {
        StoredKey {
            kid: kid.to_owned(),
            position: 1,
            state,
            origin: KeyOrigin::Generated,
            algorithm: OwnAlgorithm::Rs256,
            modulus: Vec::new(),
            exponent: Vec::new(),
            wrapped: None,
            key_version: 1,
            published_at: at(published),
            activated_at: (state != KeyState::Standby).then_some(at(published)),
            retiring_at: (state == KeyState::Retiring).then_some(at(published)),
            ended_at: None,
            longest_life: Duration::from_mins(10),
        }
    }

    fn rotate(to: &str) -> Step {
        Step::Rotate { to: to.to_owned(), after_silence: false }
    }

    #[test]
    fn steps_are_due_at_their_instant_and_not_before() {
        let before = |span| at(span).minus(Duration::from_micros(1));
        let keys = [key("a", KeyState::Active, Duration::ZERO), key("s", KeyState::Standby, Duration::ZERO)];
        let turn = SCHEDULE.rotate_every;
        assert_eq!(SCHEDULE.due(&keys, before(turn), None), None);
        assert_eq!(SCHEDULE.due(&keys, at(turn), None), Some(rotate("s")));
        // A standby that is younger than its lead makes the active key wait.
        let young = [keys[0].clone(), key("s", KeyState::Standby, 89 * DAY + Duration::from_micros(1))];
        assert_eq!(SCHEDULE.due(&young, at(turn), None), None);
        assert_eq!(SCHEDULE.due(&young, at(turn + Duration::from_micros(1)), None), Some(rotate("s")));
        assert_eq!(SCHEDULE.due(&keys[..1], at(HOUR), None), Some(Step::Generate));
        assert_eq!(SCHEDULE.due(&keys[1..], at(turn), None), None, "nothing signs: the keys were given up");
        assert_eq!(SCHEDULE.due(&[], at(turn), None), None);
        let old = [keys[0].clone(), keys[1].clone(), key("r", KeyState::Retiring, Duration::ZERO)];
        assert_eq!(SCHEDULE.due(&old, before(DAY), None), None);
        assert_eq!(SCHEDULE.due(&old, at(DAY), None), Some(Step::Retire { kid: "r".to_owned() }));
        let full = [keys.as_slice(), &[key("x", KeyState::Standby, HOUR), key("y", KeyState::Standby, HOUR)]].concat();
        assert_eq!(SCHEDULE.due(&full, at(turn), None), Some(rotate("s")), "the one published longest");
        let full = [full.as_slice(), &[key("z", KeyState::Standby, HOUR)]].concat();
        assert_eq!(
            SCHEDULE.due(&full, at(turn), None),
            Some(rotate("s")),
            "whether there is room is said by who takes it"
        );
    }

    #[test]
    fn a_long_silence_lets_a_standby_sign_that_everyone_knows() {
        let keys = [key("a", KeyState::Active, Duration::ZERO), key("s", KeyState::Standby, Duration::ZERO)];
        let now = at(10 * DAY);
        assert_eq!(SCHEDULE.due(&keys, now, Some(now.minus(DAY))), None);
        let silent = Some(now.minus(DAY + HOUR));
        let step = Step::Rotate { to: "s".to_owned(), after_silence: true };
        assert_eq!(SCHEDULE.due(&keys, now, silent), Some(step));
        let young = [keys[0].clone(), key("s", KeyState::Standby, 9 * DAY + HOUR)];
        assert_eq!(SCHEDULE.due(&young, now, silent), None);
    }

    #[test]
    fn a_key_is_kept_as_long_as_what_it_signed_may_be_accepted() {
        let allowance = UNCONFIRMED + VERIFIER_LEEWAY + CLOCK_ERROR + MARGIN;
        assert_eq!(SCHEDULE.retention(HOUR), DAY);
        assert_eq!(SCHEDULE.retention(DAY), DAY + allowance);
    }

    #[test]
    fn schedules_that_break_verifiers_are_refused_with_what_is_missing() {
        let refused = |schedule: Schedule| schedule.check().unwrap_err().to_string();
        SCHEDULE.check().unwrap();
        assert_eq!(
            refused(Schedule { publish_lead: Duration::from_mins(20), ..SCHEDULE }),
            "keys.publish_lead is 20m, 10m too short: it must be at least 30m, since verifiers hold a JWKS that long and \
             some look for no key that is not in it"
        );
        let retain = refused(Schedule { retain: Duration::from_mins(10), ..SCHEDULE });
        assert!(retain.starts_with("keys.retain is 10m, 7m 30s too short: it must be at least 17m 30s"), "{retain}");
        let often = refused(Schedule { rotate_every: DAY, ..SCHEDULE });
        assert!(often.starts_with("keys.rotate_every is 1day, 1day too short: it must be at least 2days"), "{often}");
    }
}

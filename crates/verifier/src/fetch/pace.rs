//! How long things take and how often they may happen. Pure: it is told what time it is.

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::rand;

/// Divides every wait, so that a test of minutes takes seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(pub(super) u32);

impl Pace {
    /// What a span amounts to.
    pub(super) fn of(self, span: Duration) -> Duration {
        span / self.0.max(1)
    }
}

/// Between nothing and the whole of `span`, so that many verifiers do not come back in one instant.
pub(super) fn jitter(span: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness all of it is waited for.
    let part = if rand::fill(&mut bytes).is_ok() { u32::from_le_bytes(bytes) } else { u32::MAX };
    span.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// When to ask for keys again: at four fifths of their `max-age`, more or less a tenth, between 30 s and 15 min.
pub(super) fn refresh_after(max_age: Option<Duration>) -> Duration {
    let max_age = max_age.unwrap_or(Duration::from_mins(5));
    let around = max_age.mul_f64(0.72) + jitter(max_age.mul_f64(0.16));
    around.clamp(Duration::from_secs(30), Duration::from_mins(15))
}

/// Fetches that strangers can cause: two at once, one more every ten seconds.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: u32,
    /// When the last one was put in.
    filled_at: Duration,
    pace: Pace,
}

const BURST: u32 = 2;
const REFILL: Duration = Duration::from_secs(10);

impl Bucket {
    pub(super) fn new(now: Duration, pace: Pace) -> Self {
        Self { tokens: BURST, filled_at: now, pace }
    }

    /// Whether there is one more to be had.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let step = self.pace.of(REFILL);
        while self.tokens < BURST && now.saturating_sub(self.filled_at) >= step {
            self.tokens += 1;
            self.filled_at = self.filled_at.saturating_add(step);
        }
        if self.tokens == BURST {
            self.filled_at = now;
        }
        let had = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        had
    }
}

/// Keys that were asked for in vain, so that one bad client does not use up what all share.
#[derive(Debug)]
pub(super) struct Unknown {
    kids: VecDeque<(String, Duration)>,
    pace: Pace,
}

const UNKNOWN_FOR: Duration = Duration::from_mins(1);
const MAX_UNKNOWN: usize = 1024;

impl Unknown {
    pub(super) fn new(pace: Pace) -> Self {
        Self { kids: VecDeque::new(), pace }
    }

    pub(super) fn contains(&mut self, kid: &str, now: Duration) -> bool {
        let life = self.pace.of(UNKNOWN_FOR);
        while self.kids.front().is_some_and(|(_, since)| now.saturating_sub(*since) >= life) {
            self.kids.pop_front();
        }
        self.kids.iter().any(|(known, _)| known == kid)
    }

    pub(super) fn insert(&mut self, kid: String, now: Duration) {
        if self.kids.len() >= MAX_UNKNOWN {
            self.kids.pop_front();
        }
        self.kids.push_back((kid, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_at_once_and_one_every_ten_seconds() {
        let mut bucket = Bucket::new(Duration::ZERO, Pace(1));
        let mut take = |second: u32| bucket.take(SECOND * second);
        assert_eq!(
            [take(0), take(0), take(0), take(9), take(10), take(10), take(19), take(20)],
            [true, true, false, false, true, false, false, true]
        );
        assert_eq!([take(1000), take(1000), take(1000)], [true, true, false]);
    }

    #[test]
    fn an_unknown_key_is_known_to_be_so_for_a_minute() {
        let mut unknown = Unknown::new(Pace(1));
        unknown.insert("k".to_owned(), SECOND);
        assert!(unknown.contains("k", SECOND * 60) && !unknown.contains("x", SECOND));
        assert!(!unknown.contains("k", SECOND * 61));
        for number in 0..2000 {
            unknown.insert(number.to_string(), SECOND * 70);
        }
        assert_eq!(unknown.kids.len(), MAX_UNKNOWN);
    }

    #[test]
    fn keys_are_asked_for_before_they_are_old() {
        for _ in 0..100 {
            let after = refresh_after(Some(Duration::from_mins(5)));
            assert!((Duration::from_secs(216)..=Duration::from_secs(264)).contains(&after), "{after:?}");
            assert!(jitter(SECOND) <= SECOND);
        }
        assert_eq!(refresh_after(Some(Duration::ZERO)), Duration::from_secs(30));
        assert_eq!(refresh_after(Some(Duration::MAX / 4)), Duration::from_mins(15));
    }
}

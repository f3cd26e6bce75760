//! What time it is. Owns the only two reads of the system's clocks; everything else is handed a [`Timestamp`].
//! Refuses to know what a time is used for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An instant in microseconds since 1970-01-01T00:00:00Z. What the database stores in every `…_at` column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as JWT `NumericDate` wants them (RFC 7519 §2).
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant moved forward; stays at the far end rather than wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(span)))
    }

    /// This instant moved back; stays at the far end rather than wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(span)))
    }

    /// How long after `earlier` this is; zero when it is before it (a clock may jump back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last second that four digits of a year can tell.
        let micros = self.0.clamp(0, 253_402_300_799_000_000);
        let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        write!(f, "{}", humantime::format_rfc3339_seconds(at))
    }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// A source of time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's wall clock and its monotonic clock.
    System {
        /// Where the monotonic readings count from.
        started: Instant,
    },
    /// Stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's door")]
    pub fn system() -> Self {
        Self::System { started: Instant::now() }
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it.
    pub fn manual(at: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    /// The wall clock's reading. May jump, in either direction.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's door")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System { .. } => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(micros_of(since_epoch))
            }
            Self::Manual(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// A reading that never goes back, for deadlines and timings; only differences mean anything.
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::System { started } => started.elapsed(),
            Self::Manual(at) => Duration::from_micros(u64::try_from(at.load(Ordering::SeqCst)).unwrap_or(0)),
        }
    }

    /// Moves a manual clock forward; the system's clock cannot be moved.
    pub fn advance(&self, span: Duration) {
        if let Self::Manual(at) = self {
            at.fetch_add(micros_of(span), Ordering::SeqCst);
        }
    }
}

/// A moment on the monotonic clock that passes, whatever happens to the wall clock.
#[derive(Clone, Debug)]
pub struct Deadline {
    clock: Clock,
    at: Duration,
}

impl Deadline {
    /// A deadline `span` from now.
    pub fn after(clock: &Clock, span: Duration) -> Self {
        Self { clock: clock.clone(), at: clock.monotonic().saturating_add(span) }
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.clock.monotonic() > self.at
    }

    /// How long until it passes; zero once it has.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_sub(self.clock.monotonic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_micros(5_000_000));
        let deadline = Deadline::after(&clock, Duration::from_secs(10));
        assert_eq!(clock.now().unix_seconds(), 5);
        clock.advance(Duration::from_secs(10));
        assert!(!deadline.has_passed());
        clock.advance(Duration::from_micros(1));
        assert!(deadline.has_passed());
        assert_eq!(clock.now().unix_seconds(), 15);
    }

    #[test]
    fn a_span_before_the_epoch_floors_towards_the_past_and_never_wraps() {
        assert_eq!(Timestamp::from_micros(-1).unix_seconds(), -1);
        assert_eq!(Timestamp::from_micros(i64::MAX).plus(Duration::MAX).as_micros(), i64::MAX);
        assert_eq!(Timestamp::from_micros(1).since(Timestamp::from_micros(9)), Duration::ZERO);
    }
}

//! What time it is. Owns the only reads of the system's clocks; a test has one that it moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's wall clock, and its monotonic clock counted from an instant.
    System(Instant),
    /// Stands still until it is moved; microseconds since the Unix epoch.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "only tests move time"))]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's door")]
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock that stands at so many seconds since the Unix epoch.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn manual(unix_seconds: u64) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(unix_seconds.saturating_mul(1_000_000))))
    }

    /// Seconds since the Unix epoch, as `NumericDate` counts them (RFC 7519 §2). May jump, in either direction.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's door")]
    pub(crate) fn unix_seconds(&self) -> i64 {
        let seconds = match self {
            Self::System(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            Self::Manual(at) => at.load(Ordering::SeqCst) / 1_000_000,
        };
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// A reading that never goes back; only differences mean anything.
    pub(crate) fn monotonic(&self) -> Duration {
        match self {
            Self::System(started) => started.elapsed(),
            Self::Manual(at) => Duration::from_micros(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward; the system's clock cannot be moved.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn advance(&self, span: Duration) {
        if let Self::Manual(at) = self {
            at.fetch_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(5);
        let before = clock.monotonic();
        assert_eq!(clock.unix_seconds(), 5);
        clock.advance(Duration::from_secs(10));
        assert_eq!(clock.unix_seconds(), 15);
        assert_eq!(clock.monotonic(), before + Duration::from_secs(10));
    }
}

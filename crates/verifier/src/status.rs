//! Which grants were revoked, as far as we know: what a token is checked against, and how old that knowledge is. A look
//! takes no lock and does no IO. How it is kept up to date is [`Follower`]'s affair.

mod cuts;
mod follower;
mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Deserialize;

pub(crate) use cuts::CutIndex;
pub use follower::{Follower, Next, Taken, TakenList};

use crate::clock::Clock;
use crate::feed::CutKind;
use crate::status_list::{self, LIST_ENTRIES};

/// Up to this age, what is known counts as current.
pub(crate) const CURRENT: Duration = Duration::from_secs(10);

/// What is known of revocations. Clones share it.
///
/// ```
/// use countersign_verifier::status::Follower;
///
/// let status = Follower::new("https://as.example").status();
/// assert_eq!(status.age(), None, "nothing was heard yet");
/// assert_eq!(status.seq(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    view: ArcSwap<View>,
    /// When it was last known to be current, in microseconds of the monotonic clock and one more; 0 if never.
    heard: AtomicU64,
    /// The same in seconds of the wall clock.
    heard_wall: AtomicI64,
    seq: AtomicU64,
}

/// A state of what is known; replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The bits of each list; none for one that is not known.
    pub(crate) lists: Vec<Option<Arc<[u8]>>>,
    /// Cut-offs: those of the key that is in use, and of keys before it until a checkpoint has confirmed that.
    pub(crate) cuts: Vec<Arc<CutIndex>>,
}

/// The claim `status` of a token (draft-ietf-oauth-status-list §6.1).
#[derive(Debug, Deserialize)]
pub(crate) struct StatusClaim {
    status_list: Reference,
}

#[derive(Debug, Deserialize)]
struct Reference {
    idx: u64,
    uri: String,
}

/// A grant's place in the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) list: u64,
    pub(crate) index: u64,
}

impl StatusClaim {
    /// The place that it names, if it is one of `issuer`'s.
    pub(crate) fn place(&self, issuer: &str) -> Option<Place> {
        let Reference { idx: index, uri } = &self.status_list;
        let digits = uri.strip_prefix(issuer)?.strip_prefix("/status/")?;
        let list: u64 = digits.parse().ok()?;
        // One spelling of each list: no sign, no leading zeros.
        let canonical = *uri == status_list::uri(issuer, list);
        (canonical && *index < LIST_ENTRIES).then_some(Place { list, index: *index })
    }
}

/// What of a token decides whether it was revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'c> {
    pub(crate) place: Option<Place>,
    pub(crate) kid: &'c str,
    pub(crate) iat: i64,
    pub(crate) sub: &'c str,
    pub(crate) client_id: &'c str,
    pub(crate) sid: Option<&'c str>,
    pub(crate) jti: &'c str,
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing against it.
    Good,
    /// Its grant's bit is set.
    Ended,
    /// A cut-off is about it.
    CutOff(CutKind),
    /// Its list is not known.
    UnknownList,
}

impl Status {
    pub(crate) fn new(clock: Clock) -> Self {
        let view = ArcSwap::from_pointee(View::default());
        Self(Arc::new(Shared {
            clock,
            view,
            heard: AtomicU64::new(0),
            heard_wall: AtomicI64::new(i64::MAX),
            seq: AtomicU64::new(0),
        }))
    }

    /// How long ago it was last known to be current; none if it never was.
    pub fn age(&self) -> Option<Duration> {
        let heard = self.0.heard.load(Ordering::Acquire).checked_sub(1)?;
        let monotonic = self.0.clock.monotonic().saturating_sub(Duration::from_micros(heard));
        Some(monotonic.max(passed(self.0.heard_wall.load(Ordering::Acquire), self.0.clock.unix_seconds())))
    }

    /// The number of the last change that is in force.
    pub fn seq(&self) -> u64 {
        self.0.seq.load(Ordering::Acquire)
    }

    /// Whether a key was killed.
    pub(crate) fn is_killed(&self, kid: &str) -> bool {
        self.0.view.load().cuts.iter().any(|cuts| cuts.kills(kid))
    }

    /// What is known of a token.
    pub(crate) fn standing(&self, subject: &Subject<'_>) -> Standing {
        let view = self.0.view.load();
        if let Some(kind) = view.cuts.iter().find_map(|cuts| cuts.cuts_off(subject)) {
            return Standing::CutOff(kind);
        }
        let Some(place) = subject.place else { return Standing::Good };
        let list = usize::try_from(place.list).ok().and_then(|list| view.lists.get(list));
        match list {
            Some(Some(bits)) if status_list::is_set(bits, place.index) => Standing::Ended,
            Some(Some(_)) => Standing::Good,
            Some(None) | None => Standing::UnknownList,
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// It is known to be current.
    pub(crate) fn hear(&self) {
        self.hear_of(Duration::ZERO);
    }

    /// It is known to have been current so long ago.
    pub(crate) fn hear_of(&self, ago: Duration) {
        let then = self.0.clock.monotonic().saturating_sub(ago);
        let micros = u64::try_from(then.as_micros()).unwrap_or(u64::MAX - 1);
        let before = self.0.heard.fetch_max(micros.saturating_add(1), Ordering::AcqRel);
        if before <= micros {
            let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
            self.0.heard_wall.store(self.0.clock.unix_seconds().saturating_sub(ago), Ordering::Release);
        }
    }

    /// When it was last known to be current, in seconds since the epoch.
    pub(crate) fn heard_at(&self) -> Option<i64> {
        let heard = self.0.heard.load(Ordering::Acquire).checked_sub(1)?;
        // By the wall clock as it is now: it may have been set since.
        let age = self.0.clock.monotonic().saturating_sub(Duration::from_micros(heard)).as_secs();
        Some(self.0.clock.unix_seconds().saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)))
    }

    pub(crate) fn publish(&self, view: View) {
        self.0.view.store(Arc::new(view));
    }

    pub(crate) fn reach(&self, seq: u64) {
        self.0.seq.store(seq, Ordering::Release);
    }
}

/// How long has passed for certain between two readings of the wall clock, in whole seconds: the monotonic clock may stand
/// still while the machine is suspended.
fn passed(before: i64, now: i64) -> Duration {
    Duration::from_secs(u64::try_from(now.saturating_sub(before).saturating_sub(1)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_grows_old_while_the_machine_is_suspended() {
        assert_eq!(passed(1000, 1000), Duration::ZERO);
        assert_eq!(passed(1000, 1001), Duration::ZERO, "they may be a moment apart");
        assert_eq!(passed(1000, 8201), Duration::from_hours(2));
        assert_eq!(passed(1000, 5), Duration::ZERO, "it was set back");
        let clock = Clock::manual(1_000_000);
        let status = Status::new(clock.clone());
        status.hear();
        assert_eq!(status.age(), Some(Duration::ZERO));
        // The wall clock alone has gone on.
        status.0.heard_wall.store(1_000_000 - 7201, Ordering::Release);
        assert_eq!(status.age(), Some(Duration::from_hours(2)));
        clock.advance(Duration::from_secs(3));
        status.hear_of(Duration::from_secs(1));
        assert_eq!(status.age(), Some(Duration::from_secs(1)));
        status.hear_of(Duration::from_secs(2));
        assert_eq!(status.age(), Some(Duration::from_secs(1)), "it was known to be current later than that");
    }

    fn place(idx: u64, uri: &str) -> Option<Place> {
        StatusClaim { status_list: Reference { idx, uri: uri.to_owned() } }.place("https://as.example")
    }

    #[test]
    fn a_place_has_one_spelling() {
        assert_eq!(place(7, "https://as.example/status/12"), Some(Place { list: 12, index: 7 }));
        assert!(place(LIST_ENTRIES - 1, "https://as.example/status/0").is_some());
        assert_eq!(place(LIST_ENTRIES, "https://as.example/status/0"), None);
        for uri in [
            "https://as.example/status/",
            "https://as.example/status/01",
            "https://as.example/status/+1",
            "https://as.example/status/1/",
            "https://as.example/status/1?x",
            "https://as.example/status/18446744073709551616",
            "https://as.example.evil/status/1",
            "https://other.example/status/1",
            "/status/1",
        ] {
            assert_eq!(place(7, uri), None, "{uri}");
        }
    }
}

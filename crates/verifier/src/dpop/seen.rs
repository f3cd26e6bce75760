//! Which proofs were used (RFC 9449 §11.1), for as long as they would be good otherwise. In this process alone: another one of
//! the same service knows nothing of it.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::WINDOW;
use crate::{Rejected, digest};

/// A proof may be used from one window before its `iat` until one after it. Clocks that are set right a little are allowed for.
const KEPT: Duration = Duration::from_secs(2 * WINDOW.unsigned_abs() + 5);
/// Requests rarely wait for each other.
const SHARDS: usize = 16;
/// The most proofs that a verifier remembers, a million: 8,000 requests a second, in less than 100 MB.
pub(super) const ROOM: usize = 1 << 20;

/// Remembers proofs.
pub(super) struct Seen {
    shards: [Mutex<Shard>; SHARDS],
    /// Which shard a proof belongs to: nobody outside can tell, so that nobody can fill one of them on purpose.
    which: RandomState,
    room: usize,
}

#[derive(Default)]
struct Shard {
    names: HashSet<u128>,
    /// The same, the oldest first, and since when.
    order: VecDeque<(Duration, u128)>,
}

impl Seen {
    /// With room for so many.
    pub(super) fn new(room: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, which: RandomState::new(), room: room.div_ceil(SHARDS) }
    }

    /// Uses the proof of that name up, at most once. One for which there is no room is refused: otherwise whoever fills it could
    /// use proofs again.
    ///
    /// # Errors
    /// [`Rejected::ProofReplayed`], [`Rejected::ProofsFull`].
    pub(super) fn claim(&self, name: &str, now: Duration) -> Result<(), Rejected> {
        // Half of the digest tells proofs apart as well.
        let name = digest::sha256(name.as_bytes()).iter().take(16).fold(0, |name, byte| name << 8 | u128::from(*byte));
        let shard = usize::try_from(self.which.hash_one(name) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(shard) else { return Err(Rejected::ProofsFull) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now);
        if shard.names.contains(&name) {
            return Err(Rejected::ProofReplayed);
        }
        if shard.names.len() >= self.room {
            return Err(Rejected::ProofsFull);
        }
        shard.names.insert(name);
        shard.order.push_back((now, name));
        Ok(())
    }
}

impl Shard {
    /// Drops those whose time is over.
    fn forget(&mut self, now: Duration) {
        while let Some((_, name)) = self.order.pop_front_if(|(since, _)| now.saturating_sub(*since) > KEPT) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_used_once_while_it_is_good() {
        let seen = Seen::new(ROOM);
        let at = |seconds: u64| Duration::from_secs(seconds);
        assert_eq!(seen.claim("a", at(0)), Ok(()));
        assert_eq!(seen.claim("b", at(0)), Ok(()));
        for seconds in [0, 60, 121, 125] {
            assert_eq!(seen.claim("a", at(seconds)), Err(Rejected::ProofReplayed), "{seconds}");
        }
        assert_eq!(seen.claim("a", at(126)), Ok(()), "by then its iat is out of time");
        assert_eq!(seen.claim("a", at(127)), Err(Rejected::ProofReplayed));
    }

    #[test]
    fn without_room_nothing_is_let_through_and_nothing_forgotten() {
        let seen = Seen::new(SHARDS * 4);
        let at = |seconds: u64| Duration::from_secs(seconds);
        let outcomes: Vec<_> = (0..1000).map(|nth| seen.claim(&nth.to_string(), at(0))).collect();
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(accepted <= SHARDS * 4 && outcomes.last() == Some(&Err(Rejected::ProofsFull)), "{accepted}");
        for (nth, outcome) in outcomes.iter().enumerate() {
            let again = if outcome.is_ok() { Rejected::ProofReplayed } else { Rejected::ProofsFull };
            assert_eq!(seen.claim(&nth.to_string(), at(1)), Err(again));
        }
        assert_eq!(seen.claim("x", at(126)), Ok(()), "there is room again");
        let held: usize = seen.shards.iter().map(|shard| shard.lock().unwrap().names.len()).sum();
        let listed: usize = seen.shards.iter().map(|shard| shard.lock().unwrap().order.len()).sum();
        assert!(held == listed && held <= accepted, "{held} {listed}");
    }

    #[test]
    fn of_many_who_show_one_proof_at_once_one_is_let_through() {
        let seen = Seen::new(ROOM);
        let accepted = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| seen.claim("a", Duration::ZERO).is_ok())).collect();
            tries.into_iter().map(|one| one.join().unwrap()).filter(|accepted| *accepted).count()
        });
        assert_eq!(accepted, 1);
    }
}

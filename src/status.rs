//! What is over, as this instance knows it a moment after any instance ended it: the bits of the status lists
//! (draft-ietf-oauth-status-list), the cut-offs, and the feed of their changes; and the places in the lists that this
//! instance hands out. Refuses to know why something ended.

mod feed;
mod permutation;
pub mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

pub use feed::{Entry, EntryKind, Follower, Next};
pub use permutation::Permutation;

use self::feed::Feed;
use self::view::{ChangedPlaces, Permutations, Place, View};
use crate::clock::{Clock, Timestamp};
use crate::secret::Random;
use crate::store::instances::InstanceId;
use crate::store::status_changes::{Head, PlacedChange};
use crate::store::{self, Db, status_changes, status_positions};

/// How long an instance hands out what it leased; half of the time after which others may.
const LEASE_USED: Duration = Duration::from_mins(30);
/// The most changes that are read at once.
const MOST_AT_ONCE: i64 = 1000;
/// How many changes are kept for those who come back.
const KEPT: i64 = 50_000;
/// Who has not looked at the database for this long does not say that it is up to date.
const BLIND_AFTER: Duration = Duration::from_secs(2);

/// Positions that were leased and not handed out yet.
#[derive(Default)]
struct Pool {
    positions: Vec<i64>,
    /// When, by the monotonic clock and by the wall clock.
    leased: Option<(Duration, Timestamp)>,
}

impl Pool {
    /// Whether what was leased must not be handed out any more. The monotonic clock may stand still while the machine is
    /// suspended, and the wall clock may be set back: what counts is the later of the two.
    fn is_over(&self, monotonic: Duration, wall: Timestamp) -> bool {
        self.leased
            .is_none_or(|(leased, leased_at)| monotonic.saturating_sub(leased).max(wall.since(leased_at)) >= LEASE_USED)
    }
}

/// A signed status list as it is served.
#[derive(Clone, Debug)]
pub struct ListDocument {
    /// The token.
    pub token: Bytes,
    /// The same, compressed by gzip.
    pub gzipped: Bytes,
    /// A strong entity tag without its quotes.
    pub etag: String,
}

/// When the view was last found to be what the database says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// A monotonic reading from before it was found.
    pub since: Duration,
    /// The wall clock's at that moment.
    pub at: Timestamp,
}

/// The view and its feed, which move together.
struct Known {
    view: View,
    feed: Feed,
    current: Current,
}

impl Known {
    fn is_current(&self, now: Duration) -> bool {
        now.saturating_sub(self.current.since) < BLIND_AFTER
    }
}

/// What is over.
pub struct Status {
    holder: InstanceId,
    pool: Mutex<Pool>,
    permutations: ArcSwap<Permutations>,
    known: Mutex<Option<Known>>,
    documents: ArcSwap<Vec<ListDocument>>,
    moved: tokio::sync::watch::Sender<u64>,
}

impl Status {
    /// Nothing is known yet.
    pub fn new(random: Random) -> Self {
        Self {
            holder: random.bytes(),
            pool: Mutex::default(),
            permutations: ArcSwap::default(),
            known: Mutex::default(),
            documents: ArcSwap::default(),
            moved: tokio::sync::watch::Sender::new(0),
        }
    }

    /// Sees to it that there are lists for everything, and learns what is over.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn begin(&self, db: &Db, clock: &Clock, random: Random) -> Result<(), store::Error> {
        db.write(move |tx| status_positions::prepare(tx, random))?;
        self.learn_lists(db)?;
        self.catch_up(db, clock)
    }

    fn learn_lists(&self, db: &Db) -> Result<Arc<Permutations>, store::Error> {
        let corrupt = store::Error::Corrupt { table: "status_lists" };
        let rows = db.read(status_positions::load_lists)?;
        let permutation = |(nth, (list, key)): (usize, (i32, Vec<u8>))| {
            let in_order = usize::try_from(list).is_ok_and(|list| list == nth);
            key.try_into().ok().filter(|_| in_order).map(Permutation)
        };
        let all: Option<Vec<Permutation>> = rows.into_iter().enumerate().map(permutation).collect();
        let learned = Arc::new(Permutations(all.ok_or(corrupt)?));
        self.permutations.store(learned.clone());
        Ok(learned)
    }

    /// The place of a position.
    ///
    /// # Errors
    /// [`store::Error::Corrupt`] when it is in no list; the store's own reasons.
    pub fn place(&self, db: &Db, position: i64) -> Result<Place, store::Error> {
        if let Some(place) = self.permutations.load().place(position) {
            return Ok(place);
        }
        // Another instance has just opened a list.
        self.learn_lists(db)?.place(position).ok_or(store::Error::Corrupt { table: "status_lists" })
    }

    /// A position for something new.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn take_position(&self, db: &Db, clock: &Clock, random: Random) -> Result<i64, store::Error> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        // Before leasing: the lease is as old as this at least.
        let (monotonic, wall) = (clock.monotonic(), clock.now());
        if pool.is_over(monotonic, wall) {
            pool.positions.clear();
        }
        if let Some(position) = pool.positions.pop() {
            return Ok(position);
        }
        let holder = self.holder;
        let positions = db.write(move |tx| status_positions::lease(tx, holder, random))?;
        *pool = Pool { positions, leased: Some((monotonic, wall)) };
        pool.positions.pop().ok_or(store::Error::Corrupt { table: "status_leases" })
    }

    /// Gives up what was leased.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn leave(&self, db: &Db) -> Result<(), store::Error> {
        let holder = self.holder;
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).positions.clear();
        db.write(move |tx| status_positions::give_up(tx, holder))
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what has changed since the last time. Whoever follows is told.
    ///
    /// # Errors
    /// The store's own reasons; the view stays as it was.
    pub fn catch_up(&self, db: &Db, clock: &Clock) -> Result<(), store::Error> {
        loop {
            // Before looking: what is committed while we look is as of a moment after.
            let current = Current { since: clock.monotonic(), at: clock.now() };
            let last = db.read(status_changes::head)?;
            let seen = self.known().as_ref().map(|known| known.view.head);
            let changes = match seen {
                Some(seen) if seen == last => {
                    if let Some(known) = self.known().as_mut() {
                        known.current = current;
                    }
                    return Ok(());
                }
                Some(seen) if seen.seq < last.seq => db.read(|tx| status_changes::after(tx, seen.seq, MOST_AT_ONCE))?,
                // Nothing is known yet, or the database went back.
                Some(_) | None => Vec::new(),
            };
            if changes.is_empty() || !self.apply(db, &changes)? {
                self.begin_anew(db)?;
            }
        }
    }

    /// Applies changes; `false` when they do not follow what is known.
    fn apply(&self, db: &Db, changes: &[PlacedChange]) -> Result<bool, store::Error> {
        let mut permutations = self.permutations.load_full();
        if changes.iter().any(|placed| placed.change.lists.is_some()) {
            permutations = self.learn_lists(db)?;
        }
        let mut known = self.known();
        let Some(known) = known.as_mut() else { return Ok(false) };
        for PlacedChange { before, head, change } in changes {
            // One is missing; or the database lost what led here, and went on with other changes of the same numbers.
            if *before != known.view.head {
                return Ok(false);
            }
            let Some(places) = ChangedPlaces::of(change, &permutations) else { return Ok(false) };
            known.view.apply(*head, change, &places);
            known.feed.push(EntryKind::Change(head.seq), places.wire(head.seq, change));
        }
        self.moved.send_modify(|moves| *moves += 1);
        Ok(true)
    }

    fn begin_anew(&self, db: &Db) -> Result<(), store::Error> {
        // If the database went back, it may know nothing of what was leased here.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).positions.clear();
        let permutations = self.learn_lists(db)?;
        let snapshot = db.write_relaxed(status_changes::snapshot)?;
        let corrupt = store::Error::Corrupt { table: "status_bits" };
        let view = View::new(&snapshot, &permutations).ok_or(corrupt)?;
        // What led here, for those who come back.
        let head = snapshot.head;
        let mut feed = Feed::new(head.seq);
        let kept = db.read(|tx| status_changes::after(tx, head.seq - KEPT, KEPT))?;
        let mut before = None;
        for placed in kept.into_iter().filter(|placed| placed.head.seq <= head.seq) {
            // Whoever lacks one that is not there any more has to begin with the lists.
            if before.replace(placed.head).is_some_and(|before| placed.before != before) {
                feed = Feed::new(placed.before.seq);
            }
            if let Some(places) = ChangedPlaces::of(&placed.change, &permutations) {
                feed.push(EntryKind::Change(placed.head.seq), places.wire(placed.head.seq, &placed.change));
            }
        }
        let mut known = self.known();
        let current = known.as_ref().map(|known| known.current).unwrap_or_default();
        // Whoever follows the feed of before finds that it is over.
        *known = Some(Known { view, feed, current });
        self.moved.send_modify(|moves| *moves += 1);
        Ok(())
    }

    /// The view, and when it was last found to be current.
    pub fn view(&self) -> Option<(View, Current)> {
        self.known().as_ref().map(|known| (known.view.clone(), known.current))
    }

    /// Puts a signed checkpoint of the state at `head` into the feed, if that is still the state.
    pub fn put_checkpoint(&self, head: Head, token: String) {
        let mut known = self.known();
        if let Some(known) = known.as_mut().filter(|known| known.view.head == head) {
            known.feed.push(EntryKind::Checkpoint, token);
            self.moved.send_modify(|moves| *moves += 1);
        }
    }

    /// Begins to follow from the change after `since`, or from now on: what is said first, and where to go on. `None` when
    /// `since` is too old, or from the future; or when nothing is known yet.
    pub fn follow(&self, since: Option<i64>) -> Option<(String, Follower)> {
        let known = self.known();
        let known = known.as_ref()?;
        let follower = known.feed.begin(since.unwrap_or(known.view.head.seq))?;
        Some((known.view.hello(), follower))
    }

    /// What has come since.
    pub fn next(&self, follower: &mut Follower) -> Next {
        self.known().as_ref().map_or(Next::Lost, |known| known.feed.next(follower))
    }

    /// The number of the last change, if at `now`, a monotonic reading, this is what the database says and somebody who
    /// follows has everything that led there.
    pub fn beat(&self, follower: &Follower, now: Duration) -> Option<i64> {
        let known = self.known();
        let known = known.as_ref().filter(|known| known.is_current(now) && known.feed.is_at_end(follower))?;
        Some(known.view.head.seq)
    }

    /// Moves whenever something has come.
    pub fn moves(&self) -> tokio::sync::watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// How many follow.
    pub fn followers(&self) -> usize {
        self.moved.receiver_count()
    }

    /// Whether the bit of that number is known to be set.
    pub fn is_over(&self, number: u64) -> bool {
        self.known().as_ref().is_some_and(|known| known.view.is_over(number))
    }

    /// The number of the last change that is known here.
    pub fn last_seq(&self) -> Option<i64> {
        self.known().as_ref().map(|known| known.view.head.seq)
    }

    /// The last change, if at `now`, a monotonic reading, this is what the database says.
    pub fn current_head(&self, now: Duration) -> Option<Head> {
        self.known().as_ref().filter(|known| known.is_current(now)).map(|known| known.view.head)
    }

    /// The signed list of that number.
    pub fn document(&self, list: u32) -> Option<ListDocument> {
        self.documents.load().get(usize::try_from(list).ok()?).cloned()
    }

    /// How many lists are served.
    pub fn served_lists(&self) -> usize {
        self.documents.load().len()
    }

    /// Serves these lists from now on.
    pub fn publish(&self, documents: Vec<ListDocument>) {
        self.documents.store(Arc::new(documents));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_after_half_an_hour_by_either_clock() {
        let at = |minutes: u64| Timestamp::from_micros(0).plus(Duration::from_mins(minutes));
        let pool = Pool { positions: vec![1], leased: Some((Duration::from_mins(5), at(1000))) };
        let is_over = |monotonic, wall| pool.is_over(Duration::from_mins(monotonic), at(wall));
        assert!(!is_over(34, 1029) && !is_over(5, 900));
        assert!(is_over(35, 1029) && is_over(35, 0), "the wall clock was set back");
        assert!(is_over(6, 1030), "the machine was suspended");
        assert!(Pool::default().is_over(Duration::ZERO, at(0)), "nothing was leased");
    }
}

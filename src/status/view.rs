//! Everything that is over, in memory: the bits of each list and the cut-offs, as of one change.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_verifier::feed::{self, Cut, CutKind, FeedKey};
use countersign_verifier::status_list::{self, LIST_BYTES, LIST_ENTRIES};

use super::permutation::Permutation;
use crate::store::status_changes::{Change, Head, Snapshot};
use crate::store::status_positions::LIST_POSITIONS;

fn empty_list() -> Arc<[u8]> {
    Arc::from(vec![0; LIST_BYTES])
}

/// Where something stands in the status lists: which list, and which bit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The list.
    pub list: u32,
    /// The index in it.
    pub idx: u32,
}

impl Place {
    /// List and index in one number, as in the feed.
    pub fn number(self) -> u64 {
        u64::from(self.list) * LIST_POSITIONS.unsigned_abs() + u64::from(self.idx)
    }
}

/// What scatters the positions of every list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permutations(pub(super) Vec<Permutation>);

impl Permutations {
    /// The place of a position, if its list is known here.
    pub fn place(&self, position: i64) -> Option<Place> {
        let list = usize::try_from(position.div_euclid(LIST_POSITIONS)).ok()?;
        let within = u32::try_from(position.rem_euclid(LIST_POSITIONS)).ok()?;
        let idx = self.0.get(list)?.index(within);
        Some(Place { list: u32::try_from(list).ok()?, idx })
    }

    /// How many lists there are.
    pub fn lists(&self) -> usize {
        self.0.len()
    }
}

/// The places that a change is about.
pub(super) struct ChangedPlaces {
    set: Vec<Place>,
    clear: Vec<Place>,
    lists: usize,
}

impl ChangedPlaces {
    /// `None` when the change names a list that is not known here.
    pub(super) fn of(change: &Change, permutations: &Permutations) -> Option<Self> {
        let places = |positions: &[i64]| -> Option<Vec<Place>> {
            positions.iter().map(|position| permutations.place(*position)).collect()
        };
        Some(Self { set: places(&change.set)?, clear: places(&change.clear)?, lists: permutations.lists() })
    }

    /// The change as it goes over the wire.
    pub(super) fn wire(&self, seq: i64, change: &Change) -> String {
        let numbers = |places: &[Place]| places.iter().map(|place| place.number()).collect();
        let wire = feed::Change {
            n: seq.unsigned_abs(),
            set: numbers(&self.set),
            clr: numbers(&self.clear),
            cut: change.cut.clone(),
            uncut: change.uncut.clone(),
            lists: change.lists,
            ack: change.ack,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

/// What is over.
#[derive(Clone, Debug)]
pub struct View {
    /// The last change in it.
    pub head: Head,
    feed_key: FeedKey,
    lists: Vec<Arc<[u8]>>,
    cutoffs: BTreeMap<(CutKind, String), Cut>,
}

impl View {
    /// The view of a snapshot; `None` when it names a list that is not known here.
    pub(super) fn new(snapshot: &Snapshot, permutations: &Permutations) -> Option<Self> {
        let mut view = Self {
            head: snapshot.head,
            feed_key: FeedKey::new(snapshot.hash_key),
            lists: (0..permutations.lists()).map(|_| empty_list()).collect(),
            cutoffs: BTreeMap::new(),
        };
        for position in &snapshot.set {
            view.put_bit(permutations.place(*position)?, true);
        }
        for cutoff in &snapshot.cutoffs {
            view.cutoffs.insert((cutoff.k, cutoff.h.clone()), cutoff.clone());
        }
        Some(view)
    }

    /// Makes one more change.
    pub(super) fn apply(&mut self, head: Head, change: &Change, places: &ChangedPlaces) {
        let lists = self.lists.len().max(places.lists);
        self.lists.resize_with(lists, empty_list);
        places.set.iter().for_each(|place| self.put_bit(*place, true));
        places.clear.iter().for_each(|place| self.put_bit(*place, false));
        for cutoff in &change.cut {
            self.cutoffs.insert((cutoff.k, cutoff.h.clone()), cutoff.clone());
        }
        for cutoff in &change.uncut {
            let key = (cutoff.k, cutoff.h.clone());
            if self.cutoffs.get(&key) == Some(cutoff) {
                self.cutoffs.remove(&key);
            }
        }
        self.head = head;
    }

    fn put_bit(&mut self, place: Place, over: bool) {
        let list = usize::try_from(place.list).ok().and_then(|list| self.lists.get_mut(list));
        if let Some(list) = list {
            status_list::put(Arc::make_mut(list), u64::from(place.idx), over);
        }
    }

    /// Whether the bit of that number is set.
    pub(super) fn is_over(&self, number: u64) -> bool {
        let list = usize::try_from(number / LIST_ENTRIES).ok().and_then(|list| self.lists.get(list));
        list.is_some_and(|bits| status_list::is_set(bits, number % LIST_ENTRIES))
    }

    /// The bits of the lists.
    pub fn lists(&self) -> &[Arc<[u8]>] {
        &self.lists
    }

    /// What everyone who begins to follow is told first.
    pub(super) fn hello(&self) -> String {
        let hello = feed::Hello {
            n: self.head.seq.unsigned_abs(),
            key: self.feed_key.to_text(),
            lists: u64::try_from(self.lists.len()).unwrap_or(u64::MAX),
            cuts: self.cutoffs.values().cloned().collect(),
        };
        serde_json::to_string(&hello).unwrap_or_default()
    }

    /// The digests of each list's bits, and that of the cut-offs.
    pub fn digests(&self) -> (Vec<String>, String) {
        let lists = self.lists.iter().map(|bits| feed::list_digest(bits)).collect();
        (lists, feed::cuts_digest(&self.feed_key, self.cutoffs.values()))
    }
}

//! Everything that is over, in memory: the bits of each list and the cut-offs, as of one change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::permutation::Permutation;
use crate::secret::{Digest, encode_base64url};
use crate::store::status_changes::{Change, Cutoff, CutoffKind, Snapshot};
use crate::store::status_positions::LIST_POSITIONS;

/// How many bytes the bits of a list take.
pub const LIST_BYTES: usize = 1 << 17;

fn empty_list() -> Arc<Vec<u8>> {
    Arc::new(vec![0; LIST_BYTES])
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

/// A change as it goes over the wire, by numbers instead of positions.
#[derive(Serialize)]
struct WireChange<'c> {
    n: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    set: Vec<u64>,
    #[serde(rename = "clr", skip_serializing_if = "Vec::is_empty")]
    clear: Vec<u64>,
    #[serde(skip_serializing_if = "<[Cutoff]>::is_empty")]
    cut: &'c [Cutoff],
    #[serde(skip_serializing_if = "<[Cutoff]>::is_empty")]
    uncut: &'c [Cutoff],
    #[serde(skip_serializing_if = "Option::is_none")]
    lists: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ack: bool,
}

#[derive(Serialize)]
struct Hello<'v> {
    n: i64,
    key: String,
    lists: usize,
    cuts: Vec<&'v Cutoff>,
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
        let wire = WireChange {
            n: seq,
            set: numbers(&self.set),
            clear: numbers(&self.clear),
            cut: &change.cut,
            uncut: &change.uncut,
            lists: change.lists,
            ack: change.ack,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

/// What is over.
#[derive(Clone, Debug)]
pub struct View {
    /// The number of the last change in it.
    pub seq: i64,
    hash_key: [u8; 16],
    lists: Vec<Arc<Vec<u8>>>,
    cutoffs: BTreeMap<(CutoffKind, String), Cutoff>,
}

impl View {
    /// The view of a snapshot; `None` when it names a list that is not known here.
    pub(super) fn new(snapshot: &Snapshot, permutations: &Permutations) -> Option<Self> {
        let mut view = Self {
            seq: snapshot.seq,
            hash_key: snapshot.hash_key,
            lists: (0..permutations.lists()).map(|_| empty_list()).collect(),
            cutoffs: BTreeMap::new(),
        };
        for position in &snapshot.set {
            view.put_bit(permutations.place(*position)?, true);
        }
        for cutoff in &snapshot.cutoffs {
            view.cutoffs.insert((cutoff.kind, cutoff.value.clone()), cutoff.clone());
        }
        Some(view)
    }

    /// Makes one more change.
    pub(super) fn apply(&mut self, seq: i64, change: &Change, places: &ChangedPlaces) {
        let lists = self.lists.len().max(places.lists);
        self.lists.resize_with(lists, empty_list);
        places.set.iter().for_each(|place| self.put_bit(*place, true));
        places.clear.iter().for_each(|place| self.put_bit(*place, false));
        for cutoff in &change.cut {
            self.cutoffs.insert((cutoff.kind, cutoff.value.clone()), cutoff.clone());
        }
        for cutoff in &change.uncut {
            let key = (cutoff.kind, cutoff.value.clone());
            if self.cutoffs.get(&key) == Some(cutoff) {
                self.cutoffs.remove(&key);
            }
        }
        self.seq = seq;
    }

    fn put_bit(&mut self, place: Place, over: bool) {
        let at = (place.idx / 8) as usize;
        let Some(list) = usize::try_from(place.list).ok().and_then(|list| self.lists.get_mut(list)) else { return };
        // draft-ietf-oauth-status-list §4.1: the first entry is the least significant bit of the first byte.
        if let Some(byte) = Arc::make_mut(list).get_mut(at) {
            let bit = 1 << (place.idx % 8);
            *byte = if over { *byte | bit } else { *byte & !bit };
        }
    }

    /// The bits of the lists.
    pub fn lists(&self) -> &[Arc<Vec<u8>>] {
        &self.lists
    }

    /// What everyone who begins to follow is told first.
    pub(super) fn hello(&self) -> String {
        let hello = Hello {
            n: self.seq,
            key: encode_base64url(&self.hash_key),
            lists: self.lists.len(),
            cuts: self.cutoffs.values().collect(),
        };
        serde_json::to_string(&hello).unwrap_or_default()
    }

    /// SHA-256 of each list's bits, and of the cut-offs: a line each, `kind value nbf until`, sorted.
    pub fn digests(&self) -> (Vec<String>, String) {
        let digest = |bytes: &[u8]| encode_base64url(Digest::sha256(bytes).as_bytes());
        let line = |cutoff: &Cutoff| {
            let Cutoff { kind, value, not_before, until } = cutoff;
            format!("{} {value} {not_before} {until}\n", kind.as_str())
        };
        let mut lines: Vec<String> = self.cutoffs.values().map(line).collect();
        lines.sort_unstable();
        (self.lists.iter().map(|bits| digest(bits)).collect(), digest(lines.concat().as_bytes()))
    }
}

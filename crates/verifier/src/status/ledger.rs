//! The two sides of what is known: what is in force, and what the feed says. The feed tightens what is in force at once;
//! what it loosens stays in force until a signed checkpoint has confirmed the whole of what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{CutIndex, View};
use crate::feed::{self, Change, CheckpointClaims, Cut, FeedKey, Hello};
use crate::status_list::{self, LIST_ENTRIES, VerifiedList};

/// How many feed keys without a checkpoint between them are put up with.
const MAX_KEYS: usize = 4;

/// How many cut-offs are put up with: more are no word of an issuer.
const MAX_CUTS: usize = 200_000;

/// How long nothing must have been heard before a smaller number is believed, in seconds: longer than clocks of instances
/// differ.
const WENT_BACK_AFTER: i64 = 60;

/// A list: its bits in force, its bits as the feed has them, and up to which change.
#[derive(Debug)]
struct List {
    in_force: Arc<[u8]>,
    said: Arc<[u8]>,
    at: u64,
    iat: i64,
    /// Of `said`, once it was needed.
    digest: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    lists: BTreeMap<u64, List>,
    /// Of lists that were forgotten: up to which change they were known, and when they were signed.
    gone: BTreeMap<u64, (u64, i64)>,
    /// How many lists there are said to be.
    pub(super) count: u64,
    /// The cut-offs in force; the last is that of the key in use.
    in_force: Vec<Arc<CutIndex>>,
    /// The cut-offs as the feed has them, and up to which change.
    said: BTreeSet<Cut>,
    said_at: u64,
}

impl Ledger {
    /// Where a connection has to begin so that no list misses a change; none without lists.
    pub(super) fn since(&self) -> Option<u64> {
        self.lists.values().map(|list| list.at).min()
    }

    /// Lists that there are said to be and that are not known.
    pub(super) fn missing(&self) -> impl Iterator<Item = u64> {
        (0..self.count).filter(|list| !self.lists.contains_key(list))
    }

    /// When the list was signed that was signed longest ago, in seconds since the epoch.
    pub(super) fn oldest_iat(&self) -> i64 {
        self.lists.values().map(|list| list.iat).min().unwrap_or(i64::MIN)
    }

    /// Whether every list and the cut-offs are as of change `n`.
    pub(super) fn is_at(&self, n: u64) -> bool {
        self.said_at == n && self.missing().next().is_none() && self.lists.values().all(|list| list.at == n)
    }

    /// What tokens are checked against.
    pub(super) fn view(&self) -> View {
        let known = self.lists.last_key_value().map_or(0, |(list, _)| list.saturating_add(1));
        let bits = |list| self.lists.get(&list).map(|list: &List| Arc::clone(&list.in_force));
        View { lists: (0..known).map(bits).collect(), cuts: self.in_force.clone() }
    }

    /// Takes a signed list, unless a newer one is known. What is signed may loosen, too. `heard_at` is when all was last
    /// known to be current.
    pub(super) fn take_list(&mut self, number: u64, list: VerifiedList, heard_at: Option<i64>) -> bool {
        let known = self.lists.get(&number).map(|known| (known.at, known.iat));
        let known = known.or_else(|| self.gone.get(&number).copied());
        // Without a number of ours the time of signing orders them.
        let newer = known.is_none_or(|(at, iat)| match list.seq {
            Some(seq) => seq >= at || went_back(&list, heard_at.unwrap_or(iat)),
            None => at == 0 && list.iat >= iat,
        });
        if newer {
            self.gone.remove(&number);
            let bits: Arc<[u8]> = list.bits.into();
            let said = Arc::clone(&bits);
            let at = list.seq.unwrap_or(0);
            self.lists.insert(number, List { in_force: bits, said, at, iat: list.iat, digest: None });
            self.count = self.count.max(number.saturating_add(1));
        }
        newer
    }

    /// Forgets a list, and that there is one of that number or beyond.
    pub(super) fn forget_list(&mut self, number: u64) {
        if let Some(list) = self.lists.remove(&number) {
            // That it is gone nobody has signed. Should it come back, it must not be older than it was.
            self.gone.insert(number, (list.at, list.iat));
        }
        self.count = self.count.min(number);
    }

    /// Takes what a connection begins with; why not, if keys change faster than checkpoints come, or if there are more cut-offs
    /// than can be.
    pub(super) fn begin(&mut self, hello: &Hello, key: FeedKey) -> Result<(), &'static str> {
        // Most of them are in force already, so they are not added up.
        if self.cuts_in_force().max(hello.cuts.len()) > MAX_CUTS {
            return Err("too_many");
        }
        let known = self.in_force.last().is_some_and(|cuts| *cuts.key() == key);
        if !known {
            if self.in_force.len() >= MAX_KEYS {
                return Err("feed_keys");
            }
            self.in_force.push(Arc::new(CutIndex::new(key)));
        }
        hello.cuts.iter().for_each(|cut| self.put_in_force(cut));
        self.said = hello.cuts.iter().cloned().collect();
        self.said_at = hello.n;
        self.count = hello.lists;
        Ok(())
    }

    fn cuts_in_force(&self) -> usize {
        self.in_force.iter().map(|cuts| cuts.len()).sum()
    }

    /// Takes change `n`, which follows the one before. Not if there are more cut-offs than can be.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        if self.cuts_in_force() + change.cut.len() > MAX_CUTS {
            return false;
        }
        self.apply_bits(change);
        if let Some(lists) = change.lists {
            self.count = self.count.max(lists);
        }
        // In force at once, whatever the connection began with: that is not signed.
        change.cut.iter().for_each(|cut| self.put_in_force(cut));
        // What it began with may be ahead of the changes that are repeated after it.
        if change.n <= self.said_at {
            return true;
        }
        self.said_at = change.n;
        for cut in &change.uncut {
            self.said.remove(cut);
        }
        self.said.extend(change.cut.iter().cloned());
        true
    }

    fn apply_bits(&mut self, change: &Change) {
        // A list that was fetched lately has these changes; one that lacks others before them gets none of them.
        let follows = |list: &List| list.at.checked_add(1) == Some(change.n);
        let mut touched: BTreeMap<u64, Vec<(u64, bool)>> = BTreeMap::new();
        let cleared = change.clr.iter().map(|number| (number, false));
        let set = change.set.iter().map(|number| (number, true));
        for (number, value) in cleared.chain(set) {
            touched.entry(number / LIST_ENTRIES).or_default().push((number % LIST_ENTRIES, value));
        }
        for (number, list) in self.lists.iter_mut().filter(|(_, list)| follows(list)) {
            list.at = change.n;
            if let Some(bits) = touched.get(number) {
                list.apply(bits);
            }
        }
    }

    fn put_in_force(&mut self, cut: &Cut) {
        if let Some(cuts) = self.in_force.last_mut() {
            Arc::make_mut(cuts).insert(cut);
        }
    }

    /// Whether a checkpoint says what the feed has said.
    pub(super) fn agrees_with(&mut self, checkpoint: &CheckpointClaims) -> bool {
        let Some(cuts) = self.in_force.last() else { return false };
        let lists = self.lists.values_mut().map(List::digest);
        checkpoint.cuts == feed::cuts_digest(cuts.key(), &self.said)
            && lists.eq(checkpoint.lists.iter().map(String::as_str))
    }

    /// Puts in force what the feed has said. Whether there was anything to loosen.
    pub(super) fn settle(&mut self) -> bool {
        let mut loosened = false;
        for list in self.lists.values_mut() {
            if !Arc::ptr_eq(&list.in_force, &list.said) {
                loosened |= list.in_force != list.said;
                list.in_force = Arc::clone(&list.said);
            }
        }
        if let Some(newest) = self.in_force.pop() {
            let mut cuts = CutIndex::new(newest.key().clone());
            self.said.iter().for_each(|cut| cuts.insert(cut));
            loosened |= !self.in_force.is_empty() || cuts != *newest;
            self.in_force = vec![Arc::new(cuts)];
        }
        loosened
    }
}

/// Whether a list with a smaller number than is known is the issuer's word all the same: its database was put back to an
/// earlier state. A list that somebody on the way has kept was signed before we last heard that we are current; one that was
/// signed well after that is not kept.
fn went_back(list: &VerifiedList, heard_at: i64) -> bool {
    list.iat > heard_at.saturating_add(WENT_BACK_AFTER)
}

impl List {
    fn apply(&mut self, bits: &[(u64, bool)]) {
        let agreed = Arc::ptr_eq(&self.in_force, &self.said);
        self.digest = None;
        let said = Arc::make_mut(&mut self.said);
        for (index, value) in bits {
            status_list::put(said, *index, *value);
        }
        if agreed && bits.iter().all(|(_, set)| *set) {
            self.in_force = Arc::clone(&self.said);
            return;
        }
        let in_force = Arc::make_mut(&mut self.in_force);
        for (index, _) in bits.iter().filter(|(_, set)| *set) {
            status_list::put(in_force, *index, true);
        }
    }

    fn digest(&mut self) -> &str {
        self.digest.get_or_insert_with(|| feed::list_digest(&self.said))
    }
}

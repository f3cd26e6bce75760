//! The changes in order, as they go over the wire, for as long as somebody may come back for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes that are kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How many bytes somebody is handed at once, or a little more.
const MOST_AT_ONCE: usize = 64 * 1024;

/// Tells feeds apart: a feed that begins anew is another one.
static FEEDS: AtomicU64 = AtomicU64::new(0);

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A change of that number.
    Change(i64),
    /// A signed checkpoint of the state after the change before it.
    Checkpoint,
}

/// A line of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its data: JSON, or a compact JWS.
    pub data: Arc<str>,
}

/// Where somebody who follows has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    feed: u64,
    next: u64,
    /// Checkpoints before this were signed before it came, perhaps long before.
    from: u64,
}

/// What has come since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These, in order; none if nothing has.
    Entries(Vec<Entry>),
    /// What comes next is not kept any more, or the feed began anew.
    Lost,
}

/// The entries that are kept.
pub(super) struct Feed {
    id: u64,
    /// The number of the first entry that is kept.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The last change before the first that is kept.
    before: i64,
}

impl Feed {
    /// An empty one, in which the change `seq` comes last.
    pub(super) fn new(seq: i64) -> Self {
        let id = FEEDS.fetch_add(1, Ordering::Relaxed);
        Self { id, first: 0, entries: VecDeque::new(), bytes: 0, before: seq }
    }

    /// Adds an entry; what is too much leaves at the other end.
    pub(super) fn push(&mut self, kind: EntryKind, data: String) {
        if let (EntryKind::Change(seq), true) = (kind, self.entries.is_empty()) {
            self.before = seq - 1;
        }
        self.bytes += data.len();
        self.entries.push_back(Entry { kind, data: data.into() });
        while self.bytes > MOST_BYTES {
            let Some(gone) = self.entries.pop_front() else { return };
            self.bytes -= gone.data.len();
            self.first += 1;
            if let EntryKind::Change(seq) = gone.kind {
                self.before = seq;
            }
        }
    }

    /// Where somebody goes on who knows everything up to the change `since`.
    pub(super) fn begin(&self, since: i64) -> Option<Follower> {
        let is_later = |entry: &Entry| matches!(entry.kind, EntryKind::Change(seq) if seq > since);
        let end = self.first + u64::try_from(self.entries.len()).unwrap_or(0);
        let last = self.entries.iter().rev().find_map(|entry| match entry.kind {
            EntryKind::Change(seq) => Some(seq),
            EntryKind::Checkpoint => None,
        });
        if since < self.before || since > last.unwrap_or(self.before) {
            return None;
        }
        // Most come back for the last few.
        let later =
            self.entries.iter().rev().take_while(|entry| is_later(entry) || entry.kind == EntryKind::Checkpoint);
        Some(Follower { feed: self.id, next: end - u64::try_from(later.count()).unwrap_or(0), from: end })
    }

    /// Whether somebody has everything that has come.
    pub(super) fn is_at_end(&self, follower: &Follower) -> bool {
        let end = self.first + u64::try_from(self.entries.len()).unwrap_or(0);
        follower.feed == self.id && follower.next == end
    }

    /// What has come since.
    pub(super) fn next(&self, follower: &mut Follower) -> Next {
        let skip = follower.next.checked_sub(self.first).and_then(|skip| usize::try_from(skip).ok());
        let Some(skip) = skip.filter(|_| follower.feed == self.id) else { return Next::Lost };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in self.entries.iter().skip(skip) {
            if bytes >= MOST_AT_ONCE {
                break;
            }
            if entry.kind != EntryKind::Checkpoint || follower.next >= follower.from {
                bytes += entry.data.len();
                entries.push(entry.clone());
            }
            follower.next += 1;
        }
        Next::Entries(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(next: Next) -> Vec<i64> {
        let Next::Entries(entries) = next else { panic!("lost") };
        let seq = |entry: Entry| match entry.kind {
            EntryKind::Change(seq) => Some(seq),
            EntryKind::Checkpoint => None,
        };
        entries.into_iter().filter_map(seq).collect()
    }

    #[test]
    fn whoever_comes_back_gets_what_came_since_once_and_in_order() {
        let mut feed = Feed::new(4);
        assert!(feed.begin(3).is_none() && feed.begin(5).is_none());
        let mut from_the_start = feed.begin(4).unwrap();
        (5..=8).for_each(|seq| {
            feed.push(EntryKind::Change(seq), format!("{seq}"));
            feed.push(EntryKind::Checkpoint, "jws".to_owned());
        });
        assert_eq!(changes(feed.next(&mut from_the_start)), [5, 6, 7, 8]);
        assert_eq!(changes(feed.next(&mut from_the_start)), [0; 0]);
        let mut later = feed.begin(6).unwrap();
        assert_eq!(changes(feed.next(&mut later)), [7, 8]);
        feed.push(EntryKind::Change(9), "9".to_owned());
        assert_eq!(changes(feed.next(&mut later)), [9]);
        assert_eq!(changes(feed.next(&mut from_the_start)), [9]);
        assert!(feed.begin(10).is_none());
        assert!(Feed::new(9).next(&mut later) == Next::Lost);
    }

    #[test]
    fn whoever_comes_gets_no_checkpoint_from_before_and_little_at_a_time() {
        let mut feed = Feed::new(0);
        (1..=3).for_each(|seq| {
            feed.push(EntryKind::Change(seq), "x".repeat(MOST_AT_ONCE / 2));
            feed.push(EntryKind::Checkpoint, "old".to_owned());
        });
        let mut late = feed.begin(0).unwrap();
        let kinds = |next: Next| match next {
            Next::Entries(entries) => entries.into_iter().map(|entry| entry.kind).collect::<Vec<_>>(),
            Next::Lost => panic!("lost"),
        };
        assert_eq!(kinds(feed.next(&mut late)), [EntryKind::Change(1), EntryKind::Change(2)]);
        assert!(!feed.is_at_end(&late));
        assert_eq!(kinds(feed.next(&mut late)), [EntryKind::Change(3)]);
        assert!(feed.is_at_end(&late));
        let mut at_the_end = feed.begin(3).unwrap();
        assert_eq!(kinds(feed.next(&mut at_the_end)), []);
        feed.push(EntryKind::Checkpoint, "new".to_owned());
        assert_eq!(kinds(feed.next(&mut late)), [EntryKind::Checkpoint]);
        assert_eq!(kinds(feed.next(&mut at_the_end)), [EntryKind::Checkpoint]);
    }

    #[test]
    fn what_is_too_much_leaves_and_whoever_needed_it_is_told() {
        let mut feed = Feed::new(0);
        let mut slow = feed.begin(0).unwrap();
        (1..=40).for_each(|seq| feed.push(EntryKind::Change(seq), "x".repeat(MOST_BYTES / 20)));
        assert_eq!(feed.next(&mut slow), Next::Lost);
        assert!(feed.begin(19).is_none());
        assert_eq!(changes(feed.next(&mut feed.begin(20).unwrap())), [21], "as much as is handed over at once");
    }
}

//! Cut-offs as a token is checked against them: by keyed hash, and only of the kinds that there are any of.

use std::collections::{HashMap, HashSet};

use super::Subject;
use crate::feed::{Cut, CutKind, FeedKey};

/// The cut-offs of one feed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutIndex {
    key: FeedKey,
    subjects: Latest,
    clients: Latest,
    grants: Latest,
    tokens: Latest,
    keys: HashSet<String>,
}

/// The latest `nbf` of each hash.
type Latest = HashMap<u128, i64>;

impl CutIndex {
    /// One without cut-offs.
    pub(crate) fn new(key: FeedKey) -> Self {
        let empty = Latest::new;
        Self { key, subjects: empty(), clients: empty(), grants: empty(), tokens: empty(), keys: HashSet::new() }
    }

    pub(crate) fn key(&self) -> &FeedKey {
        &self.key
    }

    /// Puts a cut-off in force.
    pub(crate) fn insert(&mut self, cut: &Cut) {
        let map = match cut.k {
            CutKind::Sub => &mut self.subjects,
            CutKind::ClientId => &mut self.clients,
            CutKind::Sid => &mut self.grants,
            CutKind::Jti => &mut self.tokens,
            CutKind::Kid => {
                self.keys.insert(cut.h.clone());
                return;
            }
        };
        if let Some(hash) = cut.hash() {
            let latest = map.entry(hash).or_insert(cut.nbf);
            *latest = cut.nbf.max(*latest);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let Self { subjects, clients, grants, tokens, keys, key: _ } = self;
        subjects.len() + clients.len() + grants.len() + tokens.len() + keys.len()
    }

    /// Whether nothing signed with that key counts any more.
    pub(crate) fn kills(&self, kid: &str) -> bool {
        !self.keys.is_empty() && self.keys.contains(kid)
    }

    /// The kind of a cut-off that is about the token.
    pub(crate) fn cuts_off(&self, subject: &Subject<'_>) -> Option<CutKind> {
        if self.kills(subject.kid) {
            return Some(CutKind::Kid);
        }
        let latest = |map: &Latest, value: &str| {
            if map.is_empty() { None } else { map.get(&self.key.hash(value)).copied() }
        };
        let reaches = |nbf: Option<i64>| nbf.is_some_and(|nbf| subject.iat <= nbf);
        if reaches(latest(&self.subjects, subject.sub)) {
            return Some(CutKind::Sub);
        }
        if reaches(latest(&self.clients, subject.client_id)) {
            return Some(CutKind::ClientId);
        }
        if reaches(subject.sid.and_then(|sid| latest(&self.grants, sid))) {
            return Some(CutKind::Sid);
        }
        // One token, whenever it was issued.
        latest(&self.tokens, subject.jti).map(|_| CutKind::Jti)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'static> =
        Subject { place: None, kid: "k1", iat: 100, sub: "alice", client_id: "shop", sid: Some("g1"), jti: "t1" };

    fn cut_off_by(k: CutKind, value: &str, nbf: i64) -> Option<CutKind> {
        let key = FeedKey::new([9; 16]);
        let h = if k == CutKind::Kid { value.to_owned() } else { key.hash_text(value) };
        let mut index = CutIndex::new(key);
        index.insert(&Cut { k, h, nbf, until: 0 });
        index.cuts_off(&SUBJECT)
    }

    #[test]
    fn a_cut_off_reaches_tokens_up_to_its_second() {
        for (kind, value) in [(CutKind::Sub, "alice"), (CutKind::ClientId, "shop"), (CutKind::Sid, "g1")] {
            assert_eq!(cut_off_by(kind, value, 100), Some(kind));
            assert_eq!(cut_off_by(kind, value, 99), None);
            assert_eq!(cut_off_by(kind, "another", 100), None);
        }
    }

    #[test]
    fn tokens_and_keys_are_cut_off_whenever_they_were_made() {
        assert_eq!(cut_off_by(CutKind::Jti, "t1", 0), Some(CutKind::Jti));
        assert_eq!(cut_off_by(CutKind::Kid, "k1", 0), Some(CutKind::Kid));
        assert_eq!(cut_off_by(CutKind::Jti, "t2", 500), None);
        assert_eq!(cut_off_by(CutKind::Kid, "k2", 500), None);
    }

    #[test]
    fn kinds_are_apart_and_the_latest_of_two_counts() {
        assert_eq!(cut_off_by(CutKind::ClientId, "alice", 500), None);
        let key = FeedKey::new([9; 16]);
        let cut = |nbf| Cut { k: CutKind::Sub, h: key.hash_text("alice"), nbf, until: 0 };
        for pair in [[50, 150], [150, 50]] {
            let mut index = CutIndex::new(key.clone());
            for nbf in pair {
                index.insert(&cut(nbf));
            }
            assert_eq!(index.cuts_off(&SUBJECT), Some(CutKind::Sub));
        }
    }
}

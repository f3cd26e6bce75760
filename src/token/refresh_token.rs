//! Refresh tokens: opaque to everyone else, authenticated before any database is asked, and the rule by which a
//! presented one is judged.
//!
//! `csr_` and base64url of `version(1) ‖ handle(16) ‖ generation(4) ‖ sibling(1) ‖ HMAC-SHA-256(32)`. A stolen database
//! lacks the MAC key, a leaked MAC key lacks the handles.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::{Digest, PurposeKey, decode_base64url, encode_base64url};
use crate::store::grants::{Handle, Rotation};

/// What every refresh token starts with, so that scanners of repositories and logs can find a leaked one.
pub const PREFIX: &str = "csr_";
/// The most live tokens of one generation.
pub const MAX_SIBLINGS: u8 = 16;

const BODY_BYTES: usize = 1 + 16 + 4 + 1;
const MAC_BYTES: usize = 32;

/// What an authentic refresh token says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// Which grant.
    pub handle: Handle,
    /// Which generation.
    pub generation: u32,
    /// Which of that generation's tokens.
    pub sibling: u8,
}

impl RefreshToken {
    /// The token as it is handed out, under the newest of `keys`; `None` when there is no key.
    pub fn seal(&self, keys: &[(u8, PurposeKey)]) -> Option<String> {
        let (version, key) = keys.last()?;
        let mut bytes = self.body(*version);
        bytes.extend_from_slice(key.mac(&[&bytes]).as_bytes());
        Some(format!("{PREFIX}{}", encode_base64url(&bytes)))
    }

    /// What a presented token says, if it is one of ours; `None` for any other text. Every token has one spelling.
    pub fn open(text: &str, keys: &[(u8, PurposeKey)]) -> Option<Self> {
        let bytes = decode_base64url(text.strip_prefix(PREFIX)?)?;
        if bytes.len() != BODY_BYTES + MAC_BYTES {
            return None;
        }
        let (body, mac) = bytes.split_at_checked(BODY_BYTES)?;
        let (version, rest) = body.split_first()?;
        let (_, key) = keys.iter().find(|(known, _)| known == version)?;
        // RFC 6749 §10.4: cannot be generated, modified or guessed. The comparison is in constant time.
        if key.mac(&[body]) != Digest::from_slice(mac)? {
            return None;
        }
        let (handle, rest) = rest.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let sibling = *rest.first()?;
        Some(Self { handle: Handle(*handle), generation: u32::from_be_bytes(*generation), sibling })
    }

    /// Whether it is one of the tokens that the row's generation has out.
    pub fn is_live(&self, row: &Rotation) -> bool {
        self.generation == row.generation && (1..=row.siblings).contains(&self.sibling)
    }

    fn body(&self, version: u8) -> Vec<u8> {
        let mut body = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
        body.push(version);
        body.extend_from_slice(&self.handle.0);
        body.extend_from_slice(&self.generation.to_be_bytes());
        body.push(self.sibling);
        body
    }
}

/// What is to be done about an authentic token of a live grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is live and the first of its generation to be used: move on.
    Rotate {
        /// Where the rotation stands afterwards.
        to: Rotation,
    },
    /// Its own use moved the grant on, and the answer may have been lost: one more token beside the successor.
    AddSibling {
        /// The number of the new token.
        sibling: u8,
    },
    /// The same, but all siblings are out.
    TooManySiblings,
    /// It was spent, or lost to a sibling: two parties hold tokens of this grant.
    Replay,
    /// The database knows less than the token: it went back in time.
    FromTheFuture,
}

/// Judges a presented token by the grant's row (RFC 9700 §4.14.2: rotation with reuse detection). Pure.
///
/// Each answer to a refresh carries another token, and the first of them that is used wins; so two holders can never
/// both go on, and a client whose answer was lost is never shut out.
pub fn decide(
    row: &Rotation,
    presented: &RefreshToken,
    attempt: Option<Digest>,
    now: Timestamp,
    leeway: Duration,
) -> Decision {
    if presented.is_live(row) {
        let to = Rotation {
            generation: row.generation.saturating_add(1),
            winner: presented.sibling,
            siblings: 1,
            rotated_at: now,
            attempt,
        };
        return Decision::Rotate { to };
    }
    if presented.generation >= row.generation {
        return Decision::FromTheFuture;
    }
    let is_winner = presented.generation.checked_add(1) == Some(row.generation) && presented.sibling == row.winner;
    let in_time = now.since(row.rotated_at) <= leeway;
    let same_attempt = attempt.is_some() && attempt == row.attempt;
    if is_winner && (in_time || same_attempt) {
        if row.siblings >= MAX_SIBLINGS {
            return Decision::TooManySiblings;
        }
        return Decision::AddSibling { sibling: row.siblings + 1 };
    }
    Decision::Replay
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEEWAY: Duration = Duration::from_mins(1);

    fn keys() -> Vec<(u8, PurposeKey)> {
        vec![(1, PurposeKey::new([1; 32])), (2, PurposeKey::new([2; 32]))]
    }

    fn token(generation: u32, sibling: u8) -> RefreshToken {
        RefreshToken { handle: Handle([7; 16]), generation, sibling }
    }

    fn row(generation: u32, winner: u8, siblings: u8) -> Rotation {
        Rotation { generation, winner, siblings, rotated_at: Timestamp::from_micros(0), attempt: None }
    }

    #[test]
    fn a_token_survives_its_text_under_either_key() {
        let text = token(3, 2).seal(&keys()).unwrap();
        assert_eq!(text.len(), 4 + 72);
        assert!(RefreshToken::open(&text, &keys()) == Some(token(3, 2)));
        let older = token(3, 2).seal(&keys()[..1]).unwrap();
        assert!(RefreshToken::open(&older, &keys()) == Some(token(3, 2)));
        assert!(RefreshToken::open(&text, &keys()[..1]).is_none());
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let text = token(1, 1).seal(&keys()).unwrap();
        for at in 0..text.len() {
            for other in ["A", "z", "-", "=", ""] {
                let mut mangled = text.clone();
                mangled.replace_range(at..=at, other);
                assert!(mangled == text || RefreshToken::open(&mangled, &keys()).is_none(), "{at} {other}");
            }
        }
        for mangled in
            [format!("{text}A"), format!("{text}="), format!(" {text}"), text.to_uppercase(), text[4..].into()]
        {
            assert!(RefreshToken::open(&mangled, &keys()).is_none());
        }
    }

    #[test]
    fn the_table_of_decisions() {
        let late = Timestamp::from_micros(60_000_001);
        let now = Timestamp::from_micros(60_000_000);
        let judge = |row: &Rotation, presented, at| decide(row, &presented, None, at, LEEWAY);
        let rotated = |winner| Decision::Rotate { to: Rotation { rotated_at: now, ..row(6, winner, 1) } };
        assert_eq!(judge(&row(5, 1, 3), token(5, 1), now), rotated(1));
        assert_eq!(judge(&row(5, 1, 3), token(5, 3), now), rotated(3));
        assert_eq!(judge(&row(5, 1, 3), token(5, 4), now), Decision::FromTheFuture);
        assert_eq!(judge(&row(5, 1, 3), token(5, 0), now), Decision::FromTheFuture);
        assert_eq!(judge(&row(5, 1, 3), token(6, 1), now), Decision::FromTheFuture);
        assert_eq!(judge(&row(5, 2, 3), token(4, 2), now), Decision::AddSibling { sibling: 4 });
        assert_eq!(judge(&row(5, 2, 16), token(4, 2), now), Decision::TooManySiblings);
        assert_eq!(judge(&row(5, 2, 16), token(4, 2), late), Decision::Replay);
        assert_eq!(judge(&row(5, 2, 3), token(4, 2), late), Decision::Replay);
        assert_eq!(judge(&row(5, 2, 3), token(4, 1), now), Decision::Replay);
        assert_eq!(judge(&row(5, 2, 3), token(3, 2), now), Decision::Replay);
        // The clock went back: still a repeat.
        assert_eq!(judge(&row(5, 2, 3), token(4, 2), Timestamp::from_micros(-1)), Decision::AddSibling { sibling: 4 });
    }

    #[test]
    fn the_attempt_key_lets_a_late_repeat_through_and_only_its_own() {
        let (key, other) = (Some(Digest::sha256(b"one")), Some(Digest::sha256(b"two")));
        let row = Rotation { attempt: key, ..row(5, 2, 1) };
        let late = Timestamp::from_micros(3_600_000_000);
        assert_eq!(decide(&row, &token(4, 2), key, late, LEEWAY), Decision::AddSibling { sibling: 2 });
        assert_eq!(decide(&row, &token(4, 2), other, late, LEEWAY), Decision::Replay);
        assert_eq!(decide(&row, &token(4, 2), None, late, LEEWAY), Decision::Replay);
        let keyless = Rotation { attempt: None, ..row };
        assert_eq!(decide(&keyless, &token(4, 2), None, late, LEEWAY), Decision::Replay);
    }
}

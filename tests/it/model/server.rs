//! The server's part of the model: the judgement is the product's own, given rows and tokens of the classes' making.

use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::secret::Digest;
use countersign::store::grants::{Handle, Rotation};
use countersign::token::refresh_token::{Decision, MAX_SIBLINGS, RefreshToken};

use super::state::{Change, Key, MAX_LIVE, Message, Row, State, Token};

/// The leeway that the model's server is set to.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The form of the product's `decide`.
pub type Decide = fn(&Rotation, &RefreshToken, Option<Digest>, Timestamp, Duration) -> Decision;

/// The generation that a rotated row stands at; any would do that leaves room for old tokens.
const GENERATION: u32 = 9;
/// The sibling that won the generation before, and one that did not. No live one has either number.
const WINNER: u8 = 5;
const LOSER: u8 = 6;
/// When the row was last rotated.
const ROTATED_AT: Timestamp = Timestamp::from_micros(1_000_000_000);

/// What comes of reading the row for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// This is to be written.
    Change(Change),
    /// 503: nothing changes.
    Wait,
    /// `invalid_grant`: nothing changes.
    Refuse,
}

/// Puts the question to `decide` as the row and the token that the classes stand for, and folds the answer back.
/// `siblings` are as many as a world allows: they stand for the product's own limit.
pub fn judge(decide: Decide, siblings: u8, row: &Row, message: &Message) -> Verdict {
    let number = |nth| if nth >= siblings { MAX_SIBLINGS } else { nth };
    let generation = if row.rotated { GENERATION } else { 1 };
    let concrete = Rotation {
        generation,
        winner: if row.rotated { WINNER } else { 0 },
        siblings: number(row.siblings),
        rotated_at: ROTATED_AT,
        attempt: digest(row.attempt),
    };
    let (generation, sibling) = match message.token {
        Token::Live(nth) => (generation, number(nth)),
        Token::Winner => (generation - 1, WINNER),
        Token::Lost => (generation - 1, LOSER),
        Token::Old => (generation - 2, WINNER),
    };
    let presented = RefreshToken { handle: Handle([7; 16]), generation, sibling };
    let end_of_leeway = ROTATED_AT.plus(LEEWAY);
    let now = if row.late { end_of_leeway.plus(Duration::from_micros(1)) } else { end_of_leeway };
    match decide(&concrete, &presented, digest(message.key), now, LEEWAY) {
        Decision::Rotate { to } => {
            assert_eq!((to.generation, to.siblings, to.rotated_at), (concrete.generation + 1, 1, now));
            let live = (1..=row.siblings).find(|nth| number(*nth) == to.winner);
            let winner = live.map_or(Token::Lost, Token::Live);
            Verdict::Change(Change::Rotate { winner, attempt: fold_key(to.attempt) })
        }
        Decision::AddSibling { sibling } => {
            let next = row.siblings + sibling - concrete.siblings;
            Verdict::Change(Change::AddSibling { next: Token::Live(next) })
        }
        Decision::Replay => Verdict::Change(Change::End),
        Decision::TooManySiblings => Verdict::Wait,
        Decision::FromTheFuture => Verdict::Refuse,
    }
}

/// Which conditions the writing statements carry.
#[derive(Clone, Copy)]
pub struct Conditions {
    /// Rotating asks for the generation that was read; adding a sibling asks for it as well.
    pub generation: bool,
    /// Adding a sibling asks for the number of siblings that was read.
    pub siblings: bool,
    /// Both ask that the grant has not ended.
    pub not_ended: bool,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The token to answer with.
    Token(Token),
    /// The grant is over.
    Ended,
    /// The row was no longer as it was read.
    Nothing,
}

/// Writes a change that was decided when the row had `seen` siblings, maybe a generation ago.
pub fn write(conditions: Conditions, state: &mut State, change: Change, (row_moved_on, seen): (bool, u8)) -> Written {
    let stale = row_moved_on && conditions.generation || state.row.ended && conditions.not_ended;
    match change {
        Change::End => {
            state.end();
            Written::Ended
        }
        Change::Rotate { .. } | Change::AddSibling { .. } if stale => Written::Nothing,
        Change::Rotate { winner, attempt } => {
            state.move_on(winner, attempt);
            Written::Token(Token::Live(1))
        }
        Change::AddSibling { .. } if conditions.siblings && seen != state.row.siblings => Written::Nothing,
        Change::AddSibling { next } => {
            state.row.siblings = (state.row.siblings + 1).min(MAX_LIVE);
            Written::Token(next)
        }
    }
}

fn digest(key: Key) -> Option<Digest> {
    let byte = match key {
        Key::Missing => return None,
        Key::OfClient => 1,
        Key::OfClientBefore => 2,
        Key::OfThief => 3,
    };
    Digest::from_slice(&[byte; 32])
}

fn fold_key(stored: Option<Digest>) -> Key {
    match stored.map(|digest| digest.as_bytes()[0]) {
        None => Key::Missing,
        Some(1) => Key::OfClient,
        Some(2) => Key::OfClientBefore,
        Some(_) => Key::OfThief,
    }
}

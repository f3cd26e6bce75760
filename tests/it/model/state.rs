//! One moment of the model. Tokens are folded into the classes that the server can tell apart, so the number of
//! generations has no bound; only messages under way and live siblings have one.

use std::fmt;
use std::hash::{Hash as _, Hasher as _};

use super::history::History;
use super::search::QuickHasher;

/// The most messages that are under way at once, of all parties.
pub const MAX_MESSAGES: usize = 5;
/// The most live siblings that a world may ask for.
pub const MAX_LIVE: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    Client,
    Thief,
}

/// What the server can tell of an issued token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Of the generation before, and the one that was used first.
    Winner,
    /// One of the live siblings, counted from 1.
    Live(u8),
    /// Of the generation before, and not the one that was used first.
    Lost,
    /// Of a generation before that.
    Old,
}

impl Token {
    /// What becomes of it when the row moves on and `winner` is what moved it.
    fn fold(self, winner: Self) -> Self {
        match self {
            Self::Live(_) if self == winner => Self::Winner,
            Self::Live(_) => Self::Lost,
            Self::Winner | Self::Lost | Self::Old => Self::Old,
        }
    }
}

/// A set of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(u8);

impl Tokens {
    fn bit(token: Token) -> u8 {
        match token {
            Token::Winner => 1,
            Token::Lost => 2,
            Token::Old => 4,
            Token::Live(nth) => 4 << nth,
        }
    }

    pub fn insert(&mut self, token: Token) {
        self.0 |= Self::bit(token);
    }

    pub fn contains(self, token: Token) -> bool {
        self.0 & Self::bit(token) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Token> {
        [Token::Winner, Token::Lost, Token::Old]
            .into_iter()
            .chain((1..=MAX_LIVE).map(Token::Live))
            .filter(move |token| self.contains(*token))
    }

    fn map(self, mut change: impl FnMut(Token) -> Token) -> Self {
        let mut mapped = Self::default();
        self.iter().for_each(|token| mapped.insert(change(token)));
        mapped
    }
}

/// The key that marks the repeats of one refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// None was sent.
    Missing,
    /// The client's, of the refresh that it is at.
    OfClient,
    /// The client's, of a refresh before.
    OfClientBefore,
    /// One that the thief made up.
    OfThief,
}

/// The grant's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Whether it was ever rotated.
    pub rotated: bool,
    /// Whether the leeway since the rotation is over.
    pub late: bool,
    pub siblings: u8,
    pub attempt: Key,
    pub ended: bool,
}

/// A change that the server has decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    Rotate { winner: Token, attempt: Key },
    AddSibling { next: Token },
    End,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On its way to the server.
    Sent,
    /// The row was read and the change decided on; it is not written yet.
    Judged {
        change: Change,
        /// Whether the row has gone to another generation since.
        row_moved_on: bool,
        /// The siblings that the row had.
        siblings: u8,
    },
    /// On its way back with a token.
    Answered(Token),
}

/// A refresh under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub by: Party,
    pub token: Token,
    pub key: Key,
    /// Whether the client has begun another refresh since.
    pub given_up: bool,
    pub stage: Stage,
}

/// The honest client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The token in its store.
    pub store: Token,
    /// The token that its latest refresh presents.
    pub asked: Option<Token>,
    /// Whether that refresh has no answer yet.
    pub waits: bool,
}

/// The thief.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thief {
    pub has_stolen: bool,
    pub knows: Tokens,
}

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub row: Row,
    pub client: Client,
    pub thief: Thief,
    /// In order, so that states that differ only in it are one.
    messages: [Option<Message>; MAX_MESSAGES],
    pub history: History,
}

impl State {
    /// A grant just made: one live token, in the client's store.
    pub fn first() -> Self {
        Self {
            row: Row { rotated: false, late: false, siblings: 1, attempt: Key::Missing, ended: false },
            client: Client { store: Token::Live(1), asked: None, waits: false },
            thief: Thief::default(),
            messages: [None; MAX_MESSAGES],
            history: History::default(),
        }
    }

    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        self.messages.iter().flatten().copied()
    }

    /// How many messages of `party` are under way.
    pub fn count_of(&self, party: Party) -> usize {
        self.messages().filter(|message| message.by == party).count()
    }

    pub fn send(&mut self, message: Message) {
        let free = self.messages.iter_mut().find(|slot| slot.is_none()).expect("the world bounds what is under way");
        *free = Some(message);
    }

    /// Takes one message out.
    pub fn take(&mut self, message: &Message) {
        let slot = self.messages.iter_mut().find(|slot| slot.as_ref() == Some(message)).expect("it is under way");
        *slot = None;
    }

    /// Keeps or changes each message, or takes it out.
    pub fn retain(&mut self, mut keep: impl FnMut(Message) -> Option<Message>) {
        for slot in &mut self.messages {
            *slot = slot.and_then(&mut keep);
        }
    }

    /// Moves the row to its next generation.
    pub fn move_on(&mut self, winner: Token, attempt: Key) {
        self.row = Row { rotated: true, late: false, siblings: 1, attempt, ended: self.row.ended };
        self.rename(|token| token.fold(winner));
        self.retain(|mut message| {
            if let Stage::Judged { row_moved_on, .. } = &mut message.stage {
                *row_moved_on = true;
            }
            Some(message)
        });
        self.history.move_on();
    }

    /// Ends the grant. From here on only what the server has begun matters.
    pub fn end(&mut self) {
        let row = Row { ended: true, ..self.row };
        let begun = self.messages;
        *self = Self { row, ..Self::first() };
        self.messages = begun;
        self.retain(|message| (!matches!(message.stage, Stage::Answered(_))).then_some(message));
    }

    fn rename(&mut self, mut change: impl FnMut(Token) -> Token) {
        self.client.store = change(self.client.store);
        self.client.asked = self.client.asked.map(&mut change);
        self.thief.knows = self.thief.knows.map(&mut change);
        self.retain(|message| Some(message.rename(&mut change)));
    }

    /// The same state with live siblings numbered by what is known of each and messages in order: siblings are
    /// interchangeable, and states that differ in their numbers alone are one.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        if self.row.siblings > 1 {
            let mut order: Vec<_> = (1..=self.row.siblings).map(|nth| (self.trace_of(Token::Live(nth)), nth)).collect();
            order.sort_unstable();
            let mut place = [0; MAX_LIVE as usize + 1];
            for (at, (_, nth)) in (1..).zip(&order) {
                place[usize::from(*nth)] = at;
            }
            let known = self.row.siblings;
            self.rename(|token| match token {
                Token::Live(nth) if nth <= known => Token::Live(place[usize::from(nth)]),
                other => other,
            });
        }
        self.messages.sort_unstable();
        self
    }

    /// Where a token occurs, without its number.
    fn trace_of(&self, token: Token) -> u64 {
        let mut trace = u64::from(self.client.store == token);
        trace |= u64::from(self.client.asked == Some(token)) << 1;
        trace |= u64::from(self.thief.knows.contains(token)) << 2;
        for message in self.messages() {
            let marked = message.rename(&mut |other| if other == token { Token::Live(0) } else { other });
            if marked != message {
                let mut hasher = QuickHasher::default();
                // Another sibling's number says nothing.
                let unnumbered = |other| if matches!(other, Token::Live(1..)) { Token::Live(1) } else { other };
                marked.rename(&mut { unnumbered }).hash(&mut hasher);
                trace = trace.wrapping_add(hasher.finish() << 3);
            }
        }
        trace
    }
}

impl Message {
    fn rename(mut self, change: &mut impl FnMut(Token) -> Token) -> Self {
        self.token = change(self.token);
        match &mut self.stage {
            Stage::Sent | Stage::Judged { change: Change::End, .. } => {}
            Stage::Judged {
                change: Change::Rotate { winner: other, .. } | Change::AddSibling { next: other }, ..
            }
            | Stage::Answered(other) => *other = change(*other),
        }
        self
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the client",
            Self::Thief => "the thief",
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Winner => f.write_str("the spent winner"),
            Self::Live(nth) => write!(f, "live token {nth}"),
            Self::Lost => f.write_str("a losing sibling"),
            Self::Old => f.write_str("an old token"),
        }
    }
}

//! Who does what: every step that is possible at a moment, and the promises that a step may break.
//!
//! The thief needs no delays of its own: a request of its that the server has not read is one that it has not sent yet,
//! and an answer that it does not use is one that has not come. Only between reading and writing does it matter where
//! its requests are. Of the client's, each may be late, lost or overtaken at every stage; an answer lost is also a
//! server that died between commit and answer.

use std::fmt;

use super::server::{Conditions, Decide, Verdict, Written, judge, write};
use super::state::{Change, Key, MAX_LIVE, MAX_MESSAGES, Message, Party, Stage, State, Token};

/// The rules, each of which can be taken away.
#[derive(Clone, Copy)]
pub struct Rules {
    pub decide: Decide,
    pub conditions: Conditions,
    /// Who reads an ended grant is refused.
    pub refuses_ended: bool,
    /// What is past its deadline changes nothing.
    pub deadline: bool,
    /// The client never goes back to a token older than the one in its store.
    pub client_never_goes_back: bool,
}

/// What there is beside the rules.
#[derive(Clone, Copy)]
pub struct World {
    pub rules: Rules,
    /// Whether there is a thief.
    pub thief: bool,
    /// Whether someone may revoke the grant.
    pub revocations: bool,
    /// Whether the client marks its repeats by a key; without one it repeats within the leeway.
    pub keys: bool,
    /// How many messages may be under way, of the client and of the thief.
    pub under_way: (usize, usize),
    /// How many siblings may be live.
    pub siblings: u8,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Client and thief both got past the other's use.
    BothKeepGoing,
    /// An issued token was refused and the grant lives on.
    RefusedButAlive,
    /// There is neither thief nor revocation, and the client is out.
    LoggedOut,
    /// Something was accepted after the end.
    AcceptedAfterTheEnd,
    /// A generation was won twice.
    TwoWinners,
    /// A spent token bought something after the leeway, without the key of the request that spent it.
    SpentTokenServedLate,
}

/// A step, for whoever reads a counterexample.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Starts(Token),
    GoesBackTo(Token),
    Repeats(Token),
    Steals(Token),
    Judged(Party, Token, Verdict),
    Written(Party, Token, Written),
    RequestLost,
    AnswerLost,
    Stores(Token),
    LeewayEnds,
    Revoked,
}

/// A possible step: what it is, where it leads, what it breaks.
pub type Next = (Step, State, Option<Broken>);

impl World {
    /// Every step that may come next.
    pub fn steps(&self, state: &State) -> Vec<Next> {
        debug_assert!(self.siblings <= MAX_LIVE && self.under_way.0 + self.under_way.1 <= MAX_MESSAGES);
        let mut next = Vec::with_capacity(16);
        if !state.row.ended {
            self.client(state, &mut next);
            self.thief(state, &mut next);
            self.surroundings(state, &mut next);
        }
        let mut last = None;
        for message in state.messages().filter(|message| Some(*message) != last.replace(*message)) {
            match message.stage {
                Stage::Sent => self.read(state, message, &mut next),
                Stage::Judged { .. } => self.write(state, message, &mut next),
                Stage::Answered(token) => Self::deliver(state, message, token, &mut next),
            }
        }
        next
    }

    fn client(&self, state: &State, next: &mut Vec<Next>) {
        let client = state.client;
        let key = if self.keys { Key::OfClient } else { Key::Missing };
        let send = |state: &mut State, token| {
            state.send(Message { by: Party::Client, token, key, given_up: false, stage: Stage::Sent });
        };
        if client.waits {
            if state.count_of(Party::Client) < self.under_way.0 {
                let mut after = *state;
                send(&mut after, client.store);
                next.push((Step::Repeats(client.store), after, None));
            }
            return;
        }
        let mut start = |token, step| {
            let mut after = *state;
            self.give_up_older(&mut after);
            if after.count_of(Party::Client) < self.under_way.0 {
                after.client = super::state::Client { store: token, asked: Some(token), waits: true };
                send(&mut after, token);
                next.push((step, after, None));
            }
        };
        start(client.store, Step::Starts(client.store));
        if let Some(older) = client.asked.filter(|_| !self.rules.client_never_goes_back) {
            start(older, Step::GoesBackTo(older));
        }
    }

    /// The client begins another refresh: it no longer listens to answers of the last one, whose requests the server's
    /// deadline keeps from changing anything.
    fn give_up_older(&self, state: &mut State) {
        let before = |key| if key == Key::OfClient { Key::OfClientBefore } else { key };
        state.row.attempt = before(state.row.attempt);
        state.retain(|message| {
            let answered = matches!(message.stage, Stage::Answered(_));
            if message.by == Party::Client && (answered || self.rules.deadline) {
                return None;
            }
            let given_up = message.given_up || message.by == Party::Client;
            Some(Message { given_up, key: before(message.key), ..message })
        });
    }

    fn thief(&self, state: &State, next: &mut Vec<Next>) {
        if !self.thief {
            return;
        }
        if !state.thief.has_stolen {
            let on_its_way = state.messages().filter_map(|message| match message.stage {
                Stage::Answered(token) => Some(token),
                Stage::Sent | Stage::Judged { .. } => None,
            });
            for token in [state.client.store].into_iter().chain(state.client.asked).chain(on_its_way) {
                let mut after = *state;
                after.thief.has_stolen = true;
                after.thief.knows.insert(token);
                next.push((Step::Steals(token), after, None));
            }
        }
        if state.count_of(Party::Thief) < self.under_way.1 {
            let keys: &[Key] = if self.keys { &[Key::OfThief, Key::OfClient] } else { &[Key::Missing] };
            for token in state.thief.knows.iter() {
                for key in keys {
                    let stage = Stage::Sent;
                    let message = Message { by: Party::Thief, token, key: *key, given_up: false, stage };
                    let mut after = *state;
                    after.send(message);
                    self.read(&after, message, next);
                }
            }
        }
    }

    /// Time and people outside.
    fn surroundings(&self, state: &State, next: &mut Vec<Next>) {
        let client_is_on_its_way =
            state.client.waits || state.messages().any(|message| !matches!(message.stage, Stage::Answered(_)));
        // Without a key it is the client's part to repeat in time.
        if state.row.rotated && !state.row.late && (self.thief || self.keys || !client_is_on_its_way) {
            let mut after = *state;
            after.row.late = true;
            next.push((Step::LeewayEnds, after, None));
        }
        if self.revocations {
            let mut after = *state;
            after.end();
            next.push((Step::Revoked, after, None));
        }
    }

    fn read(&self, state: &State, message: Message, next: &mut Vec<Next>) {
        let mut after = *state;
        after.take(&message);
        if message.by == Party::Client {
            next.push((Step::RequestLost, after, None));
        }
        if state.row.ended && self.rules.refuses_ended {
            return;
        }
        let verdict = judge(self.rules.decide, self.siblings, &state.row, &message);
        let step = Step::Judged(message.by, message.token, verdict);
        match verdict {
            // As good as lost.
            Verdict::Wait => {}
            Verdict::Refuse => next.push((step, after, Some(Broken::RefusedButAlive))),
            Verdict::Change(change) => {
                let stage = Stage::Judged { change, row_moved_on: false, siblings: state.row.siblings };
                after.send(Message { stage, ..message });
                let late = state.row.late && message.token == Token::Winner && message.key_differs(state.row.attempt);
                let broken = (late && change != Change::End).then_some(Broken::SpentTokenServedLate);
                next.push((step, after, broken));
            }
        }
    }

    fn write(&self, state: &State, message: Message, next: &mut Vec<Next>) {
        let Stage::Judged { change, row_moved_on, siblings } = message.stage else { return };
        let mut after = *state;
        after.take(&message);
        let written = write(self.rules.conditions, &mut after, change, (row_moved_on, siblings));
        let mut broken = None;
        match written {
            Written::Nothing if message.by == Party::Client => after.send(Message { stage: Stage::Sent, ..message }),
            Written::Nothing => {}
            Written::Ended if self.thief || self.revocations => {}
            Written::Ended => broken = Some(Broken::LoggedOut),
            Written::Token(_) if state.row.ended => broken = Some(Broken::AcceptedAfterTheEnd),
            Written::Token(_) if row_moved_on => broken = Some(Broken::TwoWinners),
            Written::Token(token) => self.serve(&mut after, message, token),
        }
        if after.history.both_keep_going() {
            broken = Some(Broken::BothKeepGoing);
        }
        next.push((Step::Written(message.by, message.token, written), after, broken));
    }

    fn serve(&self, state: &mut State, message: Message, token: Token) {
        if self.thief {
            state.history.record(message.by);
        }
        if message.by == Party::Thief {
            state.thief.knows.insert(token);
        } else if !message.given_up {
            let asked = state.client.asked.expect("it asked");
            state.send(Message { token: asked, stage: Stage::Answered(token), ..message });
        }
    }

    fn deliver(state: &State, message: Message, token: Token, next: &mut Vec<Next>) {
        let mut lost = *state;
        lost.take(&message);
        next.push((Step::AnswerLost, lost, None));
        let mut after = lost;
        after.client.store = token;
        after.client.waits = false;
        next.push((Step::Stores(token), after, None));
    }
}

impl Message {
    fn key_differs(&self, from: Key) -> bool {
        self.key == Key::Missing || self.key != from
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts(token) => write!(f, "the client begins a refresh with {token}"),
            Self::GoesBackTo(token) => write!(f, "the client goes back to {token}"),
            Self::Repeats(token) => write!(f, "the client repeats its request with {token}"),
            Self::Steals(token) => write!(f, "the thief copies {token}"),
            Self::Judged(party, token, verdict) => {
                write!(f, "the server reads the row for {party}, who presents {token}: ")?;
                f.write_str(match verdict {
                    Verdict::Change(Change::Rotate { .. }) => "rotate",
                    Verdict::Change(Change::AddSibling { .. }) => "add a sibling",
                    Verdict::Change(Change::End) => "reuse",
                    Verdict::Wait => "wait",
                    Verdict::Refuse => "refuse",
                })
            }
            Self::Written(party, token, written) => {
                write!(f, "the server writes for {party}, ")?;
                match written {
                    Written::Token(next) => write!(f, "for whom {token} becomes {next}"),
                    Written::Ended => f.write_str("and the grant is over"),
                    Written::Nothing => f.write_str("finds another row, and has to read again"),
                }
            }
            Self::RequestLost => f.write_str("a request of the client is lost"),
            Self::AnswerLost => f.write_str("an answer to the client is lost"),
            Self::Stores(token) => write!(f, "the client stores {token}"),
            Self::LeewayEnds => f.write_str("the leeway ends"),
            Self::Revoked => f.write_str("the grant is revoked"),
        }
    }
}

//! Each rule left out in turn, and the promise that breaks without it.

use std::time::Duration;

use countersign::store::grants::Rotation;
use countersign::token::refresh_token::{Decision, RefreshToken, decide};

use super::server::{Conditions, Decide};
use super::world::{Broken, Rules, World};
use super::{ALONE, RULES};

/// A rule that is left out.
pub struct LeftOut {
    pub rule: &'static str,
    pub world: World,
    /// What breaks; nothing where another rule is enough.
    pub breaks: Option<Broken>,
}

/// Small worlds: a rule that matters is missed soon.
const SMALL: World = World { under_way: (2, 0), siblings: 2, ..ALONE };
const ROBBED: World = World { thief: true, under_way: (2, 2), ..SMALL };
const KEYED: World = World { keys: true, ..SMALL };
const REVOKED: World = World { revocations: true, ..SMALL };

/// Every rule, the ways in which it can be left out, and what each costs.
pub fn table() -> Vec<LeftOut> {
    let judged = |decide| Rules { decide, ..RULES };
    let written = |conditions| Rules { conditions, ..RULES };
    let all = RULES.conditions;
    let entry = |rule, world: World, rules, breaks: Broken| LeftOut {
        rule,
        world: World { rules, ..world },
        breaks: Some(breaks),
    };
    let unconditional = Conditions { generation: false, siblings: false, not_ended: false };
    vec![
        entry("there is a leeway", SMALL, judged(NO_LEEWAY), Broken::LoggedOut),
        entry("the leeway ends", ROBBED, judged(ENDLESS_LEEWAY), Broken::SpentTokenServedLate),
        entry("only the winner may come back", ROBBED, judged(ANY_SIBLING_COMES_BACK), Broken::BothKeepGoing),
        entry("only of the last generation", ROBBED, judged(ANY_GENERATION_COMES_BACK), Broken::BothKeepGoing),
        entry("siblings that lost are dead", ROBBED, judged(LOSERS_LIVE), Broken::BothKeepGoing),
        entry("each answer has a token of its own", ROBBED, judged(THE_SAME_SIBLING_AGAIN), Broken::BothKeepGoing),
        entry("reuse ends the grant", ROBBED, judged(REUSE_CHANGES_NOTHING), Broken::RefusedButAlive),
        entry("beyond the limit of siblings nothing changes", SMALL, judged(THE_LIMIT_ENDS), Broken::LoggedOut),
        entry("a key lets a late repeat in", KEYED, judged(KEYS_IGNORED), Broken::LoggedOut),
        entry("a key must be the same", KEYED_AND_ROBBED, judged(ANY_KEY_FITS), Broken::SpentTokenServedLate),
        entry("a write asks for the row as it was read", SMALL, written(unconditional), Broken::TwoWinners),
        entry("… for its generation", SMALL, written(Conditions { generation: false, ..all }), Broken::TwoWinners),
        entry("… for its siblings", ROBBED, written(Conditions { siblings: false, ..all }), Broken::BothKeepGoing),
        entry("… that it has not ended", REVOKED, written(Conditions { not_ended: false, ..all }), {
            Broken::AcceptedAfterTheEnd
        }),
        LeftOut {
            rule: "who reads an ended grant is refused (the write asks as well)",
            world: World { rules: Rules { refuses_ended: false, ..RULES }, ..REVOKED },
            breaks: None,
        },
        entry("past its deadline a request changes nothing", SMALL, Rules { deadline: false, ..RULES }, {
            Broken::LoggedOut
        }),
        entry("a client never goes back", SMALL, Rules { client_never_goes_back: false, ..RULES }, Broken::LoggedOut),
    ]
}

const KEYED_AND_ROBBED: World = World { keys: true, ..ROBBED };

const NO_LEEWAY: Decide = |row, token, attempt, now, _| decide(row, token, attempt, now, Duration::ZERO);

const ENDLESS_LEEWAY: Decide = |row, token, attempt, now, _| decide(row, token, attempt, now, Duration::MAX);

const ANY_SIBLING_COMES_BACK: Decide = |row, token, attempt, now, leeway| {
    let sibling = if token.generation + 1 == row.generation { row.winner } else { token.sibling };
    decide(row, &RefreshToken { sibling, ..*token }, attempt, now, leeway)
};

const ANY_GENERATION_COMES_BACK: Decide = |row, token, attempt, now, leeway| {
    let generation = token.generation.max(row.generation - 1);
    decide(row, &RefreshToken { generation, ..*token }, attempt, now, leeway)
};

const LOSERS_LIVE: Decide = |row, token, attempt, now, leeway| {
    let lost = token.generation + 1 == row.generation && token.sibling != row.winner;
    let generation = if lost { row.generation } else { token.generation };
    let siblings = if lost { u8::MAX } else { row.siblings };
    decide(&Rotation { siblings, ..row.clone() }, &RefreshToken { generation, ..*token }, attempt, now, leeway)
};

const THE_SAME_SIBLING_AGAIN: Decide = |row, token, attempt, now, leeway| match decide(row, token, attempt, now, leeway)
{
    Decision::AddSibling { .. } => Decision::AddSibling { sibling: row.siblings },
    other => other,
};

const REUSE_CHANGES_NOTHING: Decide = |row, token, attempt, now, leeway| {
    match decide(row, token, attempt, now, leeway) {
        // The one refusal that writes nothing.
        Decision::Replay => Decision::FromTheFuture,
        other => other,
    }
};

const THE_LIMIT_ENDS: Decide = |row, token, attempt, now, leeway| match decide(row, token, attempt, now, leeway) {
    Decision::TooManySiblings => Decision::Replay,
    other => other,
};

const KEYS_IGNORED: Decide = |row, token, _, now, leeway| decide(row, token, None, now, leeway);

const ANY_KEY_FITS: Decide =
    |row, token, attempt, now, leeway| decide(&Rotation { attempt, ..row.clone() }, token, attempt, now, leeway);

//! The rules of rotation, proved rather than tried: a model in which the product's own judgement meets every
//! interleaving of an honest client, a thief, a network that delays and loses, and two servers that read and write in
//! any order. And the proof's proof: with any one of the rules taken away, a promise breaks.

mod history;
mod left_out;
mod search;
mod server;
mod state;
mod world;

use countersign::token::refresh_token::decide;

use left_out::LeftOut;
use search::search;
use server::Conditions;
use world::{Rules, World};

/// The rules as the product has them.
const RULES: Rules = Rules {
    decide,
    conditions: Conditions { generation: true, siblings: true, not_ended: true },
    refuses_ended: true,
    deadline: true,
    client_never_goes_back: true,
};

/// A client alone on a bad network.
const ALONE: World =
    World { rules: RULES, thief: false, revocations: false, keys: false, under_way: (4, 0), siblings: 4 };
/// A client and a thief.
const ROBBED: World = World { thief: true, under_way: (2, 2), siblings: 3, ..ALONE };

/// Searches a world in which every promise must hold.
fn prove(name: &str, world: &World) {
    let found = search(world);
    println!("{name}: {found}");
    assert!(found.counterexample.is_none(), "{name}: {found}");
}

#[test]
fn an_honest_client_is_never_logged_out() {
    prove("a client that repeats within the leeway", &ALONE);
}

#[test]
fn an_honest_client_with_a_key_may_repeat_as_late_as_it_likes() {
    prove("a client that marks its repeats", &World { keys: true, ..ALONE });
}

#[test]
fn nothing_is_accepted_after_a_revocation() {
    prove("a client and revocations", &World { revocations: true, ..ALONE });
    prove("a client that marks its repeats, and revocations", &World { revocations: true, keys: true, ..ALONE });
}

#[test]
fn two_parties_can_never_both_keep_going() {
    prove("client and thief", &ROBBED);
}

#[test]
fn not_even_when_the_thief_copied_the_key_of_the_refresh_too() {
    prove("client and thief, both with keys", &World { keys: true, under_way: (2, 1), siblings: 2, ..ROBBED });
}

#[test]
fn no_rule_can_be_left_out() {
    for LeftOut { rule, world, breaks } in left_out::table() {
        let found = search(&world);
        println!("without \"{rule}\": {found}");
        assert_eq!(found.counterexample.as_ref().map(|(broken, _)| *broken), breaks, "without \"{rule}\": {found}");
    }
}

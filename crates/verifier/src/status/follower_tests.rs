//! What the feed may do to what is known, and what it may not, however it comes in.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::feed::{Beat, Cut, CutKind, list_digest};
use crate::status::{Place, Standing, Subject};
use crate::status_list::{LIST_BYTES, StatusList, StatusListClaims};
use crate::testing::TestIssuer;

#[path = "follower_tests/lists.rs"]
mod lists;

/// An issuer, and a follower of it that is connected.
struct World {
    issuer: TestIssuer,
    keys: KeySet,
    follower: Follower,
}

impl World {
    fn new() -> Self {
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let keys = KeySet::parse(issuer.jwks().as_bytes()).unwrap();
        let mut follower = Follower::with_clock("https://as.example", issuer.clock().clone());
        follower.take_list(0, &issuer.status_list(), &keys).unwrap();
        let mut world = Self { issuer, keys, follower };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.follower.connect();
        let hello = Event::Hello(self.issuer.hello());
        assert_eq!(self.apply(&hello), Next::Continue);
    }

    fn apply(&mut self, event: &Event) -> Next {
        self.follower.apply(event, &self.keys).next
    }

    /// All that happened at the issuer.
    fn catch_up(&mut self) {
        for change in self.issuer.changes_since(self.follower.cursor) {
            assert_eq!(self.apply(&Event::Change(change)), Next::Continue);
        }
    }

    fn checkpoint(&mut self) -> Next {
        let checkpoint = self.issuer.checkpoint();
        self.apply(&Event::Checkpoint(checkpoint))
    }

    fn signed_checkpoint(&mut self, change: impl FnOnce(&mut CheckpointClaims)) -> Next {
        let signed = self.issuer.checkpoint();
        let mut claims: CheckpointClaims = jws::parse(&signed, 9999, &[CHECKPOINT_TYPE]).unwrap().claims().unwrap();
        change(&mut claims);
        let token = self.issuer.sign_document(CHECKPOINT_TYPE, &claims);
        self.apply(&Event::Checkpoint(token))
    }

    fn is_set(&self, index: u64) -> bool {
        self.standing(index, "shop") == Standing::Ended
    }

    fn standing(&self, index: u64, client_id: &str) -> Standing {
        let subject = Subject {
            place: Some(Place { list: index >> 20, index: index % (1 << 20) }),
            kid: "k",
            iat: 0,
            sub: "s",
            client_id,
            sid: None,
            jti: "j",
        };
        self.follower.status.standing(&subject)
    }
}

fn change(n: u64) -> Change {
    Change { n, ..Change::default() }
}

#[test]
fn a_revocation_is_in_force_at_once() {
    let mut world = World::new();
    assert_eq!(world.apply(&Event::Change(Change { set: vec![5, 1 << 19], ..change(1) })), Next::Continue);
    assert!(world.is_set(5) && world.is_set(1 << 19) && !world.is_set(6));
    assert_eq!(world.follower.status.seq(), 1);
}

#[test]
fn a_report_is_asked_for_by_the_event_alone() {
    let mut world = World::new();
    let asked = Event::Change(Change { ack: true, ..change(1) });
    assert!(world.follower.apply(&asked, &world.keys).report);
    assert!(!world.follower.apply(&Event::Change(change(2)), &world.keys).report);
}

#[test]
fn events_out_of_their_order_end_the_connection() {
    for event in [Event::Change(change(2)), Event::Change(change(0)), Event::Beat(Beat { n: 1 })] {
        assert_eq!(World::new().apply(&event), Next::Reconnect("gap"), "{event:?}");
    }
    let mut world = World::new();
    let hello = Event::Hello(world.issuer.hello());
    assert_eq!(world.apply(&hello), Next::Reconnect("second_hello"));
    world.follower.connect();
    assert_eq!(world.apply(&Event::Change(change(1))), Next::Reconnect("no_hello"));
    assert_eq!(world.apply(&Event::Reset), Next::Resync("reset"));
    let mut world = World::new();
    world.apply(&Event::Change(change(1)));
    world.follower.connect();
    assert_eq!(world.apply(&hello), Next::Reconnect("behind"));
}

#[test]
fn only_a_head_that_is_ours_says_that_we_are_current() {
    let mut world = World::new();
    assert_eq!(world.follower.status.age(), None);
    assert_eq!(world.apply(&Event::Beat(Beat { n: 0 })), Next::Continue);
    world.issuer.advance(Duration::from_secs(5));
    assert_eq!(world.follower.status.age(), Some(Duration::from_secs(5)));
    world.apply(&Event::Beat(Beat { n: 3 }));
    world.apply(&Event::Change(change(1)));
    assert_eq!(world.follower.status.age(), Some(Duration::from_secs(5)));
}

#[test]
fn beats_without_a_signature_now_and_then_say_nothing() {
    let mut world = World::new();
    let age_after = |world: &mut World, seconds| {
        world.issuer.advance(Duration::from_secs(seconds));
        assert_eq!(world.apply(&Event::Beat(Beat { n: world.follower.cursor })), Next::Continue);
        world.follower.status.age()
    };
    assert_eq!(age_after(&mut world, 90), Some(Duration::ZERO));
    assert_eq!(age_after(&mut world, 10), Some(Duration::from_secs(10)));
    // Nor does a checkpoint of what has been held back from us.
    assert_eq!(world.signed_checkpoint(|claims| claims.seq = 1), Next::Continue);
    assert_eq!(age_after(&mut world, 0), Some(Duration::from_secs(10)));
    assert_eq!(world.checkpoint(), Next::Continue);
    assert_eq!(age_after(&mut world, 90), Some(Duration::ZERO));
}

#[test]
fn loosening_waits_for_a_checkpoint() {
    let mut world = World::new();
    world.issuer.revoke(&world.issuer.token().sign());
    world.issuer.disable_client("gone");
    world.catch_up();
    world.issuer.forget(&[1]);
    world.catch_up();
    let held = (Standing::Ended, Standing::CutOff(CutKind::ClientId));
    assert_eq!((world.standing(1, "shop"), world.standing(2, "gone")), held);
    assert_eq!(world.checkpoint(), Next::Continue);
    assert_eq!((world.standing(1, "shop"), world.standing(2, "gone")), (Standing::Good, Standing::Good));
}

#[test]
fn a_bit_set_again_stays_set_over_the_checkpoint() {
    let mut world = World::new();
    let token = world.issuer.token().sign();
    world.issuer.revoke(&token);
    world.issuer.forget(&[1]);
    world.issuer.revoke(&token);
    world.catch_up();
    assert_eq!(world.checkpoint(), Next::Continue);
    assert!(world.is_set(1));
}

#[test]
fn a_checkpoint_that_does_not_fit_loosens_nothing() {
    let mut world = World::new();
    world.issuer.revoke(&world.issuer.token().sign());
    world.issuer.forget(&[1]);
    world.catch_up();
    let zeros = list_digest(&vec![0; LIST_BYTES - 1]);
    let mismatch = Next::Resync("digest_mismatch");
    assert_eq!(world.signed_checkpoint(|claims| claims.lists = vec![zeros]), mismatch);
    assert_eq!(world.signed_checkpoint(|claims| claims.lists.clear()), mismatch);
    assert_eq!(world.signed_checkpoint(|claims| claims.lists.push(claims.lists[0].clone())), mismatch);
    assert_eq!(world.signed_checkpoint(|claims| claims.cuts = list_digest(b"x")), mismatch);
    // Of another change: says nothing of our state.
    assert_eq!(world.signed_checkpoint(|claims| claims.seq = 1), Next::Continue);
    assert_eq!(world.signed_checkpoint(|claims| claims.seq = 3), Next::Continue);
    let bad = Next::Reconnect("bad_checkpoint");
    // Of before: it says nothing of now.
    assert_eq!(world.signed_checkpoint(|claims| claims.iat -= 91), Next::Continue);
    assert_eq!(world.signed_checkpoint(|claims| claims.iat += 31), bad);
    assert_eq!(world.signed_checkpoint(|claims| claims.iss.push('/')), bad);
    let good = world.issuer.checkpoint();
    let claims: CheckpointClaims = jws::parse(&good, 9999, &[CHECKPOINT_TYPE]).unwrap().claims().unwrap();
    let other_type = world.issuer.sign_document("statuslist+jwt", &claims);
    assert_eq!(world.apply(&Event::Checkpoint(other_type)), bad);
    let forged = world.issuer.token().forged().typ(CHECKPOINT_TYPE).sign_payload(&json!(claims).to_string());
    assert_eq!(world.apply(&Event::Checkpoint(forged)), bad);
    assert_eq!(world.apply(&Event::Checkpoint("x".to_owned())), bad);
    let stranger = world.issuer.token().kid("x").typ(CHECKPOINT_TYPE).sign_payload(&json!(claims).to_string());
    assert_eq!(world.apply(&Event::Checkpoint(stranger)), Next::RefreshKeys);
    assert!(world.is_set(1));
    assert_eq!(world.apply(&Event::Checkpoint(good)), Next::Continue);
    assert!(!world.is_set(1));
}

#[test]
fn a_checkpoint_cannot_be_played_again() {
    let mut world = World::new();
    assert_eq!(world.checkpoint(), Next::Continue);
    world.issuer.advance(Duration::from_secs(10));
    let earlier = world.issuer.now() - 1;
    assert_eq!(world.checkpoint(), Next::Continue);
    world.issuer.revoke(&world.issuer.token().sign());
    world.issuer.forget(&[1]);
    world.catch_up();
    assert_eq!(world.signed_checkpoint(|claims| claims.iat = earlier), Next::Continue);
    assert!(world.is_set(1), "an earlier one loosens nothing");
    assert_eq!(world.checkpoint(), Next::Continue);
    assert!(!world.is_set(1));
}

#[test]
fn a_hello_from_somebody_on_the_way_hides_no_cut_off_and_makes_nothing_fresh() {
    let mut world = World::new();
    assert_eq!(world.apply(&Event::Beat(Beat { n: 0 })), Next::Continue);
    world.follower.connect();
    let hello = Hello { n: 1 << 40, ..world.issuer.hello() };
    assert_eq!(world.apply(&Event::Hello(hello)), Next::Continue);
    world.issuer.advance(Duration::from_secs(20));
    world.issuer.disable_client("shop");
    world.catch_up();
    assert_eq!(world.standing(9, "shop"), Standing::CutOff(CutKind::ClientId));
    let cursor = world.follower.cursor;
    assert_eq!(world.apply(&Event::Beat(Beat { n: cursor })), Next::Continue);
    world.checkpoint();
    assert_eq!(
        world.follower.status().age(),
        Some(Duration::from_secs(20)),
        "the head that it spoke of was not reached"
    );
}

#[test]
fn beats_beside_lists_alone_count_only_in_the_beginning() {
    let mut world = World::new();
    let beat = |world: &mut World| {
        let n = world.follower.cursor;
        world.apply(&Event::Beat(Beat { n }));
        world.follower.status().age().unwrap()
    };
    world.issuer.advance(Duration::from_secs(80));
    let fresh = list(&world, 0, world.follower.cursor, &[]);
    world.follower.take_list(0, &fresh, &world.keys).unwrap();
    assert_eq!(beat(&mut world), Duration::ZERO);
    world.issuer.advance(Duration::from_secs(80));
    let fresh = list(&world, 0, world.follower.cursor, &[]);
    world.follower.take_list(0, &fresh, &world.keys).unwrap();
    assert_eq!(beat(&mut world), Duration::from_secs(80), "cut-offs are in no list");
    assert_eq!(world.signed_checkpoint(|claims| claims.lists = vec![list_digest(&[0; LIST_BYTES])]), Next::Continue);
    assert_eq!(beat(&mut world), Duration::ZERO);
}

#[test]
fn a_killed_key_signs_no_pardon() {
    let mut world = World::new();
    let kid = world.issuer.kid();
    world.issuer.cut(CutKind::Kid, &kid);
    world.catch_up();
    assert_eq!(world.checkpoint(), Next::Reconnect("bad_checkpoint"));
    let list = world.issuer.status_list();
    assert_eq!(world.follower.take_list(0, &list, &world.keys).unwrap_err(), Rejected::Revoked);
}

#[test]
fn a_hello_takes_back_no_cut_off_and_its_changes_are_not_counted_twice() {
    let mut world = World::new();
    world.issuer.disable_client("gone");
    world.catch_up();
    // The connection begins with none, says so of a later change, and repeats how that came.
    world.issuer.forget(&[]);
    world.issuer.disable_client("other");
    world.follower.connect();
    let hello = Event::Hello(world.issuer.hello());
    assert_eq!(world.apply(&hello), Next::Continue);
    assert_eq!(world.standing(9, "gone"), Standing::CutOff(CutKind::ClientId));
    assert_eq!(world.standing(9, "other"), Standing::CutOff(CutKind::ClientId));
    // A checkpoint of the head comes too early: the changes up to it are not here yet.
    assert_eq!(world.checkpoint(), Next::Continue);
    assert_eq!(world.standing(9, "gone"), Standing::CutOff(CutKind::ClientId));
    world.catch_up();
    assert_eq!(world.checkpoint(), Next::Continue);
    assert_eq!(
        (world.standing(9, "gone"), world.standing(9, "other")),
        (Standing::Good, Standing::CutOff(CutKind::ClientId))
    );
}

#[test]
fn another_feed_key_loses_no_cut_off() {
    let mut world = World::new();
    world.issuer.disable_client("gone");
    world.catch_up();
    let hello =
        |byte| Event::Hello(Hello { n: 1, key: FeedKey::new([byte; 16]).to_text(), lists: 1, cuts: Vec::new() });
    for byte in 10..13 {
        world.follower.connect();
        assert_eq!(world.apply(&hello(byte)), Next::Continue);
        assert_eq!(world.standing(9, "gone"), Standing::CutOff(CutKind::ClientId));
    }
    world.follower.connect();
    assert_eq!(world.apply(&hello(14)), Next::Reconnect("feed_keys"));
    assert_eq!(world.apply(&hello(12)), Next::Continue);
    let none = crate::feed::cuts_digest(&FeedKey::new([12; 16]), []);
    assert_eq!(world.signed_checkpoint(|claims| claims.cuts = none), Next::Continue);
    assert_eq!(world.standing(9, "gone"), Standing::Good);
}

#[test]
fn a_key_that_somebody_put_in_place_of_the_issuers_pardons_nobody() {
    let mut world = World::new();
    world.issuer.disable_client("gone");
    world.catch_up();
    world.follower.connect();
    // Everything but the key is the issuer's own.
    let hello = Hello { key: FeedKey::new([9; 16]).to_text(), ..world.issuer.hello() };
    assert_eq!(world.apply(&Event::Hello(hello)), Next::Continue);
    assert_eq!(world.apply(&Event::Checkpoint(world.issuer.checkpoint())), Next::Resync("digest_mismatch"));
    assert_eq!(world.standing(9, "gone"), Standing::CutOff(CutKind::ClientId));
}

#[test]
fn more_cut_offs_than_can_be_are_no_word_of_an_issuer() {
    let mut world = World::new();
    world.follower.connect();
    let key = FeedKey::parse(&world.issuer.hello().key).unwrap();
    let cut = |nth: u64| Cut { k: CutKind::Jti, h: key.hash_text(&nth.to_string()), nbf: 1, until: 2 };
    let hello = Hello { cuts: (0..150_000).map(cut).collect(), ..world.issuer.hello() };
    assert_eq!(world.apply(&Event::Hello(hello.clone())), Next::Continue);
    // The same ones again are no more than they were.
    world.follower.connect();
    assert_eq!(world.apply(&Event::Hello(hello)), Next::Continue);
    let n = world.issuer.hello().n + 1;
    let change = Change { n, cut: (150_000..210_000).map(cut).collect(), ..Change::default() };
    assert_eq!(world.apply(&Event::Change(change)), Next::Reconnect("too_many"));
}

fn list(world: &World, number: u64, seq: u64, set: &[u64]) -> String {
    let mut bits = vec![0; LIST_BYTES];
    for index in set {
        status_list::put(&mut bits, *index, true);
    }
    let claims = StatusListClaims {
        iss: "https://as.example".to_owned(),
        sub: status_list::uri("https://as.example", number),
        iat: world.issuer.now(),
        exp: None,
        ttl: None,
        status_list: StatusList { bits: 1, lst: status_list::encode(&bits, 1) },
        seq: Some(seq),
    };
    world.issuer.sign_document(status_list::TYPE, &claims)
}

/// A small generator; the sequence is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn whatever_the_network_does_what_was_revoked_is_refused_and_in_the_end_all_agrees() {
    for seed in 1..=40 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut world = World::new();
        let tokens: Vec<String> = (0..6).map(|_| world.issuer.token().sign()).collect();
        // What is set, after each change.
        let mut truth: Vec<Vec<u64>> = vec![Vec::new()];
        for _ in 0..120 {
            match dice.roll(8) {
                0 | 1 => {
                    let index = dice.roll(6) + 1;
                    world.issuer.revoke(&tokens[usize::try_from(index).unwrap() - 1]);
                    truth.push([truth.last().unwrap().as_slice(), &[index]].concat());
                }
                2 => {
                    let index = dice.roll(6) + 1;
                    world.issuer.forget(&[index]);
                    truth.push(truth.last().unwrap().iter().copied().filter(|set| *set != index).collect());
                }
                3 => {
                    world.follower.connect();
                    let hello = Event::Hello(world.issuer.hello());
                    world.apply(&hello);
                }
                4 => {
                    world.issuer.advance(Duration::from_secs(1));
                    world.checkpoint();
                }
                5 => {
                    let list = world.issuer.status_list();
                    world.follower.take_list(0, &list, &world.keys).unwrap();
                }
                // The next change, or with some luck another one.
                _ => {
                    let at = world.follower.cursor + if dice.roll(4) == 0 { dice.roll(3) } else { 0 };
                    if let Some(change) = world.issuer.changes_since(at).into_iter().next() {
                        world.apply(&Event::Change(change));
                    }
                }
            }
            let known = usize::try_from(world.follower.ledger.since().unwrap()).unwrap();
            for index in &truth[known] {
                assert!(world.is_set(*index), "seed {seed}: {index} is revoked as of change {known}");
            }
        }
        world.connect();
        world.catch_up();
        assert_eq!(world.checkpoint(), Next::Continue, "seed {seed}");
        let set: Vec<u64> = (0..10).filter(|index| world.is_set(*index)).collect();
        let mut expected = truth.pop().unwrap();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(set, expected, "seed {seed}");
    }
}

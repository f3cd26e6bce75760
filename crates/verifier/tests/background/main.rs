//! What the background does with an issuer that is slow, broken, hostile or away: the last good state stays in force within
//! its limits, nothing is accepted that should not be, and the observer hears of it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests wait for another thread, and fail where they meet nonsense"
)]

mod server;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use countersign_verifier::feed::{CHECKPOINT_TYPE, CheckpointClaims, CutKind, FeedKey, cuts_digest, list_digest};
use countersign_verifier::status_list::{self, StatusList, StatusListClaims};
use countersign_verifier::testing::TestIssuer;
use countersign_verifier::{
    BuildError, Claims, Endpoints, KeySet, NoOtherClaims, Observer, Rejected, Secret, StatusSource, UrlError, Verifier,
    VerifierBuilder,
};
use serde_json::json;
use server::{AGGREGATION, Answer, EVENTS, JWKS, LIST, METADATA, Server};

/// What the observer heard.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|heard| *heard == what).count()
    }
}

impl Observer for Heard {
    fn jwks_refreshed(&self, reason: &'static str, ok: bool) {
        self.note(format!("jwks {reason} {ok}"));
    }
    fn feed_connected(&self) {
        self.note("connected".to_owned());
    }
    fn feed_disconnected(&self, reason: &'static str) {
        self.note(format!("disconnected {reason}"));
    }
    fn status_seq(&self, seq: u64) {
        self.note(format!("seq {seq}"));
    }
}

struct World {
    server: Arc<Server>,
    heard: Arc<Heard>,
    verifier: Verifier,
}

fn feed_source() -> StatusSource {
    StatusSource::Feed { client_id: "orders".to_owned(), client_secret: Secret::new("s:ecret") }
}

impl World {
    fn of(server: Arc<Server>, settings: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let heard = Arc::new(Heard::default());
        let builder = Verifier::builder(server.issuer.name(), "https://orders.example")
            .status(feed_source())
            .observer(heard.clone())
            .name("test-7")
            .hurry(20);
        Self { server, heard, verifier: settings(builder).build().unwrap() }
    }

    /// One that is ready.
    fn new() -> Self {
        let world = Self::of(Server::start(), |builder| builder);
        world.until("it is ready", |world| world.verifier.ready().is_ok());
        world
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began_at = Instant::now();
        while !is_so(self) {
            assert!(
                began_at.elapsed() < Duration::from_secs(20),
                "{what}: never; heard {:?}",
                self.heard.0.lock().unwrap()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn issuer(&self) -> &TestIssuer {
        &self.server.issuer
    }

    fn outcome(&self, token: &str) -> Result<(), Rejected> {
        self.verifier.verify::<NoOtherClaims>(token).map(|_| ())
    }

    #[track_caller]
    fn until_revoked(&self, token: &str) {
        self.until("it is revoked", |world| world.outcome(token) == Err(Rejected::Revoked));
    }
}

#[test]
fn a_revocation_is_in_force_within_a_second_and_is_receipted() {
    let world = World::new();
    let (one, two) = (world.issuer().token().sign(), world.issuer().token().client_id("shop").sign());
    assert_eq!((world.outcome(&one), world.outcome(&two)), (Ok(()), Ok(())));
    let began_at = Instant::now();
    world.issuer().revoke(&one);
    world.until_revoked(&one);
    assert!(began_at.elapsed() < Duration::from_secs(1));
    world.issuer().disable_client("shop");
    world.until_revoked(&two);
    let receipted = |world: &World| {
        let receipts = world.server.receipts.lock().unwrap();
        receipts.iter().any(|receipt| receipt["seq"] == 2 && receipt["name"] == "test-7")
    };
    world.until("it is receipted", receipted);
    let receipts = world.server.receipts.lock().unwrap();
    assert!(receipts.iter().all(|receipt| receipt["verifier"].as_str().unwrap().len() == 22));
    assert!(receipts.iter().all(|receipt| receipt["verifier"] == receipts[0]["verifier"]));
}

#[test]
fn a_report_that_is_asked_for_comes_at_once() {
    let began_at = Instant::now();
    let world = World::of(Server::start(), |builder| builder.hurry(1));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let has = |seq| move |world: &World| world.server.receipts.lock().unwrap().iter().any(|one| one["seq"] == seq);
    world.until("whoever has just come says so", has(0));
    world.issuer().revoke(&world.issuer().token().sign());
    world.until("it is receipted", has(1));
    assert!(began_at.elapsed() < Duration::from_secs(8), "every ten seconds it would have come by itself");
}

#[test]
fn before_anything_is_known_tokens_are_answered_with_503() {
    let server = Server::start();
    server.answer(METADATA, Answer::Status(500));
    let world = World::of(server, |builder| builder);
    let token = world.issuer().token().sign();
    assert_eq!(world.outcome(&token), Err(Rejected::KeysUnavailable));
    world.until("it has tried", |world| world.heard.count("jwks start false") == 1);
    assert_eq!(
        (world.outcome(&token), world.verifier.ready()),
        (Err(Rejected::KeysUnavailable), Err(Rejected::KeysUnavailable))
    );
    world.server.answer(LIST, Answer::Status(500));
    world.server.answer(METADATA, Answer::Good);
    world.until("there are keys", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
    assert_eq!(world.verifier.ready(), Err(Rejected::StatusUnavailable));
    world.server.answer(LIST, Answer::Good);
    world.until("all is well", |world| world.outcome(&token) == Ok(()) && world.verifier.ready().is_ok());
}

#[test]
fn a_feed_that_is_cut_goes_on_where_it_was() {
    let world = World::new();
    let token = world.issuer().token().sign();
    world.server.answer(EVENTS, Answer::Cut);
    world.until("it is cut", |world| world.heard.count("disconnected closed") >= 3);
    world.issuer().revoke(&token);
    world.server.answer(EVENTS, Answer::Status(503));
    world.until("there is none", |world| world.heard.count("disconnected status") >= 2);
    assert_eq!(world.outcome(&token), Ok(()));
    world.server.answer(EVENTS, Answer::Good);
    world.until_revoked(&token);
}

#[test]
fn a_half_open_connection_is_given_up() {
    let server = Server::start();
    server.answer(EVENTS, Answer::HalfOpen);
    let world = World::of(server, |builder| builder);
    let token = world.issuer().token().sign();
    world.until("it is silent", |world| world.heard.count("disconnected silence") >= 1);
    assert_ne!(world.outcome(&token), Ok(()), "no beat was heard yet");
    world.issuer().revoke(&token);
    world.server.answer(EVENTS, Answer::Good);
    world.until_revoked(&token);
}

#[test]
fn events_that_are_lost_or_out_of_order_are_asked_for_again() {
    for answer in [Answer::Drops, Answer::Reorders] {
        let server = Server::start();
        server.answer(EVENTS, answer.clone());
        let world = World::of(server, |builder| builder);
        let tokens = [world.issuer().token().sign(), world.issuer().token().sign()];
        world.until("it is connected", |world| world.heard.count("connected") >= 1);
        world.until("a gap is seen", |world| {
            // One change alone is in order, so there have to be two at once.
            world.issuer().revoke(&tokens[0]);
            world.issuer().revoke(&tokens[1]);
            thread::sleep(Duration::from_millis(50));
            world.heard.count("disconnected gap") >= 1
        });
        world.server.answer(EVENTS, Answer::Good);
        world.until_revoked(&tokens[0]);
        world.until_revoked(&tokens[1]);
    }
}

#[test]
fn a_list_that_cannot_be_had_does_not_hold_up_the_others() {
    let server = Server::start();
    server.answer(EVENTS, Answer::MoreLists);
    let world = World::of(server, |builder| builder);
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let token = world.issuer().token().sign();
    world.issuer().revoke(&token);
    world.until_revoked(&token);
    world.until("it is asked for again", |world| world.server.hits("/status/1") >= 3);
    assert_eq!(world.server.hits("feed_ended"), 0);
    let uri = format!("{}/status/1", world.issuer().name());
    let claim = serde_json::json!({ "status_list": { "idx": 1, "uri": uri } });
    assert_eq!(world.outcome(&world.issuer().token().claim("status", claim).sign()), Err(Rejected::StatusUnavailable));
}

#[test]
fn a_verifier_may_be_built_and_dropped_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let world = World::of(Server::start(), |builder| builder);
        world.until("it is ready", |world| world.verifier.ready().is_ok());
        drop(world);
    });
}

/// A list token with these changes to its claims.
fn list(world: &World, change: impl FnOnce(&mut StatusListClaims)) -> String {
    let issuer = world.issuer();
    let mut claims = StatusListClaims {
        iss: issuer.name().to_owned(),
        sub: status_list::uri(issuer.name(), 0),
        iat: issuer.now(),
        exp: Some(issuer.now() + 360),
        ttl: Some(15),
        status_list: StatusList { bits: 1, lst: status_list::encode(&vec![0; status_list::LIST_BYTES], 6) },
        seq: Some(0),
    };
    change(&mut claims);
    issuer.sign_document(status_list::TYPE, &claims)
}

#[test]
fn a_list_that_is_not_right_is_not_taken() {
    let server = Server::start();
    server.answer(LIST, Answer::Status(500));
    let world = World::of(server, |builder| builder);
    let whole = list(&world, |_| {});
    let bomb = status_list::encode(&vec![0; 32 << 20], 9);
    let claims = StatusListClaims {
        iss: world.issuer().name().to_owned(),
        sub: status_list::uri(world.issuer().name(), 0),
        iat: world.issuer().now(),
        exp: None,
        ttl: None,
        status_list: StatusList { bits: 1, lst: status_list::encode(&vec![0; status_list::LIST_BYTES], 6) },
        seq: Some(0),
    };
    let payload = serde_json::to_string(&claims).unwrap();
    let forged = world.issuer().token().forged().typ(status_list::TYPE).sign_payload(&payload);
    let wrong = [
        ("truncated", whole[..whole.len() / 2].to_owned()),
        ("of another issuer", list(&world, |claims| claims.iss = "https://other.example".to_owned())),
        ("of another list", list(&world, |claims| claims.sub.push('0'))),
        ("expired", list(&world, |claims| claims.exp = Some(claims.iat - 1))),
        ("a bomb", list(&world, |claims| claims.status_list.lst = bomb)),
        ("cut off inside", list(&world, |claims| claims.status_list.lst.truncate(20))),
        ("of another type", world.issuer().token().sign()),
        ("forged", forged),
        ("not text", "\u{0}".repeat(100)),
        ("huge", "x".repeat(2 << 20)),
    ];
    let token = world.issuer().token().sign();
    world.until("there are keys", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
    for (what, body) in wrong {
        world.server.answer(LIST, Answer::Body(body));
        let before = world.server.hits(LIST);
        world.until(what, |world| world.server.hits(LIST) >= before + 2);
        assert_eq!(world.outcome(&token), Err(Rejected::StatusUnavailable), "{what}");
    }
    world.server.answer(LIST, Answer::Body(whole));
    world.until("it is ready", |world| world.outcome(&token) == Ok(()));
}

#[test]
fn keys_stay_while_the_jwks_is_bad() {
    let world = World::new();
    let before = world.issuer().token().sign();
    world.issuer().rotate();
    world.issuer().rotate();
    let after = world.issuer().token().sign();
    let huge = format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(100_000));
    for answer in [
        Answer::Body(r#"{"keys":[]}"#.to_owned()),
        Answer::Body("<html>".to_owned()),
        Answer::Body(huge),
        Answer::Redirect,
        Answer::Status(500),
        Answer::Status(204),
        Answer::As(404),
        Answer::As(203),
        Answer::Never,
    ] {
        world.server.answer(JWKS, answer.clone());
        let (hits, failures) = (world.server.hits(JWKS), world.heard.count("jwks miss false"));
        world.until("it has tried and failed", |world| {
            // The bucket lets a look through now and then.
            let fresh = world.issuer().token().kid(&format!("k{}", world.server.hits(JWKS))).sign();
            assert_eq!(world.outcome(&fresh), Err(Rejected::UnknownKey));
            world.server.hits(JWKS) > hits && world.heard.count("jwks miss false") > failures
        });
        assert_eq!((world.outcome(&before), world.outcome(&after)), (Ok(()), Err(Rejected::UnknownKey)), "{answer:?}");
    }
    assert_eq!(world.server.hits("/jwks.json/elsewhere"), 0, "nobody is followed elsewhere");
    world.server.answer(JWKS, Answer::Good);
    world.until("the new keys are known", |world| world.outcome(&after) == Ok(()));
    assert_eq!(world.outcome(&before), Err(Rejected::UnknownKey));
}

#[test]
fn strangers_cannot_make_a_verifier_fetch_and_fetch() {
    let world = World::of(Server::start(), |builder| builder.hurry(1));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    for number in 0..500 {
        let token = world.issuer().token().kid(&format!("random-{number}")).sign();
        assert_eq!(world.outcome(&token), Err(Rejected::UnknownKey));
    }
    thread::sleep(Duration::from_millis(300));
    assert!(world.server.hits(JWKS) <= 1 + 2, "{}", world.server.hits(JWKS));
}

#[test]
fn one_bad_client_does_not_use_up_what_all_share() {
    let world = World::of(Server::start(), |builder| builder.hurry(1));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let bad = world.issuer().token().kid("nobody").sign();
    for _ in 0..100 {
        assert_eq!(world.outcome(&bad), Err(Rejected::UnknownKey));
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.server.hits(JWKS), 2, "the start, and one look");
    world.issuer().rotate();
    world.issuer().rotate();
    let good = world.issuer().token().sign();
    world.until("there was one look left", |world| world.outcome(&good) == Ok(()));
}

#[test]
fn a_key_that_was_never_seen_is_waited_for() {
    let world = World::new();
    world.issuer().rotate();
    world.issuer().rotate();
    let token = world.issuer().token().sub("usr_9").sign();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let claims: Claims = runtime.block_on(world.verifier.verify_waiting(&token)).unwrap();
    assert_eq!(claims.sub, "usr_9");
    let unknown = world.issuer().token().kid("nobody").sign();
    let refused = runtime.block_on(world.verifier.verify_waiting::<NoOtherClaims>(&unknown));
    assert_eq!(refused.unwrap_err(), Rejected::UnknownKey);
}

#[test]
fn nobody_waits_longer_than_two_seconds_for_a_key() {
    let world = World::new();
    world.server.answer(JWKS, Answer::Never);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let began_at = Instant::now();
    // Each of them asks for another key, and they are looked for one after the other.
    let ask = |nth: usize| {
        let token = world.issuer().token().kid(&format!("nobody-{nth}")).sign();
        let verifier = world.verifier.clone();
        async move { verifier.verify_waiting::<NoOtherClaims>(&token).await.map(drop) }
    };
    let outcomes = runtime.block_on(async { tokio::join!(ask(1), ask(2), ask(3)) });
    let refused = || Err(Rejected::UnknownKey);
    assert_eq!(outcomes, (refused(), refused(), refused()));
    assert!(began_at.elapsed() < Duration::from_millis(2_900), "{:?}", began_at.elapsed());
}

#[test]
fn who_may_not_read_the_feed_polls() {
    let server = Server::start();
    server.answer(EVENTS, Answer::Status(403));
    let world = World::of(server, |builder| builder);
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let token = world.issuer().token().sign();
    assert_eq!(world.outcome(&token), Ok(()));
    world.until("nothing has changed", |world| world.server.hits("304") >= 1);
    world.issuer().revoke(&token);
    world.until_revoked(&token);
    assert!(world.heard.count("disconnected refused") >= 1);
    world.server.answer(EVENTS, Answer::Good);
    world.until("the feed is tried again", |world| world.heard.count("connected") >= 1);
}

#[test]
fn a_feed_that_was_refused_is_tried_again_soon() {
    let server = Server::start();
    server.answer(EVENTS, Answer::Status(401));
    let world = World::of(server, |builder| builder.hurry(1));
    world.until("it is refused", |world| world.heard.count("disconnected refused") == 1);
    world.server.answer(EVENTS, Answer::Good);
    let began_at = Instant::now();
    world.until("it is tried again", |world| world.heard.count("connected") == 1);
    assert!(began_at.elapsed() < Duration::from_secs(5), "{:?}", began_at.elapsed());
}

#[test]
fn an_issuer_that_has_a_feed_since_lately_is_followed() {
    let server = Server::start();
    let (url, jwks) = (server.issuer.name(), format!("{}{JWKS}", server.issuer.name()));
    let before =
        json!({ "issuer": url, "jwks_uri": jwks, "status_list_aggregation_endpoint": format!("{url}{AGGREGATION}") });
    server.answer(METADATA, Answer::Body(before.to_string()));
    let world = World::of(server, |builder| builder.hurry(40));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    assert_eq!((world.heard.count("connected"), world.server.hits(EVENTS)), (0, 0));
    world.server.answer(METADATA, Answer::Good);
    world.until("it is found", |world| world.heard.count("connected") >= 1);
}

#[test]
fn keys_that_were_given_stay_while_the_status_is_fetched() {
    let server = Server::start();
    let keys = KeySet::parse(server.issuer.jwks().as_bytes()).unwrap();
    let world = World::of(server, |builder| builder.keys(keys));
    let token = world.issuer().token().sign();
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    world.issuer().revoke(&token);
    world.until_revoked(&token);
    assert_eq!(world.outcome(&world.issuer().token().kid("x").sign()), Err(Rejected::UnknownKey));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(world.server.hits(JWKS), 0);
}

#[test]
fn addresses_given_by_hand_are_the_only_ones_asked() {
    let server = Server::start();
    let url = |path: &str| Some(format!("{}{path}", server.issuer.name()));
    let endpoints = Endpoints { jwks_uri: url(JWKS), status_events_endpoint: url(EVENTS), ..Endpoints::default() };
    let world = World::of(server, |builder| builder.endpoints(endpoints));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    assert_eq!((world.server.hits(METADATA), world.server.hits(AGGREGATION)), (0, 0));
    let refused = Endpoints { jwks_uri: Some("http://as.example/jwks.json".to_owned()), ..Endpoints::default() };
    let refused = Verifier::builder("https://as.example", "x").endpoints(refused).build();
    assert_eq!(refused.unwrap_err(), BuildError::Url(UrlError::NotSecure));
}

#[test]
fn polls_alone_do_too_and_need_no_credentials() {
    let world = World::of(Server::start(), |builder| builder.status(StatusSource::Poll));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let token = world.issuer().token().sign();
    world.issuer().revoke(&token);
    world.until_revoked(&token);
    assert_eq!((world.server.hits(EVENTS), world.server.hits(server::RECEIPTS)), (0, 0));
}

#[test]
fn an_old_list_is_no_news() {
    let settings = |builder: VerifierBuilder| builder.status(StatusSource::Poll).max_stale(Duration::from_secs(3));
    let world = World::of(Server::start(), settings);
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let (token, revoked) = (world.issuer().token().sign(), world.issuer().token().sign());
    world.issuer().revoke(&revoked);
    world.until_revoked(&revoked);
    // Somebody on the way gives out what was true before.
    let before = list(&world, |_| {});
    world.server.answer(LIST, Answer::Body(before));
    world.until("it is too old", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
    assert_eq!(world.outcome(&revoked), Err(Rejected::Revoked));
    world.server.answer(LIST, Answer::Good);
    // What is given out is as old as its signature, and the issuer's clock stood still.
    world.issuer().advance(Duration::from_secs(10));
    world.until("it is current again", |world| world.outcome(&token) == Ok(()));
}

#[test]
fn a_list_that_the_issuer_has_no_more_is_forgotten() {
    const SECOND: &str = "/status/1";
    let settings = |builder: VerifierBuilder| builder.status(StatusSource::Poll).max_stale(Duration::from_secs(3));
    let world = World::of(Server::start(), settings);
    let uri = |number| status_list::uri(world.issuer().name(), number);
    let second = list(&world, |claims| claims.sub = uri(1));
    world.server.answer(AGGREGATION, Answer::Body(json!({ "status_lists": [uri(0), uri(1)] }).to_string()));
    world.server.answer(SECOND, Answer::Body(second));
    world.until("both are taken", |world| world.server.hits(SECOND) >= 2 && world.verifier.ready().is_ok());
    let token = world.issuer().token().sign();
    assert_eq!(world.outcome(&token), Ok(()));
    world.server.answer(SECOND, Answer::Status(404));
    world.until("one that is named is wanted", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
    world.server.answer(AGGREGATION, Answer::Good);
    // Lists are as old as their signature.
    world.issuer().advance(Duration::from_secs(10));
    world.issuer().revoke(&world.issuer().token().sign());
    world.until("there is one list less", |world| world.outcome(&token) == Ok(()));
}

#[test]
fn a_list_that_has_expired_is_not_relied_on_though_it_has_not_changed() {
    let server = Server::start();
    server.answer(LIST, Answer::ShortLived);
    let settings = |builder: VerifierBuilder| builder.status(StatusSource::Poll).max_stale(Duration::from_millis(1500));
    let world = World::of(server, settings);
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    world.until("it has not changed", |world| world.server.hits("304") >= 1);
    let token = world.issuer().token().sign();
    world.until("it has expired", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
}

#[test]
fn keys_run_out_when_nobody_has_them_for_a_day() {
    // A day lasts two seconds.
    let world = World::of(Server::start(), |builder| builder.status(StatusSource::None).hurry(43_200));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let token = world.issuer().token().sign();
    world.server.answer(JWKS, Answer::Status(500));
    assert_eq!(world.outcome(&token), Ok(()));
    world.until("they have run out", |world| world.outcome(&token) == Err(Rejected::KeysUnavailable));
    world.server.answer(JWKS, Answer::Good);
    world.until("they are back", |world| world.outcome(&token) == Ok(()));
}

#[test]
fn long_polls_stand_in_where_streams_are_held_back() {
    let server = Server::start();
    server.answer(EVENTS, Answer::Mute);
    let world = World::of(server, |builder| builder);
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    assert!(world.heard.count("disconnected mute") >= 2 && world.server.hits("long_poll") >= 1);
    let token = world.issuer().token().sign();
    world.issuer().revoke(&token);
    world.until_revoked(&token);
}

#[test]
fn loosening_waits_for_a_checkpoint_that_fits() {
    let world = World::new();
    let token = world.issuer().token().client_id("shop").sign();
    world.issuer().disable_client("shop");
    world.until_revoked(&token);
    world.issuer().forget(&[]);
    world.until("the change is seen", |world| world.verifier.status().unwrap().seq() == 2);
    assert_eq!(world.outcome(&token), Err(Rejected::Revoked));
    let lying = CheckpointClaims {
        iss: world.issuer().name().to_owned(),
        iat: world.issuer().now(),
        seq: 2,
        lists: vec![list_digest(b"something else")],
        cuts: cuts_digest(&FeedKey::parse(&world.issuer().hello().key).unwrap(), []),
    };
    let lists = world.server.hits(LIST);
    world.server.checkpoint(world.issuer().sign_document(CHECKPOINT_TYPE, &lying));
    world.until("it does not fit", |world| world.heard.count("disconnected digest_mismatch") == 1);
    assert_eq!(world.outcome(&token), Err(Rejected::Revoked));
    world.until("lists are fetched anew", |world| world.server.hits(LIST) > lists);
    let again = world.heard.count("connected");
    world.until("it is connected again", |world| world.heard.count("connected") > again || again >= 2);
    world.until("a good one is taken", |world| {
        world.server.checkpoint(world.issuer().checkpoint());
        thread::sleep(Duration::from_millis(100));
        world.outcome(&token) == Ok(())
    });
}

#[test]
fn what_is_known_grows_old_and_then_nobody_is_let_in_on_it() {
    let world = World::of(Server::start(), |builder| builder.max_stale(Duration::from_millis(400)));
    world.until("it is ready", |world| world.verifier.ready().is_ok());
    let (token, revoked) = (world.issuer().token().sign(), world.issuer().token().sign());
    world.issuer().revoke(&revoked);
    world.until_revoked(&revoked);
    world.server.answer(EVENTS, Answer::Never);
    world.server.answer(LIST, Answer::Never);
    world.until("it is too old", |world| world.outcome(&token) == Err(Rejected::StatusUnavailable));
    assert_eq!(
        (world.outcome(&revoked), world.verifier.ready()),
        (Err(Rejected::Revoked), Err(Rejected::StatusUnavailable))
    );
    world.server.answer(EVENTS, Answer::Good);
    world.until("it is current again", |world| world.outcome(&token) == Ok(()));
}

#[test]
fn a_key_that_was_killed_is_dead_at_once_though_the_jwks_still_has_it() {
    let world = World::new();
    let token = world.issuer().token().sign();
    world.issuer().cut(CutKind::Kid, &world.issuer().kid());
    world.until_revoked(&token);
    assert!(world.issuer().jwks().contains(&world.issuer().kid()));
}

#[test]
fn another_issuer_s_metadata_is_not_believed() {
    let server = Server::start();
    let other = format!(r#"{{"issuer":"https://other.example","jwks_uri":"{}{JWKS}"}}"#, server.issuer.name());
    server.answer(METADATA, Answer::Body(other));
    let world = World::of(server, |builder| builder);
    world.until("it has tried", |world| world.heard.count("jwks start false") == 1);
    assert_eq!(world.server.hits(JWKS), 0);
    world.server.answer(METADATA, Answer::Good);
    world.server.answer(AGGREGATION, Answer::Body(r#"{"status_lists":["https://other.example/status/0"]}"#.to_owned()));
    world.until("lists are asked for", |world| world.server.hits(AGGREGATION) >= 2);
    assert_eq!(world.verifier.ready(), Err(Rejected::StatusUnavailable));
}

#[test]
fn the_thread_ends_with_the_last_verifier() {
    let world = World::new();
    world.until("it is connected", |world| world.heard.count("connected") == 1);
    let World { server, verifier, .. } = world;
    let clone = verifier.clone();
    drop(verifier);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(server.hits("feed_ended"), 0);
    drop(clone);
    let began_at = Instant::now();
    while server.hits("feed_ended") == 0 {
        assert!(began_at.elapsed() < Duration::from_secs(10), "the connection outlives the verifier");
        thread::sleep(Duration::from_millis(5));
    }
    while server.receipts.lock().unwrap().last().is_none_or(|last| last["leaves"] != true) {
        assert!(began_at.elapsed() < Duration::from_secs(10), "it does not say that it leaves");
        thread::sleep(Duration::from_millis(5));
    }
}

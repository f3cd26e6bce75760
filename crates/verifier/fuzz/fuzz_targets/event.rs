//! Events of any bytes, in any order: nothing that is over becomes good again without the issuer's signature.
#![no_main]

use std::sync::LazyLock;

use countersign_verifier::feed::Event;
use countersign_verifier::testing::TestIssuer;
use countersign_verifier::{KeySet, NoOtherClaims, Verifier};
use countersign_verifier::status::Follower;
use countersign_verifier::{Rejected, StatusSource};
use libfuzzer_sys::fuzz_target;

struct World {
    list: String,
    keys: KeySet,
    jwks: String,
    revoked: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let revoked = issuer.token().sign();
    issuer.revoke(&revoked);
    let jwks = issuer.jwks();
    World { list: issuer.status_list(), keys: KeySet::parse(jwks.as_bytes()).unwrap(), jwks, revoked }
});

fuzz_target!(|bytes: &[u8]| {
    let world = &*WORLD;
    let mut follower = Follower::new("https://as.example");
    follower.take_list(0, &world.list, &world.keys).unwrap();
    follower.connect();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(text) = std::str::from_utf8(line) else { continue };
        let (name, data) = text.split_once(' ').unwrap_or((text, "{}"));
        if let Ok(Some(event)) = Event::parse(name, data) {
            follower.apply(&event, &world.keys);
        }
    }
    let verifier = Verifier::builder("https://as.example", "https://orders.example")
        .keys(KeySet::parse(world.jwks.as_bytes()).unwrap())
        .status(StatusSource::Given(follower.status()))
        .build()
        .unwrap();
    assert_eq!(verifier.verify::<NoOtherClaims>(&world.revoked).unwrap_err(), Rejected::Revoked);
});

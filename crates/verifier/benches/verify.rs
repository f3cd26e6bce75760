//! What a token costs: all of it, and the look at its status alone. `cargo bench -p countersign-verifier`.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures and says so")]

use std::time::{Duration, Instant};

use countersign_verifier::feed::CutKind;
use countersign_verifier::testing::TestIssuer;
use countersign_verifier::{NoOtherClaims, StatusSource};

/// The shortest of some rounds, for each of `times` that a round does something.
fn shortest(times: u32, mut round: impl FnMut()) -> Duration {
    let timed = |_| {
        let began_at = Instant::now();
        round();
        began_at.elapsed()
    };
    (0..20).map(timed).min().unwrap_or_default() / times
}

fn main() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let token = issuer.token().scope("orders:read orders:write").sign();
    let (with, without) = (issuer.verifier(), issuer.verifier_with(|builder| builder.status(StatusSource::None)));
    for (what, verifier) in [("with its status", with), ("without", without)] {
        let took = shortest(500, || {
            for _ in 0..500 {
                assert!(verifier.verify::<NoOtherClaims>(&token).is_ok(), "the token is good");
            }
        });
        println!("a token, {what}: {took:?}");
    }
    let look = |what: &str| {
        let took = shortest(100_000, || assert_eq!(issuer.look_up_status(100_000), 100_000));
        println!("its status alone, {what}: {took:?}");
    };
    look("no cut-offs");
    for number in 0..1_000 {
        issuer.cut(CutKind::Sub, &format!("usr_{number}"));
    }
    look("a thousand accounts cut off");
    for number in 0..1_000 {
        for kind in [CutKind::ClientId, CutKind::Sid, CutKind::Jti] {
            issuer.cut(kind, &format!("x_{number}"));
        }
    }
    look("a thousand of each kind cut off");
}

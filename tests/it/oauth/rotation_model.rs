//! Random interleavings of honest refreshes, repeats, thefts, revocations and passing time, played against the server
//! and against a model of a few lines that knows nothing of its code. Unlike `model.rs`, which knows every interleaving of
//! the rules alone, it goes through HTTP and the database, idle expiry and the bound on siblings included.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::app::TestApp;

const LEEWAY: u64 = 60;
const IDLE: u64 = 14 * 86_400;
const MAX_SIBLINGS: usize = 16;

/// What is done, to a token chosen among those that were handed out.
#[derive(Clone, Copy, Debug)]
enum Step {
    Present { nth: usize, attempt: Option<u8> },
    Revoke { nth: usize },
    Wait { seconds: u64 },
}

/// A grant as the rules see it: who was handed out by whom, and what was used.
struct Model {
    /// For each token: its generation.
    generations: Vec<u32>,
    current: u32,
    winner: Option<usize>,
    rotated_at: u64,
    idle_until: u64,
    attempt: Option<u8>,
    over: bool,
    now: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Granted,
    Refused,
    Wait,
}

impl Model {
    fn new() -> Self {
        Self {
            generations: vec![1],
            current: 1,
            winner: None,
            rotated_at: 0,
            idle_until: IDLE,
            attempt: None,
            over: false,
            now: 0,
        }
    }

    fn present(&mut self, nth: usize, attempt: Option<u8>) -> Expected {
        if self.over || self.now >= self.idle_until {
            return Expected::Refused;
        }
        if self.generations[nth] == self.current {
            self.current += 1;
            self.winner = Some(nth);
            self.rotated_at = self.now;
            self.idle_until = self.now + IDLE;
            self.attempt = attempt;
            self.generations.push(self.current);
            return Expected::Granted;
        }
        let in_time = self.now - self.rotated_at <= LEEWAY;
        let same_attempt = attempt.is_some() && attempt == self.attempt;
        if self.winner == Some(nth) && (in_time || same_attempt) {
            if self.generations.iter().filter(|generation| **generation == self.current).count() >= MAX_SIBLINGS {
                return Expected::Wait;
            }
            self.generations.push(self.current);
            return Expected::Granted;
        }
        self.over = true;
        Expected::Refused
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = || prop_oneof![3 => 0_usize..3, 2 => 0_usize..1000];
    let step = prop_oneof![
        12 => (nth(), prop::option::weighted(0.3, 0_u8..2)).prop_map(|(nth, attempt)| Step::Present { nth, attempt }),
        1 => nth().prop_map(|nth| Step::Revoke { nth }),
        4 => prop_oneof![Just(1_u64), Just(59), Just(61), Just(86_400), Just(IDLE)].prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..24)
}

#[test]
fn random_interleavings_go_as_the_model_says() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let granted = std::cell::Cell::new(0_u32);
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&steps(), |steps| {
        let mut model = Model::new();
        let mut tokens = vec![party.log_in("web", &email).tokens().refresh_token().to_owned()];
        for step in steps {
            match step {
                Step::Wait { seconds } => {
                    app.advance(Duration::from_secs(seconds));
                    model.now += seconds;
                }
                // The newest tokens are the interesting ones: count from the end.
                Step::Revoke { nth } => {
                    let nth = tokens.len() - 1 - nth % tokens.len();
                    prop_assert_eq!(party.revoke("web", &tokens[nth]).status, 200);
                    model.over = true;
                }
                Step::Present { nth, attempt } => {
                    let nth = tokens.len() - 1 - nth % tokens.len();
                    let key = attempt.map(|attempt| format!("attempt-number-{attempt}"));
                    let more: Vec<_> = key.iter().map(|key| ("refresh_attempt", key.as_str())).collect();
                    let answer = party.refresh_with("web", &tokens[nth], &more);
                    let seen = match answer.status {
                        200 => {
                            tokens.push(answer.tokens().refresh_token().to_owned());
                            granted.set(granted.get() + 1);
                            Expected::Granted
                        }
                        503 => Expected::Wait,
                        _ => Expected::Refused,
                    };
                    prop_assert_eq!(seen, model.present(nth, attempt), "token {} of {}", nth, tokens.len());
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(granted.get() > 0, "the steps must get somewhere");
}

//! Many at once: exactly one rotation, no honest client harmed, nothing accepted after an end.

use std::sync::{Arc, Barrier};
use std::thread;

use crate::app::{Backend, TestApp, backend};
use crate::relying_party::{Answer, RelyingParty, Tokens};

/// Presents one token `times` times at once, taking turns at the given instances.
fn present_at_once(parties: &[RelyingParty], token: &str, times: usize) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(times));
    let presenters: Vec<_> = (0..times)
        .map(|nth| {
            let (party, token, barrier) = (parties[nth % parties.len()].clone(), token.to_owned(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                party.refresh("web", &token)
            })
        })
        .collect();
    presenters.into_iter().map(|presenter| presenter.join().unwrap()).collect()
}

fn granted(answers: &[Answer]) -> Vec<Tokens> {
    answers.iter().filter(|answer| answer.status == 200).map(Answer::tokens).collect()
}

#[test]
fn of_fifty_presentations_at_once_one_rotates_and_the_first_used_answer_wins() {
    let app = TestApp::start();
    let other_instance = app.second_instance();
    let (party, first) = app.log_in();
    other_instance.app.clients.reload(&other_instance.app.db).unwrap();
    let parties = [party.clone(), other_instance.relying_party()];

    let answers = present_at_once(&parties, first.refresh_token(), 50);
    for answer in &answers {
        let expected = matches!((answer.status, answer.body.contains("access_token")), (200, true) | (503, false));
        assert!(expected, "{} {}", answer.status, answer.body);
    }
    let siblings = granted(&answers);
    assert!((1..=16).contains(&siblings.len()), "{} answers", siblings.len());
    let mut distinct: Vec<_> = siblings.iter().map(|tokens| tokens.refresh_token().to_owned()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), siblings.len(), "every answer carries another token");

    // Whichever is used first goes on …
    let winner = party.refresh("web", siblings.last().unwrap().refresh_token()).tokens();
    party.refresh("web", winner.refresh_token()).tokens();
    // … and the use of any other ends the grant for both.
    if let [loser, .., _] = siblings.as_slice() {
        assert_eq!(party.refresh("web", loser.refresh_token()).error(), "invalid_grant");
        assert_eq!(parties[1].refresh("web", winner.refresh_token()).error(), "invalid_grant");
    }
}

#[test]
fn two_siblings_used_at_once_never_both_go_on() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    for _ in 0..12 {
        let (_, email) = app.account();
        let first = party.log_in("web", &email).tokens();
        let pair = [0, 1].map(|_| party.refresh("web", first.refresh_token()).tokens());
        let barrier = Arc::new(Barrier::new(2));
        let users = pair.map(|tokens| {
            let (party, barrier) = (party.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                party.refresh("web", tokens.refresh_token())
            })
        });
        let answers = users.map(|user| user.join().unwrap());
        let went_on = granted(&answers);
        assert_eq!(went_on.len(), 1, "the first goes on and the second does not");
        // The second to come was a replay, so whoever came first is out as well.
        for tokens in went_on {
            assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
        }
    }
}

#[test]
fn after_a_revocation_was_answered_nothing_of_the_grant_is_accepted() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    let rounds = 40;
    for _ in 0..rounds {
        let (_, email) = app.account();
        let first = party.log_in("web", &email).tokens();
        let barrier = Arc::new(Barrier::new(4));
        let refreshers: Vec<_> = (0..3)
            .map(|_| {
                let (party, token, barrier) = (party.clone(), first.refresh_token().to_owned(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    party.refresh("web", &token)
                })
            })
            .collect();
        barrier.wait();
        assert_eq!(party.revoke("web", first.refresh_token()).status, 200);
        let after = party.refresh("web", first.refresh_token());
        assert_eq!(after.error(), "invalid_grant");
        let raced: Vec<_> = refreshers.into_iter().map(|refresher| refresher.join().unwrap()).collect();
        for tokens in granted(&raced) {
            assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
        }
    }
}

#[test]
fn a_log_in_and_a_disabling_at_once_leave_nothing_alive() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    for _ in 0..10 {
        let (account, email) = app.account();
        let (there, barrier) = (party.clone(), Arc::new(Barrier::new(2)));
        let user = {
            let barrier = barrier.clone();
            thread::spawn(move || {
                barrier.wait();
                there.log_in("web", &email)
            })
        };
        barrier.wait();
        // About as long as a hash takes, so that the two meet.
        thread::sleep(std::time::Duration::from_millis(12));
        countersign::admin::accounts::disable(&app.app, account.id, "test").unwrap();
        let answer = user.join().unwrap();
        // Whoever came first: the log-in, whose grant the disabling then ended, or the disabling.
        assert!(answer.status == 200 || answer.error() == "invalid_grant", "{}", answer.body);
        assert_eq!(countersign::admin::accounts::count_live_grants(&app.app, account.id).unwrap(), 0);
    }
}

/// Sends `request` while no grant can be written, lets its deadline pass, and returns the answer.
fn after_its_deadline(app: &TestApp, request: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let hold = app.database.hold_grants();
    let late = thread::spawn(request);
    thread::sleep(std::time::Duration::from_millis(500));
    app.advance(std::time::Duration::from_secs(11));
    drop(hold);
    late.join().unwrap()
}

#[test]
fn a_request_that_outlived_its_deadline_changes_nothing() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = party.refresh("web", first.refresh_token()).tokens();
    let before = app.database.rotations();
    let spent = party.log_in("web", &app.account().1).tokens();
    party.refresh("web", spent.refresh_token()).tokens();
    let late_token = |token: &str| (party.clone(), token.to_owned());
    // PostgreSQL bounds a rotation by its own clock, which no test moves: `tests/it/store.rs` and the faults look there.
    let tokens = [second.refresh_token(), first.refresh_token()];
    for token in tokens.into_iter().filter(|_| backend() == Backend::Sqlite) {
        let (party, token) = late_token(token);
        let answer = after_its_deadline(&app, move || party.refresh("web", &token));
        assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"));
        assert!(answer.header("retry-after").is_some());
        assert!(app.database.rotations().starts_with(&before));
    }
    let (there, token) = late_token(second.refresh_token());
    let answer = after_its_deadline(&app, move || there.revoke("web", &token));
    assert_eq!(answer.status, 503, "a revocation that was not made is not said to be");
    assert!(app.database.rotations().starts_with(&before));
    // The same requests in time do what they should.
    let third = party.refresh("web", second.refresh_token()).tokens();
    assert_eq!(party.revoke("web", third.refresh_token()).status, 200);
    assert_eq!(party.refresh("web", third.refresh_token()).error(), "invalid_grant");
}

//! RFC 6749 §6, RFC 9700 §4.14: the table of what a presented refresh token brings, row by row on a hand-moved clock.

use std::time::Duration;

use crate::app::{AUDIENCE, TestApp};
use crate::relying_party::{RelyingParty, Tokens};

const LEEWAY: Duration = Duration::from_secs(60);
const A_MOMENT: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_hours(24);

#[track_caller]
fn is_over(party: &RelyingParty, tokens: &[&str]) {
    for token in tokens {
        assert_eq!(party.refresh("web", token).error(), "invalid_grant");
    }
}

#[track_caller]
fn refreshed(party: &RelyingParty, token: &str) -> Tokens {
    party.refresh("web", token).tokens()
}

#[test]
fn a_live_token_brings_the_next_generation() {
    let app = TestApp::start();
    let (party, mut tokens) = app.log_in();
    for _ in 0..5 {
        app.advance(Duration::from_secs(90));
        let next = refreshed(&party, tokens.refresh_token());
        assert_ne!(next.refresh, tokens.refresh);
        assert_eq!(next.claims()["sid"], tokens.claims()["sid"]);
        assert_eq!(next.claims()["auth_time"], tokens.claims()["auth_time"]);
        tokens = next;
    }
}

#[test]
fn a_repeat_within_the_leeway_brings_another_token_each_time_and_any_of_them_goes_on() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let answers: Vec<_> = (0..4).map(|_| refreshed(&party, first.refresh_token())).collect();
    for (nth, answer) in answers.iter().enumerate() {
        assert!(answers[nth + 1..].iter().all(|other| other.refresh != answer.refresh));
    }
    app.advance(LEEWAY);
    let late = refreshed(&party, first.refresh_token());
    let next = refreshed(&party, answers[2].refresh_token());
    // The others lost, and so did the late one.
    is_over(&party, &[late.refresh_token(), next.refresh_token()]);
}

#[test]
fn a_losing_sibling_ends_the_grant() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let (one, other) = (refreshed(&party, first.refresh_token()), refreshed(&party, first.refresh_token()));
    let next = refreshed(&party, one.refresh_token());
    is_over(&party, &[other.refresh_token()]);
    is_over(&party, &[next.refresh_token(), one.refresh_token(), first.refresh_token()]);
}

#[test]
fn sixteen_siblings_are_out_at_most_and_more_repeats_wait() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let answers: Vec<_> = (0..16).map(|_| refreshed(&party, first.refresh_token())).collect();
    let refused = party.refresh("web", first.refresh_token());
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Nothing was changed: the last of the sixteen still goes on.
    refreshed(&party, answers[15].refresh_token());
}

#[test]
fn the_leeway_begins_at_the_rotation_and_repeats_do_not_extend_it() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    refreshed(&party, first.refresh_token());
    app.advance(LEEWAY / 2);
    refreshed(&party, first.refresh_token());
    app.advance(LEEWAY / 2);
    let last = refreshed(&party, first.refresh_token());
    app.advance(A_MOMENT);
    is_over(&party, &[first.refresh_token(), last.refresh_token()]);
}

#[test]
fn after_the_leeway_a_repeat_with_the_same_attempt_key_is_still_a_repeat() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let attempt = [("refresh_attempt", "0123456789abcdef")];
    party.refresh_with("web", first.refresh_token(), &attempt).tokens();
    app.advance(LEEWAY + DAY);
    let late = party.refresh_with("web", first.refresh_token(), &attempt).tokens();
    let next = party.refresh_with("web", late.refresh_token(), &[("refresh_attempt", "another-attempt-")]).tokens();
    // A token of the next generation was used: the first attempt is history, and its repeat a replay.
    app.advance(LEEWAY + A_MOMENT);
    let replayed = party.refresh_with("web", first.refresh_token(), &attempt);
    assert_eq!(replayed.error(), "invalid_grant");
    is_over(&party, &[next.refresh_token()]);
}

#[test]
fn after_the_leeway_another_attempt_key_is_a_replay() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let next = party.refresh_with("web", first.refresh_token(), &[("refresh_attempt", "0123456789abcdef")]).tokens();
    app.advance(LEEWAY + A_MOMENT);
    let replayed = party.refresh_with("web", first.refresh_token(), &[("refresh_attempt", "0123456789abcdeF")]);
    assert_eq!(replayed.error(), "invalid_grant");
    is_over(&party, &[next.refresh_token()]);
}

#[test]
fn a_replay_after_the_leeway_ends_the_grant_and_its_access_tokens() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let next = refreshed(&party, first.refresh_token());
    let secret = app.confidential_client();
    assert_eq!(party.introspect("svc", &secret, &next.access).json()["active"], true);
    app.advance(LEEWAY + A_MOMENT);
    is_over(&party, &[first.refresh_token(), next.refresh_token()]);
    assert_eq!(party.introspect("svc", &secret, &next.access).body, r#"{"active":false}"#);
    assert_eq!(party.introspect("svc", &secret, &first.access).body, r#"{"active":false}"#);
}

#[test]
fn an_older_generation_ends_the_grant_even_within_the_leeway() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = refreshed(&party, first.refresh_token());
    let third = refreshed(&party, second.refresh_token());
    is_over(&party, &[first.refresh_token(), third.refresh_token()]);
}

#[test]
fn generations_are_counted_and_do_not_rest_on_the_clock() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let mut history = vec![first];
    for _ in 0..10 {
        let next = refreshed(&party, history.last().unwrap().refresh_token());
        history.push(next);
    }
    // Eleven generations in one instant: the oldest is no newer than the newest.
    is_over(&party, &[history[0].refresh_token(), history[10].refresh_token()]);
}

#[test]
fn another_client_changes_nothing() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    app.client(
        "other",
        serde_json::json!({
            "token_endpoint_auth_method": "none",
            "grant_types": ["password", "refresh_token"],
            "scope": "read",
        }),
    );
    let next = refreshed(&party, first.refresh_token());
    app.advance(LEEWAY + A_MOMENT);
    // Live or spent, it is refused alike, and the grant goes on.
    for token in [next.refresh_token(), first.refresh_token()] {
        assert_eq!(party.refresh("other", token).error(), "invalid_grant");
    }
    refreshed(&party, next.refresh_token());
}

#[test]
fn an_idle_grant_is_over_and_a_used_one_is_not() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    app.advance(14 * DAY - A_MOMENT);
    let next = refreshed(&party, first.refresh_token());
    app.advance(14 * DAY - A_MOMENT);
    let next = refreshed(&party, next.refresh_token());
    app.advance(14 * DAY);
    is_over(&party, &[next.refresh_token()]);
}

#[test]
fn no_grant_outlives_its_absolute_life_nor_does_a_token_outlive_its_grant() {
    let app = TestApp::start();
    let (party, mut tokens) = app.log_in();
    for _ in 0..8 {
        app.advance(11 * DAY);
        tokens = refreshed(&party, tokens.refresh_token());
        assert_eq!(tokens.expires_in, 600);
    }
    app.advance(2 * DAY - Duration::from_secs(30));
    tokens = refreshed(&party, tokens.refresh_token());
    assert_eq!(tokens.expires_in, 30, "cut to what is left of the grant");
    app.advance(Duration::from_secs(30));
    is_over(&party, &[tokens.refresh_token()]);
}

#[test]
fn a_clock_that_goes_back_logs_nobody_out() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let next = refreshed(&party, first.refresh_token());
    let countersign::clock::Clock::Manual(at) = &app.app.clock else { panic!("a manual clock") };
    at.fetch_sub(3_600_000_000, std::sync::atomic::Ordering::SeqCst);
    refreshed(&party, first.refresh_token());
    refreshed(&party, next.refresh_token());
}

#[test]
fn a_narrower_scope_is_for_one_access_token_and_never_widens_the_grant() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let form = [
        ("grant_type", "password"),
        ("client_id", "web"),
        ("username", &email),
        ("password", crate::app::PASSWORD),
        ("scope", "read"),
    ];
    let first = party.form("/token", &[], &form).tokens();
    assert_eq!(first.scope, "read");
    // Wider than granted, though the client may have it: refused, and nothing rotated.
    let wider = party.refresh_with("web", first.refresh_token(), &[("scope", "read write")]);
    assert_eq!((wider.status, wider.error().as_str()), (400, "invalid_scope"));
    app.advance(LEEWAY + A_MOMENT);
    let next = refreshed(&party, first.refresh_token());
    assert_eq!(next.scope, "read");
}

#[test]
fn a_scope_once_narrowed_comes_back_whole() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let narrow = party.refresh_with("web", first.refresh_token(), &[("scope", "read")]).tokens();
    assert_eq!((narrow.scope.as_str(), narrow.claims()["scope"].as_str()), ("read", Some("read")));
    assert_eq!(refreshed(&party, narrow.refresh_token()).scope, "read write");
}

#[test]
fn resources_narrow_like_scopes() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let narrow = party.refresh_with("web", first.refresh_token(), &[("resource", AUDIENCE)]).tokens();
    assert_eq!(narrow.claims()["aud"], serde_json::json!([AUDIENCE]));
    let foreign = party.refresh_with("web", narrow.refresh_token(), &[("resource", "https://elsewhere.example")]);
    assert_eq!((foreign.status, foreign.error().as_str()), (400, "invalid_target"));
    let whole = refreshed(&party, narrow.refresh_token());
    assert_eq!(whole.claims()["aud"], serde_json::json!([AUDIENCE, "https://other.example"]));
}

#[test]
fn a_mangled_token_is_refused_and_changes_nothing() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let token = first.refresh_token();
    for at in 0..token.len() {
        let mut mangled = token.to_owned();
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        mangled.replace_range(at..=at, other);
        let refused = party.refresh("web", &mangled);
        assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_grant"), "byte {at}");
    }
    for mangled in [&token[..token.len() - 1], &format!("{token}A"), &format!("{token}="), &token[4..], "csr_", "x"] {
        assert_eq!(party.refresh("web", mangled).error(), "invalid_grant");
    }
    refreshed(&party, token);
}

#[test]
fn a_token_from_a_future_that_the_database_forgot_is_no_theft() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = refreshed(&party, first.refresh_token());
    let third = refreshed(&party, second.refresh_token());
    app.database.execute("UPDATE grants SET generation = 2, winner = 1, siblings = 1");
    assert_eq!(party.refresh("web", third.refresh_token()).error(), "invalid_grant");
    // The grant was not ended.
    refreshed(&party, second.refresh_token());
}

#[test]
fn disabling_an_account_or_a_client_is_final_for_what_they_held() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let id = first.claims()["sub"].as_str().unwrap().parse().unwrap();
    assert_eq!(countersign::admin::accounts::disable(&app.app, id, "test").unwrap(), 1);
    is_over(&party, &[first.refresh_token()]);
    countersign::admin::accounts::enable(&app.app, id, "test").unwrap();
    is_over(&party, &[first.refresh_token()]);

    let (_, email) = app.account();
    let tokens = party.log_in("web", &email).tokens();
    countersign::admin::clients::disable(&app.app, "web", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_client");
    countersign::admin::clients::enable(&app.app, "web", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    is_over(&party, &[tokens.refresh_token()]);
    app.advance(Duration::from_secs(1));
    let again = party.log_in("web", &email).tokens();
    refreshed(&party, again.refresh_token());
}

#[test]
fn nothing_about_a_replay_rests_on_memory_or_redis() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let next = refreshed(&party, first.refresh_token());
    app.advance(LEEWAY + A_MOMENT);
    let restarted = app.second_instance();
    let there = restarted.relying_party();
    is_over(&there, &[first.refresh_token(), next.refresh_token()]);
    is_over(&party, &[next.refresh_token()]);
}

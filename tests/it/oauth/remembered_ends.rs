//! What ends with what a browser remembers, however old it is; and what a lost answer does not end (ASVS 7.2, 7.3, 7.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign::jobs::sweep::Sweep;
use countersign::store::faults::{Call, Fate};

use super::remembered::{DAY, REMEMBERED, SESSION, again, close, copy, is_logged_in, silent};
use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code};
use crate::relying_party::Tokens;

const OFFLINE: &str = "openid profile email read offline_access";

/// Whether a client still has something of its grant, to which each ask is a use.
#[track_caller]
fn goes_on(app: &TestApp, tokens: &mut Tokens) -> bool {
    let answer = app.relying_party().refresh("app", tokens.refresh_token());
    if answer.status == 200 {
        *tokens = answer.tokens();
        return true;
    }
    assert_eq!(answer.error(), "invalid_grant");
    false
}

/// What a client is given that outlives the log-in.
fn offline(app: &TestApp, browser: &Browser) -> Tokens {
    let request = CodeRequest::new().with("scope", OFFLINE);
    request.redeem(&app.relying_party(), &code(&browser.allow(&browser.get(&request.path()))), &[]).tokens()
}

/// Lets three days pass, with a sweep at the end: the rows of the log-ins are gone that were before.
fn three_days_pass(app: &TestApp) {
    app.advance(DAY * 3);
    let (_stop, stopped) = std::sync::mpsc::channel();
    assert!(Sweep::new(&app.app).round(&stopped));
    let rows = app.database.lines("SELECT 'one' AS line FROM browser_sessions");
    assert_eq!(rows, Vec::<String>::new(), "nothing is known of the log-ins any more");
}

#[test]
fn a_theft_is_found_out_days_later_and_all_ends_that_the_thief_has() {
    let app = TestApp::start();
    app.code_client();
    let (owner, _, mut mine) = again(&app);
    let thief = copy(&app, &owner);
    app.advance(DAY);
    let mut stolen = silent().redeem_at(&app, &thief);
    let mut for_long = offline(&app, &thief);
    three_days_pass(&app);
    assert!(goes_on(&app, &mut stolen) && goes_on(&app, &mut for_long) && goes_on(&app, &mut mine));
    close(&owner);
    assert!(!is_logged_in(&owner), "the secret was spent by the thief");
    assert!(!goes_on(&app, &mut stolen));
    assert!(!goes_on(&app, &mut for_long), "what was got by a theft outlives nothing");
    assert!(!goes_on(&app, &mut mine));
    let ends = app.database.lines("SELECT DISTINCT ended_by AS line FROM grants");
    assert_eq!(ends, ["replay"]);
    assert!(!is_logged_in(&thief));
}

#[test]
fn whatever_ends_a_series_ends_the_grants_of_log_ins_that_are_long_gone() {
    let app = TestApp::start();
    app.code_client();
    let ends: [fn(&TestApp, &Browser, &str); 4] = [
        // A log-out, where the log-in was restored.
        |_, browser, _| {
            Form::of(&browser.get("/logout")).send(browser, &[]);
        },
        // The page of the account, elsewhere.
        |app, _, email| {
            let other = Browser::new(app);
            other.log_in(&other.get("/account"), email);
            let page = other.get("/account");
            let name = page.body.split("name=\"remembered\" value=\"").nth(1).unwrap().split('"').next().unwrap();
            assert_eq!(Form::of(&page).send(&other, &[("remembered", name)]).status, 303);
        },
        // The page of the account, there: its session is named, not the series.
        |_, browser, email| {
            let asked = browser.get(&CodeRequest::new().with("prompt", "login").path());
            browser.log_in(&asked, email);
            let page = browser.get("/account");
            let id = page.body.split("name=\"session\" value=\"").nth(1).unwrap().split('"').next().unwrap();
            Form::of(&page).send(browser, &[("session", id)]);
        },
        // Somebody else, who logs in there.
        |app, browser, _| {
            browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &app.account().1);
        },
    ];
    for (nth, end) in ends.into_iter().enumerate() {
        let (browser, email, mut tokens) = again(&app);
        let mut for_long = offline(&app, &browser);
        three_days_pass(&app);
        close(&browser);
        assert!(goes_on(&app, &mut tokens));
        end(&app, &browser, &email);
        assert!(!goes_on(&app, &mut tokens), "{nth}");
        assert!(goes_on(&app, &mut for_long), "{nth}: nobody stole anything");
    }
}

#[test]
fn clients_are_told_of_log_ins_that_are_long_gone() {
    let app = TestApp::start();
    for (id, way) in [("app", "backchannel_logout_uri"), ("other", "frontchannel_logout_uri")] {
        app.client(
            id,
            serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
                "redirect_uris": [CALLBACK], "scope": "openid", "first_party": true, way: "https://app.example/out" }),
        );
    }
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of("app", CALLBACK).with("scope", "openid"));
    let form = Form::of(&browser.follow(&browser.get(&request.path())));
    let done = form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
    request.redeem(&app.relying_party(), &code(&done), &[]).tokens();
    let request = CodeRequest::of("other", CALLBACK).with("scope", "openid");
    request.redeem(&app.relying_party(), &code(&browser.get(&request.path())), &[]).tokens();
    three_days_pass(&app);
    close(&browser);
    let out = Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert!(out.body.contains("<iframe"), "{}", out.body);
    assert_eq!(app.database.lines("SELECT client_id AS line FROM logout_notices"), ["app"]);
}

#[test]
fn what_came_of_a_series_ends_with_the_one_that_takes_its_place() {
    let app = TestApp::start();
    app.code_client();
    let (browser, email, mut first) = again(&app);
    app.advance(DAY);
    close(&browser);
    // Somebody has a copy, and a log-in by it that goes on.
    let thief = copy(&app, &browser);
    let mut stolen = silent().redeem_at(&app, &thief);
    assert!(is_logged_in(&browser), "within the minute");
    let form = Form::of(&browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path())));
    form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
    assert!(is_logged_in(&browser) && is_logged_in(&thief) && goes_on(&app, &mut stolen));
    Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert!(!is_logged_in(&thief), "it belongs to what took the place");
    assert!(!goes_on(&app, &mut stolen));
    assert!(!goes_on(&app, &mut first));
    // And what was granted before the browser was to be remembered at all.
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::new());
    let asked = browser.log_in(&browser.get(&request.path()), &email);
    let mut before = request.redeem(&app.relying_party(), &code(&browser.allow(&asked)), &[]).tokens();
    let form = Form::of(&browser.follow(&browser.get(&request.clone().with("prompt", "login").path())));
    form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
    three_days_pass(&app);
    assert!(goes_on(&app, &mut before));
    close(&browser);
    Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert!(!goes_on(&app, &mut before));
}

#[test]
fn a_log_in_takes_over_nothing_of_whoever_had_a_copy() {
    let app = TestApp::start();
    app.code_client();
    for later in [Duration::from_secs(30), Duration::from_secs(61)] {
        let (owner, email, mut tokens) = again(&app);
        let thief = copy(&app, &owner);
        app.advance(Duration::from_mins(10));
        assert!(is_logged_in(&owner), "by the session, whose use is noted");
        // Nobody has noticed, since nothing came of it yet.
        let request = silent();
        let kept = code(&thief.get(&request.path()));
        app.advance(later);
        let form = Form::of(&owner.follow(&owner.get(&CodeRequest::new().with("prompt", "login").path())));
        form.send(&owner, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
        // By the session alone: its secret is worth nothing either.
        let session = Browser::new(&app);
        session.set_cookie(SESSION, &thief.cookie(SESSION).unwrap());
        assert!(!is_logged_in(&session), "{later:?}");
        assert_eq!(request.redeem(&app.relying_party(), &kept, &[]).error(), "invalid_grant", "{later:?}");
        assert!(is_logged_in(&owner) && goes_on(&app, &mut tokens), "{later:?}");
        app.advance(DAY);
        close(&owner);
        assert!(is_logged_in(&owner) && goes_on(&app, &mut tokens), "{later:?}");
    }
}

#[test]
fn an_answer_that_was_lost_is_given_anew_however_late_while_nothing_of_it_was_used() {
    let app = TestApp::start();
    app.code_client();
    let (browser, _, mut tokens) = again(&app);
    let before = browser.cookie(REMEMBERED).unwrap();
    app.advance(DAY);
    let mut given = Vec::new();
    for _ in 0..16 {
        close(&browser);
        browser.set_cookie(REMEMBERED, &before);
        assert!(is_logged_in(&browser), "after {} lost answers", given.len());
        given.push(browser.cookie(REMEMBERED).unwrap());
        app.advance(Duration::from_secs(61));
    }
    let count = given.len();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), count, "each is another, so that two who have one can be told apart");
    // Now it has come: the browser shows both cookies.
    assert!(is_logged_in(&browser) && goes_on(&app, &mut tokens));
    close(&browser);
    assert!(is_logged_in(&browser), "the series goes on");
    assert!(goes_on(&app, &mut tokens));
}

#[test]
fn who_loses_answers_without_end_types_the_password_and_loses_nothing_else() {
    let app = TestApp::start();
    app.code_client();
    let (browser, _, mut tokens) = again(&app);
    let before = browser.cookie(REMEMBERED).unwrap();
    app.advance(DAY);
    let lost = |_: &usize| {
        app.advance(Duration::from_secs(61));
        let late = Browser::new(&app);
        late.set_cookie(REMEMBERED, &before);
        is_logged_in(&late)
    };
    assert_eq!((0..18).filter(lost).count(), 16);
    assert!(goes_on(&app, &mut tokens));
}

#[test]
fn of_two_who_have_the_same_secret_one_alone_goes_on() {
    let app = TestApp::start();
    app.code_client();
    // The thief comes first or last, and uses what it got in one of these ways before the owner comes, or not at all.
    let uses: [fn(&TestApp, &Browser) -> Option<Tokens>; 3] = [
        |_, _| None,
        |app, browser| Some(silent().redeem_at(app, browser)),
        |_, browser| {
            browser.get("/account");
            None
        },
    ];
    for (nth, use_it) in uses.into_iter().enumerate() {
        for thief_first in [true, false] {
            let (owner, _, mut tokens) = again(&app);
            let thief = copy(&app, &owner);
            app.advance(DAY);
            close(&owner);
            let (first, second) = if thief_first { (&thief, &owner) } else { (&owner, &thief) };
            assert!(is_logged_in(first));
            let bought = use_it(&app, first);
            app.advance(Duration::from_secs(61));
            if nth == 0 {
                // Nobody used what the first was given: that is worth nothing from here on.
                assert!(is_logged_in(second));
                let mut bought = silent().redeem_at(&app, second);
                assert!(!is_logged_in(first), "found out");
                assert!(!goes_on(&app, &mut bought) && !is_logged_in(second));
            } else {
                assert!(!is_logged_in(second), "found out: {nth} {thief_first}");
                close(first);
                assert!(!is_logged_in(first));
            }
            if let Some(mut tokens) = bought {
                assert!(!goes_on(&app, &mut tokens));
            }
            assert!(!goes_on(&app, &mut tokens), "{nth} {thief_first}");
        }
    }
}

/// A code that a thief got half a minute after the log-in was restored, by the session's cookie alone, so that nobody knows yet.
fn unnoticed(app: &TestApp, thief: &Browser) -> (CodeRequest, String) {
    assert!(is_logged_in(thief));
    thief.set_cookie(REMEMBERED, "");
    app.advance(Duration::from_secs(30));
    let request = silent();
    let kept = code(&thief.get(&request.path()));
    (request, kept)
}

#[test]
fn a_code_is_a_use_though_its_cookie_never_comes_back() {
    let app = TestApp::start();
    app.code_client();
    let (owner, _, _) = again(&app);
    let thief = copy(&app, &owner);
    app.advance(DAY);
    close(&owner);
    // The thief throws every cookie away, and keeps the code.
    let mut stolen = silent().redeem_at(&app, &thief);
    app.advance(Duration::from_secs(61));
    assert!(!is_logged_in(&owner));
    assert!(!goes_on(&app, &mut stolen));
    // A code that was made for the lost answer and comes when another was given buys nothing.
    let (owner, _, mut tokens) = again(&app);
    let thief = copy(&app, &owner);
    app.advance(DAY);
    close(&owner);
    let (request, kept) = unnoticed(&app, &thief);
    app.advance(Duration::from_secs(31));
    assert!(is_logged_in(&owner));
    assert_eq!(request.redeem(&app.relying_party(), &kept, &[]).error(), "invalid_grant");
    assert!(goes_on(&app, &mut tokens));
}

#[test]
fn a_use_and_a_repeat_at_once_do_not_both_go_through() {
    let app = TestApp::start();
    app.code_client();
    let mut outcomes = Vec::new();
    for nth in 0..12 {
        let (owner, ..) = again(&app);
        let thief = copy(&app, &owner);
        app.advance(DAY);
        close(&owner);
        let (request, kept) = unnoticed(&app, &thief);
        app.advance(Duration::from_secs(31));
        let (bought, is_in) = std::thread::scope(|scope| {
            let bought = scope.spawn(|| request.redeem(&app.relying_party(), &kept, &[]));
            let is_in = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(nth));
                is_logged_in(&owner)
            });
            (bought.join().unwrap(), is_in.join().unwrap())
        });
        // Either the use was first, and the repeat found it out, or the repeat, and the code is worth nothing.
        let goes_on = bought.status == 200 && goes_on(&app, &mut bought.tokens());
        assert!(!goes_on, "the thief has nothing: {} {is_in}", bought.status);
        assert_eq!(is_in, bought.status != 200, "{}", bought.body);
        outcomes.push(is_in);
    }
    eprintln!("the repeat was first in {} of 12", outcomes.iter().filter(|first| **first).count());
}

#[test]
fn whoever_comes_all_day_fills_nothing_and_is_asked_for_the_password() {
    // A count that the clock of the test forgets.
    let app = TestApp::with(&[("cache.url", "memory:")]);
    app.code_client();
    let (browser, _, _) = again(&app);
    let mut admitted = 0;
    for _ in 0..6 {
        app.advance(Duration::from_secs(60));
        for _ in 0..60 {
            close(&browser);
            admitted += usize::from(is_logged_in(&browser));
        }
    }
    assert_eq!(admitted, 300);
    let rows = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM browser_sessions");
    assert_eq!(rows, ["301"], "with the one that logged in");
    app.advance(Duration::from_secs(60));
    assert!(browser.follow(&browser.get(&CodeRequest::new().path())).body.contains("type=\"password\""));
    app.advance(DAY);
    assert!(is_logged_in(&browser), "nothing is lost by that");
}

#[test]
fn a_log_out_that_cannot_be_written_down_says_so() {
    for (nth, fate) in [Fate::FailBefore, Fate::GoOn, Fate::FailAfter].into_iter().enumerate() {
        let app = TestApp::start();
        app.code_client();
        let (browser, _, mut tokens) = again(&app);
        app.advance(Duration::from_secs(1));
        let form = Form::of(&browser.get("/logout"));
        let away = Arc::new(AtomicBool::new(true));
        let (is_away, clock) = (away.clone(), app.app.clock.clone());
        app.app.db.hang_hook(Box::new(move |call| {
            if call == Call::Read || !is_away.load(Ordering::SeqCst) {
                return Fate::GoOn;
            }
            if fate == Fate::GoOn {
                // So slow that the request is over.
                clock.advance(Duration::from_secs(11));
            }
            fate
        }));
        let answer = form.send(&browser, &[]);
        assert_eq!(answer.status, 503, "{nth}");
        assert_eq!(answer.header("clear-site-data"), None, "{nth}");
        assert!(answer.header("set-cookie").is_none(), "{nth}: the cookie stays, to try again: {answer:?}");
        assert!(!answer.body.contains("You are logged out"), "{nth}");
        away.store(false, Ordering::SeqCst);
        // What was reported as not done may have been done; what was never done is not.
        assert_eq!(goes_on(&app, &mut tokens), fate != Fate::FailAfter, "{nth}");
        let again = form.send(&browser, &[]);
        assert!(again.status == 200 && again.header("clear-site-data").is_some(), "{nth}: {again:?}");
        assert!(!is_logged_in(&browser) && !goes_on(&app, &mut tokens), "{nth}");
    }
}

//! Browsers that remember a log-in after they were closed (ASVS 7.2, 7.3).

use std::time::Duration;

use countersign::admin;
use countersign::id::RememberedId;
use countersign::secret::{Digest, PlainSecret, decode_base64url, encode_base64url};
use countersign::store::remembered_log_ins::{self, Turn};

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CodeRequest, Form, code, response};
use crate::relying_party::{Answer, Tokens};

pub(super) const SESSION: &str = "countersign-session";
pub(super) const REMEMBERED: &str = "countersign-remembered";
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[track_caller]
pub(super) fn is_logged_in(browser: &Browser) -> bool {
    response(&browser.get(&silent().path())).contains_key("code")
}

pub(super) fn silent() -> CodeRequest {
    CodeRequest::new().with("prompt", "none")
}

/// A person who wanted to be remembered and allowed `app` what it wants.
fn remembered(app: &TestApp) -> (Browser, String, Tokens) {
    app.code_client();
    again(app)
}

/// Closes a browser: what was to be forgotten then is.
pub(super) fn close(browser: &Browser) {
    browser.set_cookie(SESSION, "");
}

/// A copy of what a browser remembers, elsewhere.
pub(super) fn copy(app: &TestApp, browser: &Browser) -> Browser {
    let thief = Browser::new(app);
    thief.set_cookie(REMEMBERED, &browser.cookie(REMEMBERED).unwrap());
    thief
}

fn set_cookies(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_browser_that_was_closed_is_logged_in_again_for_as_long_as_it_is_remembered() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    let mut seen = vec![browser.cookie(REMEMBERED).unwrap()];
    for _ in 0..29 {
        app.advance(DAY);
        assert!(is_logged_in(&browser), "what rested, too");
        close(&browser);
        assert!(is_logged_in(&browser));
        seen.push(browser.cookie(REMEMBERED).unwrap());
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "each use has another");
    app.advance(DAY);
    assert_eq!(response(&browser.get(&silent().path()))["error"], "login_required", "thirty days after the log-in");
    assert_eq!(browser.cookie(REMEMBERED).unwrap(), "", "and it is forgotten");
}

#[test]
fn its_cookie_is_its_own_and_outlives_the_browsers_being_closed() {
    let app = TestApp::with(&[("issuer", "https://id.example")]);
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let page = browser.follow(&browser.get(&CodeRequest::new().path()));
    assert!(page.body.contains("Stay logged in here, for at most 30 days"), "{}", page.body);
    let plain = Form::of(&page).send(&browser, &[("username", &email), ("password", PASSWORD)]);
    assert_eq!(set_cookies(&plain).len(), 1, "nobody is remembered unasked");
    let form = Form::of(&browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path())));
    let done = form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
    let name = "__Host-countersign-remembered";
    let value = browser.cookie(name).unwrap();
    let expected = format!("{name}={value}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000");
    assert_eq!(set_cookies(&done)[1], expected);
    let bytes = decode_base64url(&value).unwrap();
    let (dump, secret) = (app.database.dump(), &bytes[16..]);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for needle in [value.as_bytes(), secret, hex.as_bytes()] {
        assert!(!dump.windows(needle.len()).any(|window| window == needle), "a stolen database logs nobody in");
    }
}

#[test]
fn where_it_is_switched_off_nobody_is_remembered() {
    let app = TestApp::with(&[("sessions.remember_ttl", "0s")]);
    let (browser, _, _) = remembered(&app);
    assert_eq!(browser.cookie(REMEMBERED), None);
    let page = browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path()));
    assert!(!page.body.contains("remember"), "{}", page.body);
}

#[test]
fn what_is_restored_is_as_old_as_the_log_in() {
    let app = TestApp::start();
    let (browser, _, first) = remembered(&app);
    app.advance(DAY * 2);
    close(&browser);
    let restored = silent().redeem_at(&app, &browser);
    assert_eq!(restored.claims()["auth_time"], first.claims()["auth_time"]);
    let error = |name, value| response(&browser.get(&silent().with(name, value).path())).remove("error");
    assert_eq!(error("max_age", "3600").as_deref(), Some("login_required"));
    assert_eq!(error("max_age", "200000"), None);
    let page = browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path()));
    assert!(page.body.contains("type=\"password\""));
    // Nor does it end anything unasked.
    let account = browser.get("/account");
    let led = Form::of(&account).send(&browser, &[("everything", "yes")]);
    assert!(led.header("location").unwrap().starts_with("/login?request="));
    assert!(is_logged_in(&browser));
}

#[test]
fn a_spent_secret_that_comes_back_ends_the_series_and_all_that_came_from_it() {
    let app = TestApp::start();
    for thief_first in [true, false] {
        let (browser, _, tokens) = if thief_first { remembered(&app) } else { again(&app) };
        let thief = copy(&app, &browser);
        app.advance(DAY);
        close(&browser);
        let (first, second) = if thief_first { (&thief, &browser) } else { (&browser, &thief) };
        assert!(is_logged_in(first));
        assert!(is_logged_in(first), "the answer came");
        app.advance(Duration::from_secs(61));
        assert!(!is_logged_in(second));
        assert_eq!(second.cookie(REMEMBERED).unwrap(), "");
        assert!(!is_logged_in(first), "the session that it made is over");
        close(first);
        assert!(!is_logged_in(first), "and nothing is remembered any more");
        assert_eq!(app.relying_party().refresh("app", tokens.refresh_token()).error(), "invalid_grant");
    }
}

/// The same as [`remembered`] for one more person.
pub(super) fn again(app: &TestApp) -> (Browser, String, Tokens) {
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(app), CodeRequest::new());
    let form = Form::of(&browser.follow(&browser.get(&request.path())));
    let asked = form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
    let tokens = request.redeem(&app.relying_party(), &code(&browser.allow(&asked)), &[]).tokens();
    (browser, email, tokens)
}

#[test]
fn an_answer_that_was_lost_and_tabs_that_race_end_nothing() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    let before = browser.cookie(REMEMBERED).unwrap();
    app.advance(DAY);
    let tabs: Vec<_> = (0..6).map(|_| copy(&app, &browser)).collect();
    std::thread::scope(|scope| {
        for tab in &tabs {
            scope.spawn(|| assert!(is_logged_in(tab)));
        }
    });
    let next: Vec<_> = tabs.iter().map(|tab| tab.cookie(REMEMBERED).unwrap()).collect();
    assert!(next.iter().all(|one| *one == next[0] && *one != before), "they all have the same one: {next:?}");
    // An answer that was lost: the browser has what it had.
    app.advance(Duration::from_secs(59));
    let late = Browser::new(&app);
    late.set_cookie(REMEMBERED, &before);
    assert!(is_logged_in(&late));
    assert_eq!(late.cookie(REMEMBERED).unwrap(), next[0]);
    app.advance(DAY);
    for tab in &tabs {
        close(tab);
    }
    assert!(is_logged_in(&tabs[0]), "the series goes on");
}

#[test]
fn a_secret_is_moved_on_by_one_alone() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    let bytes = decode_base64url(&browser.cookie(REMEMBERED).unwrap()).unwrap();
    let (id, good) = (RememberedId::from_slice(&bytes[..16]).unwrap(), Digest::sha256(&bytes[16..]));
    let now = app.app.clock.now();
    let moved = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u8)
            .map(|nth| {
                let (db, next) = (&app.app.db, Digest::sha256(&[nth]));
                scope.spawn(move || {
                    db.write(move |tx| remembered_log_ins::move_on(tx, id, &Turn { from: good, to: next }, now))
                        .unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|moved| *moved).count()
    });
    assert_eq!(moved, 1);
}

/// From a network that no other test is in, since they share what counts.
const NARROW: [(&str, &str); 2] = [("limits.authorize_requests", "1"), ("http.trusted_proxies", "127.0.0.1/32")];
const HERE: [(&str, &str); 2] = [("Sec-Fetch-Site", "none"), ("X-Forwarded-For", "203.0.113.77")];

#[test]
fn whoever_comes_without_end_fills_nothing() {
    // A count that the clock of the test forgets.
    let app = TestApp::with(&[("cache.url", "memory:")]);
    let (browser, _, _) = remembered(&app);
    let (other, _, _) = again(&app);
    app.advance(DAY);
    let before = browser.cookie(REMEMBERED).unwrap();
    let come = || copy(&app, &browser).get(&silent().path()).status;
    assert_eq!((0..64).filter(|_| come() == 303).count(), 60);
    let rows = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM browser_sessions");
    assert_eq!(rows, ["62"], "with the two that logged in");
    close(&other);
    assert!(is_logged_in(&other), "it is nobody else's count");
    app.advance(Duration::from_secs(60));
    browser.set_cookie(REMEMBERED, &before);
    close(&browser);
    assert!(is_logged_in(&browser), "nothing is lost by that");
}

#[test]
fn what_others_begin_keeps_no_browser_out_that_is_remembered() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    app.advance(DAY);
    close(&browser);
    let mut settings = vec![("issuer", app.app.issuer.as_str())];
    settings.extend(NARROW);
    let narrow = TestApp::on(app.database.clone(), app.app.clock.clone(), &settings);
    let asked = CodeRequest::new();
    let begin = || Browser::new(&narrow).get_with(&asked.path(), &HERE).header("location").unwrap().to_owned();
    assert!(begin().starts_with("/login?"));
    assert!(begin().contains("temporarily_unavailable"), "nothing more begins there");
    let again = Browser::new(&narrow);
    again.set_cookie(REMEMBERED, &browser.cookie(REMEMBERED).unwrap());
    assert!(response(&again.get_with(&silent().path(), &HERE)).contains_key("code"));
}

#[test]
fn whoever_sees_what_a_page_and_the_log_say_of_it_ends_nothing() {
    let app = TestApp::start();
    let (browser, email, _) = remembered(&app);
    let bytes = decode_base64url(&browser.cookie(REMEMBERED).unwrap()).unwrap();
    let id = RememberedId::from_slice(&bytes[..16]).unwrap();
    app.advance(DAY * 3);
    let other = Browser::new(&app);
    other.log_in(&other.get("/account"), &email);
    let page = other.get("/account");
    let name = page.body.split("name=\"remembered\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let shown = decode_base64url(&name).unwrap();
    assert!(!shown.windows(16).any(|window| window == id.as_bytes()) && !page.body.contains(&id.to_string()));
    // All that can be made of it, and the identifier itself, which only the cookie says.
    for (first, ends) in [(&shown[..16], false), (&shown[16..], false), (&bytes[..16], true)] {
        let forged = encode_base64url(&[first, &[7; 32]].concat());
        let forger = Browser::new(&app);
        forger.set_cookie(REMEMBERED, &forged);
        assert!(!is_logged_in(&forger));
        assert_eq!(!other.get("/account").body.contains(&name), ends);
    }
    let (browser, email, _) = again(&app);
    let bytes = decode_base64url(&browser.cookie(REMEMBERED).unwrap()).unwrap();
    let id = RememberedId::from_slice(&bytes[..16]).unwrap();
    app.advance(DAY * 3);
    other.log_in(&other.get(&CodeRequest::new().with("prompt", "login").path()), &email);
    let page = other.get("/account");
    let name = page.body.split("name=\"remembered\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(Form::of(&page).send(&other, &[("remembered", &name)]).status, 303);
    let log = std::fs::read_to_string(crate::app::log_file()).unwrap();
    assert!(log.contains(&name), "the log says which");
    assert!(!log.contains(&id.to_string()), "and not by the identifier");
    close(&browser);
    assert!(!is_logged_in(&browser));
}

#[test]
fn an_account_has_twenty_and_those_go_that_were_used_longest_ago() {
    let app = TestApp::start();
    let (first, email, _) = remembered(&app);
    let log_in = || {
        let browser = Browser::new(&app);
        let form = Form::of(&browser.follow(&browser.get("/account")));
        form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]);
        app.advance(Duration::from_secs(1));
        browser
    };
    let second = log_in();
    let mut others: Vec<_> = (0..18).map(|_| log_in()).collect();
    // Somebody uses the first, and logs out of another: neither of them is the one that goes.
    close(&first);
    assert!(is_logged_in(&first));
    let out = others.remove(0);
    Form::of(&out.get("/logout")).send(&out, &[]);
    app.advance(Duration::from_secs(1));
    let rows = || app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM remembered_log_ins");
    assert_eq!(rows(), ["20"]);
    log_in();
    assert_eq!(rows(), ["20"]);
    close(&second);
    assert!(is_logged_in(&second), "there was room");
    app.advance(Duration::from_secs(1));
    log_in();
    assert_eq!(rows(), ["20"]);
    let oldest = others.remove(0);
    assert!(is_logged_in(&oldest), "what is open stays open");
    close(&oldest);
    assert!(!is_logged_in(&oldest));
    for browser in [&first, &second, &others[0]] {
        close(browser);
        assert!(is_logged_in(browser));
    }
    // Those who come at once have no more between them.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(log_in);
        }
    });
    assert_eq!(rows(), ["20"]);
}

#[test]
fn nobody_is_remembered_in_a_browser_where_somebody_else_has_logged_in() {
    let app = TestApp::start();
    app.code_client();
    for ticks in [false, true] {
        let (browser, _, tokens) = again(&app);
        app.advance(DAY);
        let (_, other) = app.account();
        // What the browser had of the one before is gone when the other sends the form.
        let form = Form::of(&browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path())));
        close(&browser);
        let kept = browser.cookie(REMEMBERED).unwrap();
        let mut typed = vec![("username", other.as_str()), ("password", PASSWORD)];
        typed.extend(ticks.then_some(("remember", "yes")));
        let done = form.send(&browser, &typed);
        let now = browser.cookie(REMEMBERED).unwrap();
        assert!(set_cookies(&done).iter().any(|set| set.starts_with(REMEMBERED)), "{done:?}");
        assert_eq!((now.is_empty(), now == kept), (!ticks, false));
        let whoever = Browser::new(&app);
        whoever.set_cookie(REMEMBERED, &kept);
        assert!(!is_logged_in(&whoever), "it is over");
        assert_eq!(app.relying_party().refresh("app", tokens.refresh_token()).error(), "invalid_grant");
        browser.allow(&done);
        close(&browser);
        assert_eq!(
            response(&browser.get(&silent().path())).contains_key("code"),
            ticks,
            "whoever came last, or nobody"
        );
        if ticks {
            assert!(browser.get("/account").body.contains(&other));
        }
    }
}

#[test]
fn the_same_person_stays_remembered_and_once_alone() {
    let app = TestApp::start();
    let (browser, email, tokens) = remembered(&app);
    let first = browser.cookie(REMEMBERED).unwrap();
    let log_in = |typed: &[(&str, &str)]| {
        let form = Form::of(&browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path())));
        close(&browser);
        let pairs = [&[("username", email.as_str()), ("password", PASSWORD)], typed].concat();
        set_cookies(&form.send(&browser, &pairs)).iter().any(|set| set.starts_with(REMEMBERED))
    };
    assert!(!log_in(&[]), "unasked, it stays as it is");
    close(&browser);
    assert!(is_logged_in(&browser));
    let second = browser.cookie(REMEMBERED).unwrap();
    assert!(second != first && log_in(&[("remember", "yes")]));
    let whoever = Browser::new(&app);
    whoever.set_cookie(REMEMBERED, &second);
    assert!(!is_logged_in(&whoever), "another has taken its place");
    app.relying_party().refresh("app", tokens.refresh_token()).tokens();
    // A log-out ends it, whichever log-in it came from.
    assert!(!log_in(&[]));
    let third = browser.cookie(REMEMBERED).unwrap();
    Form::of(&browser.get("/logout")).send(&browser, &[]);
    whoever.set_cookie(REMEMBERED, &third);
    assert!(!is_logged_in(&whoever));
}

#[test]
fn a_refusal_keeps_the_secret_from_nobody() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    app.advance(DAY);
    close(&browser);
    let before = browser.cookie(REMEMBERED).unwrap();
    assert_eq!(browser.get(&CodeRequest::of("nobody", "https://x.example").path()).status, 400);
    assert_ne!(browser.cookie(REMEMBERED).unwrap(), before);
    app.advance(DAY);
    close(&browser);
    assert!(is_logged_in(&browser));
}

#[test]
fn it_ends_with_a_log_out_a_new_password_and_the_account() {
    let app = TestApp::start();
    app.code_client();
    let ends: [fn(&TestApp, &Browser, &str); 5] = [
        |_, browser, _| {
            let out = Form::of(&browser.get("/logout")).send(browser, &[]);
            assert!(set_cookies(&out).iter().any(|set| set.starts_with("countersign-remembered=;")), "{out:?}");
        },
        // After it was closed, too.
        |app, browser, _| {
            app.advance(DAY);
            close(browser);
            Form::of(&browser.get("/logout")).send(browser, &[]);
        },
        |app, _, email| {
            let account = admin::accounts::find(&app.app, email).unwrap();
            admin::accounts::set_password(&app.app, &account, &PlainSecret::new("hunter-canary-anew"), "test").unwrap();
        },
        |app, _, email| {
            let account = admin::accounts::find(&app.app, email).unwrap();
            admin::accounts::disable(&app.app, account.id, "test").unwrap();
            admin::accounts::enable(&app.app, account.id, "test").unwrap();
        },
        // Somebody else, who logs in there.
        |app, browser, _| {
            browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &app.account().1);
        },
    ];
    for (nth, end) in ends.into_iter().enumerate() {
        let (browser, email, _) = again(&app);
        let kept = browser.cookie(REMEMBERED).unwrap();
        end(&app, &browser, &email);
        let whoever = Browser::new(&app);
        whoever.set_cookie(REMEMBERED, &kept);
        assert!(!is_logged_in(&whoever), "{nth}");
    }
}

#[test]
fn a_person_sees_what_is_remembered_and_ends_it() {
    let app = TestApp::start();
    let (browser, email, _) = remembered(&app);
    app.advance(DAY * 3);
    let other = Browser::new(&app);
    other.log_in(&other.get("/account"), &email);
    let page = other.get("/account");
    let id = page.body.split("name=\"remembered\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (_, eve) = app.account();
    let stranger = Browser::new(&app);
    stranger.log_in(&stranger.get("/account"), &eve);
    Form::of(&stranger.get("/account")).send(&stranger, &[("remembered", &id)]);
    assert!(other.get("/account").body.contains(&id), "nobody else ends it");
    assert_eq!(Form::of(&page).send(&other, &[("remembered", &id)]).status, 303);
    assert!(!other.get("/account").body.contains(&id));
    close(&browser);
    assert!(!is_logged_in(&browser));
}

#[test]
fn what_we_never_remembered_is_nobody() {
    let app = TestApp::start();
    let (browser, _, _) = remembered(&app);
    let good = browser.cookie(REMEMBERED).unwrap();
    close(&browser);
    for cookie in ["x", &good[1..], &format!("{good}A"), &"A".repeat(64), &"A".repeat(4000)] {
        browser.set_cookie(REMEMBERED, cookie);
        assert!(!is_logged_in(&browser), "{cookie}");
    }
    browser.set_cookie(REMEMBERED, &good);
    assert!(is_logged_in(&browser));
}

impl CodeRequest {
    /// What a code that is had without a word is good for.
    pub(super) fn redeem_at(&self, app: &TestApp, browser: &Browser) -> Tokens {
        self.redeem(&app.relying_party(), &code(&browser.get(&self.path())), &[]).tokens()
    }
}

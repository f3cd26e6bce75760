//! Log-in and consent on the way to a code: each step belongs to one request and one browser (RFC 9700 §4.7; ASVS 3.5.1).

use std::time::Duration;

use crate::app::{PASSWORD, TestApp, WRONG_PASSWORD};
use crate::browser::{Browser, CodeRequest, Form, code, response};
use crate::relying_party::Answer;

/// The page of a refusal: an explanation, and nothing that leads anywhere.
#[track_caller]
fn is_page(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.header("location")), (status, None), "{}", answer.body);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{}", answer.body);
}

#[test]
fn a_step_belongs_to_the_browser_that_began_it() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let (victim, thief) = (Browser::new(&app), Browser::new(&app));
    let begun = victim.get(&CodeRequest::new().path());
    let page = begun.header("location").unwrap().to_owned();
    is_page(&thief.get(&page), 400);
    // What the thief began is nothing in the victim's browser either, logged in or not.
    let planted = thief.get(&CodeRequest::new().path());
    let planted_page = planted.header("location").unwrap().to_owned();
    is_page(&victim.get(&planted_page), 400);
    let form = Form::of(&thief.follow(&planted));
    is_page(&form.send(&victim, &[("username", &email), ("password", PASSWORD)]), 400);
    assert_eq!(victim.cookie("countersign-session"), None, "nobody was logged in");
    let asked = victim.log_in(&begun, &email);
    let consent = asked.header("location").unwrap().to_owned();
    is_page(&thief.get(&consent), 400);
    let allow = Form::of(&victim.follow(&asked));
    is_page(&allow.send(&thief, &[("decision", "allow")]), 400);
    assert!(response(&allow.send(&victim, &[("decision", "allow")])).contains_key("code"));
}

#[test]
fn steps_are_neither_left_out_nor_taken_twice() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let begun = browser.get(&CodeRequest::new().path());
    let login = Form::of(&browser.follow(&begun));
    let id = login.field("request").to_owned();
    // Consent before log-in leads to the log-in.
    assert_eq!(
        browser.get(&format!("/consent?request={id}")).header("location"),
        Some(&*format!("/login?request={id}"))
    );
    let forced =
        browser.post("/consent", &[("request", &id), ("form_token", login.field("form_token")), ("decision", "allow")]);
    assert_eq!(forced.header("location"), Some(&*format!("/login?request={id}")));
    let asked = login.send(&browser, &[("username", &email), ("password", PASSWORD)]);
    assert_eq!(
        browser.get(&format!("/login?request={id}")).header("location"),
        Some(&*format!("/consent?request={id}"))
    );
    // The log-in form's token allows nothing.
    let crossed =
        browser.post("/consent", &[("request", &id), ("form_token", login.field("form_token")), ("decision", "allow")]);
    is_page(&crossed, 403);
    let consent = Form::of(&browser.follow(&asked));
    for decision in ["", "yes", "ALLOW"] {
        is_page(&consent.send(&browser, &[("decision", decision)]), 400);
    }
    assert!(response(&consent.send(&browser, &[("decision", "allow")])).contains_key("code"));
    for again in [
        consent.send(&browser, &[("decision", "allow")]),
        consent.send(&browser, &[("decision", "deny")]),
        login.send(&browser, &[("username", &email), ("password", PASSWORD)]),
        browser.get(&format!("/login?request={id}")),
        browser.get(&format!("/consent?request={id}")),
        browser.get("/login"),
        browser.get("/login?request=x"),
        browser.get("/login?request=x&request=y"),
        browser.get("/consent?request=%ff"),
    ] {
        is_page(&again, 400);
    }
}

#[test]
fn a_form_of_another_site_does_nothing() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let begun = browser.get(&CodeRequest::new().path());
    let form = Form::of(&browser.follow(&begun));
    let pairs = [
        ("request", form.field("request")),
        ("form_token", form.field("form_token")),
        ("username", &email),
        ("password", PASSWORD),
    ];
    let base = app.base.clone();
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "none")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", &base)],
        &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[],
    ] {
        is_page(&browser.post_with("/login", headers, &pairs), 403);
        is_page(
            &browser.post_with("/consent", headers, &[("request", form.field("request")), ("decision", "allow")]),
            403,
        );
    }
    for token in [
        "",
        "x",
        &"A".repeat(43),
        Form::of(&browser.follow(&browser.get(&CodeRequest::new().path()))).field("form_token"),
    ] {
        let pairs =
            [("request", form.field("request")), ("form_token", token), ("username", &email), ("password", PASSWORD)];
        is_page(&browser.post("/login", &pairs), 403);
    }
    assert_eq!(browser.cookie("countersign-session"), None);
    // Browsers that say no more than their origin get in.
    let asked = browser.post_with("/login", &[("Origin", &base)], &pairs);
    assert!(asked.header("location").unwrap().starts_with("/consent?"), "{}", asked.body);
}

/// ASVS 10.7.2.
#[test]
fn the_page_that_asks_says_who_wants_what_and_where_it_goes_and_for_how_long() {
    let app = TestApp::with(&[("tokens.refresh_absolute_ttl", "30d")]);
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let request = CodeRequest::new().with("scope", "openid email read");
    let page = browser.follow(&browser.log_in(&browser.get(&request.path()), &email));
    for said in ["Example App", email.as_str(), "read", "app.example", "30 days"] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
}

#[test]
fn what_was_shown_to_one_person_is_not_anothers_to_allow() {
    let app = TestApp::start();
    app.code_client();
    let ((_, ada), (_, eve)) = (app.account(), app.account());
    let browser = Browser::new(&app);
    let asked = browser.log_in(&browser.get(&CodeRequest::new().path()), &ada);
    let for_ada = Form::of(&browser.follow(&asked));
    // In another tab of the same browser somebody else logs in.
    browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &eve);
    is_page(&for_ada.send(&browser, &[("decision", "allow")]), 403);
    let shown = browser.get(&format!("/consent?request={}", for_ada.field("request")));
    assert!(shown.body.contains(&eve) && !shown.body.contains(&ada));
}

#[test]
fn a_person_may_say_no() {
    let app = TestApp::start();
    let (browser, form) = app.at_consent();
    let answer = response(&form.send(&browser, &[("decision", "deny")]));
    assert_eq!(
        (answer["error"].as_str(), answer["state"].as_str(), answer["iss"].as_str()),
        ("access_denied", "af0ifjsldkj", app.base.as_str())
    );
    is_page(&form.send(&browser, &[("decision", "allow")]), 400);
    let again = browser.get(&CodeRequest::new().path());
    assert!(again.header("location").unwrap().starts_with("/consent?"), "a no is not remembered");
}

#[test]
fn a_log_in_page_tells_nobody_who_has_an_account() {
    let app = TestApp::with(&[("limits.login_failures", "3")]);
    app.code_client();
    let ((_, known), (disabled, disabled_email)) = (app.account(), app.account());
    countersign::admin::accounts::disable(&app.app, disabled.id, "test").unwrap();
    let refused = |email: &str, password: &str| {
        let browser = Browser::new(&app);
        let begun = browser.get(&CodeRequest::new().path());
        let form = Form::of(&browser.follow(&begun));
        let answer = form.send(&browser, &[("username", email), ("password", password)]);
        assert_eq!(browser.cookie("countersign-session"), None);
        let again = Form::of(&answer);
        let body = answer
            .body
            .replace(email, "NAME")
            .replace(again.field("request"), "ID")
            .replace(again.field("form_token"), "TOKEN");
        (answer.status, body)
    };
    let nobody = format!("{}@people.test", "n".repeat(known.len() - 12));
    let wrong = refused(&known, WRONG_PASSWORD);
    assert!(wrong.0 == 400 && wrong.1.contains("The user name or the password is wrong."), "{}", wrong.1);
    assert_eq!(refused(&nobody, PASSWORD), wrong);
    assert_eq!(refused(&disabled_email, PASSWORD), wrong);
    for _ in 0..2 {
        refused(&known, WRONG_PASSWORD);
        refused(&nobody, WRONG_PASSWORD);
    }
    let waits = refused(&known, PASSWORD);
    assert!(waits.0 == 429 && waits.1.contains("Too many attempts."), "the same limits as anywhere: {}", waits.1);
    assert_eq!(refused(&nobody, PASSWORD), waits);
}

#[test]
fn a_request_waits_half_an_hour() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let begun = browser.get(&CodeRequest::new().path());
    app.advance(Duration::from_secs(30 * 60 - 1));
    let asked = browser.log_in(&begun, &email);
    app.advance(Duration::from_secs(1));
    is_page(&browser.follow(&asked), 400);
}

#[test]
fn whoever_changes_the_client_meanwhile_is_obeyed() {
    let app = TestApp::start();
    let (browser, form) = app.at_consent();
    countersign::admin::clients::disable(&app.app, "app", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    is_page(&form.send(&browser, &[("decision", "allow")]), 400);
}

#[test]
fn nothing_that_was_sent_becomes_part_of_a_page() {
    let app = TestApp::start();
    app.code_client();
    let attacks = ["\"><script>alert(1)</script>", "' onfocus=alert(1) x='", "</title><svg onload=alert(1)>"];
    for attack in attacks {
        let browser = Browser::new(&app);
        for name in ["login_hint", "ui_locales", "acr_values", "display", "nonce", "state", "claims_locales"] {
            let begun = browser.get(&CodeRequest::new().with(name, attack).path());
            let page = browser.follow(&begun);
            assert_eq!(page.status, 200);
            for raw in ["<script", "<svg", "' onfocus"] {
                assert!(!page.body.contains(raw), "{name}: {}", page.body);
            }
        }
        let begun = browser.get(&CodeRequest::new().path());
        let again = browser.log_in_with(&begun, attack, WRONG_PASSWORD);
        assert!(
            !again.body.contains("<script") && !again.body.contains("<svg") && !again.body.contains("' onfocus"),
            "{}",
            again.body
        );
    }
}

#[test]
fn a_page_lets_nothing_else_in() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let page = browser.follow(&browser.get(&CodeRequest::new().path()));
    assert_eq!(
        page.header("content-security-policy"),
        Some(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self' https://app.example; frame-src 'none'; frame-ancestors 'none'; base-uri 'none'"
        )
    );
    assert_eq!((page.header("x-frame-options"), page.header("cache-control")), (Some("DENY"), Some("no-store")));
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    for foreign in ["http://", "https://", "style=", "onclick", "<script"] {
        assert!(!page.body.contains(foreign), "{foreign}: {}", page.body);
    }
    assert!(page.body.len() <= 30_000);
    let style = browser.get("/assets/style.css");
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
    assert!(style.body.len() <= 30_000 && !style.body.contains("url("));
}

#[test]
fn a_page_speaks_the_language_that_is_read() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let page = browser.follow(&browser.get(&CodeRequest::new().with("ui_locales", "fr de-CH").path()));
    assert!(page.body.contains("<html lang=\"de\">") && page.body.contains("Anmelden"));
    let page = browser.follow(&browser.get(&CodeRequest::new().path()));
    assert!(page.body.contains("<html lang=\"en\">"));
}

#[test]
fn the_waiting_request_keeps_no_secret_that_somebody_put_into_it() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let asked = CodeRequest::new().and("password", PASSWORD).and("client_secret", "css_canary_of_a_query");
    assert_eq!(browser.get(&asked.path()).status, 303);
    let kept = app.database.lines("SELECT parameters AS line FROM authorize_requests").join("\n");
    assert!(kept.contains("code_challenge=") && !kept.contains("canary"), "{kept}");
}

#[test]
fn a_waiting_request_goes_on_at_another_instance() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let begun = browser.get(&CodeRequest::new().path());
    let other = app.second_instance();
    let elsewhere = Browser::new(&other);
    elsewhere.set_cookie("countersign-browser", &browser.cookie("countersign-browser").unwrap());
    let asked = elsewhere.log_in(&begun, &email);
    browser.set_cookie("countersign-session", &elsewhere.cookie("countersign-session").unwrap());
    assert!(!code(&browser.allow(&asked)).is_empty());
}

//! Who is logged in at a browser: cookies, lives, and what a later log-in does to an earlier one (ASVS 3.3, 7.2, 7.3).

use std::time::Duration;

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CodeRequest, Form, code, response};

const SESSION: &str = "countersign-session";

#[track_caller]
fn is_logged_in(browser: &Browser) -> bool {
    response(&browser.get(&CodeRequest::new().with("prompt", "none").path())).contains_key("code")
}

#[test]
fn cookies_are_for_this_host_alone_and_say_nothing() {
    let app = TestApp::with(&[("issuer", "https://id.example")]);
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let begun = browser.get(&CodeRequest::new().path());
    let form = Form::of(&browser.follow(&begun));
    let logged_in = form.send(&browser, &[("username", &email), ("password", PASSWORD)]);
    for (answer, name) in [(&begun, "__Host-countersign-browser"), (&logged_in, "__Host-countersign-session")] {
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(set.len(), 1);
        let value = browser.cookie(name).unwrap();
        assert_eq!(set[0].to_str().unwrap(), format!("{name}={value}; HttpOnly; SameSite=Lax; Secure; Path=/"));
        assert_eq!(value.len(), 43);
    }
    let session = browser.cookie("__Host-countersign-session").unwrap();
    let dump = app.database.dump();
    let bytes = countersign::secret::decode_base64url(&session).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for needle in [session.as_bytes(), &bytes, hex.as_bytes()] {
        assert!(!dump.windows(needle.len()).any(|window| window == needle), "a stolen database logs nobody in");
    }
}

#[test]
fn a_log_in_never_takes_up_a_cookie_that_was_there() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let planted = countersign::secret::encode_base64url(&[7; 32]);
    browser.set_cookie(SESSION, &planted);
    assert_eq!(response(&browser.get(&CodeRequest::new().with("prompt", "none").path()))["error"], "login_required");
    let asked = browser.log_in(&browser.get(&CodeRequest::new().path()), &email);
    let first = browser.cookie(SESSION).unwrap();
    assert_ne!(first, planted);
    browser.allow(&asked);
    let thief = Browser::new(&app);
    thief.set_cookie(SESSION, &planted);
    assert!(!is_logged_in(&thief));
    thief.set_cookie(SESSION, &first);
    assert!(is_logged_in(&thief), "whoever has the cookie is that person, so:");
    browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &email);
    assert!(is_logged_in(&browser) && !is_logged_in(&thief), "each log-in makes the one before worth nothing");
}

#[test]
fn a_session_ends_when_it_rests_for_an_hour_and_after_a_day() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    for _ in 0..24 {
        app.advance(Duration::from_secs(3599));
        assert!(is_logged_in(&browser));
    }
    app.advance(Duration::from_secs(24));
    assert!(!is_logged_in(&browser), "a day");
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    app.advance(Duration::from_secs(3600));
    assert!(!is_logged_in(&browser), "an hour");
}

#[test]
fn a_malformed_cookie_is_nobody() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let good = browser.cookie(SESSION).unwrap();
    for cookie in [
        "",
        "x",
        &good[1..],
        &format!("{good}A"),
        &format!("{good}="),
        &"A".repeat(4000),
        "%00",
        "\"\"",
        &good.to_uppercase(),
    ] {
        browser.set_cookie(SESSION, cookie);
        assert!(!is_logged_in(&browser), "{cookie}");
    }
    browser.set_cookie(SESSION, &good);
    assert!(is_logged_in(&browser));
}

#[test]
fn another_persons_log_in_ends_the_one_before_and_the_same_persons_goes_on_with_it() {
    let app = TestApp::start();
    let (browser, ada, request, first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &first, &[]).tokens();
    let anew = CodeRequest::new().with("prompt", "login");
    assert!(response(&browser.log_in(&browser.get(&anew.path()), &ada)).contains_key("code"));
    let tokens = party.refresh("app", tokens.refresh_token()).tokens();
    let (_, eve) = app.account();
    let asked = browser.log_in(&browser.get(&anew.path()), &eve);
    assert_eq!(
        party.refresh("app", tokens.refresh_token()).error(),
        "invalid_grant",
        "nobody could log out of it any more"
    );
    let request = anew.clone();
    let of_eve = request.redeem(&party, &code(&browser.allow(&asked)), &[]).tokens();
    assert_ne!(of_eve.claims()["sub"], tokens.claims()["sub"]);
    assert_ne!(of_eve.claims()["sid"], tokens.claims()["sid"]);
}

#[test]
fn what_was_issued_for_offline_access_outlives_the_log_in() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let party = app.relying_party();
    let offline = CodeRequest::new().with("scope", "openid offline_access");
    let kept = offline.redeem(&party, &code(&browser.allow(&browser.get(&offline.path()))), &[]).tokens();
    let online = CodeRequest::new().with("scope", "openid");
    let ended = online.redeem(&party, &code(&browser.get(&online.path())), &[]).tokens();
    let (_, eve) = app.account();
    browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &eve);
    assert_eq!(party.refresh("app", ended.refresh_token()).error(), "invalid_grant");
    party.refresh("app", kept.refresh_token()).tokens();
}

#[test]
fn a_log_in_that_rests_is_still_ended_by_another_persons() {
    let app = TestApp::start();
    let (browser, ada, request, first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &first, &[]).tokens();
    app.advance(Duration::from_secs(2 * 3600));
    // The same person goes on with it.
    browser.log_in(&browser.get(&CodeRequest::new().path()), &ada);
    let tokens = party.refresh("app", tokens.refresh_token()).tokens();
    app.advance(Duration::from_secs(2 * 3600));
    let (_, eve) = app.account();
    browser.log_in(&browser.get(&CodeRequest::new().path()), &eve);
    assert_eq!(party.refresh("app", tokens.refresh_token()).error(), "invalid_grant");
}

//! Logging out (OpenID Connect RP-Initiated Logout 1.0; ASVS 7.4.1).

use serde_json::json;

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code, response};
use crate::relying_party::{Answer, Tokens};

const AFTERWARDS: &str = "https://app.example/bye?x=1";

/// A person logged in at a client that may be gone back to: the browser, the ID token, the rest.
fn logged_in(app: &TestApp) -> (Browser, String, Tokens) {
    app.client(
        "app",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [CALLBACK], "post_logout_redirect_uris": [AFTERWARDS], "scope": "openid email", "first_party": true }),
    );
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(app), CodeRequest::new());
    let done = browser.log_in(&browser.get(&request.path()), &email);
    let answer = request.redeem(&app.relying_party(), &code(&done), &[]);
    (browser, answer.json()["id_token"].as_str().unwrap().to_owned(), answer.tokens())
}

fn path(pairs: &[(&str, &str)]) -> String {
    format!("/logout?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

#[track_caller]
fn is_logged_in(browser: &Browser) -> bool {
    response(&browser.get(&CodeRequest::new().with("prompt", "none").path())).contains_key("code")
}

#[track_caller]
fn is_out(app: &TestApp, browser: &Browser, answer: &Answer, tokens: &Tokens) {
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\", \"storage\""));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("countersign-session=;") && set.contains("Max-Age=0"), "{set}");
    assert!(!is_logged_in(browser));
    assert_eq!(app.relying_party().refresh("app", tokens.refresh_token()).error(), "invalid_grant");
}

#[test]
fn whoever_shows_the_id_token_of_the_log_in_ends_it_at_once() {
    let app = TestApp::start();
    let (browser, id_token, tokens) = logged_in(&app);
    let cookie = browser.cookie("countersign-session").unwrap();
    let asked = [("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", AFTERWARDS), ("state", "a b&c")];
    let answer = browser.get(&path(&asked));
    assert_eq!((answer.status, answer.header("location")), (303, Some("https://app.example/bye?x=1&state=a+b%26c")));
    is_out(&app, &browser, &answer, &tokens);
    // What the cookie said is worth nothing, whoever kept it.
    browser.set_cookie("countersign-session", &cookie);
    assert!(!is_logged_in(&browser));
    // Again is as good as once, also when the token is old.
    app.advance(std::time::Duration::from_secs(3600));
    let again = browser.get(&path(&asked));
    assert_eq!((again.status, again.header("location")), (303, Some("https://app.example/bye?x=1&state=a+b%26c")));
}

#[test]
fn without_it_the_person_is_asked() {
    let app = TestApp::start();
    let (browser, _, tokens) = logged_in(&app);
    let asked = browser.get(&path(&[("client_id", "app"), ("post_logout_redirect_uri", AFTERWARDS), ("state", "s")]));
    assert_eq!(asked.status, 200);
    assert!(asked.header("content-security-policy").unwrap().contains("form-action 'self' https://app.example;"));
    assert!(is_logged_in(&browser), "a page or a picture that leads here ends nothing");
    let form = Form::of(&asked);
    for headers in [&[("Sec-Fetch-Site", "cross-site")][..], &[]] {
        let pairs: Vec<(&str, &str)> = form.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(browser.post_with("/logout", headers, &pairs).status, 403);
    }
    assert_eq!(browser.post("/logout", &[("form_token", &"A".repeat(43))]).status, 403);
    assert!(is_logged_in(&browser));
    let answer = form.send(&browser, &[]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("https://app.example/bye?x=1&state=s")));
    is_out(&app, &browser, &answer, &tokens);
}

#[test]
fn a_person_may_come_without_any_client() {
    let app = TestApp::start();
    let (browser, _, tokens) = logged_in(&app);
    let answer = Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert!(answer.body.contains("You are logged out"));
    is_out(&app, &browser, &answer, &tokens);
    assert!(browser.get("/logout").body.contains("You are logged out"));
}

#[test]
fn a_state_alone_leads_nowhere() {
    let app = TestApp::start();
    let (browser, _, tokens) = logged_in(&app);
    let asked = browser.get(&path(&[("state", "s")]));
    assert!(asked.status == 200 && asked.body.contains("Log out?") && is_logged_in(&browser));
    let answer = Form::of(&asked).send(&browser, &[]);
    assert_eq!((answer.status, answer.header("location")), (200, None));
    is_out(&app, &browser, &answer, &tokens);
}

#[test]
fn the_id_token_of_another_log_in_ends_nothing_unasked() {
    let app = TestApp::start();
    let (browser, id_token, _) = logged_in(&app);
    let (_, email) = app.account();
    let other = Browser::new(&app);
    other.log_in(&other.get(&CodeRequest::new().path()), &email);
    let asked = other.get(&path(&[("id_token_hint", &id_token)]));
    assert!(asked.status == 200 && asked.body.contains("Log out?") && is_logged_in(&other));
    assert!(is_logged_in(&browser));
}

#[test]
fn what_is_not_in_order_ends_nothing_and_leads_nowhere() {
    let app = TestApp::start();
    let (browser, id_token, tokens) = logged_in(&app);
    app.client(
        "other",
        json!({ "token_endpoint_auth_method": "none", "post_logout_redirect_uris": ["https://other.example/"] }),
    );
    let hint = ("id_token_hint", id_token.as_str());
    let mangled = format!("{}A", &id_token[..id_token.len() - 1]);
    let mangled = if mangled == id_token { "x.y.z" } else { mangled.as_str() };
    for worthless in [tokens.access.as_str(), "x", mangled] {
        let answer = browser.get(&path(&[("id_token_hint", worthless)]));
        assert!(answer.status == 200 && answer.body.contains("Log out?"), "as good as none: {}", answer.body);
        let led = browser.get(&path(&[("id_token_hint", worthless), ("post_logout_redirect_uri", AFTERWARDS)]));
        assert_eq!((led.status, led.header("location")), (400, None));
        assert!(is_logged_in(&browser));
    }
    for asked in [
        &[hint, ("client_id", "other")][..],
        &[hint, ("post_logout_redirect_uri", "https://app.example/bye")],
        &[hint, ("post_logout_redirect_uri", "https://app.example/bye?x=1&y=2")],
        &[hint, ("post_logout_redirect_uri", CALLBACK)],
        &[hint, ("post_logout_redirect_uri", "https://other.example/")],
        &[hint, ("post_logout_redirect_uri", "javascript:alert(1)")],
        &[hint, ("post_logout_redirect_uri", "//evil.example")],
        &[("post_logout_redirect_uri", AFTERWARDS)],
        &[("client_id", "nobody"), ("post_logout_redirect_uri", AFTERWARDS)],
        &[hint, hint],
        &[hint, ("post_logout_redirect_uri", AFTERWARDS), ("state", "a\r\nSet-Cookie: x=y")],
    ] {
        let answer = browser.get(&path(asked));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{asked:?} {}", answer.body);
        assert!(is_logged_in(&browser), "{asked:?}");
    }
}

#[test]
fn nobody_is_led_anywhere_by_whoever_has_neither_hint_nor_log_in() {
    let app = TestApp::start();
    logged_in(&app);
    let stranger = Browser::new(&app);
    let answer = stranger.get(&path(&[("client_id", "app"), ("post_logout_redirect_uri", AFTERWARDS)]));
    assert_eq!((answer.status, answer.header("location")), (200, None));
}

#[test]
fn a_clients_own_form_comes_back_as_a_link_with_the_cookies() {
    let app = TestApp::start();
    let (browser, id_token, tokens) = logged_in(&app);
    let pairs = [("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", AFTERWARDS)];
    let without_cookies = Browser::new(&app).post_with("/logout", &[("Sec-Fetch-Site", "cross-site")], &pairs);
    let answer = browser.follow(&without_cookies);
    assert_eq!((answer.status, answer.header("location")), (303, Some(AFTERWARDS)));
    is_out(&app, &browser, &answer, &tokens);
}

#[test]
fn a_client_says_whom_it_means() {
    let app = TestApp::start();
    let (browser, id_token, tokens) = logged_in(&app);
    let (_, eve) = app.account();
    let meant = CodeRequest::new().with("id_token_hint", &id_token);
    assert!(response(&browser.get(&meant.clone().with("prompt", "none").path())).contains_key("code"));
    let other = Browser::new(&app);
    other.log_in(&other.get(&CodeRequest::new().path()), &eve);
    assert_eq!(response(&other.get(&meant.clone().with("prompt", "none").path()))["error"], "login_required");
    let asked = other.get(&meant.path());
    assert_eq!(response(&other.log_in(&asked, &eve))["error"], "login_required", "not the one who was meant");
    // What nobody can read may mean anybody.
    for hint in [tokens.access.as_str(), "x"] {
        let vague = CodeRequest::new().with("id_token_hint", hint);
        assert_eq!(response(&other.get(&vague.clone().with("prompt", "none").path()))["error"], "login_required");
        assert!(response(&other.log_in(&other.get(&vague.path()), &eve)).contains_key("code"));
    }
}

#[test]
fn a_log_in_that_rests_is_ended_as_well_and_tells_nobody_whose_it_was() {
    let app = TestApp::start();
    let (browser, _, tokens) = logged_in(&app);
    app.advance(std::time::Duration::from_secs(2 * 3600));
    let asked = browser.get("/logout");
    assert!(asked.body.contains("Log out?") && !asked.body.contains("people.test"), "{}", asked.body);
    let answer = Form::of(&asked).send(&browser, &[]);
    is_out(&app, &browser, &answer, &tokens);
}

#[test]
fn an_id_token_ends_its_log_in_when_the_browser_has_forgotten_it() {
    let app = TestApp::start();
    let (_, id_token, tokens) = logged_in(&app);
    let restarted = Browser::new(&app);
    let answer = restarted.get(&path(&[("id_token_hint", &id_token), ("post_logout_redirect_uri", AFTERWARDS)]));
    assert_eq!((answer.status, answer.header("location")), (303, Some(AFTERWARDS)));
    is_out(&app, &restarted, &answer, &tokens);
}

/// The frames of a page.
fn frames(page: &Answer) -> Vec<String> {
    let after = page.body.split("<iframe src=\"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&")).collect()
}

#[test]
fn clients_that_want_it_are_shown_in_frames_before_the_browser_goes_on() {
    let app = TestApp::start();
    let (browser, id_token, tokens) = logged_in(&app);
    let framed = |id: &str, redirect: &str, frame: &str| {
        app.client(
            id,
            json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [redirect, CALLBACK],
                "scope": "openid", "first_party": true, "frontchannel_logout_uri": frame }),
        );
    };
    framed("one", "https://one.example:8443/cb", "https://one.example:8443/out?x=1");
    framed("two", "http://127.0.0.1/cb", "http://127.0.0.1/out");
    framed("idle", "https://idle.example/cb", "https://idle.example/out");
    let sids: Vec<String> = ["one", "two"]
        .into_iter()
        .map(|id| {
            let request = CodeRequest::of(id, CALLBACK).with("scope", "openid");
            let tokens = request.redeem(&app.relying_party(), &code(&browser.get(&request.path())), &[]).tokens();
            tokens.claims()["sid"].as_str().unwrap().to_owned()
        })
        .collect();
    let asked = [("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", AFTERWARDS), ("state", "\"><b>&")];
    let answer = browser.get(&path(&asked));
    let onwards = "https://app.example/bye?x=1&state=%22%3E%3Cb%3E%26";
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert_eq!(answer.header("refresh"), Some(format!("2; url={onwards}").as_str()));
    assert!(
        answer.body.contains(&format!("<a href=\"{}\">Go on</a>", onwards.replace('&', "&#38;"))),
        "{}",
        answer.body
    );
    let iss: String = url::form_urlencoded::byte_serialize(app.base.as_bytes()).collect();
    let mut expected = [
        format!("https://one.example:8443/out?x=1&iss={iss}&sid={}", sids[0]),
        format!("http://127.0.0.1/out?iss={iss}&sid={}", sids[1]),
    ];
    let mut shown = frames(&answer);
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected, "only of those where somebody was logged in");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-src http://127.0.0.1 https://one.example:8443;"), "{policy}");
    assert!(!answer.body.contains("<script"));
    is_out(&app, &browser, &answer, &tokens);
    // There is nothing left to show.
    let again = browser.get(&path(&asked));
    assert_eq!((again.status, again.header("location")), (303, Some(onwards)));
}

#[test]
fn they_are_shown_too_when_the_log_in_ends_at_the_accounts_own_page() {
    let app = TestApp::start();
    let (browser, _, _) = logged_in(&app);
    app.client(
        "one",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
            "scope": "openid", "first_party": true, "frontchannel_logout_uri": "https://app.example/out" }),
    );
    let request = CodeRequest::of("one", CALLBACK).with("scope", "openid");
    request.redeem(&app.relying_party(), &code(&browser.get(&request.path())), &[]).tokens();
    let out = Form::of(&browser.get("/account")).send(&browser, &[("everything", "yes")]);
    let shown = frames(&out);
    assert!(shown.len() == 1 && shown[0].starts_with("https://app.example/out?iss="), "{shown:?}");
    assert!(out.header("content-security-policy").unwrap().contains("frame-src https://app.example;"));
    assert_eq!(out.header("refresh"), None);
}

#[test]
fn without_frames_a_page_may_have_none() {
    let app = TestApp::start();
    let (browser, _, _) = logged_in(&app);
    let answer = Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert!(answer.header("content-security-policy").unwrap().contains("frame-src 'none';"));
    assert_eq!((frames(&answer).len(), answer.header("refresh")), (0, None));
}

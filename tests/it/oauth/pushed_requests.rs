//! Pushed authorization requests (RFC 9126; SECURITY-BAR AZ-12).

use std::time::Duration;

use countersign::jobs::sweep::Sweep;
use countersign::secret::Random;
use serde_json::json;

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code, response};
use crate::client_key::{ClientKey, asserted};
use crate::relying_party::{Answer, basic};

fn push(app: &TestApp, request: &CodeRequest) -> Answer {
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    app.relying_party().form("/par", &[], &pairs)
}

fn path(request_uri: &str, client_id: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    format!("/authorize?{}", query.append_pair("client_id", client_id).append_pair("request_uri", request_uri).finish())
}

#[track_caller]
fn pushed(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.body);
    let json = answer.json();
    assert_eq!(json["expires_in"], 60);
    json["request_uri"].as_str().unwrap().to_owned()
}

#[test]
fn a_pushed_request_is_brought_by_a_browser_and_ends_in_tokens() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let request = CodeRequest::new();
    let answer = push(&app, &request);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let uri = pushed(&answer);
    assert!(uri.starts_with("urn:ietf:params:oauth:request_uri:") && uri.len() > 34 + 42, "{uri}");
    let browser = Browser::new(&app);
    // What else stands in the query counts for nothing.
    let brought = browser.get(&format!("{}&scope=read&redirect_uri=https%3A%2F%2Fevil.example", path(&uri, "app")));
    let answer = browser.allow(&browser.log_in(&brought, &email));
    let parameters = response(&answer);
    assert_eq!(parameters["state"], "af0ifjsldkj");
    let tokens = request.redeem(&app.relying_party(), &parameters["code"], &[]).tokens();
    assert_eq!(tokens.scope, "email openid");
    // Somebody who is logged in is not asked, and it is good once all the same.
    let uri = pushed(&push(&app, &CodeRequest::new()));
    assert!(response(&browser.get(&path(&uri, "app"))).contains_key("code"));
    let second = browser.get(&path(&uri, "app"));
    assert_eq!((second.status, second.header("location")), (400, None), "{}", second.body);
}

/// RFC 9126 §4, RFC 9101 §5: only what was pushed counts, also where it says nothing.
#[test]
fn what_was_left_out_of_a_pushed_request_is_not_filled_in_from_outside() {
    let app = TestApp::start();
    let (browser, ..) = app.at_browser();
    let uri = pushed(&push(&app, &CodeRequest::new().with("state", "").with("nonce", "")));
    let request = format!("{}&state=outside&nonce=outside&response_mode=form_post", path(&uri, "app"));
    let answer = response(&browser.get(&request));
    assert!(answer.contains_key("code") && !answer.contains_key("state"), "{answer:?}");
}

#[test]
fn the_browser_that_brought_it_may_reload_and_no_other() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let request = CodeRequest::new();
    let uri = pushed(&push(&app, &request));
    let (browser, other) = (Browser::new(&app), Browser::new(&app));
    let first = browser.get(&path(&uri, "app"));
    let again = browser.get(&path(&uri, "app"));
    assert_eq!(first.header("location"), again.header("location"), "the same step");
    assert_eq!(other.get(&path(&uri, "app")).status, 400);
    // It goes on after the minute in which it had to be brought.
    app.advance(Duration::from_mins(2));
    let code = code(&browser.allow(&browser.log_in(&again, &email)));
    assert_eq!(request.redeem(&app.relying_party(), &code, &[]).status, 200);
    assert_eq!(browser.get(&path(&uri, "app")).status, 400, "answered");
}

#[test]
fn only_one_browser_gets_anywhere_with_it() {
    let app = TestApp::start();
    app.code_client();
    let uri = pushed(&push(&app, &CodeRequest::new()));
    let bring = || Browser::new(&app).get(&path(&uri, "app"));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|_| scope.spawn(bring)).collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let goes_on = |answer: &&Answer| answer.header("location").is_some_and(|to| to.starts_with("/login"));
    assert_eq!(answers.iter().filter(goes_on).count(), 1);
    for other in answers.iter().filter(|answer| !goes_on(answer)) {
        // Nothing, or the client is told that it was brought twice.
        assert!(other.status == 400 || response(other)["error"] == "invalid_request_uri", "{other:?}");
    }
}

#[test]
fn a_request_uri_is_known_here_of_this_client_and_of_this_minute_or_a_page_says_so() {
    let app = TestApp::start();
    app.code_client();
    app.client(
        "web2",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
        "redirect_uris": [CALLBACK], "scope": "openid" }),
    );
    let (browser, uri) = (Browser::new(&app), pushed(&push(&app, &CodeRequest::new())));
    for (asked, client_id) in [
        ("https://evil.example/request.jwt", "app"),
        ("http://169.254.169.254/latest", "app"),
        ("file:///etc/passwd", "app"),
        ("urn:ietf:params:oauth:request_uri:", "app"),
        ("urn:ietf:params:oauth:request_uri:unknown", "app"),
        (&uri.to_uppercase(), "app"),
        (&uri, "web2"),
        (&uri, "unknown"),
    ] {
        let answer = browser.get(&path(asked, client_id));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{asked} {client_id}");
    }
    let with_object = browser.get(&format!("{}&request=x", path(&uri, "app")));
    assert_eq!(with_object.status, 400);
    let twice = browser.get(&format!("{}&request_uri=x", path(&uri, "app")));
    assert_eq!(twice.status, 400);
    app.advance(Duration::from_secs(60));
    assert_eq!(browser.get(&path(&uri, "app")).status, 400, "over");
    let fresh = pushed(&push(&app, &CodeRequest::new()));
    assert_eq!(browser.get(&path(&fresh, "app")).status, 303);
}

#[test]
fn what_the_authorization_endpoint_would_refuse_is_refused_at_once_and_in_json() {
    let app = TestApp::start();
    app.code_client();
    let request = CodeRequest::new();
    for (changed, error) in [
        (request.clone().with("redirect_uri", "https://evil.example/"), "invalid_request"),
        (request.clone().with("code_challenge", ""), "invalid_request"),
        (request.clone().with("code_challenge_method", "plain"), "invalid_request"),
        (request.clone().with("response_type", "token"), "unsupported_response_type"),
        (request.clone().with("response_type", "code id_token"), "unsupported_response_type"),
        (request.clone().with("scope", "admin"), "invalid_scope"),
        (request.clone().with("resource", "https://elsewhere.example"), "invalid_target"),
        (request.clone().with("claims", "x"), "invalid_request"),
        (request.clone().with("request_uri", "urn:ietf:params:oauth:request_uri:x"), "invalid_request"),
        (request.clone().with("request", "x"), "invalid_request_object"),
        (request.clone().with("client_id", "unknown"), "invalid_client"),
        (request.clone().and("scope", "openid"), "invalid_request"),
    ] {
        let answer = push(&app, &changed);
        assert_eq!(answer.error(), error, "{:?}", changed.parameters);
    }
    let party = app.relying_party();
    assert_eq!(party.get("/par", &[]).status, 405);
    assert_eq!(party.send("POST", "/par", &[("Content-Type", "application/json")], b"{}").status, 415);
}

#[test]
fn a_client_pushes_as_itself_alone() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    let metadata = |more: serde_json::Value| {
        let mut all = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let secret = app.client("shop", metadata(json!({}))).unwrap();
    app.client("bank", metadata(json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks() })));
    let party = app.relying_party();
    let request = CodeRequest::of("shop", CALLBACK).with("scope", "openid");
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(party.form("/par", &[], &pairs).error(), "invalid_client");
    let header = basic("shop", &secret);
    assert_eq!(party.form("/par", &[("Authorization", &header)], &pairs).status, 201);
    let without: Vec<_> = pairs.iter().copied().filter(|(name, _)| *name != "client_id").collect();
    assert_eq!(party.form("/par", &[("Authorization", &header)], &without).status, 201, "the header names it");
    let assertion = key.assertion(&app, "bank", &json!({}));
    assert_eq!(party.form("/par", &[], &asserted(&assertion, &without)).status, 201);
    let assertion = key.assertion(&app, "bank", &json!({}));
    assert_eq!(party.form("/par", &[], &asserted(&assertion, &pairs)).error(), "invalid_client", "shop's request");
}

#[test]
fn a_client_that_pushes_does_nothing_else() {
    let app = TestApp::start();
    app.client(
        "fapi",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
        "redirect_uris": [CALLBACK], "scope": "openid", "require_pushed_authorization_requests": true }),
    );
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let request = CodeRequest::of("fapi", CALLBACK).with("scope", "openid");
    let refused = response(&browser.get(&request.path()));
    assert_eq!((refused["error"].as_str(), refused["iss"].as_str()), ("invalid_request", app.base.as_str()));
    let brought = browser.get(&path(&pushed(&push(&app, &request)), "fapi"));
    let code = code(&browser.allow(&browser.log_in(&brought, &email)));
    assert_eq!(request.redeem(&app.relying_party(), &code, &[]).status, 200);
}

#[test]
fn what_is_pushed_without_end_fills_nothing() {
    let app = TestApp::with(&[("limits.authorize_requests", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    app.code_client();
    let [one, two, three, four, ..] = Random.bytes::<4>();
    let address = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::1");
    let asked = CodeRequest::new();
    let pairs: Vec<_> = asked.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let push = || app.relying_party().form("/par", &[("X-Forwarded-For", &address)], &pairs).status;
    assert_eq!([push(), push(), push(), push()], [201, 201, 201, 429]);
    let kept = || app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM pushed_requests");
    assert_eq!(kept(), ["3"]);
    let large = CodeRequest::new().with("login_hint", "").with("ui_locales", &"x ".repeat(4100));
    let pairs: Vec<_> = large.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let elsewhere = format!("2001:db9:{one:x}{two:02x}:{three:x}{four:02x}::1");
    let large = app.relying_party().form("/par", &[("X-Forwarded-For", &elsewhere)], &pairs);
    assert_eq!(large.error(), "invalid_request", "8 KiB");
    // What nobody brings is swept away.
    app.advance(Duration::from_mins(2));
    let (_stop, stopped) = std::sync::mpsc::channel();
    assert!(Sweep::new(&app.app).round(&stopped));
    assert_eq!(kept(), ["0"]);
}

#[test]
fn the_log_in_page_of_a_pushed_request_shows_its_client() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let page = browser.follow(&browser.get(&path(&pushed(&push(&app, &CodeRequest::new())), "app")));
    assert!(page.body.contains("Example App"));
    assert_eq!(Form::of(&page).action, "/login");
}

#[test]
fn a_browser_that_is_logged_in_gets_one_code_for_it_however_often_it_asks_at_once() {
    let app = TestApp::start();
    let (browser, ..) = app.at_browser();
    for _ in 0..4 {
        let uri = pushed(&push(&app, &CodeRequest::new()));
        let answers: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..12).map(|_| scope.spawn(|| browser.get(&path(&uri, "app")))).collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let got = |answer: &&Answer| answer.header("location").is_some_and(|to| to.contains("code="));
        assert_eq!(answers.iter().filter(got).count(), 1);
    }
}

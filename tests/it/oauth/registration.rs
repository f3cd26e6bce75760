//! Clients that register themselves (RFC 7591, OpenID Connect Dynamic Client Registration 1.0) and look after their
//! registration (RFC 7592).

use std::time::Duration;

use countersign::admin::registration_tokens;
use serde_json::{Value, json};

use crate::app::{AUDIENCE, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code, response};
use crate::document_server::DocumentServer;
use crate::relying_party::{Answer, RelyingParty, basic};

/// A server where everybody may register, at most for this.
pub(super) fn open() -> TestApp {
    TestApp::with(&[
        ("registration.mode", "open"),
        ("registration.allowed_scope", "openid email offline_access read"),
        ("registration.allowed_audiences", AUDIENCE),
    ])
}

pub(super) fn send(party: &RelyingParty, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(bearer.as_deref().map(|value| ("Authorization", value)));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    party.send(method, path, &headers, body.as_bytes())
}

fn register(app: &TestApp, body: &Value) -> Answer {
    send(&app.relying_party(), "POST", "/register", None, body)
}

/// A client that registered itself: where it looks after that, and everything it was told.
#[track_caller]
pub(super) fn registered(app: &TestApp, body: &Value) -> (String, Value) {
    let answer = register(app, body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let json = answer.json();
    (format!("/register/{}", json["client_id"].as_str().unwrap()), json)
}

pub(super) fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}"))
}

pub(super) fn web() -> Value {
    json!({ "client_name": "Example", "redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"],
        "client_uri": "https://app.example", "contacts": ["ada@app.example"], "logo_uri": "https://app.example/logo.png",
        "client_name#de": "Beispiel" })
}

#[test]
fn a_client_that_registered_itself_gets_tokens_for_whoever_allows_it() {
    let app = open();
    let answer = register(&app, &web());
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
    let json = answer.json();
    let (id, secret) = (text(&json, "client_id"), text(&json, "client_secret"));
    assert_eq!(answer.header("location"), json["registration_client_uri"].as_str());
    assert_eq!(text(&json, "registration_client_uri"), format!("{}/register/{id}", app.base));
    let told = json!({
        "client_name": "Example", "redirect_uris": [CALLBACK], "grant_types": ["refresh_token", "authorization_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "client_secret_basic", "application_type": "web",
        "scope": "email offline_access openid read", "audiences": [AUDIENCE], "client_uri": "https://app.example",
        "contacts": ["ada@app.example"], "client_secret_expires_at": 0, "client_id_issued_at": 1_767_225_600,
    });
    for (name, value) in told.as_object().unwrap() {
        assert_eq!(&json[name], value, "{name}");
    }
    assert!(json.get("logo_uri").is_none() && json.get("client_name#de").is_none(), "what is not taken in: {json}");

    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of(id, CALLBACK));
    let asked = browser.log_in(&browser.get(&request.path()), &email);
    let page = browser.follow(&asked);
    assert!(page.body.contains("This application registered itself."), "{}", page.body);
    let code = code(&Form::of(&page).send(&browser, &[("decision", "allow")]));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &request.verifier),
    ];
    let tokens = app.relying_party().form("/token", &[("Authorization", &basic(id, secret))], &form).tokens();
    assert_eq!((tokens.claims()["client_id"].as_str(), &tokens.claims()["aud"]), (Some(id), &json!([AUDIENCE])));
    assert!(tokens.refresh.is_some());
}

#[test]
fn where_nobody_may_register_there_is_nothing_to_register_at() {
    let app = TestApp::start();
    for (method, path) in
        [("POST", "/register"), ("GET", "/register/x"), ("PUT", "/register/x"), ("DELETE", "/register/x")]
    {
        let answer = send(&app.relying_party(), method, path, Some("x"), &web());
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
    }
    let metadata = app.relying_party().get("/.well-known/openid-configuration", &[]).json();
    assert!(metadata.get("registration_endpoint").is_none());
    let metadata = open().relying_party().get("/.well-known/openid-configuration", &[]).json();
    assert!(text(&metadata, "registration_endpoint").ends_with("/register"));
}

#[test]
fn an_initial_access_token_registers_so_many_clients_for_so_long() {
    let app = TestApp::with(&[("registration.mode", "token")]);
    let (party, create) = (app.relying_party(), |uses| {
        registration_tokens::create(&app.app, uses, Duration::from_secs(3600), "test")
            .unwrap()
            .token
            .expose()
            .to_owned()
    });
    let token = create(2);
    let status = |token: Option<&str>, body: &Value| send(&party, "POST", "/register", token, body).status;
    for wrong in [None, Some("csi_x"), Some(&format!("{token}x")[..]), Some(&token[..token.len() - 1])] {
        let answer = send(&party, "POST", "/register", wrong, &web());
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_token"), "{wrong:?}");
        let schemes = answer.header("www-authenticate").unwrap();
        assert!(schemes.starts_with("Bearer ") && !schemes.contains("DPoP"), "no proof is taken here: {schemes}");
    }
    assert_eq!(status(Some(&token), &json!({ "redirect_uris": ["http://evil.example"] })), 400, "that uses nothing up");
    assert_eq!(status(Some(&token), &web()), 201);
    assert_eq!(status(Some(&token), &web()), 201);
    assert_eq!(status(Some(&token), &web()), 401, "a third time");
    let (late, revoked) = (create(9), create(9));
    assert_eq!(status(Some(&revoked), &web()), 201);
    app.advance(Duration::from_secs(3600));
    assert_eq!(status(Some(&late), &web()), 401);
    let fresh = create(9);
    assert_eq!(registration_tokens::revoke_all(&app.app, "test").unwrap(), 4);
    assert_eq!(status(Some(&fresh), &web()), 401);
    let dump = String::from_utf8_lossy(&app.database.dump()).into_owned();
    assert!(!dump.contains(&token) && !dump.contains(&fresh), "only digests are kept");
}

#[test]
fn an_initial_access_token_used_by_many_at_once_registers_no_more_than_it_may() {
    let app = TestApp::with(&[("registration.mode", "token")]);
    let other = app.second_instance_with(&[("registration.mode", "token")]);
    let created = registration_tokens::create(&app.app, 3, Duration::from_secs(60), "test").unwrap();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let call = |nth: usize| {
            let party = if nth.is_multiple_of(2) { app.relying_party() } else { other.relying_party() };
            let token = created.token.expose();
            scope.spawn(move || send(&party, "POST", "/register", Some(token), &web()).status)
        };
        let running: Vec<_> = (0..16).map(call).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 13, "{statuses:?}");
    let rows = app.database.lines("SELECT id AS line FROM clients");
    assert_eq!(rows.len(), 3);
}

#[test]
fn what_is_an_operators_to_give_is_refused_and_nothing_is_registered() {
    let app = open();
    for (member, value, error) in [
        ("first_party", json!(true), "invalid_client_metadata"),
        ("extra_claims", json!({ "admin": true }), "invalid_client_metadata"),
        ("pkce_optional", json!(true), "invalid_client_metadata"),
        ("access_token_ttl", json!(86_400), "invalid_client_metadata"),
        ("grant_types", json!(["password"]), "invalid_client_metadata"),
        ("grant_types", json!(["authorization_code", "client_credentials"]), "invalid_client_metadata"),
        ("grant_types", json!(["implicit"]), "invalid_client_metadata"),
        ("response_types", json!(["code", "token"]), "invalid_client_metadata"),
        ("scope", json!("openid admin"), "invalid_client_metadata"),
        ("audiences", json!(["https://other.example"]), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("tls_client_auth"), "invalid_client_metadata"),
        ("id_token_signed_response_alg", json!("none"), "invalid_client_metadata"),
        ("client_uri", json!("javascript:alert(1)"), "invalid_client_metadata"),
        ("post_logout_redirect_uris", json!(["http://app.example"]), "invalid_client_metadata"),
        ("client_name", json!("a\nb"), "invalid_client_metadata"),
        ("redirect_uris", json!([]), "invalid_redirect_uri"),
    ] {
        let mut body = web();
        body[member] = value;
        let answer = register(&app, &body);
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{body}: {}", answer.body);
        assert!(!answer.body.contains("evil") && !answer.body.contains("admin"), "echoes input: {}", answer.body);
    }
    let party = app.relying_party();
    for body in ["", "[]", "{", "null", "{\"scope\":\"read\",\"scope\":\"read\"}", "\u{0}"] {
        let answer = party.send("POST", "/register", &[("Content-Type", "application/json")], body.as_bytes());
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client_metadata"), "{body}");
    }
    for content_type in ["application/x-www-form-urlencoded", "text/plain", ""] {
        let headers = [("Content-Type", content_type)];
        assert_eq!(party.send("POST", "/register", &headers, web().to_string().as_bytes()).status, 415);
    }
    assert_eq!(app.database.lines("SELECT id AS line FROM clients").len(), 0);
}

/// The same as `what_may_be_registered` says of every other way (RU-3).
#[test]
fn a_redirect_uri_that_no_operator_could_register_is_refused() {
    let app = open();
    let long = format!("https://app.example/{}", "a".repeat(1990));
    for uri in [
        "http://app.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.2/cb",
        "https://app.example/cb#frag",
        "https://user@app.example/cb",
        "https://@app.example/cb",
        "https://app.example/cb?code=1",
        "https://app.example/cb?c%6fde=1",
        "https://app.example/cb?iss=1",
        "javascript:alert(1)",
        "javascript://x.y/%0aalert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "myapp:/cb",
        "com.example.app:/cb",
        "HTTPS://app.example/cb",
        "https:app.example/cb",
        "//app.example/cb",
        "/cb",
        "",
        "https://app.example/c b",
        "https://app.example/\r\nSet-Cookie:x",
        "https://app.example\\@evil.example/",
        "https://äpp.example/cb",
        "https://*.app.example/cb",
        &long,
    ] {
        let answer = register(&app, &json!({ "redirect_uris": [CALLBACK, uri] }));
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_redirect_uri"), "{uri}: {}", answer.body);
    }
    let native = json!({ "redirect_uris": ["com.example.app:/cb", "http://127.0.0.1/cb"], "application_type": "native",
        "token_endpoint_auth_method": "none" });
    let (_, json) = registered(&app, &native);
    assert!(json.get("client_secret").is_none() && json.get("client_secret_expires_at").is_none());
}

#[test]
fn a_client_looks_at_its_registration_and_changes_it_whole() {
    let app = open();
    let party = app.relying_party();
    let (path, json) = registered(&app, &web());
    let (id, token, secret) =
        (text(&json, "client_id"), text(&json, "registration_access_token"), text(&json, "client_secret"));
    let shown = send(&party, "GET", &path, Some(token), &Value::Null);
    assert_eq!(shown.status, 200);
    let mut expected = json.clone();
    expected.as_object_mut().unwrap().retain(|name, _| !name.starts_with("client_secret"));
    assert_eq!(shown.json(), expected, "all but the secret, which is shown once");

    let put = |body: &Value| send(&party, "PUT", &path, Some(token), body);
    for (body, member) in [
        (json!({ "redirect_uris": [CALLBACK] }), "client_id"),
        (json!({ "client_id": "other", "redirect_uris": [CALLBACK] }), "client_id"),
        (json!({ "client_id": id, "client_secret": "css_x", "redirect_uris": [CALLBACK] }), "client_secret"),
        (json!({ "client_id": id, "redirect_uris": [CALLBACK], "first_party": true }), "first_party"),
        (json!({ "client_id": id }), "redirect_uris"),
    ] {
        let answer = put(&body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(text(&answer.json(), "error_description").ends_with(member), "{}", answer.body);
    }
    assert_eq!(send(&party, "GET", &path, Some(token), &Value::Null).json(), expected, "nothing was changed");

    let other = json!({ "client_id": id, "client_secret": secret, "redirect_uris": ["https://new.example/cb"], "scope": "openid" });
    let answer = put(&other);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = answer.json();
    assert_eq!((text(&told, "scope"), &told["redirect_uris"]), ("openid", &json!(["https://new.example/cb"])));
    assert!(told.get("client_name").is_none() && told.get("contacts").is_none(), "whole: {told}");
    assert!(told.get("client_secret").is_none(), "it has one");
    let browser = Browser::new(&app);
    assert_eq!(browser.get(&CodeRequest::of(id, CALLBACK).path()).status, 400, "the URI from before");
    assert_eq!(browser.get(&CodeRequest::of(id, "https://new.example/cb").with("scope", "openid").path()).status, 303);

    let public = json!({ "client_id": id, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    assert_eq!(put(&public).status, 200);
    assert_eq!(app.database.lines("SELECT client_id AS line FROM client_secrets").len(), 0);
    let again = put(&json!({ "client_id": id, "redirect_uris": [CALLBACK] })).json();
    assert!(text(&again, "client_secret") != secret, "a new one, since it had none");
}

#[test]
fn nobody_else_looks_at_a_registration_whether_there_is_one_or_not() {
    let app = open();
    let party = app.relying_party();
    let (path, json) = registered(&app, &web());
    let (_, other) = registered(&app, &web());
    let (own, foreign) = (text(&json, "registration_access_token"), text(&other, "registration_access_token"));
    app.code_client();
    for method in ["GET", "PUT", "DELETE"] {
        let body = if method == "PUT" { web() } else { Value::Null };
        let answers: Vec<Answer> = [
            (path.as_str(), Some(foreign)),
            (&path, Some("csm_x")),
            ("/register/unknown", Some(own)),
            ("/register/app", Some(own)),
            ("/register/%00", Some(own)),
        ]
        .map(|(path, token)| send(&party, method, path, token, &body))
        .into();
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (401, &answers[0].body), "{method}");
        }
        assert_eq!(send(&party, method, &path, None, &body).status, 401);
    }
    assert_eq!(send(&party, "GET", &path, Some(own), &Value::Null).status, 200);
    let answer = send(&party, "POST", &path, Some(own), &web());
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, PUT, DELETE")));
    let dump = String::from_utf8_lossy(&app.database.dump()).into_owned();
    assert!(!dump.contains(own), "only a digest is kept");
}

/// Somebody logs in and allows a client that registered itself: the browser, and the tokens.
pub(super) fn allowed(app: &TestApp, id: &str) -> (Browser, crate::relying_party::Tokens) {
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(app), CodeRequest::of(id, CALLBACK));
    let asked = browser.log_in(&browser.get(&request.path()), &email);
    let answer = request.redeem(&app.relying_party(), &code(&browser.allow(&asked)), &[]);
    (browser, answer.tokens())
}

pub(super) fn public() -> Value {
    json!({ "client_name": "Example", "redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none" })
}

#[test]
fn a_client_that_deletes_itself_is_over_for_good_with_what_it_was_granted() {
    let app = open();
    let party = app.relying_party();
    let (path, json) = registered(&app, &public());
    let (id, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    let (browser, tokens) = allowed(&app, id);
    let answer = send(&party, "DELETE", &path, Some(token), &Value::Null);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(party.refresh(id, tokens.refresh_token()).error(), "invalid_client");
    assert_eq!(browser.get(&CodeRequest::of(id, CALLBACK).path()).status, 400);
    for method in ["GET", "DELETE"] {
        assert_eq!(send(&party, method, &path, Some(token), &Value::Null).status, 401);
    }
    // An operator who lets it in again gives nothing back.
    countersign::admin::clients::enable(&app.app, id, "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(send(&party, "GET", &path, Some(token), &Value::Null).status, 401);
    assert_eq!(party.refresh(id, tokens.refresh_token()).error(), "invalid_grant");
}

#[test]
fn an_operator_who_disables_a_client_takes_its_registration_too() {
    let app = open();
    let (path, json) = registered(&app, &public());
    let (id, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    countersign::admin::clients::disable(&app.app, id, "test").unwrap();
    for (method, body) in [("GET", Value::Null), ("PUT", public()), ("DELETE", Value::Null)] {
        assert_eq!(send(&app.relying_party(), method, &path, Some(token), &body).status, 401, "{method}");
    }
}

#[test]
fn what_people_allowed_they_allowed_to_that_name_at_that_place() {
    let app = open();
    let party = app.relying_party();
    let (path, json) = registered(&app, &public());
    let (id, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    let (browser, _) = allowed(&app, id);
    let silent = CodeRequest::of(id, CALLBACK).with("prompt", "none");
    assert!(response(&browser.get(&silent.path())).contains_key("code"));
    let put = |change: &Value| {
        let mut body = public();
        body["client_id"] = json!(id);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(send(&party, "PUT", &path, Some(token), &body).status, 200);
    };
    put(&json!({ "contacts": ["ada@app.example"] }));
    assert!(response(&browser.get(&silent.path())).contains_key("code"), "neither name nor place");
    put(&json!({ "client_name": "Your Bank" }));
    assert_eq!(response(&browser.get(&silent.path()))["error"], "consent_required");
}

#[test]
fn what_the_page_shows_is_what_is_allowed_whatever_becomes_of_the_client() {
    let app = open();
    let party = app.relying_party();
    let (path, json) = registered(&app, &{
        let mut body = public();
        body["scope"] = json!("openid");
        body
    });
    let (id, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    let (_, email) = app.account();
    for (name, value) in [("scope", json!("openid email offline_access")), ("client_name", json!("Your Bank"))] {
        let browser = Browser::new(&app);
        // Whoever names no scope gets all that is registered.
        let request = CodeRequest::of(id, CALLBACK).with("scope", "");
        let form = Form::of(&browser.follow(&browser.log_in(&browser.get(&request.path()), &email)));
        let mut body = public();
        (body["client_id"], body["scope"], body[name]) = (json!(id), json!("openid"), value);
        assert_eq!(send(&party, "PUT", &path, Some(token), &body).status, 200);
        let answer = form.send(&browser, &[("decision", "allow")]);
        assert_eq!((answer.status, answer.header("location")), (403, None), "{name}");
        assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM consents"), ["0"], "{name}");
        // Asked anew, it says so.
        let again = Form::of(&browser.get(&format!("/consent?request={}", form.field("request"))));
        assert!(again.send(&browser, &[("decision", "deny")]).header("location").unwrap().contains("access_denied"));
    }
}

/// RFC 9700 §4.11.2 (AZ-14).
#[test]
fn people_are_led_to_the_pages_that_a_client_names_where_its_answers_go() {
    let app = open();
    let mut body = web();
    body["policy_uri"] = json!("https://app.example/policy?a=\"");
    assert_eq!(register(&app, &body).error(), "invalid_client_metadata");
    body["policy_uri"] = json!("https://app.example/policy?a=1&b=2");
    body["tos_uri"] = json!("https://bank.example/terms");
    let (_, json) = registered(&app, &body);
    let (_, email) = app.account();
    let shows = |id: &str| {
        let browser = Browser::new(&app);
        let asked = browser.get(&CodeRequest::of(id, CALLBACK).path());
        let (before, after) = (browser.follow(&asked), browser.follow(&browser.log_in(&asked, &email)));
        let links = |page: &Answer| {
            let has = |href: &str| page.body.contains(&format!("href=\"{href}\" rel=\"noopener noreferrer\""));
            (has("https://app.example/policy?a=1&#38;b=2"), has("https://bank.example/terms"))
        };
        (links(&before), links(&after))
    };
    // RFC 7591 §5: nobody has looked at whether the bank's terms are this client's.
    assert_eq!(shows(text(&json, "client_id")), ((true, false), (true, false)));
    let by_operator = json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "scope": "openid email read",
        "redirect_uris": [CALLBACK], "policy_uri": body["policy_uri"], "tos_uri": body["tos_uri"] });
    app.client("shop", by_operator);
    assert_eq!(shows("shop"), ((true, true), (true, true)));
}

#[test]
fn what_is_allowed_of_one_place_is_not_allowed_of_another() {
    let app = open();
    let (_, email) = app.account();
    let asks_again = |redirects: &[&str], then: &str| {
        let (_, json) = registered(&app, &json!({ "client_name": "Bank", "redirect_uris": redirects }));
        let id = text(&json, "client_id");
        let browser = Browser::new(&app);
        let asked = browser.log_in(&browser.get(&CodeRequest::of(id, redirects[0]).path()), &email);
        browser.allow(&asked);
        browser.get(&CodeRequest::of(id, then).path()).header("location").unwrap().starts_with("/consent?")
    };
    let (bank, evil) = ("https://bank.example/cb", "https://evil.example/cb");
    // RFC 9700 §4.11: the person was told that the answer goes to the bank.
    assert!(asks_again(&[bank, evil], evil));
    assert!(asks_again(&[bank, evil], bank));
    assert!(!asks_again(&[bank, "https://bank.example/cb2"], "https://bank.example/cb2"));
}

#[test]
fn a_sector_lists_those_that_belong_to_it() {
    let settings =
        [("registration.mode", "open"), ("registration.allowed_scope", "openid"), ("fetch.allow_loopback", "true")];
    let app = TestApp::with(&settings);
    let sector = DocumentServer::start(&json!(["https://a.example/cb", "https://b.example/cb"]));
    let body = |redirects: &[&str]| {
        json!({ "redirect_uris": redirects, "token_endpoint_auth_method": "none", "subject_type": "pairwise",
            "sector_identifier_uri": sector.uri })
    };
    let member = "the value of the member cannot be registered: sector_identifier_uri";
    let refused = |answer: &Answer| {
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client_metadata"), "{}", answer.body);
        assert_eq!(answer.json()["error_description"], member);
    };
    // OpenID Connect Registration §5: all of them are listed, or it is not its sector.
    for redirects in [&["https://c.example/cb"][..], &["https://a.example/cb", "https://a.example/cb2"]] {
        refused(&register(&app, &body(redirects)));
    }
    let both = ["https://b.example/cb", "https://a.example/cb"];
    let (path, json) = registered(&app, &body(&both));
    assert_eq!(json["sector_identifier_uri"], sector.uri.as_str());
    // RFC 7592 §2.2: nor when it is registered otherwise.
    let mut other = body(&["https://a.example/cb", "https://c.example/cb"]);
    other["client_id"] = json["client_id"].clone();
    let token = text(&json, "registration_access_token");
    refused(&send(&app.relying_party(), "PUT", &path, Some(token), &other));
    for says in ["[", "{}", "7", "[7]", "drip", "redirect https://a.example/"] {
        sector.says(says);
        refused(&register(&app, &body(&both)));
    }
    // CWE-918: nor is the list fetched from where only we may call.
    let closed = open();
    refused(&register(&closed, &body(&both)));
    let inside = json!({ "redirect_uris": both, "sector_identifier_uri": "https://169.254.169.254/latest" });
    refused(&register(&app, &inside));
}

#[test]
fn nobody_is_sent_on_to_a_client_that_registered_itself_before_somebody_has_logged_in() {
    let app = open();
    let (_, json) = registered(&app, &public());
    let id = text(&json, "client_id");
    app.code_client();
    let (stranger, (known, _)) = (Browser::new(&app), allowed(&app, id));
    for (name, value) in [
        ("prompt", "none"),
        ("scope", "openid admin"),
        ("response_type", "token"),
        ("code_challenge", ""),
        ("response_mode", "fragment"),
        ("resource", "https://other.example"),
        ("claims", "{"),
    ] {
        let request = CodeRequest::of(id, CALLBACK).with(name, value);
        let page = stranger.get(&request.path());
        assert!(
            page.header("location").is_none() && page.status >= 400,
            "{name}={value}: {} {}",
            page.status,
            page.body
        );
        let told = response(&known.get(&request.path()));
        assert!(told.contains_key("error") || name == "prompt", "somebody has logged in: {name}={value}");
        let trusted = stranger.get(&CodeRequest::new().with(name, value).path());
        assert!(response(&trusted).contains_key("error"), "an operator vouches for it: {name}={value}");
    }
}

#[test]
fn registrations_are_bounded_by_the_minute_and_altogether() {
    let app = TestApp::with(&[
        ("registration.mode", "open"),
        ("registration.max_clients", "3"),
        ("limits.registrations", "2"),
        ("http.trusted_proxies", "127.0.0.1/32"),
        ("cache.url", "memory:"),
    ]);
    let party = app.relying_party();
    let from = |address: &str, body: &Value| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
        party.send("POST", "/register", &headers, body.to_string().as_bytes())
    };
    let first = from("192.0.2.1", &public());
    assert_eq!(first.status, 201);
    let told = first.json();
    let change = || {
        let mut body = public();
        body["client_id"] = told["client_id"].clone();
        let path = format!("/register/{}", text(&told, "client_id"));
        send(&party, "PUT", &path, told["registration_access_token"].as_str(), &body).status
    };
    assert_eq!([change(), change(), change()], [200, 200, 429], "every instance hears of a change");
    assert_eq!(from("192.0.2.1", &json!({})).status, 400);
    let third = from("192.0.2.1", &public());
    assert_eq!((third.status, third.header("retry-after")), (429, Some("60")));
    assert_eq!(from("198.51.100.1", &public()).status, 201);
    assert_eq!(from("198.51.100.1", &public()).status, 201);
    let full = from("203.0.113.1", &public());
    assert_eq!((full.status, full.error().as_str()), (503, "temporarily_unavailable"));
    app.advance(Duration::from_secs(60));
    assert_eq!(from("192.0.2.1", &public()).status, 503, "altogether");
    assert_eq!(app.database.lines("SELECT id AS line FROM clients").len(), 3);
}

#[test]
fn another_instance_knows_a_client_within_a_second_or_so() {
    let app = open();
    let other = app.second_instance();
    let (_, json) = registered(&app, &public());
    let path = CodeRequest::of(text(&json, "client_id"), CALLBACK).path();
    let began = std::time::Instant::now();
    while Browser::new(&other).get(&path).status != 303 {
        assert!(began.elapsed() < Duration::from_secs(10), "it never hears of the client");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// RFC 9700 §4.11.2: a browser in which nobody is logged in is sent to nobody whom nobody has looked at.
#[test]
fn a_log_out_of_nobody_leads_to_no_client_that_registered_itself() {
    const AFTERWARDS: &str = "https://app.example/bye";
    let app = open();
    let mut body = public();
    body["post_logout_redirect_uris"] = json!([AFTERWARDS]);
    let (_, json) = registered(&app, &body);
    let id = text(&json, "client_id");
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of(id, CALLBACK));
    let asked = browser.log_in(&browser.get(&request.path()), &email);
    let answer = request.redeem(&app.relying_party(), &code(&browser.allow(&asked)), &[]);
    let hint = answer.json()["id_token"].as_str().unwrap().to_owned();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", AFTERWARDS)])
        .finish();
    let stranger = Browser::new(&app).get(&format!("/logout?{form}"));
    assert_eq!((stranger.status, stranger.header("location")), (200, None), "{}", stranger.body);
    // It ends what that client has, and the person stays logged in.
    assert_eq!(app.relying_party().refresh(id, answer.tokens().refresh_token()).error(), "invalid_grant");
    let silent = CodeRequest::of(id, CALLBACK).with("prompt", "none");
    assert!(response(&browser.get(&silent.path())).contains_key("code"));
}

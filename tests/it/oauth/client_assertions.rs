//! `private_key_jwt` (RFC 7523, SECURITY-BAR CA-1, CA-7, CA-8): clients that sign.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{AUDIENCE, PASSWORD, TestApp};
use crate::client_key::{ClientKey, asserted};
use crate::document_server::DocumentServer;
use crate::relying_party::{Answer, basic};

const MACHINE: (&str, &str) = ("grant_type", "client_credentials");

fn register(app: &TestApp, id: &str, more: &Value) {
    let mut metadata = json!({
        "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["client_credentials"], "scope": "jobs",
        "audiences": [AUDIENCE],
    });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(app.client(id, metadata), None, "it has no secret");
}

fn ask(app: &TestApp, assertion: &str) -> Answer {
    app.relying_party().form("/token", &[], &asserted(assertion, &[MACHINE]))
}

#[test]
fn a_client_proves_itself_by_what_it_signs_with_each_kind_of_key() {
    let app = TestApp::start();
    for (id, key) in [("a", ClientKey::p256()), ("b", ClientKey::ed25519()), ("c", ClientKey::rsa())] {
        register(&app, id, &json!({ "jwks": key.jwks() }));
        let tokens = ask(&app, &key.assertion(&app, id, &json!({}))).tokens();
        assert_eq!(tokens.claims()["sub"], id);
        // With client_id beside it, and at the other endpoints.
        let assertion = key.assertion(&app, id, &json!({}));
        let more = [("client_id", id), ("token", tokens.access.as_str())];
        let answer = app.relying_party().form("/introspect", &[], &asserted(&assertion, &more));
        assert_eq!(answer.json()["active"], true, "{}", answer.body);
    }
    let rsa = ClientKey::rsa();
    register(&app, "pss", &json!({ "jwks": rsa.jwks() }));
    let now = app.app.clock.now().unix_seconds();
    let claims = json!({ "iss": "pss", "sub": "pss", "aud": app.base, "exp": now + 60, "jti": "one" });
    let assertion = rsa.sign_with(&json!({ "alg": "PS256" }), &claims);
    assert_eq!(ask(&app, &assertion).status, 200, "PS256, and no kid");
}

#[test]
fn an_assertion_is_good_once_on_whatever_instance() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    register(&app, "bank", &json!({ "jwks": key.jwks() }));
    let other = app.second_instance();
    let assertion = key.assertion(&app, "bank", &json!({}));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|nth| {
                let (to, assertion) = (if nth % 2 == 0 { &app } else { &other }, &assertion);
                scope.spawn(move || ask(to, assertion))
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.error(), "invalid_client");
    }
    app.advance(Duration::from_secs(89));
    assert_eq!(ask(&app, &assertion).json()["error_description"], "the assertion was used before");
    app.advance(Duration::from_secs(1));
    let refused = ask(&app, &assertion);
    assert!(refused.body.contains("over"), "its age refuses it from here on: {}", refused.body);
}

#[test]
fn what_is_not_signed_by_the_client_for_us_and_now_proves_nothing() {
    let app = TestApp::start();
    let (key, stranger) = (ClientKey::p256(), ClientKey::p256());
    register(&app, "bank", &json!({ "jwks": key.jwks() }));
    register(&app, "other", &json!({ "jwks": stranger.jwks() }));
    let now = app.app.clock.now().unix_seconds();
    let claims = json!({ "iss": "bank", "sub": "bank", "aud": app.base, "exp": now + 60, "jti": "x" });
    let good = key.assertion(&app, "bank", &json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let none = format!("{}.{}.", "eyJhbGciOiJub25lIn0", head.split('.').nth(1).unwrap());
    let forged = [
        stranger.assertion(&app, "bank", &json!({})),
        stranger.sign_with(&json!({ "alg": "ES256", "kid": key.kid }), &claims),
        // RFC 8725 §3.10: a key that the token brings with it is nobody's.
        stranger.sign_with(&json!({ "alg": "ES256", "jwk": stranger.jwk() }), &claims),
        key.sign_with(&json!({ "alg": "ES256", "kid": "unknown" }), &claims),
        key.sign_with(&json!({ "alg": "RS256", "kid": key.kid }), &claims),
        key.sign_with(&json!({ "alg": "HS256", "kid": key.kid }), &claims),
        key.sign_with(&json!({ "alg": "ES256", "kid": key.kid, "crit": ["exp"] }), &claims),
        key.sign_with(&json!({ "alg": "ES256", "kid": key.kid, "typ": "oauth-authz-req+jwt" }), &claims),
        key.sign_with(&json!({ "alg": "ES256", "kid": key.kid, "typ": "dpop+jwt" }), &claims),
        format!("{head}.{}", signature.replace(&signature[..4], "AAAA")),
        none,
        good.replace('.', ""),
        "x".to_owned(),
    ];
    for assertion in forged {
        let answer = app.relying_party().form("/token", &[], &asserted(&assertion, &[MACHINE, ("client_id", "bank")]));
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"), "{assertion}");
        assert_eq!(answer.json()["error_description"], "client authentication failed", "{assertion}");
    }
    for change in [
        json!({ "aud": format!("{}/token", app.base) }),
        json!({ "aud": [app.base] }),
        json!({ "aud": "https://as.example" }),
        json!({ "iss": "other" }),
        json!({ "exp": now - 31 }),
        json!({ "exp": now + 600 }),
        json!({ "iat": now + 61 }),
        json!({ "jti": Value::Null }),
        json!({ "exp": Value::Null }),
        json!({ "aud": Value::Null }),
    ] {
        let answer = ask(&app, &key.assertion(&app, "bank", &change));
        assert_eq!(answer.error(), "invalid_client", "{change}");
    }
    assert_eq!(ask(&app, &good).status, 200, "nothing of it used the good one up");
}

#[test]
fn a_client_proves_itself_in_its_one_registered_way() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    register(&app, "bank", &json!({ "jwks": key.jwks() }));
    let secret = app.confidential_client();
    let party = app.relying_party();
    let assertion = || key.assertion(&app, "bank", &json!({}));
    // A client with a secret does not sign, and one that signs has no secret.
    let as_svc = key.assertion(&app, "svc", &json!({}));
    assert_eq!(ask(&app, &as_svc).error(), "invalid_client");
    assert_eq!(party.form("/token", &[], &[MACHINE, ("client_id", "bank")]).error(), "invalid_client");
    let header = basic("svc", &secret);
    let two = party.form("/token", &[("Authorization", &header)], &asserted(&assertion(), &[MACHINE]));
    assert_eq!(two.error(), "invalid_request");
    let two = party.form("/token", &[], &asserted(&assertion(), &[MACHINE, ("client_secret", &secret)]));
    assert_eq!(two.error(), "invalid_request");
    let other = party.form("/token", &[], &asserted(&assertion(), &[MACHINE, ("client_id", "svc")]));
    assert_eq!(other.error(), "invalid_client", "the client_id beside it is another's");
    for missing in ["client_assertion", "client_assertion_type"] {
        let made = assertion();
        let mut form = asserted(&made, &[MACHINE]);
        form.retain(|(name, _)| *name != missing);
        assert_eq!(party.form("/token", &[], &form).error(), "invalid_request", "{missing}");
    }
    let wrong = party.form(
        "/token",
        &[],
        &[
            MACHINE,
            ("client_assertion", &assertion()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ],
    );
    assert_eq!(wrong.error(), "invalid_client");
    // One algorithm, if it said which.
    let rsa = ClientKey::rsa();
    register(&app, "strict", &json!({ "jwks": rsa.jwks(), "token_endpoint_auth_signing_alg": "PS256" }));
    assert_eq!(ask(&app, &rsa.assertion(&app, "strict", &json!({}))).error(), "invalid_client");
}

#[test]
fn an_operator_may_let_a_client_address_the_token_endpoint() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    register(&app, "older", &json!({ "jwks": key.jwks(), "token_endpoint_audience": true }));
    let token = format!("{}/token", app.base);
    for aud in [json!(token), json!(app.base), json!([app.base, token])] {
        assert_eq!(ask(&app, &key.assertion(&app, "older", &json!({ "aud": aud }))).status, 200, "{aud}");
    }
    let elsewhere = json!({ "aud": [token, "https://evil.example/token"] });
    assert_eq!(ask(&app, &key.assertion(&app, "older", &elsewhere)).error(), "invalid_client");
}

/// FAPI 2.0 Security Profile §5.3.2.1, RFC 7523 §3: the same where requests are pushed, and a clock may be off by seconds.
#[test]
fn an_assertion_names_its_client_and_us_wherever_it_is_shown() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    let metadata = json!({ "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["authorization_code"], "scope": "openid",
        "redirect_uris": [crate::browser::CALLBACK], "jwks": key.jwks() });
    app.client("bank", metadata);
    let now = app.app.clock.now().unix_seconds();
    let request = crate::browser::CodeRequest::of("bank", crate::browser::CALLBACK).with("scope", "openid");
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let push = |changes: &Value| {
        let assertion = key.assertion(&app, "bank", changes);
        app.relying_party().form("/par", &[], &asserted(&assertion, &pairs))
    };
    for change in [
        json!({ "sub": Value::Null }),
        json!({ "sub": "other" }),
        json!({ "iss": Value::Null }),
        json!({ "aud": format!("{}/par", app.base) }),
        json!({ "aud": format!("{}/token", app.base) }),
        json!({ "aud": [app.base, "https://other.example"] }),
        json!({ "iat": now + 61, "nbf": now + 61, "exp": now + 120 }),
        json!({ "nbf": now + 61 }),
        json!({ "exp": now - 300 }),
    ] {
        let answer = push(&change);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"), "{change}");
    }
    for change in [json!({ "iat": now + 8, "nbf": now + 8 }), json!({ "iat": now + 10 }), json!({})] {
        assert_eq!(push(&change).status, 201, "{change}");
    }
}

#[test]
fn keys_are_fetched_where_the_client_publishes_them_and_changed_there() {
    let app = TestApp::with(&[("fetch.allow_loopback", "true")]);
    let (old, new) = (ClientKey::p256(), ClientKey::p256());
    let server = DocumentServer::start(&old.jwks());
    register(&app, "bank", &json!({ "jwks_uri": server.uri }));
    for _ in 0..5 {
        assert_eq!(ask(&app, &old.assertion(&app, "bank", &json!({}))).status, 200);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1, "kept");
    // A key that nobody knows is looked for, but not more than once a minute.
    server.says(&new.jwks().to_string());
    for _ in 0..5 {
        assert_eq!(ask(&app, &new.assertion(&app, "bank", &json!({}))).error(), "invalid_client");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    app.advance(Duration::from_secs(60));
    assert_eq!(ask(&app, &new.assertion(&app, "bank", &json!({}))).status, 200);
    assert_eq!(ask(&app, &old.assertion(&app, "bank", &json!({}))).error(), "invalid_client", "it is gone there");
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    // What was fetched is good for an hour when the server is away.
    server.says("no JSON");
    app.advance(Duration::from_mins(30));
    assert_eq!(ask(&app, &new.assertion(&app, "bank", &json!({}))).status, 200);
    app.advance(Duration::from_mins(31));
    let gone = ask(&app, &new.assertion(&app, "bank", &json!({})));
    assert_eq!(gone.json()["error_description"], "the keys at the jwks_uri of the client could not be fetched");
}

#[test]
fn whoever_may_not_log_in_holds_nobody_up_who_does() {
    let app = TestApp::with(&[("fetch.allow_loopback", "true"), ("passwords.threads", "1")]);
    let (key, (_, email)) = (ClientKey::p256(), app.account());
    let server = DocumentServer::start(&key.jwks());
    server.says("hang");
    register(&app, "slow", &json!({ "jwks_uri": server.uri }));
    let secret = app.confidential_client();
    let (assertion, wrong) = (key.assertion(&app, "slow", &json!({})), [("username", "x"), ("password", "y")]);
    let log_in = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    for (nth, path) in ["/token", "/authorize-challenge"].into_iter().enumerate() {
        // A client's keys are looked for at most once a minute.
        app.advance(Duration::from_secs(61));
        let assertion = if nth == 0 { assertion.clone() } else { key.assertion(&app, "slow", &json!({})) };
        std::thread::scope(|scope| {
            let party = app.relying_party();
            let form = [&[("grant_type", "password")][..], &wrong].concat();
            let held = scope.spawn(move || party.form(path, &[], &asserted(&assertion, &form)).error());
            while server.asked.load(Ordering::SeqCst) <= nth {
                std::thread::yield_now();
            }
            let answer = app.relying_party().form("/token", &[("Authorization", &basic("svc", &secret))], &log_in);
            assert_eq!((answer.status, held.is_finished()), (200, false), "{path}");
            assert_eq!(held.join().unwrap(), "invalid_client");
        });
    }
}

#[test]
fn keys_come_from_nowhere_that_only_we_may_call() {
    let key = ClientKey::p256();
    let server = DocumentServer::start(&key.jwks());
    // Without the test bench's setting, this machine is no place to call.
    let app = TestApp::start();
    register(&app, "bank", &json!({ "jwks_uri": server.uri }));
    register(&app, "tls", &json!({ "jwks_uri": server.uri.replace("http:", "https:") }));
    register(&app, "meta", &json!({ "jwks_uri": "https://169.254.169.254/latest" }));
    for id in ["bank", "tls", "meta"] {
        assert_eq!(ask(&app, &key.assertion(&app, id, &json!({}))).error(), "invalid_client");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 0, "nobody was called");
    // With it, still: no redirect, no large answer, nobody who keeps us waiting.
    let bench = TestApp::with(&[("fetch.allow_loopback", "true")]);
    let second = DocumentServer::start(&key.jwks());
    let large = json!({ "keys": [key.jwks()["keys"][0]], "x": "a".repeat(70_000) }).to_string();
    for (nth, says) in [&format!("redirect {}", second.uri), &large, "hang", "drip"].into_iter().enumerate() {
        let id = format!("bank{nth}");
        register(&bench, &id, &json!({ "jwks_uri": server.uri.replace("/jwks", &format!("/{nth}")) }));
        server.says(says);
        let began = std::time::Instant::now();
        assert_eq!(ask(&bench, &key.assertion(&bench, &id, &json!({}))).error(), "invalid_client");
        assert!(began.elapsed() < Duration::from_secs(9), "{says:.20}");
    }
    assert_eq!(second.asked.load(Ordering::SeqCst), 0, "a redirect is not followed");
}

#[test]
fn a_client_that_answers_nothing_keeps_no_other_waiting() {
    let app = TestApp::with(&[("fetch.allow_loopback", "true")]);
    let (slow, good) = (DocumentServer::start(&json!("x")), ClientKey::p256());
    slow.says("drip");
    let honest = DocumentServer::start(&good.jwks());
    register(&app, "good", &json!({ "jwks_uri": honest.uri }));
    for nth in 0..12 {
        register(&app, &format!("bad{nth}"), &json!({ "jwks_uri": format!("{}/{nth}", slow.uri) }));
    }
    let key = ClientKey::p256();
    std::thread::scope(|scope| {
        for nth in 0..12 {
            let (app, key) = (&app, &key);
            scope.spawn(move || ask(app, &key.assertion(app, &format!("bad{nth}"), &json!({}))));
        }
        std::thread::sleep(Duration::from_millis(500));
        let busy = ask(&app, &good.assertion(&app, "good", &json!({})));
        assert_eq!(busy.status, 503, "not refused, and told to come back: {}", busy.body);
    });
    // All of them are over, and nobody is refused for what others did.
    assert_eq!(ask(&app, &good.assertion(&app, "good", &json!({}))).status, 200);
}

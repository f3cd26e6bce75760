//! Authorization requests that the client signed (RFC 9101).

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, code, response};
use crate::client_key::ClientKey;

/// The client `bank`, which signs.
fn register(app: &TestApp, more: &Value) -> ClientKey {
    let key = ClientKey::p256();
    let mut metadata = json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "scope": "openid email read",
        "redirect_uris": [CALLBACK], "jwks": key.jwks(), "audiences": ["https://a.example", "https://b.example"] });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.client("bank", metadata);
    key
}

/// The parameters as claims, with some changed, or left out when `null`.
fn object(app: &TestApp, request: &CodeRequest, changes: &Value) -> Value {
    let now = app.app.clock.now().unix_seconds();
    let mut claims = json!({ "iss": "bank", "aud": app.base, "exp": now + 60, "nbf": now });
    for (name, value) in &request.parameters {
        claims[name] = json!(value);
    }
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn path(object: &str) -> String {
    format!("/authorize?client_id=bank&request={object}")
}

#[test]
fn what_is_signed_counts_and_nothing_else() {
    let app = TestApp::start();
    let key = register(&app, &json!({}));
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of("bank", CALLBACK));
    let signed = key.sign(&object(&app, &request, &json!({ "max_age": 3600, "resource": ["https://a.example"] })));
    let brought =
        format!("{}&scope=read&state=other&redirect_uri=https%3A%2F%2Fevil.example&nonce=other", path(&signed));
    let answer = browser.allow(&browser.log_in(&browser.get(&brought), &email));
    let parameters = response(&answer);
    assert_eq!(parameters["state"], "af0ifjsldkj");
    let answer = request.redeem(&app.relying_party(), &parameters["code"], &[]);
    let tokens = answer.tokens();
    assert_eq!((tokens.scope.as_str(), &tokens.claims()["aud"]), ("email openid", &json!(["https://a.example"])));
    // Posted, and pushed, too.
    let signed =
        key.sign(&object(&app, &request, &json!({ "aud": [app.base, "https://other.example"], "exp": Value::Null })));
    let posted = browser.post_with("/authorize", &[], &[("client_id", "bank"), ("request", &signed)]);
    assert!(response(&posted).contains_key("code"));
    let pushed = app.relying_party().form("/par", &[], &[("client_id", "bank"), ("request", &signed)]);
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    let uri = pushed.json()["request_uri"].as_str().unwrap().replace(':', "%3A");
    assert!(!code(&browser.get(&format!("/authorize?client_id=bank&request_uri={uri}"))).is_empty());
}

#[test]
fn what_cannot_be_relied_on_leads_to_a_page_and_nowhere_else() {
    let app = TestApp::start();
    let key = register(&app, &json!({}));
    let (browser, request) = (Browser::new(&app), CodeRequest::of("bank", CALLBACK));
    let now = app.app.clock.now().unix_seconds();
    let claims = |changes: Value| object(&app, &request, &changes);
    let good = key.sign(&claims(json!({})));
    let stranger = ClientKey::p256();
    let (head, _) = good.rsplit_once('.').unwrap();
    let plain = json!({ "alg": "none" }).to_string();
    let bad = [
        stranger.sign(&claims(json!({}))),
        stranger.sign_with(&json!({ "alg": "ES256", "kid": key.kid }), &claims(json!({}))),
        stranger.sign_with(&json!({ "alg": "ES256", "jwk": stranger.jwk() }), &claims(json!({}))),
        key.sign_with(&json!({ "alg": "ES256", "kid": key.kid, "typ": "dpop+jwt" }), &claims(json!({}))),
        key.sign_with(
            &json!({ "alg": "ES256", "kid": key.kid, "typ": "client-authentication+jwt" }),
            &claims(json!({})),
        ),
        format!("{}.{}.", countersign::secret::encode_base64url(plain.as_bytes()), head.split('.').nth(1).unwrap()),
        head.to_owned(),
        "x".to_owned(),
        key.sign(&claims(json!({ "iss": "other" }))),
        key.sign(&claims(json!({ "iss": Value::Null }))),
        key.sign(&claims(json!({ "client_id": "app" }))),
        // RFC 9101 §10.8: an assertion is no request.
        key.sign(&claims(json!({ "sub": "bank" }))),
        key.sign(&claims(json!({ "aud": "https://other.example" }))),
        key.sign(&claims(json!({ "aud": Value::Null }))),
        key.sign(&claims(json!({ "exp": now - 31 }))),
        key.sign(&claims(json!({ "nbf": now + 31 }))),
        key.sign(&claims(json!({ "request": "x" }))),
        key.sign(&claims(json!({ "request_uri": "https://evil.example/" }))),
    ];
    for object in &bad {
        let answer = browser.get(&path(object));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{object}");
        assert!(answer.body.contains("authorize.request_object"), "{object}: {}", answer.body);
    }
    assert_eq!(browser.get(&path(&format!("{good}&request=x"))).status, 400, "twice");
    let of_another = browser.get(&format!("/authorize?client_id=unknown&request={good}"));
    assert_eq!(of_another.status, 400);
    // A redirect URI that nobody registered is as bad inside as outside.
    let evil = key.sign(&claims(json!({ "redirect_uri": "https://evil.example/" })));
    assert_eq!(browser.get(&path(&evil)).header("location"), None);
    // What is wrong with the rest is told to the client.
    let refused = response(&browser.get(&path(&key.sign(&claims(json!({ "scope": "admin" }))))));
    assert_eq!((refused["error"].as_str(), refused["state"].as_str()), ("invalid_scope", "af0ifjsldkj"));
}

#[test]
fn a_client_that_signs_does_nothing_else() {
    let app = TestApp::start();
    let key = register(&app, &json!({ "require_signed_request_object": true, "request_object_signing_alg": "ES256" }));
    let (browser, request) = (Browser::new(&app), CodeRequest::of("bank", CALLBACK));
    assert_eq!(response(&browser.get(&request.path()))["error"], "invalid_request");
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        app.relying_party().form("/par", &[], &pairs).error(),
        "invalid_request",
        "nor may it push what it did not sign"
    );
    let signed = key.sign(&object(&app, &request, &json!({})));
    assert_eq!(browser.get(&path(&signed)).status, 303);
    // FAPI 2.0 Message Signing §5.3.1: nor does it sign for ever.
    let now = app.app.clock.now().unix_seconds();
    let endless = [
        json!({ "exp": Value::Null }),
        json!({ "nbf": Value::Null }),
        json!({ "nbf": now - 1, "exp": now + 3600 }),
        json!({ "nbf": now - 3601, "exp": now + 60 }),
    ];
    for changes in &endless {
        assert_eq!(browser.get(&path(&key.sign(&object(&app, &request, changes)))).status, 400, "{changes}");
    }
    let hour = key.sign(&object(&app, &request, &json!({ "nbf": now - 1, "exp": now + 3599 })));
    assert_eq!(browser.get(&path(&hour)).status, 303);
    let rsa = ClientKey::rsa();
    app.client(
        "rsa",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "scope": "openid",
        "redirect_uris": [CALLBACK], "jwks": rsa.jwks(), "request_object_signing_alg": "PS256" }),
    );
    let of_rsa = CodeRequest::of("rsa", CALLBACK).with("scope", "openid");
    let claims = object(&app, &of_rsa, &json!({ "iss": "rsa" }));
    let to = |object: &str| format!("/authorize?client_id=rsa&request={object}");
    assert_eq!(browser.get(&to(&rsa.sign(&claims))).status, 400, "RS256 is not what it registered");
    let pss = rsa.sign_with(&json!({ "alg": "PS256", "kid": rsa.kid }), &claims);
    assert_eq!(browser.get(&to(&pss)).status, 303);
}

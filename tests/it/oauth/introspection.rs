//! RFC 7662: what a resource server is told.

use std::time::Duration;

use crate::app::TestApp;
use crate::relying_party::{RelyingParty, Tokens};

const INACTIVE: &str = r#"{"active":false}"#;

/// A person's tokens from `web` and a resource server `svc` for the same resource.
fn people_and_server(app: &TestApp) -> (RelyingParty, Tokens, String) {
    let (party, tokens) = app.log_in();
    (party, tokens, app.confidential_client())
}

#[test]
fn a_good_token_is_described() {
    let app = TestApp::start();
    let (party, tokens, secret) = people_and_server(&app);
    let json = party.introspect("svc", &secret, &tokens.access).json();
    let claims = tokens.claims();
    assert_eq!(json["active"], true);
    for member in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope", "sid"] {
        assert_eq!(json[member], claims[member], "{member}");
    }
    assert_eq!(json["token_type"], "Bearer");
}

#[test]
fn whatever_is_not_active_has_the_same_bytes() {
    let app = TestApp::start();
    let (party, tokens, secret) = people_and_server(&app);
    // Its audience is not svc's and it was not issued to svc.
    let stranger = app
        .client(
            "stranger",
            serde_json::json!({"grant_types": ["client_credentials"], "audiences": ["https://elsewhere.example"]}),
        )
        .unwrap();
    let foreign = party.client_credentials("stranger", &stranger, &[]).tokens().access;
    let spent = party.log_in("web", &app.account().1).tokens();
    let live = party.refresh("web", spent.refresh_token()).tokens();
    let (_, email) = app.account();
    let revoked = party.log_in("web", &email).tokens();
    assert_eq!(party.introspect("svc", &secret, &revoked.access).json()["active"], true);
    assert_eq!(party.revoke("web", revoked.refresh_token()).status, 200);
    for (case, token) in [
        ("garbage", "x"),
        ("of another issuer", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"),
        ("foreign", foreign.as_str()),
        ("a refresh token of another client", tokens.refresh_token()),
        ("a spent refresh token", spent.refresh_token()),
        ("a live refresh token of another client", live.refresh_token()),
        ("revoked", &revoked.access),
    ] {
        let answer = party.introspect("svc", &secret, token);
        assert_eq!((answer.status, answer.body.as_str()), (200, INACTIVE), "{case}");
    }
    assert_eq!(party.introspect("stranger", &stranger, &foreign).json()["active"], true);
    app.advance(Duration::from_secs(600));
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, INACTIVE, "expired");
}

#[test]
fn a_refresh_token_is_its_own_clients_business() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let form = [("grant_type", "password"), ("username", email.as_str()), ("password", crate::app::PASSWORD)];
    let header = crate::relying_party::basic("svc", &secret);
    let tokens = party.form("/token", &[("Authorization", &header)], &form).tokens();
    let json = party.introspect("svc", &secret, tokens.refresh_token()).json();
    assert_eq!((&json["active"], &json["sid"]), (&true.into(), &tokens.claims()["sid"]));
    assert!(json.get("token_type").is_none());
    // Spent or revoked, it is nothing.
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh_token())];
    let next = party.form("/token", &[("Authorization", &header)], &form).tokens();
    assert_eq!(party.introspect("svc", &secret, tokens.refresh_token()).body, INACTIVE);
    assert_eq!(party.introspect("svc", &secret, next.refresh_token()).json()["active"], true);
    party.form("/revoke", &[("Authorization", &header)], &[("token", next.refresh_token())]);
    assert_eq!(party.introspect("svc", &secret, next.refresh_token()).body, INACTIVE);
}

#[test]
fn a_disabled_account_or_client_is_inactive_at_once() {
    let app = TestApp::start();
    let (party, tokens, secret) = people_and_server(&app);
    let id = tokens.claims()["sub"].as_str().unwrap().parse().unwrap();
    countersign::admin::accounts::disable(&app.app, id, "test").unwrap();
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, INACTIVE);
    // Even if it is enabled again.
    countersign::admin::accounts::enable(&app.app, id, "test").unwrap();
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, INACTIVE);

    let (_, email) = app.account();
    let tokens = party.log_in("web", &email).tokens();
    assert_eq!(party.introspect("svc", &secret, &tokens.access).json()["active"], true);
    countersign::admin::clients::disable(&app.app, "web", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, INACTIVE);
}

#[test]
fn public_clients_may_not_ask() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let answer = party.form("/introspect", &[], &[("client_id", "web"), ("token", &tokens.access)]);
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
    let secret = app.confidential_client();
    let missing = party.form("/introspect", &[("Authorization", &crate::relying_party::basic("svc", &secret))], &[]);
    assert_eq!(missing.error(), "invalid_request");
}

#[test]
fn a_machines_token_is_over_with_its_client() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let watcher =
        app.client("watcher", serde_json::json!({"grant_types": [], "audiences": [crate::app::AUDIENCE]})).unwrap();
    let party = app.relying_party();
    let token = party.client_credentials("svc", &secret, &[]).tokens().access;
    let active = |token: &str| party.introspect("watcher", &watcher, token).json()["active"] == true;
    assert!(active(&token));
    app.advance(Duration::from_secs(2));
    countersign::admin::clients::disable(&app.app, "svc", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert!(!active(&token));
    countersign::admin::clients::enable(&app.app, "svc", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert!(!active(&token), "what it held then stays worthless");
    app.advance(Duration::from_secs(2));
    assert!(active(&party.client_credentials("svc", &secret, &[]).tokens().access));
}

#[test]
fn a_row_that_says_disabled_is_enough() {
    let app = TestApp::start();
    let (party, tokens, secret) = people_and_server(&app);
    assert_eq!(party.introspect("svc", &secret, &tokens.access).json()["active"], true);
    // Whoever wrote it, and whether or not the grants were ended with it.
    app.database.execute("UPDATE accounts SET disabled_at = 1");
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, INACTIVE);
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
    app.database.execute("UPDATE accounts SET disabled_at = NULL");
    party.refresh("web", tokens.refresh_token()).tokens();
}

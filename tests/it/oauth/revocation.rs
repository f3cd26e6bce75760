//! RFC 7009: what a client takes back.

use crate::app::TestApp;
use crate::relying_party::basic;

#[test]
fn a_refresh_token_takes_its_grant_with_it() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let answer = party.revoke("web", tokens.refresh_token());
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
    assert_eq!(party.revoke("web", tokens.refresh_token()).status, 200, "twice is as good as once");
    let secret = app.confidential_client();
    assert_eq!(party.introspect("svc", &secret, &tokens.access).body, r#"{"active":false}"#);
}

#[test]
fn an_access_token_takes_its_grant_with_it() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    assert_eq!(party.revoke("web", &tokens.access).status, 200);
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
}

#[test]
fn a_spent_refresh_token_takes_the_grant_with_it_too() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = party.refresh("web", first.refresh_token()).tokens();
    assert_eq!(party.revoke("web", first.refresh_token()).status, 200);
    assert_eq!(party.refresh("web", second.refresh_token()).error(), "invalid_grant");
}

#[test]
fn one_device_is_not_the_other() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let (phone, laptop) = (party.log_in("web", &email).tokens(), party.log_in("web", &email).tokens());
    party.revoke("web", phone.refresh_token());
    party.refresh("web", laptop.refresh_token()).tokens();
    assert_eq!(party.refresh("web", phone.refresh_token()).error(), "invalid_grant");
}

#[test]
fn what_is_unknown_or_another_clients_changes_nothing_and_is_no_error() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let secret = app.confidential_client();
    let as_svc = |token: &str| party.form("/revoke", &[("Authorization", &basic("svc", &secret))], &[("token", token)]);
    for token in ["x", "csr_x", tokens.refresh_token(), &tokens.access, "e30.e30.e30"] {
        let answer = as_svc(token);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    assert_eq!(party.introspect("svc", &secret, &tokens.access).json()["active"], true);
    party.refresh("web", tokens.refresh_token()).tokens();
    let machine = party.client_credentials("svc", &secret, &[]).tokens().access;
    assert_eq!(party.revoke("web", &machine).status, 200);
    assert_eq!(party.introspect("svc", &secret, &machine).json()["active"], true);
}

#[test]
fn a_clients_own_access_token_is_revoked_by_itself() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let party = app.relying_party();
    let [one, other] = [0, 1].map(|_| party.client_credentials("svc", &secret, &[]).tokens().access);
    for _ in 0..2 {
        let answer = party.form("/revoke", &[("Authorization", &basic("svc", &secret))], &[("token", &one)]);
        assert_eq!(answer.status, 200);
    }
    assert_eq!(party.introspect("svc", &secret, &one).body, r#"{"active":false}"#);
    assert_eq!(party.introspect("svc", &secret, &other).json()["active"], true);
}

#[test]
fn a_client_must_say_who_it_is_and_what_to_revoke() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let secret = app.confidential_client();
    let wrong = party.form("/revoke", &[("Authorization", &basic("svc", "css_wrong"))], &[("token", &tokens.access)]);
    assert_eq!((wrong.status, wrong.error().as_str()), (401, "invalid_client"));
    let unnamed = party.form("/revoke", &[], &[("token", &tokens.access)]);
    assert_eq!((unnamed.status, unnamed.error().as_str()), (400, "invalid_client"));
    let unproven = party.form("/revoke", &[], &[("client_id", "svc"), ("token", &tokens.access)]);
    assert_eq!(unproven.error(), "invalid_client");
    let nothing = party.form("/revoke", &[("Authorization", &basic("svc", &secret))], &[]);
    assert_eq!(nothing.error(), "invalid_request");
}

#[test]
fn the_largest_token_that_we_issue_can_be_asked_about_and_revoked() {
    let app = TestApp::start();
    let audiences: Vec<_> = (0..8).map(|nth| format!("https://{nth}.example/{}", "a".repeat(480))).collect();
    let metadata = serde_json::json!({
        "grant_types": ["client_credentials"],
        "scope": "s".repeat(1000),
        "audiences": audiences,
        "extra_claims": {"x": "a".repeat(4000)},
    });
    let secret = app.client("large", metadata).unwrap();
    let party = app.relying_party();
    let token = party.client_credentials("large", &secret, &[]).tokens().access;
    assert!(token.len() > 12_000, "{}", token.len());
    assert_eq!(party.introspect("large", &secret, &token).json()["active"], true);
    let header = basic("large", &secret);
    assert_eq!(party.form("/revoke", &[("Authorization", &header)], &[("token", &token)]).status, 200);
    assert_eq!(party.introspect("large", &secret, &token).body, r#"{"active":false}"#);
}

//! RFC 6749 §4.4: a client for itself.

use std::time::Duration;

use crate::app::{Backend, TestApp, backend};
use crate::relying_party::basic;

#[test]
fn a_client_gets_a_token_for_itself_and_no_refresh_token() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let tokens = app.relying_party().client_credentials("svc", &secret, &[]).tokens();
    let claims = tokens.claims();
    assert!(tokens.refresh.is_none());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"svc".into(), &"svc".into()));
    for absent in ["sid", "auth_time", "amr", "acr", "roles"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
    assert_eq!(tokens.scope, "jobs read");
}

#[test]
fn scope_is_narrowed_and_never_widened() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let party = app.relying_party();
    assert_eq!(party.client_credentials("svc", &secret, &[("scope", "jobs")]).tokens().scope, "jobs");
    assert_eq!(party.client_credentials("svc", &secret, &[("scope", "jobs admin")]).error(), "invalid_scope");
    let foreign = party.client_credentials("svc", &secret, &[("resource", "https://elsewhere.example")]);
    assert_eq!(foreign.error(), "invalid_target");
}

#[test]
fn it_touches_no_database() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let party = app.relying_party();
    party.client_credentials("svc", &secret, &[]).tokens();
    // Without tables every statement fails; the token does not need one.
    if backend() == Backend::Postgres {
        app.database.execute("DROP SCHEMA public CASCADE");
    } else {
        app.database.execute("PRAGMA foreign_keys = OFF; DROP TABLE client_secrets; DROP TABLE revoked_tokens; DROP TABLE grants; DROP TABLE clients; DROP TABLE accounts");
    }
    party.client_credentials("svc", &secret, &[]).tokens();
    // What does need one says so, with the request's name in our log, and nothing about the database.
    let refused = party.introspect("svc", &secret, &party.client_credentials("svc", &secret, &[]).tokens().access);
    let login = party.form(
        "/token",
        &[("Authorization", &basic("svc", &secret))],
        &[("grant_type", "password"), ("username", "ada"), ("password", "x")],
    );
    assert_eq!((login.status, login.error().as_str()), (503, "temporarily_unavailable"), "{}", refused.body);
    assert!(login.header("retry-after").is_some());
    // RFC 7009 §2.2.1: a revocation that was not made is not said to be; and no answer is given from stale data.
    let token = party.client_credentials("svc", &secret, &[]).tokens().access;
    let form = [("token", token.as_str())];
    for path in ["/revoke", "/introspect"] {
        let answer = party.form(path, &[("Authorization", &basic("svc", &secret))], &form);
        assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"), "{path}");
    }
    let (trace, log) = (login.json()["trace"].clone(), std::fs::read_to_string(crate::app::log_file()).unwrap());
    let lines: Vec<_> = log.lines().filter(|line| line.contains(trace.as_str().unwrap())).collect();
    assert!(lines.iter().any(|line| line.contains("the store did not do it")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("capacity.store_unavailable")), "{lines:?}");
    assert!(!login.body.contains("accounts") && !login.body.contains("table"), "{}", login.body);
}

#[test]
fn a_new_and_an_old_secret_are_both_good_until_the_old_one_is_dropped() {
    use countersign::admin::{AdminError, clients};
    let app = TestApp::start();
    let old = app.confidential_client();
    let party = app.relying_party();
    app.advance(Duration::from_secs(1));
    let new = clients::rotate_secret(&app.app, "svc", "test").unwrap().secret;
    assert!(matches!(clients::rotate_secret(&app.app, "svc", "test"), Err(AdminError::TwoSecretsInForce)));
    app.app.clients.reload(&app.app.db).unwrap();
    party.client_credentials("svc", &old, &[]).tokens();
    party.client_credentials("svc", new.expose(), &[]).tokens();
    clients::drop_old_secret(&app.app, "svc", "test").unwrap();
    assert!(matches!(clients::drop_old_secret(&app.app, "svc", "test"), Err(AdminError::NoOldSecret)));
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(party.client_credentials("svc", &old, &[]).error(), "invalid_client");
    party.client_credentials("svc", new.expose(), &[]).tokens();
}

#[test]
fn an_old_secret_has_an_end() {
    use countersign::admin::{clients, keys};
    let app = TestApp::start();
    let old = app.confidential_client();
    let party = app.relying_party();
    app.advance(Duration::from_hours(40 * 24));
    party.client_credentials("svc", &old, &[]).tokens();
    let rotated = clients::rotate_secret(&app.app, "svc", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    app.advance(Duration::from_hours(30 * 24) - Duration::from_secs(1));
    party.client_credentials("svc", &old, &[]).tokens();
    assert!(rotated.old_until > app.app.clock.now());
    app.advance(Duration::from_secs(1));
    // ASVS 13.3.4.
    assert_eq!(party.client_credentials("svc", &old, &[]).error(), "invalid_client");
    party.client_credentials("svc", rotated.secret.expose(), &[]).tokens();
    // Nor does it need a version of the master key any more.
    assert_eq!(keys::rewrap(&app.app, true, "test").unwrap().older_client_secrets, 1);
    // And it makes room for another.
    let third = clients::rotate_secret(&app.app, "svc", "test").unwrap().secret;
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(party.client_credentials("svc", &old, &[]).error(), "invalid_client");
    for good in [rotated.secret.expose(), third.expose()] {
        party.client_credentials("svc", good, &[]).tokens();
    }
}

#[test]
fn a_disabled_client_gets_nothing_anywhere() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let party = app.relying_party();
    let token = party.client_credentials("svc", &secret, &[]).tokens().access;
    countersign::admin::clients::disable(&app.app, "svc", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    let refused = party.client_credentials("svc", &secret, &[]);
    assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_client"));
    assert_eq!(party.introspect("svc", &secret, &token).error(), "invalid_client");
    // The answer is that of a wrong secret.
    assert_eq!(refused.body, party.client_credentials("svc", "css_wrong", &[]).body);
}

#[test]
fn instances_notice_a_change_by_themselves() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let other = app.second_instance();
    let party = other.relying_party();
    party.client_credentials("svc", &secret, &[]).tokens();
    countersign::admin::clients::disable(&app.app, "svc", "test").unwrap();
    let noticed = (0..30).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        party.client_credentials("svc", &secret, &[]).status == 401
    });
    assert!(noticed, "not within three seconds");
}

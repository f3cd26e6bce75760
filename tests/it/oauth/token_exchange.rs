//! Token exchange (RFC 8693).

use std::time::Duration;

use countersign::admin::{accounts, clients};
use serde_json::{Value, json};

use crate::app::{AUDIENCE, TestApp};
use crate::browser::CodeRequest;
use crate::relying_party::{Answer, RelyingParty, Tokens, basic};

const NEXT: &str = "https://stock.example";
const TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The service `orders`, which is called with tokens for [`AUDIENCE`] and calls [`NEXT`]; its secret.
fn service(app: &TestApp, id: &str, more: &Value) -> String {
    let mut metadata = json!({ "grant_types": [GRANT], "scope": "read stock", "audiences": [AUDIENCE, NEXT] });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.client(id, metadata).unwrap()
}

/// A person's access token with the scopes `openid email read` for [`AUDIENCE`], and what it came with.
fn person(app: &TestApp) -> (Tokens, String) {
    let (browser, email, _, _) = app.at_browser();
    let request = CodeRequest::new().with("scope", "openid email read");
    let code = crate::browser::code(&browser.allow(&browser.get(&request.path())));
    (request.redeem(&app.relying_party(), &code, &[]).tokens(), email)
}

fn exchange(party: &RelyingParty, (id, secret): (&str, &str), token: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("grant_type", GRANT), ("subject_token", token), ("subject_token_type", TYPE)];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    party.form("/token", &[("Authorization", &basic(id, secret))], &form)
}

#[test]
fn a_service_goes_on_for_the_person_that_it_was_called_for() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({}));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let answer = exchange(&party, ("orders", &secret), &tokens.access, &[("resource", NEXT)]);
    let json = answer.json();
    assert_eq!(
        (&json["issued_token_type"], &json["token_type"], &json["scope"]),
        (&json!(TYPE), &json!("Bearer"), &json!("read"))
    );
    assert_eq!((&json["refresh_token"], &json["id_token"]), (&Value::Null, &Value::Null));
    let (old, new) = (tokens.claims(), answer.tokens().claims());
    for same in ["sub", "sid", "auth_time", "acr", "amr", "status", "iss"] {
        assert_eq!(old[same], new[same], "{same}");
    }
    assert_eq!(
        (&new["aud"], &new["client_id"], &new["act"]),
        (&json!([NEXT]), &json!("orders"), &json!({ "sub": "orders" }))
    );
    // By its other name, and the next service after it.
    let by_audience = exchange(&party, ("orders", &secret), &tokens.access, &[("audience", NEXT)]).tokens();
    assert_eq!(by_audience.claims()["aud"], json!([NEXT]));
    let third = service(&app, "stock", &json!({ "audiences": [NEXT, "https://ship.example"] }));
    let further =
        exchange(&party, ("stock", &third), &by_audience.access, &[("resource", "https://ship.example")]).tokens();
    assert_eq!(further.claims()["act"], json!({ "sub": "stock", "act": { "sub": "orders" } }));
    let known = service(&app, "known", &json!({ "scope": "openid read" }));
    let answer = exchange(&party, ("known", &known), &tokens.access, &[]).json();
    assert_eq!(
        (&answer["scope"], &answer["id_token"]),
        (&json!("openid read"), &Value::Null),
        "nobody logged in at it"
    );
    // It says who acts to whoever asks (RFC 7662), and nobody learns from it who logged in.
    let asked = party
        .form("/introspect", &[("Authorization", &basic("stock", &third))], &[("token", &by_audience.access)])
        .json();
    assert_eq!((&asked["active"], &asked["act"]), (&json!(true), &json!({ "sub": "orders" })));
    let authorization = format!("Bearer {}", further.access);
    assert_ne!(party.get("/userinfo", &[("Authorization", &authorization)]).status, 200);
}

#[test]
fn an_operator_may_let_a_service_pass_for_the_person() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({ "token_exchange": "impersonation" }));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let claims = exchange(&party, ("orders", &secret), &tokens.access, &[("resource", NEXT)]).tokens().claims();
    assert_eq!(claims["act"], Value::Null);
    let actor = [("actor_token", tokens.access.as_str()), ("actor_token_type", TYPE)];
    assert_eq!(
        exchange(&party, ("orders", &secret), &tokens.access, &actor).error(),
        "invalid_request",
        "it acts for nobody"
    );
}

#[test]
fn the_actor_may_be_somebody_who_lets_the_service() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({ "grant_types": [GRANT, "client_credentials"] }));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let own = party.client_credentials("orders", &secret, &[]).tokens();
    let with = |token: &str| {
        exchange(&party, ("orders", &secret), &tokens.access, &[("actor_token", token), ("actor_token_type", TYPE)])
    };
    assert_eq!(with(&own.access).tokens().claims()["act"], json!({ "sub": "orders" }));
    let svc = app.confidential_client();
    app.client(
        "far",
        json!({ "grant_types": ["client_credentials"], "scope": "x", "audiences": ["https://far.example"] }),
    );
    let of_svc = party.client_credentials("svc", &svc, &[]).tokens();
    assert_eq!(
        with(&of_svc.access).tokens().claims()["act"],
        json!({ "sub": "svc" }),
        "which called us: the token is for us"
    );
    for bad in ["x", tokens.refresh_token()] {
        assert_eq!(
            with(bad).json()["error_description"],
            "the actor_token is not valid, or not to be used by this client"
        );
    }
    let alone = exchange(&party, ("orders", &secret), &tokens.access, &[("actor_token", &own.access)]);
    assert_eq!(alone.error(), "invalid_request", "without its type");
}

#[test]
fn nobody_gets_more_than_the_token_and_the_client_have() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({ "access_token_ttl": 86400 }));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let with = |more: &[(&str, &str)]| exchange(&party, ("orders", &secret), &tokens.access, more);
    for (more, error) in [
        ([("scope", "read stock")], "invalid_scope"),
        ([("scope", "email")], "invalid_scope"),
        ([("scope", "admin")], "invalid_scope"),
        ([("resource", "https://far.example")], "invalid_target"),
        ([("audience", "far")], "invalid_target"),
        ([("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        ([("requested_token_type", "urn:ietf:params:oauth:token-type:id_token")], "invalid_request"),
        ([("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")], "invalid_request"),
        ([("subject_token_type", "")], "invalid_request"),
        ([("subject_token", "")], "invalid_request"),
        ([("subject_token", "x")], "invalid_request"),
        ([("subject_token", tokens.refresh_token())], "invalid_request"),
    ] {
        assert_eq!(with(&more).error(), error, "{more:?}");
    }
    app.advance(Duration::from_mins(4));
    let made = with(&[]).tokens();
    assert_eq!(made.claims()["exp"], tokens.claims()["exp"], "it does not outlive what it was made of");
    app.advance(Duration::from_mins(6));
    assert_eq!(with(&[]).error(), "invalid_request", "over");
}

#[test]
fn only_those_whom_the_token_is_for_may_exchange_it() {
    let app = TestApp::start();
    let far = service(&app, "far", &json!({ "audiences": ["https://far.example"] }));
    let svc = app.confidential_client();
    let orders = service(&app, "orders", &json!({ "grant_types": [GRANT, "client_credentials"] }));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let refused = exchange(&party, ("far", &far), &tokens.access, &[]);
    assert_eq!(refused.json()["error_description"], "the subject_token is not for this client to exchange");
    assert_eq!(exchange(&party, ("svc", &svc), &tokens.access, &[]).error(), "unauthorized_client");
    let public = [
        ("grant_type", GRANT),
        ("client_id", "app"),
        ("subject_token", tokens.access.as_str()),
        ("subject_token_type", TYPE),
    ];
    assert_eq!(party.form("/token", &[], &public).error(), "unauthorized_client");
    let own = party.client_credentials("orders", &orders, &[]).tokens();
    let refused = exchange(&party, ("orders", &orders), &own.access, &[]);
    assert_eq!(refused.json()["error_description"], "the subject_token has no person behind it");
}

#[test]
fn what_is_made_of_a_token_dies_with_its_grant_and_with_its_own_client() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({}));
    let stock = service(&app, "stock", &json!({}));
    let (tokens, email) = person(&app);
    let party = app.relying_party();
    let make = || exchange(&party, ("orders", &secret), &tokens.access, &[("resource", NEXT)]).tokens().access;
    let active = |token: &str| {
        party.form("/introspect", &[("Authorization", &basic("stock", &stock))], &[("token", token)]).json()["active"]
            == true
    };
    let (one, two) = (make(), make());
    assert!(active(&one) && active(&two));
    // Its own client takes one back: that one, and not the person's grant.
    let revoked = party.form("/revoke", &[("Authorization", &basic("orders", &secret))], &[("token", &one)]);
    assert_eq!(revoked.status, 200);
    assert!(!active(&one) && active(&two) && active(&tokens.access));
    assert_eq!(
        exchange(&party, ("stock", &stock), &one, &[]).error(),
        "invalid_request",
        "nothing comes of it any more"
    );
    // Nobody else does.
    party.form("/revoke", &[("Authorization", &basic("stock", &stock))], &[("token", &two)]);
    assert!(active(&two));
    clients::disable(&app.app, "orders", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert!(!active(&two) && active(&tokens.access));
    assert_eq!(exchange(&party, ("orders", &secret), &tokens.access, &[]).error(), "invalid_client");
    clients::enable(&app.app, "orders", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert!(!active(&two), "for good");
    app.advance(Duration::from_secs(2));
    let three = make();
    assert!(active(&three));
    accounts::disable(&app.app, accounts::find(&app.app, &email).unwrap().id, "test").unwrap();
    assert!(!active(&three), "with the grant");
    let refused = exchange(&party, ("orders", &secret), &tokens.access, &[]);
    assert_eq!(refused.json()["error_description"], "the subject_token is not valid");
}

#[test]
fn a_circle_of_services_ends() {
    let app = TestApp::start();
    let secret = service(&app, "orders", &json!({}));
    let (tokens, _) = person(&app);
    let party = app.relying_party();
    let mut token = tokens.access;
    for _ in 0..4 {
        token = exchange(&party, ("orders", &secret), &token, &[]).tokens().access;
    }
    assert_eq!(exchange(&party, ("orders", &secret), &token, &[]).error(), "invalid_request");
}

//! The metadata and what is done agree (RFC 8414 §2): each value that is listed works, and of those that are not listed none
//! does. What is tried is read off the document.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::admin::{accounts, clients};
use countersign::clock::Clock;
use countersign::protocol::client_metadata::ClientMetadata;
use countersign::secret::{PlainSecret, decode_base64url};
use serde_json::{Map, Value, json};

use crate::app::{BEGINNING, PASSWORD, TestApp, TestDatabase};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code, response};
use crate::client_key::{ClientKey, asserted};
use crate::relying_party::Answer;

fn document(app: &TestApp) -> Value {
    app.relying_party().get("/.well-known/openid-configuration", &[]).json()
}

/// Of what the document lists under `name` and of `others`, each is listed exactly when it works.
#[track_caller]
fn each_works_or_is_not_listed(document: &Value, name: &str, others: &[&str], works: impl Fn(&str) -> bool) {
    let listed: Vec<&str> = document[name].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    assert!(!listed.is_empty(), "{name}");
    for value in &listed {
        assert!(works(value), "{name} lists {value}, which does not work");
    }
    for value in others.iter().filter(|value| !listed.contains(value)) {
        assert!(!works(value), "{name} does not list {value}, which works");
    }
}

fn registers(app: &TestApp, metadata: &Value) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = format!("registered-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let parsed = ClientMetadata::parse(&metadata.to_string());
    parsed.is_ok_and(|(_, metadata)| clients::create(&app.app, &id, metadata, "test").is_ok())
}

#[test]
fn requests_for_codes_are_taken_as_the_metadata_says() {
    let app = TestApp::start();
    let document = document(&app);
    let (browser, ..) = app.at_browser();
    let answered = |request: &CodeRequest| {
        let answer = browser.get(&request.path());
        if answer.status == 200 {
            Form::of(&answer).fields.iter().any(|(name, _)| name == "code")
        } else {
            response(&answer).contains_key("code")
        }
    };
    let with = |name: &'static str| move |value: &str| CodeRequest::new().with(name, value);
    let types =
        ["code", "token", "id_token", "none", "code token", "code id_token", "code id_token token", "id_token token"];
    each_works_or_is_not_listed(&document, "response_types_supported", &types, |value| {
        answered(&with("response_type")(value))
    });
    let modes = ["query", "form_post", "fragment", "jwt", "query.jwt", "form_post.jwt", "web_message"];
    each_works_or_is_not_listed(&document, "response_modes_supported", &modes, |value| {
        answered(&with("response_mode")(value))
    });
    each_works_or_is_not_listed(
        &document,
        "code_challenge_methods_supported",
        &["S256", "plain", "s256", "S512"],
        |value| answered(&with("code_challenge_method")(value)),
    );
    let prompts = ["none", "login", "consent", "select_account", "create", "reauth"];
    each_works_or_is_not_listed(&document, "prompt_values_supported", &prompts, |value| {
        let answer = browser.get(&with("prompt")(value).path());
        !answer.header("location").unwrap().contains("error=")
    });
    each_works_or_is_not_listed(
        &document,
        "acr_values_supported",
        &["aal2", "aal3", "urn:mace:incommon:iap:silver", "0"],
        |value| {
            let claims = json!({ "id_token": { "acr": { "essential": true, "value": value } } });
            answered(&CodeRequest::new().with("claims", &claims.to_string()))
        },
    );
    each_works_or_is_not_listed(&document, "ui_locales_supported", &["fr", "es", "it", "ja"], |value| {
        let page = browser.follow(&browser.get(&with("prompt")("login").with("ui_locales", value).path()));
        page.body.contains(&format!("<html lang=\"{value}\""))
    });
    assert_eq!(response(&browser.get(&CodeRequest::new().path()))["iss"], document["issuer"]);
}

#[test]
fn grant_types_are_taken_as_the_metadata_says() {
    let app = TestApp::start();
    let others = [
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:openid:params:grant-type:ciba",
        "urn:ietf:params:oauth:grant-type:uma-ticket",
        "CLIENT_CREDENTIALS",
    ];
    app.public_client();
    each_works_or_is_not_listed(&document(&app), "grant_types_supported", &others, |value| {
        // Known, and wanting more than that.
        let more = [("subject_token_type", "x"), ("device_code", "x"), ("code", "x"), ("refresh_token", "x")];
        let mut form = vec![("grant_type", value), ("client_id", "web")];
        form.extend(more);
        let answer = app.relying_party().form("/token", &[], &form);
        answer.error() != "unsupported_grant_type"
    });
}

#[test]
fn clients_are_registered_as_the_metadata_says() {
    registered_as_the_metadata_says(&TestApp::start());
}

#[test]
fn clients_of_a_server_that_signs_by_ps256_are_registered_as_its_metadata_says() {
    let settings = [("keys.algorithm", "PS256")];
    registered_as_the_metadata_says(&TestApp::on(Arc::new(TestDatabase::empty()), Clock::manual(BEGINNING), &settings));
}

#[track_caller]
fn registered_as_the_metadata_says(app: &TestApp) {
    let document = document(app);
    let key = ClientKey::p256();
    let client = |name: &'static str| {
        let jwks = key.jwks();
        move |value: &str| {
            registers(
                app,
                &json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "jwks": jwks, name: value }),
            )
        }
    };
    let algorithms =
        ["none", "HS256", "HS512", "ES256", "ES384", "ES512", "PS256", "PS384", "RS256", "RS384", "RS512", "ES256K"];
    each_works_or_is_not_listed(&document, "subject_types_supported", &["ephemeral", "Public"], client("subject_type"));
    for (list, member) in [
        ("userinfo_signing_alg_values_supported", "userinfo_signed_response_alg"),
        ("id_token_signing_alg_values_supported", "id_token_signed_response_alg"),
        ("token_endpoint_auth_signing_alg_values_supported", "token_endpoint_auth_signing_alg"),
        ("request_object_signing_alg_values_supported", "request_object_signing_alg"),
    ] {
        each_works_or_is_not_listed(&document, list, &algorithms, client(member));
    }
    let methods = ["client_secret_jwt", "self_signed", "Basic", "attest_jwt_client_auth"];
    each_works_or_is_not_listed(
        &document,
        "token_endpoint_auth_methods_supported",
        &methods,
        client("token_endpoint_auth_method"),
    );
}

/// Something signed by that algorithm, and the key of the kind for it that signed it.
fn signed(alg: &str, claims: &Value, more: &Value) -> (String, ClientKey) {
    let key = match alg {
        "EdDSA" | "Ed25519" => ClientKey::ed25519(),
        "PS256" | "RS256" | "RS384" | "RS512" => ClientKey::rsa(),
        _ => ClientKey::p256(),
    };
    let mut header = json!({ "alg": alg });
    header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    if header["jwk"] == json!("own") {
        header["jwk"] = key.jwk();
    }
    (key.sign_with(&header, claims), key)
}

#[test]
fn what_clients_sign_is_taken_as_the_metadata_says() {
    let app = TestApp::start();
    let document = document(&app);
    let party = app.relying_party();
    let now = app.app.clock.now().unix_seconds();
    let others = ["none", "HS256", "ES384", "RS384", "RS512", "rs256"];
    let count = std::cell::Cell::new(0);
    let id = || {
        count.set(count.get() + 1);
        format!("bank{}", count.get())
    };
    let register = |id: &str, key: &ClientKey, method: &str| {
        app.client(
            id,
            json!({ "token_endpoint_auth_method": method, "grant_types": ["client_credentials", "authorization_code"],
            "redirect_uris": [CALLBACK], "scope": "openid", "jwks": key.jwks() }),
        );
    };
    for (list, path) in [
        ("token_endpoint_auth_signing_alg_values_supported", "/token"),
        ("revocation_endpoint_auth_signing_alg_values_supported", "/revoke"),
        ("introspection_endpoint_auth_signing_alg_values_supported", "/introspect"),
    ] {
        each_works_or_is_not_listed(&document, list, &others, |alg| {
            let id = id();
            let claims = json!({ "iss": id, "sub": id, "aud": app.base, "exp": now + 60, "jti": id });
            let (assertion, key) = signed(alg, &claims, &json!({}));
            register(&id, &key, "private_key_jwt");
            let form = [("grant_type", "client_credentials"), ("token", "x")];
            party.form(path, &[], &asserted(&assertion, &form)).status == 200
        });
    }
    each_works_or_is_not_listed(&document, "request_object_signing_alg_values_supported", &others, |alg| {
        let id = id();
        let mut claims = json!({ "iss": id, "aud": app.base });
        for (name, value) in CodeRequest::of(&id, CALLBACK).with("scope", "openid").parameters {
            claims[name] = json!(value);
        }
        let (object, key) = signed(alg, &claims, &json!({}));
        register(&id, &key, "private_key_jwt");
        Browser::new(&app).get(&format!("/authorize?client_id={id}&request={object}")).status == 303
    });
    let secret = app.confidential_client();
    let header = crate::relying_party::basic("svc", &secret);
    each_works_or_is_not_listed(&document, "dpop_signing_alg_values_supported", &others, |alg| {
        let claims = json!({ "jti": id(), "htm": "POST", "htu": format!("{}/token", app.base), "iat": now });
        let (proof, _) = signed(alg, &claims, &json!({ "typ": "dpop+jwt", "jwk": "own" }));
        let headers = [("Authorization", header.as_str()), ("DPoP", proof.as_str())];
        party.form("/token", &headers, &[("grant_type", "client_credentials")]).status == 200
    });
}

#[test]
fn a_person_who_says_everything_is_seen_as_the_metadata_says() {
    let app = TestApp::start();
    let document = document(&app);
    let texts = |name: &str| -> Vec<String> { serde_json::from_value(document[name].clone()).unwrap() };
    let (scopes, claims) = (texts("scopes_supported"), texts("claims_supported"));
    app.client(
        "app",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [CALLBACK], "scope": scopes.join(" ") }),
    );
    let own = ["sub", "auth_time", "acr", "amr", "email"];
    let said = claims.iter().filter(|name| !own.contains(&name.as_str())).map(|name| {
        let value = match name.as_str() {
            "email_verified" | "phone_number_verified" => json!(true),
            "updated_at" => json!(1),
            "address" => json!({ "locality": "London" }),
            _ => json!("x"),
        };
        (name.clone(), value)
    });
    let new = accounts::NewAccount {
        email: "all@people.test".to_owned(),
        username: None,
        roles: Vec::new(),
        password: PlainSecret::new(PASSWORD),
        claims: said.collect::<Map<String, Value>>(),
    };
    accounts::create(&app.app, &new, "test").unwrap();
    let (browser, request) = (Browser::new(&app), CodeRequest::new().with("scope", &scopes.join(" ")));
    let code = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), "all@people.test")));
    let answer: Answer = request.redeem(&app.relying_party(), &code, &[]);
    let tokens = answer.tokens();
    let granted: BTreeSet<_> = tokens.scope.split(' ').map(str::to_owned).collect();
    assert_eq!(granted, scopes.into_iter().collect());
    let answer_json = answer.json();
    let id_token = answer_json["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let id_token: Value = serde_json::from_slice(&decode_base64url(id_token).unwrap()).unwrap();
    let userinfo =
        app.relying_party().get("/userinfo", &[("Authorization", &format!("Bearer {}", tokens.access))]).json();
    for name in claims {
        assert!(userinfo.get(&name).or_else(|| id_token.get(&name)).is_some(), "{name} is nowhere");
    }
}

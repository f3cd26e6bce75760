//! Claims by name (OpenID Connect Core §5.5), strengths of log-in, subjects of a sector (§8.1), signed answers (§5.3.2).

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, code, response};
use countersign::secret::decode_base64url;

fn claims_of(jwt: &str) -> Value {
    serde_json::from_slice(&decode_base64url(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[test]
fn claims_come_where_they_were_asked_for() {
    let app = TestApp::start();
    app.code_client();
    let (account, email) = app.account();
    let browser = Browser::new(&app);
    let claims = json!({ "userinfo": { "email": { "essential": true } }, "id_token": { "email": null, "email_verified": null, "x": null } });
    let request = CodeRequest::new().with("scope", "openid").with("claims", &claims.to_string());
    let code = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), &email)));
    let answer = request.redeem(&app.relying_party(), &code, &[]);
    let id_token = claims_of(answer.json()["id_token"].as_str().unwrap());
    assert_eq!((&id_token["email"], &id_token["email_verified"]), (&json!(email), &json!(false)));
    assert_eq!(id_token["sub"], account.id.to_string());
    let tokens = answer.tokens();
    let ask =
        |access: &str| app.relying_party().get("/userinfo", &[("Authorization", &format!("Bearer {access}"))]).json();
    let expected = json!({ "sub": account.id.to_string(), "email": email });
    assert_eq!(ask(&tokens.access), expected);
    let next = app.relying_party().refresh("app", tokens.refresh_token()).tokens();
    assert_eq!(ask(&next.access), expected, "and of what follows it");
    // Without the parameter there is nothing of it.
    let plain = CodeRequest::new().with("scope", "openid");
    let code = crate::browser::code(&browser.get(&plain.path()));
    assert_eq!(
        ask(&plain.redeem(&app.relying_party(), &code, &[]).tokens().access),
        json!({ "sub": account.id.to_string() })
    );
}

#[test]
fn a_request_may_insist_on_a_person_and_on_a_strength() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let (other, _) = app.account();
    let with = |claims: Value| CodeRequest::new().with("prompt", "none").with("claims", &claims.to_string());
    let error = |request: &CodeRequest| response(&browser.get(&request.path())).remove("error").unwrap_or_default();
    let strong = json!({ "id_token": { "acr": { "essential": true, "values": ["aal3"] } } });
    assert_eq!(error(&with(strong)), "unmet_authentication_requirements");
    let met = json!({ "id_token": { "acr": { "essential": true, "values": ["aal3", "aal1"] } } });
    assert_eq!(error(&with(met)), "");
    let voluntary = json!({ "id_token": { "acr": { "values": ["aal3"] } } });
    assert_eq!(error(&with(voluntary)), "");
    assert_eq!(error(&CodeRequest::new().with("prompt", "none").with("acr_values", "aal3 aal2")), "");
    let somebody = json!({ "id_token": { "sub": { "value": other.id.to_string() } } });
    assert_eq!(error(&with(somebody)), "login_required");
    assert_eq!(error(&with(json!([]))), "invalid_request");
}

#[test]
fn clients_of_different_sectors_cannot_tell_that_they_know_the_same_person() {
    let app = TestApp::start();
    let (account, email) = app.account();
    for (id, host) in [("a1", "a.example"), ("a2", "a.example"), ("b", "b.example")] {
        app.client(
            id,
            json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [format!("https://{host}/cb")], "scope": "openid", "subject_type": "pairwise" }),
        );
    }
    let browser = Browser::new(&app);
    let party = app.relying_party();
    let subject = |id: &str, host: &str| {
        let redirect = format!("https://{host}/cb");
        let request = CodeRequest::of(id, &redirect).with("scope", "openid");
        let mut answer = browser.get(&request.path());
        if answer.header("location").unwrap().starts_with("/login") {
            answer = browser.log_in(&answer, &email);
        }
        let answer = browser.allow(&answer);
        let location = answer.header("location").unwrap();
        let code = location.split("code=").nth(1).unwrap().split('&').next().unwrap();
        let answer = request.redeem(&party, code, &[("redirect_uri", &redirect)]);
        let id_token = answer.json()["id_token"].as_str().unwrap().to_owned();
        let tokens = answer.tokens();
        let sub = claims_of(&id_token)["sub"].as_str().unwrap().to_owned();
        assert_eq!(tokens.claims()["sub"], sub, "the access token says no more");
        let userinfo = party.get("/userinfo", &[("Authorization", &format!("Bearer {}", tokens.access))]).json();
        assert_eq!(userinfo["sub"], sub);
        let next = party.refresh(id, tokens.refresh_token());
        assert_eq!(claims_of(next.json()["id_token"].as_str().unwrap())["sub"], sub);
        (sub, id_token)
    };
    let ((a1, hint), (a2, _), (b, _)) =
        (subject("a1", "a.example"), subject("a2", "a.example"), subject("b", "b.example"));
    assert_eq!(a1, a2);
    assert_ne!(a1, b);
    assert_ne!(a1, account.id.to_string());
    assert!(!a1.contains(&email));
    // Its own hint is understood.
    let silent = CodeRequest::of("a1", "https://a.example/cb")
        .with("scope", "openid")
        .with("id_token_hint", &hint)
        .with("prompt", "none");
    assert!(browser.get(&silent.path()).header("location").unwrap().contains("code="));
}

#[test]
fn the_answer_about_a_person_is_signed_for_a_client_that_wants_it() {
    let app = TestApp::start();
    app.client("sig", json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
        "scope": "openid email", "userinfo_signed_response_alg": "RS256" }));
    let (account, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of("sig", CALLBACK));
    let code = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), &email)));
    let tokens = request.redeem(&app.relying_party(), &code, &[]).tokens();
    let answer = app.relying_party().get("/userinfo", &[("Authorization", &format!("Bearer {}", tokens.access))]);
    assert_eq!(answer.header("content-type"), Some("application/jwt"));
    let claims = claims_of(&answer.body);
    let expected = json!({ "iss": app.base, "aud": "sig", "sub": account.id.to_string(), "email": email, "email_verified": false });
    assert_eq!(claims, expected);
    // It lets nobody in and names nobody.
    let hinted = CodeRequest::of("sig", CALLBACK).with("id_token_hint", &answer.body).with("prompt", "none");
    assert_eq!(response(&browser.get(&hinted.path()))["error"], "login_required");
    let again = app.relying_party().get("/userinfo", &[("Authorization", &format!("Bearer {}", answer.body))]);
    assert_eq!(again.status, 401);
}

#[test]
fn a_claim_by_name_is_no_way_around_consent_nor_around_what_the_client_is_registered_for() {
    let app = TestApp::start();
    app.code_client();
    app.client(
        "small",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
            "scope": "openid" }),
    );
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let claims = json!({ "userinfo": { "email": null }, "id_token": { "email": null } }).to_string();
    // The person allows that the client knows who it is, and no more.
    let plain = CodeRequest::new().with("scope", "openid");
    browser.allow(&browser.log_in(&browser.get(&plain.path()), &email));
    let silent = CodeRequest::new().with("scope", "openid").with("claims", &claims).with("prompt", "none");
    assert_eq!(response(&browser.get(&silent.path()))["error"], "consent_required");
    let asked = CodeRequest::new().with("scope", "openid").with("claims", &claims);
    let page = browser.follow(&browser.get(&asked.path()));
    assert!(page.body.contains("see your e-mail address"), "{}", page.body);
    // What an operator did not register is not given, whoever allows it.
    let small = CodeRequest::of("small", CALLBACK).with("scope", "openid").with("claims", &claims);
    let allowed = browser.allow(&browser.get(&small.path()));
    let answer = small.redeem(&app.relying_party(), &code(&allowed), &[]);
    assert_eq!(claims_of(answer.json()["id_token"].as_str().unwrap())["email"], Value::Null);
    let authorization = format!("Bearer {}", answer.tokens().access);
    let userinfo = app.relying_party().get("/userinfo", &[("Authorization", &authorization)]).json();
    assert_eq!(userinfo["email"], Value::Null);
}

//! The userinfo endpoint (OpenID Connect Core §5.3, RFC 6750).

use countersign::admin::accounts;
use countersign::secret::PlainSecret;
use serde_json::json;

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CodeRequest, code};

#[test]
fn each_scope_shows_its_own_claims_and_no_others() {
    let app = TestApp::start();
    app.code_client();
    let claims = json!({ "name": "Ada Lovelace", "email_verified": true, "phone_number": "+44 1", "locale": "en-GB" });
    let new = accounts::NewAccount {
        email: "ada@people.test".to_owned(),
        username: Some("ada".to_owned()),
        roles: Vec::new(),
        password: PlainSecret::new(PASSWORD),
        claims: claims.as_object().unwrap().clone(),
    };
    let account = accounts::create(&app.app, &new, "test").unwrap();
    let (browser, party) = (Browser::new(&app), app.relying_party());
    let first = CodeRequest::new().with("scope", "openid profile email");
    browser.allow(&browser.log_in(&browser.get(&first.path()), "ada"));
    let sub = account.id.to_string();
    for (scope, expected) in [
        ("openid", json!({ "sub": sub })),
        ("openid email", json!({ "sub": sub, "email": "ada@people.test", "email_verified": true })),
        (
            "openid profile",
            json!({ "sub": sub, "name": "Ada Lovelace", "locale": "en-GB", "preferred_username": "ada" }),
        ),
    ] {
        let request = CodeRequest::new().with("scope", scope);
        let tokens = request.redeem(&party, &code(&browser.get(&request.path())), &[]).tokens();
        let authorization = format!("Bearer {}", tokens.access);
        for method in ["GET", "POST"] {
            let answer = party.send(method, "/userinfo", &[("Authorization", &authorization)], b"");
            assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{scope}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

#[test]
fn only_an_access_token_with_openid_in_the_header_opens_it() {
    let app = TestApp::start();
    let (browser, email, request, first) = app.at_browser();
    let party = app.relying_party();
    let answer = request.redeem(&party, &first, &[]);
    let id_token = answer.json()["id_token"].as_str().unwrap().to_owned();
    let tokens = answer.tokens();
    browser.allow(&browser.get(&CodeRequest::new().with("scope", "openid email read").path()));
    let plain = CodeRequest::new().with("scope", "read");
    let without = plain.redeem(&party, &code(&browser.get(&plain.path())), &[]).tokens();
    let ask = |authorization: &str| {
        let answer = party.get("/userinfo", &[("Authorization", authorization)]);
        (answer.status, answer.header("www-authenticate").unwrap_or_default().to_owned())
    };
    let invalid = r#"Bearer realm="countersign", error="invalid_token""#;
    for authorization in [
        format!("Bearer {id_token}"),
        format!("Bearer {}", tokens.refresh_token()),
        format!("Basic {}", tokens.access),
        format!("Bearer {}x", tokens.access),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        tokens.access.clone(),
    ] {
        assert_eq!(ask(&authorization), (401, invalid.to_owned()), "{authorization}");
    }
    assert_eq!(ask(&format!("Bearer {}", without.access)).0, 403);
    let bare = party.get("/userinfo", &[]);
    let challenges = r#"Bearer realm="countersign", DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#;
    assert_eq!((bare.status, bare.header("www-authenticate")), (401, Some(challenges)));
    // RFC 6750 §2.2, §2.3: neither of these places is read.
    assert_eq!(party.get(&format!("/userinfo?access_token={}", tokens.access), &[]).status, 401);
    assert_eq!(party.form("/userinfo", &[], &[("access_token", &tokens.access)]).status, 401);
    assert_eq!(ask(&format!("bearer {}", tokens.access)).0, 200, "RFC 9110 §11.1: a scheme has no case");
    accounts::disable(&app.app, accounts::find(&app.app, &email).unwrap().id, "test").unwrap();
    assert_eq!(ask(&format!("Bearer {}", tokens.access)), (401, invalid.to_owned()));
}

//! Tokens that are bound to a key (RFC 9449; SECURITY-BAR CA-10).

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, code};
use crate::client_key::{ClientKey, asserted, ath};
use crate::oauth::device;
use crate::relying_party::{Answer, Tokens, basic};

const TOKEN: (&str, &str) = ("POST", "/token");

fn redeem(app: &TestApp, request: &CodeRequest, code: &str, proof: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "app"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &request.verifier),
    ];
    app.relying_party().form("/token", &[("DPoP", proof)], &form)
}

fn refresh(app: &TestApp, token: &str, proof: Option<&str>) -> Answer {
    refresh_of("app", app, token, proof)
}

fn refresh_of(client_id: &str, app: &TestApp, token: &str, proof: Option<&str>) -> Answer {
    let form = [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", token)];
    let headers: Vec<_> = proof.iter().map(|proof| ("DPoP", *proof)).collect();
    app.relying_party().form("/token", &headers, &form)
}

/// A public client's tokens, bound to the key.
fn bound(app: &TestApp, key: &ClientKey) -> Tokens {
    let (_, _, request, code) = app.at_browser();
    let answer = redeem(app, &request, &code, &key.proof(app, TOKEN, &json!({})));
    assert_eq!(answer.json()["token_type"], "DPoP");
    answer.tokens()
}

#[test]
fn tokens_are_bound_to_the_key_of_the_proof() {
    let app = TestApp::start();
    for key in [ClientKey::p256(), ClientKey::ed25519(), ClientKey::rsa()] {
        let app = if key.jwk()["kty"] == "EC" { &app } else { &TestApp::start() };
        let tokens = bound(app, &key);
        assert_eq!(tokens.claims()["cnf"], json!({ "jkt": key.thumbprint() }));
        let next = refresh(app, tokens.refresh_token(), Some(&key.proof(app, TOKEN, &json!({}))));
        assert_eq!(next.json()["token_type"], "DPoP");
        assert_eq!(next.tokens().claims()["cnf"]["jkt"], key.thumbprint());
    }
}

#[test]
fn a_refresh_token_of_a_public_client_is_worth_nothing_without_its_key() {
    let app = TestApp::start();
    let (key, thief) = (ClientKey::p256(), ClientKey::p256());
    let tokens = bound(&app, &key);
    let before = app.database.rotations();
    for proof in [None, Some(thief.proof(&app, TOKEN, &json!({})))] {
        let answer = refresh(&app, tokens.refresh_token(), proof.as_deref());
        assert_eq!(
            (answer.error().as_str(), &answer.json()["error_description"]),
            ("invalid_grant", &json!("the refresh token is not valid"))
        );
    }
    assert_eq!(app.database.rotations(), before, "nothing was written");
    assert_eq!(refresh(&app, tokens.refresh_token(), Some(&key.proof(&app, TOKEN, &json!({})))).status, 200);
}

#[test]
fn a_refresh_token_that_is_of_use_only_with_a_key_stays_the_same() {
    let app = TestApp::start();
    let (key, (_, email)) = (ClientKey::p256(), app.account());
    let bank = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks(), "scope": "read",
        "grant_types": ["password", "refresh_token"] });
    app.client("bank", bank);
    let ask = |more: &[(&str, &str)]| {
        app.relying_party().form("/token", &[], &asserted(&key.assertion(&app, "bank", &json!({})), more))
    };
    let again = |token: &str| ask(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let of_bank = ask(&[("grant_type", "password"), ("username", &email), ("password", PASSWORD)]).tokens();
    let of_app = bound(&app, &key);
    let uses = || {
        let kept = again(of_bank.refresh_token());
        assert_eq!(kept.tokens().refresh_token(), of_bank.refresh_token());
        let kept = refresh(&app, of_app.refresh_token(), Some(&key.proof(&app, TOKEN, &json!({}))));
        assert_eq!(kept.tokens().refresh_token(), of_app.refresh_token());
    };
    // FAPI 2.0 §5.3.2.1: however often and however late.
    let before = app.database.rotations();
    (0..20).for_each(|_| uses());
    assert_eq!(app.database.rotations(), before, "nor is anything written");
    // Its idle life of 14 days begins anew each time, its life of 90 days does not.
    for _ in 0..6 {
        app.advance(Duration::from_hours(13 * 24));
        uses();
    }
    app.advance(Duration::from_hours(12 * 24 + 1));
    assert_eq!(again(of_bank.refresh_token()).error(), "invalid_grant");
    // Whoever has a secret alone spends each token by using it.
    let secret = app.confidential_client();
    let form = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    let first = app.relying_party().form("/token", &[("Authorization", &basic("svc", &secret))], &form).tokens();
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh_token())];
    let next = app.relying_party().form("/token", &[("Authorization", &basic("svc", &secret))], &form).tokens();
    assert_ne!(next.refresh_token(), first.refresh_token());
}

#[test]
fn a_refresh_token_that_stays_the_same_is_over_when_it_is_not_used_or_taken_back() {
    let key = ClientKey::p256();
    let ask =
        |app: &TestApp, tokens: &Tokens| refresh(app, tokens.refresh_token(), Some(&key.proof(app, TOKEN, &json!({}))));
    let app = TestApp::start();
    let idle = bound(&app, &key);
    app.advance(Duration::from_hours(24));
    assert_eq!(ask(&app, &idle).status, 200);
    app.advance(Duration::from_hours(14 * 24 + 1));
    assert_eq!(ask(&app, &idle).error(), "invalid_grant");
    let app = TestApp::start();
    let taken = bound(&app, &key);
    let gone = [("client_id", "app"), ("token", taken.refresh_token())];
    assert_eq!(app.relying_party().form("/revoke", &[], &gone).status, 200);
    assert_eq!(ask(&app, &taken).error(), "invalid_grant");
}

#[test]
fn a_proof_is_for_one_request_by_one_key_at_one_moment() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let (key, other) = (ClientKey::p256(), ClientKey::p256());
    let header = basic("svc", &secret);
    let send = |proofs: &[&str]| {
        let mut headers = vec![("Authorization", header.as_str())];
        headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
        app.relying_party().form("/token", &headers, &[("grant_type", "client_credentials")])
    };
    let now = app.app.clock.now().unix_seconds();
    let proof = |changes: Value| key.proof(&app, TOKEN, &changes);
    let good = proof(json!({}));
    let claims = json!({ "jti": "x", "htm": "POST", "htu": format!("{}/token", app.base), "iat": now });
    let private = {
        let mut jwk = key.jwk();
        jwk["d"] = json!("AA");
        jwk
    };
    for bad in [
        proof(json!({ "htm": "GET" })),
        proof(json!({ "htm": "post" })),
        proof(json!({ "htu": format!("{}/revoke", app.base) })),
        proof(json!({ "htu": "https://as.example/token" })),
        proof(json!({ "htu": Value::Null })),
        proof(json!({ "jti": Value::Null })),
        proof(json!({ "jti": "" })),
        proof(json!({ "iat": Value::Null })),
        key.sign_with(&json!({ "typ": "JWT", "alg": "ES256", "jwk": key.jwk() }), &claims),
        key.sign_with(&json!({ "alg": "ES256", "jwk": key.jwk() }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "ES256" }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": other.jwk() }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": private }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "none", "jwk": key.jwk() }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "RS256", "jwk": key.jwk() }), &claims),
        key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "HS256", "jwk": { "kty": "oct", "k": "AA" } }), &claims),
        "x".to_owned(),
    ] {
        let answer = send(&[&bad]);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_dpop_proof"), "{bad}");
    }
    assert_eq!(send(&[&good, &proof(json!({}))]).error(), "invalid_dpop_proof", "two of them");
    assert_eq!(send(&[&good]).status, 200);
    assert_eq!(send(&[&good]).json()["error_description"], "the DPoP proof was used before");
    let query = proof(json!({ "htu": format!("{}/%74oken?x=1", app.base) }));
    assert_eq!(send(&[&query]).status, 200, "RFC 9449 §4.3 no. 9");
}

#[test]
fn a_proof_is_used_once_on_whatever_instance() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let (key, other) = (ClientKey::p256(), app.second_instance());
    let (proof, header) = (key.proof(&app, TOKEN, &json!({})), basic("svc", &secret));
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|nth| {
                let party = if nth % 2 == 0 { app.relying_party() } else { other.relying_party() };
                let headers = [("Authorization", header.as_str()), ("DPoP", proof.as_str())];
                scope.spawn(move || party.form("/token", &headers, &[("grant_type", "client_credentials")]).status)
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_client_whose_clock_is_wrong_goes_by_our_nonce() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let (key, header) = (ClientKey::p256(), basic("svc", &secret));
    let send = |proof: &str| {
        let headers = [("Authorization", header.as_str()), ("DPoP", proof)];
        app.relying_party().form("/token", &headers, &[("grant_type", "client_credentials")])
    };
    let now = app.app.clock.now().unix_seconds();
    for iat in [now - 61, now + 61, 0] {
        let answer = send(&key.proof(&app, TOKEN, &json!({ "iat": iat })));
        assert_eq!((answer.status, answer.error().as_str()), (400, "use_dpop_nonce"));
        let nonce = answer.header("dpop-nonce").unwrap().to_owned();
        assert_eq!(send(&key.proof(&app, TOKEN, &json!({ "iat": iat, "nonce": nonce }))).status, 200);
    }
    assert_eq!(send(&key.proof(&app, TOKEN, &json!({ "nonce": "forged" }))).error(), "use_dpop_nonce");
    let answer = send(&key.proof(&app, TOKEN, &json!({})));
    let nonce = answer.header("dpop-nonce").unwrap().to_owned();
    app.advance(Duration::from_mins(5));
    assert_eq!(send(&key.proof(&app, TOKEN, &json!({ "nonce": nonce }))).status, 200);
    app.advance(Duration::from_mins(5));
    assert_eq!(send(&key.proof(&app, TOKEN, &json!({ "nonce": nonce }))).error(), "use_dpop_nonce", "over");
}

#[test]
fn an_operator_may_want_a_nonce_in_every_proof() {
    let app = TestApp::with(&[("tokens.dpop_nonce_required", "true")]);
    let key = ClientKey::p256();
    let (_, _, request, code) = app.at_browser();
    let answer = redeem(&app, &request, &code, &key.proof(&app, TOKEN, &json!({})));
    assert_eq!(answer.error(), "use_dpop_nonce");
    let nonce = answer.header("dpop-nonce").unwrap();
    let proof = key.proof(&app, TOKEN, &json!({ "nonce": nonce }));
    assert_eq!(redeem(&app, &request, &code, &proof).status, 200, "the code was not used up");
}

#[test]
fn a_client_may_be_registered_for_nothing_else() {
    let app = TestApp::start();
    let secret = app
        .client(
            "strict",
            json!({ "grant_types": ["client_credentials"], "scope": "jobs", "dpop_bound_access_tokens": true }),
        )
        .unwrap();
    let (key, header, party) = (ClientKey::p256(), basic("strict", &secret), app.relying_party());
    let form = [("grant_type", "client_credentials")];
    assert_eq!(party.form("/token", &[("Authorization", &header)], &form).error(), "invalid_dpop_proof");
    let proof = key.proof(&app, TOKEN, &json!({}));
    let tokens = party.form("/token", &[("Authorization", &header), ("DPoP", &proof)], &form).tokens();
    // Introspection says how it is bound (RFC 9449 §6.2).
    let json = party.form("/introspect", &[("Authorization", &header)], &[("token", &tokens.access)]).json();
    assert_eq!((&json["active"], &json["token_type"]), (&json!(true), &json!("DPoP")));
    assert_eq!(json["cnf"], json!({ "jkt": key.thumbprint() }));
}

#[test]
fn a_code_is_bound_to_the_key_that_its_request_named() {
    let app = TestApp::start();
    let (key, thief) = (ClientKey::p256(), ClientKey::p256());
    let (browser, ..) = app.at_browser();
    let request = CodeRequest::new().with("dpop_jkt", &key.thumbprint());
    let bound = code(&browser.get(&request.path()));
    assert_eq!(redeem(&app, &request, &bound, &thief.proof(&app, TOKEN, &json!({}))).error(), "invalid_grant");
    assert_eq!(request.redeem(&app.relying_party(), &bound, &[]).error(), "invalid_grant", "no proof at all");
    assert_eq!(redeem(&app, &request, &bound, &key.proof(&app, TOKEN, &json!({}))).status, 200, "nothing used it up");
    // A proof at the endpoint where requests are pushed does the same (RFC 9449 §10.1).
    let request = CodeRequest::new();
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let proof = key.proof(&app, ("POST", "/par"), &json!({}));
    let pushed = app.relying_party().form("/par", &[("DPoP", &proof)], &pairs).json();
    let uri = pushed["request_uri"].as_str().unwrap().replace(':', "%3A");
    let pushed = code(&browser.get(&format!("/authorize?client_id=app&request_uri={uri}")));
    assert_eq!(redeem(&app, &request, &pushed, &thief.proof(&app, TOKEN, &json!({}))).error(), "invalid_grant");
    assert_eq!(redeem(&app, &request, &pushed, &key.proof(&app, TOKEN, &json!({}))).status, 200);
    let both = request.with("dpop_jkt", &thief.thumbprint());
    let pairs: Vec<_> = both.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let proof = key.proof(&app, ("POST", "/par"), &json!({}));
    assert_eq!(app.relying_party().form("/par", &[("DPoP", &proof)], &pairs).error(), "invalid_dpop_proof");
}

#[test]
fn a_bound_token_opens_nothing_without_its_key() {
    let app = TestApp::start();
    let (key, thief) = (ClientKey::p256(), ClientKey::p256());
    let tokens = bound(&app, &key);
    let hash = ath(&tokens.access);
    let ask = |scheme: &str, proof: Option<String>| {
        let authorization = format!("{scheme} {}", tokens.access);
        let mut headers = vec![("Authorization", authorization.as_str())];
        headers.extend(proof.iter().map(|proof| ("DPoP", proof.as_str())));
        app.relying_party().get("/userinfo", &headers)
    };
    let proof = |key: &ClientKey, changes: Value| Some(key.proof(&app, ("GET", "/userinfo"), &changes));
    let good = ask("DPoP", proof(&key, json!({ "ath": hash })));
    assert_eq!(good.status, 200, "{}", good.body);
    let downgraded = ask("Bearer", None);
    assert_eq!((downgraded.status, downgraded.error().as_str()), (401, "invalid_token"));
    for proof in [
        None,
        proof(&thief, json!({ "ath": hash })),
        proof(&key, json!({})),
        proof(&key, json!({ "ath": ath("other") })),
        Some(key.proof(&app, ("POST", "/userinfo"), &json!({ "ath": hash }))),
        Some(key.proof(&app, ("GET", "/token"), &json!({ "ath": hash }))),
    ] {
        let answer = ask("DPoP", proof);
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_dpop_proof"));
        assert!(answer.header("www-authenticate").unwrap().starts_with("DPoP error=\"invalid_dpop_proof\""));
    }
    let late = ask("DPoP", proof(&key, json!({ "ath": hash, "iat": 0 })));
    assert_eq!((late.status, late.error().as_str()), (401, "use_dpop_nonce"));
    assert!(late.header("dpop-nonce").is_some());
    // Nor is a token that is bound to nothing to be dressed up.
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let request = CodeRequest::new();
    let plain = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), &email)));
    let plain = request.redeem(&app.relying_party(), &plain, &[]).tokens();
    let authorization = format!("DPoP {}", plain.access);
    let proof = key.proof(&app, ("GET", "/userinfo"), &json!({ "ath": ath(&plain.access) }));
    let dressed = app.relying_party().get("/userinfo", &[("Authorization", &authorization), ("DPoP", &proof)]);
    assert_eq!(dressed.status, 401);
}

#[test]
fn a_confidential_client_proves_itself_and_may_change_its_key() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let (_, email) = app.account();
    let (one, two, header, party) = (ClientKey::p256(), ClientKey::p256(), basic("svc", &secret), app.relying_party());
    let send = |key: &ClientKey, form: &[(&str, &str)]| {
        let proof = key.proof(&app, TOKEN, &json!({}));
        party.form("/token", &[("Authorization", &header), ("DPoP", &proof)], form).tokens()
    };
    let first = send(&one, &[("grant_type", "password"), ("username", &email), ("password", PASSWORD)]);
    let second = send(&two, &[("grant_type", "refresh_token"), ("refresh_token", first.refresh_token())]);
    assert_eq!(second.claims()["cnf"]["jkt"], two.thumbprint());
}

#[test]
fn anybodys_proofs_are_bounded_by_the_minute() {
    let app = TestApp::with(&[("limits.proofs", "2"), ("http.trusted_proxies", "127.0.0.1/32")]);
    app.code_client();
    let secret = app.confidential_client();
    let [one, two, three, four, ..] = countersign::secret::Random.bytes::<4>();
    let address = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::1");
    let key = ClientKey::p256();
    let made_up = || {
        let form = [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", "csr_forged")];
        let proof = key.proof(&app, TOKEN, &json!({}));
        app.relying_party().form("/token", &[("DPoP", &proof), ("X-Forwarded-For", &address)], &form).status
    };
    assert_eq!([made_up(), made_up(), made_up(), made_up()], [400, 400, 429, 429]);
    assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM one_time_values"), ["2"]);
    // A client that has proven itself is not anybody.
    let header = basic("svc", &secret);
    for _ in 0..3 {
        let proof = key.proof(&app, TOKEN, &json!({}));
        let headers = [("Authorization", header.as_str()), ("DPoP", &proof), ("X-Forwarded-For", &address)];
        assert_eq!(app.relying_party().form("/token", &headers, &[("grant_type", "client_credentials")]).status, 200);
    }
}

/// FAPI 2.0 Security Profile §5.3.2.1: a clock that is off by ten seconds is no reason to refuse, nor are claims of time beside it.
#[test]
fn a_proof_may_be_off_by_seconds_and_say_more_than_it_must() {
    let app = TestApp::start();
    let key = ClientKey::p256();
    let now = app.app.clock.now().unix_seconds();
    let tokens = bound(&app, &key);
    for changes in [
        json!({ "iat": now - 10 }),
        json!({ "iat": now + 10 }),
        json!({ "nbf": now, "exp": now + 300 }),
        json!({ "iat": now + 10, "nbf": now + 10 }),
    ] {
        let mut claims = changes.clone();
        claims["ath"] = json!(ath(&tokens.access));
        let proof = key.proof(&app, ("GET", "/userinfo"), &claims);
        for scheme in ["DPoP", "dpop"] {
            let authorization = format!("{scheme} {}", tokens.access);
            let proof = if scheme == "DPoP" { proof.clone() } else { key.proof(&app, ("GET", "/userinfo"), &claims) };
            let headers = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
            assert_eq!(app.relying_party().get("/userinfo", &headers).status, 200, "{scheme} {changes}");
        }
        let (browser, request) = (Browser::new(&app), CodeRequest::new());
        let (_, email) = app.account();
        let code = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), &email)));
        assert_eq!(redeem(&app, &request, &code, &key.proof(&app, TOKEN, &changes)).status, 200, "{changes}");
    }
    // RFC 9449 §4.3 no. 9: a query and a fragment do not count, nor does how scheme and host are written; nor what is not known.
    let htu = format!("{}/userinfo?x=1#y", app.base.replace("http:", "HTTP:"));
    let claims = json!({ "jti": "more", "htm": "GET", "htu": htu, "iat": now, "ath": ath(&tokens.access), "x": "y" });
    let proof = key.sign_with(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk(), "x": "y" }), &claims);
    let authorization = format!("DPoP {}", tokens.access);
    let headers = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
    assert_eq!(app.relying_party().get("/userinfo", &headers).status, 200);
}

#[test]
fn what_a_device_gets_is_bound_to_the_key_that_it_polls_with() {
    let app = TestApp::start();
    device::tv(&app);
    let (party, browser, (_, email)) = (app.relying_party(), Browser::new(&app), app.account());
    let codes = device::begin(&party, "openid read");
    let form = device::consent(&browser, &device::enter(&browser, &codes.user), &email);
    assert_eq!(form.send(&browser, &[("decision", "allow")]).status, 200);
    let (key, thief) = (ClientKey::p256(), ClientKey::p256());
    let poll = |proof: &str| {
        let form = [("grant_type", device::GRANT), ("client_id", "tv"), ("device_code", codes.device.as_str())];
        party.form("/token", &[("DPoP", proof)], &form)
    };
    let elsewhere = key.proof(&app, ("POST", "/device_authorization"), &json!({}));
    assert_eq!(poll(&elsewhere).error(), "invalid_dpop_proof", "and nothing is used up");
    let answer = poll(&key.proof(&app, TOKEN, &json!({})));
    assert_eq!(answer.json()["token_type"], "DPoP");
    let tokens = answer.tokens();
    assert_eq!(tokens.claims()["cnf"], json!({ "jkt": key.thumbprint() }));
    let before = app.database.rotations();
    for proof in [None, Some(thief.proof(&app, TOKEN, &json!({})))] {
        let answer = refresh_of("tv", &app, tokens.refresh_token(), proof.as_deref());
        assert_eq!(answer.error(), "invalid_grant");
    }
    assert_eq!(app.database.rotations(), before, "nothing was written");
    let next = refresh_of("tv", &app, tokens.refresh_token(), Some(&key.proof(&app, TOKEN, &json!({}))));
    assert_eq!(next.tokens().claims()["cnf"]["jkt"], key.thumbprint());
}

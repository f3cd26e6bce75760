//! Tokens that are bound to a key, at a service that verifies by our own library: a service of its own on a real port, on the
//! system clock, with the keys of the server that issued the token (RFC 9449 §7).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer, web};
use countersign::clock::Clock;
use countersign_verifier::actix::{Authenticated, Protect};
use countersign_verifier::{StatusSource, Verifier};
use serde_json::{Value, json};

use crate::app::{AUDIENCE, TestApp, TestDatabase};
use crate::client_key::{ClientKey, ath};
use crate::relying_party::{Answer, RelyingParty, basic};

/// What clients call the service by. Nothing answers there: the service hears of it by its configuration alone.
const ORIGIN: &str = "https://orders.example";

async fn whoami(Authenticated(claims): Authenticated) -> String {
    claims.client_id
}

/// A service that runs until the test ends, and where it listens.
fn service(verifier: &Verifier) -> (RelyingParty, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let verifier = verifier.clone();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let app = move || App::new().wrap(Protect::new(verifier.clone())).route("/orders", web::get().to(whoami));
            HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await.unwrap();
        });
    });
    (RelyingParty::new(&base), base)
}

#[track_caller]
fn is_ready(verifier: &Verifier) {
    let began = Instant::now();
    while verifier.ready().is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A machine that got a token for its key, and the key.
fn client(app: &TestApp) -> (ClientKey, String) {
    let (key, secret) = (ClientKey::p256(), app.confidential_client());
    let (header, proof) = (basic("svc", &secret), key.proof(app, ("POST", "/token"), &json!({})));
    let headers = [("Authorization", header.as_str()), ("DPoP", proof.as_str())];
    let answer = app.relying_party().form("/token", &headers, &[("grant_type", "client_credentials")]);
    assert_eq!(answer.json()["token_type"], "DPoP");
    (key, answer.tokens().access)
}

fn ask(service: &RelyingParty, scheme: &str, token: &str, proofs: &[&str]) -> Answer {
    let authorization = format!("{scheme} {token}");
    let mut headers = vec![("Authorization", authorization.as_str())];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    service.get("/orders?page=2", &headers)
}

/// The error of a 401, behind the scheme that it is told by.
#[track_caller]
fn refused(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 401, "{}", answer.body);
    let challenge = answer.header("www-authenticate").unwrap();
    let error = challenge.split("error=\"").nth(1).unwrap().split('"').next().unwrap();
    (challenge.split(' ').next().unwrap().to_owned(), error.to_owned())
}

#[test]
fn a_bound_token_opens_a_service_that_verifies_by_itself_with_its_key_alone() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let builder = || Verifier::builder(&app.base, AUDIENCE).status(StatusSource::Poll);
    let (verifier, without) = (builder().dpop(ORIGIN).build().unwrap(), builder().build().unwrap());
    let (key, token) = client(&app);
    let thief = ClientKey::p256();
    is_ready(&verifier);
    let (orders, base) = service(&verifier);
    let hash = ath(&token);
    let proof = |key: &ClientKey, changes: Value| {
        let mut claims = json!({ "htu": format!("{ORIGIN}/orders"), "ath": hash });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key.proof(&app, ("GET", "/orders"), &claims)
    };
    let good = proof(&key, json!({}));
    let answer = ask(&orders, "DPoP", &token, &[&good]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "svc"));
    let of_proof = ("DPoP".to_owned(), "invalid_dpop_proof".to_owned());
    for (what, proofs) in [
        ("a replay", vec![good]),
        ("no proof", vec![]),
        ("two proofs", vec![proof(&key, json!({})), proof(&key, json!({}))]),
        ("another URL", vec![proof(&key, json!({ "htu": format!("{ORIGIN}/admin") }))]),
        ("the address of the listener", vec![proof(&key, json!({ "htu": format!("{base}/orders") }))]),
        ("another method", vec![proof(&key, json!({ "htm": "POST" }))]),
        ("another token", vec![proof(&key, json!({ "ath": ath("x") }))]),
        ("no token", vec![proof(&key, json!({ "ath": Value::Null }))]),
        ("an old one", vec![proof(&key, json!({ "iat": app.app.clock.now().unix_seconds() - 120 }))]),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        assert_eq!(refused(&ask(&orders, "DPoP", &token, &proofs)), of_proof, "{what}");
    }
    let of_token = |scheme: &str| (scheme.to_owned(), "invalid_token".to_owned());
    let stolen = ask(&orders, "DPoP", &token, &[&proof(&thief, json!({}))]);
    assert_eq!(refused(&stolen), of_token("DPoP"), "another key");
    for proofs in [vec![], vec![proof(&key, json!({}))]] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        assert_eq!(refused(&ask(&orders, "Bearer", &token, &proofs)), of_token("Bearer"), "no downgrade");
    }
    // A token that is bound to nothing goes on as ever, and is not to be dressed up.
    let plain = app.log_in().1.access;
    assert_eq!(ask(&orders, "Bearer", &plain, &[]).status, 200);
    let dressed = proof(&key, json!({ "ath": ath(&plain) }));
    assert_eq!(refused(&ask(&orders, "DPoP", &plain, &[&dressed])), of_token("DPoP"));
    // Where nobody switched it on the token opens nothing, with a proof or without.
    is_ready(&without);
    let (orders, _) = service(&without);
    assert_eq!(ask(&orders, "DPoP", &token, &[&proof(&key, json!({}))]).status, 401);
    assert_eq!(refused(&ask(&orders, "Bearer", &token, &[])), of_token("Bearer"));
    assert_eq!(ask(&orders, "Bearer", &plain, &[]).status, 200);
}

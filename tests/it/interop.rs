//! Tokens of a running server, verified by software from other hands through nothing but the metadata and the JWKS.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{AUDIENCE, TestApp, TestDatabase, required};
use crate::client_key::ClientKey;
use crate::relying_party::basic;

/// A server on the real time, since the verifiers are, with its good and bad tokens.
fn tokens() -> (TestApp, Value) {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    app.client("web", json!({"token_endpoint_auth_method": "none", "grant_types": ["password", "refresh_token"], "scope": "read", "audiences": [AUDIENCE]}));
    let secret = app.confidential_client();
    let elsewhere = app
        .client("else", json!({"grant_types": ["client_credentials"], "audiences": ["https://elsewhere.example"]}))
        .unwrap();
    let brief = app
        .client("brief", json!({"grant_types": ["client_credentials"], "audiences": [AUDIENCE], "access_token_ttl": 1}))
        .unwrap();
    let (_, email) = app.account();
    let party = app.relying_party();
    let person = party.log_in("web", &email).tokens();
    let refreshed = party.refresh("web", person.refresh_token()).tokens();
    let machine = party.client_credentials("svc", &secret, &[]).tokens();
    let expired = party.client_credentials("brief", &brief, &[]).tokens().access;
    let foreign = party.client_credentials("else", &elsewhere, &[]).tokens().access;
    let other_issuer = TestApp::on(Arc::new(TestDatabase::empty()), Clock::system(), &[]);
    let other_secret = other_issuer.confidential_client();
    let other = other_issuer.relying_party().client_credentials("svc", &other_secret, &[]).tokens().access;
    let parts: Vec<_> = person.access.split('.').collect();
    let encode = |json: Value| countersign::secret::encode_base64url(json.to_string().as_bytes());
    let unsigned = format!("{}.{}.", encode(json!({"alg": "none", "typ": "at+jwt"})), parts[1]);
    let mut promoted = person.claims();
    promoted["roles"] = json!(["admin"]);
    let tampered = format!("{}.{}.{}", parts[0], encode(promoted), parts[2]);
    std::thread::sleep(Duration::from_millis(2100));
    let good = json!([person.access, refreshed.access, machine.access]);
    // Bound to a key, and shown without a proof.
    let proof = ClientKey::p256().proof(&app, ("POST", "/token"), &json!({}));
    let headers = [("Authorization", &*basic("svc", &secret)), ("DPoP", &proof)];
    let bound = party.form("/token", &headers, &[("grant_type", "client_credentials")]).tokens();
    assert!(bound.claims()["cnf"]["jkt"].is_string());
    let bad = json!([expired, foreign, other, unsigned, tampered, person.refresh_token(), bound.access]);
    (app, json!({"good": good, "bad": bad}))
}

#[track_caller]
fn verify(mut verifier: Command, library: &str) {
    let (app, tokens) = tokens();
    let mut child = verifier
        .args([&app.base, AUDIENCE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(tokens.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["verified"], &report["refused"]), (&json!(3), &json!(7)), "{report}");
    assert!(report["library"].as_str().unwrap().starts_with(library), "{report}");
}

fn python(script: &str) -> Command {
    let mut command = Command::new(required("COUNTERSIGN_TEST_PYTHON"));
    command.arg(Path::new("tests/interop").join(script));
    command
}

#[test]
fn pyjwt_verifies_our_tokens() {
    verify(python("pyjwt_verify.py"), "PyJWT");
}

#[test]
fn flask_jwt_extended_verifies_our_tokens() {
    verify(python("flask_verify.py"), "Flask-JWT-Extended 4.7");
}

#[test]
fn jose_verifies_our_tokens() {
    let mut node = Command::new("node");
    node.arg("tests/interop/jose_verify.mjs")
        .env("COUNTERSIGN_TEST_NODE_MODULES", required("COUNTERSIGN_TEST_NODE_MODULES"));
    verify(node, "jose");
}

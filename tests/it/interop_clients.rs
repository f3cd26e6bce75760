//! Clients that others wrote: each registers itself, has a person log in on our pages, and uses everything that it gets, checking our
//! answers by its own rules.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{AUDIENCE, PASSWORD, TestApp, TestDatabase, required};

/// What each of them does, in this order.
const STEPS: [&str; 10] = [
    "registered",
    "discovered",
    "asked",
    "code",
    "userinfo",
    "refreshed",
    "introspected",
    "revoked",
    "logged_out",
    "asked_again",
];

#[track_caller]
fn goes_all_the_way(mut client: Command, library: &str) {
    let settings = [("registration.mode", "open"), ("registration.allowed_audiences", AUDIENCE)];
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &settings);
    let (_, email) = app.account();
    let asked =
        json!({ "issuer": app.base, "audience": AUDIENCE, "person": { "username": email, "password": PASSWORD } });
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["done"], json!(STEPS), "{report}");
    assert!(report["library"].as_str().unwrap().starts_with(library), "{report}");
}

fn python(script: &str) -> Command {
    let mut command = Command::new(required("COUNTERSIGN_TEST_PYTHON"));
    command.arg("-B").arg(Path::new("tests/interop").join(script));
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new("tests/interop").join(script));
    command.env("COUNTERSIGN_TEST_NODE_MODULES", required("COUNTERSIGN_TEST_NODE_MODULES"));
    command
}

#[test]
fn openid_client_goes_all_the_way() {
    goes_all_the_way(node("openid_client.mjs"), "openid-client 6.");
}

#[test]
fn oauth4webapi_goes_all_the_way() {
    goes_all_the_way(node("oauth4webapi.mjs"), "oauth4webapi 3.");
}

#[test]
fn authlib_goes_all_the_way() {
    goes_all_the_way(python("authlib_client.py"), "Authlib 1.");
}

#[test]
fn requests_oauthlib_goes_all_the_way() {
    goes_all_the_way(python("requests_oauthlib_client.py"), "requests-oauthlib 2.");
}

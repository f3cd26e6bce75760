//! Clients that others wrote: each registers itself, has a person log in on our pages, and uses everything that it gets, checking our
//! answers by its own rules.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{AUDIENCE, PASSWORD, TestApp, TestDatabase, required};
use crate::browser::Browser;
use crate::client_key::ClientKey;

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

/// And what the one does that has keys in the place of a secret.
const STEPS_BY_KEYS: [&str; 10] =
    ["registered", "discovered", "pushed", "asked", "code", "userinfo", "copied", "refreshed", "revoked", "logged_out"];

/// And what a device does; one of them keeps asking until it is let in, and says nothing of that.
const STEPS_OF_DEVICE: [&str; 8] =
    ["discovered", "began", "waits", "let_in", "tokens", "userinfo", "refreshed", "once"];

#[track_caller]
fn goes_all_the_way(client: Command, library: &str, steps: &[&str]) {
    let settings = [("registration.mode", "open"), ("registration.allowed_audiences", AUDIENCE)];
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &settings);
    run(&app, client, library, steps, &json!({}));
}

/// A device of a client that an operator registered: who registers itself may not have any.
#[track_caller]
fn is_let_in(device: Command, library: &str, steps: &[&str], method: &str) {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let secret = app.client(
        "tv",
        json!({
            "token_endpoint_auth_method": method,
            "grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
            "scope": "openid email offline_access",
        }),
    );
    run(&app, device, library, steps, &json!({ "client_id": "tv", "client_secret": secret }));
}

#[track_caller]
fn run(app: &TestApp, mut client: Command, library: &str, steps: &[&str], registered: &Value) {
    let (_, email) = app.account();
    let person = json!({ "username": email, "password": PASSWORD });
    let asked = json!({ "issuer": app.base, "audience": AUDIENCE, "client": registered, "person": person });
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["done"], json!(steps), "{report}");
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
    goes_all_the_way(node("openid_client.mjs"), "openid-client 6.", &STEPS);
}

#[test]
fn openid_client_goes_all_the_way_by_keys() {
    goes_all_the_way(node("openid_client_keys.mjs"), "openid-client 6.", &STEPS_BY_KEYS);
}

#[test]
fn oauth4webapi_goes_all_the_way_by_keys() {
    goes_all_the_way(node("oauth4webapi_keys.mjs"), "oauth4webapi 3.", &STEPS_BY_KEYS);
}

/// FAPI 2.0 §5.4.1: with keys for PS256, and everything of it that the client asks for.
#[track_caller]
fn keeps_to_fapi(client: Command, library: &str) {
    let settings =
        [("registration.mode", "open"), ("registration.allowed_audiences", AUDIENCE), ("keys.algorithm", "PS256")];
    let app = TestApp::on(Arc::new(TestDatabase::empty()), Clock::system(), &settings);
    let signed = json!({ "id_token_signed_response_alg": "PS256", "userinfo_signed_response_alg": "PS256" });
    run(&app, client, library, &STEPS_BY_KEYS, &signed);
}

#[test]
fn openid_client_keeps_to_fapi() {
    keeps_to_fapi(node("openid_client_keys.mjs"), "openid-client 6.");
}

#[test]
fn oauth4webapi_keeps_to_fapi() {
    keeps_to_fapi(node("oauth4webapi_keys.mjs"), "oauth4webapi 3.");
}

/// With what Authlib needs: the token endpoint as the audience of an assertion, which an operator alone may grant.
#[test]
fn a_machine_on_authlib_proves_itself_by_a_key() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let (key, pem) = ClientKey::p256_with_pem();
    let metadata = json!({
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_audience": true,
        "jwks": key.jwks(),
        "grant_types": ["client_credentials"],
        "scope": "jobs",
        "audiences": [AUDIENCE],
    });
    assert_eq!(app.client("job", metadata), None);
    let steps = ["discovered", "tokens", "introspected", "again", "too_long"];
    run(&app, python("authlib_keys.py"), "Authlib 1.", &steps, &json!({ "client_id": "job", "key": pem }));
}

#[test]
fn oauth4webapi_goes_all_the_way() {
    goes_all_the_way(node("oauth4webapi.mjs"), "oauth4webapi 3.", &STEPS);
}

#[test]
fn authlib_goes_all_the_way() {
    goes_all_the_way(python("authlib_client.py"), "Authlib 1.", &STEPS);
}

#[test]
fn requests_oauthlib_goes_all_the_way() {
    goes_all_the_way(python("requests_oauthlib_client.py"), "requests-oauthlib 2.", &STEPS);
}

#[test]
fn a_device_on_openid_client_is_let_in() {
    let steps: Vec<_> = STEPS_OF_DEVICE.into_iter().filter(|step| *step != "waits").collect();
    is_let_in(node("openid_client_device.mjs"), "openid-client 6.", &steps, "client_secret_post");
}

#[test]
fn a_device_on_oauth4webapi_is_let_in() {
    is_let_in(node("oauth4webapi_device.mjs"), "oauth4webapi 3.", &STEPS_OF_DEVICE, "none");
}

#[test]
fn a_device_on_requests_oauthlib_is_let_in() {
    let device = python("requests_oauthlib_device.py");
    is_let_in(device, "requests-oauthlib 2.", &STEPS_OF_DEVICE, "client_secret_post");
}

/// Builds the client in Rust: once, as its folder would.
fn rust() -> Command {
    let target = std::env::current_dir().unwrap().join("target/interop/rust");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet"]).current_dir("tests/interop/openidconnect");
    let output =
        cargo.env_clear().envs(crate::examples::for_cargo()).env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Command::new(target.join("debug/interop-openidconnect"))
}

#[test]
fn openidconnect_goes_all_the_way() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[("registration.mode", "open")]);
    let (_, email) = app.account();
    let mut child = rust().args([&app.base, &email]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut told, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let browser = Browser::new(&app);
    let mut report = String::new();
    for line in lines.map(Result::unwrap) {
        let Some(path) = line.strip_prefix(&app.base) else {
            report = line;
            break;
        };
        let answer = browser.get(path);
        let answer =
            if path.starts_with("/authorize") { browser.allow(&browser.log_in(&answer, &email)) } else { answer };
        writeln!(told, "{}", answer.header("location").unwrap()).unwrap();
    }
    assert!(child.wait().unwrap().success());
    let report: Value = serde_json::from_str(&report).unwrap();
    let steps = [
        "registered",
        "discovered",
        "asked",
        "code",
        "userinfo",
        "refreshed",
        "introspected",
        "logged_out",
        "replayed",
    ];
    assert_eq!(report["done"], json!(steps), "{report}");
}

//! Our pages in a real browser, from a log-in over what is allowed to the end of it: nothing that its policy keeps out, nothing that
//! keeps anybody out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp, TestDatabase, required};

#[test]
fn chromium_goes_past_every_page_and_neither_it_nor_axe_complains() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[("registration.mode", "open")]);
    app.client(
        "tv",
        json!({
            "client_name": "Living Room",
            "token_endpoint_auth_method": "none",
            "grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
            "scope": "openid profile offline_access",
        }),
    );
    let (_, email) = app.account();
    let asked = json!({ "issuer": app.base, "person": { "username": email, "password": PASSWORD } });
    let mut child = Command::new(required("COUNTERSIGN_TEST_PYTHON"))
        .args(["-B", "tests/interop/pages_in_chromium.py"])
        .arg(Path::new(&required("COUNTERSIGN_TEST_NODE_MODULES")).join("axe-core/axe.min.js"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["violations"], json!([]), "{report}");
    assert_eq!(report["complaints"], json!([]), "{report}");
    assert_eq!(report["pages"], 4 * 12, "{report}");
    assert_eq!(report["told"]["iss"], app.base, "{report}");
    let tokens = json!(["access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type"]);
    assert_eq!(report["told"]["tokens"], tokens, "{report}");
}

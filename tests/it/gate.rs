//! `countersign gate`, as the proxy sees it that asks it: a process of its own, on the system clock.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::app::{AUDIENCE, TestApp, TestDatabase};
use crate::cli::{Served, command, run};
use crate::relying_party::{Answer, RelyingParty, basic};

/// What the service behind the proxy is told, in this order.
const TOLD: [&str; 5] = ["x-auth-subject", "x-auth-client-id", "x-auth-scope", "x-auth-roles", "x-auth-grant"];

/// A gate that runs.
struct Gate {
    served: Served,
    proxy: RelyingParty,
    _folder: tempfile::TempDir,
}

impl Gate {
    fn start(issuer: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["gate", "--issuer", issuer, "--audience", AUDIENCE, "--listen", "127.0.0.1:0"];
        let served = Served::start(command(folder.path(), None, &[&arguments[..], more].concat()), 1);
        let proxy = RelyingParty::new(served.base.trim_end_matches("/verify").trim_end_matches('/'));
        Self { served, proxy, _folder: folder }
    }

    /// One that hears of ends at once.
    fn following(app: &TestApp) -> Self {
        let follower = json!({ "grant_types": ["client_credentials"], "scope": "status.read" });
        let secret = app.client("gate", follower).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let path = file.to_str().unwrap();
        let gate = Self::start(&app.base, &["--client-id", "gate", "--client-secret-file", path]);
        gate.is_ready();
        gate
    }

    #[track_caller]
    fn is_ready(&self) {
        eventually(Duration::from_secs(20), "it is not ready", || self.proxy.get("/healthz", &[]).status == 200);
    }

    fn ask(&self, path: &str, token: &str) -> Answer {
        self.proxy.get(path, &[("Authorization", &format!("Bearer {token}"))])
    }

    /// What `/metrics` says of tokens with that outcome.
    fn counted(&self, outcome: &str) -> u64 {
        let name = format!("countersign_verifier_tokens_total{{outcome=\"{outcome}\"}} ");
        let text = self.proxy.get("/metrics", &[]).body;
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |number| number.parse().unwrap())
    }
}

#[track_caller]
fn eventually(within: Duration, what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < within, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server on the real time, since the gate is.
fn issuer() -> TestApp {
    TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[])
}

/// A refusal: its status and what it challenges with, without the words for people.
fn challenge(answer: &Answer) -> (u16, String) {
    let text = answer.header("www-authenticate").unwrap_or_default();
    let told = text.split(", ").filter(|part| !part.starts_with("error_description=")).collect::<Vec<_>>();
    (answer.status, told.join(", "))
}

#[track_caller]
fn refuses(answer: &Answer, status: u16, expected: &str) {
    assert_eq!(challenge(answer), (status, expected.to_owned()), "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(TOLD.iter().all(|name| answer.header(name).is_none()));
}

#[test]
fn the_gate_lets_good_tokens_through_and_says_whose_they_are() {
    let app = issuer();
    let tokens = app.log_in().1;
    let gate = Gate::start(&app.base, &[]);
    gate.is_ready();
    let claims = tokens.claims();
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    let expected = [text("sub"), "web".to_owned(), "read write".to_owned(), "reader".to_owned(), text("sid")];
    for path in ["/verify", "/verify?scope=read+write"] {
        let answer = gate.ask(path, &tokens.access);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(TOLD.map(|name| answer.header(name).unwrap().to_owned()), expected, "{path}");
        assert_eq!((answer.header("cache-control"), answer.body.as_str()), (Some("no-store"), ""));
    }
    for path in ["/", "/orders", "/verify/", "/Verify", "/verify/healthz", "//verify"] {
        let answer = gate.ask(path, &tokens.access);
        assert_eq!(answer.status, 404, "{path}");
        assert!(TOLD.iter().all(|name| answer.header(name).is_none()));
    }
    let header = format!("Bearer {}", tokens.access);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = gate.proxy.send(method, "/verify", &[("Authorization", &header)], b"");
        assert_eq!(answer.status, 200, "{method}");
    }
}

#[test]
fn the_gate_refuses_as_the_rfcs_say() {
    let app = issuer();
    let (party, tokens) = app.log_in();
    let gate = Gate::start(&app.base, &[]);
    gate.is_ready();
    refuses(&gate.proxy.get("/verify", &[]), 401, "Bearer");
    refuses(&gate.proxy.get("/verify", &[("Authorization", "Basic eDp5")]), 401, "Bearer");
    let invalid = r#"Bearer error="invalid_token""#;
    let list = party.get("/status/0", &[]).body;
    let other = TestApp::on(Arc::new(TestDatabase::empty()), Clock::system(), &[]).log_in().1.access;
    for token in ["nonsense", tokens.refresh_token(), &list, &other, &format!("{}x", tokens.access)] {
        refuses(&gate.ask("/verify", token), 401, invalid);
    }
    let header = format!("Bearer {}", tokens.access);
    let twice = [("Authorization", header.as_str()), ("Authorization", header.as_str())];
    refuses(&gate.proxy.get("/verify", &twice), 400, r#"Bearer error="invalid_request""#);
    assert_eq!(gate.ask("/verify", &tokens.access).status, 200);
}

#[test]
fn a_proxy_demands_more_than_a_good_token() {
    let app = issuer();
    let person = app.log_in().1;
    let secret = app.confidential_client();
    let machine = app.relying_party().client_credentials("svc", &secret, &[]).tokens().access;
    let gate = Gate::start(&app.base, &["--scope", "read"]);
    gate.is_ready();
    let person_acr = person.claims()["acr"].as_str().unwrap().to_owned();
    let person = person.access;

    for demand in ["", "scope=write", "max_age=300", &format!("acr=phr+{person_acr}"), "fresh=60", "optional=true"] {
        assert_eq!(gate.ask(&format!("/verify?{demand}"), &person).status, 200, "{demand}");
    }
    // RFC 6750 §3.1.
    let lacks = |scope: &str| format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
    refuses(&gate.ask("/verify?scope=admin", &person), 403, &lacks("read admin"));
    refuses(&gate.ask("/verify?scope=read+write&scope=admin", &person), 403, &lacks("read write admin"));
    refuses(&gate.ask("/verify?optional=true&scope=admin", &person), 403, &lacks("read admin"));
    // RFC 9470 §3: what is wanted is said, so that a client can get it. A machine never logged in.
    let step_up = |more: &str| format!(r#"Bearer error="insufficient_user_authentication", {more}"#);
    refuses(&gate.ask("/verify?acr=phr+mfa", &person), 401, &step_up(r#"acr_values="phr mfa""#));
    refuses(&gate.ask("/verify?max_age=300", &machine), 401, &step_up(r#"max_age="300""#));

    let nobody = gate.proxy.get("/verify?optional=true", &[]);
    assert_eq!(nobody.status, 200);
    assert!(TOLD.iter().all(|name| nobody.header(name) == Some("")), "{:?}", nobody.headers);
    refuses(&gate.ask("/verify?optional=true", "nonsense"), 401, r#"Bearer error="invalid_token""#);

    // What is misspelt is no demand of nothing.
    for demand in ["scopes=read", "scope=", "max_age=5m", "optional=yes", "role=admin"] {
        let answer = gate.ask(&format!("/verify?{demand}"), &person);
        assert_eq!(challenge(&answer), (500, String::new()), "{demand}");
        assert!(TOLD.iter().all(|name| answer.header(name).is_none()));
    }

    let bare = app.client("bare", json!({ "grant_types": ["client_credentials"], "audiences": [AUDIENCE] })).unwrap();
    let bare = app.relying_party().client_credentials("bare", &bare, &[]).tokens().access;
    refuses(&gate.ask("/verify", &bare), 403, &lacks("read"));
}

#[test]
fn for_envoy_every_path_is_a_question_and_means_nothing_else() {
    let app = issuer();
    let tokens = app.log_in().1;
    let secret = app.confidential_client();
    let machine = app.relying_party().client_credentials("svc", &secret, &[("scope", "jobs")]).tokens().access;
    let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let gate = Gate::start(&app.base, &["--any-path", "--health-listen", &health, "--scope", "read"]);
    let said = RelyingParty::new(&format!("http://{health}"));
    eventually(Duration::from_secs(20), "it is not ready", || said.get("/healthz", &[]).status == 200);

    // Path and query are the client's own.
    let paths =
        ["/", "/orders?scope=admin", "/verify?optional=true", "/verify?scopes=x", "/healthz", "/metrics", "//a/../b"];
    for path in paths {
        let answer = gate.ask(path, &tokens.access);
        assert_eq!((answer.status, answer.header("x-auth-client-id")), (200, Some("web")), "{path}: {}", answer.body);
        assert_eq!(answer.body, "", "{path}");
        refuses(&gate.proxy.get(path, &[]), 401, "Bearer");
        refuses(&gate.ask(path, "nonsense"), 401, r#"Bearer error="invalid_token""#);
        refuses(&gate.ask(path, &machine), 403, r#"Bearer error="insufficient_scope", scope="read""#);
    }
    assert!(said.get("/metrics", &[]).body.contains("countersign_verifier_tokens_total"));
    assert_eq!(said.get("/verify", &[("Authorization", &format!("Bearer {}", tokens.access))]).status, 404);
}

#[test]
fn a_gate_that_follows_refuses_within_seconds_and_counts_what_it_did() {
    let app = issuer();
    let (party, laptop) = app.log_in();
    let email = app.account().1;
    let phone = party.log_in("web", &email).tokens();
    let secret = app.confidential_client();
    let machine = party.client_credentials("svc", &secret, &[]).tokens().access;
    let gate = Gate::following(&app);
    for token in [&laptop.access, &phone.access, &machine] {
        assert_eq!(gate.ask("/verify", token).status, 200);
    }
    assert_eq!((gate.counted("ok"), gate.counted("malformed")), (3, 0));
    gate.ask("/verify", "nonsense");
    assert_eq!(party.revoke("web", &laptop.access).status, 200);
    eventually(Duration::from_secs(2), "a revoked token is let through", || {
        gate.ask("/verify", &laptop.access).status == 401
    });
    refuses(&gate.ask("/verify", &laptop.access), 401, r#"Bearer error="invalid_token""#);
    assert_eq!(gate.ask("/verify", &phone.access).status, 200);
    assert_eq!(gate.counted("malformed"), 1);
    assert!(gate.counted("revoked") >= 2);
    // A machine's token has no grant of its own to end; it is cut off alone.
    assert_eq!(party.form("/revoke", &[("Authorization", &basic("svc", &secret))], &[("token", &machine)]).status, 200);
    eventually(Duration::from_secs(2), "a machine's revoked token is let through", || {
        gate.ask("/verify", &machine).status == 401
    });
    assert_eq!(gate.ask("/verify", &phone.access).status, 200);
    let metrics = gate.proxy.get("/metrics", &[]);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.body.contains("countersign_verifier_feed_connected 1"), "{}", metrics.body);
    assert!(!metrics.body.contains(laptop.claims()["sub"].as_str().unwrap()), "nothing of a token is among them");
}

#[test]
fn a_gate_without_its_issuer_says_so_to_good_tokens_and_ends_when_it_is_told() {
    let app = issuer();
    let token = app.log_in().1.access;
    let issuer = app.base.clone();
    drop(app);
    let mut gate = Gate::start(&issuer, &[]);
    let blind = || [gate.proxy.get("/healthz", &[]), gate.ask("/verify", &token)];
    for answer in blind() {
        refuses(&answer, 503, "");
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(blind().iter().all(|answer| answer.status == 503));
    gate.served.terminate();
    let began = Instant::now();
    let ended = loop {
        if let Some(status) = gate.served.child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success(), "{ended}");
}

#[test]
fn the_suite_finds_no_wrong_answer_of_the_gate() {
    tried_by_the_suite("RS256");
    tried_by_the_suite("PS256");
}

fn tried_by_the_suite(algorithm: &str) {
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let gate = Gate::start(&format!("http://{listen}"), &[]);
    let target = format!("{}?scope=read+write", gate.served.base);
    let mut suite = command(Path::new("."), None, &["--json", "verify-suite", "--strict", "--algorithm", algorithm]);
    suite.args(["--target", &target, "--audience", AUDIENCE, "--listen", &listen]);
    let output = run(suite, "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{report} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["wrong"], 0);
    assert!(report["tried"].as_u64().unwrap() > 80, "{report}");
}

#[test]
fn a_gate_that_cannot_be_as_it_is_asked_for_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str]| {
        let arguments = ["gate", "--issuer", "http://127.0.0.1:9", "--audience", AUDIENCE, "--listen", "127.0.0.1:0"];
        let output = run(command(folder.path(), None, &[&arguments[..], more].concat()), "");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(&["--health-listen", &busy.local_addr().unwrap().to_string()]);
    assert!(error.contains("--health-listen"), "{error}");
    assert!(refused(&["--max-stale", "1h"]).contains("fifteen minutes"));
    // Of a server's settings it reads those of the log.
    let with = |key: &str| {
        let arguments = ["gate", "--issuer", "nonsense", "--audience", AUDIENCE, "--listen", "127.0.0.1:0"];
        let mut gate = command(folder.path(), None, &arguments);
        gate.env(key, "nonsense");
        String::from_utf8(run(gate, "").stderr).unwrap()
    };
    assert!(!with("COUNTERSIGN__HTTP__LISTEN").contains("settings:"));
    assert!(with("COUNTERSIGN__LOG__LEVEL").contains("settings:"));
    let secret = folder.path().join("secret");
    let follow = ["--client-id", "gate", "--client-secret-file", secret.to_str().unwrap()];
    for text in ["", "\n", "two\nlines\n"] {
        std::fs::write(&secret, text).unwrap();
        let error = refused(&follow);
        assert!(error.contains("a client_id and a secret, each in one line"), "{error}");
    }
}

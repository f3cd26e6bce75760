//! The examples of services that verify our tokens: each is started and tried as its README says, then asked what its README
//! does not ask.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::admin::keys;
use countersign::clock::Clock;
use countersign::keys::TokenType;
use countersign::store::signing_keys::KeyState;
use serde_json::{Value, json};

use crate::app::{TestApp, TestDatabase, required};
use crate::cli::command;
use crate::relying_party::{Answer, RelyingParty};

/// Whom the READMEs have log in.
const PERSON: (&str, &str) = ("ada@example.com", "correct horse battery staple");

/// A folder of `examples/`, copied to where it may write, with what it needs installed.
struct Example {
    folder: PathBuf,
    readme: String,
    issuer: String,
    database: Arc<TestDatabase>,
    _copy: tempfile::TempDir,
}

impl Example {
    fn new(name: &str, app: &TestApp) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for folder in [name, "python"] {
            fs::create_dir(copy.path().join(folder)).unwrap();
            for entry in fs::read_dir(Path::new("examples").join(folder)).unwrap().map(Result::unwrap) {
                // Nothing of what a developer has installed there.
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).unwrap();
                }
            }
        }
        let folder = copy.path().join(name);
        let python = PathBuf::from(required("COUNTERSIGN_TEST_PYTHON"));
        symlink(python.ancestors().nth(2).unwrap(), folder.join(".venv")).unwrap();
        symlink(required("COUNTERSIGN_TEST_NODE_MODULES"), folder.join("node_modules")).unwrap();
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        Self { folder, readme, issuer: app.base.clone(), database: app.database.clone(), _copy: copy }
    }

    /// The README's blocks of that name, for where things are in this test.
    fn script(&self, block: &str, port: u16) -> String {
        let mut script = "set -eu\n".to_owned();
        let mut lines = self.readme.lines();
        while let Some(line) = lines.next() {
            if line == format!("```sh {block}") {
                for line in lines.by_ref().take_while(|line| *line != "```") {
                    writeln!(script, "{line}").unwrap();
                }
            }
        }
        let issuer = self.issuer.trim_start_matches("http://");
        let said = script.replace("5000", &port.to_string()).replace("127.0.0.1:8080", issuer);
        assert!(said.lines().count() > 1, "the README has no block {block}");
        said
    }

    fn shell(&self, script: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        let like_the_server = command(&self.folder, Some(&self.database), &[]);
        let mut shell = Command::new("bash");
        shell.current_dir(&self.folder).args(["-c", script]).stdin(Stdio::null()).env_clear();
        shell.envs(like_the_server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{}:{}", binary.display(), required("PATH")));
        shell.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", self.database.folder.path().join("master.key"));
        shell.env("COUNTERSIGN__LOG__LEVEL", "warn");
        shell
    }

    /// Runs blocks to their end; what they print.
    #[track_caller]
    fn run(&self, block: &str, port: u16) -> String {
        let output = self.shell(&self.script(block, port)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{block}: {out}\n{error}");
        // Python's tests report there.
        out + &error
    }

    fn start(&self) -> Service {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = self.folder.join(format!("{port}.log"));
        let to_log = || File::options().create(true).append(true).open(&log).unwrap();
        let mut shell = self.shell(&self.script("start", port));
        let child = shell.stdout(to_log()).stderr(to_log()).process_group(0).spawn().unwrap();
        let mut service = Service { child, port, log, caller: RelyingParty::new(&format!("http://127.0.0.1:{port}")) };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(service.child.try_wait().unwrap().is_none(), "it ended: {}", service.log());
            assert!(began.elapsed() < Duration::from_secs(30), "it does not listen: {}", service.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }
}

/// A service that runs, with all that it started.
struct Service {
    child: Child,
    port: u16,
    log: PathBuf,
    caller: RelyingParty,
}

impl Service {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn health(&self) -> u16 {
        self.caller.get("/healthz", &[]).status
    }

    fn orders(&self, method: &str, token: &str) -> Answer {
        self.caller.send(method, "/orders", &[("Authorization", &format!("Bearer {token}"))], b"")
    }

    #[track_caller]
    fn accepts(&self, token: &str) {
        let answer = self.orders("GET", token);
        assert_eq!(answer.status, 200, "{} {}", answer.body, self.log());
    }

    #[track_caller]
    fn refuses(&self, token: &str) {
        let answer = self.orders("GET", token);
        let challenge = answer.header("www-authenticate");
        assert_eq!((answer.status, challenge), (401, Some(r#"Bearer error="invalid_token""#)), "{}", self.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn eventually(service: &Service, within: Duration, what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < within, "{what}: {}", service.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn log_in(party: &RelyingParty, scope: &str) -> String {
    let (username, password) = PERSON;
    let form = [
        ("grant_type", "password"),
        ("client_id", "web"),
        ("username", username),
        ("password", password),
        ("scope", scope),
    ];
    party.form("/token", &[], &form).tokens().access
}

/// Every line of the README that says what it prints prints that.
fn try_as_the_readme_says(example: &Example, service: &Service) {
    let said: Vec<String> = example
        .script("try", service.port)
        .lines()
        .filter_map(|line| Some(line.split_once("  # ")?.1.chars().take(3).collect()))
        .collect();
    let printed = example.run("try", service.port);
    assert_eq!(printed.lines().collect::<Vec<_>>(), said, "{}", service.log());
    assert_eq!(said.len(), 6);
}

/// Tokens that are good but for one thing.
fn tokens_for_others(app: &TestApp, good: &str) -> Vec<String> {
    let elsewhere = json!({ "grant_types": ["client_credentials"], "audiences": ["https://elsewhere.example"] });
    let secret = app.client("else", elsewhere).unwrap();
    let party = app.relying_party();
    let foreign = party.client_credentials("else", &secret, &[]).tokens().access;
    let payload = countersign::secret::decode_base64url(good.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let sign = |typ: TokenType| {
        let (keyring, now) = (&app.app.keyring, app.app.clock.monotonic());
        keyring.sign(typ, &claims, Duration::from_mins(1), now).unwrap()
    };
    let list = party.get("/status/0", &[]).body;
    let parts: Vec<_> = good.split('.').collect();
    let header = countersign::secret::encode_base64url(br#"{"alg":"none","typ":"at+jwt"}"#);
    let unsigned = format!("{header}.{}.", parts[1]);
    let tampered = format!("{}.{}.{}", parts[0], parts[1], list.split('.').nth(2).unwrap());
    vec![foreign, list, sign(TokenType::StatusList), sign(TokenType::StatusCheckpoint), unsigned, tampered]
}

#[track_caller]
fn works(name: &str) {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let example = Example::new(name, &app);
    example.run("prepare", 0);
    app.app.clients.reload(&app.app.db).unwrap();
    let service = example.start();
    eventually(&service, Duration::from_secs(10), "it is not ready", || service.health() == 200);
    try_as_the_readme_says(&example, &service);

    let party = app.relying_party();
    let (laptop, phone) = (log_in(&party, "read write"), log_in(&party, "read"));
    assert_eq!(service.caller.get("/", &[]).status, 200);
    for headers in [&[][..], &[("Authorization", "Basic eDp5")]] {
        let answer = service.caller.get("/orders", headers);
        // RFC 6750 §3.1: no error for a request without a token.
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    }
    service.accepts(&laptop);
    service.accepts(&phone);
    let made = service.orders("POST", &laptop);
    assert_eq!(made.status, 201, "{}", made.body);
    let listed = service.orders("GET", &phone).json();
    assert_eq!(listed["orders"].as_array().unwrap().len(), 2, "{listed}");
    let lacks = service.orders("POST", &phone);
    let challenge = lacks.header("www-authenticate").unwrap();
    assert_eq!((lacks.status, challenge), (403, r#"Bearer error="insufficient_scope", scope="write""#));
    for token in tokens_for_others(&app, &laptop) {
        service.refuses(&token);
    }
    service.refuses("nonsense");

    assert_eq!(party.revoke("web", &laptop).status, 200);
    eventually(&service, Duration::from_secs(2), "a revoked token is accepted", || {
        service.orders("GET", &laptop).status == 401
    });
    service.refuses(&laptop);
    service.accepts(&phone);

    // What a key signed that was compromised is refused as soon, and what the next one signs is not.
    let active = app.app.keyring.list().into_iter().find(|key| key.state == KeyState::Active).unwrap();
    keys::compromise(&app.app, &active.kid, false, "a test").unwrap();
    eventually(&service, Duration::from_secs(2), "a compromised key is accepted", || {
        service.orders("GET", &phone).status == 401
    });
    app.app.reload_keys().unwrap();
    let phone = log_in(&party, "read");
    service.accepts(&phone);

    // The issuer stops. Whoever knows goes on, and whoever begins now does not know.
    drop((party, app));
    service.accepts(&phone);
    service.refuses(&laptop);
    let late = example.start();
    assert_eq!(late.caller.get("/", &[]).status, 200);
    assert_eq!(late.health(), 503);
    let answer = late.orders("GET", &phone);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("15")), "{}", late.log());
    assert_eq!(answer.header("www-authenticate"), None);
    service.accepts(&phone);

    let report = example.run("test", 0);
    assert!(report.contains("Ran 2 tests") || report.contains("# pass 1"), "{report}");
}

#[test]
fn flask_with_the_status_list_for_a_blocklist() {
    works("flask");
}

#[test]
fn fastapi_with_verified_claims_and_scopes() {
    works("fastapi");
}

#[test]
fn express_with_jose() {
    works("express");
}

#[test]
fn the_examples_install_what_is_tested() {
    let lines = |path: &str| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let tested = lines("tests/interop/requirements.txt");
    for example in ["flask", "fastapi"] {
        for pinned in lines(&format!("examples/{example}/requirements.txt")) {
            assert!(tested.contains(&pinned), "{example}: {pinned}");
        }
    }
    let packages = |path: &str| -> Value {
        let lock: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        lock["packages"].clone()
    };
    let (ours, tested) = (packages("examples/express/package-lock.json"), packages("tests/interop/package-lock.json"));
    for (path, package) in ours.as_object().unwrap().iter().filter(|(path, _)| !path.is_empty()) {
        assert_eq!(package["integrity"], tested[path]["integrity"], "{path}");
    }
    assert!(ours.as_object().unwrap().len() > 10);
}

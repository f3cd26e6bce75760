//! The examples of services that verify our tokens: each is started and tried as its README says, then asked what its README
//! does not ask.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use countersign::admin::keys;
use countersign::clock::Clock;
use countersign::keys::TokenType;
use countersign::store::signing_keys::KeyState;
use serde_json::{Value, json};

use crate::app::{TestApp, TestDatabase, required};
use crate::cli::{self, command};
use crate::relying_party::{Answer, RelyingParty};

/// Whom the READMEs have log in.
const PERSON: (&str, &str) = ("ada@example.com", "correct horse battery staple");

/// What an example is written in, and how it differs for that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Python or Node.js.
    Script,
    /// A package of the workspace.
    Rust,
    /// nginx, the gate, and a service that keeps no orders.
    Nginx,
}

/// A folder of `examples/` with what it needs installed, and a folder where it may write.
pub struct Example {
    kind: Kind,
    folder: PathBuf,
    readme: String,
    issuer: String,
    database: Arc<TestDatabase>,
    scratch: tempfile::TempDir,
}

impl Example {
    pub fn new(name: &str, kind: Kind, app: &TestApp) -> Self {
        let here = fs::canonicalize("examples").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let folder = if kind == Kind::Rust { here.join(name) } else { scratch.path().join(name) };
        match kind {
            Kind::Rust => *BUILT,
            Kind::Script => {
                copy(&here.join("python"), &scratch.path().join("python"));
                copy(&here.join(name), &folder);
                let python = PathBuf::from(required("COUNTERSIGN_TEST_PYTHON"));
                symlink(python.ancestors().nth(2).unwrap(), folder.join(".venv")).unwrap();
                symlink(required("COUNTERSIGN_TEST_NODE_MODULES"), folder.join("node_modules")).unwrap();
            }
            Kind::Nginx => {
                copy(&here.join(name), &folder);
                // Its workers are not root.
                fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        Self { kind, folder, readme, issuer: app.base.clone(), database: app.database.clone(), scratch }
    }

    /// The README's blocks of that name, for where things are in this test.
    fn script(&self, block: &str, ports: [u16; 3]) -> String {
        let mut script = "set -eu\n".to_owned();
        let mut lines = self.readme.lines();
        while let Some(line) = lines.next() {
            if line == format!("```sh {block}") {
                for line in lines.by_ref().take_while(|line| *line != "```") {
                    writeln!(script, "{line}").unwrap();
                }
            }
        }
        assert!(script.lines().count() > 1, "the README has no block {block}");
        self.here(&script, ports)
    }

    /// A text for where things are in this test: the issuer, the service's own port, those of the gate and of what is behind
    /// nginx, the secret.
    fn here(&self, text: &str, ports: [u16; 3]) -> String {
        let [own, gate, behind] = ports.map(|port| port.to_string());
        let secret = self.scratch.path().join("feed.secret").display().to_string();
        let places = [
            ("127.0.0.1:8080", self.issuer.trim_start_matches("http://").to_owned()),
            ("127.0.0.1:5000", format!("127.0.0.1:{own}")),
            ("--port 5000", format!("--port {own}")),
            ("PORT=5000", format!("PORT={own}")),
            ("127.0.0.1:8081", format!("127.0.0.1:{gate}")),
            ("127.0.0.1:5001", format!("127.0.0.1:{behind}")),
            ("feed.secret", secret),
        ];
        // In two rounds, since one port may begin as another does.
        let marked = places.iter().enumerate();
        let marked = marked.fold(text.to_owned(), |text, (nth, (name, _))| text.replace(name, &format!("\0{nth}\0")));
        let places = places.iter().enumerate();
        places.fold(marked, |text, (nth, (_, place))| text.replace(&format!("\0{nth}\0"), place))
    }

    fn shell(&self, script: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        let like_the_server = command(&self.folder, Some(&self.database), &[]);
        let mut shell = Command::new("bash");
        shell.current_dir(&self.folder).args(["-c", script]).stdin(Stdio::null()).env_clear();
        shell.envs(like_the_server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Debian's nginx is where only root looks.
        shell.env("PATH", format!("{}:{}:/usr/sbin", binary.display(), required("PATH")));
        shell.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", self.database.folder.path().join("master.key"));
        shell.env("COUNTERSIGN__LOG__LEVEL", "warn");
        if self.kind == Kind::Rust {
            shell.envs(for_cargo().filter(|(name, _)| name != "PATH"));
        }
        shell
    }

    /// Runs blocks to their end; what they print.
    #[track_caller]
    pub fn run(&self, block: &str, ports: [u16; 3]) -> String {
        let output = self.shell(&self.script(block, ports)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{block}: {out}\n{error}");
        // Python's tests report there.
        out + &error
    }

    pub fn start(&self) -> Service {
        self.start_with(|configuration| configuration)
    }

    /// The same with another configuration of nginx.
    pub fn start_with(&self, amended: impl Fn(String) -> String) -> Service {
        let ports = [(); 3].map(|()| free_port());
        let log = self.scratch.path().join(format!("{}.log", ports[0]));
        let to_log = || File::options().create(true).append(true).open(&log).unwrap();
        if self.kind == Kind::Nginx {
            let configuration = fs::read_to_string("examples/nginx/nginx.conf").unwrap();
            fs::write(self.folder.join("nginx.conf"), amended(self.here(&configuration, ports))).unwrap();
        }
        let mut shell = self.shell(&self.script("start", ports));
        let child = shell.stdout(to_log()).stderr(to_log()).process_group(0).spawn().unwrap();
        let caller = RelyingParty::new(&format!("http://127.0.0.1:{}", ports[0]));
        let mut service = Service { child, ports, log, caller };
        let used = if self.kind == Kind::Nginx { 3 } else { 1 };
        let began = Instant::now();
        while ports[..used].iter().any(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(service.child.try_wait().unwrap().is_none(), "it ended: {}", service.log());
            assert!(began.elapsed() < Duration::from_secs(30), "it does not listen: {}", service.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Builds the examples in Rust, and their tests: once, as their folders would.
static BUILT: LazyLock<()> = LazyLock::new(|| {
    for name in ["actix", "axum"] {
        for arguments in [&["build"][..], &["test", "--no-run"]] {
            let mut cargo = Command::new("cargo");
            cargo.args(arguments).args(["--locked", "--quiet"]).current_dir(Path::new("examples").join(name));
            let output = cargo.env_clear().envs(for_cargo()).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
});

/// The environment without what the cargo that runs this test has put into it: with that, another one would build anew.
pub fn for_cargo() -> impl Iterator<Item = (OsString, OsString)> {
    let ours = ["COUNTERSIGN", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "LD_LIBRARY_PATH"];
    std::env::vars_os().filter(move |(name, _)| !ours.iter().any(|start| name.to_string_lossy().starts_with(start)))
}

/// The files of a folder, and nothing of what a developer has installed there.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A service that runs, with all that it started.
pub struct Service {
    child: Child,
    pub ports: [u16; 3],
    log: PathBuf,
    pub caller: RelyingParty,
}

impl Service {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn health(&self) -> u16 {
        self.caller.get("/healthz", &[]).status
    }

    pub fn orders(&self, method: &str, token: &str) -> Answer {
        self.caller.send(method, "/orders", &[("Authorization", &format!("Bearer {token}"))], b"")
    }

    #[track_caller]
    pub fn accepts(&self, token: &str) {
        let answer = self.orders("GET", token);
        assert_eq!(answer.status, 200, "{} {}", answer.body, self.log());
    }

    #[track_caller]
    pub fn refuses(&self, token: &str) {
        let answer = self.orders("GET", token);
        assert_eq!(
            (answer.status, challenge(&answer)),
            (401, r#"Bearer error="invalid_token""#.to_owned()),
            "{}",
            self.log()
        );
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// What an answer challenges with, without the words for people.
pub fn challenge(answer: &Answer) -> String {
    let parts = answer.header("www-authenticate").unwrap_or_default().split(", ");
    parts.filter(|part| !part.starts_with("error_description=")).collect::<Vec<_>>().join(", ")
}

#[track_caller]
pub fn eventually(service: &Service, within: Duration, what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < within, "{what}: {}", service.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn log_in(party: &RelyingParty, scope: &str) -> String {
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
        .script("try", service.ports)
        .lines()
        .filter_map(|line| Some(line.split_once("  # ")?.1.chars().take(3).collect()))
        .collect();
    let printed = example.run("try", service.ports);
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
fn works(name: &str, kind: Kind) {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let example = Example::new(name, kind, &app);
    example.run("prepare", [0; 3]);
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
    if kind != Kind::Nginx {
        let listed = service.orders("GET", &phone).json();
        assert_eq!(listed["orders"].as_array().unwrap().len(), 2, "{listed}");
    }
    let lacks = service.orders("POST", &phone);
    let expected = r#"Bearer error="insufficient_scope", scope="write""#.to_owned();
    assert_eq!((lacks.status, challenge(&lacks)), (403, expected));
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
    let wait = if kind == Kind::Script { "15" } else { "2" };
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some(wait)), "{}", late.log());
    assert_eq!(answer.header("www-authenticate"), None);
    service.accepts(&phone);

    if kind != Kind::Nginx {
        let report = example.run("test", [0; 3]);
        let ran = ["Ran 2 tests", "# fail 0", "test result: ok. 4 passed"];
        assert!(ran.iter().any(|ran| report.contains(ran)), "{report}");
    }
    drop((service, late));
    passes_the_suite(example);
}

/// Good and bad tokens of another issuer, which it trusts for this.
fn passes_the_suite(mut example: Example) {
    let listen = format!("127.0.0.1:{}", free_port());
    example.issuer = format!("http://{listen}");
    let service = example.start();
    let target = format!("http://127.0.0.1:{}/orders", service.ports[0]);
    let audience = "https://orders.example.com";
    let arguments = [
        "--json",
        "verify-suite",
        "--target",
        &target,
        "--audience",
        audience,
        "--listen",
        &listen,
        "--patience",
        "60s",
    ];
    let mut suite = command(&example.folder, None, &arguments);
    if example.kind != Kind::Script {
        suite.arg("--strict");
    }
    let output = cli::run(suite, "");
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report} {} {}", String::from_utf8_lossy(&output.stderr), service.log());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["tried"].as_u64().unwrap() > 100 && report["wrong"] == 0, "{report}");
}

#[test]
fn flask_with_the_status_list_for_a_blocklist() {
    works("flask", Kind::Script);
}

#[test]
fn fastapi_with_verified_claims_and_scopes() {
    works("fastapi", Kind::Script);
}

#[test]
fn express_with_jose() {
    works("express", Kind::Script);
}

#[test]
fn actix_with_the_verifier_in_its_extractors() {
    works("actix", Kind::Rust);
}

#[test]
fn axum_with_the_verifier_in_its_state() {
    works("axum", Kind::Rust);
}

#[test]
fn nginx_with_the_gate() {
    works("nginx", Kind::Nginx);
}

#[test]
fn the_examples_install_what_is_tested() {
    let lines = |path: &str| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let tested = lines("tests/interop/requirements.txt");
    for example in ["flask", "fastapi", "clients"] {
        for pinned in lines(&format!("examples/{example}/requirements.txt")) {
            assert!(tested.contains(&pinned), "{example}: {pinned}");
        }
    }
    let packages = |path: &str| -> Value {
        let lock: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        lock["packages"].clone()
    };
    let tested = packages("tests/interop/package-lock.json");
    for (lock, at_least) in [("examples/express/package-lock.json", 10), ("examples/clients/page/package-lock.json", 1)]
    {
        let ours = packages(lock);
        for (path, package) in ours.as_object().unwrap().iter().filter(|(path, _)| !path.is_empty()) {
            assert_eq!(package["integrity"], tested[path]["integrity"], "{lock}: {path}");
        }
        assert!(ours.as_object().unwrap().len() > at_least);
    }
}

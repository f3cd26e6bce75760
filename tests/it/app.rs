//! A server of the test's own: its own database, a free port, a clock that the test moves.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign::admin::{accounts, clients};
use countersign::app::App;
use countersign::clock::{Clock, Timestamp};
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::secret::{PlainSecret, Random, encode_base64url};
use countersign::settings::Settings;
use countersign::store::accounts::Account;
use countersign::web;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection};

use crate::relying_party::RelyingParty;

/// The password of every test account. `scripts/search-log` looks for its marker.
pub const PASSWORD: &str = "hunter-canary-4711";
/// A password that is nobody's.
pub const WRONG_PASSWORD: &str = "hunter-canary-0815";
/// The resource of every test client.
pub const AUDIENCE: &str = "https://api.example";

/// 2026-01-01T00:00:00Z, where every hand-moved clock begins.
pub const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// Which databases the run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// `COUNTERSIGN_TEST_BACKEND`; SQLite when it is not said.
pub fn backend() -> Backend {
    match variable("COUNTERSIGN_TEST_BACKEND").as_deref() {
        None | Some("sqlite") => Backend::Sqlite,
        Some("postgres") => Backend::Postgres,
        Some(other) => panic!("COUNTERSIGN_TEST_BACKEND is {other:?}: sqlite or postgres"),
    }
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable that `scripts/test` sets; without it the test fails rather than passing on nothing.
pub fn required(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: run the tests by scripts/test"))
}

/// The file that all servers of the run log to.
pub fn log_file() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        variable("COUNTERSIGN_TEST_LOG").map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}.log", std::process::id())),
            PathBuf::from,
        )
    });
    FILE.clone()
}

/// Logs all of ours at the finest level to the run's file, as a server would.
fn start_log() {
    static STARTED: LazyLock<()> = LazyLock::new(|| {
        use tracing_subscriber::filter::{LevelFilter, Targets};
        use tracing_subscriber::prelude::*;
        let file = OpenOptions::new().create(true).append(true).open(log_file()).unwrap();
        let targets = Targets::new().with_default(LevelFilter::WARN).with_target("countersign", LevelFilter::TRACE);
        let layer = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file)).with_filter(targets);
        tracing_subscriber::registry().with(layer).init();
    });
    LazyLock::force(&STARTED);
}

/// A database that goes away with the test.
pub struct TestDatabase {
    pub url: String,
    /// Holds the master key, and the SQLite file if there is one.
    pub folder: tempfile::TempDir,
    postgres_name: Option<String>,
}

impl TestDatabase {
    /// An empty one.
    pub fn empty() -> Self {
        Self::new(None)
    }

    /// One with a schema and signing keys: a copy of a template made once a run.
    pub fn prepared() -> Self {
        static TEMPLATE: LazyLock<TestDatabase> = LazyLock::new(|| {
            let database = TestDatabase::empty();
            drop(App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::manual(BEGINNING)).unwrap());
            database.settle();
            database
        });
        Self::new(Some(&TEMPLATE))
    }

    fn new(template: Option<&Self>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // One at a time: PostgreSQL refuses to copy a template that someone is connected to, a copier included.
        static COPYING: Mutex<()> = Mutex::new(());
        let folder = tempfile::tempdir().unwrap();
        if let Some(template) = template {
            std::fs::copy(template.folder.path().join("master.key"), folder.path().join("master.key")).unwrap();
        }
        if backend() == Backend::Sqlite {
            let path = folder.path().join("countersign.db");
            if let Some(template) = template {
                std::fs::copy(template.folder.path().join("countersign.db"), &path).unwrap();
            }
            return Self { url: format!("sqlite:{}", path.display()), folder, postgres_name: None };
        }
        let name = format!("it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let of_template =
            template.and_then(|template| template.postgres_name.as_deref()).map(|name| format!("TEMPLATE {name}"));
        let copying = COPYING.lock().unwrap();
        admin_connection()
            .batch_execute(&format!("CREATE DATABASE {name} {}", of_template.unwrap_or_default()))
            .unwrap();
        drop(copying);
        let mut url = url::Url::parse(&required("COUNTERSIGN_TEST_POSTGRES_URL")).unwrap();
        url.set_path(&name);
        Self { url: url.to_string(), folder, postgres_name: Some(name) }
    }

    /// Waits until nobody is connected and everything is in the main file.
    fn settle(&self) {
        match &self.postgres_name {
            None => {
                let path = self.folder.path().join("countersign.db");
                let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
                // The last connections close a moment after their pool.
                std::thread::sleep(Duration::from_millis(200));
                conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            }
            Some(name) => {
                let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
                admin_connection().batch_execute(&end).unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    }

    /// The settings of a server on it: defaults, a free port, and what the test wants otherwise.
    pub fn settings(&self, overrides: &[(&str, &str)]) -> Settings {
        let master_key = self.folder.path().join("master.key").display().to_string();
        let redis =
            if backend() == Backend::Postgres { required("COUNTERSIGN_TEST_REDIS_URL") } else { "memory:".into() };
        let mut all = vec![
            ("http.listen", "127.0.0.1:0"),
            ("database.url", &self.url),
            ("database.connections", "4"),
            ("cache.url", &redis),
            ("keys.master_key_file", &master_key),
            ("limits.address_failures", "100000"),
            ("limits.authorize_requests", "100000"),
            ("limits.authorize_requests_everywhere", "100000"),
            ("limits.registrations", "100000"),
            ("limits.registrations_everywhere", "100000"),
            ("limits.device_codes", "100000"),
            ("limits.device_codes_everywhere", "100000"),
            ("limits.user_codes", "10000"),
            ("limits.user_codes_everywhere", "10000"),
            ("limits.client_failures", "100000"),
        ];
        all.retain(|(key, _)| !overrides.iter().any(|(other, _)| other == key));
        all.extend(overrides);
        Settings::with_overrides(&all).unwrap()
    }

    /// Runs SQL that both databases understand.
    pub fn execute(&self, sql: &str) {
        match &self.postgres_name {
            None => {
                let path = self.folder.path().join("countersign.db");
                let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                conn.batch_execute(sql).unwrap();
            }
            Some(_) => PgConnection::establish(&self.url).unwrap().batch_execute(sql).unwrap(),
        }
    }

    /// Keeps every grant from being written until the returned sender is dropped.
    pub fn hold_grants(&self) -> std::sync::mpsc::Sender<()> {
        self.hold("UPDATE grants SET scope = scope", "ROLLBACK")
    }

    /// Begins a transaction with one statement, and ends it with others when the returned sender is dropped.
    pub fn hold(&self, lock: &str, then: &str) -> std::sync::mpsc::Sender<()> {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (holds, held) = std::sync::mpsc::channel();
        let path = self.folder.path().join("countersign.db");
        let (postgres, url) = (self.postgres_name.is_some(), self.url.clone());
        let (lock, then) = (format!("BEGIN; {lock}"), then.to_owned());
        std::thread::spawn(move || {
            if postgres {
                let mut conn = PgConnection::establish(&url).unwrap();
                conn.batch_execute(&lock).unwrap();
                holds.send(()).unwrap();
                let _ = released.recv();
                conn.batch_execute(&then).unwrap();
            } else {
                let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
                conn.batch_execute(&lock).unwrap();
                holds.send(()).unwrap();
                let _ = released.recv();
                conn.batch_execute(&then).unwrap();
            }
        });
        held.recv().unwrap();
        release
    }

    /// Every grant's rotation as text, to see whether anything changed.
    pub fn rotations(&self) -> String {
        let sql = "SELECT CAST(generation AS TEXT) || ':' || CAST(winner AS TEXT) || ':' || CAST(siblings AS TEXT) || ':' \
                   || CAST(rotated_at AS TEXT) || ':' || CAST(idle_expires_at AS TEXT) || ':' \
                   || COALESCE(CAST(ended_at AS TEXT), '-') AS line FROM grants ORDER BY id";
        self.lines(sql).join("\n")
    }

    /// The texts that a query names `line`.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        #[derive(diesel::QueryableByName)]
        struct Line {
            #[diesel(sql_type = diesel::sql_types::Text)]
            line: String,
        }
        let query = diesel::sql_query(sql);
        let lines: Vec<Line> = match &self.postgres_name {
            None => {
                let path = self.folder.path().join("countersign.db");
                query.load(&mut SqliteConnection::establish(&path.to_string_lossy()).unwrap()).unwrap()
            }
            Some(_) => query.load(&mut PgConnection::establish(&self.url).unwrap()).unwrap(),
        };
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Everything in it, as bytes: the SQLite files, or what `pg_dump` writes.
    pub fn dump(&self) -> Vec<u8> {
        if self.postgres_name.is_some() {
            let output = Command::new("pg_dump").arg("--dbname").arg(&self.url).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return output.stdout;
        }
        let files = ["countersign.db", "countersign.db-wal"];
        files.iter().filter_map(|file| std::fs::read(self.folder.path().join(file)).ok()).flatten().collect()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(name) = &self.postgres_name {
            let _ = admin_connection().batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

fn admin_connection() -> PgConnection {
    PgConnection::establish(&required("COUNTERSIGN_TEST_POSTGRES_URL")).unwrap()
}

/// A server that runs, and its parts.
pub struct TestApp {
    pub app: Arc<App>,
    pub base: String,
    pub database: Arc<TestDatabase>,
    handle: actix_web::dev::ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl TestApp {
    /// On a database of its own, with the default settings.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With some settings of the test's choice.
    pub fn with(overrides: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(TestDatabase::prepared()), Clock::manual(BEGINNING), overrides)
    }

    /// On a given database and clock.
    pub fn on(database: Arc<TestDatabase>, clock: Clock, overrides: &[(&str, &str)]) -> Self {
        start_log();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let settings = database.settings(overrides);
        let base = format!("http://{}", listener.local_addr().unwrap());
        let issuer = settings.issuer.clone().unwrap_or_else(|| base.clone());
        let app = Arc::new(App::open(settings, issuer, clock).unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        let served = app.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let server = web::build(served, listener, None).unwrap();
                sender.send(server.handle()).unwrap();
                server.run_until_stopped().await.unwrap();
            });
        });
        let handle = receiver.recv().unwrap();
        Self { app, base, database, handle, thread: Some(thread) }
    }

    /// Another instance on the same database, clock and issuer.
    pub fn second_instance(&self) -> Self {
        self.second_instance_with(&[])
    }

    /// The same with some settings of the test's choice.
    pub fn second_instance_with(&self, overrides: &[(&str, &str)]) -> Self {
        let mut all = vec![("issuer", self.app.issuer.as_str())];
        all.extend(overrides);
        Self::on(self.database.clone(), self.app.clock.clone(), &all)
    }

    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.app.clock.advance(span);
        // Whoever moves the clock does not move the loop that looks at the database.
        self.app.keyring.confirm(self.app.clock.monotonic());
    }

    /// Waits until this instance knows what is over by now, and serves lists that say so.
    pub fn settle_status(&self) {
        // The loop goes by the clock that the test moves.
        self.advance(Duration::from_secs(1));
        let last = self.app.db.read(countersign::store::status_changes::head).unwrap().seq;
        let serves = || {
            if self.app.status.current_head(self.app.clock.monotonic()).is_none() {
                return false;
            }
            let document = self.app.status.document(0).unwrap();
            let claims = document.token.split(|byte| *byte == b'.').nth(1).unwrap().to_vec();
            let claims = countersign::secret::decode_base64url(std::str::from_utf8(&claims).unwrap()).unwrap();
            serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["seq"].as_i64().unwrap() >= last
        };
        let began = std::time::Instant::now();
        while !serves() {
            assert!(began.elapsed() < Duration::from_secs(20), "the lists are not signed anew");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A client of this server.
    pub fn relying_party(&self) -> RelyingParty {
        RelyingParty::new(&self.base)
    }

    /// An account that logs in with [`PASSWORD`], and its e-mail address.
    pub fn account(&self) -> (Account, String) {
        let email = format!("{}@people.test", encode_base64url(&Random.bytes::<9>()).to_lowercase());
        let new = accounts::NewAccount {
            email: email.clone(),
            username: None,
            roles: vec!["reader".to_owned()],
            password: PlainSecret::new(PASSWORD),
            claims: serde_json::Map::new(),
        };
        (accounts::create(&self.app, &new, "test").unwrap(), email)
    }

    /// A client of the given metadata, known to this instance at once; its secret if it has one.
    pub fn client(&self, id: &str, json: serde_json::Value) -> Option<String> {
        let json: ClientMetadataJson = serde_json::from_value(json).unwrap();
        let (_, secret) = clients::create(&self.app, id, ClientMetadata::try_from(json).unwrap(), "test").unwrap();
        self.app.clients.reload(&self.app.db).unwrap();
        secret.map(|secret| secret.expose().to_owned())
    }

    /// The public client `web`: password and refresh, scope `read write`.
    pub fn public_client(&self) {
        self.client(
            "web",
            serde_json::json!({
                "token_endpoint_auth_method": "none",
                "grant_types": ["password", "refresh_token"],
                "scope": "read write",
                "audiences": [AUDIENCE, "https://other.example"],
            }),
        );
    }

    /// The confidential client `svc`: everything, scope `jobs read`; its secret.
    pub fn confidential_client(&self) -> String {
        self.client(
            "svc",
            serde_json::json!({
                "grant_types": ["password", "refresh_token", "client_credentials"],
                "scope": "jobs read",
                "audiences": [AUDIENCE],
            }),
        )
        .unwrap()
    }

    /// A person logged in at the public client: what the token endpoint answered.
    pub fn log_in(&self) -> (RelyingParty, crate::relying_party::Tokens) {
        self.public_client();
        let (_, email) = self.account();
        let party = self.relying_party();
        let tokens = party.log_in("web", &email).tokens();
        (party, tokens)
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! The server under load: its database, what is registered there, its process and what that costs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::admin::{accounts, clients};
use countersign::app::App;
use countersign::clock::Clock;
use countersign::id::GrantId;
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::secret::{Digest, PlainSecret, Random};
use countersign::settings::Settings;
use countersign::store::accounts::Account;
use countersign::store::authorization_codes::CodeHandle;
use countersign::store::grants::Handle;
use countersign::token::authorization_code;
use countersign::token::refresh_token::RefreshToken;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection};

/// The client whose people refresh.
pub const PUBLIC_CLIENT: &str = "web";
/// The client that asks in its own name.
pub const SERVICE_CLIENT: &str = "svc";
/// The client that gets codes, where it gets them, and its verifier for each.
pub const CODE_CLIENT: &str = "app";
pub const REDIRECT_URI: &str = "https://app.example/cb";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// Everybody's password.
pub const PASSWORD: &str = "hunter-canary-under-load";

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A database with keys, clients and people, as one finds it behind a server.
pub struct Ground {
    pub app: App,
    pub url: String,
    pub folder: PathBuf,
    pub service_secret: String,
    pub people: Vec<(Account, String)>,
    port: u16,
}

impl Ground {
    /// An empty database of its own, under `target/` so that commits reach a real disk.
    pub fn new(backend: Backend, people: usize) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("load_{}_{nth}", std::process::id());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/load").join(&name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let url = match backend {
            Backend::Sqlite => format!("sqlite:{}", folder.join("countersign.db").display()),
            Backend::Postgres => new_postgres_database(&name),
        };
        let port = free_port();
        let master_key = folder.join("master.key").display().to_string();
        let listen = format!("127.0.0.1:{port}");
        let settings = Settings::with_overrides(&[
            ("http.listen", &listen),
            ("database.url", &url),
            ("keys.master_key_file", &master_key),
        ])
        .expect("settings");
        let app = App::open(settings, format!("http://{listen}"), Clock::system()).expect("an app");
        let client = |id: &str, json: serde_json::Value| {
            let json: ClientMetadataJson = serde_json::from_value(json).expect("client metadata");
            let metadata = ClientMetadata::try_from(json).expect("client metadata");
            clients::create(&app, id, metadata, "test").expect("a client").1
        };
        client(
            PUBLIC_CLIENT,
            serde_json::json!({
                "token_endpoint_auth_method": "none", "grant_types": ["password", "refresh_token"],
                "scope": "read write", "audiences": ["https://api.example"],
            }),
        );
        client(
            CODE_CLIENT,
            serde_json::json!({
                "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
                "redirect_uris": [REDIRECT_URI], "scope": "openid read", "audiences": ["https://api.example"],
            }),
        );
        let secret = client(
            SERVICE_CLIENT,
            serde_json::json!({
                "grant_types": ["client_credentials"], "scope": "read write", "audiences": ["https://api.example"],
            }),
        );
        let service_secret = secret.expect("a secret").expose().to_owned();
        let people = (0..people).map(|nth| person(&app, nth)).collect();
        Self { app, url, folder, service_secret, people, port }
    }

    /// Adds grants, as if that many people had just logged in; their first refresh tokens, in no order.
    pub fn add_grants(&self, count: usize) -> Vec<String> {
        self.add_grants_of(count, Duration::ZERO)
    }

    /// Adds grants from as long ago; their first refresh tokens.
    pub fn add_grants_of(&self, count: usize, age: Duration) -> Vec<String> {
        const ROWS: usize = 2000;
        let mut tokens = Vec::with_capacity(count);
        let now = self.app.clock.now().minus(age);
        let (idle, end) = (now.plus(Duration::from_hours(14 * 24)), now.plus(Duration::from_hours(90 * 24)));
        let blob = |bytes: &[u8]| blob(&self.url, bytes);
        while tokens.len() < count {
            let mut sql = String::from(
                "INSERT INTO grants (id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, \
                 generation, winner, siblings, rotated_at, idle_expires_at, expires_at, status_position) VALUES ",
            );
            for nth in 0..ROWS.min(count - tokens.len()) {
                let (id, handle) = (GrantId::new(now, &Random), Handle(Random.bytes()));
                let (account, _) = &self.people[(tokens.len() + nth) % self.people.len()];
                let (id, handle_text, account) = (blob(id.as_bytes()), blob(&handle.0), blob(account.id.as_bytes()));
                let at = now.as_micros();
                let position =
                    self.app.status.take_position(&self.app.db, &self.app.clock, Random).expect("a position");
                sql.push_str(if nth == 0 { "" } else { "," });
                sql.push_str(&format!(
                    "({id},{handle_text},{account},'{PUBLIC_CLIENT}','read write','[\"https://api.example\"]',\
                     '[\"pwd\"]',{at},{at},1,0,1,{at},{},{},{position})",
                    idle.as_micros(),
                    end.as_micros()
                ));
                let first = RefreshToken { handle, generation: 1, sibling: 1 };
                tokens.push(first.seal(&self.app.secrets.load().refresh_token_mac).expect("a MAC key"));
            }
            self.execute(&sql);
        }
        // Handles are random, so their order is no order; rows lie in that of their insertion.
        tokens.sort_unstable();
        tokens
    }

    /// Adds codes, as if that many log-ins had just been allowed, each log-in a few times; in no order.
    pub fn add_codes(&self, count: usize) -> Vec<String> {
        const CODES_OF_SESSION: usize = 16;
        let now = self.app.clock.now();
        let (at, end) = (now.as_micros(), now.plus(Duration::from_hours(1)).as_micros());
        let challenge = blob(&self.url, Digest::sha256(VERIFIER.as_bytes()).as_bytes());
        let mut codes = Vec::with_capacity(count);
        while codes.len() < count {
            let (mut sessions, mut rows) = (Vec::new(), Vec::new());
            for _ in 0..100 {
                let (account, _) = &self.people[codes.len() % self.people.len()];
                let (session, account) =
                    (blob(&self.url, &Random.bytes::<16>()), blob(&self.url, account.id.as_bytes()));
                let token = blob(&self.url, &Random.bytes::<32>());
                sessions.push(format!("({session},{token},{account},0,'[\"pwd\"]',{at},{at},{at},{end})"));
                for _ in 0..CODES_OF_SESSION {
                    let handle = CodeHandle(Random.bytes());
                    let handle_text = blob(&self.url, &handle.0);
                    rows.push(format!(
                        "({handle_text},{session},{account},0,'{CODE_CLIENT}','{REDIRECT_URI}',{challenge},'n','openid read',\
                         '[\"https://api.example\"]','[\"pwd\"]',{at},{at},{end},0)"
                    ));
                    let keys = &self.app.secrets.load().authorization_code_mac;
                    codes.push(authorization_code::seal(handle, keys).expect("a MAC key"));
                }
            }
            self.execute(&format!(
                "INSERT INTO browser_sessions (id, token_digest, account_id, credentials_version, amr, auth_time, created_at, \
                 seen_at, expires_at) VALUES {}; INSERT INTO authorization_codes (handle, session_id, account_id, \
                 credentials_version, client_id, redirect_uri, challenge, nonce, scope, audiences, amr, auth_time, created_at, \
                 expires_at, failures) VALUES {}",
                sessions.join(","),
                rows.join(",")
            ));
        }
        codes.sort_unstable();
        codes
    }

    /// How many grants there are.
    pub fn count_grants(&self) -> f64 {
        self.number("SELECT CAST(COUNT(*) AS BIGINT) AS number FROM grants")
    }

    /// What a query answers that has one number, called `number`.
    pub fn number(&self, sql: &str) -> f64 {
        #[derive(diesel::QueryableByName)]
        struct Number {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            number: i64,
        }
        let query = diesel::sql_query(sql);
        let row: Number = if let Some(path) = self.url.strip_prefix("sqlite:") {
            query.get_result(&mut SqliteConnection::establish(path).expect("the file")).expect("a number")
        } else {
            query.get_result(&mut PgConnection::establish(&self.url).expect("PostgreSQL")).expect("a number")
        };
        row.number as f64
    }

    /// Runs SQL on the database, beside the server.
    pub fn execute(&self, sql: &str) {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let mut conn = SqliteConnection::establish(path).expect("the file");
                conn.batch_execute("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF").expect("a setting");
                conn.batch_execute(sql).expect("SQL");
            }
            None => PgConnection::establish(&self.url).expect("PostgreSQL").batch_execute(sql).expect("SQL"),
        }
    }

    /// Starts the release server on it and waits until it serves.
    pub fn serve(&self, overrides: &[(&str, &str)]) -> Process {
        self.serve_on(self.port, overrides)
    }

    /// The port that the issuer's name has; whoever serves there is the issuer.
    pub fn issuer_port(&self) -> u16 {
        self.port
    }

    /// Starts one more server beside the first.
    pub fn serve_another(&self) -> Process {
        self.serve_on(free_port(), &[])
    }

    fn serve_on(&self, port: u16, overrides: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("serve").current_dir(&self.folder);
        command
            .env("COUNTERSIGN__ISSUER", format!("http://127.0.0.1:{}", self.port))
            .env("COUNTERSIGN__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("COUNTERSIGN__DATABASE__URL", &self.url)
            .env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", self.folder.join("master.key"))
            .env("COUNTERSIGN__LIMITS__ADDRESS_FAILURES", "1000000")
            .env("COUNTERSIGN__LOG__LEVEL", "error")
            .envs(overrides.iter().copied());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server");
        let process = Process { child, port };
        process.wait_until_it_serves();
        process
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Bytes as the database writes them.
fn blob(url: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if url.starts_with("sqlite:") { format!("X'{hex}'") } else { format!("'\\x{hex}'") }
}

fn person(app: &App, nth: usize) -> (Account, String) {
    let email = format!("load-{nth}@people.test");
    let new = accounts::NewAccount {
        email: email.clone(),
        username: None,
        roles: Vec::new(),
        password: PlainSecret::new(PASSWORD),
        claims: serde_json::Map::new(),
    };
    (accounts::create(app, &new, "test").expect("an account"), email)
}

fn new_postgres_database(name: &str) -> String {
    let server = std::env::var("COUNTERSIGN_TEST_POSTGRES_URL")
        .expect("COUNTERSIGN_TEST_POSTGRES_URL: run this by scripts/bench, which starts PostgreSQL");
    // On loopback, without TLS: what is compared is the work, not the cipher.
    let mut url = url::Url::parse(&server).expect("a URL");
    url.set_query(Some("sslmode=disable"));
    let mut admin = PgConnection::establish(url.as_str()).expect("PostgreSQL");
    admin.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
    url.set_path(name);
    url.to_string()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A process that serves; killed when it is dropped.
pub struct Process {
    child: Child,
    pub port: u16,
}

/// What a process has cost so far.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Process {
    /// Starts this program again as a control; it says its port.
    pub fn control(kind: &str, input: &[u8]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["control", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a control");
        child.stdin.take().expect("its input").write_all(input).expect("its input");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
        Self { port: line.trim().parse().expect("its port"), child }
    }

    /// Asks for the JWKS until it is there.
    pub fn wait_until_it_serves(&self) {
        let give_up = Instant::now() + Duration::from_secs(30);
        while get(self.port, "/jwks.json").is_none() {
            assert!(Instant::now() < give_up, "the server did not start");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        cost_of(self.child.id())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.cost().resident
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of the PostgreSQL that `scripts/services` started, its backends included.
pub fn cost_of_postgres() -> Cost {
    let parent: u32 = std::env::var("COUNTERSIGN_TEST_POSTGRES_PID").ok().and_then(|pid| pid.parse().ok()).unwrap_or(0);
    let mut total = cost_of(parent);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if stat_field(pid, 3) == Some(u64::from(parent)) {
            total.cpu += cost_of(pid).cpu;
        }
    }
    // Backends that have gone were added to their parent's account of children.
    let ticks = stat_field(parent, 15).unwrap_or(0) + stat_field(parent, 16).unwrap_or(0);
    total.cpu += Duration::from_millis(ticks * MILLIS_PER_TICK);
    total
}

/// `/proc` counts processor time in hundredths of a second.
const MILLIS_PER_TICK: u64 = 10;

fn cost_of(pid: u32) -> Cost {
    let ticks = stat_field(pid, 13).unwrap_or(0) + stat_field(pid, 14).unwrap_or(0);
    let resident = stat_field(pid, 23).unwrap_or(0) * 4096;
    Cost { cpu: Duration::from_millis(ticks * MILLIS_PER_TICK), resident }
}

/// A field of `/proc/PID/stat`, counted from 0; the name in the second may hold spaces.
fn stat_field(pid: u32, nth: usize) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split(' ').nth(nth.checked_sub(2)?)?.parse().ok()
}

/// One GET; the header lines and the body when the answer is a 200.
pub fn get(port: u16, path: &str) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: load\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head_end = crate::driver::find(&answer, b"\r\n\r\n")?;
    let body = answer.split_off(head_end + 4);
    let (status, head) = std::str::from_utf8(answer.get(..head_end)?).ok()?.split_once("\r\n")?;
    status.starts_with("HTTP/1.1 200").then(|| (head.to_owned(), body))
}

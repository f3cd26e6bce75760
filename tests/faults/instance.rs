//! The real binary on a folder and a database of the row's own: settings, accounts and clients by the command line,
//! servers that are started and killed.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{PASSWORD, Targets};
use crate::database::{Backend, Database};
use crate::http::{self, Answer};
use crate::process::{self, Signal, Usage};
use crate::services::{Postgres, Redis};

/// The binary as it was when the run began, where a user without rights may run it; a build meanwhile does not change
/// what is tested.
static BINARY: LazyLock<(PathBuf, tempfile::TempDir)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let path = folder.path().join("countersign");
    fs::copy(env!("CARGO_BIN_EXE_countersign"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (path, folder)
});
/// The resource of every client here.
pub const AUDIENCE: &str = "https://api.example";
/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The file that all servers of the run log to.
pub fn log_file() -> PathBuf {
    std::env::var("COUNTERSIGN_TEST_LOG")
        .map_or_else(|_| Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.log"), PathBuf::from)
}

/// An address on which nothing listens, below the range that outgoing connections use.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8000).unwrap();
    loop {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + (first + nth) % 12_000));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A folder, a database, an account and two clients: `web`, a public one, and `svc` with a secret.
pub struct Site {
    pub database: Database,
    pub emails: Vec<String>,
    pub secret: String,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    /// Removes the folder, unless that was given.
    _temporary: Option<tempfile::TempDir>,
}

impl Site {
    pub fn new(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        Self::build(backend, path, Some(folder), settings)
    }

    /// In a folder that the row made, such as a small file system of its own.
    pub fn in_folder(backend: Backend, folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::build(backend, folder.to_owned(), None, settings)
    }

    fn build(
        backend: Backend,
        folder: PathBuf,
        temporary: Option<tempfile::TempDir>,
        settings: &[(&str, &str)],
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("faults_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        if process::is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
        }
        let (database, cache) = match backend {
            Backend::Sqlite => (Database::file(folder.join("countersign.db")), "memory:".to_owned()),
            Backend::Postgres => {
                let redis = format!("redis://{}/", Redis::of_the_run().address);
                (Database::on(Postgres::of_the_run(), &name), redis)
            }
        };
        let mut all = vec![
            ("DATABASE__URL".to_owned(), database.url()),
            ("CACHE__URL".to_owned(), cache),
            ("ISSUER".to_owned(), "http://127.0.0.1:8080".to_owned()),
            ("LOG__LEVEL".to_owned(), "info".to_owned()),
            ("LOG__FORMAT".to_owned(), "json".to_owned()),
            ("LIMITS__ADDRESS_FAILURES".to_owned(), "100000".to_owned()),
        ];
        let named: Vec<_> =
            settings.iter().map(|(key, value)| (key.to_uppercase().replace('.', "__"), (*value).to_owned())).collect();
        all.retain(|(key, _)| !named.iter().any(|(other, _)| other == key));
        all.extend(named);
        let mut site =
            Self { database, emails: Vec::new(), secret: String::new(), settings: all, folder, _temporary: temporary };
        site.add_account();
        let web = ["--id", "web", "--public", "--grant", "password", "--grant", "refresh_token", "--scope", "read"];
        let svc = ["--id", "svc", "--grant", "client_credentials", "--scope", "jobs"];
        for options in [&web[..], &svc] {
            let made = site.command(&[&["clients", "create", "--audience", AUDIENCE], options].concat(), "");
            if let Some(secret) = made["client_secret"].as_str() {
                secret.clone_into(&mut site.secret);
            }
        }
        site
    }

    /// One more account, by its e-mail address.
    pub fn add_account(&mut self) -> String {
        let email = format!("person-{}@people.test", self.emails.len());
        self.command(&["accounts", "create", "--email", &email, "--password-stdin"], PASSWORD);
        self.emails.push(email.clone());
        email
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The binary with this site's settings; not as root, to whom little is refused.
    fn binary(&self, environment: &[(String, String)]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if process::is_root() {
            let id = NOBODY.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        let path = std::env::var("PATH").unwrap();
        // By `env`, so that a library to be preloaded is loaded by nobody else before.
        command.args(["--", "env"]).args(environment.iter().map(|(key, value)| format!("{key}={value}")));
        command.arg(&BINARY.0).current_dir(&self.folder).env_clear().env("PATH", path);
        command.envs(self.settings.iter().map(|(key, value)| (format!("COUNTERSIGN__{key}"), value)));
        command
    }

    /// Runs a command that has to succeed; what it printed as JSON.
    pub fn command(&self, arguments: &[&str], input: &str) -> Value {
        let mut command = self.binary(&[]);
        command.arg("--json").args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("setpriv");
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Tries to start a server: with what code it ended, and what it said. `None` when it serves.
    pub fn fails_to_start(&self) -> Option<(Option<i32>, String)> {
        let mut command = self.binary(&[]);
        command.arg("serve").env("COUNTERSIGN__HTTP__LISTEN", "127.0.0.1:0").env("COUNTERSIGN__LOG__LEVEL", "error");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("setpriv");
        let listens = BufReader::new(child.stdout.take().unwrap()).lines().next().is_some();
        if listens {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        let output = child.wait_with_output().unwrap();
        Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Starts a server and waits until it says where it listens.
    pub fn start(&self) -> Instance {
        self.start_with(&[])
    }

    /// The same with variables of its own.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Instance {
        let address = free_address();
        let environment: Vec<_> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (child, started_in) = self.spawn(address, &environment);
        Instance { address, started_in, child, environment }
    }

    fn spawn(&self, address: SocketAddr, environment: &[(String, String)]) -> (Child, Duration) {
        let began = Instant::now();
        let log = OpenOptions::new().create(true).append(true).open(log_file()).unwrap();
        let mut command = self.binary(environment);
        command.arg("serve").env("COUNTERSIGN__HTTP__LISTEN", address.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("setpriv");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().and_then(Result::ok);
        assert!(first.is_some(), "a server did not start: {:?}; see {}", child.wait(), log_file().display());
        (child, began.elapsed())
    }
}

/// The user without rights, and its group.
const NOBODY: u32 = 65_534;

/// A running server; dropping it kills it.
pub struct Instance {
    pub address: SocketAddr,
    /// How long the last start took.
    pub started_in: Duration,
    child: Child,
    environment: Vec<(String, String)>,
}

impl Instance {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Kills it outright.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Starts it again where it was; how long until it said that it is ready.
    pub fn start_again(&mut self, site: &Site) -> Duration {
        let began = Instant::now();
        (self.child, self.started_in) = site.spawn(self.address, &self.environment);
        while !self.is_ready() {
            assert!(began.elapsed() < START_LIMIT, "a server did not become ready");
            thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    /// Its exit status, if it ends by then.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > until {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it answers to a GET; `None` when it does not.
    pub fn get(&self, path: &str) -> Option<Answer> {
        http::ask(self.address, &http::get(path), Duration::from_secs(3)).ok()
    }

    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.status == 200)
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where clients of these instances send their requests.
pub fn targets(instances: &[Instance]) -> Targets {
    instances.iter().map(|instance| instance.address).collect()
}

/// Writes a file that belongs to the server.
pub fn put_back(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    if process::is_root() {
        chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

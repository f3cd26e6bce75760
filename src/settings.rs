//! The settings: one default file compiled in, files on top, the environment on top of those. Typed and checked before
//! anything starts. The only reader of the environment; refuses to know what the values are used for.

mod duration;
mod refused;
mod sessions;
mod theme;
mod validate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Environment, File, FileFormat};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use refused::SettingsError;
pub use sessions::{Binding, Sessions};
pub use theme::{Logo, Theme};

use crate::protocol::client_metadata::registrant::Registrable;
use crate::protocol::jose::OwnAlgorithm;
use crate::secret::PlainSecret;

/// Every setting with its default; the manual of the settings.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// The settings as written, before they are checked. Serialises without secrets for `config check`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: String,
    http: Http,
    database: WrittenStore,
    cache: WrittenCache,
    keys: Keys,
    tokens: Tokens,
    sessions: Sessions,
    passwords: Passwords,
    limits: Limits,
    fetch: Fetch,
    registration: WrittenRegistration,
    pages: WrittenPages,
    log: Log,
}

/// `[http]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where `/metrics` listens, if not there.
    #[serde(with = "optional_address")]
    pub metrics_listen: Option<SocketAddr>,
    /// Proxies whose client address header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// That header's name, in lower case.
    pub client_address_header: String,
    /// The header with the certificate of a client, in lower case; empty for none.
    pub client_certificate_header: String,
    /// The header that says whether the certificate's issuer is trusted, in lower case; empty for none.
    pub client_verified_header: String,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long readiness is denied before the listener closes.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Http {
    /// Whether clients may show certificates.
    pub fn takes_certificates(&self) -> bool {
        !self.client_certificate_header.is_empty()
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenStore {
    url: SecretUrl,
    url_file: PathBuf,
    connections: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenCache {
    url: SecretUrl,
    url_file: PathBuf,
}

/// `[keys]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The master key itself, instead of its file.
    master_key: SecretText,
    /// Where the master key is.
    pub master_key_file: PathBuf,
    /// Size of new signing keys in bits.
    pub rsa_bits: usize,
    /// What keys sign by that are made or imported from now on.
    pub algorithm: OwnAlgorithm,
    /// How long a key signs.
    #[serde(with = "duration")]
    pub rotate_every: Duration,
    /// How long a key is published before it signs.
    #[serde(with = "duration")]
    pub publish_lead: Duration,
    /// How long a key is at least published after it signed last.
    #[serde(with = "duration")]
    pub retain: Duration,
}

/// `[tokens]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Life of an access token.
    #[serde(with = "duration")]
    pub access_ttl: Duration,
    /// How long a spent token may be repeated.
    #[serde(with = "duration")]
    pub refresh_leeway: Duration,
    /// How long a grant lives without being used.
    #[serde(with = "duration")]
    pub refresh_idle_ttl: Duration,
    /// How long a grant lives at most.
    #[serde(with = "duration")]
    pub refresh_absolute_ttl: Duration,
    /// Whether every DPoP proof must have a nonce of ours.
    pub dpop_nonce_required: bool,
}

/// `[passwords]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// Fewest characters of a new password.
    pub min_length: usize,
    /// Argon2id memory in KiB.
    pub memory_kib: u32,
    /// Argon2id passes.
    pub iterations: u32,
    /// Argon2id lanes.
    pub parallelism: u32,
    /// Threads that hash; 0 means one for each processor.
    pub threads: usize,
    /// The most log-ins that wait.
    pub queue: usize,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Failures for one account from one network before waits begin.
    pub login_failures: u32,
    /// The longest wait.
    #[serde(with = "duration")]
    pub login_delay_max: Duration,
    /// Failures for one account from everywhere before unknown networks wait too.
    pub login_failures_ceiling: u32,
    /// Failures a minute from one network.
    pub address_failures: u32,
    /// What may begin and wait for a person a minute from one network: five counts, which `config/default.toml` names.
    pub authorize_requests: u32,
    /// The same from all networks together.
    pub authorize_requests_everywhere: u32,
    /// Proofs of possession, and assertions, a minute from one network by clients that are public or registered themselves.
    pub proofs: u32,
    /// Authorization codes a minute for one log-in at a browser.
    pub codes: u32,
    /// Registrations a minute from one network.
    pub registrations: u32,
    /// The same from all networks together.
    pub registrations_everywhere: u32,
    /// Devices that may begin a minute from one network.
    pub device_codes: u32,
    /// The same from all networks together.
    pub device_codes_everywhere: u32,
    /// Wrong codes of devices that may be typed a minute from one network.
    pub user_codes: u32,
    /// The same from all networks together.
    pub user_codes_everywhere: u32,
    /// Wrong secrets of one client a minute from one network.
    pub client_failures: u32,
}

/// `[fetch]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Whether calls out may go to this machine, over http if need be.
    pub allow_loopback: bool,
    /// Networks beside the public ones that calls out may go to.
    pub allowed_networks: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenRegistration {
    mode: RegistrationMode,
    allowed_scope: String,
    allowed_audiences: Vec<String>,
    max_clients: u32,
}

/// Who may register clients by themselves (RFC 7591 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody.
    Off,
    /// Whoever has an initial access token.
    Token,
    /// Everybody.
    Open,
}

/// `[registration]`.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Who may.
    pub mode: RegistrationMode,
    /// What such clients may have.
    pub allowed: Registrable,
    /// The most clients that may have registered themselves.
    pub max_clients: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenPages {
    service_name: String,
    theme: PathBuf,
    theme_style: ThemeStyle,
}

/// What a theme's style does to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ThemeStyle {
    /// It comes after ours and changes some of it.
    After,
    /// It comes in the place of ours.
    Instead,
}

/// `[pages]`.
#[derive(Clone, Debug)]
pub struct Pages {
    /// What the service is called where the theme does not say otherwise.
    pub service_name: String,
    /// The theme, if there is one.
    pub theme: Option<Theme>,
    /// What its style does to ours.
    pub theme_style: ThemeStyle,
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The least level that is written.
    pub level: LogLevel,
    /// The form of the lines.
    pub format: LogFormat,
}

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may soon.
    Warn,
    /// And what happens.
    Info,
    /// And how.
    Debug,
    /// And every step.
    Trace,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Which database, and how to reach it.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A libpq connection URL; it may hold a password.
    Postgres(PlainSecret),
}

/// Where short-lived counters live.
#[derive(Clone, Debug)]
pub enum CacheUrl {
    /// In this process.
    Memory,
    /// In Redis; the URL may hold a password.
    Redis(PlainSecret),
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer as configured; `None` means `http://` and the address listened on.
    pub issuer: Option<String>,
    /// `[http]`.
    pub http: Http,
    /// The database.
    pub database: DatabaseUrl,
    /// The most connections to it.
    pub database_connections: u32,
    /// The cache.
    pub cache: CacheUrl,
    /// The master key, if it is not in a file.
    pub master_key: Option<PlainSecret>,
    /// `[keys]`.
    pub keys: Keys,
    /// `[tokens]`.
    pub tokens: Tokens,
    /// `[sessions]`.
    pub sessions: Sessions,
    /// `[passwords]`.
    pub passwords: Passwords,
    /// `[limits]`.
    pub limits: Limits,
    /// `[fetch]`.
    pub fetch: Fetch,
    /// `[registration]`.
    pub registration: Registration,
    /// `[pages]`.
    pub pages: Pages,
    /// `[log]`.
    pub log: Log,
    written: Box<Written>,
}

impl Settings {
    /// Reads the defaults, then `files` in order, then the environment.
    ///
    /// # Errors
    /// [`SettingsError`], naming the key or file at fault.
    pub fn load(files: &[PathBuf]) -> Result<Self, SettingsError> {
        Self::from_sources(files, environment())
    }

    /// Reads the defaults and the given `key = value` pairs; the environment is left out.
    ///
    /// # Errors
    /// [`SettingsError`], naming the key at fault.
    pub fn with_overrides(overrides: &[(&str, &str)]) -> Result<Self, SettingsError> {
        let pairs = overrides
            .iter()
            .map(|(key, value)| (format!("COUNTERSIGN__{}", key.replace('.', "__")), (*value).to_owned()));
        Self::from_sources(&[], environment().source(Some(pairs.collect())))
    }

    /// What of them is about the log alone: for a command that needs nothing else of a server's.
    ///
    /// # Errors
    /// [`SettingsError`], naming the key at fault.
    pub fn load_log(files: &[PathBuf]) -> Result<Log, SettingsError> {
        let sources = Self::sources(files, environment())?;
        sources.build().and_then(|config| config.get("log")).map_err(|error| SettingsError::unreadable(&error))
    }

    fn from_sources(files: &[PathBuf], environment: Environment) -> Result<Self, SettingsError> {
        let config = Self::sources(files, environment)?.build().and_then(Config::try_deserialize::<Written>);
        validate::check(config.map_err(|error| SettingsError::unreadable(&error))?)
    }

    fn sources(files: &[PathBuf], environment: Environment) -> Result<ConfigBuilder<DefaultState>, SettingsError> {
        let mut sources = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        for file in files {
            if !file.is_file() {
                return Err(SettingsError::NoSuchFile(file.clone()));
            }
            sources = sources.add_source(File::from(file.as_path()).format(FileFormat::Toml));
        }
        Ok(sources.add_source(environment))
    }

    /// The effective settings as TOML-like JSON, without secrets.
    pub fn printable(&self) -> serde_json::Value {
        serde_json::to_value(&*self.written).unwrap_or_default()
    }

    /// The issuer of a server that listens on `address`.
    pub fn issuer_at(&self, address: SocketAddr) -> String {
        self.issuer.clone().unwrap_or_else(|| format!("http://{address}"))
    }
}

/// `COUNTERSIGN__SECTION__NAME`; lists are divided by commas.
fn environment() -> Environment {
    Environment::with_prefix("COUNTERSIGN")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .ignore_empty(true)
        .list_separator(",")
        .with_list_parse_key("http.trusted_proxies")
        .with_list_parse_key("fetch.allowed_networks")
        .with_list_parse_key("registration.allowed_audiences")
}

/// Reads a secret from a file: its content without the line break at the end.
fn read_secret(key: &'static str, path: &Path) -> Result<String, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::UnreadableSecret {
        key,
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A URL that may hold a password; it prints and serialises without.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct SecretUrl(String);

impl Serialize for SecretUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact(&self.0))
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

/// A secret as written: shown as `…`, or as nothing when there is none.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct SecretText(String);

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "…" })
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The URL with its password, if any, and its query replaced: either may hold a secret.
fn redact(text: &str) -> String {
    if text.starts_with("sqlite:") || text == "memory:" || text.is_empty() {
        return text.to_owned();
    }
    match url::Url::parse(text) {
        Ok(url) if url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let host = url.host_str().unwrap_or_default();
            format!("{}://…@{host}{port}{}", url.scheme(), url.path())
        }
        Ok(_) | Err(_) => "…".to_owned(),
    }
}

mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde prescribes the signature")]
    pub fn serialize<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
    }
}

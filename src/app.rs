//! Everything that a request may need, built from the settings; and what a client is told when the store did not do
//! it. No other logic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::cache::{Cache, CacheError};
use crate::client_keys::ClientKeys;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::fetch::Fetcher;
use crate::keys::life::Life;
use crate::keys::schedule::Schedule;
use crate::keys::{Document, Keyring, KeysError, Kind, MasterKey, MasterKeyError, Purpose};
use crate::lane::{Lane, LaneShape};
use crate::limits::{AddressFailures, ClientFailures, Codes, DevicePace, PerMinute, UserCodeGuesses};
use crate::metrics::{Metrics, MetricsError};
use crate::password_hash::{HashError, HashMemory, Hasher};
use crate::protocol::discovery_document::{DiscoveryDocument, With};
use crate::reason::{CapacityRefusal, Refusal};
use crate::secret::{PurposeKey, Random};
use crate::settings::{RegistrationMode, Settings};
use crate::status::Status;
use crate::store::migrate::{self, MigrateError};
use crate::store::signing_keys::{self, KeyState, StoredKey};
use crate::store::{self, Db};

/// Threads for whatever reads or writes rows, refreshes above all. More than processors, since each waits for its commit to be
/// durable, and on SQLite those that wait together share one.
const TOKEN_THREADS: usize = 16;
/// The most requests that wait for such a thread.
const TOKEN_QUEUE: usize = 256;
/// How long one may wait.
const TOKEN_PATIENCE: Duration = Duration::from_millis(250);
/// How long a log-in may wait for a hashing thread.
const HASH_PATIENCE: Duration = Duration::from_secs(2);
/// Hashing takes what the rest leaves: under a flood of refreshes a few log-ins a second, the others are told to wait.
const HASH_NICENESS: i32 = 10;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The schema.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Nobody has served or made anything here yet, or the keys were given up.
    #[error("there are no signing keys yet: the next start of a server makes them")]
    NoKeys,
    /// The parameters of password hashes.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// No thread to be had.
    #[error("no thread could be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The master key and what derives from it, one list for each purpose, the version that makes new things last.
pub struct Secrets {
    /// The master key.
    pub master_key: Arc<MasterKey>,
    /// Authenticate refresh tokens.
    pub refresh_token_mac: Vec<(u8, PurposeKey)>,
    /// Hash client secrets.
    pub client_secret_hash: Vec<(u8, PurposeKey)>,
    /// Hash the names under which log-ins are counted. Only one: older counts may be forgotten.
    pub login_attempt: PurposeKey,
    /// Authenticate authorization codes.
    pub authorization_code_mac: Vec<(u8, PurposeKey)>,
    /// Authenticate device codes.
    pub device_code_mac: Vec<(u8, PurposeKey)>,
    /// Hash the codes that people type for their devices.
    pub user_code_mac: Vec<(u8, PurposeKey)>,
    /// Bind the forms of our pages to a browser.
    pub form_mac: Vec<(u8, PurposeKey)>,
    /// Make the next secrets of what browsers remember.
    pub remembered_mac: Vec<(u8, PurposeKey)>,
    /// Authenticate the nonces of DPoP proofs.
    pub dpop_nonce_mac: Vec<(u8, PurposeKey)>,
}

impl Secrets {
    fn new(master_key: MasterKey) -> Result<Self, KeysError> {
        Ok(Self {
            refresh_token_mac: master_key.derive_all(Purpose::RefreshTokenMac),
            client_secret_hash: master_key.derive_all(Purpose::ClientSecretHash),
            authorization_code_mac: master_key.derive_all(Purpose::AuthorizationCodeMac),
            device_code_mac: master_key.derive_all(Purpose::DeviceCodeMac),
            user_code_mac: master_key.derive_all(Purpose::UserCodeMac),
            form_mac: master_key.derive_all(Purpose::FormMac),
            remembered_mac: master_key.derive_all(Purpose::RememberedMac),
            dpop_nonce_mac: master_key.derive_all(Purpose::DpopNonceMac),
            login_attempt: master_key
                .derive(master_key.version(), Purpose::LoginAttemptKey)
                .ok_or(KeysError::NoActiveKey)?,
            master_key: Arc::new(master_key),
        })
    }
}

/// The parts that rules need and that commands share with the server.
pub struct App {
    /// The settings.
    pub settings: Settings,
    /// The issuer: every token's `iss`.
    pub issuer: String,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// The database.
    pub db: Db,
    /// Short-lived counters.
    pub cache: Cache,
    /// The master key and what derives from it.
    pub secrets: ArcSwap<Secrets>,
    /// Held while they change.
    changing_secrets: Mutex<()>,
    /// Signing keys.
    pub keyring: Keyring,
    /// Clients.
    pub clients: Clients,
    /// Keys that clients publish at URIs of their own.
    pub client_keys: ClientKeys,
    /// What is over, and places in the status lists.
    pub status: Status,
    /// Calls out.
    pub fetcher: Fetcher,
    /// Password hashing.
    pub hasher: Hasher,
    /// The rule for networks that fail to log in.
    pub address_failures: AddressFailures,
    /// The rule for networks that begin log-ins at a browser.
    pub authorize_requests: PerMinute,
    /// The same for requests that clients push that are anybody's.
    pub pushed_requests: PerMinute,
    /// The same for what apps begin without a browser.
    pub challenges: PerMinute,
    /// The same for whoever wants to see an account and is not logged in.
    pub account_requests: PerMinute,
    /// The same for what follows a device's code.
    pub device_steps: PerMinute,
    /// The rule for networks whose clients prove keys, or themselves by what they sign, and are anybody's.
    pub proofs: PerMinute,
    /// The rule for log-ins that ask for codes.
    pub codes: Codes,
    /// The rule for networks that register clients.
    pub registrations: PerMinute,
    /// The same for lists of sectors that are fetched for them.
    pub sector_lists: PerMinute,
    /// The same for changes of a registration.
    pub registration_changes: PerMinute,
    /// The rule for networks whose devices ask for codes.
    pub device_codes: PerMinute,
    /// The rule for networks that type codes of no device.
    pub user_code_guesses: UserCodeGuesses,
    /// Wrong secrets of clients.
    pub client_failures: ClientFailures,
    /// How often a device may ask.
    pub device_pace: DevicePace,
    /// Counters and timings.
    pub metrics: Metrics,
}

/// Which signing keys have to open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Everything,
    WhatItCan,
    /// And none are made.
    WhatIsThere,
}

impl App {
    /// Opens every part, in the order in which a mistake is best reported; makes keys on first start.
    ///
    /// # Errors
    /// [`StartError`], one clear line.
    pub fn open(settings: Settings, issuer: String, clock: Clock) -> Result<Self, StartError> {
        Self::open_with(settings, issuer, clock, Opens::Everything)
    }

    /// The same for a command, which a signing key that does not open keeps from nothing: it signs nothing, and may be what
    /// mends it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open_for_command(settings: Settings, issuer: String) -> Result<Self, StartError> {
        Self::open_with(settings, issuer, Clock::system(), Opens::WhatItCan)
    }

    /// The same for a command that makes nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open_existing(settings: Settings, issuer: String) -> Result<Self, StartError> {
        Self::open_with(settings, issuer, Clock::system(), Opens::WhatIsThere)
    }

    fn open_with(settings: Settings, issuer: String, clock: Clock, opens: Opens) -> Result<Self, StartError> {
        let random = Random;
        migrate::apply(&settings.database)?;
        let db = Db::open(&settings.database, settings.database_connections)?;
        let stored = db.read(|tx| signing_keys::load_readable(tx, &KeyState::PUBLISHED))?;
        let has_none = stored.keys.is_empty() && stored.unreadable.is_empty();
        if has_none && opens == Opens::WhatIsThere {
            return Err(StartError::NoKeys);
        }
        let master_key = load_master_key(&settings, has_none, &random)?;
        let master_key = in_force_for(&master_key, &stored.keys);
        let keyring = match opens {
            Opens::WhatItCan | Opens::WhatIsThere if !has_none => Keyring::open_what_opens(&db, &master_key)?,
            Opens::WhatItCan | Opens::WhatIsThere | Opens::Everything => {
                Keyring::open(&db, &master_key, (kind(&settings), settings.tokens.access_ttl))?
            }
        };
        keyring.confirm(clock.monotonic());
        let limits = settings.limits.clone();
        let per_minute = |what, allowed, everywhere| PerMinute { what, allowed, allowed_everywhere: Some(everywhere) };
        let waits = |what| per_minute(what, limits.authorize_requests, limits.authorize_requests_everywhere);
        let registers = |what| per_minute(what, limits.registrations, limits.registrations_everywhere);
        Ok(Self {
            clients: Clients::open(&db)?,
            client_keys: ClientKeys::default(),
            status: Status::new(random),
            cache: Cache::open(&settings.cache, &clock)?,
            fetcher: Fetcher::new(&settings.fetch),
            hasher: Hasher::new(&settings.passwords, &random)?,
            address_failures: AddressFailures { allowed: limits.address_failures },
            authorize_requests: waits("authorize_requests"),
            pushed_requests: waits("pushed_requests"),
            challenges: waits("challenges"),
            account_requests: waits("account_requests"),
            device_steps: waits("device_steps"),
            proofs: PerMinute { what: "proofs", allowed: limits.proofs, allowed_everywhere: None },
            codes: Codes { allowed: limits.codes },
            registrations: registers("registrations"),
            sector_lists: registers("sector_lists"),
            registration_changes: registers("registration_changes"),
            device_codes: per_minute("device_codes", limits.device_codes, limits.device_codes_everywhere),
            client_failures: ClientFailures::new(limits.client_failures),
            user_code_guesses: UserCodeGuesses {
                allowed: limits.user_codes,
                allowed_everywhere: limits.user_codes_everywhere,
            },
            device_pace: DevicePace,
            metrics: Metrics::new()?,
            settings,
            issuer,
            clock,
            random,
            db,
            secrets: ArcSwap::from_pointee(Secrets::new(master_key)?),
            changing_secrets: Mutex::new(()),
            keyring,
        })
    }

    /// What this server is and does at this moment: by what it signs, follows from its keys.
    pub fn discovery(&self) -> Document {
        let with = With {
            certificates: self.settings.http.takes_certificates(),
            trusted_certificates: !self.settings.http.client_verified_header.is_empty(),
            registration: self.settings.registration.mode != RegistrationMode::Off,
        };
        Document::new(&DiscoveryDocument::new(&self.issuer, with, &self.keyring.algorithms()))
    }

    /// Takes the signing keys anew, under the master key in memory.
    ///
    /// # Errors
    /// [`StartError`]; what was in use stays in use, less what has left the JWKS.
    pub fn reload_keys(&self) -> Result<(), StartError> {
        let changing = self.changing_secrets();
        let held = self.secrets.load().master_key.clone();
        self.take_master_key(&held, &changing)
    }

    /// Reads the master key again: it may have a version that nothing is under yet.
    ///
    /// # Errors
    /// [`StartError`]; what was in use stays in use.
    pub fn reload_master_key(&self) -> Result<(), StartError> {
        // A file system that hangs holds up nobody else.
        let master_key = load_master_key(&self.settings, false, &self.random)?;
        let changing = self.changing_secrets();
        if self.secrets.load().master_key.has_the_versions_of(&master_key) {
            return Ok(());
        }
        self.take_master_key(&master_key, &changing)
    }

    fn changing_secrets(&self) -> MutexGuard<'_, ()> {
        self.changing_secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a master key into use, if it opens our keys. The version that they are under makes new things.
    fn take_master_key(&self, master_key: &MasterKey, _changing: &MutexGuard<'_, ()>) -> Result<(), StartError> {
        self.keyring.reload(&self.db, master_key)?;
        let master_key = in_force_for(master_key, &self.keyring.list());
        if *self.secrets.load().master_key != master_key {
            self.secrets.store(Arc::new(Secrets::new(master_key)?));
        }
        Ok(())
    }

    /// The steps of signing keys.
    pub fn key_life(&self) -> Life<'_> {
        Life {
            db: &self.db,
            master: self.secrets.load().master_key.clone(),
            schedule: schedule(&self.settings),
            kind: kind(&self.settings),
            random: self.random,
        }
    }
}

/// The master key; made on first start.
fn load_master_key(settings: &Settings, may_create: bool, random: &Random) -> Result<MasterKey, MasterKeyError> {
    match &settings.master_key {
        Some(text) => MasterKey::from_setting(text),
        None => MasterKey::load_or_create(&settings.keys.master_key_file, random, may_create),
    }
}

/// The master key, of which that version is in force that these keys are under.
fn in_force_for(master_key: &MasterKey, keys: &[StoredKey]) -> MasterKey {
    let version = keys.iter().map(|key| key.key_version).max();
    master_key.put_in_force(version.unwrap_or_else(|| master_key.version()))
}

/// What signing keys are made under these settings.
fn kind(settings: &Settings) -> Kind {
    Kind { bits: settings.keys.rsa_bits, algorithm: settings.keys.algorithm }
}

/// How signing keys rotate under these settings.
pub fn schedule(settings: &Settings) -> Schedule {
    Schedule {
        rotate_every: settings.keys.rotate_every,
        publish_lead: settings.keys.publish_lead,
        retain: settings.keys.retain,
        usual_life: settings.tokens.access_ttl,
    }
}

/// The threads that a server works on.
pub struct Lanes {
    /// SQL and a signature.
    pub token: Lane<()>,
    /// Password hashes, each thread with its own memory.
    pub hash: Lane<HashMemory>,
}

impl Lanes {
    /// Starts them.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(settings: &Settings, clock: &Clock, metrics: &Metrics) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let token = LaneShape {
            name: "token",
            threads: TOKEN_THREADS,
            queue: TOKEN_QUEUE,
            longest_wait: TOKEN_PATIENCE,
            niceness: 0,
        };
        let hash = LaneShape {
            name: "hash",
            threads: if settings.passwords.threads == 0 { cores } else { settings.passwords.threads },
            queue: settings.passwords.queue,
            longest_wait: HASH_PATIENCE,
            niceness: HASH_NICENESS,
        };
        Ok(Self {
            token: Lane::start(&token, clock, metrics.lane(token.name), || ())?,
            hash: Lane::start(&hash, clock, metrics.lane(hash.name), HashMemory::default)?,
        })
    }
}

impl From<store::Error> for Refusal {
    /// What the client is told when the store did not do it. The driver's words, if there are any, go to the log, here and
    /// once.
    fn from(error: store::Error) -> Self {
        if !matches!(error, store::Error::Expired) {
            tracing::warn!(%error, "the store did not do it");
        }
        match error {
            store::Error::Busy(_) => CapacityRefusal::Contended.into(),
            store::Error::Expired => CapacityRefusal::DeadlinePassed.into(),
            store::Error::Corrupt { .. } => CapacityRefusal::StoreCorrupt.into(),
            store::Error::Conflict(_) | store::Error::Disconnected(_) | store::Error::Unavailable(_) => {
                CapacityRefusal::StoreUnavailable.into()
            }
        }
    }
}

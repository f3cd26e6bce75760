//! Keys: the master key and what derives from it, the signing keys of the moment, their JWKS. The door to
//! `jsonwebtoken`, `rsa` and the private-key operations of `aws-lc-rs` (RFC 7515, 7517, 7518, 7638).
//! Refuses to know what a token says.

pub mod consumers;
mod generate;
mod import;
mod jwks;
pub mod life;
mod master;
pub mod peer;
pub mod rehearsal;
pub mod schedule;
mod sign;
pub mod situation;
mod verify;
mod wrap;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_verifier::{Claims, OwnIdToken, Rejected};

pub use generate::Kind;
pub use import::{ImportError, MAX_PEM_BYTES};
pub use jwks::Document;
pub use master::{MasterKey, MasterKeyError, Purpose};
pub use sign::TokenType;
pub use verify::OwnClaims;

use crate::clock::Timestamp;
use crate::protocol::jose::OwnAlgorithm;
use crate::secret::Random;
use crate::store::instances;
use crate::store::signing_keys::{self, KeyOrigin, KeyState, StoredKey};
use crate::store::{self, Db};
use schedule::UNCONFIRMED;
use verify::Verifiers;

/// Why signing keys cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store's own reason.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The private half does not open under our master key.
    #[error(
        "signing key {kid} does not open under this master key: keys.master_key_file is not the one that the database \
         was made with (every instance needs the same)"
    )]
    WrongMasterKey {
        /// The key that stays shut.
        kid: String,
    },
    /// A private half that is no RSA key, or not the one of its public half.
    #[error("signing key {kid} is unusable: {why}")]
    Unusable {
        /// The key.
        kid: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No key could be made.
    #[error("no RSA key could be generated")]
    NotGenerated,
    /// No key is active.
    #[error("no signing key is active")]
    NoActiveKey,
    /// Somebody else may have them, and the database says otherwise by now.
    #[error(
        "signing keys were compromised and are published again: the database is an older one; `keys compromise` again, the \
         one that signs last: {}", .kids.join(" ")
    )]
    CameBack {
        /// The keys.
        kids: Vec<String>,
    },
    /// They are under a version of the master key that was given up.
    #[error(
        "the signing keys are under version {version} of the master key, which was given up: the database is an older one; \
         `keys rewrap` again, or restart if the master key file was put back too"
    )]
    OlderMasterKey {
        /// The version.
        version: u8,
    },
    /// A rewrap leaves nothing behind: what is under a version that was given up was put there since.
    #[error(
        "signing key {kid} is under version {version} of the master key and others are not, which nothing here does: \
         `keys compromise {kid}`"
    )]
    Mixed {
        /// The key.
        kid: String,
        /// Its version.
        version: u8,
    },
    /// The keys could not be compared with the database's for a minute: one may have been taken out of the JWKS since.
    #[error("the signing keys could not be compared with the database's for {} s", UNCONFIRMED.as_secs())]
    Unconfirmed,
    /// The key took a step since it was loaded.
    #[error("signing key {kid} does not sign any more")]
    Replaced {
        /// The key.
        kid: String,
    },
}

/// The published keys at one moment.
struct KeySet {
    /// None once it has left the JWKS before its successor could be loaded.
    active: Option<Arc<sign::ActiveKey>>,
    /// The longest life of a token that the active key may sign without its row being raised first, in seconds.
    noted_life: AtomicU64,
    verifiers: Verifiers,
    jwks: Option<Arc<Document>>,
    listed: Vec<StoredKey>,
}

/// What a process remembers, so that a database that was put back to an earlier state takes nothing back that was given up.
#[derive(Default)]
struct Past {
    compromised: HashSet<String>,
    /// The version of the master key that the keys were under.
    key_version: u8,
}

impl Past {
    fn must_not_come_back(&self, stored: &[StoredKey]) -> Result<(), KeysError> {
        let came_back = stored.iter().filter(|key| self.compromised.contains(&key.kid));
        let kids: Vec<String> = came_back.map(|key| key.kid.clone()).collect();
        if !kids.is_empty() {
            return Err(KeysError::CameBack { kids });
        }
        match stored.iter().map(|key| key.key_version).max() {
            Some(version) if version < self.key_version => Err(KeysError::OlderMasterKey { version }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Nothing puts keys under different versions of the master key.
fn must_be_under_one_version(stored: &[StoredKey]) -> Result<(), KeysError> {
    let newest = stored.iter().map(|key| key.key_version).max();
    match stored.iter().find(|key| Some(key.key_version) != newest) {
        Some(key) => Err(KeysError::Mixed { kid: key.kid.clone(), version: key.key_version }),
        None => Ok(()),
    }
}

/// The signing keys, swapped whole when they change.
pub struct Keyring {
    set: ArcSwap<KeySet>,
    /// Held from reading the rows to having their set in use: an older set never follows a newer one.
    past: Mutex<Past>,
    /// Whether the last load failed, so that what is in use is not what the database says.
    is_behind: AtomicBool,
    /// When they were last found to be the database's, in milliseconds of the monotonic clock.
    confirmed_at_ms: AtomicU64,
}

impl Keyring {
    /// Loads the published keys, after making the first two if there are none: one that signs and one that stands by.
    ///
    /// # Errors
    /// [`KeysError`]. Another instance that makes the first keys at the same time is no error: its keys are used.
    pub fn open(db: &Db, master: &MasterKey, (kind, usual_life): (Kind, Duration)) -> Result<Self, KeysError> {
        if db.read(signing_keys::load_published)?.is_empty() {
            match create_first_keys(db, master, kind, usual_life) {
                Ok(()) | Err(KeysError::Store(store::Error::Conflict(_))) => {}
                Err(error) => return Err(error),
            }
        }
        let keyring = Self::of(KeySet::of(None, 0, Vec::new()));
        keyring.reload(db, master)?;
        Ok(keyring)
    }

    /// Loads those of the published keys that open, for commands that mend what does not: one has to, or the master key is
    /// another one.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open_what_opens(db: &Db, master: &MasterKey) -> Result<Self, KeysError> {
        let stored = db.read(|tx| signing_keys::load_readable(tx, &KeyState::PUBLISHED))?.keys;
        let (opens, shut): (Vec<_>, Vec<_>) =
            stored.into_iter().partition(|key| wrap::see_it_work(master, key).is_ok());
        if opens.is_empty()
            && let Some(key) = shut.first()
        {
            return Err(KeysError::WrongMasterKey { kid: key.kid.clone() });
        }
        for key in shut {
            tracing::warn!(kid = %key.kid, "a signing key does not open");
        }
        Ok(Self::of(KeySet::of(None, 0, opens)))
    }

    fn of(set: KeySet) -> Self {
        Self {
            set: ArcSwap::from_pointee(set),
            past: Mutex::default(),
            is_behind: AtomicBool::new(false),
            confirmed_at_ms: AtomicU64::new(0),
        }
    }

    /// Takes the published keys anew. When that fails the old ones stay in use, less those that have left the JWKS or were
    /// compromised: to see that needs no master key, and no other row.
    ///
    /// # Errors
    /// [`KeysError::WrongMasterKey`], [`KeysError::Unusable`], [`KeysError::NoActiveKey`], [`KeysError::OlderMasterKey`],
    /// [`KeysError::Mixed`] and [`KeysError::CameBack`] by the rows; [`KeysError::Store`].
    pub fn reload(&self, db: &Db, master: &MasterKey) -> Result<(), KeysError> {
        self.load(db, master, &mut self.past())
    }

    /// The same unless the key that signs is another than this one by now.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn reload_unless_replaced(&self, db: &Db, master: &MasterKey, kid: &str) -> Result<(), KeysError> {
        let mut past = self.past();
        if self.set.load().active.as_ref().is_some_and(|active| active.kid() != kid) {
            return Ok(());
        }
        self.load(db, master, &mut past)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, db: &Db, master: &MasterKey, past: &mut Past) -> Result<(), KeysError> {
        let states = db.read(signing_keys::load_states)?;
        let compromised = states.iter().filter(|(_, state)| *state == Some(KeyState::Compromised));
        past.compromised.extend(compromised.map(|(kid, _)| kid.clone()));
        let fresh = db.read(signing_keys::load_published).map_err(KeysError::from).and_then(|stored| {
            past.must_not_come_back(&stored)?;
            KeySet::new(master, stored)
        });
        self.is_behind.store(fresh.is_err(), Ordering::Release);
        let held = self.set.load();
        match fresh {
            Ok(fresh) => {
                past.key_version = fresh.key_version();
                // Nothing was in use before the first.
                if fresh.kids() != held.kids() && !held.listed.is_empty() {
                    let active = fresh.active.as_ref().map_or("none", |active| active.kid());
                    tracing::info!(%active, published = fresh.listed.len(), "other signing keys are in use");
                }
                self.set.store(Arc::new(fresh));
                Ok(())
            }
            Err(error) => {
                let stays = |kid: &str| {
                    let is_published = |(other, state): &(String, Option<KeyState>)| {
                        other == kid && state.is_some_and(KeyState::is_published)
                    };
                    states.iter().any(is_published) && !past.compromised.contains(kid)
                };
                self.set.store(Arc::new(held.without_all_but(stays)));
                Err(error)
            }
        }
    }

    /// Whether the keys in use are not what the database says, since they could not be loaded.
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// The keys are the database's at `now`, a monotonic reading; an earlier one than was said before changes nothing.
    pub fn confirm(&self, now: Duration) {
        self.confirmed_at_ms.fetch_max(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Whether they were the database's a moment before `now`, a monotonic reading.
    pub fn is_confirmed(&self, now: Duration) -> bool {
        let confirmed_at = Duration::from_millis(self.confirmed_at_ms.load(Ordering::Acquire));
        now.saturating_sub(confirmed_at) < UNCONFIRMED
    }

    /// Whether a token of this life can be signed without [`Keyring::note_life`].
    pub fn knows_life(&self, life: Duration) -> bool {
        life.as_secs() <= self.set.load().noted_life.load(Ordering::Acquire)
    }

    /// Notes in the active key's row that it signs tokens of this life: it will be published for as long as they live.
    ///
    /// # Errors
    /// [`KeysError::NoActiveKey`]; [`KeysError::Replaced`] when another key signs by now; [`KeysError::Store`].
    pub fn note_life(&self, db: &Db, life: Duration) -> Result<(), KeysError> {
        let set = self.set.load_full();
        let kid = set.active.as_ref().ok_or(KeysError::NoActiveKey)?.kid().to_owned();
        let row = kid.clone();
        if !db.write(move |tx| signing_keys::raise_longest_life(tx, &row, life))? {
            return Err(KeysError::Replaced { kid });
        }
        set.noted_life.fetch_max(life.as_secs(), Ordering::AcqRel);
        Ok(())
    }

    /// Signs claims as a token of that type with the active key, at `now`, a monotonic reading. The token lives for
    /// `life`, which must have been noted.
    ///
    /// # Errors
    /// [`KeysError::Unconfirmed`]; [`KeysError::NoActiveKey`]; [`KeysError::Replaced`] when the life is not noted for the key
    /// that is active by now; [`KeysError::Unusable`].
    pub fn sign(
        &self,
        token_type: TokenType,
        claims: &impl serde::Serialize,
        life: Duration,
        now: Duration,
    ) -> Result<String, KeysError> {
        if !self.is_confirmed(now) {
            return Err(KeysError::Unconfirmed);
        }
        let set = self.set.load();
        let active = set.active.as_ref().ok_or(KeysError::NoActiveKey)?;
        // The active key may have changed since its life was noted.
        if life.as_secs() > set.noted_life.load(Ordering::Acquire) {
            return Err(KeysError::Replaced { kid: active.kid().to_owned() });
        }
        active.sign(token_type, claims)
    }

    /// Verifies an access token of this issuer at `now`. Whom it is for is the caller's question.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Claims<OwnClaims>, Rejected> {
        self.set.load().verifiers.verify(token, issuer, now)
    }

    /// What an ID token of ours says that came back as a hint, however old it is.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify_id_token(&self, token: &str, issuer: &str) -> Result<OwnIdToken, Rejected> {
        self.set.load().verifiers.verify_id_token(token, issuer)
    }

    /// The JWKS; `None` when no key is left, since an empty one would be kept by caches.
    pub fn jwks(&self) -> Option<Arc<Document>> {
        self.set.load().jwks.clone()
    }

    /// What we sign by now, and by the standby's turn: what metadata says and clients may ask for.
    pub fn algorithms(&self) -> Vec<OwnAlgorithm> {
        let set = self.set.load();
        let signs = |key: &&StoredKey| matches!(key.state, KeyState::Active | KeyState::Standby);
        let signs_by = |one: &OwnAlgorithm| set.listed.iter().filter(signs).any(|key| key.algorithm == *one);
        OwnAlgorithm::ALL.into_iter().filter(signs_by).collect()
    }

    /// What the key that signs now signs by.
    pub fn algorithm(&self) -> Option<OwnAlgorithm> {
        schedule::active(&self.set.load().listed).map(|key| key.algorithm)
    }

    /// The published keys, as they were loaded.
    pub fn list(&self) -> Vec<StoredKey> {
        self.set.load().listed.clone()
    }
}

impl KeySet {
    fn new(master: &MasterKey, stored: Vec<StoredKey>) -> Result<Self, KeysError> {
        let mut active = None;
        must_be_under_one_version(&stored)?;
        for key in &stored {
            let parsed = wrap::see_it_work(master, key)?;
            if key.state == KeyState::Active {
                active = parsed.map(|parsed| (sign::ActiveKey::new(parsed), key.longest_life));
            }
        }
        let (active, noted_life) = active.ok_or(KeysError::NoActiveKey)?;
        Ok(Self::of(Some(Arc::new(active)), noted_life.as_secs(), stored))
    }

    /// This set without the keys that are not published any more.
    fn without_all_but(&self, stays: impl Fn(&str) -> bool) -> Self {
        let active = self.active.clone().filter(|active| stays(active.kid()));
        let listed = self.listed.iter().filter(|key| stays(&key.kid)).cloned().collect();
        Self::of(active, self.noted_life.load(Ordering::Acquire), listed)
    }

    fn kids(&self) -> Vec<(&str, KeyState)> {
        self.listed.iter().map(|key| (key.kid.as_str(), key.state)).collect()
    }

    /// The version of the master key that the keys are under.
    fn key_version(&self) -> u8 {
        self.listed.iter().map(|key| key.key_version).max().unwrap_or(0)
    }

    fn of(active: Option<Arc<sign::ActiveKey>>, noted_life: u64, listed: Vec<StoredKey>) -> Self {
        // Another issuer's key verifies that issuer's tokens elsewhere; here it would let that issuer speak for us.
        let ours: Vec<_> = listed.iter().filter(|key| key.origin != KeyOrigin::VerifyOnly).cloned().collect();
        let verifiers = Verifiers::new(&ours);
        let jwks = (!listed.is_empty()).then(|| Arc::new(jwks::document(&listed)));
        Self { active, noted_life: AtomicU64::new(noted_life), verifiers, jwks, listed }
    }
}

/// Makes both first keys at once, one on each of two threads.
fn create_first_keys(db: &Db, master: &MasterKey, kind: Kind, usual_life: Duration) -> Result<(), KeysError> {
    let (one, two) = std::thread::scope(|scope| {
        let standby = scope.spawn(|| generate::generate(kind.bits));
        (generate::generate(kind.bits), standby.join().unwrap_or(Err(KeysError::NotGenerated)))
    });
    let made = (KeyOrigin::Generated, kind.algorithm);
    let active = wrap::stored(master, &one?, KeyState::Active, made)?;
    let standby = wrap::stored(master, &two?, KeyState::Standby, made)?;
    db.write(move |tx| {
        let now = instances::now(tx)?;
        let active = StoredKey { activated_at: Some(now), longest_life: usual_life, ..active.clone() };
        for key in [&active, &standby] {
            let position = signing_keys::next_position(tx)?;
            signing_keys::insert(tx, &StoredKey { position, published_at: now, ..key.clone() })?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The public half of a key as PEM (RFC 7468 §13) and as a JWK (RFC 7517 §4).
///
/// # Errors
/// [`KeysError::Unusable`].
pub fn public_forms(key: &StoredKey) -> Result<(String, serde_json::Value), KeysError> {
    let pem = import::public_pem(&key.modulus, &key.exponent)
        .map_err(|_| KeysError::Unusable { kid: key.kid.clone(), why: "its numbers are no RSA key" })?;
    Ok((pem, jwks::jwk(key)))
}

/// Adds the version that follows `newest` to a master key file, unless somebody else just has.
///
/// # Errors
/// [`MasterKeyError`]; the file is as it was then.
pub fn add_master_key_version(path: &std::path::Path, newest: u8, random: &Random) -> Result<(), MasterKeyError> {
    master::add_version(path, newest, random)
}

/// Makes a new master key file.
///
/// # Errors
/// [`MasterKeyError`]; an existing file is never replaced.
pub fn create_master_key(path: &std::path::Path, random: &Random) -> Result<(), MasterKeyError> {
    master::create(path, random)
}

//! Keys: the master key and what derives from it, the signing keys of the moment, their JWKS. The door to
//! `jsonwebtoken`, `rsa` and the private-key operations of `aws-lc-rs` (RFC 7515, 7517, 7518, 7638).
//! Refuses to know what a token says.

mod generate;
mod jwks;
mod master;
mod sign;
mod verify;
mod wrap;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::DecodingKey;

pub use jwks::Document;
pub use master::{MasterKey, MasterKeyError, Purpose};
pub use verify::{Rejected, VerifiedClaims};

use crate::clock::{Clock, Timestamp};
use crate::secret::Random;
use crate::store::signing_keys::{self, KeyState, StoredKey};
use crate::store::{self, Db};

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
}

/// The published keys at one moment.
struct KeySet {
    active: sign::ActiveKey,
    verifiers: HashMap<String, DecodingKey>,
    jwks: Arc<Document>,
    listed: Vec<StoredKey>,
}

/// The signing keys, swapped whole when they change.
pub struct Keyring {
    set: ArcSwap<KeySet>,
}

impl Keyring {
    /// Loads the published keys, after making the first two if there are none: one that signs and one that stands by.
    ///
    /// # Errors
    /// [`KeysError`]. Another instance that makes the first keys at the same time is no error: its keys are used.
    pub fn open(db: &Db, master: &MasterKey, rsa_bits: usize, clock: &Clock) -> Result<Self, KeysError> {
        let mut stored = db.read(signing_keys::load_published)?;
        if stored.is_empty() {
            match create_first_keys(db, master, rsa_bits, clock.now()) {
                Ok(()) | Err(KeysError::Store(store::Error::Conflict(_))) => {}
                Err(error) => return Err(error),
            }
            stored = db.read(signing_keys::load_published)?;
        }
        Ok(Self { set: ArcSwap::from_pointee(KeySet::new(master, stored)?) })
    }

    /// Takes the published keys anew; the old ones stay in use when that fails.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn reload(&self, db: &Db, master: &MasterKey) -> Result<(), KeysError> {
        let stored = db.read(signing_keys::load_published)?;
        self.set.store(Arc::new(KeySet::new(master, stored)?));
        Ok(())
    }

    /// Signs claims as an RFC 9068 access token with the active key.
    ///
    /// # Errors
    /// [`KeysError::Unusable`].
    pub fn sign(&self, claims: &impl serde::Serialize) -> Result<String, KeysError> {
        self.set.load().active.sign(claims)
    }

    /// Verifies an access token of this issuer at `now`. Whom it is for is the caller's question.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<VerifiedClaims, Rejected> {
        verify::verify(token, &self.set.load().verifiers, issuer, now)
    }

    /// The JWKS.
    pub fn jwks(&self) -> Arc<Document> {
        self.set.load().jwks.clone()
    }

    /// The published keys, for people.
    pub fn list(&self) -> Vec<StoredKey> {
        self.set.load().listed.clone()
    }
}

impl KeySet {
    fn new(master: &MasterKey, stored: Vec<StoredKey>) -> Result<Self, KeysError> {
        let signer = stored.iter().find(|key| key.state == KeyState::Active).ok_or(KeysError::NoActiveKey)?;
        let active = sign::ActiveKey::new(signer, wrap::unwrap(master, signer)?)?;
        // Every published key must open under our master key, whether it signs or not: a row that someone else wrote
        // would let them sign for every verifier.
        for key in stored.iter().filter(|key| key.state != KeyState::Active) {
            sign::ActiveKey::new(key, wrap::unwrap(master, key)?)?;
        }
        let verifiers = stored
            .iter()
            .map(|key| (key.kid.clone(), DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent)))
            .collect();
        Ok(Self { active, verifiers, jwks: Arc::new(jwks::document(&stored)), listed: stored })
    }
}

/// Makes both first keys at once, one on each of two threads.
fn create_first_keys(db: &Db, master: &MasterKey, bits: usize, now: Timestamp) -> Result<(), KeysError> {
    let (one, two) = std::thread::scope(|scope| {
        let standby = scope.spawn(|| generate::generate(bits));
        (generate::generate(bits), standby.join().unwrap_or(Err(KeysError::NotGenerated)))
    });
    let active = wrap::stored(master, &one?, (1, KeyState::Active), now)?;
    let next = wrap::stored(master, &two?, (2, KeyState::Next), now)?;
    db.write(move |tx| {
        signing_keys::insert(tx, &active)?;
        signing_keys::insert(tx, &next)
    })?;
    Ok(())
}

/// Makes a new master key file.
///
/// # Errors
/// [`MasterKeyError`]; an existing file is never replaced.
pub fn create_master_key(path: &std::path::Path, random: &Random) -> Result<(), MasterKeyError> {
    master::create(path, random)
}

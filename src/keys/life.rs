//! What happens to signing keys, each step one transaction: two instances that take it at once, or one that is killed in
//! it, leave one active key and a whole row for every key.

mod compromise;
mod master_key;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::generate::{self, KeyPair, Kind};
use super::import::{self, ImportError};
use super::master::MasterKey;
use super::schedule::{self, Schedule, Step};
use super::situation::{NotNow, Situation};
use super::{KeysError, wrap};
use crate::clock::Timestamp;
use crate::secret::Random;
use crate::store::audit_log::{self, AuditEvent};
use crate::store::epochs::{self, Topic};
use crate::store::signing_keys::{self, KeyOrigin, KeyState, StoredKey};
use crate::store::{self, Db, Write};
pub use master_key::begin_anew;

/// Who takes a step by itself.
const SYSTEM: &str = "system";

/// The longest life of tokens that another issuer signed.
const LONGEST_FOREIGN_LIFE: Duration = Duration::from_hours(24 * 30);

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// It is not its time.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// A key from elsewhere that is refused.
    #[error("the key is refused: {0}")]
    Import(#[from] ImportError),
    /// A name is never used twice.
    #[error("the key is here already, or was, as {kid}: a key is never used again")]
    Known {
        /// The key.
        kid: String,
    },
    /// The master key is there.
    #[error("key {kid} opens under the master key: nothing is lost")]
    NotLost {
        /// The key.
        kid: String,
    },
    /// Nothing is lost because nothing is there.
    #[error("there are no signing keys to give up: the next start of a server makes them")]
    NothingToGiveUp,
    /// Somebody has the master key.
    #[error(
        "{live} instances were there within a minute, so they have the master key: this command was given another one. Or \
         stop them all, and wait a minute after one that was killed"
    )]
    StillServed {
        /// How many.
        live: usize,
    },
    /// The keys' own reason.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store's own reason.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Takes steps in the lives of keys.
pub struct Life<'a> {
    /// Where they are.
    pub db: &'a Db,
    /// What encrypts them.
    pub master: Arc<MasterKey>,
    /// When they are due.
    pub schedule: Schedule,
    /// What new ones are.
    pub kind: Kind,
    /// For names of events.
    pub random: Random,
}

impl Life<'_> {
    /// Takes the step that is due at `now`, or at the database's now if that is earlier, if one is. `Ok(None)` also when
    /// another instance took it.
    ///
    /// # Errors
    /// [`LifeError`]; [`NotNow`] when the step is due but has to wait.
    pub fn take_due_step(
        &self,
        situation: &Situation,
        now: Timestamp,
        silent_since: Option<Timestamp>,
    ) -> Result<Option<Step>, LifeError> {
        let Some(step) = self.schedule.due(&situation.keys, now.min(situation.now), silent_since) else {
            return Ok(None);
        };
        let taken = match &step {
            Step::Generate => self.make_standby(SYSTEM, true).map(drop),
            Step::Rotate { to, .. } => self.rotate(to, SYSTEM, false),
            Step::Retire { kid } => self.retire(kid),
        };
        match taken {
            Ok(()) => Ok(Some(step)),
            Err(LifeError::NotNow(NotNow::Otherwise { .. }) | LifeError::Store(store::Error::Conflict(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a key that stands by.
    ///
    /// # Errors
    /// [`NotNow::Full`]; [`LifeError`].
    pub fn generate(&self, actor: &str) -> Result<String, LifeError> {
        self.make_standby(actor, false)
    }

    /// Makes a key that stands by; for the system only if there still is none.
    fn make_standby(&self, actor: &str, only_first: bool) -> Result<String, LifeError> {
        let key = generate::generate(self.kind.bits)?;
        let made = self.standby(&key, KeyOrigin::Generated)?;
        self.publish(made, only_first, (actor, "key_generated"))
    }

    /// Publishes a private key from elsewhere (PEM), which stands by from now on. With `dry_run` it is only looked at.
    ///
    /// # Errors
    /// [`LifeError::Import`]; [`NotNow::Full`]; [`LifeError`], also when the key is here or was.
    pub fn import(&self, pem: &str, actor: &str, dry_run: bool) -> Result<String, LifeError> {
        let made = self.standby(&import::private_key(pem)?, KeyOrigin::Imported)?;
        if dry_run { self.may_publish(&made) } else { self.publish(made, false, (actor, "key_imported")) }
    }

    /// Publishes another issuer's public key (PEM) under its name, for as long as what it signed lives.
    ///
    /// # Errors
    /// As [`Life::import`].
    pub fn import_public(
        &self,
        (kid, pem): (&str, &str),
        longest_life: Duration,
        actor: &str,
        dry_run: bool,
    ) -> Result<String, LifeError> {
        import::refuse_bad_kid(kid)?;
        if longest_life.as_secs() == 0 || longest_life > LONGEST_FOREIGN_LIFE {
            return Err(ImportError::UnusualLife.into());
        }
        let made = wrap::verify_only(&self.master, (kid, self.kind.algorithm), import::public_key(pem)?, longest_life)?;
        if dry_run { self.may_publish(&made) } else { self.publish(made, false, (actor, "key_imported")) }
    }

    /// Whether a key could be published now.
    fn may_publish(&self, made: &StoredKey) -> Result<String, LifeError> {
        let (situation, known) =
            self.db.read(|tx| Ok((Situation::load(tx)?, signing_keys::known_as(tx, &made.kid, &made.modulus)?)))?;
        if let Some(kid) = known {
            return Err(LifeError::Known { kid });
        }
        situation.has_room(self.schedule)?;
        Ok(made.kid.clone())
    }

    /// Publishes a key that stands by or only verifies.
    fn publish(
        &self,
        made: StoredKey,
        only_first: bool,
        (actor, event): (&str, &'static str),
    ) -> Result<String, LifeError> {
        self.may_publish(&made)?;
        let (schedule, kid) = (self.schedule, made.kid.clone());
        let details =
            json!({ "bits": made.modulus.len() * 8, "algorithm": made.algorithm, "origin": made.origin.as_str() });
        let audit = self.audit(actor, event, &kid, details);
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            if let Err(full) = situation.has_room(schedule) {
                return Ok(Err(full));
            }
            // The system makes one beside a key that signs: without one the keys were given up, or are being put back.
            let is_late = only_first
                && (schedule::successor(&situation.keys).is_some() || schedule::active(&situation.keys).is_none());
            // RFC 7517 §4.5: no two keys of one name, nor one under two.
            let is_known = signing_keys::known_as(tx, &made.kid, &made.modulus)?.is_some();
            if is_late || is_known || situation.has_another_master_key_than(&made) {
                return Ok(Err(NotNow::Otherwise { kid: made.kid.clone() }));
            }
            insert_now(tx, &made, situation.now)?;
            audit(tx)?;
            Ok(Ok(()))
        })?;
        Ok(kid)
    }

    /// Lets a standby sign from now on, and makes another one. With `force`, whoever lacks the key in his cache.
    ///
    /// # Errors
    /// [`NotNow`], unless forced; [`LifeError`].
    pub fn rotate(&self, to: &str, actor: &str, force: bool) -> Result<(), LifeError> {
        let before = self.db.read(Situation::load)?;
        let standby = before.key(to, KeyState::Standby)?.clone();
        let schedule = self.schedule;
        before.may_rotate(schedule, &standby, force)?;
        let next = self.standby(&generate::generate(self.kind.bits)?, KeyOrigin::Generated)?;
        let promoted = self.promoted(standby.clone())?;
        let from = schedule::active(&before.keys).map(|key| key.kid.clone());
        let stands_by = (!before.has_another_standby(&standby)).then(|| next.kid.clone());
        let details = json!({ "from": from, "forced": force, "stands_by_from_now_on": stands_by });
        let audit = self.audit(actor, "key_rotated", to, details);
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            let ready = situation.still_has(&standby).and_then(|()| situation.may_rotate(schedule, &standby, force));
            if let Err(not_now) = ready {
                return Ok(Err(not_now));
            }
            // Or somebody else's rotation came first: this one's time has not come.
            let is_first = schedule::active(&situation.keys).map(|key| &key.kid) == from.as_ref();
            if !is_first || situation.has_another_master_key_than(&promoted) {
                return Ok(Err(NotNow::Otherwise { kid: promoted.kid.clone() }));
            }
            if let Some(old) = schedule::active(&situation.keys) {
                let retiring = StoredKey { state: KeyState::Retiring, retiring_at: Some(situation.now), ..old.clone() };
                change(tx, KeyState::Active, &retiring)?;
            }
            activate(tx, &promoted, situation.now)?;
            if !situation.has_another_standby(&promoted) {
                insert_now(tx, &next, situation.now)?;
            }
            audit(tx)?;
            Ok(Ok(()))
        })
    }

    /// Takes a key out of the JWKS that nothing alive was signed with, and destroys its private half.
    fn retire(&self, kid: &str) -> Result<(), LifeError> {
        let kid = kid.to_owned();
        let audit = self.audit(SYSTEM, "key_retired", &kid, json!({}));
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            if let Err(not_now) = situation.key(&kid, KeyState::Retiring) {
                return Ok(Err(not_now));
            }
            end(tx, &kid, KeyState::Retired, situation.now)?;
            audit(tx)?;
            Ok(Ok(()))
        })
    }

    fn standby(&self, key: &KeyPair, origin: KeyOrigin) -> Result<StoredKey, KeysError> {
        wrap::stored(&self.master, key, KeyState::Standby, (origin, self.kind.algorithm))
    }

    /// The row of a standby as that of an active key: its private half is encrypted as one that is in use.
    fn promoted(&self, standby: StoredKey) -> Result<StoredKey, KeysError> {
        let longest_life = self.schedule.usual_life;
        wrap::promote(&self.master, StoredKey { longest_life, ..standby })
    }

    fn audit(
        &self,
        actor: &str,
        event: &'static str,
        subject: &str,
        details: serde_json::Value,
    ) -> impl Fn(&mut Write<'_>) -> Result<(), store::Error> + Send + 'static {
        let event = AuditEvent { actor: actor.to_owned(), event, subject: subject.to_owned(), details };
        let id = self.random.bytes::<16>();
        move |tx| audit_log::record(tx, id, &event)
    }

    /// One transaction that may find that it is not the time.
    fn write(
        &self,
        work: impl Fn(&mut Write<'_>) -> Result<Result<(), NotNow>, store::Error> + Send + 'static,
    ) -> Result<(), LifeError> {
        Ok(self.db.write(move |tx| {
            epochs::lock(tx, Topic::SigningKeys)?;
            work(tx)
        })??)
    }
}

fn insert_now(tx: &mut Write<'_>, made: &StoredKey, now: Timestamp) -> Result<(), store::Error> {
    let position = signing_keys::next_position(tx)?;
    let retiring_at = (made.state == KeyState::Retiring).then_some(now);
    signing_keys::insert(tx, &StoredKey { position, published_at: now, retiring_at, ..made.clone() })
}

fn activate(tx: &mut Write<'_>, promoted: &StoredKey, now: Timestamp) -> Result<(), store::Error> {
    let active = StoredKey { state: KeyState::Active, activated_at: Some(now), ..promoted.clone() };
    change(tx, KeyState::Standby, &active)?;
    signing_keys::raise_longest_life(tx, &active.kid, active.longest_life)?;
    Ok(())
}

fn end(tx: &mut Write<'_>, kid: &str, state: KeyState, now: Timestamp) -> Result<(), store::Error> {
    if signing_keys::end(tx, kid, state, now)? { Ok(()) } else { Err(another_changed_it()) }
}

/// Changes a key that must still be in that state: between reading and writing another instance may have taken a step.
fn change(tx: &mut Write<'_>, from: KeyState, key: &StoredKey) -> Result<(), store::Error> {
    if signing_keys::change(tx, from, key)? {
        return Ok(());
    }
    Err(another_changed_it())
}

fn another_changed_it() -> store::Error {
    store::Error::Conflict(store::Cause::new("another instance changed a signing key at the same moment"))
}

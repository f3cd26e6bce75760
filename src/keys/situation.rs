//! What the database says of the keys and of the instances at one moment, and whether a step may be taken in it.

use super::schedule::{MOST_PUBLISHED, Schedule, UNCONFIRMED};
use crate::clock::Timestamp;
use crate::store::instances::{self, Instance};
use crate::store::signing_keys::{self, KeyState, StoredKey};
use crate::store::{self, Read, epochs};

/// Why a key does not take a step; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// Caches may lack it.
    #[error(
        "key {kid} may sign from {safe_from} on: some verifiers hold a JWKS from before it was published; nothing \
         was changed"
    )]
    NotYetKnown {
        /// The key.
        kid: String,
        /// From when on they do not.
        safe_from: Timestamp,
    },
    /// An instance serves another JWKS.
    #[error("{lagging} of {live} instances do not publish the newest keys yet: wait a few seconds")]
    NotYetPublished {
        /// How many.
        lagging: usize,
        /// Of how many.
        live: usize,
    },
    /// The JWKS is full.
    #[error("there are {MOST_PUBLISHED} keys in the JWKS, which some verifiers take no more of: the next leaves at {}",
        .leaves_at.map_or_else(|| "no set time".to_owned(), |at| at.to_string()))]
    Full {
        /// When one leaves.
        leaves_at: Option<Timestamp>,
    },
    /// The key is not in the state for it, or another did the same at the same time.
    #[error("the keys are not as they were a moment ago, or {kid} is not one that can do this: look at `keys list`")]
    Otherwise {
        /// The key.
        kid: String,
    },
}

/// What the database says at one moment.
pub struct Situation {
    /// Its clock.
    pub now: Timestamp,
    /// The published keys that can be read.
    pub keys: Vec<StoredKey>,
    /// The names and states of the others.
    pub unreadable: Vec<(String, KeyState)>,
    /// The epoch of the keys.
    pub epoch: i64,
    /// The instances that serve.
    pub live: Vec<Instance>,
}

impl Situation {
    /// Looks.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn load(tx: &mut Read<'_>) -> Result<Self, store::Error> {
        let loaded = signing_keys::load_readable(tx, &KeyState::PUBLISHED)?;
        Ok(Self {
            now: instances::now(tx)?,
            keys: loaded.keys,
            unreadable: loaded.unreadable,
            epoch: epochs::load(tx)?.signing_keys,
            live: instances::live(tx, UNCONFIRMED)?,
        })
    }

    pub(super) fn key(&self, kid: &str, state: KeyState) -> Result<&StoredKey, NotNow> {
        let fits = |key: &&StoredKey| key.kid == kid && key.state == state;
        self.keys.iter().find(fits).ok_or_else(|| NotNow::Otherwise { kid: kid.to_owned() })
    }

    /// The state of a published key, readable or not.
    ///
    /// # Errors
    /// [`NotNow::Otherwise`] when none has that name.
    pub fn state_of(&self, kid: &str) -> Result<KeyState, NotNow> {
        let readable = self.keys.iter().map(|key| (&key.kid, key.state));
        let mut all = readable.chain(self.unreadable.iter().map(|(kid, state)| (kid, *state)));
        let found = all.find(|(name, _)| *name == kid).map(|(_, state)| state);
        found.ok_or_else(|| NotNow::Otherwise { kid: kid.to_owned() })
    }

    /// How many keys are published.
    pub(super) fn published(&self) -> usize {
        self.keys.len() + self.unreadable.len()
    }

    /// Whether every instance publishes the keys as they are.
    ///
    /// # Errors
    /// [`NotNow::NotYetPublished`].
    pub fn all_publish(&self) -> Result<(), NotNow> {
        let lagging = self.live.iter().filter(|instance| instance.signing_keys_epoch != self.epoch).count();
        if lagging == 0 { Ok(()) } else { Err(NotNow::NotYetPublished { lagging, live: self.live.len() }) }
    }

    /// Whether a standby may sign without any verifier rejecting what it signs; with `force` only whether it can.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn may_rotate(&self, schedule: Schedule, standby: &StoredKey, force: bool) -> Result<(), NotNow> {
        // Another one stands by afterwards, if only a new one: no more keys than some verifiers take, forced or not.
        if !self.has_another_standby(standby) {
            self.has_room(schedule)?;
        }
        if force {
            return Ok(());
        }
        let safe_from = schedule.may_sign_from(standby);
        if self.now < safe_from {
            return Err(NotNow::NotYetKnown { kid: standby.kid.clone(), safe_from });
        }
        self.all_publish()
    }

    pub(super) fn has_another_standby(&self, than: &StoredKey) -> bool {
        self.keys.iter().any(|key| key.state == KeyState::Standby && key.kid != than.kid)
    }

    /// Whether a row is as it was read before.
    pub(super) fn still_has(&self, read: &StoredKey) -> Result<(), NotNow> {
        let same = |key: &StoredKey| key.wrapped == read.wrapped && key.key_version == read.key_version;
        if self.key(&read.kid, read.state).is_ok_and(same) {
            return Ok(());
        }
        Err(NotNow::Otherwise { kid: read.kid.clone() })
    }

    /// Whether a key is encrypted under another version of the master key than is in force by now.
    pub(super) fn has_another_master_key_than(&self, made: &StoredKey) -> bool {
        self.keys.iter().any(|key| key.key_version != made.key_version)
    }

    /// Whether one more key may be published.
    ///
    /// # Errors
    /// [`NotNow::Full`].
    pub fn has_room(&self, schedule: Schedule) -> Result<(), NotNow> {
        if self.published() < MOST_PUBLISHED {
            return Ok(());
        }
        let leaves_at = self.keys.iter().filter_map(|key| schedule.leaves_at(key)).min_by_key(|at| at.as_micros());
        Err(NotNow::Full { leaves_at })
    }
}

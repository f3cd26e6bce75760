//! The end of a key that somebody else may have.

use serde_json::json;

use super::{Life, LifeError, activate, end, insert_now};
use crate::keys::schedule::{self, MOST_PUBLISHED};
use crate::keys::situation::{NotNow, Situation};
use crate::keys::{KeysError, generate};
use crate::store::signing_keys::{KeyOrigin, KeyState, StoredKey};

impl Life<'_> {
    /// Ends a key that somebody else may have: it leaves the JWKS at once, its private half is destroyed, and the standby
    /// signs if it was the active one, known to every cache or not. Returns the key that signs now.
    ///
    /// # Errors
    /// [`NotNow::Otherwise`] when no published key has that name; [`LifeError`].
    pub fn compromise(&self, kid: &str, actor: &str) -> Result<String, LifeError> {
        let before = self.db.read(Situation::load)?;
        let otherwise = || NotNow::Otherwise { kid: kid.to_owned() };
        let lost = before.keys.iter().find(|key| key.kid == kid).ok_or_else(otherwise)?.clone();
        let others: Vec<StoredKey> = before.keys.iter().filter(|key| key.kid != kid).cloned().collect();
        let fresh = || self.standby(&generate::generate(self.rsa_bits)?, KeyOrigin::Generated);
        let successor = schedule::successor(&others).cloned();
        let heir = match (lost.state == KeyState::Active, &successor) {
            (false, _) => Heir::NotNeeded,
            (true, Some(standby)) => match self.promoted(standby.clone()) {
                Ok(promoted) => Heir::Standby(promoted),
                // One that does not open, whoever wrote it, must not keep the lost one alive.
                Err(_) => Heir::Fresh(self.promoted(fresh()?)?),
            },
            // Unknown to caches, but ours alone.
            (true, None) => Heir::Fresh(self.promoted(fresh()?)?),
        };
        let made = if standbys_left(&others, &heir) == 0 { Some(fresh()?) } else { None };
        let signs = heir.key().or_else(|| schedule::active(&others)).map(|key| key.kid.clone());
        let promoted_from = successor.filter(|_| matches!(heir, Heir::Standby(_)));
        let sealed: Vec<StoredKey> = heir.key().into_iter().chain(&made).cloned().collect();
        let details = json!({
            "was": lost.state.as_str(), "signs_now": signs, "stands_by_from_now_on": made.as_ref().map(|key| &key.kid),
        });
        let (audit, kid) = (self.audit(actor, "key_compromised", kid, details), kid.to_owned());
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            let key = match situation.key(&kid, lost.state) {
                Ok(key) => key,
                Err(not_now) => return Ok(Err(not_now)),
            };
            if let Some(not_now) = promoted_from.iter().find_map(|standby| situation.still_has(standby).err()) {
                return Ok(Err(not_now));
            }
            if sealed.iter().any(|sealed| situation.has_another_master_key_than(sealed)) {
                return Ok(Err(NotNow::Otherwise { kid: kid.clone() }));
            }
            end(tx, key, KeyState::Compromised, situation.now)?;
            match &heir {
                Heir::NotNeeded => {}
                Heir::Standby(promoted) => activate(tx, promoted, situation.now)?,
                Heir::Fresh(promoted) => {
                    insert_now(tx, promoted, situation.now)?;
                    activate(tx, promoted, situation.now)?;
                }
            }
            // One has left; if one was made to sign, the JWKS may be full again.
            let published = situation.keys.len() - 1 + usize::from(matches!(heir, Heir::Fresh(_)));
            if let Some(made) = made.as_ref().filter(|_| published < MOST_PUBLISHED) {
                insert_now(tx, made, situation.now)?;
            }
            audit(tx)?;
            Ok(Ok(()))
        })?;
        signs.ok_or(KeysError::NoActiveKey).map_err(LifeError::from)
    }
}

/// How many stand by once the heir signs.
fn standbys_left(others: &[StoredKey], heir: &Heir) -> usize {
    let stand_by = others.iter().filter(|key| key.state == KeyState::Standby).count();
    stand_by - usize::from(matches!(heir, Heir::Standby(_)))
}

/// Who signs once the active key is lost.
enum Heir {
    NotNeeded,
    Standby(StoredKey),
    Fresh(StoredKey),
}

impl Heir {
    fn key(&self) -> Option<&StoredKey> {
        match self {
            Self::NotNeeded => None,
            Self::Standby(key) | Self::Fresh(key) => Some(key),
        }
    }
}

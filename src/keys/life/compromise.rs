//! The end of a key that somebody else may have.

use countersign_verifier::feed::CutKind;
use serde_json::json;

use super::{Life, LifeError, activate, end, insert_now};
use crate::keys::generate;
use crate::keys::schedule::{self, MOST_PUBLISHED};
use crate::keys::situation::{NotNow, Situation};
use crate::store::signing_keys::{KeyOrigin, KeyState, StoredKey};
use crate::store::status_changes::{self, Over};

impl Life<'_> {
    /// Ends a key that somebody else may have: it leaves the JWKS at once, its private half is destroyed, and the standby
    /// signs if it was the active one, known to every cache or not. Returns the key that signs now,
    /// if one does.
    ///
    /// # Errors
    /// [`NotNow::Otherwise`] when no published key has that name, or a key took a step at the same moment; [`LifeError`].
    pub fn compromise(&self, kid: &str, actor: &str) -> Result<Option<String>, LifeError> {
        let before = self.db.read(Situation::load)?;
        let was = before.state_of(kid)?;
        let others: Vec<StoredKey> = before.keys.iter().filter(|key| key.kid != kid).cloned().collect();
        let fresh = || self.standby(&generate::generate(self.kind.bits)?, KeyOrigin::Generated);
        // One under a version of the master key that was given up may be somebody else's.
        let successor = schedule::successor(&others).filter(|key| key.key_version == self.master.version());
        let heir = match (was == KeyState::Active, successor) {
            (false, _) => Heir::NotNeeded,
            (true, Some(standby)) => match self.promoted(standby.clone()) {
                Ok(promoted) => Heir::Standby(promoted),
                // One that does not work, whoever wrote it, must not keep the lost one alive.
                Err(_) => Heir::Fresh(self.promoted(fresh()?)?),
            },
            // Unknown to caches, but ours alone.
            (true, None) => Heir::Fresh(self.promoted(fresh()?)?),
        };
        let made = if standbys_left(&others, &heir) == 0 { Some(fresh()?) } else { None };
        let signs = heir.key().or_else(|| schedule::active(&others)).map(|key| key.kid.clone());
        let stands_by = made.as_ref().map(|key| key.kid.clone());
        let details = json!({ "was": was.as_str(), "signs_now": signs, "stands_by_from_now_on": stands_by });
        let (audit, kid) = (self.audit(actor, "key_compromised", kid, details), kid.to_owned());
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            // Nothing else of the keys is asked: whatever a row says, it must not keep the lost one alive.
            let as_before = before.keys.iter().find_map(|key| situation.still_has(key).err());
            if let Some(not_now) = as_before {
                return Ok(Err(not_now));
            }
            if situation.state_of(&kid) != Ok(was) {
                return Ok(Err(NotNow::Otherwise { kid: kid.clone() }));
            }
            end(tx, &kid, KeyState::Compromised, situation.now)?;
            // Verifiers forget it at once, whatever their caches hold.
            let names = vec![(CutKind::Kid, kid.clone())];
            status_changes::end(tx, &Over { positions: Vec::new(), names }, situation.now)?;
            match &heir {
                Heir::NotNeeded => {}
                Heir::Standby(promoted) => activate(tx, promoted, situation.now)?,
                Heir::Fresh(promoted) => {
                    insert_now(tx, promoted, situation.now)?;
                    activate(tx, promoted, situation.now)?;
                }
            }
            // One has left; if one was made to sign, the JWKS may be full again.
            let published = situation.published() - 1 + usize::from(matches!(heir, Heir::Fresh(_)));
            if let Some(made) = made.as_ref().filter(|_| published < MOST_PUBLISHED) {
                insert_now(tx, made, situation.now)?;
            }
            audit(tx)?;
            Ok(Ok(()))
        })?;
        Ok(signs)
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

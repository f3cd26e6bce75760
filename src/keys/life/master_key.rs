//! The keys under another master key, or without theirs.

use serde_json::json;

use super::{Life, LifeError, change, end};
use crate::keys::situation::{NotNow, Situation};
use crate::keys::{MasterKey, must_be_under_one_version, wrap};
use crate::secret::Random;
use crate::store::Db;
use crate::store::audit_log::{self, AuditEvent};
use crate::store::epochs::{self, Topic};
use crate::store::signing_keys::{self, KeyState, StoredKey};

impl Life<'_> {
    /// Encrypts every private half under the newest version of the master key, which is in force from then on. Returns how
    /// many there were that were not.
    ///
    /// # Errors
    /// [`NotNow::Otherwise`] when a key takes a step at the same moment; [`LifeError`].
    pub fn rewrap(&self, actor: &str) -> Result<usize, LifeError> {
        let version = self.master.newest();
        let master = self.master.put_in_force(version);
        let published = self.db.read(signing_keys::load_published)?;
        // A row that somebody else wrote under a version that he has seen would become one of ours.
        must_be_under_one_version(&published)?;
        let old: Vec<StoredKey> = published.into_iter().filter(|key| key.key_version < version).collect();
        let renewed = old.iter().map(|key| wrap::renew(&master, key.clone())).collect::<Result<Vec<_>, _>>()?;
        let count = renewed.len();
        if count == 0 {
            return Ok(0);
        }
        let details = json!({ "keys": count });
        let audit = self.audit(actor, "keys_rewrapped", &format!("master key version {version}"), details);
        self.write(move |tx| {
            let situation = Situation::load(tx)?;
            if let Some(not_now) = old.iter().find_map(|key| situation.still_has(key).err()) {
                return Ok(Err(not_now));
            }
            let is_left_out = |key: &&StoredKey| key.key_version < version && !old.iter().any(|one| one.kid == key.kid);
            if let Some(key) = situation.keys.iter().find(is_left_out) {
                return Ok(Err(NotNow::Otherwise { kid: key.kid.clone() }));
            }
            for key in &renewed {
                change(tx, key.state, key)?;
            }
            audit(tx)?;
            Ok(Ok(()))
        })?;
        Ok(count)
    }
}

/// Gives up every published key whose master key is lost: they leave the JWKS, and the next start makes new ones. Returns how
/// many.
///
/// # Errors
/// [`LifeError::NothingToGiveUp`]; [`LifeError::NotLost`] when one of them opens; [`LifeError::StillServed`] when an instance
/// serves; [`LifeError`].
pub fn begin_anew(
    db: &Db,
    master: Option<&MasterKey>,
    random: Random,
    (actor, dry_run): (&str, bool),
) -> Result<usize, LifeError> {
    let before = db.read(Situation::load)?;
    let opens = |key: &&StoredKey| master.is_some_and(|master| wrap::see_it_work(master, key).is_ok());
    if let Some(key) = before.keys.iter().find(opens) {
        return Err(LifeError::NotLost { kid: key.kid.clone() });
    }
    let live = before.live.len();
    let unreadable = before.unreadable.into_iter().map(|(kid, _)| kid);
    let kids: Vec<String> = before.keys.into_iter().map(|key| key.kid).chain(unreadable).collect();
    let count = kids.len();
    // Whoever serves has the master key: this command was told the wrong file.
    let given_up = |live: usize| match live {
        0 => Ok(count),
        live => Err(LifeError::StillServed { live }),
    };
    if count == 0 {
        return Err(LifeError::NothingToGiveUp);
    }
    if dry_run {
        return given_up(live);
    }
    let event = AuditEvent {
        actor: actor.to_owned(),
        event: "keys_given_up",
        subject: "all signing keys".to_owned(),
        details: json!({ "keys": count }),
    };
    let id = random.bytes::<16>();
    let live = db.write(move |tx| {
        epochs::lock(tx, Topic::SigningKeys)?;
        let situation = Situation::load(tx)?;
        if situation.live.is_empty() {
            for kid in &kids {
                end(tx, kid, KeyState::Retired, situation.now)?;
            }
            audit_log::record(tx, id, &event)?;
        }
        Ok(situation.live.len())
    })?;
    given_up(live)
}

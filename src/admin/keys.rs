//! Signing keys, as operators handle them: what is, what comes next and when it is safe, and who would mind if it is not.

use std::time::Duration;

use super::AdminError;
use crate::app::App;
use crate::clock::Timestamp;
use crate::keys::add_master_key_version;
use crate::keys::consumers::CONSUMERS;
use crate::keys::schedule::{self, Schedule, UNCONFIRMED};
use crate::keys::situation::{NotNow, Situation};
use crate::store::instances::Instance;
use crate::store::signing_keys::{self, KeyOrigin, KeyState, StoredKey};

/// A key and what it will do.
pub struct KeyReport {
    /// The key.
    pub key: StoredKey,
    /// How long it has been in its state.
    pub age: Duration,
    /// What it does next, if anything.
    pub next: Option<NextStep>,
    /// Until when a token that it signed may be alive; `None` when it never signed.
    pub tokens_live_until: Option<Timestamp>,
}

/// A step to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextStep {
    /// `sign`, `stop signing` or `leave the JWKS`.
    pub what: &'static str,
    /// When it will be taken by itself.
    pub due: Option<Timestamp>,
    /// From when on it harms nobody.
    pub safe_from: Timestamp,
}

/// The keys, the oldest first; with `all`, those that are only a record too.
///
/// # Errors
/// [`AdminError::Store`].
pub fn list(app: &App, all: bool) -> Result<(Situation, Vec<KeyReport>), AdminError> {
    let states: &[KeyState] = if all { &KeyState::ALL } else { &KeyState::PUBLISHED };
    let (situation, loaded) = app.db.read(|tx| Ok((Situation::load(tx)?, signing_keys::load_readable(tx, states)?)))?;
    for (kid, state) in &loaded.unreadable {
        tracing::warn!(%kid, state = state.as_str(), "the row of a signing key cannot be read");
    }
    let schedule = app.key_life().schedule;
    let reports = loaded.keys.into_iter().map(|key| report(key, &situation, schedule)).collect();
    Ok((situation, reports))
}

fn report(key: StoredKey, situation: &Situation, schedule: Schedule) -> KeyReport {
    let turn_ends = schedule::active(&situation.keys).and_then(|active| schedule.turn_ends(active));
    let is_successor = schedule::successor(&situation.keys).is_some_and(|successor| successor.kid == key.kid);
    let successor_is_known_from =
        schedule::successor(&situation.keys).map(|successor| schedule.may_sign_from(successor));
    let next = match key.state {
        KeyState::Standby => Some(NextStep {
            what: "sign",
            due: turn_ends.filter(|_| is_successor).map(|at| at.max(schedule.may_sign_from(&key))),
            safe_from: schedule.may_sign_from(&key),
        }),
        KeyState::Active => successor_is_known_from.map(|known_from| NextStep {
            what: "stop signing",
            due: turn_ends.map(|at| at.max(known_from)),
            safe_from: known_from,
        }),
        KeyState::Retiring => schedule.leaves_at(&key).map(|at| NextStep {
            what: "leave the JWKS",
            due: Some(at),
            safe_from: key.retiring_at.unwrap_or(at).plus(schedule::shortest_retention(key.longest_life)),
        }),
        KeyState::Retired | KeyState::Compromised => None,
    };
    let has_signed = key.activated_at.is_some() || key.origin == KeyOrigin::VerifyOnly;
    let signs_until = match key.state {
        KeyState::Standby => None,
        KeyState::Active => Some(situation.now),
        KeyState::Retiring | KeyState::Retired | KeyState::Compromised => {
            key.retiring_at.or(key.ended_at).filter(|_| has_signed).map(|at| at.plus(UNCONFIRMED))
        }
    };
    let since = key.ended_at.or(key.retiring_at).or(key.activated_at).unwrap_or(key.published_at);
    KeyReport {
        age: situation.now.since(since),
        next,
        tokens_live_until: signs_until.map(|at| at.plus(key.longest_life)),
        key,
    }
}

/// What a rotation does, or would do.
pub struct Rotation {
    /// The key that signed until now.
    pub from: Option<String>,
    /// The key that signs from now on.
    pub to: String,
    /// Whose caches may lack it, with how long they may reject its tokens (`None`: as long as they run).
    pub reject: Vec<(&'static str, Option<Duration>)>,
}

/// How a rotation is run.
#[derive(Clone, Copy)]
pub struct Run {
    /// Also when verifiers do not know the key yet.
    pub force: bool,
    /// Nothing changes.
    pub dry_run: bool,
}

/// Lets the standby sign now instead of when it is due: the one named `to`, or the one published longest.
///
/// # Errors
/// [`AdminError::Keys`] when it is unsafe, saying when it will be safe.
pub fn rotate(app: &App, to: Option<&str>, run: Run, actor: &str) -> Result<Rotation, AdminError> {
    let life = app.key_life();
    let situation = app.db.read(Situation::load)?;
    let standby = match to {
        None => schedule::successor(&situation.keys),
        Some(kid) => situation.keys.iter().find(|key| key.kid == kid && key.state == KeyState::Standby),
    };
    let standby = standby.ok_or(AdminError::NotFound("key that stands by"))?;
    situation.may_rotate(life.schedule, standby, run.force).map_err(AdminError::not_now)?;
    let from = schedule::active(&situation.keys).map(|key| key.kid.clone());
    let rotation = Rotation { from, to: standby.kid.clone(), reject: who_rejects(standby, situation.now) };
    if !run.dry_run {
        life.rotate(&rotation.to, actor, run.force)?;
    }
    Ok(rotation)
}

/// Whose caches may lack a key that signs from now on, with for how long.
fn who_rejects(key: &StoredKey, now: Timestamp) -> Vec<(&'static str, Option<Duration>)> {
    let known_for = now.since(key.published_at);
    let reject = CONSUMERS.iter().filter(|consumer| consumer.may_lack(known_for));
    reject.map(|consumer| (consumer.name, consumer.learns_within())).collect()
}

/// Makes one more key that stands by, or only says whether there is room for it.
///
/// # Errors
/// [`AdminError::Keys`].
pub fn generate(app: &App, dry_run: bool, actor: &str) -> Result<Option<String>, AdminError> {
    let life = app.key_life();
    if dry_run {
        app.db.read(Situation::load)?.has_room(life.schedule).map_err(AdminError::not_now)?;
        return Ok(None);
    }
    Ok(Some(life.generate(actor)?))
}

/// A key of any state.
///
/// # Errors
/// [`AdminError::NotFound`].
pub fn find(app: &App, kid: &str) -> Result<StoredKey, AdminError> {
    app.db.read(|tx| signing_keys::find(tx, kid))?.ok_or(AdminError::NotFound("key"))
}

/// What the end of a key does, or would do.
pub struct Compromise {
    /// What it was.
    pub was: KeyState,
    /// The key that signs now.
    pub signs_now: Option<String>,
    /// Until when a token that it signed honestly would have lived.
    pub tokens_live_until: Option<Timestamp>,
    /// Whose caches may lack the key that signs now, if it did not before, as in [`Rotation::reject`].
    pub reject: Vec<(&'static str, Option<Duration>)>,
}

/// Ends a key that somebody else may have; with `dry_run` nothing changes.
///
/// # Errors
/// [`AdminError::NotFound`] when no published key has that name.
pub fn compromise(app: &App, kid: &str, dry_run: bool, actor: &str) -> Result<Compromise, AdminError> {
    let (situation, reports) = list(app, false)?;
    let was = situation.state_of(kid).map_err(|_| AdminError::NotFound("published key"))?;
    let report = reports.into_iter().find(|report| report.key.kid == kid);
    let signs_now = if dry_run {
        let heir = if was == KeyState::Active { schedule::successor } else { schedule::active };
        heir(&situation.keys).map(|key| key.kid.clone())
    } else {
        app.key_life().compromise(kid, actor)?
    };
    let heir = situation.keys.iter().find(|key| Some(&key.kid) == signs_now.as_ref());
    let reject = match (was, heir) {
        (KeyState::Active, Some(heir)) => who_rejects(heir, situation.now),
        // Nobody has seen a key that was made just now.
        (KeyState::Active, None) => CONSUMERS.iter().map(|one| (one.name, one.learns_within())).collect(),
        (KeyState::Standby | KeyState::Retiring | KeyState::Retired | KeyState::Compromised, _) => Vec::new(),
    };
    Ok(Compromise { was, signs_now, tokens_live_until: report.and_then(|report| report.tokens_live_until), reject })
}

/// What a new version of the master key changed, or would change.
pub struct Rewrap {
    /// The version that makes new things from now on.
    pub version: u8,
    /// Private halves that were encrypted anew; of a dry run, that are under an older version.
    pub keys: usize,
    /// Client secrets whose hashes need an older version: it must stay in the file until they are rotated.
    pub older_client_secrets: usize,
}

/// Encrypts the signing keys under the newest version of the master key, making one if the newest is in force already.
/// Every instance has to have it first; run again, it goes on where it was.
///
/// # Errors
/// [`AdminError::MasterKeyNotEverywhere`] when an instance lacks the version; [`AdminError`].
pub fn rewrap(app: &App, dry_run: bool, actor: &str) -> Result<Rewrap, AdminError> {
    let master_key = app.secrets.load().master_key.clone();
    // What an earlier run began goes on before anything new is made.
    let listed = app.db.read(signing_keys::load_published)?;
    let makes = listed.iter().all(|key| key.key_version == master_key.newest());
    let version = if makes { master_key.newest().saturating_add(1) } else { master_key.newest() };
    let behind = listed.iter().filter(|key| key.key_version != version).count();
    if makes && app.settings.master_key.is_some() {
        return Err(AdminError::MasterKeyIsASetting { version });
    }
    if !dry_run {
        if makes {
            add_master_key_version(&app.settings.keys.master_key_file, master_key.newest(), &app.random)?;
            app.reload_master_key()?;
        }
        let live = app.db.read(Situation::load)?.live;
        let ours = app.secrets.load().master_key.seen();
        // The same number may be another key, made on another machine.
        let lacks = |instance: &&Instance| {
            instance.master_key.version < version
                || instance.master_key.version == ours.version && instance.master_key != ours
        };
        let lacking = live.iter().filter(lacks).count();
        if lacking > 0 {
            return Err(AdminError::MasterKeyNotEverywhere { version, lacking, live: live.len() });
        }
        app.key_life().rewrap(actor)?;
        app.reload_keys()?;
    }
    let clients = app.clients.all();
    let now = app.clock.now();
    let secrets = clients.iter().flat_map(|client| client.secrets_in_force(now));
    let older_client_secrets = secrets.filter(|secret| secret.key_version != version).count();
    Ok(Rewrap { version, keys: behind, older_client_secrets })
}

/// How many of the serving instances publish the keys as they are now, and how many there are.
///
/// # Errors
/// [`AdminError::Store`].
pub fn in_force(app: &App) -> Result<(usize, usize), AdminError> {
    let situation = app.db.read(Situation::load)?;
    let lagging = match situation.all_publish() {
        Err(NotNow::NotYetPublished { lagging, .. }) => lagging,
        Ok(()) | Err(_) => 0,
    };
    Ok((situation.live.len() - lagging, situation.live.len()))
}

//! Logging in with a name and a password. The same work is done and the same answer given whether the name is unknown,
//! the password wrong or the account disabled (ASVS 6.3.8); every attempt is counted before its password is looked at.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::limits::Network;
use crate::login_name::LoginKey;
use crate::password_hash::{HashError, HashMemory, Verdict};
use crate::protocol::token_request::Credentials;
use crate::reason::{CapacityRefusal, LoginRefusal, Reason, Refusal};
use crate::secret::{Digest, PurposeKey};
use crate::store::accounts::{self, Account};
use crate::store::login_attempts::{self, Attempt, Throttle};
use crate::store::{self, Write};

/// How long a network from which the account once logged in is spared the waits that strangers caused.
const KNOWN_NETWORK_TTL: Duration = Duration::from_hours(90 * 24);

/// The two counters of an attempt: for this account from this network, and for this account from anywhere.
struct AttemptKeys {
    from_network: Digest,
    from_anywhere: Digest,
}

/// A password that fits, not yet turned into a log-in: [`ProvenPassword::claim`] does that, with whatever the log-in
/// is for, in one transaction.
pub struct ProvenPassword {
    /// Whose it is.
    pub account: Account,
    /// When it was proven.
    pub auth_time: Timestamp,
    renewed_hash: Option<String>,
    keys: AttemptKeys,
}

/// Proves who is at the keyboard.
///
/// # Errors
/// A [`LoginRefusal`], or a [`CapacityRefusal`] when a part is away.
pub fn prove_password(
    app: &App,
    memory: &mut HashMemory,
    credentials: &Credentials,
    network: Network,
) -> Result<ProvenPassword, Refusal> {
    let throttled = app.address_failures.reserve(&app.cache, network).err();
    let proven = prove(app, memory, credentials, (network, throttled));
    // Neither a log-in that succeeds nor one that we could not serve speaks against its network.
    if matches!(&proven, Ok(_) | Err(Refusal { reason: Reason::Capacity(_), .. })) {
        app.address_failures.refund(&app.cache, network);
    }
    proven
}

fn prove(
    app: &App,
    memory: &mut HashMemory,
    credentials: &Credentials,
    (network, throttled): (Network, Option<Refusal>),
) -> Result<ProvenPassword, Refusal> {
    let key = LoginKey::of(&credentials.username);
    let found = {
        let key = key.clone();
        app.db.read(move |tx| accounts::find_by_key(tx, &key))?
    };
    let keys = attempt_keys(app, found.as_ref(), &key, network);
    count_attempt(app, &keys, throttled)?;
    let stored = found.as_ref().map(|account| account.password_hash.as_str());
    let verdict = app.hasher.verify(memory, &credentials.password, stored).map_err(|error| match error {
        HashError::NoMemory => Refusal::from(CapacityRefusal::CannotHash),
        HashError::Unusable => LoginRefusal::HashUnusable.into(),
    })?;
    let account = found.ok_or(LoginRefusal::UnknownAccount)?;
    let Verdict::Match { outdated } = verdict else { return Err(LoginRefusal::WrongPassword.into()) };
    if account.disabled_at.is_some() {
        return Err(LoginRefusal::AccountDisabled.into());
    }
    // ASVS 11.4.2: a hash of older parameters is renewed while the password is at hand.
    let renewed_hash = if outdated { app.hasher.hash(memory, &app.random, &credentials.password).ok() } else { None };
    Ok(ProvenPassword { account, auth_time: app.clock.now(), renewed_hash, keys })
}

impl ProvenPassword {
    /// Completes the log-in inside `tx`. `false` when the account was disabled or its password changed since it was
    /// read; the caller then makes nothing of the log-in.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn claim(&self, tx: &mut Write<'_>) -> Result<bool, store::Error> {
        let renewed = self.renewed_hash.as_deref();
        if !accounts::claim_login(tx, self.account.id, &self.account.password_hash, renewed)? {
            return Ok(false);
        }
        login_attempts::clear(tx, &self.keys.from_network, self.auth_time)?;
        login_attempts::clear(tx, &self.keys.from_anywhere, self.auth_time)?;
        Ok(true)
    }
}

/// Names are counted by account where there is one, so that its e-mail address, its user name and every spelling of
/// either share one count; an unknown name is counted just the same (CWE-307).
fn attempt_keys(app: &App, account: Option<&Account>, key: &LoginKey, network: Network) -> AttemptKeys {
    let who = account.map_or_else(|| key.as_str().as_bytes(), |account| account.id.as_bytes());
    let network = network.to_string();
    AttemptKeys {
        from_network: app.derived.login_attempt.mac(&[b"network", who, network.as_bytes()]),
        from_anywhere: anywhere_key(&app.derived.login_attempt, who),
    }
}

/// Forgets what was counted for an account from anywhere: an operator vouches for it with a new password.
///
/// # Errors
/// The store's own reasons.
pub fn forgive(tx: &mut Write<'_>, key: &PurposeKey, id: AccountId) -> Result<(), store::Error> {
    login_attempts::forget(tx, &anywhere_key(key, id.as_bytes()))
}

fn anywhere_key(key: &PurposeKey, who: &[u8]) -> Digest {
    key.mac(&[b"anywhere", who])
}

/// Counts the attempt under both keys, or refuses it while a wait lasts. Neither the wait for strangers' networks nor
/// what neighbours did to other accounts holds up a network that the account is known to use, so that nobody can lock
/// an owner out from elsewhere.
fn count_attempt(app: &App, keys: &AttemptKeys, throttled: Option<Refusal>) -> Result<(), Refusal> {
    let limits = &app.settings.limits;
    let longest_wait = limits.login_delay_max;
    let from_network = Throttle { failures_until_wait: limits.login_failures, longest_wait };
    let from_anywhere = Throttle { failures_until_wait: limits.login_failures_ceiling, longest_wait };
    let (network_key, anywhere_key) = (keys.from_network, keys.from_anywhere);
    let now = app.clock.now();
    if let Some(refusal) = throttled {
        let since = now.minus(KNOWN_NETWORK_TTL);
        if !app.db.read(|tx| login_attempts::has_succeeded_since(tx, &network_key, since))? {
            return Err(refusal);
        }
    }
    let attempt = app.db.write(move |tx| {
        let known = login_attempts::has_succeeded_since(tx, &network_key, now.minus(KNOWN_NETWORK_TTL))?;
        if let Some(until) = login_attempts::blocked_until(tx, &anywhere_key, from_anywhere, now)?
            && !known
        {
            return Ok(Attempt::Blocked { until });
        }
        let here = login_attempts::count(tx, &network_key, from_network, now)?;
        if here != Attempt::Counted {
            return Ok(here);
        }
        // Counted again under the row's lock: of attempts made at once only as many pass as the limit allows.
        let anywhere = login_attempts::count(tx, &anywhere_key, from_anywhere, now)?;
        Ok(if known { here } else { anywhere })
    })?;
    match attempt {
        Attempt::Counted => Ok(()),
        Attempt::Blocked { until } => {
            let wait = until.since(now).max(Duration::from_secs(1));
            Err(Refusal::from(LoginRefusal::AccountThrottled).retry_after(wait))
        }
    }
}

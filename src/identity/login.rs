//! Logging in with a name and a password. The same work is done and the same answer given whether the name is unknown,
//! the password wrong or the account disabled (ASVS 6.3.8). Failures cost time; while an attempt is being tried, others
//! under the same name reckon with its failing.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::limits::{BeingTried, Network};
use crate::login_name::LoginKey;
use crate::password_hash::{HashError, HashMemory, Verdict};
use crate::protocol::token_request::Credentials;
use crate::reason::{CapacityRefusal, LoginRefusal, Refusal};
use crate::secret::{Digest, PurposeKey};
use crate::store::accounts::{self, Account};
use crate::store::login_attempts::{self, Count, Throttle};
use crate::store::{self, DatabaseTime, Write};

/// How long a network from which the account once logged in is spared the waits that strangers caused.
const KNOWN_NETWORK_TTL: Duration = Duration::from_hours(90 * 24);
/// How old the memory of a network may become before a log-in from there writes it anew.
const KNOWN_NETWORK_STALE: Duration = Duration::from_hours(24);
/// When to come back for whoever was refused because of others that are being tried.
const OTHERS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The two counters of an attempt: for this account from this network, and for this account from anywhere.
#[derive(Clone, Copy)]
struct AttemptKeys {
    from_network: Digest,
    from_anywhere: Digest,
}

/// A password that fits. It becomes a log-in when the caller makes something of it, on the condition that the account
/// still has the credentials that were checked; then [`ProvenPassword::remember`].
pub struct ProvenPassword {
    /// Whose it is.
    pub account: Account,
    /// When the account was read, by the database's clock.
    pub read_at: DatabaseTime,
    /// When it was proven.
    pub auth_time: Timestamp,
    renewed_hash: Option<String>,
    keys: AttemptKeys,
    counts: [Option<Count>; 2],
}

/// An attempt that was let through.
struct Admitted<'a> {
    found: Option<(Account, DatabaseTime)>,
    keys: AttemptKeys,
    counts: [Option<Count>; 2],
    being_tried: [BeingTried<'a>; 2],
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
    let refund = || app.address_failures.refund(&app.cache, network);
    // Neither a log-in that succeeds nor one whose password was not looked at speaks against its network.
    let admitted = admit(app, credentials, network, throttled).inspect_err(|_| refund())?;
    let verdict = judge(app, memory, credentials, &admitted).inspect_err(|_| refund())?;
    conclude(app, memory, credentials, admitted, verdict).inspect(|_| refund())
}

/// Finds the account and lets the attempt through, or does not.
fn admit<'a>(
    app: &'a App,
    credentials: &Credentials,
    network: Network,
    throttled: Option<Refusal>,
) -> Result<Admitted<'a>, Refusal> {
    let key = LoginKey::of(&credentials.username);
    let found = app.db.read(|tx| accounts::find_by_key(tx, &key))?;
    let keys = attempt_keys(app, found.as_ref().map(|(account, _)| account), &key, network);
    let counts = || app.db.read(|tx| login_attempts::find(tx, [&keys.from_network, &keys.from_anywhere]));
    if let Some(refusal) = throttled
        && !is_known(counts()?[0], app.clock.now())
    {
        return Err(refusal);
    }
    // What is being tried is known before the counts are read, and given up only after they are written, so that no
    // attempt goes unreckoned.
    let being_tried = [keys.from_network, keys.from_anywhere].map(|name| BeingTried::begin(&app.cache, &name));
    let counts = counts()?;
    refuse_throttled(app, counts, [being_tried[0].others, being_tried[1].others])?;
    Ok(Admitted { found, keys, counts, being_tried })
}

/// Looks at the password. The same work is done where there is no account.
fn judge(
    app: &App,
    memory: &mut HashMemory,
    credentials: &Credentials,
    admitted: &Admitted<'_>,
) -> Result<Verdict, Refusal> {
    let stored = admitted.found.as_ref().map(|(account, _)| account.password_hash.as_str());
    app.hasher.verify(memory, &credentials.password, stored).map_err(|error| match error {
        HashError::NoMemory => CapacityRefusal::CannotHash.into(),
        HashError::Unusable => LoginRefusal::HashUnusable.into(),
    })
}

/// Makes of the verdict what follows: a proof, or a failure that is counted.
fn conclude(
    app: &App,
    memory: &mut HashMemory,
    credentials: &Credentials,
    admitted: Admitted<'_>,
    verdict: Verdict,
) -> Result<ProvenPassword, Refusal> {
    let Admitted { found, keys, counts, being_tried } = admitted;
    let refused = match (&found, verdict) {
        (None, _) => Some(LoginRefusal::UnknownAccount),
        (_, Verdict::Mismatch) => Some(LoginRefusal::WrongPassword),
        (Some((account, _)), _) if account.disabled_at.is_some() => Some(LoginRefusal::AccountDisabled),
        (Some(_), Verdict::Match { .. }) => None,
    };
    let (Some((account, read_at)), None) = (found, refused) else {
        if let Err(error) = count_failure(app, keys) {
            // CWE-307: a guess that could not be counted stays reckoned with until it is forgotten.
            being_tried.into_iter().for_each(BeingTried::leave);
            return Err(error);
        }
        return Err(refused.unwrap_or(LoginRefusal::UnknownAccount).into());
    };
    // ASVS 11.4.2: a hash of older parameters is renewed while the password is at hand.
    let outdated = verdict == Verdict::Match { outdated: true };
    let renewed_hash = if outdated { app.hasher.hash(memory, &app.random, &credentials.password).ok() } else { None };
    Ok(ProvenPassword { account, read_at, auth_time: app.clock.now(), renewed_hash, keys, counts })
}

impl ProvenPassword {
    /// How the person logged in (RFC 8176 §2).
    pub fn amr(&self) -> Vec<String> {
        vec!["pwd".to_owned()]
    }

    /// What a log-in that was made leaves behind: failures are forgotten, the network is known, the hash is renewed; most
    /// often nothing of that is due. The log-in stands even if this cannot be written.
    pub fn remember(self, app: &App) {
        let Self { account, auth_time, renewed_hash, keys, counts: [here, anywhere], .. } = self;
        let stale = here.and_then(|count| count.succeeded_at).is_none_or(|at| at.plus(KNOWN_NETWORK_STALE) < auth_time);
        let failed = |count: Option<Count>| count.is_some_and(|count| count.failures > 0);
        let (write_here, write_anywhere) = (stale || failed(here), failed(anywhere));
        if !write_here && !write_anywhere && renewed_hash.is_none() {
            return;
        }
        let written = app.db.write(move |tx| {
            if write_here {
                login_attempts::count_success(tx, &keys.from_network, auth_time)?;
            }
            if write_anywhere {
                login_attempts::count_success(tx, &keys.from_anywhere, auth_time)?;
            }
            match &renewed_hash {
                Some(renewed) => accounts::renew_hash(tx, account.id, &account.password_hash, renewed),
                None => Ok(()),
            }
        });
        if let Err(error) = written {
            tracing::warn!(%error, "a log-in could not be remembered");
        }
    }
}

/// Names are counted by account where there is one, so that its e-mail address, its user name and every spelling of
/// either share one count; an unknown name is counted just the same (CWE-307).
fn attempt_keys(app: &App, account: Option<&Account>, key: &LoginKey, network: Network) -> AttemptKeys {
    let who = account.map_or_else(|| key.as_str().as_bytes(), |account| account.id.as_bytes());
    let network = network.to_string();
    AttemptKeys {
        from_network: app.secrets.load().login_attempt.mac(&[b"network", who, network.as_bytes()]),
        from_anywhere: anywhere_key(&app.secrets.load().login_attempt, who),
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

/// Whether the account has logged in from there before. Neither the wait for strangers' networks nor what neighbours did
/// to other accounts holds such a network up, so that nobody can lock an owner out from elsewhere.
fn is_known(here: Option<Count>, now: Timestamp) -> bool {
    here.and_then(|count| count.succeeded_at).is_some_and(|at| at >= now.minus(KNOWN_NETWORK_TTL))
}

/// Refuses an attempt while a wait lasts, or while others under the same name may yet begin one.
fn refuse_throttled(
    app: &App,
    [here, anywhere]: [Option<Count>; 2],
    [others_here, others_anywhere]: [u32; 2],
) -> Result<(), Refusal> {
    let now = app.clock.now();
    let (from_network, from_anywhere) = throttles(app);
    let network_wait = wait(here, others_here, from_network, now);
    let anywhere_wait = || wait(anywhere, others_anywhere, from_anywhere, now);
    let wait = if is_known(here, now) { network_wait } else { network_wait.max(anywhere_wait()) };
    match wait {
        None => Ok(()),
        Some(wait) => Err(Refusal::from(LoginRefusal::AccountThrottled).retry_after(wait)),
    }
}

/// How long an attempt must wait, if it must.
fn wait(count: Option<Count>, others: u32, throttle: Throttle, now: Timestamp) -> Option<Duration> {
    if let Some(until) = count.and_then(|count| count.wait(throttle, now)) {
        return Some(until.since(now).max(Duration::from_secs(1)));
    }
    let failures = count.map_or(0, |count| count.failures);
    // CWE-307: if all the others fail, this one would be beyond the limit. Alone it is what the last wait was for.
    let too_many = others > 0 && failures.saturating_add(others) >= throttle.failures_until_wait;
    too_many.then_some(OTHERS_RETRY_AFTER)
}

fn count_failure(app: &App, keys: AttemptKeys) -> Result<(), Refusal> {
    let (from_network, from_anywhere) = throttles(app);
    let now = app.clock.now();
    app.db.write(move |tx| {
        login_attempts::count_failure(tx, &keys.from_network, from_network, now)?;
        login_attempts::count_failure(tx, &keys.from_anywhere, from_anywhere, now)
    })?;
    Ok(())
}

/// For an account from one network, and from anywhere.
fn throttles(app: &App) -> (Throttle, Throttle) {
    let limits = &app.settings.limits;
    let throttle = |failures_until_wait| Throttle { failures_until_wait, longest_wait: limits.login_delay_max };
    (throttle(limits.login_failures), throttle(limits.login_failures_ceiling))
}

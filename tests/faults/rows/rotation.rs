//! F-15: two instances rotate signing keys at the same moment, round after round, and are killed at any moment of it. Time
//! passes by moving the instants in the rows back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::instances_on;
use crate::chance::Chance;
use crate::database::Backend;
use crate::http;
use crate::instance::{Instance, Site};
use crate::report::Run;

/// A turn passes: the standby is known everywhere, the active key's time is over, what retires may leave.
pub(super) const AGE: &str = "UPDATE signing_keys SET published_at = published_at - 86400000000, \
                              activated_at = activated_at - 90 * 86400000000, retiring_at = retiring_at - 2 * 86400000000 \
                              WHERE state IN ('standby', 'active', 'retiring')";
/// Every instance looks at the keys.
pub(super) const NOTICED: &str = "UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'";
/// An instance says that it is there every 5 s; whoever did not for longer was killed.
const SURELY_GONE: Duration = Duration::from_secs(7);

/// What those who verify see: the JWKS that each instance served last, and what went wrong.
struct Watch {
    served: Vec<Mutex<Option<BTreeSet<String>>>>,
    tokens: AtomicU64,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let mut instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address).collect();
    let watch = Watch {
        served: addresses.iter().map(|_| Mutex::new(None)).collect(),
        tokens: AtomicU64::new(0),
        wrong: Mutex::new(Vec::new()),
        stop: AtomicBool::new(false),
    };
    let (rounds, mut chance, mut kills, mut slowest) = (run.either(8, 60), Chance::new(run.seed), 0, Duration::ZERO);
    thread::scope(|scope| {
        for nth in 0..addresses.len() {
            let (watch, addresses, secret) = (&watch, &addresses, site.secret.as_str());
            scope.spawn(move || verify(watch, addresses, nth, secret));
        }
        for round in 1..=rounds {
            let before = keys(&site);
            site.database.execute(&format!("{AGE}; {NOTICED}"));
            let began = Instant::now();
            if chance.happens(0.3) {
                kills += 1;
                thread::sleep(chance.between(Duration::ZERO, Duration::from_millis(1400)));
                let nth = chance.below(instances.len());
                *lock(&watch.served[nth]) = None;
                instances[nth].kill();
                instances[nth].start_again(&site);
                // What the killed one last said is believed for a minute, which nobody here has.
                thread::sleep(SURELY_GONE);
                forget_the_killed(&site);
            }
            let after = wait_for_rotation(&site, &before, began);
            slowest = slowest.max(began.elapsed());
            run.must(after.is_some(), format_args!("round {round}: no key took over"));
            let Some(after) = after else { break };
            run.must(after.active.len() == 1, format_args!("round {round}: {} active keys", after.active.len()));
            run.must(after.standby == 1, format_args!("round {round}: {} stand by", after.standby));
            run.must(
                after.made <= before.made + 1,
                format_args!("round {round}: {} keys made", after.made - before.made),
            );
            run.must(after.active[0] == before.next, format_args!("round {round}: another key than the standby signs"));
            run.progress(format_args!("{round} of {rounds} rounds"));
        }
        watch.stop.store(true, Ordering::SeqCst);
    });
    let tokens = watch.tokens.load(Ordering::Relaxed);
    run.figure(format_args!(
        "{rounds} rotations, {kills} kills; {tokens} tokens seen; the slowest round {} ms",
        slowest.as_millis()
    ));
    run.must(tokens > rounds * 10, "too few tokens were seen");
    let wrong = watch.wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    run.must(
        wrong.is_empty(),
        format_args!("{} tokens that a verifier may reject, such as {:?}", wrong.len(), wrong.first()),
    );
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches the JWKS and a token from one instance, again and again. Whatever JWKS anyone has had before, the token's key is
/// in it, and every instance takes the token.
fn verify(watch: &Watch, addresses: &[SocketAddr], nth: usize, secret: &str) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let basic = http::basic("svc", secret);
    while !watch.stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
        // What the others served before this token was asked for.
        let served: Vec<_> = watch.served.iter().filter_map(|served| lock(served).clone()).collect();
        let request = http::form("/token", Some(&basic), &[("grant_type", "client_credentials")]);
        let Ok(answer) = http::ask(addresses[nth], &request, PATIENCE) else { continue };
        let Some(token) = answer.json()["access_token"].as_str().map(str::to_owned) else { continue };
        watch.tokens.fetch_add(1, Ordering::Relaxed);
        let kid = kid_of(&token);
        if !served.iter().all(|jwks| jwks.contains(&kid)) {
            lock(&watch.wrong).push(format!("{kid} was not in a JWKS that was served before"));
        }
        for address in addresses {
            let request = http::form("/introspect", Some(&basic), &[("token", &token)]);
            let Ok(answer) = http::ask(*address, &request, PATIENCE) else { continue };
            if answer.status == 200 && answer.json()["active"] != true {
                lock(&watch.wrong).push(format!("{kid} is unknown to an instance"));
            }
        }
        if let Ok(answer) = http::ask(addresses[nth], &http::get("/jwks.json"), PATIENCE) {
            let jwks = answer.json();
            let kids = jwks["keys"].as_array().into_iter().flatten().filter_map(|key| key["kid"].as_str());
            *lock(&watch.served[nth]) = Some(kids.map(str::to_owned).collect());
        }
    }
}

pub(super) fn kid_of(token: &str) -> String {
    let header = token.split('.').next().unwrap_or_default();
    let json = countersign::secret::decode_base64url(header).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
    header["kid"].as_str().unwrap_or_default().to_owned()
}

/// The keys at one moment.
#[derive(Debug, PartialEq)]
pub(super) struct Keys {
    pub(super) active: Vec<String>,
    /// The standby that was published first.
    pub(super) next: String,
    standby: usize,
    pub(super) made: usize,
}

pub(super) fn keys(site: &Site) -> Keys {
    let lines = site.database.lines("SELECT state || ' ' || kid AS line FROM signing_keys ORDER BY position");
    let of = |wanted: &str| -> Vec<String> {
        let parts = lines.iter().filter_map(|line| line.split_once(' '));
        parts.filter(|(state, _)| *state == wanted).map(|(_, kid)| kid.to_owned()).collect()
    };
    let standby = of("standby");
    Keys {
        active: of("active"),
        next: standby.first().cloned().unwrap_or_default(),
        standby: standby.len(),
        made: lines.len(),
    }
}

/// The states of the published keys, the oldest first.
pub(super) fn states(site: &Site) -> String {
    let published =
        "SELECT state AS line FROM signing_keys WHERE state NOT IN ('retired', 'compromised') ORDER BY position";
    site.database.lines(published).join(" ")
}

fn forget_the_killed(site: &Site) {
    let now = match site.database.backend() {
        Backend::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
        Backend::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
    };
    let gone = SURELY_GONE.as_micros() - 500_000;
    site.database.execute(&format!("UPDATE instances SET seen_at = seen_at - 60000000 WHERE seen_at < {now} - {gone}"));
}

/// Waits until another key signs and every instance has had the time to follow.
pub(super) fn wait_for_rotation(site: &Site, before: &Keys, began: Instant) -> Option<Keys> {
    while began.elapsed() < Duration::from_secs(30) {
        let after = keys(site);
        if after.active != before.active {
            // Each instance looks once a second, and then says that it has seen it.
            thread::sleep(Duration::from_millis(1200));
            return Some(keys(site));
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}

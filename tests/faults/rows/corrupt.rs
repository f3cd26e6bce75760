//! F-21: values in rows are replaced by ones that nobody wrote. What needs the row fails, by a refusal or a fault with a
//! name; everything else goes on, and nothing is mended into validity.

use super::eventually;
use crate::client::{ANSWER_LIMIT, Honest, PASSWORD};
use crate::database::Backend;
use crate::fleet::Fleet;
use crate::http;
use crate::instance::{Instance, Site, targets};
use crate::report::Run;

/// What is written over one column of one grant.
const GRANTS: [&str; 13] = [
    "scope = 'read \"'",
    "audiences = 'not JSON'",
    "audiences = '[7]'",
    "audiences = '[\"no URI\"]'",
    "amr = '{'",
    "generation = -5",
    "generation = 2147483647",
    "winner = -1",
    "winner = 300",
    "idle_expires_at = -9223372036854775808",
    "expires_at = -9223372036854775808",
    "client_id = 'svc'",
    "attempt = @bytes",
];

/// What is written over one column of one account.
const ACCOUNTS: [&str; 5] =
    ["password_hash = ''", "password_hash = 'argon2'", "roles = 'nope'", "roles = '[7]'", "roles = '{}'"];

/// Text that is no text, which only SQLite lets in.
const NOT_UTF8: [(&str, &str); 4] = [
    ("grants", "scope = CAST(X'FFFE' AS TEXT)"),
    ("grants", "audiences = CAST(X'5B22FF225D' AS TEXT)"),
    ("accounts", "password_hash = CAST(X'FF' AS TEXT)"),
    ("accounts", "roles = CAST(X'FF' AS TEXT)"),
];

pub fn row(run: &mut Run) {
    let mut site = Site::new(run.backend, &[]);
    site.add_account();
    let mut instance = site.start();
    let mut sound = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails[..1], 1, run.seed).remove(0);
    let mut flips = 0;
    let only_sqlite = if run.backend == Backend::Sqlite { &NOT_UTF8[..] } else { &[] };
    let grants = GRANTS.iter().map(|change| ("grants", *change));
    let accounts = ACCOUNTS.iter().map(|change| ("accounts", *change));
    for (table, change) in grants.chain(accounts).chain(only_sqlite.iter().copied()) {
        flips += 1;
        let change = change.replace("@bytes", &site.database.bytes(&[1, 2, 3]));
        if table == "grants" {
            corrupt_grant(run, &site, &instance, &change);
        } else {
            corrupt_account(run, &mut site, &instance, &change);
        }
        run.must(sound.refresh(), format_args!("{table}, {change}: another grant was refused"));
        run.must(instance.is_alive(), format_args!("{table}, {change}: the server ended"));
        run.progress(format_args!("{flips} values"));
    }
    flips += corrupt_client(run, &site, &instance, &mut sound);
    flips += corrupt_keys(run, &site, &instance, &mut sound);
    run.must(instance.is_alive(), "the server ended");
    run.figure(format_args!("{flips} values replaced"));
    run.judge(&[sound], &site.database);
}

fn refresh_once(instance: &Instance, token: &str) -> u16 {
    let pairs = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
    http::ask(instance.address, &http::form("/token", None, &pairs), ANSWER_LIMIT).map_or(0, |answer| answer.status)
}

fn log_in_once(instance: &Instance, email: &str) -> u16 {
    let pairs = [("grant_type", "password"), ("client_id", "web"), ("username", email), ("password", PASSWORD)];
    http::ask(instance.address, &http::form("/token", None, &pairs), ANSWER_LIMIT).map_or(0, |answer| answer.status)
}

fn log_in(instance: &Instance, email: &str, seed: u64) -> Honest {
    let emails = [email.to_owned()];
    Fleet::log_in(&targets(std::slice::from_ref(instance)), &emails, 1, seed).remove(0)
}

/// One grant is damaged: it is refused, twice, whatever is presented.
fn corrupt_grant(run: &mut Run, site: &Site, instance: &Instance, change: &str) {
    let mut victim = log_in(instance, &site.emails[1], run.seed);
    // Past its first generation, so that every column has been written.
    assert!(victim.refresh());
    let handle = site.database.bytes(&victim.holds().unwrap().handle);
    site.database.execute(&format!("UPDATE grants SET {change} WHERE handle = {handle}"));
    let seen = [(); 2].map(|()| refresh_once(instance, victim.token().unwrap()));
    // The winner of the generation before is not needed to judge a live token; it does not have to be looked at.
    let harmless = change.starts_with("winner") && seen[0] == 200;
    let failed = seen.iter().all(|status| matches!(status, 400 | 500 | 503));
    run.must(failed || harmless, format_args!("grants, {change}: answered {seen:?}"));
}

/// One account is damaged: nobody gets in by it, and what was granted to it is refused or goes on as it was.
fn corrupt_account(run: &mut Run, site: &mut Site, instance: &Instance, change: &str) {
    let email = site.add_account();
    let victim = log_in(instance, &email, run.seed);
    site.database.execute(&format!("UPDATE accounts SET {change} WHERE email = '{email}'"));
    let seen = log_in_once(instance, &email);
    run.must(matches!(seen, 400 | 500 | 503), format_args!("accounts, {change}: a log-in was answered {seen}"));
    let refreshed = refresh_once(instance, victim.token().unwrap());
    let wanted: &[u16] = if change.starts_with("roles") { &[400, 500, 503] } else { &[200, 400, 500, 503] };
    run.must(wanted.contains(&refreshed), format_args!("accounts, {change}: a refresh was answered {refreshed}"));
}

/// One client is damaged: it is refused, the other one goes on; then it is put right.
fn corrupt_client(run: &mut Run, site: &Site, instance: &Instance, sound: &mut Honest) -> usize {
    let own = http::form("/token", Some(&http::basic("svc", &site.secret)), &[("grant_type", "client_credentials")]);
    let status = || http::ask(instance.address, &own, ANSWER_LIMIT).map_or(0, |answer| answer.status);
    run.must(status() == 200, "svc is not served to begin with");
    let as_it_was = site.database.lines("SELECT metadata AS line FROM clients WHERE id = 'svc'").remove(0);
    let changes = ["{", "[]", "{\"grant_types\":7}", ""];
    let noticed = "UPDATE epochs SET value = value + 1 WHERE name = 'clients'";
    for change in changes {
        site.database.execute(&format!("UPDATE clients SET metadata = '{change}' WHERE id = 'svc'; {noticed}"));
        let refused = eventually(|| status() != 200).is_some();
        run.must(refused && matches!(status(), 400 | 401), format_args!("clients, {change}: answered {}", status()));
        run.must(sound.refresh(), format_args!("clients, {change}: another client was refused"));
    }
    let as_it_was = as_it_was.replace('\'', "''");
    site.database.execute(&format!("UPDATE clients SET metadata = '{as_it_was}' WHERE id = 'svc'; {noticed}"));
    run.must(eventually(|| status() == 200).is_some(), "svc is not served after it was put right");
    changes.len()
}

/// A signing key is damaged while the server runs: the keys in memory go on, and readiness says that they are stale.
fn corrupt_keys(run: &mut Run, site: &Site, instance: &Instance, sound: &mut Honest) -> usize {
    let stale = || instance.get("/readyz").is_some_and(|answer| answer.json()["signing_keys"] == "stale");
    let noticed = "UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'";
    let before = instance.get("/jwks.json").map(|answer| answer.body);
    site.database.execute("CREATE TABLE kept AS SELECT * FROM signing_keys");
    let bytes = site.database.bytes(&[7; 64]);
    let changes = [
        format!("wrapped = {bytes}"),
        format!("modulus = {bytes}"),
        "key_version = 9".to_owned(),
        "wrapped = NULL".to_owned(),
    ];
    for change in &changes {
        site.database.execute(&format!("UPDATE signing_keys SET {change} WHERE state = 'active'; {noticed}"));
        run.must(eventually(stale).is_some(), format_args!("signing_keys, {change}: readiness says nothing"));
        run.must(sound.refresh(), format_args!("signing_keys, {change}: nothing is signed any more"));
        let now = instance.get("/jwks.json").map(|answer| answer.body);
        run.must(now == before, format_args!("signing_keys, {change}: the JWKS changed"));
        site.database.execute(
            "UPDATE signing_keys SET wrapped = (SELECT wrapped FROM kept WHERE kept.kid = signing_keys.kid), \
             modulus = (SELECT modulus FROM kept WHERE kept.kid = signing_keys.kid), \
             key_version = (SELECT key_version FROM kept WHERE kept.kid = signing_keys.kid)",
        );
        site.database.execute(noticed);
        run.must(
            eventually(|| !stale()).is_some(),
            format_args!("signing_keys, {change}: stale after it was put right"),
        );
    }
    changes.len()
}

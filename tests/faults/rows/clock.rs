//! F-12: the wall clock of the server jumps, by libfaketime: an hour forward, an hour back, beyond 2038, to 1970.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use countersign::secret::decode_base64url;

use super::rotation::{self, AGE, Keys, NOTICED};
use super::{instances_on, work_for};
use crate::client::{ANSWER_LIMIT, Honest};
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Instance, Site, targets};
use crate::report::Run;

/// Where Debian puts it, below the folder of the machine's kind.
fn library() -> Option<String> {
    let kinds = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let found = kinds.map(|kind| kind.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())?;
    Some(found.display().to_string())
}

/// The first second that a signed 32-bit number does not hold.
const BEYOND_32_BITS: i64 = 1 << 31;

/// The server's wall clock, as an offset in a file.
struct Hands(PathBuf);

impl Hands {
    fn set(&self, offset: i64) {
        let fresh = self.0.with_extension("new");
        fs::write(&fresh, format!("{offset:+}\n")).unwrap();
        fs::rename(&fresh, &self.0).unwrap();
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub fn row(run: &mut Run) {
    let Some(library) = library() else {
        return run.must(false, "libfaketime is not installed: apt-get install faketime");
    };
    let site = Site::new(run.backend, &[]);
    let hands = Hands(site.folder().join("clock"));
    hands.set(0);
    let file = hands.0.display().to_string();
    let instance = site.start_with(&[
        ("LD_PRELOAD", &library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    // Another one with the right clock, which would take the steps that the first one is early or late for.
    let _other = (instances_on(run.backend) > 1).then(|| site.start());
    let started = Instant::now();
    let everybody = targets(std::slice::from_ref(&instance));
    let mut ended = Fleet::log_in(&everybody, &site.emails, 1, run.seed + 1).remove(0);
    let ended_token = ended.token().unwrap().to_owned();
    assert!(ended.revoke());
    let clients = Fleet::log_in(&everybody, &site.emails, run.either(8, 24), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(50..200), run.seed);
    let each = run.either(Duration::from_millis(1_200), Duration::from_secs(5));
    work_for(run, &fleet, each, "the right time");
    let keys = rotate_once(run, &site, &hands);
    for (name, offset) in [("an hour ahead", 3600), ("an hour behind", -3600), ("right again", 0)] {
        hands.set(offset);
        thread::sleep(Duration::from_millis(50));
        see_the_time(run, &site, &instance, now() + offset);
        still_over(run, &instance, &ended_token, name);
        work_for(run, &fleet, each, name);
    }
    let clients = fleet.settle();
    run.judge(&clients, &site.database);

    // So far ahead every grant has expired, which is no log-out by mistake; new ones work across the border.
    hands.set(BEYOND_32_BITS - 2 - now());
    thread::sleep(Duration::from_millis(50));
    see_the_time(run, &site, &instance, BEYOND_32_BITS - 2);
    let expired = refused(&instance, clients[0].token().unwrap());
    run.must(expired == 400, format_args!("in 2038 a grant of today was answered {expired}"));
    let mut late = Honest::new(everybody.clone(), &site.emails[0], run.seed + 2);
    run.must(late.log_in(), "nobody can log in in 2038");
    let refreshed = (0..12).filter(|_| {
        thread::sleep(Duration::from_millis(300));
        late.refresh()
    });
    let refreshed = refreshed.count();
    run.figure(format_args!("{refreshed} of 12 refreshes across 2038-01-19T03:14:08Z"));
    run.must(refreshed == 12, format_args!("refreshes across 2038 failed: {:?}", late.log_outs));
    see_the_time(run, &site, &instance, BEYOND_32_BITS + 2);
    still_over(run, &instance, &ended_token, "2038");
    if run.either(false, true) {
        sweep_goes_by_the_time_that_passed(run, &site, started);
        still_over(run, &instance, &ended_token, "2038, after a sweep");
    }

    hands.set(86_400 - now());
    thread::sleep(Duration::from_millis(50));
    see_the_time(run, &site, &instance, 86_400);
    still_over(run, &instance, &ended_token, "1970");
    hands.set(0);
    thread::sleep(Duration::from_millis(50));
    see_the_time(run, &site, &instance, now());
    still_over(run, &instance, &ended_token, "the present again");
    run.must(late.refresh(), "a grant of 2038 is refused in the present");
    run.must(instance.is_ready(), "the server is not ready any more");
    let kept = rotation::keys(&site);
    run.must(Some(&kept) == keys.as_ref(), format_args!("the signing keys were {keys:?} and are {kept:?}"));
    for name in ["sem.faketime_sem_", "faketime_shm_"] {
        let _ = fs::remove_file(format!("/dev/shm/{name}{}", instance.pid()));
    }
    run.figure("5 clocks: +1 h, -1 h, 2038, 1970, right again");
}

/// A signing key's turn is over while the clock jumps: one other key signs, and none after it.
fn rotate_once(run: &mut Run, site: &Site, hands: &Hands) -> Option<Keys> {
    let before = rotation::keys(site);
    site.database.execute(&format!("{AGE}; {NOTICED}"));
    hands.set(3600);
    let after = rotation::wait_for_rotation(site, &before, Instant::now());
    let once =
        after.as_ref().is_some_and(|after| after.active == [before.next.as_str()] && after.made == before.made + 1);
    run.must(once, format_args!("the signing keys were {before:?} and are {after:?}"));
    after
}

/// The sweep, which begins a minute after the start, removes what is over by the real time and nothing of what is over by
/// the wrong clock alone.
fn sweep_goes_by_the_time_that_passed(run: &mut Run, site: &Site, started: Instant) {
    let before = site.database.grants().len();
    let three_days_ago = (now() - 3 * 86_400) * 1_000_000;
    site.database.execute(&format!("UPDATE grants SET expires_at = {three_days_ago} WHERE ended_at IS NOT NULL"));
    run.progress("a sweep in 2038");
    thread::sleep(Duration::from_secs(75).saturating_sub(started.elapsed()));
    let swept = before - site.database.grants().len();
    run.must(swept == 1, format_args!("of {before} grants {swept} were swept in 2038, and 1 was over"));
    run.figure(format_args!("swept in 2038: {swept} of {before} grants, 1 was over"));
}

/// A new access token says that it is that time, and lives as long as it should.
fn see_the_time(run: &mut Run, site: &Site, instance: &Instance, expected: i64) {
    let own = http::form("/token", Some(&http::basic("svc", &site.secret)), &[("grant_type", "client_credentials")]);
    let answer = http::ask(instance.address, &own, ANSWER_LIMIT).expect("an answer");
    let json = answer.json();
    let claims: serde_json::Value = json["access_token"]
        .as_str()
        .and_then(|token| decode_base64url(token.split('.').nth(1)?))
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let (issued, expires) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
    run.must((issued - expected).abs() <= 5, format_args!("a token says {issued} when it is {expected}"));
    run.must(expires - issued == 600, format_args!("a token lives from {issued} to {expires}"));
}

fn refused(instance: &Instance, token: &str) -> u16 {
    let pairs = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
    http::ask(instance.address, &http::form("/token", None, &pairs), ANSWER_LIMIT).map_or(0, |answer| answer.status)
}

/// I4: what was revoked stays revoked, whatever the clock says.
fn still_over(run: &mut Run, instance: &Instance, token: &str, when: &str) {
    let status = refused(instance, token);
    run.must(status == 400, format_args!("I4: {when}, a revoked grant was answered {status}"));
}

//! F-10: Redis is unreachable, ended, frozen, slow, and flushed. It counts failed log-ins of networks and nothing else,
//! so nobody's log-in or refresh may fail for it.

use std::thread;
use std::time::{Duration, Instant};

use super::{eventually, work_for};
use crate::client::ANSWER_LIMIT;
use crate::fleet::{Fleet, Pace};
use crate::http::{self, Answer};
use crate::instance::{Instance, Site, targets};
use crate::proxy::{Faults, Kind, Proxy};
use crate::report::{Run, span};
use crate::services::Redis;

/// Failures that a network may have in a minute.
const ALLOWED: usize = 20;

/// What is wrong, how it begins and how it ends.
type Fault<'f> = (&'f str, &'f dyn Fn(), &'f dyn Fn());

pub fn row(run: &mut Run) {
    let redis = Redis::of_the_run();
    redis.say("FLUSHALL");
    let proxy = Proxy::start(Kind::Bytes, redis.address, run.seed);
    let (url, allowed) = (format!("redis://{}/", proxy.address), ALLOWED.to_string());
    let mut site = Site::new(run.backend, &[("cache.url", &url), ("limits.address_failures", &allowed)]);
    for _ in 0..3 {
        site.add_account();
    }
    let instance = site.start();
    let clients = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails[..3], 9, run.seed);
    let fleet = Fleet::start(clients, &Pace::every(100..300).with_revokes(0.15), run.seed);
    let span_of_each = run.either(Duration::from_secs(1), Duration::from_secs(8));
    work_for(run, &fleet, span_of_each, "Redis is there");

    let mut known_after = Duration::ZERO;
    let mut phases: Vec<(&str, Instant, Instant)> = Vec::new();
    let harmless = || proxy.set(Faults::default());
    let unreachable = || {
        proxy.set(Faults { refused: true, ..Faults::default() });
        proxy.reset();
    };
    let slow = || proxy.set(Faults { delay: Duration::from_millis(300), ..Faults::default() });
    let (end, start, freeze, thaw) = (|| redis.end(), || redis.start_again(), || redis.freeze(), || redis.thaw());
    let faults: [Fault; 4] = [
        ("unreachable", &unreachable, &harmless),
        ("ended", &end, &start),
        ("frozen", &freeze, &thaw),
        ("slow", &slow, &harmless),
    ];
    for (name, begin, end) in faults {
        let began = Instant::now();
        begin();
        let degraded = || instance.get("/readyz").is_some_and(|answer| answer.status == 200 && cache_is_down(&answer));
        run.must(eventually(degraded).is_some(), format_args!("I11: {name}: readiness does not say so within 5 s"));
        work_for(run, &fleet, span_of_each, name);
        end();
        phases.push((name, began, Instant::now()));
        let back = eventually(|| instance.get("/readyz").is_some_and(|answer| answer.json()["status"] == "ready"));
        known_after = known_after.max(back.unwrap_or_default());
        run.must(back.is_some(), format_args!("I11: {name}: readiness does not say within 5 s that it is back"));
        work_for(run, &fleet, Duration::from_millis(500), "Redis is back");
    }
    let clients = fleet.settle();
    run.figure(format_args!("its return known after {} at worst", span(known_after)));
    for (name, from, to) in phases {
        let events = clients.iter().flat_map(|client| &client.history);
        let within: Vec<_> = events.filter(|event| event.started >= from && event.finished <= to).collect();
        // 400 is what a client sees that tries the grant it has just revoked.
        let expected = |status| status == Some(200) || status == Some(400);
        let failed = within.iter().filter(|event| !expected(event.status())).count();
        let worst = within.iter().map(|event| event.took()).max().unwrap_or_default();
        run.figure(format_args!("{name}: {} requests, worst {}", within.len(), span(worst)));
        run.must(failed == 0, format_args!("{name}: {failed} requests failed"));
    }
    flushed(run, &site, &instance, redis);
    run.judge(&clients, &site.database);
}

fn cache_is_down(answer: &Answer) -> bool {
    answer.json()["cache"] == "down"
}

/// What guards an account outlives a flush; what guards a network is counted anew, once.
fn flushed(run: &mut Run, site: &Site, instance: &Instance, redis: &Redis) {
    thread::sleep(Duration::from_secs(1));
    let guess = |name: &str| {
        let pairs =
            [("grant_type", "password"), ("client_id", "web"), ("username", name), ("password", "hunter-canary-0815")];
        let answer = http::ask(instance.address, &http::form("/token", None, &pairs), ANSWER_LIMIT);
        answer.map_or(0, |answer| answer.status)
    };
    redis.say("FLUSHALL");
    let victim = &site.emails[3];
    let statuses: Vec<_> = (0..7).map(|_| guess(victim)).collect();
    run.must(statuses.last() == Some(&429), format_args!("the account was not locked: {statuses:?}"));
    redis.say("FLUSHALL");
    let after = guess(victim);
    run.must(after == 429, format_args!("a flush unlocked an account: {after}"));
    let tried = |round: usize| {
        (0..3 * ALLOWED).filter(|nth| guess(&format!("nobody-{round}-{nth}@people.test")) == 400).count()
    };
    redis.say("FLUSHALL");
    let before = tried(1);
    redis.say("FLUSHALL");
    let anew = tried(2);
    run.figure(format_args!(
        "flushed: {before} guesses before and {anew} after, {ALLOWED} allowed; the lock-out stayed"
    ));
    run.must(before <= ALLOWED && anew <= ALLOWED, "a network guessed more often than allowed");
}

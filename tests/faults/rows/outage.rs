//! F-6: PostgreSQL is stopped at once and started again. F-7: it is frozen where it stands, and continued.

use std::thread;
use std::time::{Duration, Instant};

use super::must_recover;
use crate::client::Honest;
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Site, targets};
use crate::invariants::{rotated_after_the_deadline, succeeded_between};
use crate::report::{Run, span};
use crate::services::Postgres;
use crate::watch::{Gauge, Watch, failed, first, percentile};

/// Readiness tells the truth within this time, both ways.
const TRUTH: Duration = Duration::from_secs(5);

pub fn stopped(run: &mut Run) {
    let postgres = Postgres::of_the_run();
    let lasts = run.either(Duration::from_secs(4), Duration::from_secs(45));
    outage(run, lasts, || postgres.stop_immediately(), || postgres.start_again());
}

pub fn frozen(run: &mut Run) {
    let postgres = Postgres::of_the_run();
    let lasts = run.either(Duration::from_secs(12), Duration::from_secs(30));
    let (clients, from, to) = outage(run, lasts, || postgres.freeze(), || postgres.thaw());
    let late = rotated_after_the_deadline(&clients, from, to);
    run.figure(format_args!("{late} rotations by requests past their deadline"));
    run.must(late == 0, format_args!("{late} requests rotated after their deadline"));
}

/// Two instances under load, with the authority away for a while.
fn outage(run: &mut Run, lasts: Duration, begin: impl FnOnce(), end: impl FnOnce()) -> (Vec<Honest>, Instant, Instant) {
    let site = Site::new(run.backend, &[]);
    let instances = [site.start(), site.start()];
    let clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(16, 40), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(200..1_000).with_revokes(0.02), run.seed);
    let pause = Duration::from_millis(50);
    let documents = Watch::start(instances[0].address, http::get("/jwks.json"), pause);
    let readiness = Watch::start(instances[1].address, http::get("/readyz"), pause);
    let own = http::form("/token", Some(&http::basic("svc", &site.secret)), &[("grant_type", "client_credentials")]);
    let services = Watch::start(instances[0].address, own, pause);
    let gauge = Gauge::start(instances[0].pid());
    thread::sleep(Duration::from_secs(1));

    let struck_at = Instant::now();
    begin();
    let away_at = Instant::now();
    while away_at.elapsed() < lasts {
        thread::sleep(Duration::from_millis(100));
        run.progress(format_args!("away for {:.0} s of {lasts:?}", away_at.elapsed().as_secs_f64()));
    }
    let end_at = Instant::now();
    end();
    let back_at = Instant::now();
    thread::sleep(run.either(Duration::from_secs(3), Duration::from_secs(6)));

    let clients = fleet.settle();
    let (documents, readiness, services) = (documents.end(), readiness.end(), services.end());
    run.figure(format_args!("away for {}", span(end_at - struck_at)));
    run.must(failed(&documents) == 0, "the JWKS was not always served");
    run.must(failed(&services) == 0, "client_credentials was not always served");
    run.figure(format_args!(
        "JWKS and client_credentials {} of {} times served, p99 {} and {}",
        documents.len() + services.len() - failed(&documents) - failed(&services),
        documents.len() + services.len(),
        span(percentile(&documents, 0.99)),
        span(percentile(&services, 0.99))
    ));
    let wrongly = succeeded_between(&clients, away_at, end_at);
    run.must(wrongly == 0, format_args!("I8: {wrongly} requests succeeded without the database"));
    let (unready, ready) = (first(&readiness, struck_at, 503), first(&readiness, back_at, 200));
    let said = |time: Option<Duration>| time.map_or("never".to_owned(), span);
    run.figure(format_args!("unready after {}, ready again after {}", said(unready), said(ready)));
    run.must(unready.is_some_and(|time| time <= TRUTH), "I11: not unready within 5 s");
    run.must(ready.is_some_and(|time| time <= TRUTH), "I11: not ready within 5 s");
    must_recover(run, &clients, back_at);
    let most = gauge.end();
    run.figure(format_args!("at most {} threads, {} MiB", most.threads, most.resident_mib));
    run.judge(&clients, &site.database);
    (clients, away_at, end_at)
}

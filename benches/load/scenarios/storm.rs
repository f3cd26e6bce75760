//! What those who ask for tokens notice of everyone who verifies fetching the JWKS anew, as after a rotation.

use std::time::Duration;

use super::{CLIENTS, many};
use crate::callers::{Reader, Refetcher, Service};
use crate::driver::{Pace, Seen, Until, drive, quantile};
use crate::plan::Plan;
use crate::report::{Report, Wanted};
use crate::subject::{Backend, Ground, SERVICE_CLIENT, get};

/// Who fetches within one second, each on a connection of its own.
const CONSUMERS: usize = 5000;
/// Who meets tokens with made-up kids, and so fetches again and again.
const POKED: usize = 100;
const TOKENS_A_SECOND: f64 = 200.0;
/// Two waves: one after the keys changed, one that finds them unchanged.
const SPAN: Duration = Duration::from_secs(2);

pub(super) fn refetch(plan: &Plan, report: &mut Report) {
    let ground = Ground::new(Backend::Sqlite, 0);
    let server = ground.serve(&[]);
    let (head, _) = get(server.port, "/jwks.json").expect("the JWKS");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag").to_owned();
    let tokens = || {
        let services = many(CLIENTS, || Service::new(SERVICE_CLIENT, &ground.service_secret));
        let pace = Pace::Every(Duration::from_secs_f64(CLIENTS as f64 / TOKENS_A_SECOND));
        drive(server.port, services, pace, Until::Passed(SPAN)).0
    };
    let second = Duration::from_secs(1);
    let wave = |etag: Option<&str>| {
        let consumers = many(CONSUMERS, || Refetcher::new(etag));
        let (seen, consumers) = drive(server.port, consumers, Pace::Every(second), Until::Passed(second));
        (seen, consumers.iter().filter(|consumer| consumer.was_unchanged).count())
    };
    let stormy = || {
        std::thread::scope(|scope| {
            let asking = scope.spawn(tokens);
            let poked = scope.spawn(|| {
                let readers = many(POKED, || Reader("/jwks.json?kid=made-up"));
                drive(server.port, readers, Pace::Every(Duration::from_millis(100)), Until::Passed(SPAN)).0
            });
            let (first, _) = wave(None);
            let (again, unchanged) = wave(Some(&etag));
            let poked = poked.join().expect("readers");
            let errors: u64 = [&first, &again, &poked].iter().map(|seen| seen.broken + seen.refused.len() as u64).sum();
            (asking.join().expect("services"), errors, unchanged as f64 / again.answers() as f64)
        })
    };
    tokens();
    let (mut ratios, mut errors, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let p99 = |mut seen: Seen| quantile(&mut seen.wanted, 0.99);
        let calm = p99(tokens());
        let (seen, wrong, share) = stormy();
        let lost = seen.broken + seen.refused.len() as u64;
        let hard = p99(seen);
        eprintln!("    token p99 {calm:.2} → {hard:.2} ms   {wrong} fetches failed   {:.0} % unchanged", share * 100.0);
        ratios.push(hard / calm);
        errors.push((wrong + lost) as f64);
        unchanged.push(share * 100.0);
    }
    let what = format!("token p99 while {CONSUMERS} consumers and {POKED} poked ones refetch ÷ calm");
    report.reached(what, ratios, "", Wanted::AtMost(1.5, 1.25));
    report.reached("requests that failed meanwhile", errors, "", Wanted::AtMost(0.0, 0.0));
    report.reached("second wave answered 304", unchanged, "%", Wanted::AtLeast(90.0, 100.0));
}

//! What the number of rows does: to refreshes, while it shrinks, and each row by itself.

use std::time::{Duration, Instant};

use super::{CLIENTS, Side, devices, duel};
use crate::driver::{Pace, Until, drive, quantile};
use crate::plan::Plan;
use crate::report::{Report, Wanted, median};
use crate::subject::{Backend, Ground};

/// Refreshes spread over a large table against the same over a small one.
pub(super) fn scale(plan: &Plan, report: &mut Report, backend: Backend) {
    let few = 10_000;
    let grounds = [plan.grants, few].map(|count| {
        let ground = Ground::new(backend, 64);
        eprintln!("    adding {count} grants");
        let tokens = ground.add_grants(count);
        if backend == Backend::Postgres {
            ground.execute("VACUUM ANALYZE grants");
        }
        (ground, tokens)
    });
    let [(large, many_tokens), (small, few_tokens)] = grounds;
    let (large_server, small_server) = (large.serve(&[]), small.serve(&[]));
    let name = |count: usize| format!("refresh on {}, {count} grants", backend.name());
    let subject = Side::new(name(plan.grants), &large_server, devices(&many_tokens, CLIENTS)).with_postgres(backend);
    let control = Side::new(name(few), &small_server, devices(&few_tokens, CLIENTS)).with_postgres(backend);
    let ratios = duel(plan, report, subject, control);
    let what = format!("refresh with {} grants ÷ with {few}, {}", plan.grants, backend.name());
    report.reached(what, ratios, "", Wanted::AtLeast(0.85, 0.95));
}

/// What refreshing devices notice while rows that are over are swept away.
pub(super) fn sweep(plan: &Plan, report: &mut Report, backend: Backend) {
    const REFRESHES_A_SECOND: f64 = 200.0;
    let ground = Ground::new(backend, 64);
    let tokens = ground.add_grants(CLIENTS);
    eprintln!("    adding {} grants that are over", plan.grants);
    ground.add_grants_of(plan.grants, Duration::from_hours(120 * 24));
    if backend == Backend::Postgres {
        ground.execute("VACUUM ANALYZE grants");
    }
    let pace = Pace::Every(Duration::from_secs_f64(CLIENTS as f64 / REFRESHES_A_SECOND));
    let server = ground.serve(&[]);
    let mut callers = devices(&tokens, CLIENTS);
    let mut window = || {
        let (mut seen, back) = drive(server.port, std::mem::take(&mut callers), pace, Until::Passed(plan.round));
        callers = back;
        assert!(seen.refused.is_empty() && seen.broken == 0, "a refresh was not answered");
        quantile(&mut seen.wanted, 0.99)
    };
    // A server begins to sweep a minute after its start.
    let before = ground.count_grants();
    let calm: Vec<f64> = (0..plan.rounds * 2).map(|_| window()).collect();
    assert!((ground.count_grants() - before).abs() < 0.5, "the sweep began too early to be compared with");
    eprintln!("    refresh p99 {:.2} ms before the sweep", median(&calm));
    while ground.count_grants() > before - 0.5 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (began, first) = (Instant::now(), ground.count_grants());
    let (mut swept, mut left) = (Vec::new(), first);
    while swept.len() < plan.rounds * 2 && left > CLIENTS as f64 {
        swept.push(window());
        let now_left = ground.count_grants();
        eprintln!("    refresh p99 {:.2} ms while {:.0} rows went", swept[swept.len() - 1], left - now_left);
        assert!(now_left < left, "the sweep stands still");
        left = now_left;
    }
    let rate = (first - left) / began.elapsed().as_secs_f64();
    report.notes.push(format!("of {} rows on {} {rate:.0} were swept a second", plan.grants, backend.name()));
    let ratios = swept.iter().map(|p99| p99 / median(&calm)).collect();
    let what = format!("refresh p99 while {} rows are swept ÷ before, {}", plan.grants, backend.name());
    report.reached(what, ratios, "", Wanted::AtMost(2.0, 1.25));
}

/// What a grant occupies after a hundred rotations, by what it occupied after one; and on PostgreSQL how many of the
/// updates were heap-only.
pub(super) fn bytes_per_grant(report: &mut Report, backend: Backend) {
    const GRANTS: usize = 1000;
    let ground = Ground::new(backend, 64);
    let tokens = ground.add_grants(GRANTS);
    let server = ground.serve(&[]);
    let (_, devices) = drive(server.port, devices(&tokens, 8), Pace::AtOnce, Until::Answered(GRANTS as u64));
    let first = size_of(&ground);
    drive(server.port, devices, Pace::AtOnce, Until::Answered(99 * GRANTS as u64));
    let last = size_of(&ground);
    let what = format!("bytes a grant after 100 rotations ÷ after 1, {}", backend.name());
    report.reached(what, vec![last / first], "", Wanted::AtMost(1.3, 1.1));
    if backend == Backend::Postgres {
        // The figures reach the view when the backends that gathered them have been idle for a moment.
        std::thread::sleep(Duration::from_secs(2));
        let sql = "SELECT CAST(100.0 * n_tup_hot_upd / GREATEST(n_tup_upd, 1) AS BIGINT) AS number \
                   FROM pg_stat_user_tables WHERE relname = 'grants'";
        let hot = ground.number(sql);
        report.reached("updates of grants that were heap-only", vec![hot], "%", Wanted::AtLeast(90.0, 99.0));
    }
}

fn size_of(ground: &Ground) -> f64 {
    if ground.url.starts_with("sqlite:") {
        let sql = "SELECT CAST((SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) \
                   AS BIGINT) AS number";
        return ground.number(sql);
    }
    ground.number("SELECT CAST(pg_total_relation_size('grants') AS BIGINT) AS number")
}

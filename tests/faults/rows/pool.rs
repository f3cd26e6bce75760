//! F-9: rows are locked by somebody who does not let go; first one row, then more of them than there are connections.
//! On SQLite the lock is always the whole file's.

use std::thread;
use std::time::{Duration, Instant};

use super::{must_recover, work_for};
use crate::client::Honest;
use crate::database::Backend;
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Site, targets};
use crate::report::{Run, span};
use crate::watch::{Watch, failed, percentile};

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[("database.connections", "4")]);
    let instance = site.start();
    let everybody = targets(std::slice::from_ref(&instance));
    let mut hot = Fleet::log_in(&everybody, &site.emails, 20, run.seed);
    let mut cool = Fleet::log_in(&everybody, &site.emails, 10, run.seed + 1);
    let handles: Vec<_> = hot.iter().map(|client| client.holds().unwrap().handle).collect();
    let pace = Pace::every(100..400);
    let documents = Watch::start(instance.address, http::get("/jwks.json"), Duration::from_millis(20));
    let held_for = run.either(Duration::from_secs(4), Duration::from_secs(20));

    if run.backend == Backend::Postgres {
        let rest = hot.split_off(1);
        let held = site.database.hold(&handles[..1]);
        let (locked, others) = (Fleet::start(hot, &pace, run.seed), Fleet::start(cool, &pace, run.seed + 2));
        let began = Instant::now();
        work_for(run, &others, held_for, "one row is locked");
        let ended = Instant::now();
        drop(held);
        thread::sleep(Duration::from_secs(1));
        (hot, cool) = (locked.settle(), others.settle());
        let (served, tried, worst) = outcomes(&cool, began, ended);
        run.figure(format_args!("one row locked: others served {served} of {tried} times, worst {}", span(worst)));
        run.must(served == tried, "a locked row held up other grants");
        hot.extend(rest);
    }

    let held = site.database.hold(&handles);
    let (locked, others) = (Fleet::start(hot, &pace, run.seed + 3), Fleet::start(cool, &pace, run.seed + 4));
    let began = Instant::now();
    work_for(run, &others, held_for, "twenty rows are locked");
    let ended = Instant::now();
    drop(held);
    thread::sleep(run.either(Duration::from_secs(2), Duration::from_secs(5)));
    let mut clients = locked.settle();
    let cool = others.settle();
    let (served, tried, worst) = outcomes(&cool, began, ended);
    run.figure(format_args!(
        "20 locked for {held_for:?}: others served {served} of {tried} times, worst answer {}",
        span(worst)
    ));
    clients.extend(cool);
    must_recover(run, &clients, ended);
    let documents = documents.end();
    run.figure(format_args!("JWKS p99 {}", span(percentile(&documents, 0.99))));
    run.must(failed(&documents) == 0, "the JWKS was not always served");
    run.judge(&clients, &site.database);
}

/// Requests that began in that time: those answered 200, all of them, and the longest wait for an answer.
fn outcomes(clients: &[Honest], from: Instant, to: Instant) -> (usize, usize, Duration) {
    let events = clients.iter().flat_map(|client| &client.history);
    let within: Vec<_> = events.filter(|event| event.started >= from && event.started <= to).collect();
    let served = within.iter().filter(|event| event.status() == Some(200)).count();
    (served, within.len(), within.iter().map(|event| event.took()).max().unwrap_or_default())
}

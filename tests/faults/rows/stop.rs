//! F-19: SIGTERM. What runs is finished, the exit code is 0, a client that tries once more elsewhere sees no failure; a
//! second signal ends the server at once.

use std::thread;
use std::time::{Duration, Instant};

use super::instances_on;
use crate::client::{Deed, Honest, Outcome};
use crate::database::Backend;
use crate::fleet::{Fleet, Pace};
use crate::http::NoAnswer;
use crate::instance::{Instance, Site, targets};
use crate::process::Signal;
use crate::report::{Run, span};
use crate::services::Postgres;

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    in_flight_is_finished(run, &site);
    a_second_signal_ends_it(run, &site);
    if run.backend == Backend::Postgres {
        a_hanging_database_does_not_hold_it(run, &site);
    }
    in_turns_under_load(run, &site);
}

/// A request that waits for a lock when the signal comes is answered, and only then the server ends.
fn in_flight_is_finished(run: &mut Run, site: &Site) {
    let mut instance = site.start();
    let mut client = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, 1, run.seed).remove(0);
    let held = site.database.hold(&[client.holds().unwrap().handle]);
    let working = thread::spawn(move || {
        let done = client.refresh();
        (client, done)
    });
    thread::sleep(Duration::from_millis(300));
    let told_at = Instant::now();
    instance.signal(Signal::TERM);
    thread::sleep(Duration::from_secs(1));
    run.must(instance.is_alive(), "the server ended before its request");
    drop(held);
    let (client, done) = working.join().unwrap();
    let tries = client.history.iter().filter(|event| event.deed == Deed::Refresh).count();
    run.must(done && tries == 1, format_args!("the request in flight took {tries} tries"));
    let code = instance.wait(Duration::from_secs(15)).and_then(|status| status.code());
    run.figure(format_args!("in flight answered, exit code {code:?} after {}", span(told_at.elapsed())));
    run.must(code == Some(0), format_args!("the exit code was {code:?}"));
}

fn a_second_signal_ends_it(run: &mut Run, site: &Site) {
    let mut instance = site.start();
    let mut client = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, 1, run.seed).remove(0);
    let held = site.database.hold(&[client.holds().unwrap().handle]);
    let working = thread::spawn(move || client.refresh());
    thread::sleep(Duration::from_millis(300));
    instance.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    let told_at = Instant::now();
    instance.signal(Signal::TERM);
    let status = instance.wait(Duration::from_secs(15));
    run.figure(format_args!("the second signal ended it after {}", span(told_at.elapsed())));
    run.must(
        status.is_some() && told_at.elapsed() <= Duration::from_secs(2),
        "the second signal did not end it at once",
    );
    drop(held);
    // Nobody serves this client any more, and nobody minds that it goes on asking for a while.
    drop(working);
}

fn a_hanging_database_does_not_hold_it(run: &mut Run, site: &Site) {
    let mut instance = site.start();
    Postgres::of_the_run().freeze();
    // Its check of the database begins within a second, and hangs.
    thread::sleep(Duration::from_millis(1_500));
    let told_at = Instant::now();
    instance.signal(Signal::TERM);
    let status = instance.wait(Duration::from_secs(15));
    Postgres::of_the_run().thaw();
    run.figure(format_args!("beside a frozen PostgreSQL it ended after {}", span(told_at.elapsed())));
    run.must(status.is_some_and(|status| status.code() == Some(0)), "a frozen PostgreSQL keeps the server from ending");
}

/// Instances are stopped and started one after the other; each client tries a failed request once more.
fn in_turns_under_load(run: &mut Run, site: &Site) {
    let mut instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(16, 40), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(20..150), run.seed);
    let (stops, count) = (run.either(4, 30), instances.len());
    let mut slowest = Duration::ZERO;
    for nth in 0..stops {
        thread::sleep(Duration::from_millis(400));
        let instance = &mut instances[nth % count];
        let told_at = Instant::now();
        instance.signal(Signal::TERM);
        let code = instance.wait(Duration::from_secs(15)).and_then(|status| status.code());
        slowest = slowest.max(told_at.elapsed());
        run.must(code == Some(0), format_args!("under load the exit code was {code:?}"));
        instance.start_again(site);
        run.progress(format_args!("{} of {stops} stops", nth + 1));
    }
    let clients = fleet.settle();
    let (closed, in_a_row) = broken(&clients);
    run.figure(format_args!("{stops} stops under load, the slowest took {}", span(slowest)));
    run.figure(format_args!("{closed} requests lost their connection, at most {in_a_row} tries in a row unanswered"));
    // With one server there is nobody else to try, so only the connections in use count.
    run.must(count == 1 || in_a_row <= 1, "trying once more was not enough");
    run.judge(&clients, &site.database);
}

/// How many requests lost their connection, and the most tries in a row that nobody answered. A 503 is an answer: it
/// says when to come back.
fn broken(clients: &[Honest]) -> (usize, usize) {
    let (mut closed, mut longest) = (0, 0);
    for client in clients {
        let mut in_a_row = 0;
        for event in client.history.iter().filter(|event| event.deed == Deed::Refresh) {
            closed += usize::from(event.outcome == Outcome::Unanswered(NoAnswer::Closed));
            in_a_row = if event.status().is_none() { in_a_row + 1 } else { 0 };
            longest = longest.max(in_a_row);
        }
    }
    (closed, longest)
}

//! F-2: answers are dropped after the server wrote them. F-3: requests arrive twice, the second one late.
//!
//! The lateness of F-3 stays below the time between two refreshes of a client. Once the client has used the next
//! token, a copy of the one before cannot be told from a thief's, and ends the grant; F-5 sees to that.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{instances_on, work_for};
use crate::fleet::{Fleet, Pace};
use crate::instance::{Instance, Site, targets};
use crate::proxy::{Faults, Kind, Proxy};
use crate::report::Run;

fn behind_proxies(run: &Run, site: &Site) -> (Vec<Instance>, Vec<Proxy>) {
    let instances: Vec<_> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let proxies = instances.iter().map(|instance| Proxy::start(Kind::Http, instance.address, run.seed)).collect();
    (instances, proxies)
}

pub fn dropped(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let (instances, proxies) = behind_proxies(run, &site);
    let mut clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(24, 48), run.seed);
    for client in &mut clients {
        client.aim(proxies.iter().map(|proxy| proxy.address).collect());
    }
    for proxy in &proxies {
        proxy.set(Faults { drop_answer: 0.3, ..Faults::default() });
    }
    let fleet = Fleet::start(clients, &Pace::every(0..20), run.seed);
    let wanted = run.either(500, 10_000);
    let dropped = || proxies.iter().map(|proxy| proxy.done().dropped.load(Ordering::Relaxed)).sum::<u64>();
    while dropped() < wanted && !fleet.is_over() {
        thread::sleep(Duration::from_millis(50));
        run.progress(format_args!("{} of {wanted} answers dropped", dropped()));
    }
    for proxy in &proxies {
        proxy.set(Faults::default());
    }
    let clients = fleet.settle();
    run.figure(format_args!("{} answers 200 dropped", dropped()));
    run.judge(&clients, &site.database);
}

pub fn duplicated(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let (instances, proxies) = behind_proxies(run, &site);
    let mut clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(40, 120), run.seed);
    for client in &mut clients {
        client.aim(proxies.iter().map(|proxy| proxy.address).collect());
    }
    let late = run.either(Duration::from_millis(900), Duration::from_secs(9));
    for proxy in &proxies {
        proxy.set(Faults { duplicate: 0.5, duplicate_within: late, ..Faults::default() });
    }
    let pace = run.either(Pace::every(1_500..2_000), Pace::every(10_000..12_000));
    let fleet = Fleet::start(clients, &pace, run.seed);
    work_for(run, &fleet, run.either(Duration::from_secs(4), Duration::from_secs(75)), "sending twice");
    for proxy in &proxies {
        proxy.set(Faults::default());
        proxy.settle();
    }
    let clients = fleet.settle();
    let copies: Vec<_> = proxies.iter().flat_map(|proxy| proxy.done().copies.lock().unwrap().clone()).collect();
    let sum = |count: fn(&Proxy) -> u64| proxies.iter().map(count).sum::<u64>();
    let twice = sum(|proxy| proxy.done().duplicated.load(Ordering::Relaxed));
    let served = copies.iter().filter(|copy| copy.given().is_some()).count();
    run.figure(format_args!("{twice} requests sent twice, the second at most {late:?} late and {served} times served"));
    run.must(twice > 0, "nothing was sent twice");
    run.judge_with(&clients, &copies, &site.database);
}

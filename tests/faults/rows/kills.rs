//! F-1: a random instance is killed outright in a storm of refreshes, and started again, over and over.

use std::thread;
use std::time::Duration;

use super::instances_on;
use crate::chance::Chance;
use crate::fleet::{Fleet, Pace};
use crate::instance::{Instance, Site, targets};
use crate::report::{Run, span};

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let mut instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(16, 40), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(20..200).with_revokes(0.01), run.seed);
    let mut chance = Chance::new(run.seed);
    let kills = run.either(10, 100);
    let (mut slowest, mut all) = (Duration::ZERO, Duration::ZERO);
    for nth in 1..=kills {
        thread::sleep(chance.between(Duration::from_millis(200), Duration::from_millis(900)));
        let victim = chance.below(instances.len());
        instances[victim].kill();
        let ready = instances[victim].start_again(&site);
        (slowest, all) = (slowest.max(ready), all + ready);
        run.progress(format_args!("{nth} of {kills} kills, {} refreshes", fleet.turns()));
    }
    let clients = fleet.settle();
    run.figure(format_args!("{kills} kills of {} instances", instances.len()));
    run.figure(format_args!("ready again after {} on average, {} at worst", span(all / kills), span(slowest)));
    run.judge(&clients, &site.database);
}

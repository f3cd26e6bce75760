//! A deterministic simulation: two instances over one real database, honest clients, thieves, revocations, restarts and
//! faults at every store call, all chosen by a seed. A seed that breaks a promise is printed with its course.
//!
//! `COUNTERSIGN_SIMULATION_SEEDS=10000` plays more seeds, `COUNTERSIGN_SIMULATION_SEED=7` that one alone.

mod call;
mod choice;
mod plot;
mod quiet;
mod random;
mod run;
mod stage;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::app::variable;
use run::Run;
use stage::Stage;

const SEEDS: u64 = 300;
/// What must have happened to some call or other for the seeds to mean anything.
const EXPECTED: [&str; 8] = [
    "served",
    "served a thief",
    "ended",
    "found another row",
    "grant.ended",
    "grant.replayed",
    "capacity.deadline_passed",
    "capacity.store_unavailable",
];

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: a number")))
}

#[test]
fn every_promise_survives_every_seed() {
    let seeds: Vec<_> = match number("COUNTERSIGN_SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("COUNTERSIGN_SIMULATION_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let began = Instant::now();
    let left = Mutex::new(seeds.iter());
    let broken = Mutex::new(Vec::new());
    let outcomes = Mutex::new(BTreeMap::new());
    // More workers than cores: each waits for its own disk.
    let workers = std::thread::available_parallelism().map_or(2, |cores| 2 * cores.get()).min(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut stage = Stage::build();
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(seed) = next.filter(|_| broken.lock().unwrap().is_empty()) else { break };
                    let (course, outcome) = Run::of_seed(&mut stage, *seed);
                    for (name, count) in &course.outcomes {
                        *outcomes.lock().unwrap().entry(*name).or_insert(0) += count;
                    }
                    if let Err(promise) = outcome {
                        broken.lock().unwrap().push((*seed, promise, course));
                    } else if seeds.len() == 1 {
                        println!("{}", course.trace.join("\n"));
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    println!("{} seeds in {:.1} s on {workers} workers: {outcomes:?}", seeds.len(), began.elapsed().as_secs_f64());
    if let Some((seed, promise, course)) = broken.into_inner().unwrap().into_iter().min_by_key(|(seed, ..)| *seed) {
        panic!("COUNTERSIGN_SIMULATION_SEED={seed}: {promise}, after\n{}", course.trace.join("\n"));
    }
    if seeds.len() as u64 >= SEEDS {
        for expected in EXPECTED {
            assert!(outcomes.contains_key(expected), "no call {expected}: the seeds do not get there");
        }
    }
}

#[test]
fn a_seed_takes_the_same_course_every_time() {
    let courses = [(); 2].map(|()| {
        let mut stage = Stage::build();
        (1_000_000..1_000_010).map(|seed| Run::of_seed(&mut stage, seed).0).collect::<Vec<_>>()
    });
    assert_eq!(courses[0], courses[1]);
}

//! Breadth first through every state, so that the first counterexample is a shortest one. Its steps name tokens as they
//! stand before the step; siblings are numbered anew after each.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::state::State;
use super::world::{Broken, Step, World};

/// A hash that is quick in a build without optimisation, where the standard one takes most of a search's time. States are
/// ours, so nobody can choose them to collide.
#[derive(Default)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant.unsigned_abs() as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What a search found.
pub struct Found {
    pub states: usize,
    pub steps: usize,
    pub took: Duration,
    /// The promise that was broken and a shortest way there.
    pub counterexample: Option<(Broken, Vec<Step>)>,
}

/// Looks at every state that can be reached, until a promise is broken.
pub fn search(world: &World) -> Found {
    let began = Instant::now();
    let first = State::first().canonical();
    let mut numbers: HashMap<State, usize, BuildHasherDefault<QuickHasher>> = HashMap::default();
    numbers.insert(first, 0);
    // Each state with the one that it was first reached from.
    let mut reached: Vec<(State, usize, Option<Step>)> = vec![(first, 0, None)];
    let (mut at, mut steps) = (0, 0);
    let mut counterexample = None;
    'all: while at < reached.len() {
        for (step, next, broken) in world.steps(&reached[at].0) {
            steps += 1;
            if let Some(broken) = broken {
                counterexample = Some((broken, way_to(&reached, at, step)));
                break 'all;
            }
            let next = next.canonical();
            let fresh = reached.len();
            numbers.entry(next).or_insert_with(|| {
                reached.push((next, at, Some(step)));
                fresh
            });
        }
        at += 1;
    }
    Found { states: reached.len(), steps, took: began.elapsed(), counterexample }
}

fn way_to(reached: &[(State, usize, Option<Step>)], mut at: usize, last: Step) -> Vec<Step> {
    let mut way = vec![last];
    while let (_, from, Some(step)) = &reached[at] {
        way.push(*step);
        at = *from;
    }
    way.reverse();
    way
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, took, counterexample } = self;
        write!(f, "{states} states, {steps} steps, {:.2} s: ", took.as_secs_f64())?;
        let Some((broken, way)) = counterexample else { return f.write_str("holds") };
        write!(f, "{broken:?} in {} steps", way.len())?;
        for (nth, step) in (1..).zip(way) {
            write!(f, "\n    {nth:>2}. {step}")?;
        }
        Ok(())
    }
}

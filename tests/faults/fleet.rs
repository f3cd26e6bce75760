//! Many honest clients at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::client::{Honest, Targets};

/// What they do.
#[derive(Clone)]
pub struct Pace {
    /// How long each waits between refreshes.
    pub pause: Range<Duration>,
    /// The share of turns in which one revokes its grant and logs in anew.
    pub revokes: f64,
}

impl Pace {
    /// A pause between so many and so many milliseconds.
    pub fn every(pause: Range<u64>) -> Self {
        Self { pause: Duration::from_millis(pause.start)..Duration::from_millis(pause.end), revokes: 0.0 }
    }

    pub fn with_revokes(self, revokes: f64) -> Self {
        Self { revokes, ..self }
    }
}

/// The clients at work.
pub struct Fleet {
    stop: Arc<AtomicBool>,
    pub turns: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Honest>>,
}

impl Fleet {
    /// Logs clients in, one after the other.
    pub fn log_in(targets: &Targets, emails: &[String], count: usize, seed: u64) -> Vec<Honest> {
        let mut seeds = Chance::new(seed);
        (0..count)
            .map(|nth| {
                let mut client = Honest::new(targets.clone(), &emails[nth % emails.len()], seeds.next());
                assert!(client.log_in(), "the first log-in failed: {:?}", client.log_outs);
                client
            })
            .collect()
    }

    /// Sets them to work.
    pub fn start(clients: Vec<Honest>, pace: &Pace, seed: u64) -> Self {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut seeds = Chance::new(seed ^ 0x5EED);
        let threads = clients
            .into_iter()
            .map(|client| {
                let (stop, turns, pace, chance) =
                    (stop.clone(), turns.clone(), pace.clone(), Chance::new(seeds.next()));
                thread::spawn(move || work(client, &stop, &turns, &pace, chance))
            })
            .collect();
        Self { stop, turns, threads }
    }

    /// How often a client refreshed so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether every client has stopped, which none does of itself unless it was logged out or gave up.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets every client finish what it does and refresh once more; then they are at rest.
    pub fn settle(self) -> Vec<Honest> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("a client panicked")).collect()
    }
}

fn work(mut client: Honest, stop: &AtomicBool, turns: &AtomicU64, pace: &Pace, mut chance: Chance) -> Honest {
    loop {
        let next = Instant::now() + chance.between(pace.pause.start, pace.pause.end);
        while Instant::now() < next && !stop.load(Ordering::SeqCst) {
            thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
        }
        let last = stop.load(Ordering::SeqCst);
        if chance.happens(pace.revokes) && !last {
            if !client.revoke() || !client.log_in() {
                return client;
            }
        } else if !client.refresh() {
            return client;
        }
        turns.fetch_add(1, Ordering::Relaxed);
        if last {
            return client;
        }
    }
}

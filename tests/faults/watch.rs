//! What a row watches beside its clients: whether something is served all the time, whether readiness tells the truth, what the
//! process takes of the machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::ANSWER_LIMIT;
use crate::http::Wire;
use crate::process::Usage;

/// One look.
#[derive(Clone, Copy)]
pub struct Look {
    pub at: Instant,
    pub took: Duration,
    /// 0 when there was no answer.
    pub status: u16,
}

/// Asks for the same again and again.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Look>>,
}

impl Watch {
    pub fn start(address: SocketAddr, request: Vec<u8>, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut wire, mut looks) = (Wire::new(address), Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let at = Instant::now();
                let status = wire.exchange(&request, ANSWER_LIMIT).map_or(0, |answer| answer.status);
                looks.push(Look { at, took: at.elapsed(), status });
                thread::sleep(every);
            }
            looks
        });
        Self { stop, thread }
    }

    pub fn end(self) -> Vec<Look> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// How many looks were not answered 200.
pub fn failed(looks: &[Look]) -> usize {
    looks.iter().filter(|look| look.status != 200).count()
}

/// The time within which that share of looks was answered.
pub fn percentile(looks: &[Look], share: f64) -> Duration {
    let mut times: Vec<_> = looks.iter().map(|look| look.took).collect();
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// How long after `from` the first look with that status began.
pub fn first(looks: &[Look], from: Instant, status: u16) -> Option<Duration> {
    looks.iter().find(|look| look.at >= from && look.status == status).map(|look| look.at.duration_since(from))
}

/// Watches what a process takes.
pub struct Gauge {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Usage>,
}

impl Gauge {
    pub fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut worst = Usage::default();
            while !stopped.load(Ordering::SeqCst) {
                worst = worst.worst(Usage::of(pid));
                thread::sleep(Duration::from_millis(50));
            }
            worst
        });
        Self { stop, thread }
    }

    /// The most that it had of each.
    pub fn end(self) -> Usage {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

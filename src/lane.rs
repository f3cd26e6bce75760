//! A lane: a few threads for one kind of work, and a bounded queue in front of them, so that a flood of one kind does
//! not drown another. Whoever finds the queue full is told so at once; whoever waited too long is not served late.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, Deadline};
use crate::reason::{CapacityRefusal, Refusal};

type Task<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Threads with a state of type `S` each, and their queue.
pub struct Lane<S> {
    name: &'static str,
    queue: SyncSender<Task<S>>,
    waiting: Arc<AtomicUsize>,
    longest_wait: Duration,
    clock: Clock,
}

/// How a lane is built.
pub struct LaneShape {
    /// For metrics and thread names.
    pub name: &'static str,
    /// How many threads.
    pub threads: usize,
    /// How many may wait.
    pub queue: usize,
    /// How long one may wait.
    pub longest_wait: Duration,
}

impl<S: Send + 'static> Lane<S> {
    /// Starts the threads, each with the state that `make_state` makes.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(shape: &LaneShape, clock: &Clock, make_state: impl Fn() -> S) -> std::io::Result<Self> {
        let (queue, tasks) = sync_channel(shape.queue);
        let tasks = Arc::new(Mutex::new(tasks));
        for _ in 0..shape.threads.max(1) {
            let (tasks, state) = (tasks.clone(), make_state());
            std::thread::Builder::new().name(format!("lane-{}", shape.name)).spawn(move || run(&tasks, state))?;
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        Ok(Self { name: shape.name, queue, waiting, longest_wait: shape.longest_wait, clock: clock.clone() })
    }

    /// Queues `work`; the receiver gets its result, or a refusal when it waited too long, or nothing if it panicked.
    ///
    /// # Errors
    /// [`CapacityRefusal::LaneFull`].
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Refusal>>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let patience = Deadline::after(&self.clock, self.longest_wait);
        let waiting = self.waiting.clone();
        let task: Task<S> = Box::new(move |state| {
            waiting.fetch_sub(1, Ordering::Relaxed);
            let result = if patience.has_passed() { Err(CapacityRefusal::DeadlinePassed.into()) } else { work(state) };
            // The asker may have gone away; the work stands either way.
            let _ = answer.send(result);
        });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        match self.queue.try_send(task) {
            Ok(()) => Ok(answered),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                Err(CapacityRefusal::LaneFull.into())
            }
        }
    }

    /// For metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn run<S>(tasks: &Mutex<Receiver<Task<S>>>, mut state: S) {
    loop {
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = next else { return };
        // ASVS 16.5.4: a defect in one request does not take the lane with it; the request answers 500.
        let _ = catch_unwind(AssertUnwindSafe(|| task(&mut state)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::reason::Reason;

    fn lane(clock: &Clock, queue: usize) -> Lane<()> {
        let shape = LaneShape { name: "test", threads: 1, queue, longest_wait: Duration::from_secs(1) };
        Lane::start(&shape, clock, || ()).unwrap()
    }

    #[test]
    fn a_full_lane_says_so_at_once_and_a_late_one_does_not_run() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let lane = lane(&clock, 1);
        let (release, held) = sync_channel::<()>(0);
        let (started, has_started) = sync_channel::<()>(0);
        let first = lane
            .submit(move |()| {
                started.send(()).unwrap();
                held.recv().unwrap();
                Ok(1)
            })
            .unwrap();
        has_started.recv().unwrap();
        let late = lane.submit(|()| Ok(2)).unwrap();
        let full = lane.submit(|()| Ok(3)).err().unwrap();
        assert_eq!(full.reason, Reason::Capacity(CapacityRefusal::LaneFull));
        clock.advance(Duration::from_secs(2));
        release.send(()).unwrap();
        assert_eq!(first.blocking_recv().unwrap().unwrap(), 1);
        let late = late.blocking_recv().unwrap().err().unwrap();
        assert_eq!(late.reason, Reason::Capacity(CapacityRefusal::DeadlinePassed));
    }

    #[test]
    fn a_panic_ends_one_request_and_not_the_lane() {
        let lane = lane(&Clock::system(), 4);
        let broken = lane.submit::<()>(|()| panic!("a defect")).unwrap();
        assert!(broken.blocking_recv().is_err());
        assert_eq!(lane.submit(|()| Ok(7)).unwrap().blocking_recv().unwrap().unwrap(), 7);
    }
}

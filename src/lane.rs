//! A lane: a few threads for one kind of work, and a bounded queue in front of them, so that a flood of one kind does
//! not drown another. Whoever finds the queue full is told so at once; whoever waited too long is not served late.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::clock::{Clock, Deadline};
use crate::metrics::LaneMetrics;
use crate::reason::{CapacityRefusal, Refusal};

type Task<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A task in a lane, as its asker sees it.
pub struct Ticket<T> {
    /// Its result, or a refusal when it waited too long, or nothing if it panicked.
    pub answered: oneshot::Receiver<Result<T, Refusal>>,
    /// How long it may wait.
    pub longest_wait: Duration,
    /// Set by whoever comes first: a thread that begins it, or an asker that gives it up.
    claimed: Arc<AtomicBool>,
}

impl<T> Ticket<T> {
    /// Gives up on a task that still waits; `false` when a thread has it already.
    pub fn give_up(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }
}

/// Threads with a state of type `S` each, and their queue.
pub struct Lane<S> {
    queue: Sender<Task<S>>,
    longest_wait: Duration,
    clock: Clock,
    metrics: LaneMetrics,
}

/// How a lane is built.
pub struct LaneShape {
    /// For thread names.
    pub name: &'static str,
    /// How many threads.
    pub threads: usize,
    /// How many may wait.
    pub queue: usize,
    /// How long one may wait.
    pub longest_wait: Duration,
    /// How readily its threads give way to others: 0 as others do, up to 19.
    pub niceness: i32,
}

impl<S: Send + 'static> Lane<S> {
    /// Starts the threads, each with the state that `make_state` makes.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(
        shape: &LaneShape,
        clock: &Clock,
        metrics: LaneMetrics,
        make_state: impl Fn() -> S,
    ) -> std::io::Result<Self> {
        let (queue, tasks) = bounded(shape.queue);
        for _ in 0..shape.threads.max(1) {
            let (tasks, state, niceness) = (tasks.clone(), make_state(), shape.niceness);
            std::thread::Builder::new().name(format!("lane-{}", shape.name)).spawn(move || {
                give_way(niceness);
                run(&tasks, state);
            })?;
        }
        Ok(Self { queue, longest_wait: shape.longest_wait, clock: clock.clone(), metrics })
    }

    /// Queues `work`. Once its longest wait is over it is not begun any more; the asker need not wait for a thread to say
    /// so, which may be long in coming when all of them are held up.
    ///
    /// # Errors
    /// [`CapacityRefusal::LaneFull`].
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Ticket<T>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let patience = Deadline::after(&self.clock, self.longest_wait);
        let (metrics, clock, queued_at) = (self.metrics.clone(), self.clock.clone(), self.clock.monotonic());
        let claimed = Arc::new(AtomicBool::new(false));
        let claim = claimed.clone();
        let task: Task<S> = Box::new(move |thread| {
            metrics.record_taken(clock.monotonic().saturating_sub(queued_at));
            let late = claim.swap(true, Ordering::AcqRel) || patience.has_passed();
            let result = if late { Err(CapacityRefusal::DeadlinePassed.into()) } else { work(thread) };
            // The asker may have gone away; the work stands either way.
            let _ = answer.send(result);
        });
        self.metrics.record_queued();
        match self.queue.try_send(task) {
            Ok(()) => Ok(Ticket { answered, longest_wait: self.longest_wait, claimed }),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.record_refused();
                Err(CapacityRefusal::LaneFull.into())
            }
        }
    }
}

/// Lowers the calling thread's claim to the processor. A system that refuses leaves it as it was: slower, not wrong.
fn give_way(niceness: i32) {
    // On Linux niceness belongs to the thread.
    if niceness != 0 && rustix::process::setpriority_process(None, niceness).is_err() {
        tracing::warn!(niceness, "the priority of a thread could not be lowered");
    }
}

fn run<S>(tasks: &Receiver<Task<S>>, mut state: S) {
    while let Ok(task) = tasks.recv() {
        // ASVS 16.5.4: a defect in one request does not take the lane with it; the request answers 500.
        let _ = catch_unwind(AssertUnwindSafe(|| task(&mut state)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::clock::Timestamp;
    use crate::metrics::Metrics;
    use crate::reason::Reason;

    fn lane(clock: &Clock, queue: usize) -> Lane<()> {
        let longest_wait = Duration::from_secs(1);
        let shape = LaneShape { name: "test", threads: 1, queue, longest_wait, niceness: 0 };
        Lane::start(&shape, clock, Metrics::new().unwrap().lane("test"), || ()).unwrap()
    }

    /// Keeps the one thread of a lane busy until something is sent.
    fn hold(lane: &Lane<()>) -> (Ticket<i32>, SyncSender<()>) {
        let (release, held) = sync_channel::<()>(0);
        let (started, has_started) = sync_channel::<()>(0);
        let work = move |(): &mut ()| {
            started.send(()).unwrap();
            held.recv().unwrap();
            Ok(1)
        };
        let ticket = lane.submit(work).unwrap();
        has_started.recv().unwrap();
        (ticket, release)
    }

    #[test]
    fn a_full_lane_says_so_at_once_and_a_late_one_does_not_run() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let lane = lane(&clock, 1);
        let (first, release) = hold(&lane);
        let late = lane.submit(|()| Ok(2)).unwrap();
        let full = lane.submit(|()| Ok(3)).err().unwrap();
        assert_eq!(full.reason, Reason::Capacity(CapacityRefusal::LaneFull));
        clock.advance(Duration::from_secs(2));
        release.send(()).unwrap();
        assert_eq!(first.answered.blocking_recv().unwrap().unwrap(), 1);
        let late = late.answered.blocking_recv().unwrap().err().unwrap();
        assert_eq!(late.reason, Reason::Capacity(CapacityRefusal::DeadlinePassed));
    }

    #[test]
    fn what_was_given_up_while_it_waited_is_not_begun_and_what_was_begun_is_not_given_up() {
        let lane = lane(&Clock::system(), 4);
        let (begun, release) = hold(&lane);
        let waiting = lane.submit::<()>(|()| panic!("it must not be begun")).unwrap();
        assert!(waiting.give_up() && !begun.give_up());
        release.send(()).unwrap();
        assert_eq!(begun.answered.blocking_recv().unwrap().unwrap(), 1);
        let refused = waiting.answered.blocking_recv().unwrap().err().unwrap();
        assert_eq!(refused.reason, Reason::Capacity(CapacityRefusal::DeadlinePassed));
    }

    #[test]
    fn a_panic_ends_one_request_and_not_the_lane() {
        let lane = lane(&Clock::system(), 4);
        let broken = lane.submit::<()>(|()| panic!("a defect")).unwrap();
        assert!(broken.answered.blocking_recv().is_err());
        assert_eq!(lane.submit(|()| Ok(7)).unwrap().answered.blocking_recv().unwrap().unwrap(), 7);
    }
}

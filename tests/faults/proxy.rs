//! A TCP proxy that misbehaves on request. It may stand in front of a server, of PostgreSQL or of Redis; its
//! faults can be changed while it runs.
//!
//! As [`Kind::Bytes`] it passes bytes on: late, slowly, not at all, or only so many of them. As [`Kind::Http`] it
//! understands where a request and its answer end, so it can deliver a request and drop the answer, or send a request
//! twice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::client::{Deed, Event, Outcome, TokenName};
use crate::http::{self, Message, Wire, read_message};

/// How long a pump sleeps in a read before it looks at its orders again.
const GLANCE: Duration = Duration::from_millis(20);

/// What it understands of what it carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    Http,
}

/// What it does wrong; nothing by default.
#[derive(Clone, Default)]
pub struct Faults {
    /// New connections are reset at once.
    pub refused: bool,
    /// Nothing passes, and nothing is closed.
    pub frozen: bool,
    /// Everything comes so much later.
    pub delay: Duration,
    /// At most so many bytes a second pass in each direction.
    pub bytes_per_second: Option<u64>,
    /// A connection is reset once so many bytes have passed, both directions together.
    pub cut_after: Option<u64>,
    /// The share of delivered requests whose answer is dropped, and the connection with it.
    pub drop_answer: f64,
    /// The share of requests that are sent a second time.
    pub duplicate: f64,
    /// The second one comes so much later at most.
    pub duplicate_within: Duration,
}

/// What it has done.
#[derive(Default)]
pub struct Done {
    /// Answers 200 that were dropped.
    pub dropped: AtomicU64,
    /// Requests that were sent twice.
    pub duplicated: AtomicU64,
    /// The second sendings of refreshes, and what they were answered.
    pub copies: Mutex<Vec<Event>>,
}

struct Shared {
    kind: Kind,
    target: SocketAddr,
    faults: Mutex<Faults>,
    chance: Mutex<Chance>,
    /// Connections of an older era are reset.
    era: AtomicU64,
    stopped: AtomicBool,
    waiting: AtomicU64,
    done: Done,
}

/// A running proxy; dropping it resets its connections.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(kind: Kind, target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            kind,
            target,
            faults: Mutex::default(),
            chance: Mutex::new(Chance::new(seed)),
            era: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            done: Done::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                thread::spawn(move || shared.carry(stream));
            }
        });
        Self { address, shared }
    }

    /// What it does wrong from now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    /// Resets every connection that is open.
    pub fn reset(&self) {
        self.shared.era.fetch_add(1, Ordering::SeqCst);
    }

    pub fn done(&self) -> &Done {
        &self.shared.done
    }

    /// Waits until no second sending is on its way.
    pub fn settle(&self) {
        while self.shared.waiting.load(Ordering::SeqCst) > 0 {
            thread::sleep(GLANCE);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.reset();
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

/// Closes with a reset rather than politely.
pub fn reset(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

impl Shared {
    fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    fn carry(self: Arc<Self>, inner: TcpStream) {
        let target = self.target;
        if self.faults().refused {
            return reset(inner);
        }
        let Ok(outer) = http::connect(target, Duration::from_secs(5)) else { return reset(inner) };
        let _ = inner.set_nodelay(true);
        match self.kind {
            Kind::Http => self.carry_requests(inner, outer),
            Kind::Bytes => self.carry_bytes(inner, outer),
        }
    }

    fn carry_bytes(self: Arc<Self>, inner: TcpStream, outer: TcpStream) {
        let era = self.era.load(Ordering::SeqCst);
        for stream in [&inner, &outer] {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            let _ = stream.set_read_timeout(Some(GLANCE));
        }
        let (ends, passed) = (Arc::new((inner, outer)), Arc::new(AtomicU64::new(0)));
        let cut = Arc::new(AtomicBool::new(false));
        let back = {
            let (shared, ends, passed, cut) = (self.clone(), ends.clone(), passed.clone(), cut.clone());
            thread::spawn(move || shared.pump((&ends.1, &ends.0), era, &passed, &cut))
        };
        self.pump((&ends.0, &ends.1), era, &passed, &cut);
        let _ = back.join();
        // Both ends are dropped here, with no time to linger: that is a reset.
    }

    /// Passes bytes from one end to the other until either closes or the connection is to be cut.
    fn pump(&self, (from, to): (&TcpStream, &TcpStream), era: u64, passed: &AtomicU64, cut: &AtomicBool) {
        let (mut from, mut to) = (from, to);
        let mut chunk = vec![0; 16 * 1024];
        loop {
            if cut.load(Ordering::SeqCst) || self.era.load(Ordering::SeqCst) != era {
                cut.store(true, Ordering::SeqCst);
                return;
            }
            let faults = self.faults();
            if faults.frozen {
                thread::sleep(GLANCE);
                continue;
            }
            let most = faults.bytes_per_second.map_or(chunk.len(), |rate| usize::try_from(rate / 20).unwrap().max(1));
            let most = most.min(chunk.len());
            let count = match from.read(&mut chunk[..most]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            thread::sleep(faults.delay);
            if faults.bytes_per_second.is_some() {
                thread::sleep(Duration::from_millis(50));
            }
            let before = passed.fetch_add(count as u64, Ordering::SeqCst);
            let allowed = self.faults().cut_after.map_or(count as u64, |limit| limit.saturating_sub(before));
            let allowed = count.min(usize::try_from(allowed).unwrap());
            if to.write_all(&chunk[..allowed]).is_err() || allowed < count {
                break;
            }
        }
        // What the other direction has under way may still arrive when this one closed politely.
        let _ = to.shutdown(Shutdown::Write);
        if self.faults().cut_after.is_some() {
            cut.store(true, Ordering::SeqCst);
        }
    }

    fn carry_requests(self: Arc<Self>, mut inner: TcpStream, mut outer: TcpStream) {
        let era = self.era.load(Ordering::SeqCst);
        loop {
            let until = Instant::now() + Duration::from_secs(30);
            let Ok(Some(request)) = read_message(&mut inner, until) else { return };
            let faults = self.faults();
            thread::sleep(faults.delay);
            if self.chance.lock().unwrap().happens(faults.duplicate) {
                self.send_again(&request, faults.duplicate_within);
            }
            // A server closes what is idle; that is not for the client to notice.
            if !http::is_still_open(&outer) {
                let Ok(fresh) = http::connect(self.target, Duration::from_secs(5)) else { return reset(inner) };
                outer = fresh;
            }
            if outer.write_all(&request.bytes).is_err() {
                return reset(inner);
            }
            let Ok(Some(answer)) = read_message(&mut outer, until) else { return reset(inner) };
            let dropped = self.chance.lock().unwrap().happens(faults.drop_answer);
            if dropped || self.era.load(Ordering::SeqCst) != era {
                let succeeded = answer.bytes.starts_with(b"HTTP/1.1 200");
                self.done.dropped.fetch_add(u64::from(dropped && succeeded), Ordering::Relaxed);
                return reset(inner);
            }
            if inner.write_all(&answer.bytes).is_err() {
                return;
            }
        }
    }

    fn send_again(self: &Arc<Self>, request: &Message, within: Duration) {
        let late = {
            let mut chance = self.chance.lock().unwrap();
            // Half of them come at the same moment as the first.
            if chance.happens(0.5) { Duration::ZERO } else { chance.between(Duration::ZERO, within) }
        };
        self.done.duplicated.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut wire = Wire::new(self.target);
        let (shared, bytes) = (self.clone(), request.bytes.clone());
        let presented = url::form_urlencoded::parse(&request.bytes[request.body_at..])
            .find(|(key, _)| key == "refresh_token")
            .map(|(_, token)| TokenName::of(&token));
        if late.is_zero() {
            // Connected beforehand, so that the two are judged at the same time.
            let _ = wire.open();
        }
        thread::spawn(move || {
            thread::sleep(late);
            let started = Instant::now();
            let outcome = Outcome::of(&wire.exchange(&bytes, Duration::from_secs(12)));
            let copy = Event { deed: Deed::Refresh, presented, started, finished: Instant::now(), outcome };
            shared.done.copies.lock().unwrap().push(copy);
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

//! The load itself: connections that send one request after the other and note how long each answer took.
//!
//! One thread, one runtime, a hand-written HTTP/1.1 client: whatever it costs, it costs the server and its control alike.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What one connection says. Its own state makes each request another one.
pub trait Caller {
    /// Writes the next request, head and body.
    fn request(&mut self, into: &mut Vec<u8>);
    /// Takes the answer; whether it was what the caller wanted.
    fn answered(&mut self, status: u16, body: &[u8]) -> bool;
}

/// When a caller sends.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as it was answered.
    AtOnce,
    /// Once in every span, whether or not it was answered in time: a late answer counts from when it was due.
    Every(Duration),
}

/// How long to drive.
#[derive(Clone, Copy)]
pub enum Until {
    /// This long.
    Passed(Duration),
    /// This many requests, all callers together.
    Answered(u64),
}

/// What the callers saw.
#[derive(Default)]
pub struct Seen {
    /// Of answers that were wanted: microseconds each.
    pub wanted: Vec<u32>,
    /// Of other answers, from when their request was sent.
    pub refused: Vec<u32>,
    /// Connections that broke.
    pub broken: u64,
    /// How long it all took.
    pub took: Duration,
}

impl Seen {
    /// Wanted answers a second.
    pub fn rate(&self) -> f64 {
        self.wanted.len() as f64 / self.took.as_secs_f64()
    }

    /// Both kinds of answers.
    pub fn answers(&self) -> u64 {
        (self.wanted.len() + self.refused.len()) as u64
    }
}

/// Milliseconds within which `share` of the answers came.
pub fn quantile(micros: &mut [u32], share: f64) -> f64 {
    if micros.is_empty() {
        return f64::NAN;
    }
    let at = ((micros.len() - 1) as f64 * share) as usize;
    let (_, value, _) = micros.select_nth_unstable(at);
    f64::from(*value) / 1000.0
}

/// Drives `callers`, a connection each, against a server on a loopback port; hands them back for another round.
pub fn drive<C: Caller + 'static>(port: u16, callers: Vec<C>, pace: Pace, until: Until) -> (Seen, Vec<C>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let began = Instant::now();
        let budget = match until {
            Until::Passed(_) => u64::MAX,
            Until::Answered(count) => count,
        };
        let end = match until {
            Until::Passed(span) => began + span,
            Until::Answered(_) => began + Duration::from_hours(1),
        };
        let left = std::rc::Rc::new(std::cell::Cell::new(budget));
        let count = callers.len();
        let tasks: Vec<_> = callers
            .into_iter()
            .enumerate()
            .map(|(nth, caller)| {
                let first_due = match pace {
                    Pace::AtOnce => began,
                    Pace::Every(span) => began + span.mul_f64(nth as f64 / count as f64),
                };
                tokio::task::spawn_local(call(port, caller, (pace, first_due), end, left.clone()))
            })
            .collect();
        let (mut seen, mut callers) = (Seen::default(), Vec::new());
        for task in tasks {
            let (caller, mine) = task.await.expect("a caller ended");
            seen.wanted.extend(mine.wanted);
            seen.refused.extend(mine.refused);
            seen.broken += mine.broken;
            callers.push(caller);
        }
        seen.took = began.elapsed();
        (seen, callers)
    })
}

async fn call<C: Caller>(
    port: u16,
    mut caller: C,
    (pace, mut due): (Pace, Instant),
    end: Instant,
    left: std::rc::Rc<std::cell::Cell<u64>>,
) -> (C, Seen) {
    let mut seen = Seen::default();
    let mut stream = None;
    let (mut outgoing, mut incoming) = (Vec::with_capacity(2048), Vec::with_capacity(8192));
    loop {
        let sent = match pace {
            Pace::AtOnce => Instant::now(),
            Pace::Every(span) => {
                tokio::time::sleep_until(due.into()).await;
                let sent = due;
                due += span;
                sent
            }
        };
        if sent >= end || left.get() == 0 {
            return (caller, seen);
        }
        left.set(left.get() - 1);
        outgoing.clear();
        caller.request(&mut outgoing);
        let begun = Instant::now();
        let answer = exchange(&mut stream, port, &outgoing, &mut incoming).await;
        let micros = |since: Instant| u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
        if let Ok((status, body)) = answer {
            // A refusal is not late because the answer before it, on the same connection, was long in coming.
            if caller.answered(status, &incoming[body]) {
                seen.wanted.push(micros(sent));
            } else {
                seen.refused.push(micros(begun));
            }
        } else {
            stream = None;
            seen.broken += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends one request and reads its whole answer into `incoming`: its status, and where its body lies.
async fn exchange(
    stream: &mut Option<TcpStream>,
    port: u16,
    outgoing: &[u8],
    incoming: &mut Vec<u8>,
) -> std::io::Result<(u16, std::ops::Range<usize>)> {
    if stream.is_none() {
        let fresh = TcpStream::connect(("127.0.0.1", port)).await?;
        fresh.set_nodelay(true)?;
        *stream = Some(fresh);
    }
    let Some(stream) = stream else { unreachable!("connected above") };
    stream.write_all(outgoing).await?;
    incoming.clear();
    loop {
        if stream.read_buf(incoming).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head_end) = find(incoming, b"\r\n\r\n") else { continue };
        let (head, body_at) = (&incoming[..head_end], head_end + 4);
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0);
        let length = content_length(head);
        if incoming.len() >= body_at + length {
            return Ok((status, body_at..body_at + length));
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"\r\ncontent-length: ";
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let digits = at.map_or(&[][..], |at| &head[at + name.len()..]);
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'))
}

/// Where `needle` begins.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

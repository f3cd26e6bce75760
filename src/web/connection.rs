//! A connection that keeps within bounds whoever is at its other end.
//!
//! The HTTP library parses whatever has arrived before it answers the first request, and bounds the time of a
//! connection's first head alone. Of a client that sends requests and reads no answers it would hold some 20 MB; one that
//! begins a second head would stay for ever. So a [`Connection`] hands over little at a time (the end of one head),
//! nothing while a request is at work or an answer is not taken, and ends when a head or an unread body takes too long. What
//! it takes for the end of a head only paces it: a body that looks like one costs time and goes wrong nowhere. A client that
//! pipelines (RFC 9112 §9.3.2) is served as ever, one request after the other.
//!
//! How much of a body is left when a request begins is known because nothing is handed over between the piece that ends its
//! head and its beginning.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a request may take to begin once something of it, or something else, is there. A little longer than the library
/// gives the first head, which it answers 408.
const LONGEST_STRAY: Duration = Duration::from_secs(6);
/// How many bytes may come without beginning a request: twice the head that is answered 431.
const LARGEST_STRAY: usize = 32 * 1024;
/// How long a client may take to take an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(15);
/// The shortest head: `A / HTTP/1.0` and two LF; and the shortest end of a body in chunks: `0`, CRLF, CRLF.
const SHORTEST_HEAD: usize = 14;
const SHORTEST_CHUNKS_END: usize = 5;

/// Whose turn it is on a connection: shared by it and the handlers of its requests.
#[derive(Clone, Default)]
pub(super) struct Turn(Rc<State>);

#[derive(Default)]
struct State {
    /// One has begun since the reader last looked at the time.
    begun: Cell<bool>,
    /// One is at work.
    running: Cell<bool>,
    /// What it wants of its body.
    wanted: Cell<Wanted>,
    /// It has a body of which nobody knows where it ends: it is in chunks, or was not read.
    unmeasured: Cell<bool>,
    /// An answer waits for the client to take it.
    blocked: Cell<bool>,
    /// How many bytes were handed over since its head ended, less the body that was read.
    surplus: Cell<usize>,
    /// Who reads.
    reader: RefCell<Option<Waker>>,
    /// It is to be woken at the next change, since nothing else will.
    parked: Cell<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Bytes(usize),
    /// As much as there is: a body in chunks.
    Any,
}

impl Turn {
    /// A request begins, with a body or without; it lasts until the guard is dropped.
    pub(super) fn begin(&self, body: bool) -> Running {
        self.0.begun.set(true);
        self.0.running.set(true);
        self.0.wanted.set(Wanted::Nothing);
        self.0.unmeasured.set(body);
        Running(self.clone())
    }

    /// The request that is at work reads its body, of that many bytes, or in chunks.
    pub(super) fn want_body(&self, length: Option<usize>) {
        let left = length.map_or(Wanted::Any, |length| match length.saturating_sub(self.0.surplus.get()) {
            0 => Wanted::Nothing,
            left => Wanted::Bytes(left),
        });
        self.0.wanted.set(left);
        self.0.unpark();
    }

    /// It has read it whole.
    pub(super) fn body_was_read(&self, length: Option<usize>) {
        self.0.wanted.set(Wanted::Nothing);
        if let Some(length) = length {
            self.0.unmeasured.set(false);
            self.0.surplus.set(self.0.surplus.get().saturating_sub(length));
        }
    }
}

impl State {
    /// Whether more may have been handed over than requests have used. If not, the library knows that the connection is idle.
    fn has_surplus(&self) -> bool {
        self.unmeasured.get() || self.surplus.get() > 0
    }

    fn unpark(&self) {
        if self.parked.replace(false)
            && let Some(reader) = &*self.reader.borrow()
        {
            reader.wake_by_ref();
        }
    }
}

/// A request at work.
pub(super) struct Running(Turn);

impl Drop for Running {
    fn drop(&mut self) {
        let state = &*self.0.0;
        state.running.set(false);
        state.wanted.set(Wanted::Nothing);
        if state.has_surplus() {
            // From now on somebody has to look at the time that the next one takes to begin.
            state.parked.set(true);
        }
        state.unpark();
    }
}

/// A client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    turn: Turn,
    heads: Heads,
    /// A head ended in what was handed over last: the library has to see it before it is handed more.
    rests: bool,
    /// What was read with something else and comes after it.
    held: Bytes,
    /// How many bytes were handed over while no request was at work and since one last began.
    stray: usize,
    /// When the next request has taken too long to begin.
    due: Option<Pin<Box<Sleep>>>,
    /// When the answer that waits has waited too long.
    answer_due: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            turn: Turn::default(),
            heads: Heads::default(),
            rests: false,
            held: Bytes::new(),
            stray: 0,
            due: None,
            answer_due: None,
        }
    }

    /// For the handlers of its requests.
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// Whether there is something to hand over; if not, its arrival wakes the reader.
    fn has_more(&self, cx: &mut Context<'_>) -> bool {
        !self.held.is_empty() || self.stream.poll_read_ready(cx).is_ready()
    }

    /// ASVS 15.2.2: whether the next request takes too long to begin, or too many bytes that do not begin one. Only its
    /// beginning stops the clock: what looks like the end of a head may be none.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let state = &*self.turn.0;
        if state.begun.take() {
            (self.stray, self.due) = (0, None);
        }
        if state.running.get() || self.stray == 0 && !state.has_surplus() {
            self.due = None;
            return false;
        }
        let due = self.due.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST_STRAY)));
        due.as_mut().poll(cx).is_ready() || self.stray > LARGEST_STRAY
    }

    /// Notes that this many bytes were handed over. The clock begins anew with the first of them: until then the connection
    /// may have been idle.
    fn note(&mut self, taken: usize) {
        if taken > 0 && !self.turn.0.running.get() {
            if self.stray == 0 {
                self.due = None;
            }
            self.stray += taken;
        }
    }

    /// How many of the next bytes to hand over.
    fn portion(&mut self, bytes: &[u8]) -> usize {
        let state = &*self.turn.0;
        if let Wanted::Bytes(wanted) = state.wanted.get() {
            let taken = wanted.min(bytes.len());
            state.wanted.set(if taken == wanted { Wanted::Nothing } else { Wanted::Bytes(wanted - taken) });
            state.surplus.set(state.surplus.get() + taken);
            self.heads = Heads::default();
            return taken;
        }
        let shortest = if state.wanted.get() == Wanted::Any { SHORTEST_CHUNKS_END } else { SHORTEST_HEAD };
        let (taken, head_end) = self.heads.portion(bytes, shortest);
        state.surplus.set(head_end.map_or(state.surplus.get() + taken, |end| taken - end));
        self.rests = head_end.is_some();
        taken
    }
}

/// Finds where heads end: at an empty line.
#[derive(Default)]
struct Heads {
    /// Bytes since the last end; whether one of them is of a line that is not empty; whether the last line is.
    length: usize,
    begun: bool,
    line_is_empty: bool,
}

impl Heads {
    /// How many of the next bytes to hand over, and where in them a head ends, if one does: all of them, or what leads to the
    /// end of the first head if another one ends after it.
    fn portion(&mut self, bytes: &[u8], shortest: usize) -> (usize, Option<usize>) {
        let mut first = None;
        for (at, byte) in bytes.iter().enumerate() {
            self.length += 1;
            match byte {
                b'\r' => {}
                // RFC 9112 §2.2: a bare LF may end a line, and empty lines may precede a head.
                b'\n' if self.line_is_empty && self.begun && self.length >= shortest => {
                    *self = Self::default();
                    if let Some(end) = first {
                        return (end, first);
                    }
                    first = Some(at + 1);
                }
                b'\n' => self.line_is_empty = true,
                _ => (self.begun, self.line_is_empty) = (true, false),
            }
        }
        (bytes.len(), first)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let turn = this.turn.clone();
        let state = &*turn.0;
        if !state.reader.borrow().as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.reader.replace(Some(cx.waker().clone()));
        }
        if state.blocked.get() || state.running.get() && state.wanted.get() == Wanted::Nothing {
            state.parked.set(this.has_more(cx));
            return Poll::Pending;
        }
        let overdue = this.is_overdue(cx);
        if std::mem::take(&mut this.rests) {
            if this.has_more(cx) || overdue {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if overdue {
            // Nothing read is the end of what the client says.
            return Poll::Ready(Ok(()));
        }
        if this.held.is_empty() {
            let before = into.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
            let arrived = into.filled().get(before..).unwrap_or_default();
            let taken = this.portion(arrived);
            this.note(taken);
            if taken < arrived.len() {
                this.held = Bytes::copy_from_slice(arrived.get(taken..).unwrap_or_default());
                into.set_filled(before + taken);
            }
        } else {
            let offered = this.held.slice(..this.held.len().min(into.remaining()));
            let taken = this.portion(&offered);
            this.note(taken);
            into.put_slice(&this.held.split_to(taken));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let taken = matches!(result, Poll::Ready(Ok(written)) if written == bytes.len());
        let was_blocked = self.turn.0.blocked.replace(!taken);
        if taken {
            self.answer_due = None;
            if was_blocked {
                self.turn.0.unpark();
            }
            return result;
        }
        // ASVS 15.2.2: a little of it now and then does not do.
        let due = self.answer_due.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST_ANSWER)));
        if due.as_mut().poll(cx).is_ready() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { result }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// What a connection hands over next, if it does.
    async fn next(connection: &mut Connection) -> Option<Vec<u8>> {
        let mut buffer = [0; 8192];
        let read = tokio::time::timeout(Duration::from_millis(200), connection.read(&mut buffer)).await.ok()?.unwrap();
        Some(buffer[..read].to_vec())
    }

    async fn pair() -> (TcpStream, Connection) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Connection::new(listener.accept().await.unwrap().0))
    }

    #[test]
    fn one_head_is_handed_over_at_a_time_and_none_while_a_request_is_at_work() {
        actix_web::rt::System::new().block_on(async {
            let (mut client, mut server) = pair().await;
            client.write_all(&GET.repeat(3)).await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(GET));
            let running = server.turn().begin(false);
            assert_eq!(next(&mut server).await, None);
            drop(running);
            assert_eq!(next(&mut server).await.as_deref(), Some(GET));
            server.turn.0.blocked.set(true);
            assert_eq!(next(&mut server).await, None, "an answer was not taken");
            server.write_all(b"an answer").await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(GET));
        });
    }

    #[test]
    fn of_a_body_as_much_is_handed_over_as_is_wanted() {
        actix_web::rt::System::new().block_on(async {
            let (mut client, mut server) = pair().await;
            let post = b"POST / HTTP/1.1\r\n\r\n";
            client.write_all(&[post, &b"a\n\nb"[..], post, b"cd"].concat()).await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(&post[..]));
            let running = server.turn().begin(true);
            server.turn().want_body(Some(4));
            assert_eq!(next(&mut server).await.as_deref(), Some(&b"a\n\nb"[..]));
            assert_eq!(next(&mut server).await, None, "the body was read");
            server.turn().body_was_read(Some(4));
            drop(running);
            assert_eq!(next(&mut server).await.as_deref(), Some(&[&post[..], b"cd"].concat()[..]));
            server.turn().want_body(Some(2));
            assert!(server.turn.0.wanted.get() == Wanted::Nothing, "it came with its head");
        });
    }

    #[test]
    fn a_head_that_does_not_end_is_waited_for_no_longer_than_allowed() {
        actix_web::rt::System::new().block_on(async {
            tokio::time::pause();
            let (mut client, mut server) = pair().await;
            client.write_all(b"GET / HT").await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(&b"GET / HT"[..]));
            assert_eq!(next(&mut server).await, None);
            tokio::time::advance(LONGEST_STRAY).await;
            assert_eq!(next(&mut server).await.as_deref(), Some(&b""[..]));
            let (mut client, mut server) = pair().await;
            client.write_all(&vec![b'a'; 2 * LARGEST_STRAY]).await.unwrap();
            let (mut taken, mut buffer) = (0, [0; 8192]);
            while let read @ 1.. = server.read(&mut buffer).await.unwrap() {
                taken += read;
            }
            assert!((LARGEST_STRAY + 1..=LARGEST_STRAY + buffer.len()).contains(&taken), "{taken}");
        });
    }

    #[test]
    fn an_answer_that_is_not_taken_is_waited_for_no_longer_than_allowed() {
        actix_web::rt::System::new().block_on(async {
            tokio::time::pause();
            let (_client, mut server) = pair().await;
            let began = tokio::time::Instant::now();
            let answer = vec![0; 64 << 20];
            let refused =
                tokio::time::timeout(LONGEST_ANSWER * 2, server.write_all(&answer)).await.unwrap().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= LONGEST_ANSWER);
        });
    }

    #[test]
    fn heads_end_at_an_empty_line_after_one_that_is_not() {
        let portion = |bytes: &[u8]| Heads::default().portion(bytes, SHORTEST_HEAD);
        let post = b"POST / HTTP/1.1\nHost: a\n\na=b";
        assert_eq!(portion(post), (post.len(), Some(post.len() - 3)), "a head and its body stay together");
        assert_eq!(portion(&GET.repeat(3)), (GET.len(), Some(GET.len())));
        assert_eq!(portion(&[b"\r\n\r\n", GET].concat()), (GET.len() + 4, Some(GET.len() + 4)));
        assert_eq!(portion(b"GET / HTTP/1.0\n\n"), (16, Some(16)));
        assert_eq!(portion(&b"\n".repeat(100)), (100, None));
        let mut heads = Heads::default();
        let (most, last) = GET.split_at(GET.len() - 1);
        let [first, second] = [most, last].map(|bytes| heads.portion(bytes, SHORTEST_HEAD));
        assert_eq!((first, second), ((most.len(), None), (1, Some(1))));
    }
}

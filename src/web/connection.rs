//! A connection from which one request is taken at a time.
//!
//! The HTTP library parses all requests that have arrived before it answers the first: of those that a client sends
//! without reading the answers it would hold some 20 MB a connection. So after a request's head a [`Connection`] hands
//! over once what arrives next, its body as a rule, and then nothing until the answer is on its way or somebody asks for
//! the rest of the body. A client that pipelines (RFC 9112 §9.3.2) is served as before, one request after the other.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether bytes are taken from a connection. Shared by the connection and the handlers of its requests.
#[derive(Clone, Default)]
pub(super) struct ReadGate(Rc<Gate>);

/// How far a gate is open.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    /// Somebody has been let through who may have somebody with them.
    OnceMore,
    Closed,
}

#[derive(Default)]
struct Gate {
    way: Cell<Way>,
    /// Who is to be woken when it opens.
    waiting: RefCell<Option<Waker>>,
}

impl ReadGate {
    /// More is wanted: the rest of a body, or the next request.
    pub(super) fn open(&self) {
        if self.0.way.replace(Way::Open) == Way::Closed
            && let Some(waiting) = self.0.waiting.take()
        {
            waiting.wake();
        }
    }
}

/// A client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    gate: ReadGate,
    heads: Heads,
    /// What was read together with a request and follows it.
    held: Bytes,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, gate: ReadGate::default(), heads: Heads::default(), held: Bytes::new() }
    }

    /// For the handlers of its requests.
    pub(super) fn gate(&self) -> ReadGate {
        self.gate.clone()
    }
}

/// Finds where heads end: at an empty line.
#[derive(Default)]
struct Heads {
    /// Nothing but CR has come since the last LF.
    line_is_empty: bool,
}

impl Heads {
    /// How many of the next bytes to hand over, and whether a head ends there: all of them, or what leads to the end of
    /// the first head if another one ends after it.
    fn portion(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut first = None;
        for (at, byte) in bytes.iter().enumerate() {
            // RFC 9112 §2.2: a bare LF may end a line.
            let ends_line = *byte == b'\n';
            if ends_line && self.line_is_empty {
                if let Some(end) = first {
                    self.line_is_empty = false;
                    return (end, true);
                }
                first = Some(at + 1);
                self.line_is_empty = false;
            } else if *byte != b'\r' {
                self.line_is_empty = ends_line;
            }
        }
        (bytes.len(), first.is_some())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.gate.0.way.get() == Way::Closed {
            // As long as nothing has arrived, an arrival wakes us, and nobody need do so after the answer.
            if !this.held.is_empty() || this.stream.poll_read_ready(cx).is_ready() {
                this.gate.0.waiting.replace(Some(cx.waker().clone()));
            }
            return Poll::Pending;
        }
        let head_ends = if this.held.is_empty() {
            let before = into.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
            let arrived = into.filled().get(before..).unwrap_or_default();
            let (taken, head_ends) = this.heads.portion(arrived);
            this.held = Bytes::copy_from_slice(arrived.get(taken..).unwrap_or_default());
            into.set_filled(before + taken);
            head_ends
        } else {
            let offered = this.held.slice(..this.held.len().min(into.remaining()));
            let (taken, head_ends) = this.heads.portion(&offered);
            into.put_slice(&this.held.split_to(taken));
            head_ends
        };
        this.gate.0.way.set(match this.gate.0.way.get() {
            Way::Open if !head_ends => Way::Open,
            Way::Open if this.held.is_empty() => Way::OnceMore,
            Way::Open | Way::OnceMore | Way::Closed => Way::Closed,
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        // What the client does not read is not written whole, and nothing more is taken from it.
        if written == bytes.len() {
            self.gate.open();
        }
        Poll::Ready(Ok(written))
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
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// What a connection hands over next, if it does.
    async fn next(connection: &mut Connection) -> Option<Vec<u8>> {
        let mut buffer = [0; 8192];
        let read = connection.read(&mut buffer);
        let read = tokio::time::timeout(Duration::from_millis(200), read).await.ok()?.unwrap();
        Some(buffer[..read].to_vec())
    }

    #[test]
    fn nothing_follows_a_head_before_its_answer_is_written_or_its_body_wanted() {
        actix_web::rt::System::new().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut server = Connection::new(listener.accept().await.unwrap().0);
            client.write_all(&GET.repeat(3)).await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(GET));
            assert_eq!(next(&mut server).await, None);
            server.write_all(b"an answer").await.unwrap();
            assert_eq!(next(&mut server).await.as_deref(), Some(GET));
            client.write_all(b"more").await.unwrap();
            assert_eq!(next(&mut server).await, None);
            server.gate().open();
            assert_eq!(next(&mut server).await.as_deref(), Some(GET), "first what came before");
            assert_eq!(next(&mut server).await.as_deref(), Some(&b"more"[..]), "a body may come after its head");
            client.write_all(b"and more").await.unwrap();
            assert_eq!(next(&mut server).await, None);
            server.gate().open();
            assert_eq!(next(&mut server).await.as_deref(), Some(&b"and more"[..]));
        });
    }

    #[test]
    fn one_head_is_handed_over_at_a_time_with_its_body() {
        let (get, post) = (GET, b"POST / HTTP/1.1\nHost: a\n\na=b");
        let mut heads = Heads::default();
        assert_eq!(heads.portion(post), (post.len(), true), "a head and its body stay together");
        assert_eq!(heads.portion(&get.repeat(3)), (get.len(), true));
        assert_eq!(heads.portion(&get.repeat(2)), (get.len(), true));
        assert_eq!(heads.portion(get), (get.len(), true));
        let all_but_the_last = &get[..get.len() - 1];
        assert_eq!(heads.portion(all_but_the_last), (all_but_the_last.len(), false));
        assert_eq!(heads.portion(b"\n"), (1, true), "an end that arrives in two parts is seen");
        assert_eq!(heads.portion(b"a=b"), (3, false));
    }
}

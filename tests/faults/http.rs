//! HTTP/1.1 by hand, over a socket that the tests hold themselves: they have to see when a connection is closed, and to
//! break it where they like.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody listened.
    Refused,
    /// The connection was closed or reset.
    Closed,
    /// Nothing came until the time was up.
    TimedOut,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(message: &Message) -> Option<Self> {
        let head = String::from_utf8_lossy(&message.bytes[..message.body_at]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = String::from_utf8_lossy(&message.bytes[message.body_at..]).into_owned();
        Some(Self { status, head, body })
    }

    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// What the body says, or nothing at all.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().filter_map(|line| line.split_once(':')).find_map(|(key, value)| {
        let same = key.eq_ignore_ascii_case(name);
        same.then(|| value.trim())
    })
}

/// A whole request or answer, as it came.
pub struct Message {
    pub bytes: Vec<u8>,
    pub body_at: usize,
}

/// Reads one message; `None` when the peer closed before its first byte.
pub fn read_message(stream: &mut TcpStream, until: Instant) -> Result<Option<Message>, NoAnswer> {
    let mut bytes = Vec::new();
    let mut whole: Option<(usize, usize)> = None;
    loop {
        if whole.is_none()
            && let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&bytes[..at]);
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            whole = Some((at + 4, at + 4 + length));
        }
        if let Some((body_at, end)) = whole
            && bytes.len() >= end
        {
            return Ok(Some(Message { bytes, body_at }));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoAnswer::TimedOut);
        }
        stream.set_read_timeout(Some(left)).map_err(|_| NoAnswer::Closed)?;
        let mut chunk = [0; 8192];
        match stream.read(&mut chunk) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Err(NoAnswer::Closed),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(NoAnswer::TimedOut);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(NoAnswer::Closed),
        }
    }
}

/// A connection to one server that is kept between requests, as clients' libraries do.
pub struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Wire {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Connects ahead of the first request.
    pub fn open(&mut self) -> Result<(), NoAnswer> {
        self.stream = Some(connect(self.address, Duration::from_secs(5))?);
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub fn exchange(&mut self, request: &[u8], within: Duration) -> Result<Answer, NoAnswer> {
        let until = Instant::now() + within;
        let mut stream = match self.stream.take().filter(is_still_open) {
            Some(stream) => stream,
            None => connect(self.address, within)?,
        };
        stream.set_write_timeout(Some(within)).map_err(|_| NoAnswer::Closed)?;
        stream.write_all(request).map_err(|_| NoAnswer::Closed)?;
        let message = read_message(&mut stream, until)?.ok_or(NoAnswer::Closed)?;
        let answer = Answer::parse(&message).ok_or(NoAnswer::Closed)?;
        if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Connects within some time.
pub fn connect(address: SocketAddr, within: Duration) -> Result<TcpStream, NoAnswer> {
    let stream = TcpStream::connect_timeout(&address, within).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => NoAnswer::TimedOut,
        _ => NoAnswer::Refused,
    })?;
    stream.set_nodelay(true).map_err(|_| NoAnswer::Closed)?;
    Ok(stream)
}

/// Whether the server has neither closed an idle connection nor sent anything that nobody asked for.
pub fn is_still_open(stream: &TcpStream) -> bool {
    let quiet = stream.set_nonblocking(true).is_ok()
        && matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_ok() && quiet
}

/// A form as it goes over the wire.
pub fn form(path: &str, authorization: Option<&str>, pairs: &[(&str, &str)]) -> Vec<u8> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: id.example\r\n{authorization}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A question for a document.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: id.example\r\n\r\n").into_bytes()
}

/// Asks once, on a connection of its own.
pub fn ask(address: SocketAddr, request: &[u8], within: Duration) -> Result<Answer, NoAnswer> {
    Wire::new(address).exchange(request, within)
}

/// The Authorization header of RFC 6749 §2.3.1.
pub fn basic(client_id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{client_id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

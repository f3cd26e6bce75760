//! An issuer's HTTP side that does what a test wants, good or bad.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use countersign_verifier::feed::{Change, Hello};
use countersign_verifier::status_list;
use countersign_verifier::testing::TestIssuer;
use serde_json::{Value, json};

/// How a path answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Answer {
    /// As it should.
    #[default]
    Good,
    /// With this status and nothing else.
    Status(u16),
    /// With this body.
    Body(String),
    /// As it should, but for this status.
    As(u16),
    /// From elsewhere, where the good answer is.
    Redirect,
    /// Not at all, while the connection stays open.
    Never,
    /// The list: as it should be, for three seconds.
    ShortLived,
    /// The feed: hello, and then it is closed.
    Cut,
    /// The feed: hello, and then silence.
    HalfOpen,
    /// The feed: nothing, not even hello; and long polls as they should be.
    Mute,
    /// The feed: of one list more than there is.
    MoreLists,
    /// The feed: without the first change.
    Drops,
    /// The feed: the first two changes the other way round.
    Reorders,
}

pub struct Server {
    pub issuer: TestIssuer,
    answers: Mutex<HashMap<&'static str, Answer>>,
    hits: Mutex<HashMap<String, usize>>,
    pub receipts: Mutex<Vec<Value>>,
    checkpoints: Mutex<Vec<String>>,
}

pub const JWKS: &str = "/jwks.json";
pub const METADATA: &str = "/.well-known/oauth-authorization-server";
pub const AGGREGATION: &str = "/status/lists";
pub const LIST: &str = "/status/0";
pub const EVENTS: &str = "/status/events";
pub const RECEIPTS: &str = "/status/receipts";

/// A beat, at the pace of these tests.
const BEAT: Duration = Duration::from_millis(60);

impl Server {
    pub fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self {
            issuer: TestIssuer::new(&url, "https://orders.example"),
            answers: Mutex::default(),
            hits: Mutex::default(),
            receipts: Mutex::default(),
            checkpoints: Mutex::default(),
        });
        let shared = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream));
            }
        });
        server
    }

    pub fn answer(&self, path: &'static str, answer: Answer) {
        self.answers.lock().unwrap().insert(path, answer);
    }

    fn answer_of(&self, path: &str) -> Answer {
        self.answers.lock().unwrap().get(path).cloned().unwrap_or_default()
    }

    pub fn hits(&self, path: &str) -> usize {
        self.hits.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// Sends all feeds this checkpoint.
    pub fn checkpoint(&self, token: String) {
        self.checkpoints.lock().unwrap().push(token);
    }

    fn count(&self, what: &str) {
        *self.hits.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let (mut line, mut headers) = (String::new(), HashMap::new());
        reader.read_line(&mut line).ok()?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let target = line.split(' ').nth(1)?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        self.count(path);
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        match self.answer_of(path) {
            Answer::Status(status) => respond(stream, status, "text/plain", "", ""),
            Answer::Body(body) => respond(stream, 200, "application/json", "", &body),
            Answer::Redirect => respond(stream, 302, "text/plain", &format!("Location: {path}/elsewhere\r\n"), ""),
            Answer::As(status) => respond(stream, status, "application/json", "", &self.issuer.jwks()),
            Answer::Never => wait_until_closed(&stream),
            answer if path == EVENTS => {
                let authorized =
                    headers.get("authorization").is_some_and(|value| value == "Basic b3JkZXJzOnMlM0FlY3JldA==");
                if !authorized {
                    return respond(stream, 401, "text/plain", "", "");
                }
                let since = query.split('&').find_map(|pair| pair.strip_prefix("since="))?.parse().ok()?;
                if query.contains("wait=") { self.long_poll(stream, since) } else { self.feed(stream, since, &answer) }
            }
            Answer::Good
            | Answer::ShortLived
            | Answer::Cut
            | Answer::HalfOpen
            | Answer::Mute
            | Answer::MoreLists
            | Answer::Drops
            | Answer::Reorders => self.document(stream, path.trim_end_matches("/elsewhere"), &headers, &body),
        }
    }

    fn document(&self, stream: TcpStream, path: &str, headers: &HashMap<String, String>, body: &[u8]) -> Option<()> {
        let url = self.issuer.name();
        let text = match path {
            METADATA => json!({
                "issuer": url,
                "jwks_uri": format!("{url}{JWKS}"),
                "status_list_aggregation_endpoint": format!("{url}{AGGREGATION}"),
                "status_events_endpoint": format!("{url}{EVENTS}"),
            })
            .to_string(),
            JWKS => self.issuer.jwks(),
            AGGREGATION => json!({ "status_lists": [format!("{url}{LIST}")] }).to_string(),
            LIST if self.answer_of(LIST) == Answer::ShortLived => self.short_lived_list(),
            LIST => self.issuer.status_list(),
            RECEIPTS => {
                self.receipts.lock().unwrap().push(serde_json::from_slice(body).unwrap());
                return respond(stream, 204, "text/plain", "", "");
            }
            _ => return respond(stream, 404, "text/plain", "", ""),
        };
        let etag = match path {
            // Signed anew each time: the number of changes says whether it is the same.
            LIST => format!("\"{}\"", self.issuer.hello().n),
            _ => format!("\"{}\"", text.len()),
        };
        if path == LIST && headers.get("if-none-match") == Some(&etag) {
            self.count("304");
            return respond(stream, 304, "text/plain", "", "");
        }
        let etag = if path == LIST { format!("ETag: {etag}\r\n") } else { String::new() };
        respond(stream, 200, "application/json", &format!("{etag}Cache-Control: public, max-age=300\r\n"), &text)
    }

    fn short_lived_list(&self) -> String {
        let (url, now) = (self.issuer.name(), self.issuer.now());
        let lst = status_list::encode(&vec![0; status_list::LIST_BYTES], 6);
        let claims = json!({
            "iss": url, "sub": status_list::uri(url, 0), "iat": now, "exp": now + 3, "ttl": 1,
            "status_list": { "bits": 1, "lst": lst }, "seq": 0,
        });
        self.issuer.sign_document(status_list::TYPE, &claims)
    }

    fn long_poll(&self, stream: TcpStream, since: u64) -> Option<()> {
        self.count("long_poll");
        let mut changes = self.issuer.changes_since(since);
        for _ in 0..20 {
            if !changes.is_empty() {
                break;
            }
            thread::sleep(BEAT / 6);
            changes = self.issuer.changes_since(since);
        }
        let hello = self.issuer.hello();
        let head = changes.last().map_or(since, |change| change.n);
        let mut events = vec![json!({ "event": "hello", "data": hello })];
        events.extend(changes.into_iter().map(|change| json!({ "event": "change", "data": change })));
        events.push(json!({ "event": "beat", "data": { "n": head } }));
        respond(stream, 200, "application/json", "", &json!({ "events": events }).to_string())
    }

    fn feed(&self, mut stream: TcpStream, since: u64, answer: &Answer) -> Option<()> {
        self.count("feed_begun");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").ok()?;
        if *answer == Answer::Mute {
            return wait_until_closed(&stream);
        }
        let sent = self.checkpoints.lock().unwrap().len();
        let outcome = self.events(&mut stream, since, answer, sent);
        self.count("feed_ended");
        outcome
    }

    fn events(&self, stream: &mut TcpStream, since: u64, answer: &Answer, mut sent: usize) -> Option<()> {
        let lists = if *answer == Answer::MoreLists { 2 } else { 1 };
        let hello = json!(Hello { lists, ..self.issuer.hello() });
        write!(stream, "event: hello\nid: {since}\ndata: {hello}\n\n").ok()?;
        match answer {
            Answer::Cut => return None,
            Answer::HalfOpen => return wait_until_closed(stream),
            _ => {}
        }
        let mut at = since;
        // It is cut when the answer becomes another one.
        while self.answer_of(EVENTS) == *answer {
            let mut changes = self.issuer.changes_since(at);
            at = changes.last().map_or(at, |change| change.n);
            match answer {
                Answer::Drops if !changes.is_empty() => drop(changes.remove(0)),
                Answer::Reorders if changes.len() > 1 => changes.swap(0, 1),
                _ => {}
            }
            for change in changes {
                send_change(stream, &change)?;
            }
            let waiting: Vec<String> = self.checkpoints.lock().unwrap().iter().skip(sent).cloned().collect();
            sent += waiting.len();
            for token in waiting {
                write!(stream, "event: ckpt\ndata: {token}\n\n").ok()?;
            }
            write!(stream, "event: beat\ndata: {{\"n\":{at}}}\n\n").ok()?;
            thread::sleep(BEAT);
        }
        Some(())
    }
}

fn send_change(stream: &mut TcpStream, change: &Change) -> Option<()> {
    write!(stream, "event: change\nid: {}\ndata: {}\n\n", change.n, json!(change)).ok()
}

fn respond(mut stream: TcpStream, status: u16, content_type: &str, headers: &str, body: &str) -> Option<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .ok()
}

fn wait_until_closed(mut stream: &TcpStream) -> Option<()> {
    let mut byte = [0];
    while stream.read(&mut byte).ok()? > 0 {}
    Some(())
}

//! Who calls: readers of a document, services with a secret, people's devices that refresh, people that log in.

use base64::Engine as _;

use crate::driver::{Caller, find};
use crate::subject::{CODE_CLIENT, REDIRECT_URI, VERIFIER};

/// Reads one path again and again.
pub struct Reader(pub &'static str);

impl Caller for Reader {
    fn request(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(format!("GET {} HTTP/1.1\r\nhost: load\r\n\r\n", self.0).as_bytes());
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

/// Fetches the JWKS, and says which one it has if it has one.
pub struct Refetcher {
    request: Vec<u8>,
    /// Whether that was the newest.
    pub was_unchanged: bool,
}

impl Refetcher {
    pub fn new(etag: Option<&str>) -> Self {
        let condition = etag.map(|etag| format!("if-none-match: {etag}\r\n")).unwrap_or_default();
        let request = format!("GET /jwks.json HTTP/1.1\r\nhost: load\r\n{condition}\r\n").into_bytes();
        Self { request, was_unchanged: false }
    }
}

impl Caller for Refetcher {
    fn request(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.request);
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> bool {
        self.was_unchanged = status == 304;
        matches!(status, 200 | 304)
    }
}

/// Asks for tokens in its own name (RFC 6749 §4.4).
pub struct Service {
    request: Vec<u8>,
}

impl Service {
    pub fn new(client_id: &str, secret: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{client_id}:{secret}"));
        Self { request: form(&format!("authorization: Basic {pair}\r\n"), "grant_type=client_credentials") }
    }
}

impl Caller for Service {
    fn request(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.request);
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

/// Devices that refresh, one after the other: each request uses the token that the same device's last answer brought,
/// which nobody has used.
pub struct Devices {
    client_id: &'static str,
    refresh_tokens: Vec<String>,
    turn: usize,
}

impl Devices {
    /// In the order given, so shuffle them if their grants lie side by side.
    pub fn new(client_id: &'static str, refresh_tokens: Vec<String>) -> Self {
        Self { client_id, refresh_tokens, turn: 0 }
    }
}

impl Caller for Devices {
    fn request(&mut self, into: &mut Vec<u8>) {
        self.turn = (self.turn + 1) % self.refresh_tokens.len();
        let token = &self.refresh_tokens[self.turn];
        let body = format!("grant_type=refresh_token&client_id={}&refresh_token={token}", self.client_id);
        into.extend_from_slice(&form("", &body));
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> bool {
        let key = b"\"refresh_token\":\"";
        let Some(at) = find(body, key).filter(|_| status == 200) else { return false };
        let rest = &body[at + key.len()..];
        let Some(end) = rest.iter().position(|byte| *byte == b'"') else { return false };
        let kept = &mut self.refresh_tokens[self.turn];
        kept.clear();
        kept.push_str(std::str::from_utf8(&rest[..end]).unwrap_or_default());
        true
    }
}

/// Asks a control that signs one token for each request: the same bytes as a refresh, which it does not look at.
pub struct Signed {
    request: Vec<u8>,
}

impl Signed {
    pub fn new() -> Self {
        let body = format!("grant_type=refresh_token&client_id=web&refresh_token=csr_{}", "A".repeat(72));
        Self { request: form("", &body) }
    }
}

impl Caller for Signed {
    fn request(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.request);
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

/// Exchanges codes for tokens, each once.
pub struct Codes {
    codes: Vec<String>,
}

impl Codes {
    pub fn new(codes: Vec<String>) -> Self {
        Self { codes }
    }
}

impl Caller for Codes {
    fn request(&mut self, into: &mut Vec<u8>) {
        let code = self.codes.pop().expect("more codes than can be exchanged in the time");
        let body = format!(
            "grant_type=authorization_code&client_id={CODE_CLIENT}&code={code}&code_verifier={VERIFIER}&redirect_uri={}",
            REDIRECT_URI.replace(':', "%3A").replace('/', "%2F")
        );
        into.extend_from_slice(&form("", &body));
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> bool {
        status == 200 && find(body, b"\"id_token\":\"").is_some()
    }
}

/// Logs in, again and again, with the right password.
pub struct Person {
    request: Vec<u8>,
}

impl Person {
    pub fn new(client_id: &str, username: &str, password: &str) -> Self {
        let username = username.replace('@', "%40");
        let body = format!("grant_type=password&client_id={client_id}&username={username}&password={password}");
        Self { request: form("", &body) }
    }
}

impl Caller for Person {
    fn request(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.request);
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

fn form(headers: &str, body: &str) -> Vec<u8> {
    let head = "POST /token HTTP/1.1\r\nhost: load\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    format!("{head}{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

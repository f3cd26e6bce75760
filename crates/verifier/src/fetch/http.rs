//! Asking the issuer: with a bound on time and on bytes, and without following anybody elsewhere.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode};

use super::Secret;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a document may take, from the request to its last byte.
pub(super) const WHOLE: Duration = Duration::from_secs(2);

/// Why there is no answer, in a word for logs and metrics.
pub(super) type Fault = &'static str;

/// There is no such document.
pub(super) const NOT_FOUND: Fault = "not_found";

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Http(reqwest::Client);

/// A document, or the word that it is still the same.
#[derive(Debug)]
pub(super) struct Document {
    /// None if it has not changed.
    pub(super) body: Option<Vec<u8>>,
    pub(super) etag: Option<HeaderValue>,
    pub(super) max_age: Option<Duration>,
}

impl Http {
    pub(super) fn new() -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            // Where a key comes from is decided by configuration, not by an answer.
            .redirect(Policy::none())
            // Nor by a variable of the environment, which would hand a secret to somebody else.
            .no_proxy()
            .connect_timeout(CONNECT)
            .user_agent(concat!("countersign-verifier/", env!("CARGO_PKG_VERSION")));
        client.build().map(Self).map_err(|_| "no_tls")
    }

    /// A document of at most `max_bytes`, unpacked.
    pub(super) async fn get(
        &self,
        url: &str,
        accept: &'static str,
        etag: Option<&HeaderValue>,
        max_bytes: usize,
    ) -> Result<Document, Fault> {
        let mut request = self.0.get(url).header(ACCEPT, accept);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        tokio::time::timeout(WHOLE, read(request, max_bytes)).await.unwrap_or(Err("timeout"))
    }

    /// The answer to a request of the feed's, with nothing of its body read.
    pub(super) async fn open(
        &self,
        url: &str,
        accept: &'static str,
        credentials: &Credentials,
    ) -> Result<Response, Fault> {
        let request = self.0.get(url).header(ACCEPT, accept).header(CACHE_CONTROL, "no-store");
        // Whoever compresses a stream on the way keeps events back until a block is full.
        let request = request.header(ACCEPT_ENCODING, "identity");
        request.header(AUTHORIZATION, credentials.header.clone()).send().await.map_err(|error| fault_of(&error))
    }

    /// Posts JSON; only whether it was taken comes back.
    pub(super) async fn post(&self, url: &str, json: String, credentials: &Credentials) -> Result<(), Fault> {
        let request = self.0.post(url).header(CONTENT_TYPE, "application/json").timeout(WHOLE).body(json);
        let answer = request.header(AUTHORIZATION, credentials.header.clone()).send().await;
        let answer = answer.map_err(|error| fault_of(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err("status") }
    }
}

async fn read(request: RequestBuilder, max_bytes: usize) -> Result<Document, Fault> {
    let answer = request.send().await.map_err(|error| fault_of(&error))?;
    let (etag, max_age) = (answer.headers().get(ETAG).cloned(), max_age(&answer));
    if answer.status() == StatusCode::NOT_MODIFIED {
        return Ok(Document { body: None, etag, max_age });
    }
    if answer.status() != StatusCode::OK {
        return Err(match answer.status() {
            StatusCode::NOT_FOUND => NOT_FOUND,
            status if status.is_redirection() => "redirect",
            _ => "status",
        });
    }
    let body = read_body(answer, max_bytes).await?;
    Ok(Document { body: Some(body), etag, max_age })
}

/// The body, as long as it stays within bounds; counted as it comes in, and after it was unpacked.
pub(super) async fn read_body(mut answer: Response, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| fault_of(&error))? {
        if body.len().saturating_add(chunk.len()) > max_bytes {
            return Err("too_large");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// RFC 9111 §5.2.2.1.
fn max_age(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = value.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

pub(super) fn fault_of(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "io"
    }
}

/// Who the verifier is to the issuer, as the value of `Authorization`.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    client_id: String,
    header: HeaderValue,
}

impl Credentials {
    /// RFC 6749 §2.3.1: both parts are form-encoded before they are put together.
    pub(super) fn new(client_id: &str, client_secret: &Secret) -> Option<Self> {
        let is_one_line = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if !is_one_line(client_id) || !is_one_line(client_secret.expose()) {
            return None;
        }
        let pair = format!("{}:{}", form_encoded(client_id), form_encoded(client_secret.expose()));
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(Self { client_id: client_id.to_owned(), header: value })
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }
}

/// application/x-www-form-urlencoded (WHATWG URL §5.2).
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    encoded.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_secrets_are_form_encoded() {
        assert_eq!(form_encoded("a b+c:d%~\u{e4}*-._9"), "a+b%2Bc%3Ad%25%7E%C3%A4*-._9");
        let credentials = Credentials::new("id", &Secret::new("p:w")).unwrap();
        assert_eq!(credentials.header.to_str().unwrap(), format!("Basic {}", STANDARD.encode("id:p%3Aw")));
        assert!(!format!("{credentials:?}").contains("Basic"));
        for (id, secret) in [("", "s"), ("id", ""), ("id", "two\nlines")] {
            assert!(Credentials::new(id, &Secret::new(secret)).is_none());
        }
    }
}

//! What is over, as others see it: the status lists, the feed, and that every path that ends something reaches them.

mod ends;
mod feed;
mod lists;
mod paths;

use std::io::Read as _;
use std::time::{Duration, Instant};

use countersign::secret::decode_base64url;
use serde_json::Value;

use crate::app::TestApp;
use crate::relying_party::{RelyingParty, basic};

/// A client that may follow; its secret.
fn follower(app: &TestApp) -> String {
    app.client("orders", serde_json::json!({ "grant_types": ["client_credentials"], "scope": "status.read" })).unwrap()
}

/// The place that a token names: the path of its list, and its index.
fn place(claims: &Value) -> (String, usize) {
    let list = &claims["status"]["status_list"];
    let uri = url::Url::parse(list["uri"].as_str().unwrap()).unwrap();
    (uri.path().to_owned(), usize::try_from(list["idx"].as_u64().unwrap()).unwrap())
}

/// The claims of a compact JWS.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&decode_base64url(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// A list as it is served now: its claims, and its bits.
fn list(party: &RelyingParty, path: &str) -> (Value, Vec<u8>) {
    let answer = party.get(path, &[("Accept", "application/statuslist+jwt")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let claims = claims(&answer.body);
    let lst = decode_base64url(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bits = Vec::new();
    flate2::read::ZlibDecoder::new(lst.as_slice()).read_to_end(&mut bits).unwrap();
    (claims, bits)
}

fn bit(bits: &[u8], idx: usize) -> bool {
    bits[idx / 8] & (1 << (idx % 8)) != 0
}

/// The bit of a token in its list, once the server has had the time to sign anew.
fn is_over(app: &TestApp, token: &str) -> bool {
    let (path, idx) = place(&claims(token));
    app.settle_status();
    bit(&list(&app.relying_party(), &path).1, idx)
}

/// What the feed says after `since`.
fn feed(app: &TestApp, secret: &str, since: Option<i64>) -> Vec<(String, Value)> {
    let path = since
        .map_or_else(|| "/status/events?wait=0".to_owned(), |since| format!("/status/events?since={since}&wait=0"));
    let answer = app.relying_party().get(&path, &[("Authorization", &basic("orders", secret))]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    let events = json["events"].as_array().unwrap().iter();
    events.map(|event| (event["event"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
}

/// The number of the last change.
fn head(app: &TestApp, secret: &str) -> i64 {
    app.settle_status();
    feed(app, secret, None)[0].1["n"].as_i64().unwrap()
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

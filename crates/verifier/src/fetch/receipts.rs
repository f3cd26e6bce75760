//! Receipts: tells the issuer how far this verifier is, so that an operator sees where a revocation is in force.

use std::time::Duration;

use aws_lc_rs::rand;
use serde::Serialize;
use tokio::sync::Notify;

use super::http::Credentials;
use super::{Endpoints, Shared};
use crate::base64url;
use crate::status::Status;

/// How often, if nobody asks.
const EVERY: Duration = Duration::from_secs(10);
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 128;
/// How long the end of a verifier is told, at most.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Receipt<'r> {
    verifier: &'r str,
    name: &'r str,
    seq: u64,
    leaves: bool,
}

/// What tells the issuer.
pub(super) struct Receipts {
    status: Status,
    credentials: Credentials,
    /// 16 random bytes in base64url.
    verifier: String,
    name: String,
}

impl Receipts {
    /// None without randomness.
    pub(super) fn new(status: Status, credentials: Credentials, name: &str) -> Option<Self> {
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        Some(Self { status, credentials, verifier: base64url::encode(&id), name: printable(name) })
    }

    /// For ever: whenever `wanted`, and now and then. Nothing waits for it, and nothing is lost if a receipt is.
    pub(super) async fn run(&self, shared: &Shared, wanted: &Notify) {
        loop {
            tokio::select! {
                () = wanted.notified() => {}
                () = shared.sleep(EVERY) => {}
            }
            let endpoints = shared.when_known().await;
            self.post(shared, &endpoints, false).await;
        }
    }

    /// Says that nobody need wait for this verifier any more.
    pub(super) async fn leave(&self, shared: &Shared) {
        let endpoints = shared.endpoints.borrow().clone();
        if let Some(endpoints) = endpoints {
            drop(tokio::time::timeout(FAREWELL, self.post(shared, &endpoints, true)).await);
        }
    }

    async fn post(&self, shared: &Shared, endpoints: &Endpoints, leaves: bool) {
        let receipt = Receipt { verifier: &self.verifier, name: &self.name, seq: self.status.seq(), leaves };
        let (Some(url), Ok(json)) = (address(endpoints), serde_json::to_string(&receipt)) else { return };
        if let Err(fault) = shared.http.post(&url, json, &self.credentials).await {
            tracing::debug!(fault, "a receipt was not taken");
        }
    }
}

/// A name that the issuer takes.
fn printable(name: &str) -> String {
    let mut printable: String = name.chars().filter(|char| !char.is_control()).collect();
    printable.truncate(printable.floor_char_boundary(MAX_NAME_BYTES));
    printable
}

fn address(endpoints: &Endpoints) -> Option<String> {
    let beside_the_feed = || {
        let events = endpoints.status_events_endpoint.as_deref()?;
        Some(format!("{}/receipts", events.strip_suffix("/events")?))
    };
    endpoints.status_receipts_endpoint.clone().or_else(beside_the_feed)
}

/// What this machine is called.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_the_issuer_takes() {
        assert_eq!(printable("orders\n-\u{e4}"), "orders-\u{e4}");
        assert_eq!(printable(&"\u{e4}".repeat(100)).len(), 128);
        assert_eq!(printable(&format!("x{}", "\u{e4}".repeat(100))).len(), 127);
    }

    #[test]
    fn receipts_go_where_the_issuer_says_or_beside_the_feed() {
        let events = |url: &str| Endpoints { status_events_endpoint: Some(url.to_owned()), ..Endpoints::default() };
        let beside = address(&events("https://as.example/status/events"));
        assert_eq!(beside.as_deref(), Some("https://as.example/status/receipts"));
        assert_eq!(address(&events("https://as.example/feed")), None);
        let said = Endpoints {
            status_receipts_endpoint: Some("https://as.example/r".to_owned()),
            ..events("https://as.example/status/events")
        };
        assert_eq!(address(&said).as_deref(), Some("https://as.example/r"));
    }
}

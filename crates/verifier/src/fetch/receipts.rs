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
/// The most characters of a name.
const MAX_NAME: usize = 100;

#[derive(Serialize)]
struct Receipt<'r> {
    verifier: &'r str,
    name: &'r str,
    seq: u64,
    age_ms: u64,
}

/// For ever. Nothing waits for it, and nothing is lost if a receipt is.
pub(super) async fn run(
    shared: &Shared,
    status: &Status,
    credentials: Option<Credentials>,
    reports: &Notify,
    name: &str,
) {
    let mut id = [0; 16];
    let random = rand::fill(&mut id).is_ok();
    // Who may not use the feed has nobody to report to.
    let Some(credentials) = credentials.filter(|_| random) else { return std::future::pending().await };
    let verifier = base64url::encode(&id);
    let name: String = name.chars().filter(|char| !char.is_control()).take(MAX_NAME).collect();
    loop {
        tokio::select! {
            () = reports.notified() => {}
            () = shared.sleep(EVERY) => {}
        }
        let endpoints = shared.when_known().await;
        let (Some(url), Some(age)) = (address(&endpoints), status.age()) else { continue };
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let receipt = Receipt { verifier: &verifier, name: &name, seq: status.seq(), age_ms };
        let Ok(json) = serde_json::to_string(&receipt) else { continue };
        if let Err(fault) = shared.http.post(&url, json, &credentials).await {
            tracing::debug!(fault, "a receipt was not taken");
        }
    }
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

//! The keys, fetched before they are old, and when a token names one that is not known. One fetch at a time: whoever else
//! wants one meanwhile finds its outcome.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use super::http::Fault;
use super::pace::{Bucket, Unknown, jitter, refresh_after};
use super::{Endpoints, Shared, discovery};
use crate::keys::{self, KeySet};

/// How long keys are relied on that could not be fetched again.
const MAX_AGE: Duration = Duration::from_hours(24);
/// The longest wait after a fetch that failed.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A token named a key that is not known.
#[derive(Debug)]
pub(crate) struct Miss {
    pub(crate) kid: String,
    /// Hears when there is nothing more to wait for.
    pub(crate) waiter: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(super) struct Jwks {
    shared: Arc<Shared>,
    etag: Option<HeaderValue>,
    bucket: Bucket,
    unknown: Unknown,
    /// How often it failed in a row.
    failures: u32,
    next_at: Duration,
}

impl Jwks {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = shared.clock.monotonic();
        let (bucket, unknown) = (Bucket::new(now, shared.pace), Unknown::new(shared.pace));
        Self { shared, etag: None, bucket, unknown, failures: 0, next_at: now }
    }

    /// Until nobody can ask any more.
    pub(super) async fn run(mut self, mut misses: mpsc::Receiver<Miss>) {
        self.refresh("start").await;
        loop {
            let wait = self.next_at.saturating_sub(self.shared.clock.monotonic());
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                miss = misses.recv() => match miss {
                    Some(miss) if self.shared.fetches_keys => self.missed(miss).await,
                    Some(_) => {}
                    None => return,
                },
                () = shared.keys_wanted.notified() => {
                    if self.shared.fetches_keys && self.bucket.take(self.shared.clock.monotonic()) {
                        self.refresh("checkpoint").await;
                    }
                }
                () = tokio::time::sleep(wait) => self.refresh("schedule").await,
            }
        }
    }

    async fn missed(&mut self, miss: Miss) {
        let now = self.shared.clock.monotonic();
        let known = |shared: &Shared| shared.key_set().is_some_and(|keys| keys.find(&miss.kid).is_some());
        // Over budget nobody waits: the next token of that key asks again.
        if !known(&self.shared) && !self.unknown.contains(&miss.kid, now) && self.bucket.take(now) {
            self.refresh("miss").await;
            if !known(&self.shared) {
                self.unknown.insert(miss.kid, self.shared.clock.monotonic());
            }
        }
        if let Some(waiter) = miss.waiter {
            // It may have gone away.
            let _ = waiter.send(());
        }
    }

    /// Asks for the keys, and says when to ask again. Keys stay until there are better ones.
    async fn refresh(&mut self, reason: &'static str) {
        let outcome = self.fetch().await;
        let pace = self.shared.pace;
        let wait = match &outcome {
            Ok(max_age) => {
                self.failures = 0;
                refresh_after(*max_age)
            }
            Err(fault) => {
                let wait = Duration::from_secs(1).saturating_mul(1 << self.failures.min(5)).min(LONGEST_RETRY);
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(fault, reason, "the issuer's keys could not be fetched");
                wait / 2 + jitter(wait / 2)
            }
        };
        self.next_at = self.shared.clock.monotonic().saturating_add(pace.of(wait));
        self.shared.observer.jwks_refreshed(reason, outcome.is_ok());
    }

    async fn fetch(&mut self) -> Result<Option<Duration>, Fault> {
        let endpoints = self.endpoints().await?;
        if !self.shared.fetches_keys {
            self.shared.keys_changed.send_replace(());
            return Ok(None);
        }
        let url = endpoints.jwks_uri.as_deref().ok_or("metadata")?;
        let etag = self.etag.as_ref().filter(|_| self.shared.key_set().is_some());
        let document = self.shared.http.get(url, "application/jwk-set+json, application/json", etag, keys::MAX_BYTES);
        let document = document.await?;
        if let Some(body) = document.body {
            let keys = KeySet::parse(&body).map_err(|error| {
                tracing::warn!(%error, "the issuer's JWKS is refused; the keys before it stay");
                "bad_jwks"
            })?;
            self.shared.keys.replace(keys);
            self.etag = document.etag;
        }
        let good_until = self.shared.clock.monotonic().saturating_add(self.shared.pace.of(MAX_AGE));
        self.shared.keys.rely_until(good_until);
        self.shared.keys_changed.send_replace(());
        Ok(document.max_age)
    }

    /// Where everything is. After failures the issuer is asked anew: it may have moved.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, Fault> {
        let Shared { http, issuer, given, .. } = &*self.shared;
        let known = self.shared.endpoints.borrow().clone();
        if let Some(known) = known.clone().filter(|known| self.failures == 0 && self.shared.has_all(known)) {
            return Ok(known);
        }
        // By hand means by hand: nobody who was not named is asked.
        let named = given.jwks_uri.is_some() || !self.shared.fetches_keys && given.all().next().is_some();
        let found = if named {
            given.clone()
        } else {
            match (discovery::discover(http, issuer, given).await, known) {
                (Ok(found), _) => found,
                // Something is missing in what is known, and what is there will do.
                (Err(_), Some(known)) if self.failures == 0 => return Ok(known),
                (Err(fault), _) => return Err(fault),
            }
        };
        let found = Arc::new(found);
        self.shared.endpoints.send_replace(Some(Arc::clone(&found)));
        Ok(found)
    }
}

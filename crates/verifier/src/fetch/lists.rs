//! The signed status lists: fetched at the start, when a feed cannot go on, and again and again where there is no feed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::http::{Fault, NOT_FOUND};
use super::{Endpoints, Shared};
use crate::feed::MAX_LISTS;
use crate::status::{Follower, TakenList};
use crate::status_list::MAX_TOKEN_BYTES;
use crate::{Rejected, json, status_list};

/// The most bytes of what lists there are.
const MAX_BYTES: usize = 256 * 1024;
/// How often lists are asked for that do not say.
const USUAL_TTL: Duration = Duration::from_secs(15);
/// Between these they may say. A list that is asked for less often would be too old before it is asked for again.
const TTLS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

#[derive(Deserialize)]
struct Aggregation {
    status_lists: Vec<String>,
}

/// A list as it was fetched last.
#[derive(Debug, Default)]
struct Fetched {
    etag: Option<HeaderValue>,
    taken: TakenList,
}

/// A list to ask for, and whether the issuer names it or it is only known from before.
struct Named {
    number: u64,
    is_named: bool,
}

#[derive(Debug)]
pub(super) struct Lists {
    shared: Arc<Shared>,
    pub(super) follower: Follower,
    fetched: BTreeMap<u64, Fetched>,
}

impl Lists {
    pub(super) fn new(shared: Arc<Shared>, follower: Follower) -> Self {
        Self { shared, follower, fetched: BTreeMap::new() }
    }

    /// Fetches every list there is, whatever is known of them.
    pub(super) async fn fetch_all(&mut self, endpoints: &Endpoints) -> Result<(), Fault> {
        for Named { number, is_named } in self.numbers(endpoints).await? {
            let fetched = self.fetch(number, false).await;
            if !self.is_gone(number, is_named, &fetched) {
                fetched?;
            }
        }
        Ok(())
    }

    /// Whether the issuer neither names a list nor has it: its database was put back to a time before that list. Then it is
    /// forgotten; of a token that names it nothing is known.
    fn is_gone(&mut self, number: u64, is_named: bool, fetched: &Result<TakenList, Fault>) -> bool {
        let is_gone = !is_named && fetched.as_ref().is_err_and(|fault| *fault == NOT_FOUND);
        if is_gone {
            self.fetched.remove(&number);
            self.follower.forget_list(number);
        }
        is_gone
    }

    /// Fetches the lists that there are said to be and that are not known.
    pub(super) async fn fetch_missing(&mut self) -> Result<(), Fault> {
        for number in self.follower.missing() {
            self.fetch(number, false).await?;
        }
        Ok(())
    }

    /// A round of polls: asks for every list whether it has changed. All is known to be current then. How long to wait
    /// before the next comes back.
    pub(super) async fn poll(&mut self, endpoints: &Endpoints) -> Result<Duration, Fault> {
        let mut wait = None;
        let mut as_of = i64::MAX;
        for Named { number, is_named } in self.numbers(endpoints).await? {
            let fetched = self.fetch(number, true).await;
            if self.is_gone(number, is_named, &fetched) {
                continue;
            }
            let taken = fetched?;
            // What was served is older than what is known: somebody on the way keeps it.
            if taken.is_older {
                return Err("older");
            }
            as_of = as_of.min(taken.iat);
            let ttl = taken.ttl.map_or(USUAL_TTL, Duration::from_secs).clamp(TTLS.0, TTLS.1);
            wait = Some(wait.map_or(ttl, |wait: Duration| wait.min(ttl)));
        }
        self.follower.confirm(as_of);
        Ok(wait.unwrap_or(USUAL_TTL))
    }

    /// The numbers of the lists there are.
    async fn numbers(&self, endpoints: &Endpoints) -> Result<Vec<Named>, Fault> {
        let Some(url) = &endpoints.status_list_aggregation_endpoint else {
            return Ok(vec![Named { number: 0, is_named: true }]);
        };
        let document = self.shared.http.get(url, "application/json", None, MAX_BYTES).await?;
        let aggregation: Aggregation = document.body.as_deref().and_then(json::parse).ok_or("aggregation")?;
        // Lists of others are no concern of ours: no token that we accept names one.
        let ours = |uri: &String| {
            let number = uri.rsplit_once('/')?.1.parse().ok()?;
            (number < MAX_LISTS && *uri == status_list::uri(&self.shared.issuer, number)).then_some(number)
        };
        // What lists there are is not signed: one that was known once is asked for all the same.
        let named: BTreeMap<u64, bool> =
            aggregation.status_lists.iter().filter_map(ours).map(|number| (number, true)).collect();
        // An issuer has one list at least.
        if named.is_empty() {
            return Err("aggregation");
        }
        let mut numbers: BTreeMap<u64, bool> = self.fetched.keys().map(|known| (*known, false)).collect();
        numbers.extend(named);
        Ok(numbers.into_iter().map(|(number, is_named)| Named { number, is_named }).collect())
    }

    async fn fetch(&mut self, number: u64, if_changed: bool) -> Result<TakenList, Fault> {
        let url = status_list::uri(&self.shared.issuer, number);
        let known = self.fetched.entry(number).or_default();
        let etag = known.etag.clone().filter(|_| if_changed);
        let accept = "application/statuslist+jwt";
        let document = self.shared.http.get(&url, accept, etag.as_ref(), MAX_TOKEN_BYTES).await?;
        let Some(body) = document.body else {
            // Draft §8.3: what has expired must not be relied on, even if there is nothing newer.
            let expired = known.taken.exp.is_some_and(|exp| exp <= self.shared.clock.unix_seconds());
            return if expired || etag.is_none() { Err("expired") } else { Ok(known.taken) };
        };
        let token = str::from_utf8(&body).map_err(|_| "bad_list")?;
        let keys = self.shared.key_set().ok_or("no_keys")?;
        let taken = self.follower.take_list(number, token.trim_ascii(), &keys).map_err(|rejected| {
            if rejected == Rejected::UnknownKey {
                self.shared.keys_wanted.notify_one();
            }
            tracing::warn!(list = number, code = rejected.code(), "a status list is refused");
            "bad_list"
        })?;
        self.fetched.insert(number, Fetched { etag: document.etag, taken });
        Ok(taken)
    }
}

//! The status feed: a stream of events, or the same by long polls where something on the way holds streams back, or rounds
//! of polls where the feed is refused. Whatever breaks, what is known stays in force and grows old.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::http::{Credentials, Fault, fault_of, read_body};
use super::lists::Lists;
use super::pace::jitter;
use super::sse::{Parser, RawEvent};
use super::{Endpoints, Shared};
use crate::feed::Event;
use crate::json;
use crate::status::Next;

/// Two missed beats and a little: the connection is dead, even if nobody said so.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest wait before a connection is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// A connection that lived so long did not fail at once.
const LIVED: Duration = Duration::from_secs(10);
/// How long polls stand in for a feed that was refused, the first time, the second and from then on: a client may just have
/// been made, and not every instance knows it yet.
const REFUSED_FOR: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];
/// How long rounds of polls go on before it is looked whether there is a feed.
const NO_FEED_FOR: Duration = Duration::from_mins(5);
/// How long a long poll may take.
const LONG_POLL: Duration = Duration::from_secs(25);
/// How long long polls stand in for streams.
const LONG_POLLS_FOR: Duration = Duration::from_mins(10);
/// The most bytes of a long poll's answer.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Try again from where we are.
    Broken(Fault),
    /// Fetch the lists, then try again.
    Resync(Fault),
    /// The issuer does not let us: the status of its answer.
    Refused(u16),
    /// It began, and nothing came.
    Mute,
}

#[derive(Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    lists: Lists,
    credentials: Option<Credentials>,
    /// Hears when the issuer wants a report.
    reports: Arc<Notify>,
    /// How often a connection began and nothing came, in a row.
    mute: u32,
    /// How often it was refused in a row.
    refusals: usize,
    connected: bool,
    /// When lists that are missing are asked for again.
    lists_at: Duration,
}

impl Feed {
    pub(super) fn new(
        shared: Arc<Shared>,
        lists: Lists,
        credentials: Option<Credentials>,
        reports: Arc<Notify>,
    ) -> Self {
        Self { shared, lists, credentials, reports, mute: 0, refusals: 0, connected: false, lists_at: Duration::ZERO }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        self.begin().await;
        let mut failed_at_once = false;
        let mut gaps = 0;
        loop {
            // They may have moved while keys could not be fetched.
            let endpoints = self.shared.when_known().await;
            let (Some(credentials), Some(events)) =
                (self.credentials.clone(), endpoints.status_events_endpoint.clone())
            else {
                if self.credentials.is_some() {
                    tracing::warn!("the issuer has no status feed; the verifier polls");
                }
                // The metadata may have been an old copy.
                self.poll(&endpoints, NO_FEED_FOR).await;
                continue;
            };
            let began_at = self.shared.clock.monotonic();
            let ended = if self.mute >= 2 {
                self.long_polls(&events, &credentials).await
            } else {
                self.stream(&events, &credentials).await
            };
            self.note_end(ended);
            gaps = if ended == Ended::Broken("gap") { gaps + 1 } else { 0 };
            // Once it may be the way; twice the issuer has no more what we lack.
            let ended = if gaps > 1 { Ended::Resync("gap") } else { ended };
            let lived = self.shared.clock.monotonic().saturating_sub(began_at) >= self.shared.pace.of(LIVED);
            match ended {
                Ended::Refused(status) => {
                    let wait = self.refused(status);
                    self.poll(&endpoints, wait).await;
                }
                Ended::Resync(_) => {
                    // Whether or not it helps: a feed that goes on at least tightens.
                    if let Err(fault) = self.lists.fetch_all(&endpoints).await {
                        tracing::warn!(fault, "the status lists could not be fetched");
                    }
                }
                Ended::Broken(_) | Ended::Mute => {}
            }
            // At once the first time; who fails at once again waits, and not as long as the others.
            if failed_at_once && !lived {
                self.shared.sleep(jitter(RETRY)).await;
            }
            failed_at_once = !lived;
        }
    }

    /// Fetches all lists, however often it takes: without them there is nothing to follow.
    async fn begin(&mut self) {
        let mut told = None;
        while let Err(fault) = self.lists.fetch_all(&*self.shared.when_known().await).await {
            // Once for each reason, not every two seconds.
            if told.replace(fault) != Some(fault) {
                tracing::warn!(fault, issuer = self.shared.issuer, "the status lists could not be fetched");
            }
            self.shared.sleep(Duration::from_millis(500) + jitter(RETRY)).await;
        }
    }

    fn note_end(&mut self, ended: Ended) {
        self.mute = if ended == Ended::Mute { self.mute.saturating_add(1) } else { 0 };
        let reason = match ended {
            Ended::Broken(reason) | Ended::Resync(reason) => reason,
            Ended::Refused(_) => "refused",
            Ended::Mute => "mute",
        };
        self.connected = false;
        self.shared.observer.feed_disconnected(reason);
        tracing::info!(reason, "the status feed ended");
    }

    /// Counts a refusal, and says for how long polls stand in.
    fn refused(&mut self, status: u16) -> Duration {
        let [.., longest] = REFUSED_FOR;
        let wait = REFUSED_FOR.get(self.refusals).copied().unwrap_or(longest);
        self.refusals = self.refusals.saturating_add(1);
        tracing::warn!(
            client_id = self.credentials.as_ref().map(Credentials::client_id),
            status,
            again_after_seconds = wait.as_secs(),
            "the status feed is refused to this client; the lists are polled meanwhile"
        );
        wait
    }

    /// Rounds of polls, for so long.
    async fn poll(&mut self, endpoints: &Endpoints, span: Duration) {
        let began_at = self.shared.clock.monotonic();
        loop {
            let wait = match self.lists.poll(endpoints).await {
                Ok(wait) => wait,
                Err(fault) => {
                    tracing::warn!(fault, "the status lists could not be polled");
                    RETRY + jitter(RETRY)
                }
            };
            let wait = self.shared.pace.of(wait);
            let passed = self.shared.clock.monotonic().saturating_sub(began_at);
            let left = self.shared.pace.of(span).saturating_sub(passed);
            tokio::time::sleep(wait.min(left)).await;
            if wait >= left {
                return;
            }
        }
    }

    /// A connection as a stream of events.
    async fn stream(&mut self, events: &str, credentials: &Credentials) -> Ended {
        let Some(since) = self.lists.follower.connect() else { return Ended::Resync("no_lists") };
        let url = format!("{events}?since={since}");
        let silence = self.shared.pace.of(SILENCE);
        let opened = self.shared.http.open(&url, "text/event-stream", credentials);
        let mut answer = match tokio::time::timeout(silence, opened).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => return Ended::Broken(fault),
            Err(_) => return Ended::Broken("timeout"),
        };
        if let Some(ended) = refusal(&answer, "text/event-stream") {
            return ended;
        }
        let (mut parser, mut began) = (Parser::default(), false);
        loop {
            let chunk = match tokio::time::timeout(silence, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ended::Broken("closed"),
                Ok(Err(error)) => return Ended::Broken(fault_of(&error)),
                Err(_) if began => return Ended::Broken("silence"),
                Err(_) => return Ended::Mute,
            };
            began = true;
            let Ok(events) = parser.push(&chunk) else { return Ended::Broken("malformed") };
            if let Some(ended) = self.take(events).await {
                return ended;
            }
        }
    }

    /// The same events, asked for again and again.
    async fn long_polls(&mut self, events: &str, credentials: &Credentials) -> Ended {
        let began_at = self.shared.clock.monotonic();
        let over = self.shared.pace.of(LONG_POLLS_FOR);
        while self.shared.clock.monotonic().saturating_sub(began_at) < over {
            let Some(since) = self.lists.follower.connect() else { return Ended::Resync("no_lists") };
            let url = format!("{events}?since={since}&wait=20");
            let opened = self.shared.http.open(&url, "application/json", credentials);
            let whole = async {
                let answer = opened.await.map_err(Ended::Broken)?;
                match refusal(&answer, "application/json") {
                    Some(ended) => Err(ended),
                    None => read_body(answer, MAX_BYTES).await.map_err(Ended::Broken),
                }
            };
            let body = match tokio::time::timeout(LONG_POLL, whole).await {
                Ok(Ok(body)) => body,
                Ok(Err(ended)) => return ended,
                Err(_) => return Ended::Broken("timeout"),
            };
            let Some(LongPoll { events }) = json::parse(&body) else { return Ended::Broken("malformed") };
            let ended = self.take(events.into_iter().map(PolledEvent::into_raw).collect()).await;
            if let Some(ended) = ended {
                return ended;
            }
        }
        // Streams may work again.
        Ended::Broken("long_polls_over")
    }

    /// Takes events, and does what they call for. How the connection ends comes back, if it does.
    async fn take(&mut self, events: Vec<RawEvent>) -> Option<Ended> {
        for RawEvent { name, data } in events {
            let Ok(event) = Event::parse(&name, &data) else { return Some(Ended::Broken("malformed")) };
            let Some(event) = event else { continue };
            let Some(keys) = self.shared.key_set() else { return Some(Ended::Broken("no_keys")) };
            let taken = self.lists.follower.apply(&event, &keys);
            if taken.report {
                self.reports.notify_one();
            }
            let beats = matches!(event, Event::Beat(_));
            let next = if taken.next == Next::FetchLists || taken.next == Next::Continue && beats {
                self.fetch_missing().await
            } else {
                taken.next
            };
            match next {
                Next::Continue | Next::FetchLists => {}
                Next::RefreshKeys => self.shared.keys_wanted.notify_one(),
                Next::Reconnect(reason) => return Some(Ended::Broken(reason)),
                Next::Resync(reason) => return Some(Ended::Resync(reason)),
            }
            if !self.connected && matches!(event, Event::Hello(_)) {
                self.connected = true;
                self.refusals = 0;
                tracing::info!("the status feed is followed");
                self.shared.observer.feed_connected();
                // An operator who waits for verifiers must know of this one.
                self.reports.notify_one();
            }
        }
        None
    }

    /// Fetches lists that are missing, now and then. If that fails the feed goes on: it tightens the others.
    async fn fetch_missing(&mut self) -> Next {
        let now = self.shared.clock.monotonic();
        if now < self.lists_at || self.lists.follower.missing().is_empty() {
            return Next::Continue;
        }
        let fetched = self.lists.fetch_missing().await;
        if let Err(fault) = fetched {
            tracing::warn!(fault, "a new status list could not be fetched");
            self.lists_at = now.saturating_add(self.shared.pace.of(SILENCE));
        }
        self.lists.follower.after_lists()
    }
}

/// The answer to a long poll.
#[derive(Deserialize)]
struct LongPoll {
    events: Vec<PolledEvent>,
}

#[derive(Deserialize)]
struct PolledEvent {
    event: String,
    data: Value,
}

impl PolledEvent {
    /// A checkpoint is a text, everything else an object.
    fn into_raw(self) -> RawEvent {
        let data = match self.data {
            Value::String(text) => text,
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        RawEvent { name: self.event, data }
    }
}

/// Whether the answer is none, and how the connection ends then.
fn refusal(answer: &Response, content_type: &str) -> Option<Ended> {
    match answer.status() {
        StatusCode::OK => {
            let value = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let essence = value.split(';').next().unwrap_or_default().trim();
            (!essence.eq_ignore_ascii_case(content_type)).then_some(Ended::Broken("content_type"))
        }
        // RFC 6749 §5.2: who authenticates is answered 400 or 401.
        status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Some(Ended::Refused(status.as_u16()))
        }
        _ => Some(Ended::Broken("status")),
    }
}

//! Brings in what a verifier looks up: keys, status lists, the status feed. One thread with a runtime of its own, so that
//! it works in any program, synchronous or not, whatever that program's threads are busy with.

mod discovery;
mod feed;
mod http;
mod jwks;
mod lists;
mod pace;
mod receipts;
mod sse;

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::keys::KeySet;
use crate::observer::Observer;
use crate::status::{Follower, Status};
use crate::verifier::KeyStore;
use crate::{BuildError, issuer_url};
use feed::Feed;
use http::{Credentials, Http};
use jwks::{Jwks, Miss};
use lists::Lists;
use pace::Pace;
use receipts::Receipts;

/// How many misses may wait to be looked at. More are forgotten: the tokens are refused already.
const MISSES: usize = 64;
/// How often an observer hears how old the status is.
const OBSERVED_EVERY: Duration = Duration::from_secs(2);
/// After so long without news the log says so: longer than a round of polls.
const BLIND_AFTER: Duration = Duration::from_secs(45);
/// How long a request waits for a key at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client's secret. Never printed.
///
/// ```
/// use countersign_verifier::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("open sesame")), "Secret(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes charge of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Addresses that are given by hand. With a `jwks_uri` the issuer's metadata is not asked for.
///
/// ```
/// use countersign_verifier::{Endpoints, Verifier};
///
/// let endpoints = Endpoints { jwks_uri: Some("https://cdn.example/jwks.json".to_owned()), ..Endpoints::default() };
/// let builder = Verifier::builder("https://as.example", "https://orders.example").endpoints(endpoints);
/// # let _ = builder;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The JWKS.
    pub jwks_uri: Option<String>,
    /// What lists there are (draft-ietf-oauth-status-list §9.1).
    pub status_list_aggregation_endpoint: Option<String>,
    /// The status feed.
    pub status_events_endpoint: Option<String>,
    /// Where a verifier reports how far it is.
    pub status_receipts_endpoint: Option<String>,
}

impl Endpoints {
    fn all(&self) -> impl Iterator<Item = &str> {
        let Self {
            jwks_uri,
            status_list_aggregation_endpoint: lists,
            status_events_endpoint: events,
            status_receipts_endpoint: receipts,
        } = self;
        [jwks_uri, lists, events, receipts].into_iter().filter_map(Option::as_deref)
    }
}

/// How the status is fetched.
#[derive(Clone, Debug)]
pub(crate) enum FetchStatus {
    Feed { client_id: String, client_secret: Secret },
    Poll,
}

/// What is to be fetched, and for whom.
pub(crate) struct Plan {
    pub(crate) issuer: String,
    pub(crate) given: Endpoints,
    pub(crate) status: Option<FetchStatus>,
    /// What receipts call this verifier.
    pub(crate) name: Option<String>,
    pub(crate) clock: Clock,
    pub(crate) keys: Arc<KeyStore>,
    /// Whether keys are fetched, or those that are there stay.
    pub(crate) fetches_keys: bool,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) hurry: u32,
}

/// What the tasks of the thread have in common.
struct Shared {
    issuer: String,
    given: Endpoints,
    http: Http,
    clock: Clock,
    pace: Pace,
    keys: Arc<KeyStore>,
    fetches_keys: bool,
    /// Whether the status is fetched, and whether by the feed.
    wants_status: bool,
    wants_feed: bool,
    observer: Arc<dyn Observer>,
    /// Where everything is, once that is known.
    endpoints: watch::Sender<Option<Arc<Endpoints>>>,
    /// The keys were asked for, with success.
    keys_changed: watch::Sender<()>,
    /// A checkpoint or a list was signed with a key that is not known.
    keys_wanted: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Shared {
    fn key_set(&self) -> Option<Arc<KeySet>> {
        self.keys.current(&self.clock).and_then(|keys| keys.clone())
    }

    /// Whether these name everything that is wanted. A copy from before the issuer had a feed does not.
    fn has_all(&self, endpoints: &Endpoints) -> bool {
        let has_lists = endpoints.status_list_aggregation_endpoint.is_some() || !self.wants_status;
        has_lists && (endpoints.status_events_endpoint.is_some() || !self.wants_feed)
    }

    /// Where everything is, and keys to check signatures with, as soon as there are both.
    async fn when_known(&self) -> Arc<Endpoints> {
        let mut changed = self.keys_changed.subscribe();
        loop {
            let endpoints = self.endpoints.borrow().clone();
            if let (Some(endpoints), Some(_)) = (endpoints, self.key_set()) {
                return endpoints;
            }
            // The sender lives as long as this.
            let _ = changed.changed().await;
        }
    }

    /// Waits at this verifier's pace.
    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.pace.of(span)).await;
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    misses: mpsc::Sender<Miss>,
    runtime: Handle,
}

impl Background {
    /// Starts it. The status comes back that it keeps up to date.
    pub(crate) fn start(plan: Plan) -> Result<(Self, Option<Status>), BuildError> {
        for url in plan.given.all() {
            issuer_url::permitted(url)?;
        }
        let credentials = match &plan.status {
            Some(FetchStatus::Feed { client_id, client_secret }) => {
                Some(Credentials::new(client_id, client_secret).ok_or(BuildError::Credentials)?)
            }
            Some(FetchStatus::Poll) | None => None,
        };
        let follower = plan.status.as_ref().map(|_| Follower::with_clock(&plan.issuer, plan.clock.clone()));
        let status = follower.as_ref().map(Follower::status);
        let (misses, missed) = mpsc::channel(MISSES);
        let name = plan.name.clone().unwrap_or_else(receipts::host_name);
        let shared = Arc::new(Shared {
            issuer: plan.issuer,
            given: plan.given,
            http: Http::new().map_err(|_| BuildError::Tls)?,
            clock: plan.clock,
            pace: Pace(plan.hurry),
            keys: plan.keys,
            fetches_keys: plan.fetches_keys,
            wants_status: plan.status.is_some(),
            wants_feed: credentials.is_some(),
            observer: plan.observer,
            endpoints: watch::Sender::new(None),
            keys_changed: watch::Sender::new(()),
            keys_wanted: Notify::new(),
        });
        let tasks = run(shared, missed, follower, credentials, name);
        let runtime = spawn(tasks)?;
        Ok((Self { misses, runtime }, status))
    }

    /// Notes that a key is not known. Never waits.
    pub(crate) fn miss(&self, kid: &str) {
        // Over budget: the token is refused as it is.
        let _ = self.misses.try_send(Miss { kid: kid.to_owned(), waiter: None });
    }

    /// Hears when a look for a key is over, whatever came of it, or has taken too long.
    pub(crate) fn look_for(&self, kid: &str) -> oneshot::Receiver<()> {
        let (waiter, mut looked) = oneshot::channel();
        let (mut end, over) = oneshot::channel();
        // If it cannot be sent, the waiter is dropped and the wait is over.
        let _ = self.misses.try_send(Miss { kid: kid.to_owned(), waiter: Some(waiter) });
        self.runtime.spawn(async move {
            tokio::select! {
                _ = &mut looked => {}
                () = end.closed() => {}
                () = tokio::time::sleep(PATIENCE) => {}
            }
            // It may have gone away.
            let _ = end.send(());
        });
        over
    }
}

/// Starts the thread. Its runtime is made and dropped inside it: a caller may be in a runtime of its own, which allows
/// neither.
fn spawn(tasks: impl Future<Output = ()> + Send + 'static) -> Result<Handle, BuildError> {
    let (began, beginning) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Whoever waits for this is there until it has come.
        let _ = began.send(runtime.as_ref().ok().map(|runtime| runtime.handle().clone()));
        if let Ok(runtime) = runtime {
            runtime.block_on(tasks);
        }
    };
    let thread = thread::Builder::new().name("countersign-verifier".to_owned()).spawn(body);
    thread.ok().and_then(|_| beginning.recv().ok().flatten()).ok_or(BuildError::Thread)
}

/// All of the thread's work, until nobody has the verifier any more.
async fn run(
    shared: Arc<Shared>,
    misses: mpsc::Receiver<Miss>,
    follower: Option<Follower>,
    credentials: Option<Credentials>,
    name: String,
) {
    let keys = Jwks::new(Arc::clone(&shared)).run(misses);
    let Some(follower) = follower else { return keys.await };
    let status = follower.status();
    let reports = Arc::new(Notify::new());
    let lists = Lists::new(Arc::clone(&shared), follower);
    // Who may not use the feed has nobody to report to.
    let receipts = credentials.clone().and_then(|credentials| Receipts::new(status.clone(), credentials, &name));
    let reporting = async {
        match &receipts {
            Some(receipts) => receipts.run(&shared, &reports).await,
            None => std::future::pending().await,
        }
    };
    let feed = Feed::new(Arc::clone(&shared), lists, credentials, Arc::clone(&reports)).run();
    tokio::select! {
        () = keys => {}
        () = feed => {}
        () = reporting => {}
        () = observe(&shared, &status) => {}
    }
    if let Some(receipts) = receipts {
        receipts.leave(&shared).await;
    }
}

async fn observe(shared: &Shared, status: &Status) {
    let mut is_blind = false;
    loop {
        shared.sleep(OBSERVED_EVERY).await;
        let blind = status.age().is_none_or(|age| age > shared.pace.of(BLIND_AFTER));
        // Told once, not every two seconds.
        if blind != std::mem::replace(&mut is_blind, blind) {
            let since = status.age().map(|age| age.as_secs());
            if blind {
                tracing::warn!(
                    seconds = since,
                    "nothing is heard of what is over; after max_stale tokens are answered 503"
                );
            } else {
                tracing::info!("what is over is known again");
            }
        }
        if let Some(age) = status.age() {
            shared.observer.status_age(age);
            shared.observer.status_seq(status.seq());
        }
    }
}

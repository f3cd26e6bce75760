//! How a verifier is set up. What cannot be right is refused here, before a token is seen.

use std::sync::Arc;
use std::time::Duration;

use crate::Verifier;
use crate::clock::Clock;
use crate::dpop::Dpop;
#[cfg(feature = "fetch")]
use crate::fetch::{Background, Endpoints, FetchStatus, Plan, Secret};
use crate::issuer_url::{self, UrlError};
use crate::keys::KeySet;
use crate::observer::{Observer, Silent};
use crate::status::Status;
use crate::verifier::{Inner, KeyStore, Policy};

/// The largest leeway; more would be a second life for every token.
const MAX_LEEWAY: Duration = Duration::from_mins(2);
/// The longest time without news: after half an hour the issuer gives what ended to somebody else.
const LONGEST_STALE: Duration = Duration::from_mins(15);

/// What becomes of tokens when it has not been known for `max_stale` which ones were revoked.
///
/// ```
/// use countersign_verifier::OnStale;
///
/// assert_eq!(OnStale::default(), OnStale::Refuse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// They are answered 503 until it is known again.
    #[default]
    Refuse,
    /// They are accepted, as if there were no revocation: each is over within minutes anyway.
    AcceptUntilExpiry,
}

/// Where a verifier learns of revocations.
///
/// ```
/// use countersign_verifier::StatusSource;
/// use countersign_verifier::status::Follower;
///
/// let source = StatusSource::Given(Follower::new("https://as.example").status());
/// assert!(matches!(source, StatusSource::Given(_)));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum StatusSource {
    /// It does not: a token is good until it expires.
    #[default]
    None,
    /// From a status that the program keeps up to date itself.
    Given(Status),
    /// From the issuer's feed, within a second or so. The client is one that may read it. Without leave it is as with
    /// `Poll`.
    #[cfg(feature = "fetch")]
    Feed {
        /// Who the service is to the issuer.
        client_id: String,
        /// How it proves that.
        client_secret: Secret,
    },
    /// From the signed lists, fetched again and again: within some fifteen seconds, and without a client. It hears of every
    /// grant that ended, for whatever reason, and of a client's own tokens when the client is disabled. It does not hear that one
    /// token of a machine was revoked by itself, and of a compromised key only by the next JWKS.
    #[cfg(feature = "fetch")]
    Poll,
}

/// Why a verifier cannot be as it is asked for.
///
/// ```
/// use countersign_verifier::{BuildError, Verifier};
///
/// assert_eq!(Verifier::builder("https://as.example", "").build().unwrap_err(), BuildError::NoAudience);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An address may not be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The service has no name. Whoever checks no audience accepts tokens that were given to others.
    #[error("a verifier needs the name of its service, which is in aud")]
    NoAudience,
    /// More than two minutes.
    #[error("the leeway may be two minutes at most")]
    LeewayTooLong,
    /// More than fifteen minutes.
    #[error(
        "max_stale may be fifteen minutes at most: half an hour after an end the issuer may give its place to somebody else"
    )]
    StaleTooLong,
    /// A status is required and there is nowhere to learn it from.
    #[error("a status is required and there is no source of it")]
    NoStatusSource,
    /// No keys were given and nothing fetches them.
    #[error("a verifier needs keys, or the feature `fetch`")]
    NoKeys,
    /// A client without a name or a secret, or with one that no header can carry.
    #[error("a client needs a client_id and a secret, each in one line")]
    Credentials,
    /// The thread that fetches could not be started.
    #[error("the verifier's thread cannot be started")]
    Thread,
    /// There is no way to check certificates.
    #[error("TLS cannot be set up on this machine")]
    Tls,
}

/// Sets up a [`Verifier`].
///
/// ```
/// use std::time::Duration;
///
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{BuildError, KeySet, OnStale, Verifier};
///
/// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// # let keys = KeySet::parse(issuer.jwks().as_bytes()).unwrap();
/// let verifier = Verifier::builder("https://as.example", "https://orders.example")
///     .keys(keys)
///     .leeway(Duration::from_secs(10))
///     .max_lifetime(Duration::from_secs(3600))
///     .max_stale(Duration::from_secs(120))
///     .on_stale(OnStale::Refuse)
///     .build()?;
/// # Ok::<(), BuildError>(())
/// ```
#[must_use]
pub struct VerifierBuilder {
    issuer: String,
    audience: String,
    leeway: Duration,
    max_lifetime: Duration,
    require_status: Option<bool>,
    max_stale: Duration,
    on_stale: OnStale,
    keys: Option<KeySet>,
    status: StatusSource,
    dpop: Option<String>,
    observer: Arc<dyn Observer>,
    clock: Clock,
    #[cfg(feature = "fetch")]
    fetch: FetchOptions,
}

#[cfg(feature = "fetch")]
struct FetchOptions {
    endpoints: Endpoints,
    name: Option<String>,
    hurry: u32,
}

impl VerifierBuilder {
    pub(crate) fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            leeway: Duration::from_secs(30),
            max_lifetime: Duration::from_hours(24),
            require_status: None,
            max_stale: Duration::from_mins(5),
            on_stale: OnStale::Refuse,
            keys: None,
            status: StatusSource::None,
            dpop: None,
            observer: Arc::new(Silent),
            clock: Clock::system(),
            #[cfg(feature = "fetch")]
            fetch: FetchOptions { endpoints: Endpoints::default(), name: None, hurry: 1 },
        }
    }

    /// How far clocks may be apart: 30 seconds unless set, two minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The longest life of a token that is accepted: a day unless set.
    pub fn max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = max_lifetime;
        self
    }

    /// Whether a token has to say where its status is: so unless set, if there is a source of it.
    ///
    /// ```
    /// use countersign_verifier::{BuildError, Verifier};
    ///
    /// let refused = Verifier::builder("https://as.example", "https://orders.example").require_status(true).build();
    /// assert_eq!(refused.unwrap_err(), BuildError::NoStatusSource);
    /// ```
    pub fn require_status(mut self, required: bool) -> Self {
        self.require_status = Some(required);
        self
    }

    /// For how long it may be unknown which tokens were revoked: five minutes unless set, fifteen at most.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use countersign_verifier::{BuildError, Verifier};
    ///
    /// let builder = Verifier::builder("https://as.example", "https://orders.example");
    /// assert_eq!(builder.max_stale(Duration::from_hours(1)).build().unwrap_err(), BuildError::StaleTooLong);
    /// ```
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = max_stale;
        self
    }

    /// What becomes of tokens after that.
    pub fn on_stale(mut self, on_stale: OnStale) -> Self {
        self.on_stale = on_stale;
        self
    }

    /// Keys that stay until [`Verifier::replace_keys`]; nothing fetches any.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Where to learn of revocations.
    ///
    /// ```
    /// use countersign_verifier::status::Follower;
    /// use countersign_verifier::{StatusSource, Verifier};
    ///
    /// let follower = Follower::new("https://as.example");
    /// let builder = Verifier::builder("https://as.example", "https://orders.example")
    ///     .status(StatusSource::Given(follower.status()));
    /// # let _ = builder;
    /// ```
    pub fn status(mut self, source: StatusSource) -> Self {
        self.status = source;
        self
    }

    /// Takes tokens that are bound to a key (`cnf.jkt`), with a proof of that key made for each request (RFC 9449). `base` is how
    /// clients spell the service: its origin, and if a proxy or a router takes the beginning of paths away, that too. It is never
    /// taken from a request's `Host`. Without it such tokens are refused.
    ///
    /// A proof is used once: its `jti` is remembered for two minutes by this verifier and its clones, in a place for a million.
    /// When that is full requests with proofs are refused with 503 and the code `proofs_full` until there is room. Another process
    /// of the same service remembers for itself. Nonces of the service's own (§9) are not asked for; tokens that are bound to a
    /// certificate (RFC 8705) are refused as ever.
    ///
    /// ```
    /// use countersign_verifier::{BuildError, UrlError, Verifier};
    ///
    /// let builder = Verifier::builder("https://as.example", "https://orders.example").dpop("http://orders.example");
    /// assert_eq!(builder.build().unwrap_err(), BuildError::Url(UrlError::NotSecure));
    /// ```
    pub fn dpop(mut self, base: &str) -> Self {
        self.dpop = Some(base.to_owned());
        self
    }

    /// Who hears what the verifier does.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Addresses that are known by hand, instead of those in the issuer's metadata.
    #[cfg(feature = "fetch")]
    pub fn endpoints(mut self, endpoints: Endpoints) -> Self {
        self.fetch.endpoints = endpoints;
        self
    }

    /// What the issuer's operator reads where this verifier reports how far it is: the machine's name unless set.
    ///
    /// ```
    /// # use countersign_verifier::Verifier;
    /// let builder = Verifier::builder("https://as.example", "https://orders.example").name("orders-7");
    /// # let _ = builder;
    /// ```
    #[cfg(feature = "fetch")]
    pub fn name(mut self, name: &str) -> Self {
        self.fetch.name = Some(name.to_owned());
        self
    }

    /// Divides every wait of the background, for tests of it.
    #[cfg(all(feature = "fetch", feature = "testing"))]
    #[doc(hidden)]
    pub fn hurry(mut self, times: u32) -> Self {
        self.fetch.hurry = times;
        self
    }

    /// The verifier. Unless keys were given it begins to fetch them, in a thread that ends with its last clone, and refuses
    /// tokens with 503 until it has them: see [`Verifier::ready`].
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Verifier, BuildError> {
        issuer_url::permitted(&self.issuer)?;
        if self.audience.is_empty() {
            return Err(BuildError::NoAudience);
        }
        if self.leeway > MAX_LEEWAY {
            return Err(BuildError::LeewayTooLong);
        }
        if self.max_stale > LONGEST_STALE {
            return Err(BuildError::StaleTooLong);
        }
        if self.require_status == Some(true) && matches!(self.status, StatusSource::None) {
            return Err(BuildError::NoStatusSource);
        }
        let policy = Policy {
            leeway: seconds(self.leeway),
            max_lifetime: seconds(self.max_lifetime),
            require_status: self.require_status.unwrap_or(true),
            max_stale: self.max_stale,
            on_stale: self.on_stale,
        };
        let dpop = self.dpop.as_deref().map(Dpop::at).transpose()?;
        self.with_policy(policy, dpop)
    }

    #[cfg(not(feature = "fetch"))]
    fn with_policy(self, policy: Policy, dpop: Option<Dpop>) -> Result<Verifier, BuildError> {
        let status = match self.status {
            StatusSource::None => None,
            StatusSource::Given(status) => Some(status),
        };
        let keys = Arc::new(KeyStore::new(Some(self.keys.ok_or(BuildError::NoKeys)?)));
        let Self { issuer, audience, observer, clock, .. } = self;
        Ok(Verifier::new(Inner { issuer, audience, policy, clock, keys, status, dpop, observer }))
    }

    #[cfg(feature = "fetch")]
    fn with_policy(self, policy: Policy, dpop: Option<Dpop>) -> Result<Verifier, BuildError> {
        let fetches_keys = self.keys.is_none();
        let keys = Arc::new(KeyStore::new(self.keys));
        let (given, fetched) = match self.status {
            StatusSource::None => (None, None),
            StatusSource::Given(status) => (Some(status), None),
            StatusSource::Poll => (None, Some(FetchStatus::Poll)),
            StatusSource::Feed { client_id, client_secret } => {
                (None, Some(FetchStatus::Feed { client_id, client_secret }))
            }
        };
        let Self { issuer, audience, observer, clock, fetch, .. } = self;
        let (background, status) = if fetches_keys || fetched.is_some() {
            let plan = Plan {
                issuer: issuer.clone(),
                given: fetch.endpoints,
                status: fetched,
                name: fetch.name,
                clock: clock.clone(),
                keys: Arc::clone(&keys),
                fetches_keys,
                observer: Arc::clone(&observer),
                hurry: fetch.hurry,
            };
            let (background, followed) = Background::start(plan)?;
            (Some(background), given.or(followed))
        } else {
            (None, given)
        };
        Ok(Verifier::new(Inner { issuer, audience, policy, clock, keys, status, dpop, observer, background }))
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

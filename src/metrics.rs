//! What is counted and timed, in the text format that Prometheus reads. Label values are our own fixed words only.

mod verifier;

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use verifier::VerifierMetrics;

use crate::protocol::token_request::GrantType;
use crate::reason::Reason;

macro_rules! endpoints {
    ($($name:ident $path:literal)*) => {
        /// What a request was for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Endpoint {
            $(#[doc = concat!("`", $path, "`")] $name,)*
        }

        impl Endpoint {
            const ALL: &[Self] = &[$(Self::$name),*];

            /// Its path, which is also its name in metrics and in the log; `other` for whatever is not ours.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path),* }
            }

            /// The endpoint at a path.
            pub fn at(path: &str) -> Self {
                match path {
                    $($path => Self::$name,)*
                    _ if path.starts_with("/status/") => Self::StatusList,
                    _ if path.starts_with("/register/") => Self::Registration,
                    _ => Self::Other,
                }
            }
        }
    };
}

endpoints! {
    Token "/token"
    Revoke "/revoke"
    Introspect "/introspect"
    DeviceAuthorization "/device_authorization"
    Device "/device"
    Authorize "/authorize"
    AuthorizeChallenge "/authorize-challenge"
    LogIn "/login"
    SelectAccount "/select-account"
    Consent "/consent"
    Logout "/logout"
    Account "/account"
    UserInfo "/userinfo"
    PushedRequest "/par"
    Register "/register"
    Registration "/register/{client_id}"
    Jwks "/jwks.json"
    StatusLists "/status"
    StatusList "/status/{list}"
    StatusEvents "/status/events"
    StatusReceipts "/status/receipts"
    Metadata "/.well-known/oauth-authorization-server"
    OpenIdMetadata "/.well-known/openid-configuration"
    Style "/assets/style.css"
    Logo "/assets/logo"
    Icon "/assets/icon.svg"
    Submit "/assets/submit.js"
    OpenApi "/openapi.json"
    Livez "/livez"
    Readyz "/readyz"
    Metrics "/metrics"
    Other "other"
}

/// Counters and timings of one server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    answers: Vec<Answers>,
    lane_wait: HistogramVec,
    swept: IntCounterVec,
    logout_notices: IntCounterVec,
    refusals: IntCounterVec,
    tokens: IntCounterVec,
    lane_depth: IntGaugeVec,
    lane_refused: IntCounterVec,
    up: IntGaugeVec,
    followers: IntGauge,
    status_seq: IntGauge,
}

/// What most requests to one endpoint count, found without looking a label up.
struct Answers {
    ok: IntCounter,
    not_modified: IntCounter,
    seconds: Histogram,
}

/// What one lane counts.
#[derive(Clone)]
pub struct LaneMetrics {
    waiting: IntGauge,
    wait_seconds: Histogram,
    refused: IntCounter,
}

impl LaneMetrics {
    /// A task was put in the queue, or is about to be.
    pub fn record_queued(&self) {
        self.waiting.inc();
    }

    /// A thread took a task that had waited this long.
    pub fn record_taken(&self, waited: Duration) {
        self.waiting.dec();
        self.wait_seconds.observe(waited.as_secs_f64());
    }

    /// The queue was full after all.
    pub fn record_refused(&self) {
        self.waiting.dec();
        self.refused.inc();
    }
}

/// A metric could not be set up: two of the same name.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// A fresh set.
    ///
    /// # Errors
    /// [`MetricsError`] when two metrics have one name.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, MetricsError> {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, MetricsError> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let single = |name: &str, help: &str| -> Result<IntGauge, MetricsError> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let opts = HistogramOpts::new("countersign_http_request_seconds", "Time to answer, by endpoint.")
            .buckets(buckets.clone());
        let seconds = HistogramVec::new(opts, &["endpoint"])?;
        registry.register(Box::new(seconds.clone()))?;
        let opts =
            HistogramOpts::new("countersign_lane_wait_seconds", "Time that a request waited for a lane's thread.");
        let lane_wait = HistogramVec::new(opts.buckets(buckets), &["lane"])?;
        registry.register(Box::new(lane_wait.clone()))?;
        let requests =
            counter("countersign_http_requests_total", "Answers, by endpoint and status.", &["endpoint", "status"])?;
        let answers = Endpoint::ALL.iter().map(|endpoint| Answers {
            ok: requests.with_label_values(&[endpoint.path(), "200"]),
            not_modified: requests.with_label_values(&[endpoint.path(), "304"]),
            seconds: seconds.with_label_values(&[endpoint.path()]),
        });
        Ok(Self {
            answers: answers.collect(),
            requests,
            lane_wait,
            refusals: counter("countersign_refusals_total", "Refusals, by error_id.", &["endpoint", "error_id"])?,
            tokens: counter(
                "countersign_access_tokens_total",
                "Access tokens issued, by grant type.",
                &["grant_type"],
            )?,
            lane_depth: gauge("countersign_lane_waiting", "Requests that wait for a lane's thread.", &["lane"])?,
            lane_refused: counter("countersign_lane_refused_total", "Requests that a full lane refused.", &["lane"])?,
            swept: counter("countersign_swept_rows_total", "Rows that were over and are gone, by table.", &["table"])?,
            logout_notices: counter(
                "countersign_logout_notices_total",
                "Tries to tell a client that somebody logged out, by outcome: sent, failed, given_up.",
                &["outcome"],
            )?,
            followers: single("countersign_status_followers", "Verifiers that follow what is over, here.")?,
            status_seq: single("countersign_status_seq", "The last change of what is over that is known here.")?,
            up: gauge("countersign_part_up", "Whether a part answers: 1 or 0.", &["part"])?,
            registry,
        })
    }

    /// An answer was given.
    pub fn record_answer(&self, endpoint: Endpoint, status: u16, took: Duration) {
        let Some(answers) = self.answers.get(endpoint as usize) else { return };
        match status {
            200 => answers.ok.inc(),
            304 => answers.not_modified.inc(),
            _ => self.requests.with_label_values(&[endpoint.path(), &status.to_string()]).inc(),
        }
        answers.seconds.observe(took.as_secs_f64());
    }

    /// A request was refused.
    pub fn record_refusal(&self, endpoint: Endpoint, reason: Reason) {
        self.refusals.with_label_values(&[endpoint.path(), reason.id()]).inc();
    }

    /// An access token was issued.
    pub fn record_access_token(&self, grant_type: GrantType) {
        self.tokens.with_label_values(&[grant_type.as_str()]).inc();
    }

    /// What the lane of that name counts.
    pub fn lane(&self, name: &str) -> LaneMetrics {
        LaneMetrics {
            waiting: self.lane_depth.with_label_values(&[name]),
            wait_seconds: self.lane_wait.with_label_values(&[name]),
            refused: self.lane_refused.with_label_values(&[name]),
        }
    }

    /// Rows of a table were swept away.
    pub fn record_swept(&self, table: &str, rows: usize) {
        self.swept.with_label_values(&[table]).inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }

    /// A client was told that somebody logged out, or was not: `sent`, `failed`, `given_up`.
    pub fn record_logout_notice(&self, outcome: &'static str) {
        self.logout_notices.with_label_values(&[outcome]).inc();
    }

    /// Whether a part answers.
    pub fn set_up(&self, part: &str, up: bool) {
        self.up.with_label_values(&[part]).set(i64::from(up));
    }

    /// How many follow what is over, and the last change that is known.
    pub fn set_status(&self, followers: usize, seq: i64) {
        self.followers.set(i64::try_from(followers).unwrap_or(i64::MAX));
        self.status_seq.set(seq);
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory does not fail; a metric that could not be encoded is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

//! What is counted and timed, in the text format that Prometheus reads. Label values are our own fixed words only.

use std::time::Duration;

use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::protocol::token_request::GrantType;
use crate::reason::Reason;

/// Counters and timings of one server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    refusals: IntCounterVec,
    tokens: IntCounterVec,
    lane_depth: IntGaugeVec,
    lane_refused: IntCounterVec,
    up: IntGaugeVec,
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
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let opts =
            HistogramOpts::new("countersign_http_request_seconds", "Time to answer, by endpoint.").buckets(buckets);
        let seconds = HistogramVec::new(opts, &["endpoint"])?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            requests: counter(
                "countersign_http_requests_total",
                "Answers, by endpoint and status.",
                &["endpoint", "status"],
            )?,
            seconds,
            refusals: counter("countersign_refusals_total", "Refusals, by error_id.", &["endpoint", "error_id"])?,
            tokens: counter(
                "countersign_access_tokens_total",
                "Access tokens issued, by grant type.",
                &["grant_type"],
            )?,
            lane_depth: gauge("countersign_lane_waiting", "Requests that wait for a lane's thread.", &["lane"])?,
            lane_refused: counter("countersign_lane_refused_total", "Requests that a full lane refused.", &["lane"])?,
            up: gauge("countersign_part_up", "Whether a part answers: 1 or 0.", &["part"])?,
            registry,
        })
    }

    /// An answer was given.
    pub fn record_answer(&self, endpoint: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[endpoint, &status.to_string()]).inc();
        self.seconds.with_label_values(&[endpoint]).observe(took.as_secs_f64());
    }

    /// A request was refused.
    pub fn record_refusal(&self, endpoint: &str, reason: Reason) {
        self.refusals.with_label_values(&[endpoint, reason.id()]).inc();
    }

    /// An access token was issued.
    pub fn record_access_token(&self, grant_type: GrantType) {
        self.tokens.with_label_values(&[grant_type.as_str()]).inc();
    }

    /// How many wait for a lane.
    pub fn set_lane_depth(&self, lane: &str, waiting: usize) {
        self.lane_depth.with_label_values(&[lane]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// A lane was full.
    pub fn record_lane_refused(&self, lane: &str) {
        self.lane_refused.with_label_values(&[lane]).inc();
    }

    /// Whether a part answers.
    pub fn set_up(&self, part: &str, up: bool) {
        self.up.with_label_values(&[part]).set(i64::from(up));
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory does not fail; a metric that could not be encoded is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

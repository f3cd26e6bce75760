//! What a verifier tells of itself, counted.

use std::time::Duration;

use countersign_verifier::Observer;
use prometheus::{Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::MetricsError;

/// Counters of one verifier.
pub struct VerifierMetrics {
    registry: Registry,
    verified: IntCounterVec,
    revoked: IntCounterVec,
    stale: IntCounterVec,
    kid_misses: IntCounter,
    jwks: IntCounterVec,
    status_age: Gauge,
    status_seq: IntGauge,
    feed_connected: IntGauge,
    feed_ends: IntCounterVec,
}

impl VerifierMetrics {
    /// A fresh set.
    ///
    /// # Errors
    /// [`MetricsError`] when two metrics have one name.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, MetricsError> {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, MetricsError> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let kid_misses =
            IntCounter::new("countersign_verifier_kid_misses_total", "Tokens of a key that is not known.")?;
        registry.register(Box::new(kid_misses.clone()))?;
        let status_age = Gauge::new("countersign_verifier_status_age_seconds", "How old what is known to be over is.")?;
        registry.register(Box::new(status_age.clone()))?;
        Ok(Self {
            verified: counter("countersign_verifier_tokens_total", "Tokens, by outcome.", "outcome")?,
            revoked: counter("countersign_verifier_revoked_total", "Tokens that were over, by what said so.", "kind")?,
            stale: counter(
                "countersign_verifier_stale_total",
                "Tokens that met a status of over ten seconds.",
                "outcome",
            )?,
            jwks: counter("countersign_verifier_jwks_refreshes_total", "Fetches of the JWKS, by outcome.", "outcome")?,
            feed_ends: counter("countersign_verifier_feed_ends_total", "Ends of the feed, by reason.", "reason")?,
            status_seq: gauge("countersign_verifier_status_seq", "The last change that is known.")?,
            feed_connected: gauge("countersign_verifier_feed_connected", "Whether the feed is there: 1 or 0.")?,
            kid_misses,
            status_age,
            registry,
        })
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

impl Observer for VerifierMetrics {
    fn verified(&self, outcome: &'static str) {
        self.verified.with_label_values(&[outcome]).inc();
    }

    fn revoked_hit(&self, kind: &'static str) {
        self.revoked.with_label_values(&[kind]).inc();
    }

    fn stale_decision(&self, accepted: bool) {
        self.stale.with_label_values(&[if accepted { "accepted" } else { "refused" }]).inc();
    }

    fn kid_miss(&self) {
        self.kid_misses.inc();
    }

    fn jwks_refreshed(&self, _: &'static str, ok: bool) {
        self.jwks.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    fn status_age(&self, age: Duration) {
        self.status_age.set(age.as_secs_f64());
    }

    fn status_seq(&self, seq: u64) {
        self.status_seq.set(i64::try_from(seq).unwrap_or(i64::MAX));
    }

    fn feed_connected(&self) {
        self.feed_connected.set(1);
    }

    fn feed_disconnected(&self, reason: &'static str) {
        self.feed_connected.set(0);
        self.feed_ends.with_label_values(&[reason]).inc();
    }
}

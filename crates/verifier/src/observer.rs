//! What a verifier tells of itself, for metrics. Nothing of a token is among it.

use std::time::Duration;

/// Hears what a verifier does. Every method may be left as it is; each is called where it happens, some of them for every
/// token, so they must not block.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{NoOtherClaims, Observer};
///
/// #[derive(Default)]
/// struct Refused(AtomicU64);
///
/// impl Observer for Refused {
///     fn verified(&self, outcome: &'static str) {
///         if outcome != "ok" {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let refused = Arc::new(Refused::default());
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let verifier = issuer.verifier_with(|builder| builder.observer(refused.clone()));
/// assert!(verifier.verify::<NoOtherClaims>("no token").is_err());
/// assert_eq!(refused.0.load(Ordering::Relaxed), 1);
/// ```
#[expect(unused_variables, reason = "the names say what an implementation is given")]
pub trait Observer: Send + Sync {
    /// A token was verified: `ok`, or the code of its refusal.
    fn verified(&self, outcome: &'static str) {}
    /// A token was refused because it was revoked, by its bit (`grant`) or by a cut-off (`sub`, `client_id`, `sid`, `jti`,
    /// `kid`).
    fn revoked_hit(&self, kind: &'static str) {}
    /// A token met a status that was more than ten seconds old.
    fn stale_decision(&self, accepted: bool) {}
    /// A token was signed with a key that is not known.
    fn kid_miss(&self) {}
    /// The keys were asked for: why (`start`, `schedule`, `miss`, `checkpoint`), and whether there is a good answer.
    fn jwks_refreshed(&self, reason: &'static str, ok: bool) {}
    /// How old the knowledge of revocations is.
    fn status_age(&self, age: Duration) {}
    /// The number of the last change that is in force.
    fn status_seq(&self, seq: u64) {}
    /// The feed said hello.
    fn feed_connected(&self) {}
    /// The feed is gone, and why.
    fn feed_disconnected(&self, reason: &'static str) {}
}

/// Hears nothing.
#[derive(Debug)]
pub(crate) struct Silent;

impl Observer for Silent {}

//! Wrong client secrets, counted in the memory of this instance, since clients are told from it alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{MINUTE, Network};
use crate::protocol::client_credentials::ClientId;

/// The most pairs of a client and a network that are counted at once; what comes beyond is answered as if it were the first.
const MAX_COUNTED: usize = 50_000;

/// How often a minute a client may be named with a secret that is not its own, from one network (OAuth 2.1 §7.7). Who beyond it
/// comes with the right one is let in: secrets are too long to be guessed, and nobody locks out a client by naming it.
pub struct ClientFailures {
    allowed: u32,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// When the minute began, by the monotonic clock.
    since: Duration,
    failures: HashMap<(ClientId, Network), u32>,
}

impl ClientFailures {
    /// With so many a minute.
    pub fn new(allowed: u32) -> Self {
        Self { allowed, counted: Mutex::default() }
    }

    /// Counts a failure at `now`, a monotonic reading; how long to wait when it is one too many.
    ///
    /// # Errors
    /// The rest of the minute.
    pub fn count(&self, client_id: &ClientId, network: Network, now: Duration) -> Result<(), Duration> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(counted.since) >= MINUTE {
            *counted = Counted { since: now, failures: HashMap::new() };
        }
        let rest = (counted.since + MINUTE).saturating_sub(now);
        let key = (client_id.clone(), network);
        if counted.failures.len() >= MAX_COUNTED && !counted.failures.contains_key(&key) {
            return Ok(());
        }
        let failures = counted.failures.entry(key).or_default();
        *failures = failures.saturating_add(1);
        if *failures > self.allowed { Err(rest) } else { Ok(()) }
    }
}

//! Short-lived counters, in this process or in Redis. The door to `redis`. Nothing here decides single use, and losing
//! all of it resets rate counters and nothing else: while Redis is away, this process counts for itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::settings::CacheUrl;

/// How long Redis may take to connect, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
/// Errors in a row after which Redis is left alone for a while.
const ERRORS_TO_PAUSE: u64 = 3;
/// How long.
const PAUSE: Duration = Duration::from_secs(2);
/// The most counters kept in this process: some tens of megabytes.
const MAX_LOCAL_COUNTERS: usize = 100_000;

/// The cache could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cache.url cannot be used: {0}")]
pub struct CacheError(String);

/// Counters that expire.
pub struct Cache {
    local: Mutex<HashMap<String, Counter>>,
    remote: Option<Remote>,
    clock: Clock,
}

struct Counter {
    count: i64,
    expires_at: Duration,
}

struct Remote {
    pool: r2d2::Pool<Connector>,
    errors_in_a_row: AtomicU64,
    paused_until_ms: AtomicU64,
}

struct Connector(redis::Client);

impl r2d2::ManageConnection for Connector {
    type Connection = redis::Connection;
    type Error = redis::RedisError;

    fn connect(&self) -> Result<redis::Connection, redis::RedisError> {
        let connection = self.0.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(connection)
    }

    fn is_valid(&self, connection: &mut redis::Connection) -> Result<(), redis::RedisError> {
        redis::cmd("PING").query(connection)
    }

    fn has_broken(&self, connection: &mut redis::Connection) -> bool {
        !redis::ConnectionLike::is_open(connection)
    }
}

impl Cache {
    /// A cache; Redis need not be there yet.
    ///
    /// # Errors
    /// [`CacheError`] for a URL that is none.
    pub fn open(url: &CacheUrl, clock: &Clock) -> Result<Self, CacheError> {
        let remote = match url {
            CacheUrl::Memory => None,
            CacheUrl::Redis(url) => {
                // The client's own message may repeat the URL, and the URL may hold a password.
                let client =
                    redis::Client::open(url.expose()).map_err(|error| CacheError(error.category().to_owned()))?;
                let pool = r2d2::Pool::builder()
                    .max_size(8)
                    .min_idle(Some(0))
                    .connection_timeout(CONNECT_TIMEOUT)
                    .test_on_check_out(false)
                    // It is said once, by readiness, and not for each try.
                    .error_handler(Box::new(r2d2::NopErrorHandler))
                    .build_unchecked(Connector(client));
                Some(Remote { pool, errors_in_a_row: AtomicU64::new(0), paused_until_ms: AtomicU64::new(0) })
            }
        };
        Ok(Self { local: Mutex::default(), remote, clock: clock.clone() })
    }

    /// Adds `by` to a counter that begins at 0 and is forgotten `window` after its first change; says where it stands.
    pub fn add(&self, key: &str, by: i64, window: Duration) -> i64 {
        match self.remote.as_ref().and_then(|remote| remote.add(key, by, window, self.clock.monotonic())) {
            Some(count) => count,
            None => self.add_locally(key, by, window),
        }
    }

    /// Whether the configured cache answers; a cache in this process always does.
    pub fn is_up(&self) -> bool {
        let ping = |remote: &Remote| {
            remote.ask(self.clock.monotonic(), |connection| redis::cmd("PING").query::<String>(connection)).is_some()
        };
        self.remote.as_ref().is_none_or(ping)
    }

    fn add_locally(&self, key: &str, by: i64, window: Duration) -> i64 {
        let now = self.clock.monotonic();
        let mut counters = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_LOCAL_COUNTERS && !counters.contains_key(key) {
            counters.retain(|_, counter| counter.expires_at > now);
            // ASVS 2.4.1: memory stays bounded under a flood of addresses, at the price of forgetting half of them.
            let mut keep = false;
            if counters.len() >= MAX_LOCAL_COUNTERS {
                counters.retain(|_, _| {
                    keep = !keep;
                    keep
                });
            }
        }
        let counter = counters.entry(key.to_owned()).or_insert(Counter { count: 0, expires_at: now + window });
        if counter.expires_at <= now {
            *counter = Counter { count: 0, expires_at: now + window };
        }
        counter.count += by;
        let count = counter.count;
        if count == 0 {
            counters.remove(key);
        }
        count
    }
}

impl Remote {
    fn add(&self, key: &str, by: i64, window: Duration, now: Duration) -> Option<i64> {
        let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.ask(now, |connection| {
            // In one step, or the key may expire in between and the count then stand for ever.
            let (count,): (i64,) = redis::pipe()
                .atomic()
                .cmd("SET")
                .arg(key)
                .arg(0)
                .arg("PX")
                .arg(milliseconds)
                .arg("NX")
                .ignore()
                .cmd("INCRBY")
                .arg(key)
                .arg(by)
                .query(connection)?;
            Ok(count)
        })
    }

    /// Asks Redis unless it is being left alone; `None` when there is no answer.
    fn ask<T>(
        &self,
        now: Duration,
        question: impl FnOnce(&mut redis::Connection) -> redis::RedisResult<T>,
    ) -> Option<T> {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if self.paused_until_ms.load(Ordering::Relaxed) > now_ms {
            return None;
        }
        let answer = self.pool.get().ok().and_then(|mut connection| question(&mut connection).ok());
        if answer.is_some() {
            self.errors_in_a_row.store(0, Ordering::Relaxed);
        } else if self.errors_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= ERRORS_TO_PAUSE {
            let pause_ms = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
            self.paused_until_ms.store(now_ms.saturating_add(pause_ms), Ordering::Relaxed);
            tracing::warn!("Redis does not answer: counting in this process for a while");
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_counter_is_forgotten_after_its_window_and_memory_stays_bounded() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let minute = Duration::from_mins(1);
        assert_eq!((cache.add("a", 1, minute), cache.add("a", 1, minute), cache.add("a", -1, minute)), (1, 2, 1));
        assert_eq!(
            (cache.add("a", -1, minute), cache.local.lock().unwrap().len()),
            (0, 0),
            "nothing is kept of nothing"
        );
        cache.add("a", 1, minute);
        clock.advance(minute);
        assert_eq!(cache.add("a", 1, minute), 1);
        for nth in 0..(2 * MAX_LOCAL_COUNTERS) {
            cache.add(&nth.to_string(), 1, minute);
        }
        assert!(cache.local.lock().unwrap().len() <= MAX_LOCAL_COUNTERS);
    }

    #[test]
    fn without_redis_this_process_counts() {
        let url = CacheUrl::Redis(crate::secret::PlainSecret::new("redis://127.0.0.1:1/"));
        let cache = Cache::open(&url, &Clock::system()).unwrap();
        assert_eq!(cache.add("a", 1, PAUSE), 1);
        assert_eq!(cache.add("a", 1, PAUSE), 2);
        assert!(!cache.is_up());
    }
}

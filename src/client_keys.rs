//! Keys of clients that publish them at a URI of their own (RFC 7591 §2, `jwks_uri`): fetched when they are needed, kept for
//! a while, asked for again at most once a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::fetch::{FetchError, Fetcher};
use crate::protocol::client_metadata::Keys;
use crate::protocol::jose::{JwkSet, JwsHeader};

/// How long a set is used before it is asked for again.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// How long it is used at most when nobody answers.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// A URI is asked no more often, whatever names of keys come.
const BETWEEN_FETCHES: Duration = Duration::from_mins(1);
/// The most URIs that are remembered.
const MAX_URIS: usize = 10_000;

/// Why a client's keys cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAway {
    /// The client has none.
    None,
    /// They are being fetched for somebody else.
    BeingFetched,
    /// They could not be fetched, or are no JWK Set.
    Unusable,
}

#[derive(Clone, Default)]
struct Entry {
    set: Option<(JwkSet, Duration)>,
    /// When they were asked for last.
    asked_at: Option<Duration>,
    is_being_fetched: bool,
}

/// What was fetched.
#[derive(Default)]
pub struct ClientKeys {
    entries: Mutex<HashMap<String, Entry>>,
}

impl ClientKeys {
    /// The keys of a client by which that JWS may be signed, at `now`, a monotonic reading. May wait for the client's server.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub fn find(
        &self,
        fetcher: &Fetcher,
        keys: Option<&Keys>,
        header: &JwsHeader,
        now: Duration,
    ) -> Result<JwkSet, KeysAway> {
        self.find_with(fetcher, keys, &|set| set.candidates(header).next().is_some(), now)
    }

    /// All keys of a client, at `now`.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub fn find_all(&self, fetcher: &Fetcher, keys: Option<&Keys>, now: Duration) -> Result<JwkSet, KeysAway> {
        self.find_with(fetcher, keys, &|_| true, now)
    }

    fn find_with(
        &self,
        fetcher: &Fetcher,
        keys: Option<&Keys>,
        fits: &dyn Fn(&JwkSet) -> bool,
        now: Duration,
    ) -> Result<JwkSet, KeysAway> {
        let uri = match keys {
            None => return Err(KeysAway::None),
            Some(Keys::Registered { set, .. }) => return Ok(set.clone()),
            Some(Keys::At(uri)) => uri,
        };
        let known = self.begin(uri, fits, now)?;
        if let Some(known) = known {
            return Ok(known);
        }
        let fetched = fetcher.get(uri).map_err(Some).and_then(|body| parse(&body).ok_or(None));
        self.end(uri, fetched, now)
    }

    /// What is known and good enough; or nothing, and whoever asks fetches it.
    fn begin(&self, uri: &str, fits: &dyn Fn(&JwkSet) -> bool, now: Duration) -> Result<Option<JwkSet>, KeysAway> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_URIS && !entries.contains_key(uri) {
            entries.clear();
        }
        let entry = entries.entry(uri.to_owned()).or_default();
        let age = |at: Duration| now.saturating_sub(at);
        let known = entry.set.as_ref().filter(|(_, at)| age(*at) < KEPT_FOR);
        let good = known.filter(|(set, at)| age(*at) < FRESH_FOR && fits(set));
        if let Some((set, _)) = good {
            return Ok(Some(set.clone()));
        }
        // RFC 9700 §4.11, CWE-770: a name that nobody knows makes us call no more than once a minute.
        let asked_lately = entry.asked_at.is_some_and(|at| age(at) < BETWEEN_FETCHES);
        match known {
            Some((set, _)) if asked_lately || entry.is_being_fetched => Ok(Some(set.clone())),
            None if entry.is_being_fetched => Err(KeysAway::BeingFetched),
            None if asked_lately => Err(KeysAway::Unusable),
            Some(_) | None => {
                (entry.is_being_fetched, entry.asked_at) = (true, Some(now));
                Ok(None)
            }
        }
    }

    fn end(&self, uri: &str, fetched: Result<JwkSet, Option<FetchError>>, now: Duration) -> Result<JwkSet, KeysAway> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(uri.to_owned()).or_default();
        entry.is_being_fetched = false;
        match fetched {
            Ok(set) => {
                entry.set = Some((set.clone(), now));
                Ok(set)
            }
            Err(error) => {
                let why = error.map_or_else(|| "no JWK Set".to_owned(), |error| error.to_string());
                tracing::warn!(jwks_uri = uri, why, "a client's keys could not be fetched");
                let old = entry.set.as_ref().filter(|(_, at)| now.saturating_sub(*at) < KEPT_FOR);
                old.map(|(set, _)| set.clone()).ok_or(KeysAway::Unusable)
            }
        }
    }
}

fn parse(body: &[u8]) -> Option<JwkSet> {
    JwkSet::parse(&serde_json::from_slice(body).ok()?)
}

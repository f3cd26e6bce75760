//! Keys of clients that publish them at a URI of their own (RFC 7591 §2, `jwks_uri`): fetched when they are needed, kept for
//! a while, asked for again at most once a minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fetch::{Caller, FetchError, Fetcher};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::client_metadata::Keys;
use crate::protocol::jose::{JwkSet, JwsHeader};
use crate::store::clients::Client;

/// How long a set is used before it is asked for again.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// How long it is used at most when nobody answers.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// A client is asked no more often, whatever names of keys come.
const BETWEEN_FETCHES: Duration = Duration::from_mins(1);
/// The most clients of operators whose keys are remembered, and the most that registered themselves.
const MAX_CLIENTS: usize = 1000;

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

#[derive(Default)]
struct Entry {
    /// Where they were fetched from.
    uri: String,
    set: Option<(JwkSet, Duration)>,
    /// When they were asked for last.
    asked_at: Option<Duration>,
    is_being_fetched: bool,
}

impl Entry {
    /// What was fetched before, as long as it may be used.
    fn kept(&self, now: Duration) -> Option<JwkSet> {
        let kept = self.set.as_ref().filter(|(_, at)| now.saturating_sub(*at) < KEPT_FOR);
        kept.map(|(set, _)| set.clone())
    }
}

type Entries = Mutex<HashMap<ClientId, Entry>>;

/// What was fetched, by client.
#[derive(Default)]
pub struct ClientKeys {
    known: Entries,
    /// CWE-770: apart, so that whoever registers many closes the door to none that an operator made.
    registrants: Entries,
}

/// A fetch under way; whatever becomes of it, the next one may begin when it is dropped.
struct Fetch<'k> {
    keys: &'k ClientKeys,
    client: &'k Client,
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.keys.lock(self.client).get_mut(&self.client.id) {
            entry.is_being_fetched = false;
        }
    }
}

impl ClientKeys {
    /// The keys of a client by which that JWS may be signed, at `now`, a monotonic reading. May wait for the client's server,
    /// so it is for threads that may.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub fn find(
        &self,
        fetcher: &Fetcher,
        client: &Client,
        header: &JwsHeader,
        now: Duration,
    ) -> Result<JwkSet, KeysAway> {
        self.find_with(fetcher, client, &|set| set.candidates(header).next().is_some(), now)
    }

    /// All keys of a client, at `now`.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub fn find_all(&self, fetcher: &Fetcher, client: &Client, now: Duration) -> Result<JwkSet, KeysAway> {
        self.find_with(fetcher, client, &|_| true, now)
    }

    fn find_with(
        &self,
        fetcher: &Fetcher,
        client: &Client,
        fits: &dyn Fn(&JwkSet) -> bool,
        now: Duration,
    ) -> Result<JwkSet, KeysAway> {
        let uri = match &client.metadata.proof.keys {
            None => return Err(KeysAway::None),
            Some(Keys::Registered(set)) => return Ok(set.clone()),
            Some(Keys::At(uri)) => uri,
        };
        if let Some(known) = self.begin(client, uri, fits, now)? {
            return Ok(known);
        }
        let _fetch = Fetch { keys: self, client };
        match fetcher.get(uri, caller(client)) {
            Ok(body) => self.end(client, parse(&body).ok_or("no JWK Set".to_owned()), now),
            // It was not asked: the next one tries, and what is known is good until then, if the key is there.
            Err(FetchError::Busy) => {
                let mut entries = self.lock(client);
                let entry = entries.entry(client.id.clone()).or_default();
                entry.asked_at = None;
                entry.kept(now).filter(|set| fits(set)).ok_or(KeysAway::BeingFetched)
            }
            Err(error) => self.end(client, Err(error.to_string()), now),
        }
    }

    fn lock(&self, client: &Client) -> MutexGuard<'_, HashMap<ClientId, Entry>> {
        let entries = match caller(client) {
            Caller::Known => &self.known,
            Caller::Registrant => &self.registrants,
        };
        entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known and good enough; or nothing, and whoever asks fetches it.
    fn begin(
        &self,
        client: &Client,
        uri: &str,
        fits: &dyn Fn(&JwkSet) -> bool,
        now: Duration,
    ) -> Result<Option<JwkSet>, KeysAway> {
        let (mut entries, client_id) = (self.lock(client), &client.id);
        let age = |at: Duration| now.saturating_sub(at);
        if entries.len() >= MAX_CLIENTS && !entries.contains_key(client_id) {
            entries.retain(|_, entry| entry.asked_at.is_some_and(|at| age(at) < FRESH_FOR));
        }
        if entries.len() >= MAX_CLIENTS && !entries.contains_key(client_id) {
            return Err(KeysAway::BeingFetched);
        }
        let entry = entries.entry(client_id.clone()).or_default();
        // A client that has moved is asked there, but no more often.
        if entry.uri != uri {
            (entry.uri, entry.set) = (uri.to_owned(), None);
        }
        let known = entry.set.as_ref().filter(|(_, at)| age(*at) < KEPT_FOR);
        let good = known.filter(|(set, at)| age(*at) < FRESH_FOR && fits(set));
        if let Some((set, _)) = good {
            return Ok(Some(set.clone()));
        }
        // CWE-770: a name that nobody knows makes us call no more than once a minute, and one client once at a time.
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

    fn end(&self, client: &Client, fetched: Result<JwkSet, String>, now: Duration) -> Result<JwkSet, KeysAway> {
        let mut entries = self.lock(client);
        let entry = entries.entry(client.id.clone()).or_default();
        match fetched {
            Ok(set) => {
                entry.set = Some((set.clone(), now));
                Ok(set)
            }
            Err(why) => {
                tracing::warn!(client_id = %client.id, why, "a client's keys could not be fetched");
                entry.kept(now).ok_or(KeysAway::Unusable)
            }
        }
    }
}

/// For whom the call is made.
pub fn caller(client: &Client) -> Caller {
    if client.registration.is_some() { Caller::Registrant } else { Caller::Known }
}

fn parse(body: &[u8]) -> Option<JwkSet> {
    JwkSet::parse(&serde_json::from_slice(body).ok()?)
}

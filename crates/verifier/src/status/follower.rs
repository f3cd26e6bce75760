//! Follows the feed: the order of events, what a checkpoint has to be, and what is to be done when something does not fit.
//! Does no IO; whoever carries the bytes asks it what next.

use std::time::Duration;

use super::Status;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::feed::{CHECKPOINT_TYPE, Change, CheckpointClaims, Event, FeedKey, Hello, MAX_LISTS};
use crate::keys::KeySet;
use crate::status_list::{self, Trust};
use crate::{Rejected, jws};

/// The most bytes of a checkpoint: a thousand lists.
const MAX_CHECKPOINT_BYTES: usize = 128 * 1024;
/// How old a checkpoint may be, in seconds.
const CHECKPOINT_LIFE: i64 = 60;
/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 30;

/// Keeps a [`Status`] up to date from signed lists and the events of a feed.
///
/// ```
/// use countersign_verifier::KeySet;
/// use countersign_verifier::feed::{Beat, Event};
/// use countersign_verifier::status::{Follower, Next};
/// use countersign_verifier::testing::TestIssuer;
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let keys = KeySet::parse(issuer.jwks().as_bytes())?;
/// let mut follower = Follower::new("https://as.example");
/// follower.take_list(0, &issuer.status_list(), &keys)?;
/// assert_eq!(follower.connect(), Some(0), "a feed is asked for what is new since then");
/// // A feed has to say hello first.
/// assert_eq!(follower.apply(&Event::Beat(Beat { n: 0 }), &keys).next, Next::Reconnect("no_hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    issuer: String,
    status: Status,
    ledger: Ledger,
    /// The last change of this connection.
    cursor: u64,
    /// Whether this connection has said hello.
    greeted: bool,
    /// When the last checkpoint that was accepted was signed.
    checkpoint_iat: i64,
    /// When the first list was taken.
    began_at: Option<i64>,
    /// The head of the feed when this connection began: before it is reached we lack something.
    head: u64,
}

/// What an event calls for.
///
/// ```
/// use countersign_verifier::status::{Next, Taken};
///
/// assert_eq!(Taken::default().next, Next::Continue);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What is to be done.
    pub next: Next,
    /// Whether the issuer wants to hear at once how far we are.
    pub report: bool,
}

/// What taking a list came to.
///
/// ```
/// use countersign_verifier::status::TakenList;
///
/// assert!(!TakenList::default().is_older);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenList {
    /// For how many seconds asking again is of no use.
    pub ttl: Option<u64>,
    /// Until when it may be relied on without a feed, in seconds since the epoch.
    pub exp: Option<i64>,
    /// When it was signed, in seconds since the epoch.
    pub iat: i64,
    /// Whether a newer one was known already, and stays.
    pub is_older: bool,
}

/// What is to be done after an event. The texts say why, in one word for logs and metrics.
///
/// ```
/// assert_eq!(countersign_verifier::status::Next::default(), countersign_verifier::status::Next::Continue);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// Take the next event.
    #[default]
    Continue,
    /// Fetch the lists that are missing; go on meanwhile.
    FetchLists,
    /// Fetch the keys; go on meanwhile.
    RefreshKeys,
    /// Connect again from [`Follower::connect`].
    Reconnect(&'static str),
    /// Fetch all lists, then connect again.
    Resync(&'static str),
}

impl Follower {
    /// One that knows nothing yet.
    pub fn new(issuer: &str) -> Self {
        Self::with_clock(issuer, Clock::system())
    }

    pub(crate) fn with_clock(issuer: &str, clock: Clock) -> Self {
        Self {
            issuer: issuer.to_owned(),
            status: Status::new(clock),
            ledger: Ledger::default(),
            cursor: 0,
            greeted: false,
            checkpoint_iat: i64::MIN,
            began_at: None,
            head: 0,
        }
    }

    /// What tokens are checked against; for a verifier's builder.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Lists that there are said to be and that are not known.
    pub fn missing(&self) -> Vec<u64> {
        self.ledger.missing().collect()
    }

    /// Takes list number `list` as its signed token has it. A token that is older than what is known changes nothing.
    ///
    /// # Errors
    /// [`Rejected`] if the token is not that list's, or not now.
    pub fn take_list(&mut self, list: u64, token: &str, keys: &KeySet) -> Result<TakenList, Rejected> {
        if list >= MAX_LISTS {
            return Err(Rejected::BadClaims);
        }
        let uri = status_list::uri(&self.issuer, list);
        let verified = status_list::open(token, &uri, &self.trust(keys), |kid| self.status.is_killed(kid))?;
        let ttl = verified.ttl.and_then(|ttl| u64::try_from(ttl).ok());
        let (exp, iat) = (verified.exp, verified.iat);
        let is_older = !self.ledger.take_list(list, verified, self.status.heard_at());
        if !is_older {
            self.began_at.get_or_insert(self.status.clock().unix_seconds());
            self.status.publish(self.ledger.view());
        }
        Ok(TakenList { ttl, exp, iat, is_older })
    }

    /// Forgets a list that the issuer has no more. Of a token that names it nothing is known from then on.
    pub fn forget_list(&mut self, list: u64) {
        self.ledger.forget_list(list);
        self.status.publish(self.ledger.view());
    }

    /// A new connection begins. It has to ask for what is new since the number that comes back; without lists there is
    /// none, and nothing to connect for.
    pub fn connect(&mut self) -> Option<u64> {
        self.greeted = false;
        self.cursor = self.ledger.since()?;
        self.status.reach(self.cursor);
        Some(self.cursor)
    }

    /// All that is known was current at `at`, in seconds since the epoch, by other means than a feed: by a round of polls,
    /// which is as old as the oldest of its lists.
    pub fn confirm(&mut self, at: i64) {
        if let Some(since) = self.ledger.since() {
            self.cursor = since;
            self.status.reach(since);
            let ago = self.status.clock().unix_seconds().saturating_sub(at);
            self.status.hear_of(Duration::from_secs(u64::try_from(ago).unwrap_or(0)));
        }
    }

    /// Takes an event of the connection.
    pub fn apply(&mut self, event: &Event, keys: &KeySet) -> Taken {
        let report = matches!(event, Event::Change(change) if change.ack);
        let next = match event {
            Event::Reset => Next::Resync("reset"),
            Event::Hello(hello) => self.greet(hello),
            _ if !self.greeted => Next::Reconnect("no_hello"),
            Event::Change(change) => self.change(change),
            Event::Beat(beat) => self.beat(beat.n),
            Event::Checkpoint(token) => self.checkpoint(token, keys),
        };
        Taken { next, report }
    }

    fn greet(&mut self, hello: &Hello) -> Next {
        if self.greeted {
            return Next::Reconnect("second_hello");
        }
        // Another instance that is not as far as we are; a reset would have come from one that knows it.
        if hello.n < self.cursor {
            return Next::Reconnect("behind");
        }
        let Some(key) = FeedKey::parse(&hello.key) else { return Next::Reconnect("malformed") };
        if let Err(reason) = self.ledger.begin(hello, key) {
            return Next::Reconnect(reason);
        }
        self.greeted = true;
        self.head = hello.n;
        self.status.publish(self.ledger.view());
        self.lists_at_hand()
    }

    fn change(&mut self, change: &Change) -> Next {
        // Each follows the one before: what is missing may be the revocation that matters.
        if self.cursor.checked_add(1) != Some(change.n) {
            return Next::Reconnect("gap");
        }
        if !self.ledger.apply(change) {
            return Next::Reconnect("too_many");
        }
        self.cursor = change.n;
        self.status.publish(self.ledger.view());
        self.status.reach(self.cursor);
        if change.lists.is_some() { self.lists_at_hand() } else { Next::Continue }
    }

    fn beat(&self, n: u64) -> Next {
        // Only a head that is ours says that we are current.
        if n != self.cursor {
            return Next::Reconnect("gap");
        }
        // A beat is not signed. Whoever can make one up could hold back changes for ever, were it not for this: the issuer has
        // lately put its signature under all that we know, or we have only just begun, with lists that it signed.
        let oldest = self.oldest_signature();
        let has_begun_just_now = self.began_at.is_some_and(|at| at >= oldest) && self.ledger.oldest_iat() >= oldest;
        if n >= self.head && (self.checkpoint_iat >= oldest || has_begun_just_now) {
            self.status.hear();
        }
        Next::Continue
    }

    /// Before this a signature says nothing of now.
    fn oldest_signature(&self) -> i64 {
        self.status.clock().unix_seconds().saturating_sub(CHECKPOINT_LIFE).saturating_sub(LEEWAY)
    }

    fn lists_at_hand(&self) -> Next {
        if self.ledger.missing().next().is_some() { Next::FetchLists } else { Next::Continue }
    }

    /// What to do after lists that were missing came in while connected.
    pub fn after_lists(&self) -> Next {
        // A list as of an earlier change lacks those since: they have to be repeated.
        let behind = self.ledger.since().is_some_and(|since| since < self.cursor);
        if behind { Next::Reconnect("list_behind") } else { Next::Continue }
    }

    /// Loosening, and only on the issuer's signature under the whole state.
    fn checkpoint(&mut self, token: &str, keys: &KeySet) -> Next {
        let claims = match self.open_checkpoint(token, keys) {
            Ok(claims) => claims,
            Err(Rejected::UnknownKey) => return Next::RefreshKeys,
            // It is of before, or of a machine whose clock is behind, and says nothing of now.
            Err(Rejected::Expired) => return Next::Continue,
            Err(_) => return Next::Reconnect("bad_checkpoint"),
        };
        // It is about another change than where we are, or we do not know all lists: it says nothing of our state.
        if claims.seq != self.cursor || !self.ledger.is_at(self.cursor) {
            return Next::Continue;
        }
        if !self.ledger.agrees_with(&claims) {
            return Next::Resync("digest_mismatch");
        }
        self.checkpoint_iat = claims.iat;
        if self.ledger.settle() {
            self.status.publish(self.ledger.view());
        }
        // It was true when it was signed.
        let ago = self.status.clock().unix_seconds().saturating_sub(claims.iat);
        self.status.hear_of(Duration::from_secs(u64::try_from(ago).unwrap_or(0)));
        Next::Continue
    }

    fn open_checkpoint(&self, token: &str, keys: &KeySet) -> Result<CheckpointClaims, Rejected> {
        let trust = self.trust(keys);
        let signed = jws::parse(token, MAX_CHECKPOINT_BYTES, &[CHECKPOINT_TYPE])?;
        signed.is_of(trust.issuer)?;
        // A thief of a key must not sign his own pardon.
        if self.status.is_killed(&signed.kid) {
            return Err(Rejected::Revoked);
        }
        signed.verify(trust.keys)?;
        let claims: CheckpointClaims = signed.claims()?;
        if claims.iat > trust.now.saturating_add(trust.leeway) {
            return Err(Rejected::NotYetValid);
        }
        // An old one, played again, would pardon what was revoked and pardoned and revoked since.
        if claims.iat < self.oldest_signature() || claims.iat < self.checkpoint_iat {
            return Err(Rejected::Expired);
        }
        Ok(claims)
    }

    fn trust<'k>(&'k self, keys: &'k KeySet) -> Trust<'k> {
        Trust { issuer: &self.issuer, keys, now: self.status.clock().unix_seconds(), leeway: LEEWAY }
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;

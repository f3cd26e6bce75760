//! For the tests of services: an issuer in memory whose tokens and revocations reach its verifiers at once, with a clock
//! that is moved by hand. A misuse panics, as a test wants it.
//!
//! ```
//! use std::time::Duration;
//!
//! use countersign_verifier::testing::TestIssuer;
//! use countersign_verifier::{NoOtherClaims, Rejected};
//!
//! let issuer = TestIssuer::new("https://as.example", "https://orders.example");
//! let verifier = issuer.verifier();
//! let token = issuer.token().sub("usr_1").scope("orders:write").sign();
//! assert!(verifier.verify::<NoOtherClaims>(&token).is_ok());
//!
//! issuer.revoke(&token);
//! assert_eq!(verifier.verify::<NoOtherClaims>(&token).unwrap_err(), Rejected::Revoked);
//!
//! let token = issuer.token().sign();
//! issuer.advance(Duration::from_secs(3600));
//! assert_eq!(verifier.verify::<NoOtherClaims>(&token).unwrap_err(), Rejected::Expired);
//! ```

mod holder;
mod key;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

pub use holder::TestHolder;
pub use token::TokenBuilder;

use crate::clock::Clock;
use crate::feed::{self, Beat, CHECKPOINT_TYPE, Change, CheckpointClaims, Cut, CutKind, Event, FeedKey, Hello};
use crate::keys::KeySet;
use crate::status::{Follower, Place, Standing, Subject};
use crate::status_list::{self, LIST_BYTES, StatusList, StatusListClaims};
use crate::{StatusSource, Verifier, VerifierBuilder, base64url, json};
use key::TestKey;

/// An issuer in memory. What happens to it happens to its verifiers at once, unless it has gone dark.
#[derive(Debug)]
pub struct TestIssuer {
    issuer: String,
    audience: String,
    clock: Clock,
    key: FeedKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bits: Vec<u8>,
    cuts: Vec<Cut>,
    changes: Vec<Change>,
    /// How often keys were rotated.
    rotations: usize,
    /// How many tokens were made.
    tokens: u64,
    dark: bool,
    follower: Follower,
    verifiers: Vec<Verifier>,
}

impl State {
    fn beat(&mut self, keys: &KeySet) {
        if !self.dark {
            let n = self.changes.len() as u64;
            self.follower.apply(&Event::Beat(Beat { n }), keys);
        }
    }
}

#[expect(clippy::panic, reason = "a test that misuses its kit has to fail")]
fn misused(what: &str) -> ! {
    panic!("{what}")
}

impl TestIssuer {
    /// An issuer of that name, whose tokens are for `audience` unless they say otherwise. Its clock stands at the time at
    /// which it was made.
    pub fn new(issuer: &str, audience: &str) -> Self {
        let clock = Clock::manual(u64::try_from(Clock::system().unix_seconds()).unwrap_or_default());
        let follower = Follower::with_clock(issuer, clock.clone());
        let state = State {
            bits: vec![0; LIST_BYTES],
            cuts: Vec::new(),
            changes: Vec::new(),
            rotations: 0,
            tokens: 0,
            dark: false,
            follower,
            verifiers: Vec::new(),
        };
        let key = FeedKey::new([7; 16]);
        let made =
            Self { issuer: issuer.to_owned(), audience: audience.to_owned(), clock, key, state: Mutex::new(state) };
        made.begin_feed();
        made
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(self.jwks().as_bytes()).unwrap_or_else(|error| misused(&error.to_string()))
    }

    fn begin_feed(&self) {
        let (list, hello, keys) = (self.status_list(), self.hello(), self.keys());
        let mut state = self.state();
        if state.follower.take_list(0, &list, &keys).is_err() {
            misused("the test issuer's own list is refused");
        }
        state.follower.connect();
        state.follower.apply(&Event::Hello(hello), &keys);
        state.beat(&keys);
    }

    fn happen(&self, change: impl FnOnce(&mut State) -> Change) {
        let keys = self.keys();
        let mut state = self.state();
        let mut change = change(&mut state);
        change.n = state.changes.len() as u64 + 1;
        state.changes.push(change.clone());
        if !state.dark {
            state.follower.apply(&Event::Change(change), &keys);
        }
    }

    /// A verifier for this issuer's tokens and its audience, on this issuer's clock.
    pub fn verifier(&self) -> Verifier {
        self.verifier_with(|builder| builder)
    }

    /// The same with other settings.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let strict = issuer.verifier_with(|builder| builder.leeway(Duration::ZERO));
    /// ```
    pub fn verifier_with(&self, settings: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Verifier {
        let keys = self.keys();
        let status = self.state().follower.status();
        let builder = Verifier::builder(&self.issuer, &self.audience)
            .status(StatusSource::Given(status))
            .keys(keys)
            .clock(self.clock.clone());
        let verifier = settings(builder).build().unwrap_or_else(|error| misused(&error.to_string()));
        self.state().verifiers.push(verifier.clone());
        verifier
    }

    /// Begins a token: ten minutes long, of a grant of its own.
    pub fn token(&self) -> TokenBuilder<'_> {
        let number = {
            let mut state = self.state();
            state.tokens += 1;
            state.tokens
        };
        TokenBuilder::new(self, number)
    }

    /// What it is called: its `iss`.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// assert_eq!(TestIssuer::new("https://as.example", "x").name(), "https://as.example");
    /// ```
    pub fn name(&self) -> &str {
        &self.issuer
    }

    /// What time it is here, in seconds since the epoch.
    pub fn now(&self) -> i64 {
        self.clock.unix_seconds()
    }

    /// Lets time pass. The verifiers hear that nothing happened, with a checkpoint, unless the issuer has gone dark.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
        let (keys, checkpoint) = (self.keys(), Event::Checkpoint(self.checkpoint()));
        let mut state = self.state();
        if !state.dark {
            state.follower.apply(&checkpoint, &keys);
        }
        state.beat(&keys);
    }

    /// The standby signs from now on, and a new one is published. Verifiers know at once.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let (verifier, before) = (issuer.verifier(), issuer.token().sign());
    /// issuer.rotate();
    /// for token in [before, issuer.token().sign()] {
    ///     assert!(verifier.verify::<NoOtherClaims>(&token).is_ok());
    /// }
    /// ```
    pub fn rotate(&self) {
        self.state().rotations += 1;
        let verifiers = self.state().verifiers.clone();
        for verifier in verifiers {
            verifier.replace_keys(self.keys());
        }
    }

    /// Ends the grant of a token.
    pub fn revoke(&self, token: &str) {
        let payload = token.split('.').nth(1).and_then(base64url::decode);
        let claims: Option<Value> = payload.and_then(|payload| json::read(&payload));
        let index =
            claims.as_ref().and_then(|claims| claims.pointer("/status/status_list/idx")).and_then(Value::as_u64);
        let Some(index) = index else { misused("the token has no status, so its grant cannot be ended") };
        self.happen(|state| {
            status_list::put(&mut state.bits, index, true);
            Change { set: vec![index], ack: true, ..Change::default() }
        });
    }

    /// Cuts off what a client has got up to now.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().client_id("shop").sign();
    /// issuer.disable_client("shop");
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_err());
    /// ```
    pub fn disable_client(&self, client_id: &str) {
        self.cut(CutKind::ClientId, client_id);
    }

    /// Cuts off what is about a subject up to now.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().sub("usr_1").sign();
    /// issuer.disable_account("usr_1");
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_err());
    /// ```
    pub fn disable_account(&self, sub: &str) {
        self.cut(CutKind::Sub, sub);
    }

    /// Cuts off `value`: a grant, a token, or a key by its `kid`.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, feed::CutKind, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().claim("jti", "t1").sign();
    /// issuer.cut(CutKind::Jti, "t1");
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_err());
    /// ```
    pub fn cut(&self, kind: CutKind, value: &str) {
        let h = if kind == CutKind::Kid { value.to_owned() } else { self.key.hash_text(value) };
        let cut = Cut { k: kind, h, nbf: self.now(), until: 0 };
        self.happen(|state| {
            state.cuts.push(cut.clone());
            Change { cut: vec![cut], ..Change::default() }
        });
    }

    /// The feed falls silent: what happens from now on is not heard, and what is known grows old.
    pub fn go_dark(&self) {
        self.state().dark = true;
    }

    /// The feed is back, and what was missed is made good.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().sign();
    /// issuer.go_dark();
    /// issuer.revoke(&token);
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_ok());
    /// issuer.come_back();
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_err());
    /// ```
    pub fn come_back(&self) {
        self.state().dark = false;
        self.begin_feed();
        self.settle();
        let keys = self.keys();
        self.state().beat(&keys);
    }

    /// The `kid` that tokens are signed with now.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert!(issuer.jwks().contains(&issuer.kid()));
    /// ```
    pub fn kid(&self) -> String {
        self.signing_key().kid.clone()
    }

    fn signing_key(&self) -> &'static TestKey {
        key::nth(self.state().rotations)
    }

    /// The JWKS: the key that signs, the one that stands by, and the one that signed before.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert!(issuer.jwks().starts_with(r#"{"keys":["#));
    /// ```
    pub fn jwks(&self) -> String {
        let rotations = self.state().rotations;
        let oldest = rotations.saturating_sub(1);
        let keys: Vec<Value> = (oldest..=rotations + 1).map(|turn| key::nth(turn).jwk()).collect();
        json!({ "keys": keys }).to_string()
    }

    /// `claims` signed as a document of type `typ` by the key that signs now.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let odd = issuer.sign_document("at+jwt", &serde_json::json!({ "iss": "https://other.example" }));
    /// assert_eq!(odd.split('.').count(), 3);
    /// ```
    pub fn sign_document(&self, typ: &str, claims: &impl serde::Serialize) -> String {
        let key = self.signing_key();
        let header = json!({ "alg": "RS256", "typ": typ, "kid": key.kid }).to_string();
        key.sign(&header, &serde_json::to_string(claims).unwrap_or_default())
    }

    /// The signed status list.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert_eq!(issuer.status_list().split('.').count(), 3);
    /// ```
    pub fn status_list(&self) -> String {
        let (bits, seq) = {
            let state = self.state();
            (state.bits.clone(), state.changes.len() as u64)
        };
        let claims = StatusListClaims {
            iss: self.issuer.clone(),
            sub: status_list::uri(&self.issuer, 0),
            iat: self.now(),
            exp: Some(self.now() + 360),
            ttl: Some(15),
            status_list: StatusList { bits: 1, lst: status_list::encode(&bits, 6) },
            seq: Some(seq),
        };
        self.sign_document(status_list::TYPE, &claims)
    }

    /// What a feed says first.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert_eq!(issuer.hello().n, 0);
    /// ```
    pub fn hello(&self) -> Hello {
        let state = self.state();
        Hello { n: state.changes.len() as u64, key: self.key.to_text(), lists: 1, cuts: state.cuts.clone() }
    }

    /// What a feed says of what happened after change `since`.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// issuer.disable_client("shop");
    /// assert_eq!(issuer.changes_since(0).len(), 1);
    /// ```
    pub fn changes_since(&self, since: u64) -> Vec<Change> {
        self.state().changes.iter().filter(|change| change.n > since).cloned().collect()
    }

    /// A signed checkpoint of the state as it is.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert_eq!(issuer.checkpoint().split('.').count(), 3);
    /// ```
    pub fn checkpoint(&self) -> String {
        let claims = {
            let state = self.state();
            CheckpointClaims {
                iss: self.issuer.clone(),
                iat: self.clock.unix_seconds(),
                seq: state.changes.len() as u64,
                lists: vec![feed::list_digest(&state.bits)],
                cuts: feed::cuts_digest(&self.key, &state.cuts),
            }
        };
        self.sign_document(CHECKPOINT_TYPE, &claims)
    }

    /// Forgets that a grant was ended and lifts all cut-offs: what a feed says once no token can be alive any more.
    /// Verifiers go on refusing until a checkpoint confirms it.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().client_id("shop").sign();
    /// issuer.disable_client("shop");
    /// issuer.forget(&[]);
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_err());
    /// issuer.settle();
    /// assert!(issuer.verifier().verify::<NoOtherClaims>(&token).is_ok());
    /// ```
    pub fn forget(&self, indices: &[u64]) {
        self.happen(|state| {
            for index in indices {
                status_list::put(&mut state.bits, *index, false);
            }
            Change { clr: indices.to_vec(), uncut: std::mem::take(&mut state.cuts), ..Change::default() }
        });
    }

    /// Sends the verifiers a checkpoint.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// TestIssuer::new("https://as.example", "https://orders.example").settle();
    /// ```
    pub fn settle(&self) {
        let (checkpoint, keys) = (self.checkpoint(), self.keys());
        self.state().follower.apply(&Event::Checkpoint(checkpoint), &keys);
    }

    /// Looks up a token's status so many times, and says how often there was nothing against it: for the benchmark.
    #[doc(hidden)]
    pub fn look_up_status(&self, rounds: u64) -> u64 {
        let status = self.state().follower.status();
        let subject = |index: u64| Subject {
            place: Some(Place { list: 0, index: index.wrapping_mul(0x9e37_79b9) % status_list::LIST_ENTRIES }),
            kid: "a key",
            iat: 0,
            sub: "usr_0198c5f2a3b47d1e",
            client_id: "client_0198c5f2a3b47d1e",
            sid: Some("grant_0198c5f2a3b47d1e"),
            jti: "0198c5f2a3b47d1e0198c5f2a3b47d1e",
        };
        let is_good = |index: &u64| status.standing(&subject(*index)) == Standing::Good && status.age().is_some();
        (0..rounds).filter(is_good).count() as u64
    }

    #[cfg(test)]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.issuer, &self.audience)
    }
}

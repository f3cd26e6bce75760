//! The checks, in their order, cheap ones first. Synchronous, without IO and, but for proofs of possession, without a lock:
//! whatever is looked up was brought in by somebody else before.

mod requests;

use std::fmt;
#[cfg(any(feature = "actix", feature = "tower"))]
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::de::DeserializeOwned;

use crate::claims::{Binding, Payload};
use crate::clock::Clock;
use crate::dpop::Dpop;
use crate::keys::KeySet;
use crate::observer::Observer;
#[cfg(any(feature = "actix", feature = "tower"))]
use crate::request::Proven;
use crate::request::Request;
use crate::status::{CURRENT, Place, Standing, Status, Subject};
use crate::{Claims, OnStale, Rejected, VerifierBuilder, json, jws};

/// The most bytes of a token: more than the largest that the issuer makes.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// RFC 9068 §4: the types of an access token.
pub(crate) const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// Verifies access tokens of one issuer for one service. Clones are cheap and share all.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, KeySet, Rejected, Verifier};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let verifier = Verifier::builder("https://as.example", "https://orders.example")
///     .keys(KeySet::parse(issuer.jwks().as_bytes())?)
///     .build()?;
/// let claims: Claims = verifier.verify(&issuer.token().sub("usr_1").sign())?;
/// assert_eq!(claims.sub, "usr_1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) status: Option<Status>,
    /// Looks at proofs; without it no token that is bound to a key is accepted.
    pub(crate) dpop: Option<Dpop>,
    pub(crate) observer: Arc<dyn Observer>,
    /// Ends with the last clone.
    #[cfg(feature = "fetch")]
    pub(crate) background: Option<crate::fetch::Background>,
}

/// What is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Seconds.
    pub(crate) leeway: i64,
    /// Seconds.
    pub(crate) max_lifetime: i64,
    pub(crate) require_status: bool,
    pub(crate) max_stale: Duration,
    pub(crate) on_stale: OnStale,
}

/// The keys, and until when they may be relied on.
#[derive(Debug)]
pub(crate) struct KeyStore {
    set: ArcSwapOption<KeySet>,
    /// Microseconds of the monotonic clock.
    good_until: AtomicU64,
}

impl KeyStore {
    pub(crate) fn new(keys: Option<KeySet>) -> Self {
        Self { set: ArcSwapOption::from_pointee(keys), good_until: AtomicU64::new(u64::MAX) }
    }

    /// Keys that may be relied on for ever.
    pub(crate) fn replace(&self, keys: KeySet) {
        self.set.store(Some(Arc::new(keys)));
        self.good_until.store(u64::MAX, Ordering::Release);
    }

    /// Until when they may be relied on.
    #[cfg(feature = "fetch")]
    pub(crate) fn rely_until(&self, good_until: Duration) {
        let micros = u64::try_from(good_until.as_micros()).unwrap_or(u64::MAX);
        self.good_until.store(micros, Ordering::Release);
    }

    /// The keys, unless they are too old.
    pub(crate) fn current(&self, clock: &Clock) -> Option<arc_swap::Guard<Option<Arc<KeySet>>>> {
        let good_until = self.good_until.load(Ordering::Acquire);
        let too_old = good_until != u64::MAX && clock.monotonic() > Duration::from_micros(good_until);
        if too_old { None } else { Some(self.set.load()) }
    }
}

/// Among a request's extensions: who verified its claims of this type. A service that asks another verifier must not take
/// them for its own.
#[cfg(any(feature = "actix", feature = "tower"))]
pub(crate) struct VerifiedBy<T> {
    verifier: Verifier,
    claims: PhantomData<fn() -> T>,
}

#[cfg(any(feature = "actix", feature = "tower"))]
impl<T> Clone for VerifiedBy<T> {
    fn clone(&self) -> Self {
        Self::new(self.verifier.clone())
    }
}

#[cfg(any(feature = "actix", feature = "tower"))]
impl<T> VerifiedBy<T> {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self { verifier, claims: PhantomData }
    }

    /// Whether it was this verifier, or a clone of it.
    #[cfg(any(feature = "actix", feature = "axum"))]
    pub(crate) fn is(&self, verifier: &Verifier) -> bool {
        Arc::ptr_eq(&self.verifier.0, &verifier.0)
    }

    /// Who.
    #[cfg(feature = "actix")]
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// Among a request's extensions: what this verifier has let through on it, so that to look at it once more is no replay.
#[cfg(any(feature = "actix", feature = "tower"))]
#[derive(Clone)]
pub(crate) struct ProvenTo {
    verifier: Verifier,
    proven: Proven,
}

#[cfg(any(feature = "actix", feature = "tower"))]
impl ProvenTo {
    /// Nothing yet; none for a verifier that looks at no proofs.
    pub(crate) fn begin(verifier: &Verifier) -> Option<Self> {
        verifier.0.dpop.as_ref().map(|_| Self { verifier: verifier.clone(), proven: Proven::default() })
    }

    /// What it was, if it was this verifier, or a clone of it.
    pub(crate) fn proven(&self, verifier: &Verifier) -> Option<Proven> {
        Arc::ptr_eq(&self.verifier.0, &verifier.0).then(|| self.proven.clone())
    }
}

impl Verifier {
    /// Begins a verifier for tokens of `issuer` that are meant for `audience`. Both are compared exactly.
    pub fn builder(issuer: &str, audience: &str) -> VerifierBuilder {
        VerifierBuilder::new(issuer, audience)
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The claims of `token`, if it is good now and came as a bearer's: one that is bound to a key is for
    /// [`Verifier::verify_request`]. `T` are the service's own claims.
    ///
    /// ```
    /// # use countersign_verifier::{NoOtherClaims, Rejected, testing::TestIssuer};
    /// # use std::time::Duration;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let verifier = issuer.verifier();
    /// let token = issuer.token().expired_by(Duration::from_secs(60)).sign();
    /// assert_eq!(verifier.verify::<NoOtherClaims>(&token).unwrap_err(), Rejected::Expired);
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], which says what to answer.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<Claims<T>, Rejected> {
        self.observed(self.0.verify(token, None, true))
    }

    fn observed<T>(&self, outcome: Result<Claims<T>, Rejected>) -> Result<Claims<T>, Rejected> {
        self.0.observer.verified(outcome.as_ref().map_or_else(Rejected::code, |_| "ok"));
        outcome
    }

    /// The same, but when a token names a key that is not known yet, the look for it is waited for: two seconds at most,
    /// and one look for all that wait. Works in any runtime.
    ///
    /// ```
    /// # use countersign_verifier::{Claims, Rejected, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let (verifier, token) = (issuer.verifier(), issuer.token().sign());
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let claims: Claims = verifier.verify_waiting(&token).await?;
    /// # Ok::<(), Rejected>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], which says what to answer.
    #[cfg(feature = "fetch")]
    pub async fn verify_waiting<T: DeserializeOwned>(&self, token: &str) -> Result<Claims<T>, Rejected> {
        self.waiting(token, None).await
    }

    #[cfg(feature = "fetch")]
    async fn waiting<T>(&self, token: &str, request: Option<&Request<'_>>) -> Result<Claims<T>, Rejected>
    where
        T: DeserializeOwned,
    {
        let mut outcome = self.0.verify(token, request, false);
        if let (Err(Rejected::UnknownKey), Some(background)) = (&outcome, &self.0.background) {
            let kid = jws::parse(token, MAX_BYTES, &TYPES).map(|signed| signed.kid).unwrap_or_default();
            self.0.observer.kid_miss();
            // It ends in either case, and what came of it is seen below.
            let _ = background.look_for(&kid).await;
            outcome = self.0.verify(token, request, false);
        }
        self.observed(outcome)
    }

    /// Whether a token that was verified before is still good: for a connection that outlives a request. Looks at its end and
    /// at its status, in a fraction of the time that verifying takes.
    ///
    /// ```
    /// use countersign_verifier::testing::TestIssuer;
    /// use countersign_verifier::{Claims, Rejected};
    ///
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let (verifier, token) = (issuer.verifier(), issuer.token().sign());
    /// let claims: Claims = verifier.verify(&token)?;
    /// verifier.recheck(&claims)?;
    /// issuer.revoke(&token);
    /// assert_eq!(verifier.recheck(&claims), Err(Rejected::Revoked));
    /// # Ok::<(), Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::Expired`], [`Rejected::Revoked`] or [`Rejected::StatusUnavailable`].
    pub fn recheck<T>(&self, claims: &Claims<T>) -> Result<(), Rejected> {
        self.0.refuse_expired(claims.exp, self.0.clock.unix_seconds())?;
        if self.0.status.as_ref().is_some_and(|status| status.is_killed(&claims.kid)) {
            return Err(self.0.revoked("kid"));
        }
        self.0.status_age(&claims.subject()).map(drop)
    }

    /// Whether tokens can be verified at all: for a readiness probe.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert_eq!(issuer.verifier().ready(), Ok(()));
    /// ```
    ///
    /// # Errors
    /// [`Rejected::KeysUnavailable`] or [`Rejected::StatusUnavailable`].
    pub fn ready(&self) -> Result<(), Rejected> {
        let keys = self.0.keys.current(&self.0.clock);
        if keys.is_none_or(|keys| keys.is_none()) {
            return Err(Rejected::KeysUnavailable);
        }
        let blind = |status: &Status| status.age().is_none_or(|age| age > self.0.policy.max_stale);
        if self.0.status.as_ref().is_some_and(blind) { Err(Rejected::StatusUnavailable) } else { Ok(()) }
    }

    /// Puts other keys in place of those it has: for a program that is told of a rotation by other means.
    ///
    /// ```
    /// # use countersign_verifier::{KeySet, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let verifier = issuer.verifier();
    /// verifier.replace_keys(KeySet::parse(issuer.jwks().as_bytes())?);
    /// # Ok::<(), countersign_verifier::KeySetError>(())
    /// ```
    pub fn replace_keys(&self, keys: KeySet) {
        self.0.keys.replace(keys);
    }

    /// What is known of revocations, if this verifier looks at them.
    ///
    /// ```
    /// # use countersign_verifier::testing::TestIssuer;
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// assert!(issuer.verifier().status().is_some());
    /// ```
    pub fn status(&self) -> Option<&Status> {
        self.0.status.as_ref()
    }
}

/// A token that is bound to the key of that thumbprint, and who looks at the proof that came with it.
struct Possession<'a> {
    dpop: &'a Dpop,
    request: &'a Request<'a>,
    jkt: String,
}

/// The service's own claims. A type that holds nothing is not made from the whole payload, which would be read for nothing.
pub(crate) fn other_claims<T: DeserializeOwned>(signed: &jws::Unverified<'_>) -> Option<T> {
    let nothing = if size_of::<T>() == 0 { json::read(b"{}") } else { None };
    nothing.or_else(|| signed.read())
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { issuer, audience, policy, .. } = &*self.0;
        let mut shown = f.debug_struct("Verifier");
        shown.field("issuer", issuer).field("audience", audience).field("policy", policy).finish_non_exhaustive()
    }
}

impl Inner {
    /// The claims of `token`, which came with `request`; without a request it is a bearer's.
    fn verify<T>(&self, token: &str, request: Option<&Request<'_>>, notes_miss: bool) -> Result<Claims<T>, Rejected>
    where
        T: DeserializeOwned,
    {
        let signed = jws::parse(token, MAX_BYTES, &TYPES)?;
        // Read once; believed only after the signature.
        let payload: Option<Payload> = signed.read();
        // RFC 8725 §3.8: the issuer decides whose keys are asked.
        match &payload {
            Some(payload) if payload.iss == self.issuer => {}
            Some(_) => return Err(Rejected::OtherIssuer),
            None => signed.is_of(&self.issuer)?,
        }
        if self.status.as_ref().is_some_and(|status| status.is_killed(&signed.kid)) {
            return Err(self.revoked("kid"));
        }
        self.verify_signature(&signed, notes_miss)?;
        let payload = payload.filter(|_| signed.is_unique()).ok_or(Rejected::BadClaims)?;
        let now = self.clock.unix_seconds();
        self.require_lifetime(&payload, now)?;
        // RFC 9068 §4: aud names us, exactly; RFC 8725 §3.9.
        if !payload.is_for(&self.audience) {
            return Err(Rejected::OtherAudience);
        }
        // RFC 9068 §2.2: these are required, and nobody is called nothing.
        if payload.sub.is_empty() || payload.client_id.is_empty() || payload.jti.is_empty() {
            return Err(Rejected::BadClaims);
        }
        let possession = self.possession(&payload, request)?;
        let place = self.place(&payload)?;
        let other = other_claims(&signed).ok_or(Rejected::BadClaims)?;
        let mut claims = payload.into_claims(other, (signed.kid, place), now);
        let status_age = self.status_age(&claims.subject())?;
        claims.learn_age(status_age);
        // Last, since it uses the proof up.
        if let Some(Possession { dpop, request, jkt }) = possession {
            dpop.admit(request, (token, &jkt), &self.clock)?;
        }
        Ok(claims)
    }

    /// What the sender has still to prove; none for a bearer's token that came as one.
    fn possession<'a>(
        &'a self,
        payload: &Payload,
        request: Option<&'a Request<'a>>,
    ) -> Result<Option<Possession<'a>>, Rejected> {
        let with_proof = request.filter(|request| request.is_dpop());
        match (payload.binding(), &self.dpop, with_proof) {
            (Binding::None, _, None) => Ok(None),
            (Binding::Jkt(jkt), Some(dpop), Some(request)) => {
                Ok(Some(Possession { dpop, request, jkt: jkt.to_owned() }))
            }
            // RFC 9449 §7.2: a bound token is not downgraded to a bearer's. §7.1: and a proof is for a bound one.
            (Binding::Jkt(_), Some(_), None) | (Binding::None, _, Some(_)) => Err(Rejected::WrongScheme),
            // RFC 7800 §3.1: bound to what nothing here looks at, so it must not be accepted.
            (Binding::Jkt(_), None, _) | (Binding::Other, ..) => Err(Rejected::BadClaims),
        }
    }

    /// RFC 7519 §4.1.4: on or after exp it must not be accepted, but for a small leeway.
    fn refuse_expired(&self, exp: i64, now: i64) -> Result<(), Rejected> {
        if exp + self.policy.leeway <= now { Err(Rejected::Expired) } else { Ok(()) }
    }

    /// The place in the status lists that a token names.
    fn place(&self, payload: &Payload) -> Result<Option<Place>, Rejected> {
        match &payload.status {
            _ if self.status.is_none() => Ok(None),
            // draft-ietf-oauth-status-list §8.3: a reference that cannot be followed is no good status.
            Some(claim) => Ok(Some(claim.place(&self.issuer).ok_or(Rejected::BadClaims)?)),
            None if self.policy.require_status => Err(Rejected::BadClaims),
            None => Ok(None),
        }
    }

    fn verify_signature(&self, signed: &jws::Unverified<'_>, notes_miss: bool) -> Result<(), Rejected> {
        let keys = self.keys.current(&self.clock).ok_or(Rejected::KeysUnavailable)?;
        let keys = keys.as_deref().ok_or(Rejected::KeysUnavailable)?;
        let outcome = signed.verify(keys);
        if notes_miss && outcome == Err(Rejected::UnknownKey) {
            self.miss(&signed.kid);
        }
        outcome
    }

    fn miss(&self, kid: &str) {
        self.observer.kid_miss();
        #[cfg(feature = "fetch")]
        if let Some(background) = &self.background {
            background.miss(kid);
        }
        #[cfg(not(feature = "fetch"))]
        let _ = kid;
    }

    fn require_lifetime(&self, payload: &Payload, now: i64) -> Result<(), Rejected> {
        let Policy { leeway, max_lifetime, .. } = self.policy;
        let (iat, exp) = (payload.iat.0, payload.exp.0);
        // RFC 9068 §2.2: exp and iat are required. Dates are bounded, so that no sum here overflows.
        if exp < iat || exp - iat > max_lifetime {
            return Err(Rejected::BadClaims);
        }
        self.refuse_expired(exp, now)?;
        // RFC 7519 §4.1.5, and the same for iat: nothing from the future.
        if iat > now + leeway || payload.nbf.is_some_and(|nbf| nbf.0 > now + leeway) {
            return Err(Rejected::NotYetValid);
        }
        Ok(())
    }

    /// How old the knowledge is that nothing is against the token; none if nobody looks.
    fn status_age(&self, subject: &Subject<'_>) -> Result<Option<Duration>, Rejected> {
        let Some(status) = &self.status else { return Ok(None) };
        // What is known to be revoked stays so, however old the knowledge.
        match status.standing(subject) {
            Standing::Good => {}
            Standing::Ended => return Err(self.revoked("grant")),
            Standing::CutOff(kind) => return Err(self.revoked(kind.name())),
            Standing::UnknownList => return Err(Rejected::StatusUnavailable),
        }
        let age = status.age().ok_or(Rejected::StatusUnavailable)?;
        let accepted = age <= self.policy.max_stale || self.policy.on_stale == OnStale::AcceptUntilExpiry;
        if age > CURRENT {
            self.observer.stale_decision(accepted);
        }
        if accepted { Ok(Some(age)) } else { Err(Rejected::StatusUnavailable) }
    }

    fn revoked(&self, kind: &'static str) -> Rejected {
        self.observer.revoked_hit(kind);
        Rejected::Revoked
    }
}

#[cfg(test)]
#[path = "verifier/tests.rs"]
mod tests;

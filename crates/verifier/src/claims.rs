//! What a verified token says, and what a route may ask of it. Reading them is here, deciding on them is
//! [`crate::verifier`]'s.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::status::{CURRENT, Place, StatusClaim, Subject};
use crate::status_list::LIST_ENTRIES;
use crate::{Rejected, json};

/// The last second that a date of ours may name: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// The claims of an access token that was found good (RFC 9068 §2.2), and in `other` those of the service's own.
///
/// ```
/// use countersign_verifier::Claims;
/// use countersign_verifier::testing::TestIssuer;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Tenant {
///     tenant: String,
/// }
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let token = issuer.token().sub("usr_1").scope("orders:read").claim("tenant", "acme").sign();
/// let claims: Claims<Tenant> = issuer.verifier().verify(&token)?;
/// assert_eq!((claims.sub.as_str(), claims.other.tenant.as_str()), ("usr_1", "acme"));
/// claims.require_scope("orders:read")?;
/// # Ok::<(), countersign_verifier::Rejected>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claims<T = NoOtherClaims> {
    /// Who issued it.
    pub iss: String,
    /// Whom it is about: a stable name, never an address.
    pub sub: String,
    /// For which services.
    pub aud: Vec<String>,
    /// To which client.
    pub client_id: String,
    /// Until when, in seconds since the epoch.
    pub exp: i64,
    /// Since when, in seconds since the epoch.
    pub iat: i64,
    /// Its own name.
    pub jti: String,
    /// What it allows.
    pub scope: Scope,
    /// The grant that it comes from, if a person is behind it.
    pub sid: Option<String>,
    /// When that person logged in, in seconds since the epoch.
    pub auth_time: Option<i64>,
    /// How strongly.
    pub acr: Option<String>,
    /// By what means.
    pub amr: Vec<String>,
    /// The roles of the subject.
    pub roles: Vec<String>,
    /// Whether it was accepted although its status was known only as of more than ten seconds ago.
    pub is_stale: bool,
    /// The service's own claims.
    pub other: T,
    /// How old the knowledge of its status was; none if the verifier has no status.
    pub(crate) status_age: Option<Duration>,
    /// When it was verified, in seconds since the epoch.
    pub(crate) verified_at: i64,
    /// The key that signed it.
    pub(crate) kid: String,
    /// Its grant's place in the status lists.
    pub(crate) place: Option<Place>,
}

/// For a service without claims of its own.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, NoOtherClaims};
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let claims: Claims = issuer.verifier().verify(&issuer.token().sign())?;
/// assert_eq!(claims.other, NoOtherClaims {});
/// # Ok::<(), countersign_verifier::Rejected>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NoOtherClaims {}

/// What a token allows: texts separated by spaces (RFC 6749 §3.3).
///
/// ```
/// use countersign_verifier::Scope;
///
/// let scope = Scope::new("orders:read orders:write");
/// assert!(scope.contains("orders:read"));
/// assert!(!scope.contains("orders"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// A scope of these texts.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether exactly this text is among them.
    pub fn contains(&self, one: &str) -> bool {
        self.iter().any(|own| own == one)
    }

    /// Each of its texts.
    ///
    /// ```
    /// # use countersign_verifier::Scope;
    /// assert_eq!(Scope::new("a b").iter().collect::<Vec<_>>(), ["a", "b"]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|one| !one.is_empty())
    }

    /// As it stands in the token.
    ///
    /// ```
    /// # use countersign_verifier::Scope;
    /// assert_eq!(Scope::new("a b").as_str(), "a b");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T> Claims<T> {
    /// What decides whether it was revoked.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            place: self.place,
            kid: &self.kid,
            iat: self.iat,
            sub: &self.sub,
            client_id: &self.client_id,
            sid: self.sid.as_deref(),
            jti: &self.jti,
        }
    }

    /// Where its grant stands in the issuer's status lists: the list's number times 2^20, and the index.
    ///
    /// ```
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let claims: Claims = issuer.verifier().verify(&issuer.token().sign())?;
    /// assert!(claims.status_number().is_some());
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    pub fn status_number(&self) -> Option<u64> {
        self.place.map(|place| place.list.saturating_mul(LIST_ENTRIES).saturating_add(place.index))
    }

    /// How old the knowledge of its status was.
    pub(crate) fn learn_age(&mut self, status_age: Option<Duration>) {
        self.status_age = status_age;
        self.is_stale = status_age.is_some_and(|age| age > CURRENT);
    }

    /// Whether the token allows `one`.
    ///
    /// # Errors
    /// [`Rejected::InsufficientScope`], a 403.
    pub fn require_scope(&self, one: &str) -> Result<(), Rejected> {
        self.require_any_scope(&[one])
    }

    /// Whether the token allows one of `any`.
    ///
    /// ```
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let claims: Claims = issuer.verifier().verify(&issuer.token().scope("orders:read").sign())?;
    /// claims.require_any_scope(&["orders:read", "orders:admin"])?;
    /// assert_eq!(claims.require_any_scope(&["orders:admin"]).unwrap_err().status(), 403);
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::InsufficientScope`], a 403.
    pub fn require_any_scope(&self, any: &[&str]) -> Result<(), Rejected> {
        let enough = any.iter().any(|one| self.scope.contains(one));
        if enough { Ok(()) } else { Err(Rejected::InsufficientScope { needed: any.join(" ") }) }
    }

    /// Whether the subject has the role.
    ///
    /// ```
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let claims: Claims = issuer.verifier().verify(&issuer.token().roles(&["clerk"]).sign())?;
    /// claims.require_role("clerk")?;
    /// assert_eq!(claims.require_role("admin").unwrap_err().status(), 403);
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::InsufficientRole`], a 403.
    pub fn require_role(&self, role: &str) -> Result<(), Rejected> {
        let has = self.roles.iter().any(|own| own == role);
        if has { Ok(()) } else { Err(Rejected::InsufficientRole { needed: role.to_owned() }) }
    }

    /// Whether the log-in was one of `acr_values` (RFC 9470 §4).
    ///
    /// ```
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let claims: Claims = issuer.verifier().verify(&issuer.token().claim("acr", "mfa").sign())?;
    /// claims.require_acr(&["phr", "mfa"])?;
    /// assert_eq!(claims.require_acr(&["phr"]).unwrap_err().status(), 401);
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::StepUp`], a 401 that says what would do.
    pub fn require_acr(&self, acr_values: &[&str]) -> Result<(), Rejected> {
        let enough = self.acr.as_deref().is_some_and(|own| acr_values.contains(&own));
        let needed = || acr_values.iter().map(|&one| one.to_owned()).collect();
        if enough { Ok(()) } else { Err(Rejected::StepUp { acr_values: needed(), max_age: None }) }
    }

    /// Whether the log-in is no older than `max_age` (RFC 9470 §4).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// # let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// # let token = issuer.token().claim("auth_time", issuer.now() - 400).sign();
    /// # let claims: Claims = issuer.verifier().verify(&token)?;
    /// claims.require_auth_age(Duration::from_secs(600))?;
    /// assert_eq!(claims.require_auth_age(Duration::from_secs(300)).unwrap_err().status(), 401);
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::StepUp`], a 401 that says what would do.
    pub fn require_auth_age(&self, max_age: Duration) -> Result<(), Rejected> {
        let seconds = max_age.as_secs();
        let limit = i64::try_from(seconds).unwrap_or(i64::MAX);
        let young = self.auth_time.is_some_and(|at| self.verified_at.saturating_sub(at) <= limit);
        if young { Ok(()) } else { Err(Rejected::StepUp { acr_values: Vec::new(), max_age: Some(seconds) }) }
    }

    /// For routes where a revocation must be in force within that time: whether the token's status was known as of no
    /// longer ago. Not so for a verifier without a status.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign_verifier::{Claims, testing::TestIssuer};
    /// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    /// let token = issuer.token().sign();
    /// issuer.go_dark();
    /// issuer.advance(Duration::from_secs(30));
    /// let claims: Claims = issuer.verifier().verify(&token)?;
    /// assert!(claims.is_stale);
    /// assert_eq!(claims.require_fresh(Duration::from_secs(10)).unwrap_err().status(), 503);
    /// # Ok::<(), countersign_verifier::Rejected>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected::StatusUnavailable`], a 503.
    pub fn require_fresh(&self, within: Duration) -> Result<(), Rejected> {
        let fresh = self.status_age.is_some_and(|age| age <= within);
        if fresh { Ok(()) } else { Err(Rejected::StatusUnavailable) }
    }
}

/// The payload as it is in the token.
#[derive(Deserialize)]
pub(crate) struct Payload {
    pub(crate) iss: String,
    pub(crate) sub: String,
    aud: Audience,
    pub(crate) client_id: String,
    pub(crate) exp: NumericDate,
    pub(crate) iat: NumericDate,
    #[serde(default, deserialize_with = "json::some")]
    pub(crate) nbf: Option<NumericDate>,
    pub(crate) jti: String,
    #[serde(default, deserialize_with = "json::some")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "json::some")]
    pub(crate) sid: Option<String>,
    #[serde(default, deserialize_with = "json::some")]
    auth_time: Option<NumericDate>,
    #[serde(default, deserialize_with = "json::some")]
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default, deserialize_with = "json::some")]
    cnf: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "json::some")]
    pub(crate) status: Option<StatusClaim>,
}

impl Payload {
    /// Whether the service of that name is among the audience.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        }
    }

    /// What it is bound to.
    pub(crate) fn binding(&self) -> Binding<'_> {
        let Some(cnf) = &self.cnf else { return Binding::None };
        let only = cnf.as_object().filter(|members| members.len() == 1);
        let jkt = only.and_then(|members| members.get("jkt")).and_then(serde_json::Value::as_str);
        jkt.map_or(Binding::Other, Binding::Jkt)
    }

    /// The claims, once all was found good.
    pub(crate) fn into_claims<T>(self, other: T, (kid, place): (String, Option<Place>), verified_at: i64) -> Claims<T> {
        Claims {
            iss: self.iss,
            sub: self.sub,
            aud: match self.aud {
                Audience::One(one) => vec![one],
                Audience::Several(several) => several,
            },
            client_id: self.client_id,
            exp: self.exp.0,
            iat: self.iat.0,
            jti: self.jti,
            scope: Scope(self.scope.unwrap_or_default()),
            sid: self.sid,
            auth_time: self.auth_time.map(|at| at.0),
            acr: self.acr,
            amr: self.amr,
            roles: self.roles,
            is_stale: false,
            other,
            status_age: None,
            verified_at,
            kid,
            place,
        }
    }
}

/// What a token is bound to (RFC 7800 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding<'p> {
    /// Nothing: whoever bears it may use it.
    None,
    /// The key of that thumbprint, and nothing beside it (RFC 9449 §6.1).
    Jkt(&'p str),
    /// Something that nothing here looks at, such as a certificate (RFC 8705 §3.1).
    Other,
}

/// RFC 7519 §4.1.3: a text, or a list of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Seconds since the epoch (RFC 7519 §2): a whole number, or one with a fraction, which is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumericDate(pub(crate) i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DateVisitor)
    }
}

struct DateVisitor;

impl Visitor<'_> for DateVisitor {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since the epoch, before the year 10000")
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
        if (0..=LAST_SECOND).contains(&seconds) {
            Ok(NumericDate(seconds))
        } else {
            Err(E::custom("a date out of range"))
        }
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
        self.visit_i64(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    #[expect(clippy::cast_possible_truncation, reason = "within the range, and the fraction is to be dropped")]
    fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
        // Not a number is not in the range either.
        if (0.0..1e12).contains(&seconds) { self.visit_i64(seconds as i64) } else { self.visit_i64(-1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Option<i64> {
        serde_json::from_str::<NumericDate>(text).ok().map(|date| date.0)
    }

    #[test]
    fn dates_are_numbers_in_a_range() {
        assert_eq!(date("0"), Some(0));
        assert_eq!(date("1795000000"), Some(1_795_000_000));
        assert_eq!(date("1795000000.9"), Some(1_795_000_000));
        assert_eq!(date("1.795e9"), Some(1_795_000_000));
        assert_eq!(date("253402300799"), Some(LAST_SECOND));
        for text in [
            "-1",
            "-0.5",
            "253402300800",
            "1e12",
            "1e300",
            "1e999",
            "18446744073709551615",
            "9223372036854775808",
            "99999999999999999999",
            "\"1795000000\"",
            "null",
            "true",
            "[]",
            "{}",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn a_scope_is_compared_whole() {
        let scope = Scope::new("orders:read  orders");
        assert!(scope.contains("orders") && scope.contains("orders:read"));
        assert!(!scope.contains("orders:") && !scope.contains("") && !scope.contains("orders:read  orders"));
    }
}

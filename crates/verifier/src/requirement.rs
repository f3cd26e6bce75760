//! What a route asks of a good token: as a type for extractors, as a list for middleware.

use std::time::Duration;

use crate::{Claims, Rejected};

/// What a route asks of a token, as a type: for the extractor `Allowed` of the web integrations.
///
/// ```
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, Rejected, Requirement};
///
/// struct WriteOrders;
///
/// impl Requirement for WriteOrders {
///     fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected> {
///         claims.require_scope("orders:write")
///     }
/// }
///
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let claims: Claims = issuer.verifier().verify(&issuer.token().scope("orders:read").sign())?;
/// assert!(WriteOrders::admit(&claims).is_err());
/// # Ok::<(), Rejected>(())
/// ```
pub trait Requirement {
    /// Whether a token with these claims will do.
    ///
    /// # Errors
    /// Why it will not.
    fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected>;
}

/// Nothing but a good token.
impl Requirement for () {
    fn admit<T>(_: &Claims<T>) -> Result<(), Rejected> {
        Ok(())
    }
}

/// What a group of routes asks of a token, for middleware. All of it has to hold.
///
/// ```
/// use std::time::Duration;
///
/// use countersign_verifier::testing::TestIssuer;
/// use countersign_verifier::{Claims, Requirements};
///
/// let requirements = Requirements::new().scope("orders:write").role("clerk").fresh(Duration::from_secs(10));
/// let issuer = TestIssuer::new("https://as.example", "https://orders.example");
/// let claims: Claims = issuer.verifier().verify(&issuer.token().scope("orders:write").roles(&["clerk"]).sign())?;
/// requirements.admit(&claims)?;
/// # Ok::<(), countersign_verifier::Rejected>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    scopes: Vec<String>,
    roles: Vec<String>,
    acr_values: Vec<String>,
    auth_age: Option<Duration>,
    fresh: Option<Duration>,
}

impl Requirements {
    /// Nothing but a good token.
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        if !self.scopes.iter().any(|known| known == scope) {
            self.scopes.push(scope.to_owned());
        }
        self
    }

    /// A role.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// A log-in of one of these strengths.
    ///
    /// ```
    /// let requirements = countersign_verifier::Requirements::new().acr(&["phr", "mfa"]);
    /// ```
    #[must_use]
    pub fn acr(mut self, acr_values: &[&str]) -> Self {
        self.acr_values.extend(acr_values.iter().map(|&one| one.to_owned()));
        self
    }

    /// A log-in that is no older.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let requirements = countersign_verifier::Requirements::new().auth_age(Duration::from_secs(300));
    /// ```
    #[must_use]
    pub fn auth_age(mut self, max_age: Duration) -> Self {
        self.auth_age = Some(max_age);
        self
    }

    /// A status that is no older.
    #[must_use]
    pub fn fresh(mut self, within: Duration) -> Self {
        self.fresh = Some(within);
        self
    }

    /// Whether a token with these claims will do.
    ///
    /// # Errors
    /// The first of the requirements that does not hold.
    pub fn admit<T>(&self, claims: &Claims<T>) -> Result<(), Rejected> {
        if self.scopes.iter().any(|scope| !claims.scope.contains(scope)) {
            // RFC 6750 §3.1: scope says what is needed, all of it.
            return Err(Rejected::InsufficientScope { needed: self.scopes.join(" ") });
        }
        self.roles.iter().try_for_each(|role| claims.require_role(role))?;
        if !self.acr_values.is_empty() {
            claims.require_acr(&self.acr_values.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if let Some(max_age) = self.auth_age {
            claims.require_auth_age(max_age)?;
        }
        self.fresh.map_or(Ok(()), |within| claims.require_fresh(within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestIssuer;

    #[test]
    fn each_requirement_has_its_refusal() {
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let verifier = issuer.verifier();
        let token =
            issuer.token().scope("a b").roles(&["clerk"]).claim("acr", "mfa").claim("auth_time", issuer.now() - 60);
        let claims: Claims = verifier.verify(&token.sign()).unwrap();
        let code = |requirements: Requirements| requirements.admit(&claims).err().map(|rejected| rejected.code());
        let all = Requirements::new().scope("a").scope("b").role("clerk").acr(&["mfa"]);
        assert_eq!(code(all.clone().auth_age(Duration::from_mins(1)).fresh(Duration::ZERO)), None);
        let needed = Rejected::InsufficientScope { needed: "a b c".to_owned() };
        assert_eq!(all.clone().scope("c").admit(&claims), Err(needed));
        assert_eq!(code(all.clone().role("admin")), Some("insufficient_role"));
        assert_eq!(code(Requirements::new().acr(&["phr"])), Some("step_up"));
        assert_eq!(code(Requirements::new().auth_age(Duration::from_secs(59))), Some("step_up"));
        issuer.go_dark();
        issuer.advance(Duration::from_secs(2));
        let claims: Claims = verifier.verify(&issuer.token().sign()).unwrap();
        let stale = Requirements::new().fresh(Duration::from_secs(1)).admit(&claims);
        assert_eq!(stale, Err(Rejected::StatusUnavailable));
    }
}

//! A refusal as an answer: status, headers and body together, for whatever speaks HTTP.

use std::fmt;

use crate::{Challenge, Rejected};

/// A refusal, and what the service says of itself with it. The web integrations answer with it; so can anything else.
///
/// ```
/// use countersign_verifier::{Challenge, Refused, Rejected};
///
/// let refused = Refused::new(Rejected::Missing, Challenge::new().realm("orders"));
/// assert_eq!(refused.status(), 401);
/// assert!(refused.headers().contains(&("www-authenticate", r#"Bearer realm="orders""#.to_owned())));
/// assert!(refused.headers().contains(&("cache-control", "no-store".to_owned())));
/// ```
#[derive(Clone, Debug)]
pub struct Refused {
    rejected: Rejected,
    challenge: Challenge,
}

impl Refused {
    /// The refusal for that reason.
    pub fn new(rejected: Rejected, challenge: Challenge) -> Self {
        Self { rejected, challenge }
    }

    /// Why.
    ///
    /// ```
    /// # use countersign_verifier::{Challenge, Refused, Rejected};
    /// assert_eq!(Refused::new(Rejected::Expired, Challenge::new()).reason(), &Rejected::Expired);
    /// ```
    pub fn reason(&self) -> &Rejected {
        &self.rejected
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.rejected.status()
    }

    /// Its headers.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            // An answer to a request with a token is nobody else's.
            ("cache-control", "no-store".to_owned()),
        ];
        headers.extend(self.rejected.www_authenticate(&self.challenge).map(|value| ("www-authenticate", value)));
        headers.extend(self.rejected.retry_after().map(|span| ("retry-after", span.as_secs().to_string())));
        headers
    }

    /// Its body.
    ///
    /// ```
    /// # use countersign_verifier::{Challenge, Refused, Rejected};
    /// assert!(Refused::new(Rejected::Expired, Challenge::new()).body().contains(r#""code":"expired""#));
    /// ```
    pub fn body(&self) -> String {
        self.rejected.problem()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejected.fmt(f)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_blindness_says_when_to_come_back_and_challenges_nobody() {
        let headers = Refused::new(Rejected::StatusUnavailable, Challenge::new().realm("x")).headers();
        assert!(headers.contains(&("retry-after", "2".to_owned())));
        assert!(!headers.iter().any(|(name, _)| *name == "www-authenticate"));
        let headers = Refused::new(Rejected::Expired, Challenge::new()).headers();
        assert!(!headers.iter().any(|(name, _)| *name == "retry-after"));
    }
}

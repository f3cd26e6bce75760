//! Good and bad access tokens, each with what a verifier has to make of it, so that a service of any language can be tried
//! against them. The tokens are those of an issuer that exists for the trial only, under keys made for it. `corpus.json` beside
//! this crate's manifest is such a trial on file, for a verifier whose clock can be set to its moment.
//!
//! ```
//! use countersign_verifier::conformance::{Trial, Verdict};
//! use countersign_verifier::{KeySet, NoOtherClaims, Verifier};
//!
//! let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?;
//! let verifier = Verifier::builder("https://as.example", "https://orders.example")
//!     .keys(KeySet::parse(trial.jwks().as_bytes())?)
//!     .build()?;
//! let unsigned = trial.cases().into_iter().find(|case| case.name == "alg_none").unwrap();
//! assert_eq!(unsigned.verdict, Verdict::Refuse);
//! assert!(verifier.verify::<NoOtherClaims>(&unsigned.token).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cases;
mod signer;

use serde::Serialize;
use serde_json::json;

use crate::keys::Algorithm;
use crate::status_list::{self, LIST_BYTES};
use signer::Signer;

/// The index of the grant that is over.
const OVER: u64 = 4711;

/// What a verifier has to make of a token.
///
/// ```
/// assert_ne!(
///     countersign_verifier::conformance::Verdict::Accept,
///     countersign_verifier::conformance::Verdict::Refuse
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A good token: whoever refuses it logs honest clients out.
    Accept,
    /// A bad token: whoever accepts it can be deceived.
    Refuse,
    /// A bad token that only a verifier with a strict profile of RFC 9068 and status lists refuses.
    RefuseIfStrict,
}

/// A token and what to make of it.
///
/// ```
/// use countersign_verifier::conformance::Trial;
///
/// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?;
/// assert!(trial.cases().iter().all(|case| !case.why.is_empty()));
/// # Ok::<(), countersign_verifier::conformance::NoKey>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// A stable name.
    pub name: &'static str,
    /// What a verifier has to make of it.
    pub verdict: Verdict,
    /// Why, with the clause.
    pub why: &'static str,
    /// The token.
    pub token: String,
}

/// No key could be made for the trial.
///
/// ```
/// assert_eq!(countersign_verifier::conformance::NoKey.to_string(), "no RSA key could be made");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RSA key could be made")]
pub struct NoKey;

/// An issuer for one trial: its keys, its tokens, its status list.
#[derive(Debug)]
pub struct Trial {
    issuer: String,
    audience: String,
    scope: String,
    now: i64,
    signer: Signer,
    /// Published, and not the one that signs first.
    second: Signer,
    /// In no JWKS.
    stranger: Signer,
}

impl Trial {
    /// A trial at `now`, in seconds since the epoch, with keys of its own. Takes a fraction of a second.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn new(issuer: &str, audience: &str, now: i64) -> Result<Self, NoKey> {
        Ok(Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            scope: "read write".to_owned(),
            now,
            signer: Signer::generate()?,
            second: Signer::generate()?,
            stranger: Signer::generate()?,
        })
    }

    /// The scope of the good tokens; `read write` unless it is said otherwise.
    ///
    /// ```
    /// # use countersign_verifier::conformance::Trial;
    /// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?.with_scope("orders");
    /// # Ok::<(), countersign_verifier::conformance::NoKey>(())
    /// ```
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        scope.clone_into(&mut self.scope);
        self
    }

    /// By keys that are for PS256; they are for RS256 unless this is said.
    ///
    /// ```
    /// # use countersign_verifier::conformance::Trial;
    /// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?.signed_by_ps256();
    /// assert!(trial.jwks().contains(r#""alg":"PS256""#));
    /// # Ok::<(), countersign_verifier::conformance::NoKey>(())
    /// ```
    #[must_use]
    pub fn signed_by_ps256(mut self) -> Self {
        for signer in [&mut self.signer, &mut self.second, &mut self.stranger] {
            signer.algorithm = Algorithm::Ps256;
        }
        self
    }

    /// The issuer's JWKS.
    ///
    /// ```
    /// # use countersign_verifier::{KeySet, conformance::Trial};
    /// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?;
    /// assert_eq!(KeySet::parse(trial.jwks().as_bytes())?.kids().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.signer.jwk(), self.second.jwk()] }).to_string()
    }

    /// All of it as JSON: issuer, audience, the moment, JWKS, status lists by their URI, and the cases.
    ///
    /// ```
    /// # use countersign_verifier::conformance::Trial;
    /// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?;
    /// assert_eq!(trial.to_json()["cases"][0]["name"], "good");
    /// # Ok::<(), countersign_verifier::conformance::NoKey>(())
    /// ```
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "issuer": self.issuer,
            "audience": self.audience,
            "at": self.now,
            "jwks": { "keys": [self.signer.jwk(), self.second.jwk()] },
            "status_lists": { status_list::uri(&self.issuer, 0): self.status_list(self.now) },
            "cases": self.cases(),
        })
    }

    /// The signed status list number 0, in which one grant is over, good from `now` on for an hour.
    ///
    /// ```
    /// # use countersign_verifier::conformance::Trial;
    /// let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000)?;
    /// assert_eq!(trial.status_list(1_795_000_000).split('.').count(), 3);
    /// # Ok::<(), countersign_verifier::conformance::NoKey>(())
    /// ```
    pub fn status_list(&self, now: i64) -> String {
        let mut bits = vec![0; LIST_BYTES];
        status_list::put(&mut bits, OVER, true);
        let claims = json!({
            "iss": self.issuer, "sub": status_list::uri(&self.issuer, 0), "iat": now, "exp": now + 3600, "ttl": 15,
            "seq": 0, "status_list": { "bits": 1, "lst": status_list::encode(&bits, 9) },
        });
        let alg = self.signer.algorithm.as_str();
        let header = json!({ "alg": alg, "typ": "statuslist+jwt", "kid": self.signer.kid });
        self.signer.sign(&header.to_string(), &claims.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeySet, NoOtherClaims, OnStale, StatusSource, Verifier, status::Follower};

    #[test]
    fn the_corpus_on_file_is_that_of_the_code_and_this_verifier_makes_of_it_what_it_has_to() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus.json");
        if std::env::var_os("COUNTERSIGN_TEST_WRITE").is_some() {
            let trial = Trial::new("https://as.example", "https://orders.example", 1_795_000_000).unwrap();
            std::fs::write(path, format!("{:#}\n", trial.to_json())).unwrap();
        }
        let corpus: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let at = corpus["at"].as_i64().unwrap();
        let clock = crate::clock::Clock::manual(u64::try_from(at).unwrap());
        let keys = || KeySet::parse(corpus["jwks"].to_string().as_bytes()).unwrap();
        let mut follower = Follower::with_clock("https://as.example", clock.clone());
        let list = corpus["status_lists"]["https://as.example/status/0"].as_str().unwrap();
        follower.take_list(0, list, &keys()).unwrap();
        follower.confirm(at);
        let verifier = Verifier::builder("https://as.example", "https://orders.example")
            .keys(keys())
            .status(StatusSource::Given(follower.status()))
            .clock(clock)
            .build()
            .unwrap();
        let text = |case: &serde_json::Value, member: &str| case[member].as_str().unwrap().to_owned();
        let cases = corpus["cases"].as_array().unwrap();
        for case in cases {
            let accepted = verifier.verify::<NoOtherClaims>(&text(case, "token")).is_ok();
            assert_eq!(accepted, text(case, "verdict") == "accept", "{}", text(case, "name"));
        }
        let on_file: Vec<String> = cases.iter().map(|case| text(case, "name")).collect();
        let trial = Trial::new("https://as.example", "https://orders.example", at).unwrap();
        let of_code: Vec<String> = trial.cases().iter().map(|case| case.name.to_owned()).collect();
        assert_eq!(on_file, of_code, "run COUNTERSIGN_TEST_WRITE=1 cargo test -p countersign-verifier corpus");
    }

    #[test]
    fn this_verifier_makes_of_every_token_what_it_has_to() {
        let now = crate::clock::Clock::system().unix_seconds();
        let trial = || Trial::new("https://as.example", "https://orders.example", now).unwrap();
        for trial in [trial(), trial().signed_by_ps256()] {
            verifies(&trial, now);
        }
    }

    fn verifies(trial: &Trial, now: i64) {
        let keys = KeySet::parse(trial.jwks().as_bytes()).unwrap();
        let mut follower = Follower::new("https://as.example");
        follower.take_list(0, &trial.status_list(now), &keys).unwrap();
        follower.confirm(now);
        let verifier = Verifier::builder("https://as.example", "https://orders.example")
            .keys(keys)
            .status(StatusSource::Given(follower.status()))
            .on_stale(OnStale::Refuse)
            .build()
            .unwrap();
        let cases = trial.cases();
        for case in &cases {
            let accepted = verifier.verify::<NoOtherClaims>(&case.token).is_ok();
            assert_eq!(accepted, case.verdict == Verdict::Accept, "{}: {}", case.name, case.why);
        }
        let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        assert!(count(Verdict::Accept) >= 5 && count(Verdict::Refuse) >= 50 && count(Verdict::RefuseIfStrict) >= 10);
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len(), "each has a name of its own");
    }
}

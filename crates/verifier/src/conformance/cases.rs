//! The cases, by what is wrong with them.

mod claims;
mod form;

use serde_json::{Map, Value, json};

use super::{Case, Trial, Verdict};
use crate::status_list;

use Verdict::{Accept, Refuse, RefuseIfStrict};

type Members = Map<String, Value>;

impl Trial {
    /// All cases, the good ones first.
    pub fn cases(&self) -> Vec<Case> {
        let parts =
            [self.good(), self.algorithms(), self.mixed_algorithms(), self.headers(), self.keys(), self.issuers()];
        let more = [self.audiences(), self.kids(), self.times(), self.members(), self.shapes(), self.status()];
        parts.into_iter().chain(more).flatten().collect()
    }

    fn header(&self) -> Members {
        members(json!({ "alg": self.signer.algorithm.as_str(), "typ": "at+jwt", "kid": self.signer.kid }))
    }

    fn claims(&self) -> Members {
        members(json!({
            "iss": self.issuer, "sub": "usr_trial", "aud": [self.audience], "client_id": "trial", "iat": self.now,
            "exp": self.now + 600, "jti": "trial-1", "scope": self.scope, "sid": "grant-1",
            "status": { "status_list": { "idx": 1, "uri": status_list::uri(&self.issuer, 0) } },
        }))
    }

    /// A token with another header.
    fn with_header(&self, change: impl FnOnce(&mut Members)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.signer.sign(&text(header), &text(self.claims()))
    }

    /// A token with other claims.
    fn with_claims(&self, change: impl FnOnce(&mut Members)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.signer.sign(&text(self.header()), &text(claims))
    }

    fn with_claim(&self, name: &str, value: impl Into<Value>) -> String {
        let value = value.into();
        self.with_claims(|claims| drop(claims.insert(name.to_owned(), value)))
    }

    fn without(&self, name: &str) -> String {
        self.with_claims(|claims| drop(claims.remove(name)))
    }
}

fn case(name: &'static str, verdict: Verdict, why: &'static str, token: String) -> Case {
    Case { name, verdict, why, token }
}

fn members(value: Value) -> Members {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Members::new(),
    }
}

fn text(members: Members) -> String {
    Value::Object(members).to_string()
}

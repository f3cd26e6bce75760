//! The `claims` parameter (OpenID Connect Core §5.5): which claims a client asks for by name, and what it insists on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::scope::Scope;
use super::standard_claims::{SCOPES, scope_of};
use crate::reason::{Refusal, RequestRefusal};

/// The most bytes of the parameter.
const MAX_BYTES: usize = 4 * 1024;

/// Claims asked for by name, as far as we know them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    /// In the answer of the userinfo endpoint.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub userinfo: BTreeSet<String>,
    /// In the ID token.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub id_token: BTreeSet<String>,
}

/// What must hold, or the request is refused (OpenID Connect Core §5.5.1.1, §3.1.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Insisted {
    /// The one person who is meant.
    pub sub: Option<String>,
    /// Strengths of log-in of which one is needed; empty means any.
    pub acr: Vec<String>,
}

impl ClaimsRequest {
    /// Reads the parameter. Claims that nobody knows are ignored (OpenID Connect Core §5.5).
    ///
    /// # Errors
    /// [`RequestRefusal::MalformedParameter`].
    pub fn parse(text: &str) -> Result<(Self, Insisted), Refusal> {
        let malformed = || Refusal::from(RequestRefusal::MalformedParameter).about("claims");
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
        let json = Some(text).filter(|text| text.len() <= MAX_BYTES).and_then(read).ok_or_else(malformed)?;
        let part = |name: &str| match json.get(name) {
            None | Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(part)) => Some(part.clone()),
            Some(_) => None,
        };
        let (userinfo, id_token) = (part("userinfo").ok_or_else(malformed)?, part("id_token").ok_or_else(malformed)?);
        let well_formed = |part: &Map<String, Value>| part.values().all(|ask| ask.is_null() || ask.is_object());
        if !well_formed(&userinfo) || !well_formed(&id_token) {
            return Err(malformed());
        }
        let sub =
            [&id_token, &userinfo].iter().find_map(|part| part.get("sub")?.get("value")?.as_str().map(str::to_owned));
        let acr = id_token.get("acr").filter(|ask| ask.get("essential") == Some(&Value::Bool(true)));
        let insisted = Insisted { sub, acr: acr.map(values).unwrap_or_default() };
        Ok((Self { userinfo: known(&userinfo), id_token: known(&id_token) }, insisted))
    }

    /// The scopes that the claims are otherwise seen by, as far as they are within `registered`; claims of others are dropped
    /// (OpenID Connect Core §5.5: what is asked for need not be given).
    pub fn keep_within(&mut self, registered: &Scope) -> Scope {
        let allowed = |claim: &str| scope_of(claim).filter(|scope| registered.contains(scope));
        self.userinfo.retain(|claim| allowed(claim).is_some());
        self.id_token.retain(|claim| allowed(claim).is_some());
        let scopes = self.userinfo.iter().chain(&self.id_token).filter_map(|claim| allowed(claim));
        Scope::of(scopes)
    }

    /// The JSON that is stored; `None` when nothing is asked for.
    pub fn to_stored(&self) -> Option<String> {
        (*self != Self::default()).then(|| serde_json::to_string(self).ok()).flatten()
    }

    /// From stored JSON; `None` when it cannot be read.
    pub fn from_stored(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// `value` or `values` of what is asked.
fn values(ask: &Value) -> Vec<String> {
    let one = ask.get("value").and_then(Value::as_str).map(str::to_owned);
    let several = ask.get("values").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str).map(str::to_owned)).collect()
}

fn known(part: &Map<String, Value>) -> BTreeSet<String> {
    let is_known = |name: &&String| SCOPES.iter().any(|(_, claims)| claims.contains(&name.as_str()));
    part.keys().filter(is_known).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(ClaimsRequest, Insisted)> {
        ClaimsRequest::parse(text).ok()
    }

    #[test]
    fn claims_are_asked_for_by_name() {
        let text = r#"{"userinfo":{"given_name":{"essential":true},"picture":null,"http://example.info/claims/groups":null},
            "id_token":{"auth_time":{"essential":true},"email":null,"acr":{"values":["urn:mace:incommon:iap:silver"]}}}"#;
        let (request, insisted) = parse(text).unwrap();
        assert_eq!(request.userinfo, ["given_name", "picture"].map(str::to_owned).into());
        assert_eq!(request.id_token, ["email".to_owned()].into());
        assert_eq!(insisted, Insisted::default(), "a voluntary acr insists on nothing");
        assert_eq!(ClaimsRequest::from_stored(&request.to_stored().unwrap()), Some(request));
        assert_eq!(ClaimsRequest::default().to_stored(), None);
    }

    #[test]
    fn some_requests_insist() {
        let (_, insisted) =
            parse(r#"{"id_token":{"sub":{"value":"usr"},"acr":{"essential":true,"values":["a","b"]}}}"#).unwrap();
        assert_eq!(insisted, Insisted { sub: Some("usr".into()), acr: vec!["a".into(), "b".into()] });
        let (_, insisted) =
            parse(r#"{"userinfo":{"sub":{"value":"usr"}},"id_token":{"acr":{"essential":true,"value":"a"}}}"#).unwrap();
        assert_eq!(insisted, Insisted { sub: Some("usr".into()), acr: vec!["a".into()] });
    }

    #[test]
    fn a_client_asks_by_name_for_no_more_than_it_is_registered_for() {
        let text = r#"{"userinfo":{"email":null,"phone_number":null},"id_token":{"name":null,"address":null}}"#;
        let (mut request, _) = parse(text).unwrap();
        let registered = Scope::from_stored("email openid profile").unwrap_or_default();
        assert_eq!(request.keep_within(&registered).to_string(), "email profile");
        assert_eq!(request.userinfo, ["email".to_owned()].into());
        assert_eq!(request.id_token, ["name".to_owned()].into());
    }

    #[test]
    fn what_is_no_such_object_is_refused() {
        for text in
            ["", "[]", "x", "null", r#"{"id_token":[]}"#, r#"{"userinfo":"email"}"#, r#"{"userinfo":{"email":true}}"#]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{{\"x\":\"{}\"}}", "a".repeat(4096))), None);
    }
}

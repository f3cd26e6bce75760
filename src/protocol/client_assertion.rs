//! What a client says in an assertion of its own (RFC 7523 §3): read once its signature is known to be right.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::client_credentials::ClientId;
use crate::clock::Timestamp;
use crate::reason::ClientRefusal;

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(30);
/// The longest that an assertion may be good for.
const LONGEST_LIFE: Duration = Duration::from_mins(5);
/// The most bytes of a `jti`.
const MAX_JTI_BYTES: usize = 256;

/// Whom an assertion must be addressed to.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The token endpoint, when the client may name it.
    pub token_endpoint: Option<&'a str>,
}

/// An assertion that holds.
#[derive(Debug)]
pub struct Assertion {
    /// Its name, good once.
    pub jti: String,
    /// When it is refused for its age.
    pub refused_at: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: String,
}

/// Who an assertion says it is of, before anything about it is believed.
pub fn named(payload: &[u8]) -> Option<ClientId> {
    #[derive(Deserialize)]
    struct Named {
        sub: String,
    }
    ClientId::parse(&serde_json::from_slice::<Named>(payload).ok()?.sub)
}

impl Assertion {
    /// Reads the claims of an assertion of `client_id` at `now`.
    ///
    /// # Errors
    /// A [`ClientRefusal`] naming what is wrong.
    pub fn parse(
        payload: &[u8],
        client_id: &ClientId,
        audience: Audience<'_>,
        now: Timestamp,
    ) -> Result<Self, ClientRefusal> {
        let claims: Claims = serde_json::from_slice(payload).map_err(|_| ClientRefusal::AssertionClaims)?;
        // RFC 7523 §3 nos. 1 and 2: iss and sub are the client_id.
        if claims.iss != client_id.as_str() || claims.sub != client_id.as_str() {
            return Err(ClientRefusal::AssertionClaims);
        }
        // RFC 7523 §3 no. 3; draft-ietf-oauth-rfc7523bis §4: the issuer as the only value, so that no other server's
        // assertion is good here.
        if !is_addressed(&claims.aud, audience) {
            return Err(ClientRefusal::AssertionAudience);
        }
        let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let latest = now.plus(LEEWAY);
        // RFC 7523 §3 nos. 4 to 6.
        let begun = [claims.nbf, claims.iat].into_iter().flatten().all(|from| at(from) <= latest);
        let refused_at = at(claims.exp).plus(LEEWAY);
        if !begun || now >= refused_at || at(claims.exp) > latest.plus(LONGEST_LIFE) {
            return Err(ClientRefusal::AssertionTimes);
        }
        if claims.jti.is_empty() || claims.jti.len() > MAX_JTI_BYTES {
            return Err(ClientRefusal::AssertionClaims);
        }
        Ok(Self { jti: claims.jti, refused_at })
    }
}

fn is_addressed(aud: &Value, audience: Audience<'_>) -> bool {
    let ours = |value: &Value| {
        value.as_str().is_some_and(|text| text == audience.issuer || audience.token_endpoint == Some(text))
    };
    if let Value::Array(list) = aud {
        // A list could name another server beside us, which could then use it here: only for clients that an operator lets
        // address the token endpoint, and with nobody else in it.
        return audience.token_endpoint.is_some() && !list.is_empty() && list.iter().all(ours);
    }
    ours(aud)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://as.example";
    const TOKEN: &str = "https://as.example/token";

    fn judge(change: &[(&str, Value)], token_endpoint: Option<&str>) -> Result<(), ClientRefusal> {
        let mut claims =
            json!({ "iss": "bank", "sub": "bank", "aud": ISSUER, "exp": 1_060, "iat": 1_000, "jti": "one" });
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        let client_id = ClientId::parse("bank").unwrap();
        let now = Timestamp::from_micros(1_000_000_000);
        let audience = Audience { issuer: ISSUER, token_endpoint };
        Assertion::parse(claims.to_string().as_bytes(), &client_id, audience, now).map(|_| ())
    }

    #[test]
    fn an_assertion_is_of_its_client_for_us_and_of_this_moment() {
        assert_eq!(judge(&[], None), Ok(()));
        for (name, value, refusal) in [
            ("iss", json!("other"), ClientRefusal::AssertionClaims),
            ("sub", json!("other"), ClientRefusal::AssertionClaims),
            ("jti", Value::Null, ClientRefusal::AssertionClaims),
            ("jti", json!(""), ClientRefusal::AssertionClaims),
            ("jti", json!("x".repeat(257)), ClientRefusal::AssertionClaims),
            ("exp", Value::Null, ClientRefusal::AssertionClaims),
            ("exp", json!("1060"), ClientRefusal::AssertionClaims),
            ("aud", json!(TOKEN), ClientRefusal::AssertionAudience),
            ("aud", json!([ISSUER]), ClientRefusal::AssertionAudience),
            ("aud", json!("https://as.example/"), ClientRefusal::AssertionAudience),
            ("aud", json!([ISSUER, "https://evil.example"]), ClientRefusal::AssertionAudience),
            ("aud", Value::Null, ClientRefusal::AssertionAudience),
            ("exp", json!(970), ClientRefusal::AssertionTimes),
            ("exp", json!(1_331), ClientRefusal::AssertionTimes),
            ("exp", json!(i64::MAX), ClientRefusal::AssertionTimes),
            ("iat", json!(1_061), ClientRefusal::AssertionTimes),
            ("nbf", json!(1_061), ClientRefusal::AssertionTimes),
        ] {
            assert_eq!(judge(&[(name, value.clone())], None), Err(refusal), "{name} {value}");
        }
        for (name, value) in [("exp", json!(971)), ("exp", json!(1_330)), ("iat", json!(1_030)), ("nbf", json!(1_010))]
        {
            assert_eq!(judge(&[(name, value.clone())], None), Ok(()), "{name} {value}");
        }
    }

    #[test]
    fn the_token_endpoint_is_taken_where_an_operator_said_so() {
        for (aud, taken) in [
            (json!(TOKEN), true),
            (json!(ISSUER), true),
            (json!([ISSUER, TOKEN]), true),
            (json!([TOKEN]), true),
            (json!([]), false),
            (json!([TOKEN, "https://evil.example/token"]), false),
            (json!("https://evil.example/token"), false),
        ] {
            assert_eq!(judge(&[("aud", aud.clone())], Some(TOKEN)).is_ok(), taken, "{aud}");
        }
    }
}

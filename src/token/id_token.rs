//! ID tokens (OpenID Connect Core §2): who logged in, for the client alone. Never an access token: `typ` and `aud` differ.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Authorization;
use super::issue::{ACR_ONE_FACTOR, access_ttl, sign};
use crate::app::App;
use crate::keys::{KeysError, TokenType};
use crate::protocol::token_request::GrantType;
use crate::secret::{Digest, encode_base64url};

#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'a str,
    amr: &'a [String],
    at_hash: String,
    sid: String,
    #[serde(flatten)]
    asked_for: &'a Map<String, Value>,
}

/// The ID token beside an access token; none unless the scope says `openid` and a person is behind it.
///
/// # Errors
/// [`KeysError`].
pub(super) fn issue(app: &App, authorization: &Authorization, access_token: &str) -> Result<Option<String>, KeysError> {
    // OpenID Connect Core §3.1.2.1: without openid it is no OpenID Connect request.
    let Some(person) = authorization.person.as_ref().filter(|_| logs_in(authorization)) else {
        return Ok(None);
    };
    let now = app.clock.now();
    let life = access_ttl(app, &authorization.client);
    let claims = IdClaims {
        iss: &app.issuer,
        sub: &person.subject,
        aud: authorization.client.id.as_str(),
        exp: now.plus(life).unix_seconds(),
        iat: now.unix_seconds(),
        auth_time: person.auth_time.unix_seconds(),
        nonce: authorization.nonce.as_deref(),
        acr: ACR_ONE_FACTOR,
        amr: &person.amr,
        at_hash: half_hash(access_token),
        sid: person.grant_id.to_string(),
        asked_for: &authorization.id_claims,
    };
    sign(app, TokenType::IdToken, &claims, life).map(Some)
}

/// Whether a client learns who logged in at it: not of somebody whom another client sent.
fn logs_in(authorization: &Authorization) -> bool {
    authorization.scope.contains("openid") && authorization.grant_type != GrantType::TokenExchange
}

/// OpenID Connect Core §3.1.3.6: the left half of the SHA-256, which both RS256 and PS256 have.
fn half_hash(token: &str) -> String {
    let digest = Digest::sha256(token.as_bytes());
    encode_base64url(digest.as_bytes().split_at(16).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_hash_of_the_specification_is_met() {
        // OpenID Connect Core appendix A.3.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(half_hash(token), "77QmUPtjPfzWtF2AnpK9RQ");
    }
}

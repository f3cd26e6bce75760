//! The userinfo endpoint (OpenID Connect Core §5.3): what an account says of itself, as far as the person allowed it.

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::id::GrantId;
use crate::protocol::scope::Scope;
use crate::protocol::standard_claims::SCOPES;
use crate::reason::{BearerRefusal, Refusal};
use crate::store::{accounts, grants};
use crate::token::refuse_dead;

/// Answers for the person behind an access token, given as the value of the Authorization header.
///
/// # Errors
/// A [`BearerRefusal`]; or a part is away: then there is no answer rather than a stale one.
pub fn userinfo(app: &App, authorization: Option<&[u8]>) -> Result<Map<String, Value>, Refusal> {
    let token = bearer(authorization.ok_or(BearerRefusal::Missing)?).ok_or(BearerRefusal::Invalid)?;
    let verified = app.keyring.verify(token, &app.issuer, app.clock.now());
    let claims = verified.map_err(|_| BearerRefusal::Invalid)?;
    if !claims.scope.contains("openid") {
        return Err(BearerRefusal::NotOpenId.into());
    }
    let id: GrantId = claims.sid.as_deref().and_then(|sid| sid.parse().ok()).ok_or(BearerRefusal::Invalid)?;
    let found = app.db.read(|tx| grants::find(tx, id))?.ok_or(BearerRefusal::Invalid)?;
    let client = app.clients.find(&found.grant.client_id).ok_or(BearerRefusal::Invalid)?;
    // OpenID Connect Core §5.3.3: nothing of a grant that is over.
    refuse_dead(&client, &found, app.clock.now()).map_err(|_| Refusal::from(BearerRefusal::Invalid).of_grant(id))?;
    let account = app.db.read(|tx| accounts::find(tx, found.grant.account_id))?.ok_or(BearerRefusal::Invalid)?;
    let mut known = account.claims;
    known.insert("email".to_owned(), json!(account.email));
    known.entry("email_verified").or_insert(json!(false));
    if let Some(username) = account.username {
        known.entry("preferred_username").or_insert(json!(username));
    }
    let scope = Scope::from_stored(&claims.scope.to_string()).unwrap_or_default();
    let mut answer = claims_of(&scope, &known);
    // OpenID Connect Core §5.3.2: always, and the same as the ID token's.
    answer.insert("sub".to_owned(), json!(claims.sub));
    Ok(answer)
}

/// What of the claims the scope allows.
fn claims_of(scope: &Scope, known: &Map<String, Value>) -> Map<String, Value> {
    let allowed = SCOPES.iter().filter(|(name, _)| scope.contains(name)).flat_map(|(_, claims)| *claims);
    allowed.filter_map(|name| Some(((*name).to_owned(), known.get(*name)?.clone()))).collect()
}

/// RFC 6750 §2.1: the header alone; neither form nor query is read.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_matches(' ')).filter(|token| !token.is_empty())
}

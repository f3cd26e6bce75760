//! The userinfo endpoint (OpenID Connect Core §5.3): what an account says of itself, as far as the person allowed it.

use countersign_verifier::{Claims, Rejected};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{RequestContext, possession};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::GrantId;
use crate::keys::OwnClaims;
use crate::metrics::Endpoint;
use crate::protocol::bearer::{Scheme, presented};
use crate::protocol::client_certificate::ClientCertificate;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::scope::Scope;
use crate::protocol::standard_claims::SCOPES;
use crate::reason::{BearerRefusal, DpopRefusal, Reason, Refusal};
use crate::secret::decode_base64url;
use crate::store::accounts::Account;
use crate::store::clients::Client;
use crate::store::{accounts, grants};
use crate::token::issue::sign_userinfo;
use crate::token::refuse_dead;

/// Where the endpoint is, for proofs of possession.
const PATH: &str = Endpoint::UserInfo.path();

/// An answer, in the form that the client registered for.
pub enum UserInfo {
    /// JSON.
    Plain(Map<String, Value>),
    /// A signed JWT (OpenID Connect Core §5.3.2).
    Signed(String),
}

/// Answers for the person behind an access token, given as the value of the Authorization header; and says to which client the
/// token was issued. Refusals of a token of ours name its client, too.
///
/// # Errors
/// A [`BearerRefusal`]; or a part is away: then there is no answer rather than a stale one.
pub fn userinfo(
    app: &App,
    method: &str,
    authorization: Option<&[u8]>,
    context: &RequestContext,
) -> Result<(ClientId, UserInfo), Refusal> {
    let (scheme, token) = presented(authorization.ok_or(BearerRefusal::Missing)?).ok_or(BearerRefusal::Invalid)?;
    let claims = app.keyring.verify(token, &app.issuer, app.clock.now()).map_err(|rejected| {
        let refusal = Refusal::from(BearerRefusal::Invalid);
        let client_id = (rejected == Rejected::Expired).then(|| client_of_expired(app, token)).flatten();
        client_id.map_or_else(|| refusal.clone(), |client_id| refusal.clone().of_client(&client_id))
    })?;
    let client_id = ClientId::parse(&claims.client_id).ok_or(BearerRefusal::Invalid)?;
    let answer = answer(app, (method, scheme, token), &claims, context);
    let answer = answer.map_err(|refusal| refusal.of_client(&client_id))?;
    Ok((client_id, answer))
}

/// The client of a token of ours that is over: a page of it may read that it is.
fn client_of_expired(app: &App, token: &str) -> Option<ClientId> {
    #[derive(Deserialize)]
    struct Life {
        exp: i64,
    }
    let payload = decode_base64url(token.split('.').nth(1)?)?;
    let Life { exp } = serde_json::from_slice(&payload).ok()?;
    // Believed as far as the signature says so, at a moment at which it was good.
    let good_at = Timestamp::from_micros(exp.checked_sub(1)?.checked_mul(1_000_000)?);
    ClientId::parse(&app.keyring.verify(token, &app.issuer, good_at).ok()?.client_id)
}

fn answer(
    app: &App,
    (method, scheme, token): (&str, Scheme, &str),
    claims: &Claims<OwnClaims>,
    context: &RequestContext,
) -> Result<UserInfo, Refusal> {
    if !claims.scope.contains("openid") {
        return Err(BearerRefusal::NotOpenId.into());
    }
    let id: GrantId = claims.sid.as_deref().and_then(|sid| sid.parse().ok()).ok_or(BearerRefusal::Invalid)?;
    let found = app.db.read(|tx| grants::find(tx, id))?.ok_or(BearerRefusal::Invalid)?;
    let refuse = || Refusal::from(BearerRefusal::Invalid).of_grant(id);
    // RFC 8693: a token that was exchanged is its own client's, as long as that is in force.
    let client = app.clients.find(&found.grant.client_id).filter(|client| client.id.as_str() == claims.client_id);
    let client = client.ok_or_else(refuse)?;
    // OpenID Connect Core §5.3.3: nothing of a grant that is over.
    refuse_dead(&client, &found, app.clock.now()).map_err(|_| refuse())?;
    // Last, since it uses the proof up.
    refuse_unproven(app, &client, (method, scheme, token), claims, context)?;
    let account = app.db.read(|tx| accounts::find(tx, found.grant.account_id))?.ok_or_else(refuse)?;
    let scope = Scope::from_stored(&claims.scope.to_string()).unwrap_or_default();
    let asked = &found.grant.claims.userinfo;
    let mut answer = claims_of(&known(account), |name| is_allowed(&scope, name) || asked.contains(name));
    // OpenID Connect Core §5.3.2: always, and the same as the ID token's.
    answer.insert("sub".to_owned(), json!(claims.sub));
    if client.metadata.subjects.userinfo_alg.is_some() {
        return Ok(UserInfo::Signed(sign_userinfo(app, &client, answer)?));
    }
    Ok(UserInfo::Plain(answer))
}

/// RFC 9449 §7.1, RFC 8705 §3: a token that is bound to a key opens nothing without it, and one that is not comes as a bearer's.
fn refuse_unproven(
    app: &App,
    client: &Client,
    (method, scheme, token): (&str, Scheme, &str),
    claims: &Claims<OwnClaims>,
    context: &RequestContext,
) -> Result<(), Refusal> {
    match (&claims.other.cnf, scheme) {
        (None, Scheme::Bearer) => Ok(()),
        (Some(Confirmation::Certificate(thumbprint)), Scheme::Bearer) => {
            let shown = context.keys.certificate.as_ref().map(ClientCertificate::thumbprint);
            if shown.as_ref() == Some(thumbprint) { Ok(()) } else { Err(BearerRefusal::Invalid.into()) }
        }
        (Some(Confirmation::Jkt(jkt)), Scheme::Dpop) => {
            let proven = possession::prove_key(app, client, (method, PATH, Some(token)), context);
            let proven = proven.map_err(as_bearer)?;
            if proven.as_ref() == Some(jkt) { Ok(()) } else { Err(BearerRefusal::Unproven.into()) }
        }
        // RFC 9449 §7.2: not downgraded to a bearer's.
        (Some(Confirmation::Jkt(_)), Scheme::Bearer) | (None | Some(Confirmation::Certificate(_)), Scheme::Dpop) => {
            Err(BearerRefusal::Invalid.into())
        }
    }
}

/// RFC 9449 §7.1: what is wrong with a proof beside an access token is said with 401.
fn as_bearer(refusal: Refusal) -> Refusal {
    if let Reason::Dpop(reason) = refusal.reason {
        let nonce = reason == DpopRefusal::NonceWanted;
        return if nonce { BearerRefusal::NonceWanted.into() } else { BearerRefusal::Unproven.into() };
    }
    refusal
}

/// What an account says of itself.
pub(super) fn known(account: Account) -> Map<String, Value> {
    let mut known = account.claims;
    known.insert("email".to_owned(), json!(account.email));
    known.entry("email_verified").or_insert(json!(false));
    if let Some(username) = account.username {
        known.entry("preferred_username").or_insert(json!(username));
    }
    known
}

/// What of the claims is wanted.
pub(super) fn claims_of(known: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
    known.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// OpenID Connect Core §5.4: whether the scope stands for the claim.
fn is_allowed(scope: &Scope, claim: &str) -> bool {
    SCOPES.iter().any(|(name, claims)| scope.contains(name) && claims.contains(&claim))
}

//! `authorization_code` (RFC 6749 §4.1.3): a code, and the verifier that only its client has, for a grant.
//!
//! Nothing is written before everything that the code is bound to was compared: its client, its redirect URI, its verifier,
//! its minute. What fails before that changes nothing but the count of wrong verifiers.

use super::refresh::narrow_resources;
use super::{Allowed, First, ProvenClient, prepare};
use crate::app::App;
use crate::id::GrantId;
use crate::oauth::RequestContext;
use crate::protocol::token_request::{GrantType, PresentedCode, TokenRequest};
use crate::protocol::token_response::TokenResponse;
use crate::reason::{CodeRefusal, Refusal};
use crate::store::authorization_codes::{self, AuthorizationCode, Found};
use crate::store::grants::{self, EndedBy, Grant};
use crate::store::{self, DatabaseTime, Write};
use crate::token::{authorization_code, revoke};

/// How many verifiers that do not fit a code may come before none does.
const MAX_FAILURES: i16 = 3;

/// Redeems a code for tokens, a refresh token among them if the client may use one.
///
/// # Errors
/// A [`CodeRefusal`]; [`CodeRefusal::Replayed`] has ended what the code bought.
pub fn redeem(
    app: &App,
    asking: &ProvenClient,
    (request, presented): (&TokenRequest, &PresentedCode),
    context: &RequestContext,
) -> Result<TokenResponse, Refusal> {
    let client = &asking.client;
    let refuse = |reason: CodeRefusal| Refusal::from(reason).of_client(&client.id);
    // A forged or mangled code dies here, before any database call.
    let handle = authorization_code::open(presented.code.expose(), &app.secrets.load().authorization_code_mac)
        .ok_or_else(|| refuse(CodeRefusal::NotAuthentic))?;
    let found = app.db.read(|tx| authorization_codes::find(tx, handle))?;
    let Found { code, account, read_at } = found.ok_or_else(|| refuse(CodeRefusal::Unknown))?;
    let not_after = read_at.plus(context.deadline.remaining());
    if let Err(reason) = compare(asking, &code, presented) {
        if reason == CodeRefusal::WrongVerifier {
            app.db.write_one(&context.deadline, move |tx| authorization_codes::count_failure(tx, handle))?;
        }
        return Err(refuse(reason));
    }
    // RFC 6749 §4.1.2: used more than once, it is denied and what it bought is revoked. By whoever could have redeemed it:
    // nobody else ends anything.
    if let Some(grant_id) = code.grant_id {
        return Err(replayed(app, grant_id, context)?.of_client(&client.id));
    }
    if app.clock.now() >= code.expires_at {
        return Err(refuse(CodeRefusal::Expired));
    }
    // A client's disabling is final for whatever it held then.
    if code.created_at <= client.not_before {
        return Err(refuse(CodeRefusal::SessionOver));
    }
    // RFC 8707 §2.2, RFC 6749 §3.3: less than was granted may be asked for here.
    let audiences =
        narrow_resources(&code.audiences, &request.resources).map_err(|refusal| refusal.of_client(&client.id))?;
    let account = account.ok_or_else(|| refuse(CodeRefusal::SessionOver))?;
    let allowed = Allowed {
        account_id: account.id,
        session_id: Some(code.session_id),
        scope: code.scope.clone(),
        audiences: code.audiences.clone(),
        amr: code.amr.clone(),
        auth_time: code.auth_time,
        claims: code.claims.clone(),
    };
    let first = First { grant_type: GrantType::AuthorizationCode, audiences, nonce: code.nonce.clone() };
    let (grant, tokens) = prepare(app, asking, account, allowed, first)?;
    match make(app, &code, &grant, not_after, context)? {
        Made::Grant => {}
        Made::Nothing(reason) => return Err(refuse(reason)),
        Made::Second(grant_id) => return Err(replayed(app, grant_id, context)?.of_client(&client.id)),
    }
    tracing::info!(event = "code_redeemed", client_id = %client.id, account_id = %grant.account_id, grant_id = %grant.id);
    Ok(tokens)
}

/// Everything that a code is bound to and that the request must show.
fn compare(asking: &ProvenClient, code: &AuthorizationCode, presented: &PresentedCode) -> Result<(), CodeRefusal> {
    // RFC 6749 §4.1.3: issued to this client.
    if code.client_id != asking.client.id {
        return Err(CodeRefusal::OtherClient);
    }
    // RFC 9449 §10: bound to the key that the request named.
    if code.confirmation.is_some() && code.confirmation != asking.confirmation {
        return Err(CodeRefusal::OtherKey);
    }
    // RFC 6749 §4.1.3: where it was sent. With a verifier it may be left out (draft-ietf-oauth-v2-1 §4.1.3).
    match &presented.redirect_uri {
        Some(uri) if *uri != code.redirect_uri => return Err(CodeRefusal::OtherRedirect),
        None if code.challenge.is_none() => return Err(CodeRefusal::OtherRedirect),
        Some(_) | None => {}
    }
    if code.failures >= MAX_FAILURES {
        return Err(CodeRefusal::TooManyVerifiers);
    }
    match (&code.challenge, &presented.verifier) {
        (Some(challenge), Some(verifier)) => challenge.meet(verifier.expose()),
        (None, None) => Ok(()),
        // RFC 9700 §4.8.2: a verifier without a challenge is an attempt to have PKCE overlooked.
        (Some(_), None) | (None, Some(_)) => Err(CodeRefusal::WrongVerifier),
    }
}

/// What came of a redemption.
enum Made {
    /// The grant.
    Grant,
    /// Nothing: it is not to be had.
    Nothing(CodeRefusal),
    /// Nothing: another redemption was first, and has that grant.
    Second(GrantId),
}

/// Uses the code up and makes the grant.
fn make(
    app: &App,
    code: &AuthorizationCode,
    grant: &Grant,
    not_after: DatabaseTime,
    context: &RequestContext,
) -> Result<Made, Refusal> {
    let (handle, made_of, row) = (code.handle, code.clone(), grant.clone());
    // OpenID Connect Core §3.1.2.5: nothing comes of a log-in that is over.
    let redeem = move |tx: &mut Write<'_>| authorization_codes::redeem(tx, &made_of, &row, not_after);
    if app.db.write_at_once(&context.deadline, redeem)? {
        return Ok(Made::Grant);
    }
    let id = grant.id;
    let (found, is_there) =
        app.db.read(|tx| Ok((authorization_codes::find(tx, handle)?, grants::find(tx, id)?.is_some())))?;
    Ok(match found.map(|found| found.code.grant_id) {
        None => Made::Nothing(CodeRefusal::Unknown),
        // Whoever was only too late has used nothing up and may try again.
        Some(None) => return Err(store::Error::Expired.into()),
        Some(Some(bought)) if bought != id => Made::Second(bought),
        // Made, by a connection that was lost before it could say so.
        Some(Some(_)) if is_there => Made::Grant,
        Some(Some(_)) => Made::Nothing(CodeRefusal::SessionOver),
    })
}

fn replayed(app: &App, grant_id: GrantId, context: &RequestContext) -> Result<Refusal, Refusal> {
    revoke::end_grant(app, grant_id, EndedBy::CodeReplay, &context.deadline)?;
    Ok(Refusal::from(CodeRefusal::Replayed).of_grant(grant_id))
}

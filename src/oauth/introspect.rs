//! The introspection endpoint (RFC 7662): what a resource server asks when it would rather not verify by itself.

use countersign_verifier::Claims;

use super::{PresentedToken, RequestContext, client_auth};
use crate::app::App;
use crate::id::GrantId;
use crate::keys::OwnClaims;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::Resource;
use crate::protocol::token_response::IntrospectionResponse;
use crate::reason::{ClientRefusal, Refusal};
use crate::store::clients::Client;
use crate::store::grants::{self, GrantOfAccount};
use crate::store::revoked_tokens;
use crate::token::issue::audience;
use crate::token::refresh_token::RefreshToken;
use crate::token::refuse_dead;

/// Says whether the token may be relied on now. For whatever reason it may not, the answer has the same bytes
/// (RFC 7662 §2.2).
///
/// # Errors
/// The client is not who it says, or a part is away: then there is no answer rather than a stale one.
pub fn introspect(
    app: &App,
    call: &PresentedToken,
    context: &RequestContext,
) -> Result<IntrospectionResponse, Refusal> {
    let caller = client_auth::authenticate(app, &call.presented, context)?;
    // RFC 7662 §2.1: the caller must be authorized, to prevent token scanning.
    if caller.metadata.is_public() {
        return Err(Refusal::from(ClientRefusal::PublicMayNotIntrospect).of_client(&caller.id));
    }
    let token = call.token()?.expose();
    let active = match RefreshToken::open(token, &app.secrets.load().refresh_token_mac) {
        Some(token) => active_refresh_token(app, &caller, &token)?,
        None => active_access_token(app, &caller, token)?,
    };
    Ok(active.unwrap_or_default())
}

fn active_refresh_token(
    app: &App,
    caller: &Client,
    token: &RefreshToken,
) -> Result<Option<IntrospectionResponse>, Refusal> {
    let Some(found) = app.db.read(|tx| grants::find_by_handle(tx, token.handle))? else { return Ok(None) };
    let rotation = &found.grant.rotation;
    // RFC 7662 §4: a refresh token is its own client's business alone.
    if !token.is_live(rotation) || found.grant.client_id != caller.id || !is_alive(app, &found) {
        return Ok(None);
    }
    let grant = &found.grant;
    Ok(Some(IntrospectionResponse {
        active: true,
        scope: Some(grant.scope.to_string()),
        client_id: Some(grant.client_id.to_string()),
        exp: Some(grant.idle_expires_at.min(grant.expires_at).unix_seconds()),
        iat: Some(rotation.rotated_at.unix_seconds()),
        sub: Some(grant.subject_text()),
        aud: Some(audience(app, &grant.audiences).into_iter().map(str::to_owned).collect()),
        iss: Some(app.issuer.clone()),
        sid: Some(grant.id.to_string()),
        cnf: grant.confirmation.clone(),
        ..IntrospectionResponse::default()
    }))
}

fn active_access_token(app: &App, caller: &Client, token: &str) -> Result<Option<IntrospectionResponse>, Refusal> {
    let Ok(claims) = app.keyring.verify(token, &app.issuer, app.clock.now()) else { return Ok(None) };
    if !is_for(caller, &claims) || !is_honoured(app, &claims)? {
        return Ok(None);
    }
    Ok(Some(IntrospectionResponse {
        active: true,
        scope: Some(claims.scope.to_string()),
        client_id: Some(claims.client_id),
        token_type: Some(Confirmation::token_type(claims.other.cnf.as_ref())),
        exp: Some(claims.exp),
        iat: Some(claims.iat),
        sub: Some(claims.sub),
        aud: Some(claims.aud),
        iss: Some(claims.iss),
        jti: Some(claims.jti),
        sid: claims.sid,
        cnf: claims.other.cnf,
        act: claims.other.act,
    }))
}

/// RFC 7662 §4: the caller is the client that the token was issued to, or a resource server that it is for.
pub(super) fn is_for(caller: &Client, claims: &Claims<OwnClaims>) -> bool {
    let addressed =
        |audience: &String| caller.metadata.audiences.iter().map(Resource::as_str).any(|own| own == audience);
    // A client that registered itself named its resources itself: it asks about its own tokens alone.
    claims.client_id == caller.id.as_str() || (caller.registration.is_none() && claims.aud.iter().any(addressed))
}

/// Whether nothing has ended the token since it was signed.
pub(super) fn is_honoured(app: &App, claims: &Claims<OwnClaims>) -> Result<bool, Refusal> {
    if let Some(sid) = &claims.sid {
        let Ok(id) = sid.parse::<GrantId>() else { return Ok(false) };
        let found = app.db.read(|tx| grants::find(tx, id))?;
        let alive = found.as_ref().is_some_and(|found| is_alive(app, found));
        let exchanged = found.is_some_and(|found| found.grant.client_id.as_str() != claims.client_id);
        if !alive || !exchanged {
            return Ok(alive);
        }
        // RFC 8693 §2.2: what was made of another client's token can be ended by itself, and with its own client.
        return Ok(is_clients(app, claims) && !app.db.read(|tx| revoked_tokens::contains(tx, &claims.jti))?);
    }
    if !is_clients(app, claims) {
        return Ok(false);
    }
    // All of a client's own tokens end together by their bit, without a row for each.
    if claims.status_number().is_some_and(|number| app.status.is_over(number)) {
        return Ok(false);
    }
    Ok(!app.db.read(|tx| revoked_tokens::contains(tx, &claims.jti))?)
}

/// Whether the client that the token was issued to is in force, and was all the time since.
fn is_clients(app: &App, claims: &Claims<OwnClaims>) -> bool {
    let client = ClientId::parse(&claims.client_id).and_then(|id| app.clients.find(&id));
    client.is_some_and(|client| client.disabled_at.is_none() && claims.iat > client.not_before.unix_seconds())
}

/// Whether grant, account and client are all in force.
fn is_alive(app: &App, found: &GrantOfAccount) -> bool {
    let client = app.clients.find(&found.grant.client_id);
    client.is_some_and(|client| refuse_dead(&client, found, app.clock.now()).is_ok())
}

//! The revocation endpoint (RFC 7009).

use super::{PresentedToken, RequestContext, client_auth};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::GrantId;
use crate::reason::Refusal;
use crate::store::clients::Client;
use crate::store::grants::{self, EndedBy};
use crate::token::refresh_token::RefreshToken;
use crate::token::revoke::{end_grant, revoke_access_token};

/// Ends the grant behind the token. A token that is unknown, or another client's, changes nothing and is no error
/// (RFC 7009 §2.2).
///
/// # Errors
/// The client is not who it says, or a part is away: success always means that the end is durable.
pub fn revoke(app: &App, call: &PresentedToken, context: &RequestContext) -> Result<(), Refusal> {
    let client = client_auth::authenticate(app, &call.presented)?;
    if let Some(token) = RefreshToken::open(call.token.expose(), &app.secrets.load().refresh_token_mac) {
        // A spent token revokes as well as a live one: its holder wants the whole grant gone.
        if let Some(found) = app.db.read(|tx| grants::find_by_handle(tx, token.handle))? {
            end_if_own(app, &client, &found, context)?;
        }
        return Ok(());
    }
    let Ok(claims) = app.keyring.verify(call.token.expose(), &app.issuer, app.clock.now()) else { return Ok(()) };
    if claims.client_id != client.id.as_str() {
        return Ok(());
    }
    let Some(sid) = claims.sid else {
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        return Ok(revoke_access_token(app, &claims.jti, expires_at, &context.deadline)?);
    };
    // RFC 7009 §2.1: revoking an access token may revoke its refresh token; here both end with their grant.
    let Ok(id) = sid.parse::<GrantId>() else { return Ok(()) };
    if let Some(found) = app.db.read(|tx| grants::find(tx, id))? {
        end_if_own(app, &client, &found, context)?;
    }
    Ok(())
}

/// RFC 7009 §2.1: the token must have been issued to the client that revokes it.
fn end_if_own(
    app: &App,
    client: &Client,
    found: &grants::GrantOfAccount,
    context: &RequestContext,
) -> Result<(), Refusal> {
    if found.grant.client_id == client.id {
        end_grant(app, found.grant.id, EndedBy::Revocation, &context.deadline)?;
    }
    Ok(())
}

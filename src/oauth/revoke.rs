//! The revocation endpoint (RFC 7009).

use std::time::Duration;

use countersign_verifier::Rejected;

use super::refresh_cookie::{self, Cookie, Page};
use super::{PresentedToken, RequestContext, client_auth};
use crate::app::App;
use crate::id::GrantId;
use crate::reason::{CapacityRefusal, Refusal};
use crate::secret::PlainSecret;
use crate::store::clients::Client;
use crate::store::grants::{self, EndedBy};
use crate::token::refresh_token::RefreshToken;
use crate::token::revoke::{end_grant, revoke_access_token};

/// The largest leeway that a verifier of ours may be given.
const LARGEST_LEEWAY: Duration = Duration::from_mins(2);

/// Ends the grant behind the token, which a client that has a cookie may leave there. A token that is unknown, or another client's, changes nothing and is no error
/// (RFC 7009 §2.2).
///
/// # Errors
/// The client is not who it says, or a part is away: success always means that the end is durable.
pub fn revoke(app: &App, call: &PresentedToken, page: &Page, context: &RequestContext) -> Result<Cookie, Refusal> {
    let client = client_auth::authenticate(app, &call.presented, context)?;
    if !refresh_cookie::is_used(app, &client, page)? {
        return revoke_token(app, &client, call.token()?, context).map(|()| Cookie::Kept);
    }
    if let Some(token) = call.token.as_ref().or(page.cookie.as_ref()) {
        revoke_token(app, &client, token, context)?;
    }
    Ok(Cookie::Cleared)
}

fn revoke_token(app: &App, client: &Client, token: &PlainSecret, context: &RequestContext) -> Result<(), Refusal> {
    if let Some(token) = RefreshToken::open(token.expose(), &app.secrets.load().refresh_token_mac) {
        // A spent token revokes as well as a live one: its holder wants the whole grant gone.
        if let Some(found) = app.db.read(|tx| grants::find_by_handle(tx, token.handle))? {
            end_if_own(app, client, &found, context)?;
        }
        return Ok(());
    }
    // Verifiers give a token that has just expired some more time, and so does this.
    let now = app.clock.now();
    let verify_at = |now| app.keyring.verify(token.expose(), &app.issuer, now);
    let mut verified = verify_at(now);
    if verified.as_ref().err() == Some(&Rejected::Expired) {
        verified = verify_at(now.minus(LARGEST_LEEWAY));
    }
    let claims = match verified {
        Ok(claims) => claims,
        // RFC 7009 §2.2.1: whether it is a token of ours cannot be told now; it must not be called revoked.
        Err(Rejected::KeysUnavailable) => return Err(CapacityRefusal::CannotSign.into()),
        Err(_) => return Ok(()),
    };
    if claims.client_id != client.id.as_str() {
        return Ok(());
    }
    let Some(sid) = &claims.sid else {
        return Ok(revoke_access_token(app, client, &claims, &context.deadline)?);
    };
    // RFC 7009 §2.1: revoking an access token may revoke its refresh token; here both end with their grant.
    let Ok(id) = sid.parse::<GrantId>() else { return Ok(()) };
    let Some(found) = app.db.read(|tx| grants::find(tx, id))? else { return Ok(()) };
    if found.grant.client_id == client.id {
        return end_if_own(app, client, &found, context);
    }
    // RFC 8693 §2.2: it was made of another client's token, whose grant is not this one's to end.
    Ok(revoke_access_token(app, client, &claims, &context.deadline)?)
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

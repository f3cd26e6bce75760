//! `refresh_token` (RFC 6749 §6, RFC 9700 §4.14): the rotation, from the presented token to the row on disk.
//!
//! A token that is bound to a key, or to a client that proves itself by one, stays the same.
//!
//! Nothing is written before the last step: form and MAC, the client it is bound to, scope, whether account and client
//! are alive, the request's deadline; then one conditional statement. When the row changed meanwhile, it is read and
//! judged again.

use std::time::Duration;

use super::ProvenClient;
use crate::app::App;
use crate::oauth::RequestContext;
use crate::protocol::client_metadata::AuthMethod;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::{GrantType, TokenRequest};
use crate::reason::{CapacityRefusal, GrantRefusal, Refusal};
use crate::secret::{Digest, PlainSecret};
use crate::store::Write;
use crate::store::clients::Client;
use crate::store::grants::{self, EndedBy, Grant, GrantOfAccount, rotation};
use crate::token::issue::refuse_large_claims;
use crate::token::refresh_token::{Decision, RefreshToken, decide};
use crate::token::{Authorization, Person, refuse_dead, revoke};

/// How often a row that keeps changing is read again.
const MAX_ROUNDS: u32 = 8;
/// A token that stays the same has its idle life begun anew when this part of it has gone, so that few refreshes write.
const KEEPS_WRITTEN: u32 = 64;
/// When to come back once all siblings of a generation are out: by then one of them will have been used.
const REPEATS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Redeems a refresh token for an authorization and the next refresh token.
///
/// # Errors
/// A [`GrantRefusal`]; only [`GrantRefusal::Replayed`] has changed anything, and that is the end of the grant.
pub fn redeem(
    app: &App,
    asking: &ProvenClient,
    request: &TokenRequest,
    (token, attempt): (&PlainSecret, Option<Digest>),
    context: &RequestContext,
) -> Result<(Authorization, String), Refusal> {
    let client = &asking.client;
    let keys = &app.secrets.load().refresh_token_mac;
    // A forged or mangled token dies here, before any database call.
    let token = RefreshToken::open(token.expose(), keys)
        .ok_or_else(|| Refusal::from(GrantRefusal::NotAuthentic).of_client(&client.id))?;
    for _ in 0..MAX_ROUNDS {
        // A repeat that was judged late could take the client's own later use of the token for a theft.
        if context.deadline.has_passed() {
            return Err(Refusal::from(CapacityRefusal::DeadlinePassed).of_client(&client.id));
        }
        let found = app.db.read(|tx| grants::find_by_handle(tx, token.handle))?.ok_or(GrantRefusal::Unknown)?;
        let refuse = |refusal: Refusal| refusal.of_client(&client.id).of_grant(found.grant.id);
        refuse_other_client(client, &found.grant).map_err(refuse)?;
        refuse_other_key(asking, &found.grant).map_err(refuse)?;
        let scope = narrow_scope(&found.grant, request.scope.as_ref()).map_err(refuse)?;
        let audiences = narrow_resources(&found.grant.audiences, &request.resources).map_err(refuse)?;
        refuse_dead(client, &found, app.clock.now()).map_err(|reason| refuse(reason.into()))?;
        refuse_large_claims(client, &found.roles).map_err(refuse)?;
        let now = app.clock.now();
        let decision = decide(&found.grant.rotation, &token, attempt, now, app.settings.tokens.refresh_leeway);
        let stays = matches!(decision, Decision::Rotate { .. }) && needs_no_rotation(client, &found.grant);
        let next = if stays { keep(app, &found, token, context) } else { carry_out(app, &found, decision, context) };
        let Some(next) = next.map_err(refuse)? else { continue };
        let next = RefreshToken { handle: token.handle, ..next };
        let sealed = next.seal(keys).ok_or(CapacityRefusal::CannotSign)?;
        return Ok((authorization(asking, found, scope, audiences), sealed));
    }
    Err(Refusal::from(CapacityRefusal::Contended).of_client(&client.id))
}

/// RFC 6749 §6: bound to the client it was issued to. Before anything else is judged, so that another client's
/// mistake, or its theft, changes nothing.
fn refuse_other_client(client: &Client, grant: &Grant) -> Result<(), Refusal> {
    if grant.client_id == client.id { Ok(()) } else { Err(GrantRefusal::OtherClient.into()) }
}

/// RFC 9449 §5, RFC 8705 §4: bound to the key that it was issued for, and likewise judged before anything is.
fn refuse_other_key(asking: &ProvenClient, grant: &Grant) -> Result<(), Refusal> {
    let same = grant.confirmation.is_none() || grant.confirmation == asking.confirmation;
    if same { Ok(()) } else { Err(GrantRefusal::OtherKey.into()) }
}

/// RFC 6749 §6: the scope MUST NOT include any scope not originally granted; omitted means all of it. The grant keeps
/// its own, so a narrower access token does not narrow the next one.
fn narrow_scope(grant: &Grant, asked: Option<&Scope>) -> Result<Scope, Refusal> {
    match asked {
        None => Ok(grant.scope.clone()),
        Some(scope) if scope.is_within(&grant.scope) => Ok(scope.clone()),
        Some(_) => Err(GrantRefusal::ScopeNotGranted.into()),
    }
}

/// RFC 8707 §2.2: a subset of the resources originally granted.
pub(super) fn narrow_resources(granted: &Resources, asked: &Resources) -> Result<Resources, Refusal> {
    if asked.is_empty() {
        return Ok(granted.clone());
    }
    if asked.is_subset(granted) { Ok(asked.clone()) } else { Err(GrantRefusal::ResourceNotGranted.into()) }
}

/// RFC 9700 §2.2.2, FAPI 2.0 §5.3.2.1: a token that is of use only to whoever has a key is as safe without rotation, which
/// could only lose it to those who keep it in two places.
fn needs_no_rotation(client: &Client, grant: &Grant) -> bool {
    let proves_itself = match client.metadata.auth_method {
        AuthMethod::PrivateKeyJwt | AuthMethod::TlsClientAuth | AuthMethod::SelfSignedTlsClientAuth => true,
        AuthMethod::None | AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => false,
    };
    proves_itself || grant.confirmation.is_some()
}

/// Lets a live token be what it is, and its idle life begin anew; `None` when the row has changed.
fn keep(
    app: &App,
    found: &GrantOfAccount,
    token: RefreshToken,
    context: &RequestContext,
) -> Result<Option<RefreshToken>, Refusal> {
    let (grant, idle_ttl) = (&found.grant, app.settings.tokens.refresh_idle_ttl);
    let idle_expires_at = app.clock.now().plus(idle_ttl).min(grant.expires_at);
    if idle_expires_at <= grant.idle_expires_at.plus(idle_ttl / KEEPS_WRITTEN) {
        return Ok(Some(token));
    }
    let (row, not_after) = ((grant.id, token.generation), found.read_at.plus(context.deadline.remaining()));
    let keep = move |tx: &mut Write<'_>| rotation::keep(tx, row, idle_expires_at, not_after);
    Ok(app.db.write_one(&context.deadline, keep)?.then_some(token))
}

/// Makes the one change that the decision asks for, and says which token follows; `None` when the row has changed.
fn carry_out(
    app: &App,
    found: &GrantOfAccount,
    decision: Decision,
    context: &RequestContext,
) -> Result<Option<RefreshToken>, Refusal> {
    let grant = &found.grant;
    let (id, seen) = (grant.id, grant.rotation.clone());
    let not_after = found.read_at.plus(context.deadline.remaining());
    let next = |generation, sibling| RefreshToken { handle: grant.handle, generation, sibling };
    let (changed, next) = match decision {
        Decision::Rotate { to } => {
            let idle_expires_at = to.rotated_at.plus(app.settings.tokens.refresh_idle_ttl).min(grant.expires_at);
            let successor = next(to.generation, to.siblings);
            let rotate =
                move |tx: &mut Write<'_>| rotation::rotate(tx, (id, seen.generation), &to, idle_expires_at, not_after);
            (app.db.write_one(&context.deadline, rotate)?, successor)
        }
        Decision::AddSibling { sibling } => {
            let successor = next(seen.generation, sibling);
            let add = move |tx: &mut Write<'_>| rotation::add_sibling(tx, id, &seen, not_after);
            (app.db.write_one(&context.deadline, add)?, successor)
        }
        Decision::TooManySiblings => {
            return Err(Refusal::from(GrantRefusal::TooManyRepeats).retry_after(REPEATS_RETRY_AFTER));
        }
        // RFC 9700 §4.14.2: both the thief's and the client's tokens are worth nothing from here on.
        Decision::Replay => {
            revoke::end_grant(app, id, EndedBy::Replay, &context.deadline)?;
            return Err(GrantRefusal::Replayed.into());
        }
        Decision::FromTheFuture => return Err(GrantRefusal::FromTheFuture.into()),
    };
    Ok(changed.then_some(next))
}

fn authorization(asking: &ProvenClient, found: GrantOfAccount, scope: Scope, audiences: Resources) -> Authorization {
    Authorization {
        grant_type: GrantType::RefreshToken,
        client: asking.client.clone(),
        scope,
        audiences,
        person: Some(Person::behind(&found.grant, found.roles)),
        // OpenID Connect Core §12.2: an ID token of a refresh has none.
        nonce: None,
        id_claims: serde_json::Map::new(),
        confirmation: asking.confirmation.clone(),
        act: None,
        not_after: None,
    }
}

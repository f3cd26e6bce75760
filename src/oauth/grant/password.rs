//! `password` (RFC 6749 §4.3): for first-party clients that an operator gave it to, while they move to other ways.

use std::sync::Arc;

use crate::app::App;
use crate::id::GrantId;
use crate::identity::login::{self, ProvenPassword};
use crate::oauth::RequestContext;
use crate::oauth::token::{resources_of_client, scope_of_client};
use crate::password_hash::HashMemory;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::{Credentials, GrantType, TokenRequest};
use crate::reason::{CapacityRefusal, LoginRefusal, Refusal};
use crate::store::clients::Client;
use crate::store::grants::{self, Grant, Handle, Rotation};
use crate::token::issue::refuse_large_claims;
use crate::token::refresh_token::RefreshToken;
use crate::token::{Authorization, Person};

/// Logs a person in and makes a grant; the refresh token is there if the client may use one.
///
/// # Errors
/// A scope or resource that is not the client's; a log-in that failed.
pub fn authorize(
    app: &App,
    client: &Arc<Client>,
    (request, credentials): (&TokenRequest, &Credentials),
    context: &RequestContext,
    memory: &mut HashMemory,
) -> Result<(Authorization, Option<String>), Refusal> {
    let scope = scope_of_client(client, request.scope.as_ref())?;
    let audiences = resources_of_client(client, &request.resources)?;
    let proven = login::prove_password(app, memory, credentials, context.network)
        .map_err(|refusal| refusal.of_client(&client.id))?;
    refuse_large_claims(client, &proven.account.roles)?;
    let status_position = app.status.take_position(&app.db, &app.clock, app.random)?;
    let grant = new_grant(app, client, &proven, (scope, audiences), status_position);
    let roles = proven.account.roles.clone();
    let (row, seen_hash) = (grant.clone(), proven.account.password_hash.clone());
    let not_after = proven.read_at.plus(context.deadline.remaining());
    // One statement: the account is still the one that was checked, and the grant exists.
    let made = app.db.write_one(&context.deadline, move |tx| grants::insert(tx, &row, &seen_hash, not_after))?;
    if !made {
        let late = context.deadline.has_passed();
        let why =
            if late { CapacityRefusal::DeadlinePassed.into() } else { Refusal::from(LoginRefusal::AccountChanged) };
        return Err(why.of_client(&client.id));
    }
    proven.remember(app);
    tracing::info!(event = "logged_in", client_id = %client.id, account_id = %grant.account_id, grant_id = %grant.id);
    let first = RefreshToken { handle: grant.handle, generation: 1, sibling: 1 };
    let refresh_token = if client.metadata.grant_types.contains(&GrantType::RefreshToken) {
        Some(first.seal(&app.secrets.load().refresh_token_mac).ok_or(CapacityRefusal::CannotSign)?)
    } else {
        None
    };
    let authorization = Authorization {
        grant_type: GrantType::Password,
        client: client.clone(),
        scope: grant.scope.clone(),
        audiences: grant.audiences.clone(),
        person: Some(Person::behind(&grant, roles)),
    };
    Ok((authorization, refresh_token))
}

fn new_grant(
    app: &App,
    client: &Client,
    proven: &ProvenPassword,
    (scope, audiences): (Scope, Resources),
    status_position: i64,
) -> Grant {
    let now = app.clock.now();
    let tokens = &app.settings.tokens;
    let expires_at = now.plus(tokens.refresh_absolute_ttl);
    Grant {
        id: GrantId::new(now, &app.random),
        handle: Handle(app.random.bytes()),
        account_id: proven.account.id,
        client_id: client.id.clone(),
        scope,
        audiences,
        // RFC 8176 §2: pwd.
        amr: vec!["pwd".to_owned()],
        auth_time: proven.auth_time,
        created_at: now,
        rotation: Rotation { generation: 1, winner: 0, siblings: 1, rotated_at: now, attempt: None },
        idle_expires_at: now.plus(tokens.refresh_idle_ttl).min(expires_at),
        expires_at,
        ended_at: None,
        status_position,
    }
}

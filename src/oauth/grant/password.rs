//! `password` (RFC 6749 §4.3): for first-party clients that an operator gave it to, while they move to other ways.

use super::{Allowed, ProvenClient, first_refresh_token, new_grant};
use crate::app::App;
use crate::identity::login;
use crate::oauth::RequestContext;
use crate::oauth::token::{resources_of_client, scope_of_client};
use crate::password_hash::HashMemory;
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::token_request::{Credentials, GrantType, TokenRequest};
use crate::reason::{CapacityRefusal, LoginRefusal, Refusal};
use crate::store::grants;
use crate::token::issue::refuse_large_claims;
use crate::token::{Authorization, Person};

/// Logs a person in and makes a grant; the refresh token is there if the client may use one.
///
/// # Errors
/// A scope or resource that is not the client's; a log-in that failed.
pub fn authorize(
    app: &App,
    asking: &ProvenClient,
    (request, credentials): (&TokenRequest, &Credentials),
    context: &RequestContext,
    memory: &mut HashMemory,
) -> Result<(Authorization, Option<String>), Refusal> {
    let client = &asking.client;
    let scope = scope_of_client(client, request.scope.as_ref())?;
    let audiences = resources_of_client(client, &request.resources)?;
    let proven = login::prove_password(app, memory, credentials, context.network)
        .map_err(|refusal| refusal.of_client(&client.id))?;
    refuse_large_claims(client, &proven.account.roles)?;
    let allowed = Allowed {
        account_id: proven.account.id,
        session_id: None,
        scope,
        audiences,
        amr: proven.amr(),
        auth_time: proven.auth_time,
        claims: ClaimsRequest::default(),
    };
    let grant = new_grant(app, asking, allowed)?;
    let roles = proven.account.roles.clone();
    let (row, seen_version) = (grant.clone(), proven.account.credentials_version);
    let not_after = proven.read_at.plus(context.deadline.remaining());
    // One statement: the account is still the one that was checked, and the grant exists.
    let made = app.db.write_one(&context.deadline, move |tx| grants::insert(tx, &row, seen_version, not_after))?;
    if !made {
        let late = context.deadline.has_passed();
        let why =
            if late { CapacityRefusal::DeadlinePassed.into() } else { Refusal::from(LoginRefusal::AccountChanged) };
        return Err(why.of_client(&client.id));
    }
    proven.remember(app);
    tracing::info!(event = "logged_in", client_id = %client.id, account_id = %grant.account_id, grant_id = %grant.id);
    let refresh_token = first_refresh_token(app, client, &grant)?;
    let authorization = Authorization {
        grant_type: GrantType::Password,
        client: client.clone(),
        scope: grant.scope.clone(),
        audiences: grant.audiences.clone(),
        person: Some(Person::behind(&grant, roles)),
        nonce: None,
        id_claims: serde_json::Map::new(),
        confirmation: asking.confirmation.clone(),
        act: None,
        not_after: None,
    };
    Ok((authorization, refresh_token))
}

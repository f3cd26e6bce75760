//! The grant types. Each turns an offer into an [`crate::token::Authorization`]; a code's and a device's do so on the way to their
//! tokens, and share that way.

pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod password;
pub mod refresh;
pub mod token_exchange;

use std::sync::Arc;

use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, SessionId};
use crate::oauth::userinfo::{claims_of, known};
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::protocol::token_response::TokenResponse;
use crate::reason::{CapacityRefusal, Refusal};
use crate::store::accounts::Account;
use crate::store::clients::Client;
use crate::store::grants::{Grant, Handle, Rotation};
use crate::token::issue::{self, refuse_large_claims};
use crate::token::refresh_token::RefreshToken;
use crate::token::{Authorization, Person, pairwise};

/// A client that has proven itself, and the key that its tokens are bound to from now on.
pub struct ProvenClient {
    /// The client.
    pub client: Arc<Client>,
    /// The key, if it showed one.
    pub confirmation: Option<Confirmation>,
}

impl ProvenClient {
    /// RFC 9449 §5, RFC 8705 §4: the key that a grant is bound to. One that proves itself at each refresh needs none.
    fn binds_grant(&self) -> Option<Confirmation> {
        self.confirmation.clone().filter(|_| self.client.metadata.is_public())
    }
}

/// What a person allowed a client, and how the person had logged in.
struct Allowed {
    account_id: AccountId,
    /// The log-in, if it was at a browser.
    session_id: Option<SessionId>,
    scope: Scope,
    audiences: Resources,
    amr: Vec<String>,
    auth_time: Timestamp,
    claims: ClaimsRequest,
}

/// The row of a grant that begins now.
fn new_grant(app: &App, asking: &ProvenClient, allowed: Allowed) -> Result<Grant, Refusal> {
    let client = &asking.client;
    let status_position = app.status.take_position(&app.db, &app.clock, app.random)?;
    let now = app.clock.now();
    let tokens = &app.settings.tokens;
    let expires_at = now.plus(tokens.refresh_absolute_ttl);
    Ok(Grant {
        id: GrantId::new(now, &app.random),
        handle: Handle(app.random.bytes()),
        account_id: allowed.account_id,
        client_id: client.id.clone(),
        scope: allowed.scope,
        audiences: allowed.audiences,
        amr: allowed.amr,
        auth_time: allowed.auth_time,
        created_at: now,
        rotation: Rotation { generation: 1, winner: 0, siblings: 1, rotated_at: now, attempt: None },
        idle_expires_at: now.plus(tokens.refresh_idle_ttl).min(expires_at),
        expires_at,
        ended_at: None,
        status_position,
        session_id: allowed.session_id,
        confirmation: asking.binds_grant(),
        claims: allowed.claims,
        subject: pairwise::subject(app, client, allowed.account_id)?,
    })
}

/// The first refresh token of a grant, if its client may use one (RFC 6749 §5.1: optional).
fn first_refresh_token(app: &App, client: &Client, grant: &Grant) -> Result<Option<String>, Refusal> {
    if !client.metadata.grant_types.contains(&GrantType::RefreshToken) {
        return Ok(None);
    }
    let first = RefreshToken { handle: grant.handle, generation: 1, sibling: 1 };
    let sealed = first.seal(&app.secrets.load().refresh_token_mac).ok_or(CapacityRefusal::CannotSign)?;
    Ok(Some(sealed))
}

/// What the first tokens of a grant are.
struct First {
    grant_type: GrantType,
    /// Those of the grant's resources that they are for.
    audiences: Resources,
    nonce: Option<String>,
}

/// The grant of what was allowed at a browser, and its first tokens: signed before whatever buys them is used up, so that whoever is
/// told to come back can.
fn prepare(
    app: &App,
    asking: &ProvenClient,
    account: Account,
    allowed: Allowed,
    First { grant_type, audiences, nonce }: First,
) -> Result<(Grant, TokenResponse), Refusal> {
    let client = &asking.client;
    refuse_large_claims(client, &account.roles)?;
    let grant = new_grant(app, asking, allowed)?;
    let refresh_token = first_refresh_token(app, client, &grant)?;
    let authorization = Authorization {
        grant_type,
        client: client.clone(),
        scope: grant.scope.clone(),
        audiences,
        person: Some(Person::behind(&grant, account.roles.clone())),
        nonce,
        id_claims: claims_of(&known(account), |name| grant.claims.id_token.contains(name)),
        confirmation: asking.confirmation.clone(),
        act: None,
        not_after: None,
    };
    let tokens = issue::mint(app, &authorization, refresh_token)?;
    Ok((grant, tokens))
}

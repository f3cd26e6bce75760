//! The grant types. Each turns an offer into an [`crate::token::Authorization`]; a code's does so on the way to its tokens.

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
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::reason::{CapacityRefusal, Refusal};
use crate::store::clients::Client;
use crate::store::grants::{Grant, Handle, Rotation};
use crate::token::refresh_token::RefreshToken;

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
    client_id: ClientId,
    scope: Scope,
    audiences: Resources,
    amr: Vec<String>,
    auth_time: Timestamp,
    session_id: Option<SessionId>,
    confirmation: Option<Confirmation>,
    claims: ClaimsRequest,
    subject: Option<String>,
}

/// The row of a grant that begins now.
fn new_grant(app: &App, allowed: Allowed, status_position: i64) -> Grant {
    let now = app.clock.now();
    let tokens = &app.settings.tokens;
    let expires_at = now.plus(tokens.refresh_absolute_ttl);
    Grant {
        id: GrantId::new(now, &app.random),
        handle: Handle(app.random.bytes()),
        account_id: allowed.account_id,
        client_id: allowed.client_id,
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
        confirmation: allowed.confirmation,
        claims: allowed.claims,
        subject: allowed.subject,
    }
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

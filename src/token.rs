//! From an [`Authorization`] to tokens, and the end of both. Refuses to know how the authorization came about.

pub mod issue;
pub mod refresh_token;
pub mod revoke;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId};
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::store::clients::Client;

/// What every grant type ends in, and all that minting a token needs.
pub struct Authorization {
    /// How it was obtained.
    pub grant_type: GrantType,
    /// The client that the token goes to.
    pub client: Arc<Client>,
    /// The scope of this access token.
    pub scope: Scope,
    /// The resources that this access token is for; empty means the issuer.
    pub audiences: Resources,
    /// The person behind it; none for `client_credentials`.
    pub person: Option<Person>,
}

/// The person and the grant behind a token.
pub struct Person {
    /// `sub`.
    pub account_id: AccountId,
    /// `sid`.
    pub grant_id: GrantId,
    /// `roles`.
    pub roles: Vec<String>,
    /// `auth_time`.
    pub auth_time: Timestamp,
    /// `amr`.
    pub amr: Vec<String>,
    /// When the grant is over at the latest; no token outlives it.
    pub grant_expires_at: Timestamp,
}

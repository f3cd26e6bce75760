//! From an [`Authorization`] to tokens, and the end of both. Refuses to know how the authorization came about.

pub mod authorization_code;
pub mod device_code;
pub mod id_token;
pub mod issue;
pub mod logout_token;
pub mod pairwise;
pub mod refresh_token;
pub mod revoke;
mod sealed;
pub mod status_list;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::id::GrantId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::reason::GrantRefusal;
use crate::store::clients::Client;
use crate::store::grants::{Grant, GrantOfAccount};

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
    /// The `nonce` of the request, for the ID token.
    pub nonce: Option<String>,
    /// Claims that the ID token holds beside its own.
    pub id_claims: Map<String, Value>,
    /// Who acts for the person (RFC 8693 §4.1).
    pub act: Option<Value>,
    /// When the access token is over at the latest, if it was made of another.
    pub not_after: Option<Timestamp>,
    /// The key that the access token is bound to.
    pub confirmation: Option<Confirmation>,
}

/// The person and the grant behind a token.
pub struct Person {
    /// `sub`.
    pub subject: String,
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
    /// Where the grant stands in the status lists.
    pub status_position: i64,
}

impl Person {
    /// The person behind a grant, with the roles that the account has now.
    pub fn behind(grant: &Grant, roles: Vec<String>) -> Self {
        Self {
            subject: grant.subject_text(),
            grant_id: grant.id,
            roles,
            auth_time: grant.auth_time,
            amr: grant.amr.clone(),
            grant_expires_at: grant.expires_at,
            status_position: grant.status_position,
        }
    }
}

/// RFC 9700 §4.14: nothing comes of a grant that was ended or has run out, nor of a disabled account or client. The one
/// rule for all who ask whether a grant is in force.
///
/// # Errors
/// Why it is not.
pub fn refuse_dead(client: &Client, found: &GrantOfAccount, now: Timestamp) -> Result<(), GrantRefusal> {
    let grant = &found.grant;
    // A client's disabling is final for whatever it held then, even when it is enabled again.
    let over = grant.ended_at.is_some() || found.credentials_changed;
    if over || client.disabled_at.is_some() || grant.created_at <= client.not_before {
        return Err(GrantRefusal::Ended);
    }
    if now >= grant.idle_expires_at || now >= grant.expires_at {
        return Err(GrantRefusal::Expired);
    }
    if found.account_disabled { Err(GrantRefusal::AccountDisabled) } else { Ok(()) }
}

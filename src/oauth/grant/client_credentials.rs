//! `client_credentials` (RFC 6749 §4.4): the client for itself. Touches no database.

use super::ProvenClient;
use crate::oauth::token::{resources_of_client, scope_of_client};
use crate::protocol::token_request::{GrantType, TokenRequest};
use crate::reason::Refusal;
use crate::token::Authorization;

/// Authorizes a client that has proven itself.
///
/// # Errors
/// A scope or resource that is not the client's.
pub fn authorize(asking: &ProvenClient, request: &TokenRequest) -> Result<Authorization, Refusal> {
    let client = &asking.client;
    Ok(Authorization {
        grant_type: GrantType::ClientCredentials,
        client: client.clone(),
        scope: scope_of_client(client, request.scope.as_ref())?,
        audiences: resources_of_client(client, &request.resources)?,
        // RFC 6749 §4.4.3: a refresh token SHOULD NOT be included; there is no grant to refresh.
        person: None,
        nonce: None,
        id_claims: serde_json::Map::new(),
        confirmation: asking.confirmation.clone(),
        act: None,
        not_after: None,
    })
}

//! Who may follow what is over, and what those who follow say of themselves.

use std::sync::Arc;

use serde::Deserialize;

use super::{RequestContext, client_auth};
use crate::app::App;
use crate::protocol::client_credentials::PresentedClient;
use crate::protocol::params::Params;
use crate::reason::{ClientRefusal, Refusal, RequestRefusal};
use crate::secret::decode_base64url;
use crate::store::clients::Client;
use crate::store::status_receipts;

/// The scope that a client needs to follow.
pub const STATUS_READ: &str = "status.read";
/// The most bytes of a verifier's name.
const MAX_NAME_BYTES: usize = 128;

/// Proves that a client may follow: by its own credentials in the header (RFC 6749 §2.3.1), so that it needs no token to
/// come back.
///
/// # Errors
/// A [`ClientRefusal`].
pub fn authorize(app: &App, authorization: Option<&[u8]>, context: &RequestContext) -> Result<Arc<Client>, Refusal> {
    let params = Params::parse(Some("application/x-www-form-urlencoded"), &[])?;
    let presented = PresentedClient::parse(authorization, &params).map_err(Refusal::with_basic)?;
    let client = client_auth::authenticate(app, &presented, context)?;
    if may_follow(&client) { Ok(client) } else { Err(Refusal::from(ClientRefusal::MayNotFollow).of_client(&client.id)) }
}

/// Whether a client that was let in may still follow: it is as it was then.
pub fn still_may(app: &App, admitted: &Client) -> bool {
    let now = app.clients.find(&admitted.id);
    now.is_some_and(|now| now.disabled_at.is_none() && may_follow(&now) && now.not_before == admitted.not_before)
}

fn may_follow(client: &Client) -> bool {
    client.metadata.scope.contains(STATUS_READ)
}

/// What a verifier says of itself.
#[derive(Deserialize)]
struct ReceiptBody {
    verifier: String,
    #[serde(default)]
    name: String,
    seq: i64,
    #[serde(default)]
    leaves: bool,
}

/// Remembers how far a verifier has come.
///
/// # Errors
/// [`RequestRefusal::NotAReceipt`]; the store's own reasons.
pub fn take_receipt(app: &App, client: &Client, body: &[u8]) -> Result<(), Refusal> {
    let malformed = || Refusal::from(RequestRefusal::NotAReceipt).of_client(&client.id);
    let ReceiptBody { verifier, name, seq, leaves } = serde_json::from_slice(body).map_err(|_| malformed())?;
    let verifier: Option<[u8; 16]> = decode_base64url(&verifier).and_then(|bytes| bytes.try_into().ok());
    let verifier = verifier.ok_or_else(malformed)?;
    let is_printable = name.chars().all(|char| !char.is_control());
    if name.len() > MAX_NAME_BYTES || !is_printable || seq < 0 {
        return Err(malformed());
    }
    let client_id = client.id.to_string();
    let put = app.db.write_relaxed(move |tx| {
        if leaves {
            return status_receipts::remove(tx, &verifier, &client_id);
        }
        status_receipts::put(tx, (&verifier, &client_id), (&name, seq))
    })?;
    if put { Ok(()) } else { Err(malformed()) }
}

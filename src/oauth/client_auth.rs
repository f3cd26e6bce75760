//! Client authentication (RFC 6749 §2.3, §3.2.1), from the in-memory snapshot.

use std::sync::Arc;

use crate::app::App;
use crate::protocol::client_credentials::{ClientId, Method, PresentedClient};
use crate::protocol::client_metadata::AuthMethod;
use crate::reason::{ClientRefusal, Refusal};
use crate::secret::{Digest, PlainSecret, PurposeKey};
use crate::store::clients::Client;

/// Proves that the request comes from the client that it names, by that client's registered method.
///
/// # Errors
/// A [`ClientRefusal`]. An unknown client costs the same hash as a wrong secret and looks the same from outside.
pub fn authenticate(app: &App, presented: &PresentedClient) -> Result<Arc<Client>, Refusal> {
    let found = app.clients.find(&presented.client_id);
    let known = found.is_some();
    let refuse = |reason: ClientRefusal| {
        // ASVS 16.2.5: what names no client of ours may be anything, a secret in the wrong field too.
        let refusal = Refusal::from(reason);
        let refusal = if known { refusal.of_client(&presented.client_id) } else { refusal };
        if presented.used_header() { refusal.with_basic() } else { refusal }
    };
    let proven = match &presented.method {
        Method::Bare => true,
        Method::Basic(secret) | Method::Post(secret) => {
            secret_fits(&app.secrets.load().client_secret_hash, found.as_deref(), &presented.client_id, secret)
        }
    };
    let client = found.ok_or_else(|| refuse(ClientRefusal::Unknown))?;
    // RFC 7591 §2, ASVS 10.4.10: the registered method and no other; a confidential client never goes unproven.
    let registered = match presented.method {
        Method::Bare => AuthMethod::None,
        Method::Basic(_) => AuthMethod::ClientSecretBasic,
        Method::Post(_) => AuthMethod::ClientSecretPost,
    };
    if client.metadata.auth_method != registered {
        return Err(refuse(ClientRefusal::WrongMethod));
    }
    if !proven {
        return Err(refuse(ClientRefusal::WrongSecret));
    }
    if client.disabled_at.is_some() {
        return Err(refuse(ClientRefusal::Disabled));
    }
    Ok(client)
}

/// The keyed hash that is kept of a client's secret.
pub fn secret_digest(key: &PurposeKey, client_id: &ClientId, secret: &PlainSecret) -> Digest {
    key.mac(&[client_id.as_str().as_bytes(), secret.expose().as_bytes()])
}

/// Compares with each of the client's secrets, without stopping at the first that fits.
fn secret_fits(keys: &[(u8, PurposeKey)], client: Option<&Client>, id: &ClientId, secret: &PlainSecret) -> bool {
    let mut fits = false;
    for (version, key) in keys {
        let digest = secret_digest(key, id, secret);
        for known in client.into_iter().flat_map(|client| &client.secrets) {
            // ASVS 11.2.4: digests compare in constant time.
            fits |= known.key_version == *version && known.digest == digest;
        }
    }
    fits
}

//! A client that is registered otherwise, by itself (RFC 7592 §2.2) or by an operator: what follows from that for its secrets,
//! and for what people allowed it. Refuses to know whether the metadata may be had.

use crate::app::App;
use crate::oauth::client_auth::new_secret;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::client_metadata::ClientMetadata;
use crate::secret::PlainSecret;
use crate::store::clients::{self, Client, ClientSecret, Word};
use crate::store::{self, Write, consents};

/// What a client is to be registered with from now on.
pub struct Replacement {
    metadata: ClientMetadata,
    /// The secret that it gets if it needs one for that and has none then.
    secret: Option<ClientSecret>,
}

/// What came of it.
pub struct Replaced {
    /// The client as it was.
    pub before: Client,
    /// Whether the secret that was made for it is its own now.
    pub has_new_secret: bool,
}

impl Replacement {
    /// With other metadata, and a secret for it, which is shown once if it is needed; `None` when none can be made.
    pub fn new(app: &App, id: &ClientId, metadata: ClientMetadata) -> Option<(Self, Option<PlainSecret>)> {
        let made = if metadata.has_secret() { Some(new_secret(app, id)?) } else { None };
        let (secret, plain) = made.unzip();
        Some((Self { metadata, secret }, plain))
    }

    /// Makes it so, if the client is for whoever says so to change; `None` otherwise.
    ///
    /// # Errors
    /// The store's own reasons.
    pub fn carry_out(&self, tx: &mut Write<'_>, id: &ClientId, word: &Word) -> Result<Option<Replaced>, store::Error> {
        // CWE-367: whoever else replaces it waits here, and what follows is decided by what is there, not by what was seen before.
        let Some(before) = clients::hold(tx, id, word)? else { return Ok(None) };
        clients::replace_metadata(tx, id, &self.metadata)?;
        // A secret that is no longer asked for would be good again one day, and nobody would know who has it by then.
        if !self.metadata.has_secret() {
            clients::remove_secrets(tx, id)?;
        }
        // RFC 7592 §2.2: a client that proves itself by a secret from now on gets one.
        let new = self.secret.as_ref().filter(|_| before.secrets.is_empty());
        if let Some(secret) = new {
            clients::insert_secret(tx, id, secret)?;
        }
        // What people allowed, they allowed to that name at that place.
        let (is, was) = (&self.metadata, &before.metadata);
        if is.name != was.name || is.redirect_uris != was.redirect_uris {
            consents::remove_of_client(tx, id)?;
        }
        Ok(Some(Replaced { has_new_secret: new.is_some(), before }))
    }
}

//! Clients, as operators handle them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{AdminError, Trail, taken};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::oauth::client_auth;
use crate::oauth::register::replacement::Replacement;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::client_metadata::ClientMetadata;
use crate::secret::PlainSecret;
use crate::store::clients::{self, Client, ClientSecret, OLD_SECRET_TTL, Word};
use crate::store::{Error, status_positions};

/// The most secrets that a client may have: the new one and the old one.
const MAX_SECRETS: usize = 2;

/// The key under which secrets are kept cannot be had.
const NO_SECRET: AdminError = AdminError::Store(Error::Corrupt { table: "client_secrets" });

/// Registers a client. A confidential one gets a secret, which is shown now and never again.
///
/// # Errors
/// [`AdminError`], naming the rule that was broken.
pub fn create(
    app: &App,
    client_id: &str,
    metadata: ClientMetadata,
    actor: &str,
) -> Result<(Client, Option<PlainSecret>), AdminError> {
    // RFC 9068 §5: a client_id that could be an account's sub would let a client pass as that account.
    let looks_like_a_sub = client_id.parse::<AccountId>().is_ok();
    let id = ClientId::parse(client_id).filter(|_| !looks_like_a_sub).ok_or(AdminError::MalformedClientId)?;
    metadata.subjects.refuse_other_algorithms(&app.keyring.algorithms())?;
    let secret = metadata.has_secret().then(|| new_secret(app, &id)).transpose()?;
    let now = app.clock.now();
    let kept: Vec<ClientSecret> = secret.iter().map(|(kept, _)| kept.clone()).collect();
    let (random, trail) = (app.random, Trail::of(app, actor));
    let client = app
        .db
        .write(move |tx| {
            let client = Client {
                id: id.clone(),
                metadata: metadata.clone(),
                created_at: now,
                disabled_at: None,
                not_before: Timestamp::from_micros(0),
                status_position: status_positions::find_free(tx, random)?,
                secrets: kept.clone(),
                registration: None,
                unused_since: None,
            };
            clients::insert(tx, &client)?;
            client.secrets.iter().try_for_each(|secret| clients::insert_secret(tx, &client.id, secret))?;
            trail.note(tx, "client_created", &client.id, json!({ "secret_made": !client.secrets.is_empty() }))?;
            Ok(client)
        })
        .map_err(taken("the client_id"))?;
    Ok((client, secret.map(|(_, plain)| plain)))
}

/// The client of that identifier.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn find(app: &App, client_id: &str) -> Result<Client, AdminError> {
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    app.db.read(|tx| clients::find(tx, &id))?.ok_or(AdminError::NotFound("client"))
}

/// Every client, and the identifiers of those whose rows cannot be read.
///
/// # Errors
/// The store's own reasons.
pub fn list(app: &App) -> Result<(Vec<Client>, Vec<String>), AdminError> {
    Ok(app.db.read(clients::load_all)?)
}

/// Registers a client with other metadata, and nothing of what it was; identifier, secrets and all else stay. A client that
/// has no secret and proves itself by one from now on gets one, which is shown now and never again; those of a client that
/// no longer does are removed.
///
/// # Errors
/// [`AdminError::NotFound`]; [`AdminError::Metadata`]; the store's own reasons.
pub fn replace(
    app: &App,
    client_id: &str,
    metadata: ClientMetadata,
    actor: &str,
) -> Result<(Client, Option<PlainSecret>), AdminError> {
    metadata.subjects.refuse_other_algorithms(&app.keyring.algorithms())?;
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    let (replacement, secret) = Replacement::new(app, &id, metadata.clone()).ok_or(NO_SECRET)?;
    let trail = Trail::of(app, actor);
    let replaced = app.db.write(move |tx| {
        let Some(replaced) = replacement.carry_out(tx, &id, &Word::Operators)? else { return Ok(None) };
        let changed = changed_members(&replaced.before.metadata, &metadata);
        let details = json!({ "changed": changed, "secret_made": replaced.has_new_secret });
        trail.note(tx, "client_replaced", &id, details)?;
        Ok(clients::find(tx, &id)?.map(|client| (client, replaced.has_new_secret)))
    })?;
    let (client, has_new_secret) = replaced.ok_or(AdminError::NotFound("client"))?;
    Ok((client, secret.filter(|_| has_new_secret)))
}

/// The names of the members in which two metadata differ.
fn changed_members(before: &ClientMetadata, after: &ClientMetadata) -> Vec<String> {
    let members = |metadata: &ClientMetadata| match serde_json::to_value(metadata.to_json()) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    };
    let (before, after) = (members(before), members(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Disables a client; what it was granted is over for good.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn disable(app: &App, client_id: &str, actor: &str) -> Result<(), AdminError> {
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    let (now, random, trail) = (app.clock.now(), app.random, Trail::of(app, actor));
    let found = app.db.write(move |tx| {
        let found = clients::disable(tx, &id, now, random)?;
        if found {
            trail.note(tx, "client_disabled", &id, json!({}))?;
        }
        Ok(found)
    })?;
    if found { Ok(()) } else { Err(AdminError::NotFound("client")) }
}

/// Enables a client again.
///
/// # Errors
/// [`AdminError::NotFound`]; the store's own reasons.
pub fn enable(app: &App, client_id: &str, actor: &str) -> Result<(), AdminError> {
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    let trail = Trail::of(app, actor);
    let found = app.db.write(move |tx| {
        let found = clients::enable(tx, &id)?;
        if found {
            trail.note(tx, "client_enabled", &id, json!({}))?;
        }
        Ok(found)
    })?;
    if found { Ok(()) } else { Err(AdminError::NotFound("client")) }
}

/// A new secret of a client.
pub struct RotatedSecret {
    /// It, shown now and never again.
    pub secret: PlainSecret,
    /// How long the old one is good.
    pub old_until: Timestamp,
}

/// Gives a client a new secret beside the one it has, which is good until [`OLD_SECRET_TTL`] from now or [`drop_old_secret`].
///
/// # Errors
/// [`AdminError::TwoSecretsInForce`], [`AdminError::PublicClientHasNoSecret`], [`AdminError::NotFound`].
pub fn rotate_secret(app: &App, client_id: &str, actor: &str) -> Result<RotatedSecret, AdminError> {
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    let (kept, plain) = new_secret(app, &id)?;
    let (now, trail) = (app.clock.now(), Trail::of(app, actor));
    let added = app.db.write(move |tx| {
        // CWE-367: whoever else rotates it, or registers it otherwise, waits here.
        let Some(client) = clients::hold(tx, &id, &Word::Operators)? else {
            return Ok(Err(AdminError::NotFound("client")));
        };
        if !client.metadata.has_secret() {
            return Ok(Err(AdminError::PublicClientHasNoSecret));
        }
        if client.secrets_in_force(now).count() >= MAX_SECRETS {
            return Ok(Err(AdminError::TwoSecretsInForce));
        }
        for over in client.secrets.iter().rev().skip(1) {
            clients::remove_secret(tx, over.id)?;
        }
        clients::insert_secret(tx, &id, &kept)?;
        trail.note(tx, "client_secret_made", &id, json!({}))?;
        Ok(Ok(()))
    })?;
    added.map(|()| RotatedSecret { secret: plain, old_until: now.plus(OLD_SECRET_TTL) })
}

/// Drops the older of a client's two secrets.
///
/// # Errors
/// [`AdminError::NoOldSecret`], [`AdminError::NotFound`].
pub fn drop_old_secret(app: &App, client_id: &str, actor: &str) -> Result<(), AdminError> {
    let id = ClientId::parse(client_id).ok_or(AdminError::NotFound("client"))?;
    let trail = Trail::of(app, actor);
    app.db.write(move |tx| {
        let Some(client) = clients::hold(tx, &id, &Word::Operators)? else {
            return Ok(Err(AdminError::NotFound("client")));
        };
        let [old, _, ..] = client.secrets.as_slice() else { return Ok(Err(AdminError::NoOldSecret)) };
        clients::remove_secret(tx, old.id)?;
        trail.note(tx, "client_secret_dropped", &id, json!({}))?;
        Ok(Ok(()))
    })?
}

fn new_secret(app: &App, id: &ClientId) -> Result<(ClientSecret, PlainSecret), AdminError> {
    client_auth::new_secret(app, id).ok_or(NO_SECRET)
}

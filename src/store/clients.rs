//! Rows of clients and their secrets.

pub mod registrants;

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_verifier::feed::CutKind;
use diesel::prelude::*;

use super::epochs::{self, Topic};
use super::outbox::{self, Task};
use super::schema::{client_secrets, clients};
use super::status_changes::{self, Over};
use super::{Error, Read, Write, status_positions};
use crate::clock::Timestamp;
use crate::id::ClientSecretId;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use crate::secret::{Digest, Random};

const TABLE: &str = "clients";

/// How long a secret is good beside its successor.
pub const OLD_SECRET_TTL: Duration = Duration::from_hours(30 * 24);

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// What it is registered with.
    pub metadata: ClientMetadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// What it was granted or given at or before this instant is worth nothing, even if it is enabled again.
    pub not_before: Timestamp,
    /// Where it stands itself in the status lists: what it is given without anybody behind it has this position.
    pub status_position: i64,
    /// Its secrets, the oldest first.
    pub secrets: Vec<ClientSecret>,
    /// If it registered itself: the digest of what lets it change that (RFC 7592 §1.2).
    pub registration: Option<Digest>,
    /// If it registered itself and nobody has allowed it anything yet: when somebody last began to, or it was registered; if it
    /// deleted itself: when it did, or was last found to have something left.
    pub unused_since: Option<Timestamp>,
}

impl Client {
    /// Whether anybody may be behind it, so that it proves nothing of whoever uses it that it proves itself: it has no secret, or
    /// registered itself and gave itself one.
    pub fn is_anybodys(&self) -> bool {
        self.metadata.is_public() || self.registration.is_some()
    }

    /// The secrets that are good at `now`, the oldest first. ASVS 13.3.4: one that has a successor has an end.
    pub fn secrets_in_force(&self, now: Timestamp) -> impl Iterator<Item = &ClientSecret> {
        let latest = self.secrets.iter().map(|secret| secret.created_at).max();
        self.secrets.iter().filter(move |secret| {
            latest.is_none_or(|latest| secret.created_at >= latest || now < latest.plus(OLD_SECRET_TTL))
        })
    }
}

/// What is kept of a client secret.
#[derive(Clone, Debug)]
pub struct ClientSecret {
    /// Its identifier.
    pub id: ClientSecretId,
    /// The keyed hash of the secret.
    pub digest: Digest,
    /// The version of the master key that the hash is under.
    pub key_version: u8,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = clients)]
struct ClientRow {
    id: String,
    metadata: String,
    created_at: i64,
    disabled_at: Option<i64>,
    not_before: i64,
    status_position: i64,
    registration_digest: Option<Vec<u8>>,
    unused_since: Option<i64>,
}

type SecretRow = (Vec<u8>, String, Vec<u8>, i32, i64);

fn parse_client(row: ClientRow) -> Option<Client> {
    let json: ClientMetadataJson = serde_json::from_str(&row.metadata).ok()?;
    Some(Client {
        id: ClientId::parse(&row.id)?,
        metadata: ClientMetadata::try_from(json).ok()?,
        created_at: Timestamp::from_micros(row.created_at),
        disabled_at: row.disabled_at.map(Timestamp::from_micros),
        not_before: Timestamp::from_micros(row.not_before),
        status_position: row.status_position,
        secrets: Vec::new(),
        registration: match row.registration_digest {
            Some(bytes) => Some(Digest::from_slice(&bytes)?),
            None => None,
        },
        unused_since: row.unused_since.map(Timestamp::from_micros),
    })
}

fn parse_secret((id, _, digest, key_version, created_at): SecretRow) -> Option<ClientSecret> {
    Some(ClientSecret {
        id: ClientSecretId::from_slice(&id).ok()?,
        digest: Digest::from_slice(&digest)?,
        key_version: u8::try_from(key_version).ok()?,
        created_at: Timestamp::from_micros(created_at),
    })
}

/// Every client with its secrets. A row that cannot be read is left out and named in the second list, so that one bad
/// row does not stop the others.
///
/// # Errors
/// The store's own reasons.
pub fn load_all(tx: &mut Read<'_>) -> Result<(Vec<Client>, Vec<String>), Error> {
    let rows: Vec<ClientRow> = clients::table.select(ClientRow::as_select()).load(tx.conn())?;
    let secrets: Vec<SecretRow> =
        client_secrets::table.order((client_secrets::created_at, client_secrets::id)).load(tx.conn())?;
    let mut unreadable = Vec::new();
    let mut loaded = BTreeMap::new();
    for row in rows {
        let id = row.id.clone();
        match parse_client(row) {
            Some(client) => drop(loaded.insert(id, client)),
            None => unreadable.push(id),
        }
    }
    for row in secrets {
        let Some(client) = loaded.get_mut(&row.1) else { continue };
        match parse_secret(row) {
            Some(secret) => client.secrets.push(secret),
            None => unreadable.push(client.id.to_string()),
        }
    }
    Ok((loaded.into_values().collect(), unreadable))
}

/// The client of that identifier.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn find(tx: &mut Read<'_>, id: &ClientId) -> Result<Option<Client>, Error> {
    let row: Option<ClientRow> =
        clients::table.find(id.as_str()).select(ClientRow::as_select()).get_result(tx.conn()).optional()?;
    let Some(row) = row else { return Ok(None) };
    let mut client = parse_client(row).ok_or(Error::Corrupt { table: TABLE })?;
    let secrets: Vec<SecretRow> = client_secrets::table
        .filter(client_secrets::client_id.eq(id.as_str()))
        .order((client_secrets::created_at, client_secrets::id))
        .load(tx.conn())?;
    for row in secrets {
        client.secrets.push(parse_secret(row).ok_or(Error::Corrupt { table: "client_secrets" })?);
    }
    Ok(Some(client))
}

/// Adds a client, without secrets.
///
/// # Errors
/// [`Error::Conflict`] when the identifier is taken.
pub fn insert(tx: &mut Write<'_>, client: &Client) -> Result<(), Error> {
    let metadata = serde_json::to_string(&client.metadata.to_json()).map_err(|_| Error::Corrupt { table: TABLE })?;
    diesel::insert_into(clients::table)
        .values((
            clients::id.eq(client.id.as_str()),
            clients::metadata.eq(metadata),
            clients::created_at.eq(client.created_at.as_micros()),
            clients::disabled_at.eq(client.disabled_at.map(Timestamp::as_micros)),
            clients::not_before.eq(client.not_before.as_micros()),
            clients::status_position.eq(client.status_position),
            clients::registration_digest.eq(client.registration.as_ref().map(|digest| digest.as_bytes().as_slice())),
            clients::unused_since.eq(client.unused_since.map(Timestamp::as_micros)),
        ))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)
}

/// At whose word a client is registered otherwise.
pub enum Word {
    /// Its own: the digest of what lets it change that (RFC 7592 §2). A disabled client has no say.
    Own(Digest),
    /// An operator's.
    Operators,
}

/// The client as it is now, if it is there and for whoever says so to change; nobody else changes it until this transaction
/// ends. One that an operator holds is no longer among those that leave because nobody uses them.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn hold(tx: &mut Write<'_>, id: &ClientId, word: &Word) -> Result<Option<Client>, Error> {
    let as_it_is = clients::not_before.eq(clients::not_before);
    let held = match word {
        Word::Own(registration) => {
            let own = clients::table
                .find(id.as_str())
                .filter(clients::registration_digest.eq(registration.as_bytes().as_slice()))
                .filter(clients::disabled_at.is_null());
            diesel::update(own).set(as_it_is).execute(tx.conn())?
        }
        // What an operator has in hand stays, though nobody has allowed it anything.
        Word::Operators => diesel::update(clients::table.find(id.as_str()))
            .set((as_it_is, clients::unused_since.eq(None::<i64>)))
            .execute(tx.conn())?,
    };
    if held == 1 { find(tx, id) } else { Ok(None) }
}

/// Registers a client with other metadata.
///
/// # Errors
/// The store's own reasons.
pub fn replace_metadata(tx: &mut Write<'_>, id: &ClientId, metadata: &ClientMetadata) -> Result<(), Error> {
    let metadata = serde_json::to_string(&metadata.to_json()).map_err(|_| Error::Corrupt { table: TABLE })?;
    diesel::update(clients::table.find(id.as_str())).set(clients::metadata.eq(metadata)).execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)
}

/// Disables a client, which ends for good whatever it holds now: verifiers are told at once, its grants end one after the
/// other. `true` when there is such a client.
///
/// # Errors
/// The store's own reasons.
pub fn disable(tx: &mut Write<'_>, id: &ClientId, now: Timestamp, random: Random) -> Result<bool, Error> {
    let over: Option<i64> =
        clients::table.find(id.as_str()).select(clients::status_position).get_result(tx.conn()).optional()?;
    let Some(over) = over else { return Ok(false) };
    let position = status_positions::find_free(tx, random)?;
    diesel::update(clients::table.find(id.as_str()))
        .set((
            clients::disabled_at.eq(now.as_micros()),
            clients::not_before.eq(now.as_micros()),
            clients::status_position.eq(position),
        ))
        .execute(tx.conn())?;
    outbox::insert(tx, random, &Task::EndGrantsOfClient(id.to_string(), now))?;
    epochs::advance(tx, Topic::Clients)?;
    // Last, since whoever else ends something waits from here to the commit.
    let names = vec![(CutKind::ClientId, id.to_string())];
    status_changes::end(tx, &Over { positions: vec![over], names }, now)?;
    Ok(true)
}

/// Gives a client another position for itself, and ends everything that has the one before.
///
/// # Errors
/// [`Error::Corrupt`] when there is no such client; the store's own reasons.
pub fn renew_position(tx: &mut Write<'_>, id: &ClientId, now: Timestamp, random: Random) -> Result<(), Error> {
    // Whoever else renews it waits here: each position is over once, and none is left behind.
    let over: i64 = diesel::update(clients::table.find(id.as_str()))
        .set(clients::status_position.eq(clients::status_position))
        .returning(clients::status_position)
        .get_result(tx.conn())?;
    let position = status_positions::find_free(tx, random)?;
    diesel::update(clients::table.find(id.as_str())).set(clients::status_position.eq(position)).execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)?;
    status_changes::end(tx, &Over { positions: vec![over], names: Vec::new() }, now)
}

/// Enables a client again, which then stays, used or not. `true` when there is such a client.
///
/// # Errors
/// The store's own reasons.
pub fn enable(tx: &mut Write<'_>, id: &ClientId) -> Result<bool, Error> {
    let changed = diesel::update(clients::table.find(id.as_str()))
        .set((clients::disabled_at.eq(None::<i64>), clients::unused_since.eq(None::<i64>)))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)?;
    Ok(changed == 1)
}

/// Adds a secret.
///
/// # Errors
/// [`Error::Conflict`] when there is no such client.
pub fn insert_secret(tx: &mut Write<'_>, client_id: &ClientId, secret: &ClientSecret) -> Result<(), Error> {
    diesel::insert_into(client_secrets::table)
        .values((
            client_secrets::id.eq(secret.id.as_bytes()),
            client_secrets::client_id.eq(client_id.as_str()),
            client_secrets::digest.eq(secret.digest.as_bytes().as_slice()),
            client_secrets::key_version.eq(i32::from(secret.key_version)),
            client_secrets::created_at.eq(secret.created_at.as_micros()),
        ))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)
}

/// Removes every secret of a client.
///
/// # Errors
/// The store's own reasons.
pub fn remove_secrets(tx: &mut Write<'_>, client_id: &ClientId) -> Result<(), Error> {
    diesel::delete(client_secrets::table.filter(client_secrets::client_id.eq(client_id.as_str())))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)
}

/// Removes one secret. `true` when it was there.
///
/// # Errors
/// The store's own reasons.
pub fn remove_secret(tx: &mut Write<'_>, id: ClientSecretId) -> Result<bool, Error> {
    let removed = diesel::delete(client_secrets::table.find(id.as_bytes())).execute(tx.conn())?;
    epochs::advance(tx, Topic::Clients)?;
    Ok(removed == 1)
}

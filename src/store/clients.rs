//! Rows of clients and their secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_verifier::feed::CutKind;
use diesel::prelude::*;

use super::epochs::{self, Topic};
use super::outbox::{self, Task};
use super::prepared::{Bind, Statement};
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
    /// If it registered itself and nobody has allowed it anything yet: when somebody last began to, or it was registered.
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

/// The digest of nothing that anybody could show: a client that deleted itself is nobody's to change.
const NOBODYS: [u8; 32] = [0; 32];

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

/// How many clients have registered themselves. Nobody else changes that until this transaction ends.
///
/// # Errors
/// The store's own reasons.
pub fn count_registered(tx: &mut Write<'_>) -> Result<i64, Error> {
    epochs::lock(tx, Topic::Clients)?;
    Ok(clients::table
        .filter(clients::registration_digest.is_not_null())
        .filter(clients::disabled_at.is_null())
        .count()
        .get_result(tx.conn())?)
}

/// How long after its registration a client is left for those who begin to use it: it takes nobody's word to begin, so that
/// whoever wants to could keep it for ever.
const POSTPONED_FOR: Duration = Duration::from_hours(7 * 24);

const POSTPONE: &str =
    "UPDATE clients SET unused_since = ? WHERE id = ? AND unused_since IS NOT NULL AND created_at > ?";

/// Notes that somebody has begun to use a client that nobody has allowed anything yet: it is left until that has come to
/// something, in the first week after its registration.
///
/// # Errors
/// The store's own reasons.
pub fn postpone(tx: &mut Write<'_>, id: &ClientId, now: Timestamp) -> Result<(), Error> {
    // CWE-770: nobody need log in to begin, and that keeps nothing for ever.
    let made_after = now.minus(POSTPONED_FOR).as_micros();
    let binds = vec![Bind::Big(now.as_micros()), Bind::Text(id.as_str()), Bind::Big(made_after)];
    Statement::new(POSTPONE, binds).execute(tx.conn())?;
    Ok(())
}

const KEEP: &str = "UPDATE clients SET unused_since = NULL WHERE id = ? AND unused_since IS NOT NULL";

/// Notes that a client is used: somebody has allowed it something, and it stays.
///
/// # Errors
/// The store's own reasons.
pub fn keep(tx: &mut Write<'_>, id: &ClientId) -> Result<(), Error> {
    Statement::new(KEEP, vec![Bind::Text(id.as_str())]).execute(tx.conn())?;
    Ok(())
}

/// Whether a client registered itself and nobody has allowed it anything yet.
///
/// # Errors
/// The store's own reasons.
pub(super) fn is_unused(tx: &mut Read<'_>, id: &str) -> Result<bool, Error> {
    let since: Option<Option<i64>> =
        clients::table.find(id).select(clients::unused_since).get_result(tx.conn()).optional()?;
    Ok(since.flatten().is_some())
}

const HOLD_UNUSED: &str = "UPDATE clients SET unused_since = unused_since \
    WHERE id = ? AND unused_since < ? AND unused_since < database_now()";
// A server from before the column notes nothing there; what somebody allowed and took back leaves a grant for a while.
const KEEP_USED: &str = "UPDATE clients SET unused_since = NULL WHERE id = ? \
    AND (EXISTS (SELECT 1 FROM consents WHERE client_id = ?) OR EXISTS (SELECT 1 FROM grants WHERE client_id = ?))";
const REMOVE_SECRETS: &str = "DELETE FROM client_secrets WHERE client_id = ?";
// CWE-770: whoever goes on pushing keeps neither its client nor those that leave with it.
const REMOVE_PUSHED: &str = "DELETE FROM pushed_requests WHERE client_id = ?";
const REMOVE: &str = "DELETE FROM clients WHERE id = ?";

/// Removes at most `limit` clients that registered themselves and that nobody has used or begun to since before `before`; says
/// how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_unused(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let due: Vec<String> = clients::table
        .filter(clients::unused_since.lt(before.as_micros()))
        .order(clients::unused_since)
        .limit(limit)
        .select(clients::id)
        .load(tx.conn())?;
    let mut removed = 0;
    for id in due {
        let held = vec![Bind::Text(&id), Bind::Big(before.as_micros())];
        // Whoever allows it something, or begins to, has its row until then, and it stays; or finds it gone.
        let is_unused = Statement::new(HOLD_UNUSED, held).execute(tx.conn())? == 1;
        let of_it = vec![Bind::Text(&id), Bind::Text(&id), Bind::Text(&id)];
        if is_unused && Statement::new(KEEP_USED, of_it).execute(tx.conn())? == 0 {
            Statement::new(REMOVE_SECRETS, vec![Bind::Text(&id)]).execute(tx.conn())?;
            Statement::new(REMOVE_PUSHED, vec![Bind::Text(&id)]).execute(tx.conn())?;
            removed += Statement::new(REMOVE, vec![Bind::Text(&id)]).execute(tx.conn())?;
        }
    }
    if removed > 0 {
        epochs::advance(tx, Topic::Clients)?;
    }
    Ok(removed)
}

/// At whose word a client is registered otherwise.
pub enum Word {
    /// Its own: the digest of what lets it change that (RFC 7592 §2). A disabled client has no say.
    Own(Digest),
    /// An operator's.
    Operators,
}

/// The client as it is now, if it is there and for whoever says so to change; nobody else changes it until this transaction
/// ends.
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
        Word::Operators => diesel::update(clients::table.find(id.as_str())).set(as_it_is).execute(tx.conn())?,
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

/// Takes from a client what lets it change itself, which works once; `false` otherwise.
///
/// # Errors
/// The store's own reasons.
pub fn give_up_registration(tx: &mut Write<'_>, id: &ClientId, registration: &Digest) -> Result<bool, Error> {
    let own = clients::table
        .find(id.as_str())
        .filter(clients::registration_digest.eq(registration.as_bytes().as_slice()))
        .filter(clients::disabled_at.is_null());
    let changed = diesel::update(own).set(clients::registration_digest.eq(NOBODYS.as_slice())).execute(tx.conn())?;
    Ok(changed == 1)
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

/// Enables a client again. `true` when there is such a client.
///
/// # Errors
/// The store's own reasons.
pub fn enable(tx: &mut Write<'_>, id: &ClientId) -> Result<bool, Error> {
    let changed = diesel::update(clients::table.find(id.as_str()))
        .set(clients::disabled_at.eq(None::<i64>))
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

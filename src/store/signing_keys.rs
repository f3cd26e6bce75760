//! Rows of signing keys. The private half is stored encrypted; this module never sees it otherwise. Every instant in them
//! is the database's, so that all instances see the same one.

use std::time::Duration;

use diesel::dsl::max;
use diesel::prelude::*;

use super::epochs::{self, Topic};
use super::schema::signing_keys;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::protocol::jose::OwnAlgorithm;

const TABLE: &str = "signing_keys";

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not yet signing.
    Standby,
    /// Published and signing.
    Active,
    /// Published, no longer signing.
    Retiring,
    /// A record.
    Retired,
    /// A record of a key that somebody else may have.
    Compromised,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Standby, Self::Active, Self::Retiring, Self::Retired, Self::Compromised];
    /// The states of keys in the JWKS.
    pub const PUBLISHED: [Self; 3] = [Self::Standby, Self::Active, Self::Retiring];

    /// The spelling in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a key in this state is in the JWKS.
    pub fn is_published(self) -> bool {
        Self::PUBLISHED.contains(&self)
    }
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Made here.
    Generated,
    /// Made elsewhere, brought here with its private half.
    Imported,
    /// Another issuer's, without its private half: tokens from before a move live out their time.
    VerifyOnly,
}

impl KeyOrigin {
    const ALL: [Self; 3] = [Self::Generated, Self::Imported, Self::VerifyOnly];

    /// The spelling in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
            Self::VerifyOnly => "verify_only",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// RFC 7638 thumbprint; of a verify-only key, the name that its issuer gave it.
    pub kid: String,
    /// Counts keys from 1; two instances that make a key at once make the same position, and one of them fails.
    pub position: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// What it signs by, for ever (RFC 8725 §3.1): whoever verifies has it by this in his cache.
    pub algorithm: OwnAlgorithm,
    /// RSA modulus, big endian.
    pub modulus: Vec<u8>,
    /// RSA public exponent, big endian.
    pub exponent: Vec<u8>,
    /// The private half, encrypted; of a verify-only key, proof that we wrote the row. Gone with the key's end.
    pub wrapped: Option<Vec<u8>>,
    /// The version of the master key that it is encrypted under.
    pub key_version: u8,
    /// Since when it is in the JWKS.
    pub published_at: Timestamp,
    /// Since when it signs or has signed.
    pub activated_at: Option<Timestamp>,
    /// Since when it signs no longer.
    pub retiring_at: Option<Timestamp>,
    /// Since when it is out of the JWKS.
    pub ended_at: Option<Timestamp>,
    /// The longest life of any token that it may have signed. Raised before such a token is signed.
    pub longest_life: Duration,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = signing_keys)]
struct Row {
    kid: String,
    position: i32,
    state: String,
    origin: String,
    algorithm: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    wrapped: Option<Vec<u8>>,
    key_version: i32,
    published_at: i64,
    activated_at: Option<i64>,
    retiring_at: Option<i64>,
    ended_at: Option<i64>,
    longest_life: i64,
}

impl TryFrom<Row> for StoredKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let corrupt = Error::Corrupt { table: TABLE };
        let read = |row: Row| {
            Some(Self {
                kid: row.kid,
                position: u32::try_from(row.position).ok()?,
                state: KeyState::parse(&row.state)?,
                origin: KeyOrigin::parse(&row.origin)?,
                algorithm: OwnAlgorithm::ALL.into_iter().find(|one| one.as_str() == row.algorithm)?,
                modulus: row.modulus,
                exponent: row.exponent,
                wrapped: row.wrapped,
                key_version: u8::try_from(row.key_version).ok()?,
                published_at: Timestamp::from_micros(row.published_at),
                activated_at: row.activated_at.map(Timestamp::from_micros),
                retiring_at: row.retiring_at.map(Timestamp::from_micros),
                ended_at: row.ended_at.map(Timestamp::from_micros),
                longest_life: Duration::from_secs(u64::try_from(row.longest_life).ok()?),
            })
        };
        read(row).ok_or(corrupt)
    }
}

impl StoredKey {
    fn to_row(&self) -> Result<Row, Error> {
        let corrupt = |_| Error::Corrupt { table: TABLE };
        Ok(Row {
            kid: self.kid.clone(),
            position: i32::try_from(self.position).map_err(corrupt)?,
            state: self.state.as_str().to_owned(),
            origin: self.origin.as_str().to_owned(),
            algorithm: self.algorithm.as_str().to_owned(),
            modulus: self.modulus.clone(),
            exponent: self.exponent.clone(),
            wrapped: self.wrapped.clone(),
            key_version: i32::from(self.key_version),
            published_at: self.published_at.as_micros(),
            activated_at: self.activated_at.map(Timestamp::as_micros),
            retiring_at: self.retiring_at.map(Timestamp::as_micros),
            ended_at: self.ended_at.map(Timestamp::as_micros),
            longest_life: i64::try_from(self.longest_life.as_secs()).map_err(corrupt)?,
        })
    }
}

/// Every key in the JWKS, the oldest first.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read: a JWKS must not silently lack a key.
pub fn load_published(tx: &mut Read<'_>) -> Result<Vec<StoredKey>, Error> {
    let loaded = load_readable(tx, &KeyState::PUBLISHED)?;
    if loaded.unreadable.is_empty() { Ok(loaded.keys) } else { Err(Error::Corrupt { table: TABLE }) }
}

/// Keys as far as they can be read.
#[derive(Debug)]
pub struct Loaded {
    /// Those that can, the oldest first.
    pub keys: Vec<StoredKey>,
    /// The names and states of the others.
    pub unreadable: Vec<(String, KeyState)>,
}

/// The keys in these states, for those who must be able to do without one that cannot be read.
///
/// # Errors
/// The store's own reasons.
pub fn load_readable(tx: &mut Read<'_>, states: &[KeyState]) -> Result<Loaded, Error> {
    let rows: Vec<Row> = signing_keys::table
        .filter(signing_keys::state.eq_any(states.iter().map(|state| state.as_str())))
        .order(signing_keys::position)
        .select(Row::as_select())
        .load(tx.conn())?;
    let mut loaded = Loaded { keys: Vec::new(), unreadable: Vec::new() };
    for row in rows {
        let name = (row.kid.clone(), KeyState::parse(&row.state));
        match (StoredKey::try_from(row), name) {
            (Ok(key), _) => loaded.keys.push(key),
            (Err(_), (kid, Some(state))) => loaded.unreadable.push((kid, state)),
            (Err(_), (_, None)) => {}
        }
    }
    Ok(loaded)
}

/// The key of a name, whatever its state.
///
/// # Errors
/// [`Error::Corrupt`]; the store's own reasons.
pub fn find(tx: &mut Read<'_>, kid: &str) -> Result<Option<StoredKey>, Error> {
    let row: Option<Row> =
        signing_keys::table.filter(signing_keys::kid.eq(kid)).select(Row::as_select()).first(tx.conn()).optional()?;
    row.map(StoredKey::try_from).transpose()
}

/// The name of the key that is the same one or has this name, if there is or ever was one.
///
/// # Errors
/// The store's own reasons.
pub fn known_as(tx: &mut Read<'_>, kid: &str, modulus: &[u8]) -> Result<Option<String>, Error> {
    let same = signing_keys::kid.eq(kid).or(signing_keys::modulus.eq(modulus));
    Ok(signing_keys::table.filter(same).select(signing_keys::kid).first(tx.conn()).optional()?)
}

/// The names of all keys that there are or were, with their states as far as these can be read.
///
/// # Errors
/// The store's own reasons.
pub fn load_states(tx: &mut Read<'_>) -> Result<Vec<(String, Option<KeyState>)>, Error> {
    let rows: Vec<(String, String)> =
        signing_keys::table.select((signing_keys::kid, signing_keys::state)).load(tx.conn())?;
    Ok(rows.into_iter().map(|(kid, state)| (kid, KeyState::parse(&state))).collect())
}

/// The position that comes next; 1 for the first key.
///
/// # Errors
/// The store's own reasons.
pub fn next_position(tx: &mut Read<'_>) -> Result<u32, Error> {
    let last: Option<i32> = signing_keys::table.select(max(signing_keys::position)).first(tx.conn())?;
    u32::try_from(last.unwrap_or(0).saturating_add(1)).map_err(|_| Error::Corrupt { table: TABLE })
}

/// Adds a key.
///
/// # Errors
/// [`Error::Conflict`] when another instance has added one at that position, there is an active one already, or there
/// ever was one of that name.
pub fn insert(tx: &mut Write<'_>, key: &StoredKey) -> Result<(), Error> {
    diesel::insert_into(signing_keys::table).values(key.to_row()?).execute(tx.conn())?;
    epochs::advance(tx, Topic::SigningKeys)
}

/// Writes a key's state, instants and private half, if it is still in the state `from`. `false` when it is not; nothing is
/// changed then.
///
/// # Errors
/// [`Error::Conflict`] when it would be a second active one.
pub fn change(tx: &mut Write<'_>, from: KeyState, key: &StoredKey) -> Result<bool, Error> {
    let row = key.to_row()?;
    let changed = diesel::update(
        signing_keys::table.filter(signing_keys::kid.eq(row.kid)).filter(signing_keys::state.eq(from.as_str())),
    )
    .set((
        signing_keys::state.eq(row.state),
        signing_keys::wrapped.eq(row.wrapped),
        signing_keys::key_version.eq(row.key_version),
        signing_keys::activated_at.eq(row.activated_at),
        signing_keys::retiring_at.eq(row.retiring_at),
        signing_keys::ended_at.eq(row.ended_at),
    ))
    .execute(tx.conn())?;
    epochs::advance(tx, Topic::SigningKeys)?;
    Ok(changed == 1)
}

/// Takes a key out of the JWKS for good: its private half goes, and whatever else is in its row stays as it is. `false` when it
/// is not in the JWKS.
///
/// # Errors
/// The store's own reasons.
pub fn end(tx: &mut Write<'_>, kid: &str, state: KeyState, at: Timestamp) -> Result<bool, Error> {
    let published = signing_keys::state.eq_any(KeyState::PUBLISHED.map(KeyState::as_str));
    let ended = diesel::update(signing_keys::table.filter(signing_keys::kid.eq(kid)).filter(published))
        .set((
            signing_keys::state.eq(state.as_str()),
            signing_keys::wrapped.eq(None::<Vec<u8>>),
            signing_keys::ended_at.eq(Some(at.as_micros())),
        ))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::SigningKeys)?;
    Ok(ended == 1)
}

/// Notes that the key signs tokens of this life. `false` when it is not active any more.
///
/// # Errors
/// The store's own reasons.
pub fn raise_longest_life(tx: &mut Write<'_>, kid: &str, life: Duration) -> Result<bool, Error> {
    let seconds = i64::try_from(life.as_secs()).map_err(|_| Error::Corrupt { table: TABLE })?;
    let active =
        signing_keys::table.filter(signing_keys::kid.eq(kid)).filter(signing_keys::state.eq(KeyState::Active.as_str()));
    diesel::update(active.filter(signing_keys::longest_life.lt(seconds)))
        .set(signing_keys::longest_life.eq(seconds))
        .execute(tx.conn())?;
    let noted: Option<i64> = active.select(signing_keys::longest_life).first(tx.conn()).optional()?;
    Ok(noted.is_some_and(|noted| noted >= seconds))
}

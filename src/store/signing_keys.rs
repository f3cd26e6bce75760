//! Rows of signing keys. The private half is stored encrypted; this module never sees it otherwise.

use diesel::prelude::*;

use super::epochs::{self, Topic};
use super::schema::signing_keys;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

const TABLE: &str = "signing_keys";

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, not yet signing.
    Next,
    /// Published and signing.
    Active,
    /// Published, no longer signing.
    Retiring,
    /// A record.
    Retired,
}

impl KeyState {
    /// The spelling in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retiring, Self::Retired].into_iter().find(|state| state.as_str() == text)
    }
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// Counts keys from 1; two instances that make a key at once make the same position, and one of them fails.
    pub position: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// RSA modulus, big endian.
    pub modulus: Vec<u8>,
    /// RSA public exponent, big endian.
    pub exponent: Vec<u8>,
    /// The encrypted private half; gone once retired.
    pub wrapped: Option<Vec<u8>>,
    /// The version of the master key that it is encrypted under.
    pub key_version: u8,
    /// Since when it is in the JWKS.
    pub published_at: Timestamp,
    /// Since when it signs or has signed.
    pub activated_at: Option<Timestamp>,
}

type Row = (String, i32, String, Vec<u8>, Vec<u8>, Option<Vec<u8>>, i32, i64, Option<i64>);

fn parse(
    (kid, position, state, modulus, exponent, wrapped, key_version, published_at, activated_at): Row,
) -> Option<StoredKey> {
    Some(StoredKey {
        kid,
        position: u32::try_from(position).ok()?,
        state: KeyState::parse(&state)?,
        modulus,
        exponent,
        wrapped,
        key_version: u8::try_from(key_version).ok()?,
        published_at: Timestamp::from_micros(published_at),
        activated_at: activated_at.map(Timestamp::from_micros),
    })
}

/// Every key that is not retired, the oldest first.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read: a JWKS must not silently lack a key.
pub fn load_published(tx: &mut Read<'_>) -> Result<Vec<StoredKey>, Error> {
    let rows: Vec<Row> = signing_keys::table
        .filter(signing_keys::state.ne(KeyState::Retired.as_str()))
        .order(signing_keys::position)
        .select((
            signing_keys::kid,
            signing_keys::position,
            signing_keys::state,
            signing_keys::modulus,
            signing_keys::exponent,
            signing_keys::wrapped,
            signing_keys::key_version,
            signing_keys::published_at,
            signing_keys::activated_at,
        ))
        .load(tx.conn())?;
    rows.into_iter().map(|row| parse(row).ok_or(Error::Corrupt { table: TABLE })).collect()
}

/// Adds a key.
///
/// # Errors
/// [`Error::Conflict`] when another instance has added one at that position or in that state.
pub fn insert(tx: &mut Write<'_>, key: &StoredKey) -> Result<(), Error> {
    let corrupt = |_| Error::Corrupt { table: TABLE };
    diesel::insert_into(signing_keys::table)
        .values((
            signing_keys::kid.eq(&key.kid),
            signing_keys::position.eq(i32::try_from(key.position).map_err(corrupt)?),
            signing_keys::state.eq(key.state.as_str()),
            signing_keys::modulus.eq(&key.modulus),
            signing_keys::exponent.eq(&key.exponent),
            signing_keys::wrapped.eq(key.wrapped.as_ref()),
            signing_keys::key_version.eq(i32::from(key.key_version)),
            signing_keys::published_at.eq(key.published_at.as_micros()),
            signing_keys::activated_at.eq(key.activated_at.map(Timestamp::as_micros)),
        ))
        .execute(tx.conn())?;
    epochs::advance(tx, Topic::SigningKeys)
}

//! Counters that move when something kept in memory has changed, so that every instance notices within a second.

use diesel::dsl::case_when;
use diesel::prelude::*;

use super::dialect::database_now;
use super::schema::epochs;
use super::{Error, Read, Write};

/// What an epoch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Clients and their secrets.
    Clients,
    /// Signing keys.
    SigningKeys,
}

impl Topic {
    const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::SigningKeys => "signing_keys",
        }
    }
}

/// The epochs as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Of [`Topic::Clients`].
    pub clients: i64,
    /// Of [`Topic::SigningKeys`].
    pub signing_keys: i64,
}

/// Reads all epochs in one statement.
///
/// # Errors
/// The store's own reasons.
pub fn load(tx: &mut Read<'_>) -> Result<Epochs, Error> {
    let rows: Vec<(String, i64)> = epochs::table.select((epochs::name, epochs::value)).load(tx.conn())?;
    let value = |topic: Topic| rows.iter().find(|(name, _)| name == topic.name()).map_or(0, |(_, value)| *value);
    Ok(Epochs { clients: value(Topic::Clients), signing_keys: value(Topic::SigningKeys) })
}

/// Has this transaction alone decide about what the epoch is about, until it ends: whatever it reads from now on is current.
///
/// # Errors
/// The store's own reasons.
pub fn lock(tx: &mut Write<'_>, topic: Topic) -> Result<(), Error> {
    diesel::update(epochs::table.filter(epochs::name.eq(topic.name())))
        .set(epochs::value.eq(epochs::value))
        .execute(tx.conn())?;
    Ok(())
}

/// Moves an epoch on, in the transaction that made the change: to the time that it is, so that a database that was put back to
/// an earlier state never comes to a value that somebody has seen already.
///
/// # Errors
/// The store's own reasons.
pub fn advance(tx: &mut Write<'_>, topic: Topic) -> Result<(), Error> {
    let next = case_when(epochs::value.ne(database_now()), database_now()).otherwise(epochs::value + 1);
    diesel::update(epochs::table.filter(epochs::name.eq(topic.name())))
        .set(epochs::value.eq(next))
        .execute(tx.conn())?;
    Ok(())
}

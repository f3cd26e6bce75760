//! How far the verifiers elsewhere have come in what is over, as they say themselves.

use diesel::prelude::*;

use super::dialect::database_now;
use super::prepared::{Bind, Statement};
use super::schema::status_receipts;
use super::{Error, Read, Write, status_changes};
use crate::clock::Timestamp;

/// A verifier and what it said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its own random name.
    pub verifier: [u8; 16],
    /// The client that it authenticated as.
    pub client_id: String,
    /// What its operator calls it.
    pub name: String,
    /// The last change that it knows of.
    pub seq: i64,
    /// When it said so, by the database's clock.
    pub at: Timestamp,
}

/// How many verifiers one client may be.
const MOST_OF_A_CLIENT: i64 = 1000;

const PUT: &str = "INSERT INTO status_receipts (verifier, client_id, name, seq, at) \
    VALUES (?, ?, ?, ?, database_now()) ON CONFLICT (verifier) DO UPDATE \
    SET name = excluded.name, seq = excluded.seq, at = excluded.at WHERE status_receipts.client_id = excluded.client_id";

/// Remembers what a verifier says; `false` when its name is another client's, when the client is too many already, or when
/// it says what cannot be.
///
/// # Errors
/// The store's own reasons.
pub fn put(
    tx: &mut Write<'_>,
    (verifier, client_id): (&[u8; 16], &str),
    (name, seq): (&str, i64),
) -> Result<bool, Error> {
    // What nobody can have come to says nothing.
    if seq > status_changes::head(tx)?.seq {
        return Ok(false);
    }
    let known: Option<String> = status_receipts::table
        .find(verifier.as_slice())
        .select(status_receipts::client_id)
        .get_result(tx.conn())
        .optional()?;
    let of_client = status_receipts::table.filter(status_receipts::client_id.eq(client_id));
    if known.is_none() && of_client.count().get_result::<i64>(tx.conn())? >= MOST_OF_A_CLIENT {
        return Ok(false);
    }
    let binds = vec![Bind::Bytes(verifier), Bind::Text(client_id), Bind::Text(name), Bind::Big(seq)];
    Ok(Statement::new(PUT, binds).execute(tx.conn())? == 1)
}

/// Forgets a verifier that ends in good order; `false` when it is another client's, or unknown.
///
/// # Errors
/// The store's own reasons.
pub fn remove(tx: &mut Write<'_>, verifier: &[u8; 16], client_id: &str) -> Result<bool, Error> {
    let own = status_receipts::table.find(verifier.as_slice()).filter(status_receipts::client_id.eq(client_id));
    Ok(diesel::delete(own).execute(tx.conn())? == 1)
}

/// All verifiers.
///
/// # Errors
/// The store's own reasons.
pub fn list(tx: &mut Read<'_>) -> Result<Vec<Receipt>, Error> {
    let rows: Vec<(Vec<u8>, String, String, i64, i64)> =
        status_receipts::table.order((status_receipts::name, status_receipts::verifier)).load(tx.conn())?;
    let parse = |(verifier, client_id, name, seq, at): (Vec<u8>, String, String, i64, i64)| {
        let verifier = verifier.try_into().map_err(|_| Error::Corrupt { table: "status_receipts" })?;
        Ok(Receipt { verifier, client_id, name, seq, at: Timestamp::from_micros(at) })
    };
    rows.into_iter().map(parse).collect()
}

/// Forgets verifiers that said nothing since `before`, at most `limit`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn forget(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let silent: Vec<Vec<u8>> = status_receipts::table
        .filter(status_receipts::at.lt(before.as_micros()).and(status_receipts::at.lt(database_now())))
        .select(status_receipts::verifier)
        .limit(limit)
        .load(tx.conn())?;
    let of_silent = status_receipts::table.filter(status_receipts::verifier.eq_any(silent));
    Ok(diesel::delete(of_silent.filter(status_receipts::at.lt(before.as_micros()))).execute(tx.conn())?)
}

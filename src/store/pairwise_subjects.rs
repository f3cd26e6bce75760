//! What accounts are called where clients must not know that two of them know the same person (OpenID Connect Core §8.1): random,
//! so that nothing can be worked out of it, and kept, so that it stays.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::pairwise_subjects;
use super::{Error, Read, Write};
use crate::id::AccountId;

/// What an account is called in a sector, if it was called anything there yet.
///
/// # Errors
/// The store's own reasons.
pub fn find(tx: &mut Read<'_>, id: AccountId, sector: &str) -> Result<Option<String>, Error> {
    let of = pairwise_subjects::table.filter(pairwise_subjects::account_id.eq(id.as_bytes()));
    let of = of.filter(pairwise_subjects::sector.eq(sector)).select(pairwise_subjects::subject);
    Ok(of.get_result(tx.conn()).optional()?)
}

const INSERT: &str =
    "INSERT INTO pairwise_subjects (account_id, sector, subject) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";

/// Calls an account `subject` in a sector, unless it is called something there; says what it is called now.
///
/// # Errors
/// The store's own reasons.
pub fn put(tx: &mut Write<'_>, id: AccountId, sector: &str, subject: &str) -> Result<String, Error> {
    let binds = vec![Bind::Bytes(id.as_bytes()), Bind::Text(sector), Bind::Text(subject)];
    Statement::new(INSERT, binds).execute(tx.conn())?;
    find(tx, id, sector)?.ok_or(Error::Corrupt { table: "pairwise_subjects" })
}

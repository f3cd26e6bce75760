//! Cut-offs: what is over though it has no bit, or more than one. Everything of an account, a client or a key up to an
//! instant, or one token.

use countersign_verifier::feed::{Cut, CutKind};
use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::cutoffs;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

/// What a cut-off may be about.
const KINDS: [CutKind; 5] = [CutKind::Sub, CutKind::ClientId, CutKind::Sid, CutKind::Jti, CutKind::Kid];

const PUT: &str = "INSERT INTO cutoffs (kind, value, not_before, until) VALUES (?, ?, ?, ?) \
    ON CONFLICT (kind, value) DO UPDATE SET not_before = excluded.not_before, until = excluded.until";

/// Puts a cut-off in force. It takes the place of the one before and reaches as far at least, since clocks of machines
/// differ: what is in force now comes back, and the one before if it was another.
pub(super) fn put(tx: &mut Write<'_>, cutoff: Cut) -> Result<(Cut, Option<Cut>), Error> {
    let before = find(tx, &cutoff)?;
    let cutoff = before.iter().fold(cutoff, |cutoff, before| Cut {
        nbf: cutoff.nbf.max(before.nbf),
        until: if cutoff.until == 0 { 0 } else { cutoff.until.max(before.until) },
        ..cutoff
    });
    let binds =
        vec![Bind::Text(cutoff.k.name()), Bind::Text(&cutoff.h), Bind::Big(cutoff.nbf), Bind::Big(cutoff.until)];
    Statement::new(PUT, binds).execute(tx.conn())?;
    let before = before.filter(|before| *before != cutoff);
    Ok((cutoff, before))
}

fn find(tx: &mut Read<'_>, like: &Cut) -> Result<Option<Cut>, Error> {
    let row: Option<(i64, i64)> = cutoffs::table
        .find((like.k.name(), &like.h))
        .select((cutoffs::not_before, cutoffs::until))
        .get_result(tx.conn())
        .optional()?;
    Ok(row.map(|(nbf, until)| Cut { nbf, until, ..like.clone() }))
}

/// All that are in force.
pub(super) fn load(tx: &mut Read<'_>) -> Result<Vec<Cut>, Error> {
    let rows: Vec<(String, String, i64, i64)> = cutoffs::table.load(tx.conn())?;
    let parse = |(kind, h, nbf, until): (String, String, i64, i64)| {
        let k = KINDS.into_iter().find(|known| known.name() == kind).ok_or(Error::Corrupt { table: "cutoffs" })?;
        Ok(Cut { k, h, nbf, until })
    };
    rows.into_iter().map(parse).collect()
}

/// How many single tokens are cut off.
///
/// # Errors
/// The store's own reasons.
pub fn count_tokens(tx: &mut Read<'_>) -> Result<i64, Error> {
    let tokens = cutoffs::table.filter(cutoffs::kind.eq(CutKind::Jti.name()));
    Ok(tokens.count().get_result(tx.conn())?)
}

const REMOVE: &str = "DELETE FROM cutoffs WHERE kind = ? AND value = ? AND not_before = ? \
    AND not_before * 1000000 < database_now() - ?";

/// Removes at most `limit` cut-offs whose instant is longer ago than `reach`, in microseconds, both by `now` and by the
/// database's clock; those came back. One that is for ever stays.
pub(super) fn remove_over(tx: &mut Write<'_>, now: Timestamp, reach: i64, limit: usize) -> Result<Vec<Cut>, Error> {
    let before = now.as_micros().saturating_sub(reach);
    let is_over = |cutoff: &Cut| cutoff.until != 0 && cutoff.nbf.saturating_mul(1_000_000) < before;
    let mut removed = Vec::new();
    for cutoff in load(tx)?.into_iter().filter(is_over).take(limit) {
        let binds = vec![Bind::Text(cutoff.k.name()), Bind::Text(&cutoff.h), Bind::Big(cutoff.nbf), Bind::Big(reach)];
        if Statement::new(REMOVE, binds).execute(tx.conn())? == 1 {
            removed.push(cutoff);
        }
    }
    Ok(removed)
}

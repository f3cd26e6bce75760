//! Grants as they are looked through: of a log-in at a browser.

use diesel::prelude::*;

use super::TABLE;
use crate::id::{GrantId, SessionId};
use crate::protocol::client_credentials::ClientId;
use crate::store::schema::grants;
use crate::store::{Error, Read};

/// The grants that came from a log-in at a browser and were not ended, the oldest first, each with its client.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be read; the store's own reasons.
pub fn of_session(tx: &mut Read<'_>, id: SessionId, limit: i64) -> Result<Vec<(GrantId, ClientId)>, Error> {
    let rows: Vec<(Vec<u8>, String)> = grants::table
        .filter(grants::session_id.eq(id.as_bytes()))
        .filter(grants::ended_at.is_null())
        .order(grants::id)
        .limit(limit)
        .select((grants::id, grants::client_id))
        .load(tx.conn())?;
    let parse =
        |(id, client_id): (Vec<u8>, String)| Some((GrantId::from_slice(&id).ok()?, ClientId::parse(&client_id)?));
    rows.into_iter().map(|row| parse(row).ok_or(Error::Corrupt { table: TABLE })).collect()
}

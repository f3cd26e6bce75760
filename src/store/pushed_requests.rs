//! Rows of authorization requests that clients pushed and that no browser has brought yet.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::pushed_requests;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::protocol::client_credentials::ClientId;
use crate::secret::Digest;

/// A request that was pushed.
pub struct PushedRequest {
    /// The digest of its name.
    pub id: Digest,
    /// The client that pushed it.
    pub client_id: ClientId,
    /// Its parameters, as a form.
    pub parameters: String,
    /// Over then.
    pub expires_at: Timestamp,
}

const INSERT: &str = "INSERT INTO pushed_requests (id_digest, client_id, parameters, expires_at) VALUES (?, ?, ?, ?)";

/// Keeps a request.
///
/// # Errors
/// [`Error::Conflict`] when its client does not exist; the store's own reasons.
pub fn insert(tx: &mut Write<'_>, request: &PushedRequest) -> Result<(), Error> {
    let binds = vec![
        Bind::Bytes(request.id.as_bytes()),
        Bind::Text(request.client_id.as_str()),
        Bind::Text(&request.parameters),
        Bind::Big(request.expires_at.as_micros()),
    ];
    Statement::new(INSERT, binds).execute(tx.conn())?;
    Ok(())
}

/// The request of that name.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn find(tx: &mut Read<'_>, id: &Digest) -> Result<Option<PushedRequest>, Error> {
    let found: Option<(String, String, i64)> = pushed_requests::table
        .find(id.as_bytes().to_vec())
        .select((pushed_requests::client_id, pushed_requests::parameters, pushed_requests::expires_at))
        .get_result(tx.conn())
        .optional()?;
    let Some((client_id, parameters, expires_at)) = found else { return Ok(None) };
    let client_id = ClientId::parse(&client_id).ok_or(Error::Corrupt { table: "pushed_requests" })?;
    Ok(Some(PushedRequest { id: *id, client_id, parameters, expires_at: Timestamp::from_micros(expires_at) }))
}

const CLAIM: &str = "DELETE FROM pushed_requests WHERE id_digest = ?";

/// Takes a request away, which only one can. `false` when somebody else has.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, id: &Digest) -> Result<bool, Error> {
    Ok(Statement::new(CLAIM, vec![Bind::Bytes(id.as_bytes())]).execute(tx.conn())? == 1)
}

const REMOVE_EXPIRED: &str = "DELETE FROM pushed_requests WHERE id_digest IN \
    (SELECT id_digest FROM pushed_requests WHERE expires_at < ? ORDER BY expires_at LIMIT ?)";

/// Removes at most `limit` requests that were over before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! Rows of what waits for a person, an authorization request, a device or the account's own page, each bound to the browser that
//! brought it.

use std::time::Duration;

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::schema::authorize_requests;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::secret::Digest;

/// How long a request waits for a person.
const REQUEST_TTL: Duration = Duration::from_mins(30);
/// Random bytes of a waiting request's name: 128 bits.
pub const REQUEST_ID_BYTES: usize = 16;

/// What waits.
pub enum Waits {
    /// A client's request, by its parameters as a form.
    Client(String),
    /// The account's own page.
    Account,
    /// A device: the digest of its user code.
    Device(Digest),
}

/// A request that waits.
pub struct WaitingRequest {
    /// The digest of its name.
    pub id: Digest,
    /// The digest of what the browser is known by.
    pub browser: Digest,
    /// What it is.
    pub waits: Waits,
    /// The log-in that was made for it, once there is one.
    pub session_id: Option<SessionId>,
    /// When nobody waits for it any more.
    pub expires_at: Timestamp,
}

impl WaitingRequest {
    /// One that begins to wait, under a name of which only the digest is kept.
    pub fn new(name: &str, browser: Digest, waits: Waits, now: Timestamp) -> Self {
        let id = Digest::sha256(name.as_bytes());
        Self { id, browser, waits, session_id: None, expires_at: now.plus(REQUEST_TTL) }
    }
}

/// The account's page by its name in the database.
const ACCOUNT: &str = "account";

const INSERT: &str = "INSERT INTO authorize_requests (id_digest, browser_digest, parameters, expires_at, page, \
    user_code_digest) VALUES (?, ?, ?, ?, ?, ?)";

/// Browser, parameters, session, end, page, device.
type Row = (Vec<u8>, String, Option<Vec<u8>>, i64, Option<String>, Option<Vec<u8>>);

/// Keeps a request.
///
/// # Errors
/// The store's own reasons.
pub fn insert(tx: &mut Write<'_>, request: &WaitingRequest) -> Result<(), Error> {
    let (parameters, page, device) = match &request.waits {
        Waits::Client(parameters) => (parameters.as_str(), None, None),
        Waits::Account => ("", Some(ACCOUNT), None),
        Waits::Device(user_code) => ("", None, Some(user_code.as_bytes().as_slice())),
    };
    let binds = vec![
        Bind::Bytes(request.id.as_bytes()),
        Bind::Bytes(request.browser.as_bytes()),
        Bind::Text(parameters),
        Bind::Big(request.expires_at.as_micros()),
        Bind::MaybeText(page),
        Bind::MaybeBytes(device),
    ];
    Statement::new(INSERT, binds).execute(tx.conn())?;
    Ok(())
}

/// The request of that name.
///
/// # Errors
/// The store's own reasons.
pub fn find(tx: &mut Read<'_>, id: &Digest) -> Result<Option<WaitingRequest>, Error> {
    let found: Option<Row> = authorize_requests::table
        .find(id.as_bytes().to_vec())
        .select((
            authorize_requests::browser_digest,
            authorize_requests::parameters,
            authorize_requests::session_id,
            authorize_requests::expires_at,
            authorize_requests::page,
            authorize_requests::user_code_digest,
        ))
        .get_result(tx.conn())
        .optional()?;
    let Some((browser, parameters, session_id, expires_at, page, device)) = found else { return Ok(None) };
    let corrupt = Error::Corrupt { table: "authorize_requests" };
    let session_id = match session_id {
        Some(bytes) => Some(SessionId::from_slice(&bytes).map_err(|_| corrupt.clone())?),
        None => None,
    };
    let waits = match (page.as_deref(), device) {
        (None, None) => Waits::Client(parameters),
        (None, Some(digest)) => Waits::Device(Digest::from_slice(&digest).ok_or_else(|| corrupt.clone())?),
        (Some(ACCOUNT), None) => Waits::Account,
        (Some(_), _) => return Err(corrupt),
    };
    Ok(Some(WaitingRequest {
        id: *id,
        browser: Digest::from_slice(&browser).ok_or(corrupt)?,
        waits,
        session_id,
        expires_at: Timestamp::from_micros(expires_at),
    }))
}

const NOTE_LOG_IN: &str = "UPDATE authorize_requests SET session_id = ? WHERE id_digest = ?";

/// Notes the log-in that was made for a request.
///
/// # Errors
/// The store's own reasons.
pub fn note_log_in(tx: &mut Write<'_>, id: &Digest, session_id: SessionId) -> Result<(), Error> {
    let binds = vec![Bind::Bytes(session_id.as_bytes()), Bind::Bytes(id.as_bytes())];
    Statement::new(NOTE_LOG_IN, binds).execute(tx.conn())?;
    Ok(())
}

const REWRITE: &str = "UPDATE authorize_requests SET parameters = ? WHERE id_digest = ? AND parameters = ?";

/// Puts other parameters in the place of those that were `seen`. `false` when they are others already.
///
/// # Errors
/// The store's own reasons.
pub fn rewrite(tx: &mut Write<'_>, id: &Digest, (seen, parameters): (&str, &str)) -> Result<bool, Error> {
    let binds = vec![Bind::Text(parameters), Bind::Bytes(id.as_bytes()), Bind::Text(seen)];
    Ok(Statement::new(REWRITE, binds).execute(tx.conn())? == 1)
}

const CLAIM: &str = "DELETE FROM authorize_requests WHERE id_digest = ?";

/// Takes a request away, which only one can. `false` when somebody else has.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, id: &Digest) -> Result<bool, Error> {
    Ok(Statement::new(CLAIM, vec![Bind::Bytes(id.as_bytes())]).execute(tx.conn())? == 1)
}

const REMOVE_EXPIRED: &str = "DELETE FROM authorize_requests WHERE id_digest IN \
    (SELECT id_digest FROM authorize_requests WHERE expires_at < ? ORDER BY expires_at LIMIT ?)";

/// Removes at most `limit` requests that nobody has waited for since `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! Rows of devices that wait for a person (RFC 8628). Each is answered once and buys one grant, by conditional statements.

use diesel::prelude::*;

use super::dialect::{DatabaseTime, database_now};
use super::prepared::{Bind, Statement};
use super::schema::device_codes;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, SessionId};
use crate::protocol::client_credentials::ClientId;
use crate::protocol::resource::{Resource, Resources};
use crate::protocol::scope::Scope;
use crate::secret::Digest;

const TABLE: &str = "device_codes";

/// The random name of a device's row that only the row and the device code itself know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceHandle(pub [u8; 16]);

/// Who let a device in, and how that person had logged in.
#[derive(Clone)]
pub struct Approval {
    /// The log-in at the browser.
    pub session_id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The version of the credentials that the person logged in with.
    pub credentials_version: i64,
    /// How the person logged in (RFC 8176).
    pub amr: Vec<String>,
    /// When.
    pub auth_time: Timestamp,
}

/// What a person said of a device.
#[derive(Clone)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// No.
    Denied,
    /// Yes.
    Allowed(Approval),
}

/// A device that waits, or waited.
#[derive(Clone)]
pub struct DeviceCode {
    /// Its secret name.
    pub handle: DeviceHandle,
    /// The client that it is of.
    pub client_id: ClientId,
    /// What it asks for.
    pub scope: Scope,
    /// The resources that it asks for.
    pub audiences: Resources,
    /// When it began.
    pub created_at: Timestamp,
    /// Over then.
    pub expires_at: Timestamp,
    /// What the person said.
    pub answer: Answer,
    /// What it bought.
    pub grant_id: Option<GrantId>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = device_codes)]
struct Row {
    handle: Vec<u8>,
    client_id: String,
    scope: String,
    audiences: String,
    created_at: i64,
    expires_at: i64,
    decision: Option<String>,
    session_id: Option<Vec<u8>>,
    account_id: Option<Vec<u8>>,
    credentials_version: Option<i64>,
    amr: Option<String>,
    auth_time: Option<i64>,
    grant_id: Option<Vec<u8>>,
}

impl Row {
    fn parse(self) -> Option<DeviceCode> {
        let audiences: Vec<String> = serde_json::from_str(&self.audiences).ok()?;
        let answer = match self.decision.as_deref() {
            None => Answer::None,
            Some("denied") => Answer::Denied,
            Some("allowed") => Answer::Allowed(Approval {
                session_id: SessionId::from_slice(&self.session_id?).ok()?,
                account_id: AccountId::from_slice(&self.account_id?).ok()?,
                credentials_version: self.credentials_version?,
                amr: serde_json::from_str(&self.amr?).ok()?,
                auth_time: Timestamp::from_micros(self.auth_time?),
            }),
            Some(_) => return None,
        };
        let grant_id = match self.grant_id {
            Some(bytes) => Some(GrantId::from_slice(&bytes).ok()?),
            None => None,
        };
        Some(DeviceCode {
            handle: DeviceHandle(self.handle.try_into().ok()?),
            client_id: ClientId::parse(&self.client_id)?,
            scope: Scope::from_stored(&self.scope).ok()?,
            audiences: audiences.iter().map(|text| Resource::parse(text).ok()).collect::<Option<_>>()?,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            answer,
            grant_id,
        })
    }
}

const INSERT: &str = "INSERT INTO device_codes (handle, user_code_digest, client_id, scope, audiences, created_at, expires_at) \
    VALUES (?, ?, ?, ?, ?, ?, ?)";

/// Adds a device that waits under a user code.
///
/// # Errors
/// [`Error::Conflict`] when another one waits under that code, or there is no such client.
pub fn insert(tx: &mut Write<'_>, device: &DeviceCode, user_code: &Digest) -> Result<(), Error> {
    let audiences: Vec<_> = device.audiences.iter().map(Resource::as_str).collect();
    let audiences = serde_json::to_string(&audiences).map_err(|_| Error::Corrupt { table: TABLE })?;
    let scope = device.scope.to_string();
    let binds = vec![
        Bind::Bytes(&device.handle.0),
        Bind::Bytes(user_code.as_bytes()),
        Bind::Text(device.client_id.as_str()),
        Bind::Text(&scope),
        Bind::Text(&audiences),
        Bind::Big(device.created_at.as_micros()),
        Bind::Big(device.expires_at.as_micros()),
    ];
    Statement::new(INSERT, binds).execute(tx.conn())?;
    Ok(())
}

/// The device of that secret name, and when it was read.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn find(tx: &mut Read<'_>, handle: DeviceHandle) -> Result<Option<(DeviceCode, DatabaseTime)>, Error> {
    let found: Option<(Row, i64)> = device_codes::table
        .find(handle.0.to_vec())
        .select((Row::as_select(), database_now()))
        .get_result(tx.conn())
        .optional()?;
    let Some((row, read_at)) = found else { return Ok(None) };
    Ok(Some((row.parse().ok_or(Error::Corrupt { table: TABLE })?, DatabaseTime(read_at))))
}

/// The device that waits under a user code.
///
/// # Errors
/// [`Error::Corrupt`] when its row cannot be read; the store's own reasons.
pub fn find_by_user_code(tx: &mut Read<'_>, user_code: &Digest) -> Result<Option<DeviceCode>, Error> {
    let found: Option<Row> = device_codes::table
        .filter(device_codes::user_code_digest.eq(user_code.as_bytes().to_vec()))
        .select(Row::as_select())
        .get_result(tx.conn())
        .optional()?;
    found.map(|row| row.parse().ok_or(Error::Corrupt { table: TABLE })).transpose()
}

const ALLOW: &str = "UPDATE device_codes \
    SET decision = 'allowed', session_id = ?, account_id = ?, credentials_version = ?, amr = ?, auth_time = ? \
    WHERE handle = ? AND decision IS NULL AND expires_at > ? AND database_now() <= ?";

/// Notes a person's yes. `false` when the device was answered before or waits no more, or when `not_after` has passed.
///
/// # Errors
/// The store's own reasons.
pub fn allow(
    tx: &mut Write<'_>,
    handle: DeviceHandle,
    by: &Approval,
    (now, not_after): (Timestamp, DatabaseTime),
) -> Result<bool, Error> {
    let amr = serde_json::to_string(&by.amr).map_err(|_| Error::Corrupt { table: TABLE })?;
    let binds = vec![
        Bind::Bytes(by.session_id.as_bytes()),
        Bind::Bytes(by.account_id.as_bytes()),
        Bind::Big(by.credentials_version),
        Bind::Text(&amr),
        Bind::Big(by.auth_time.as_micros()),
        Bind::Bytes(&handle.0),
        Bind::Big(now.as_micros()),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(ALLOW, binds).execute(tx.conn())? == 1)
}

const DENY: &str = "UPDATE device_codes SET decision = 'denied' WHERE handle = ? AND decision IS NULL";

/// Notes a person's no. `false` when the device was answered before.
///
/// # Errors
/// The store's own reasons.
pub fn deny(tx: &mut Write<'_>, handle: DeviceHandle) -> Result<bool, Error> {
    Ok(Statement::new(DENY, vec![Bind::Bytes(&handle.0)]).execute(tx.conn())? == 1)
}

const CLAIM: &str =
    "UPDATE device_codes SET grant_id = ? WHERE handle = ? AND decision = 'allowed' AND grant_id IS NULL";

/// Lets a device that was let in buy that grant, which it can once. `false` when it has bought one.
///
/// # Errors
/// The store's own reasons.
pub fn claim(tx: &mut Write<'_>, handle: DeviceHandle, grant_id: GrantId) -> Result<bool, Error> {
    let binds = vec![Bind::Bytes(grant_id.as_bytes()), Bind::Bytes(&handle.0)];
    Ok(Statement::new(CLAIM, binds).execute(tx.conn())? == 1)
}

const REMOVE_EXPIRED: &str = "DELETE FROM device_codes WHERE handle IN \
    (SELECT handle FROM device_codes WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` devices that were over before `before`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

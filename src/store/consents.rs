//! Rows of what accounts have allowed clients.

use diesel::prelude::*;

use super::prepared::{Bind, Statement};
use super::{Error, Write};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::scope::Scope;

const PUT: &str = "INSERT INTO consents (account_id, client_id, scope, given_at) VALUES (?, ?, ?, ?) \
    ON CONFLICT (account_id, client_id) DO UPDATE SET scope = excluded.scope, given_at = excluded.given_at";

/// Remembers what an account allows a client, in the place of what it allowed before.
///
/// # Errors
/// The store's own reasons.
pub fn put(
    tx: &mut Write<'_>,
    (account_id, client_id): (AccountId, &ClientId),
    scope: &Scope,
    now: Timestamp,
) -> Result<(), Error> {
    let scope = scope.to_string();
    let binds = vec![
        Bind::Bytes(account_id.as_bytes()),
        Bind::Text(client_id.as_str()),
        Bind::Text(&scope),
        Bind::Big(now.as_micros()),
    ];
    Statement::new(PUT, binds).execute(tx.conn())?;
    Ok(())
}

const REMOVE: &str = "DELETE FROM consents WHERE account_id = ? AND client_id = ?";

/// Forgets what an account has allowed a client.
///
/// # Errors
/// The store's own reasons.
pub fn remove(tx: &mut Write<'_>, (account_id, client_id): (AccountId, &ClientId)) -> Result<(), Error> {
    let binds = vec![Bind::Bytes(account_id.as_bytes()), Bind::Text(client_id.as_str())];
    Statement::new(REMOVE, binds).execute(tx.conn())?;
    Ok(())
}

const REMOVE_OF_CLIENT: &str = "DELETE FROM consents WHERE client_id = ?";

/// Forgets what anybody has allowed a client.
///
/// # Errors
/// The store's own reasons.
pub fn remove_of_client(tx: &mut Write<'_>, client_id: &ClientId) -> Result<(), Error> {
    Statement::new(REMOVE_OF_CLIENT, vec![Bind::Text(client_id.as_str())]).execute(tx.conn())?;
    Ok(())
}

//! Rows of people who can log in.

use diesel::prelude::*;
use serde_json::{Map, Value};

use super::dialect::{DatabaseTime, database_now};
use super::outbox::{self, Task};
use super::schema::accounts;
use super::{Error, Read, Write};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::login_name::LoginKey;
use crate::secret::Random;

const TABLE: &str = "accounts";

/// An account.
#[derive(Clone)]
pub struct Account {
    /// Its identifier and `sub`.
    pub id: AccountId,
    /// The e-mail address as it was given.
    pub email: String,
    /// The user name as it was given.
    pub username: Option<String>,
    /// The PHC string of its password.
    pub password_hash: String,
    /// Its roles, for the `roles` claim.
    pub roles: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// Moves on whenever whatever was granted before is over.
    pub credentials_version: i64,
    /// What it says of itself (OpenID Connect Core §5.1), without `sub` and `email`.
    pub claims: Map<String, Value>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = accounts)]
pub(super) struct Row {
    id: Vec<u8>,
    email: String,
    username: Option<String>,
    password_hash: String,
    roles: String,
    created_at: i64,
    disabled_at: Option<i64>,
    credentials_version: i64,
    claims: String,
}

impl TryFrom<Row> for Account {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let corrupt = Error::Corrupt { table: TABLE };
        Ok(Self {
            id: AccountId::from_slice(&row.id).map_err(|_| corrupt.clone())?,
            email: row.email,
            username: row.username,
            password_hash: row.password_hash,
            roles: serde_json::from_str(&row.roles).map_err(|_| corrupt.clone())?,
            created_at: Timestamp::from_micros(row.created_at),
            disabled_at: row.disabled_at.map(Timestamp::from_micros),
            credentials_version: row.credentials_version,
            claims: serde_json::from_str(&row.claims).map_err(|_| corrupt)?,
        })
    }
}

/// Adds an account.
///
/// # Errors
/// [`Error::Conflict`] when its e-mail address or user name is taken.
pub fn insert(tx: &mut Write<'_>, account: &Account, keys: (&LoginKey, Option<&LoginKey>)) -> Result<(), Error> {
    let corrupt = |_| Error::Corrupt { table: TABLE };
    let roles = serde_json::to_string(&account.roles).map_err(corrupt)?;
    let claims = serde_json::to_string(&account.claims).map_err(corrupt)?;
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(account.id.as_bytes()),
            accounts::email.eq(&account.email),
            accounts::email_key.eq(keys.0.as_str()),
            accounts::username.eq(account.username.as_deref()),
            accounts::username_key.eq(keys.1.map(LoginKey::as_str)),
            accounts::password_hash.eq(&account.password_hash),
            accounts::roles.eq(roles),
            accounts::created_at.eq(account.created_at.as_micros()),
            accounts::disabled_at.eq(account.disabled_at.map(Timestamp::as_micros)),
            accounts::claims.eq(claims),
        ))
        .execute(tx.conn())?;
    Ok(())
}

/// The account of that name, whichever kind of name it is.
///
/// # Errors
/// The store's own reasons.
pub fn find_by_key(tx: &mut Read<'_>, key: &LoginKey) -> Result<Option<(Account, DatabaseTime)>, Error> {
    let (columns, key_text) = ((Row::as_select(), database_now()), key.as_str());
    let row: Option<(Row, i64)> = if key.is_email() {
        accounts::table.filter(accounts::email_key.eq(key_text)).select(columns).get_result(tx.conn())
    } else {
        accounts::table.filter(accounts::username_key.eq(key_text)).select(columns).get_result(tx.conn())
    }
    .optional()?;
    row.map(|(row, read_at)| Ok((Account::try_from(row)?, DatabaseTime(read_at)))).transpose()
}

/// The account of that identifier.
///
/// # Errors
/// The store's own reasons.
pub fn find(tx: &mut Read<'_>, id: AccountId) -> Result<Option<Account>, Error> {
    let row = accounts::table.find(id.as_bytes()).select(Row::as_select()).get_result(tx.conn()).optional()?;
    row.map(Account::try_from).transpose()
}

/// Whether an account that is not disabled has the credentials of that version.
///
/// # Errors
/// The store's own reasons.
pub fn are_credentials(tx: &mut Read<'_>, id: AccountId, version: i64) -> Result<bool, Error> {
    Ok(find(tx, id)?.is_some_and(|account| account.disabled_at.is_none() && account.credentials_version == version))
}

/// Has this transaction alone change what an account has so many of, until it ends.
///
/// # Errors
/// The store's own reasons.
pub fn lock(tx: &mut Write<'_>, id: AccountId) -> Result<(), Error> {
    diesel::update(accounts::table.find(id.as_bytes()))
        .set(accounts::credentials_version.eq(accounts::credentials_version))
        .execute(tx.conn())?;
    Ok(())
}

/// Accounts in the order they were made, from after `after` on.
///
/// # Errors
/// The store's own reasons.
pub fn list(tx: &mut Read<'_>, after: Option<AccountId>, limit: i64) -> Result<Vec<Account>, Error> {
    let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    let rows: Vec<Row> = accounts::table
        .filter(accounts::id.gt(after))
        .order(accounts::id)
        .limit(limit)
        .select(Row::as_select())
        .load(tx.conn())?;
    rows.into_iter().map(Account::try_from).collect()
}

/// Disables or enables; whatever was granted before is over either way. `true` when there is such an account.
///
/// # Errors
/// The store's own reasons.
pub fn set_disabled(
    tx: &mut Write<'_>,
    id: AccountId,
    disabled_at: Option<Timestamp>,
    random: Random,
) -> Result<bool, Error> {
    let changed = diesel::update(accounts::table.find(id.as_bytes()))
        .set((
            accounts::disabled_at.eq(disabled_at.map(Timestamp::as_micros)),
            accounts::credentials_version.eq(accounts::credentials_version + 1),
        ))
        .execute(tx.conn())?;
    look_again(tx, id, random)?;
    Ok(changed == 1)
}

/// Replaces the password's hash; whatever was granted before is over. `true` when there is such an account.
///
/// # Errors
/// The store's own reasons.
pub fn set_password(tx: &mut Write<'_>, id: AccountId, hash: &str, random: Random) -> Result<bool, Error> {
    let changed = diesel::update(accounts::table.find(id.as_bytes()))
        .set((accounts::password_hash.eq(hash), accounts::credentials_version.eq(accounts::credentials_version + 1)))
        .execute(tx.conn())?;
    look_again(tx, id, random)?;
    Ok(changed == 1)
}

/// A grant that is being made at this very moment is not there yet to be ended: somebody looks again when it must be.
fn look_again(tx: &mut Write<'_>, id: AccountId, random: Random) -> Result<(), Error> {
    outbox::insert(tx, random, &Task::EndGrantsOfAccount(id))
}

/// Puts a hash of newer parameters in the place of `seen`, of the same password. Nothing happens when the password was
/// changed meanwhile.
///
/// # Errors
/// The store's own reasons.
pub fn renew_hash(tx: &mut Write<'_>, id: AccountId, seen: &str, renewed: &str) -> Result<(), Error> {
    let unchanged = accounts::table.filter(accounts::id.eq(id.as_bytes())).filter(accounts::password_hash.eq(seen));
    diesel::update(unchanged).set(accounts::password_hash.eq(renewed)).execute(tx.conn())?;
    Ok(())
}

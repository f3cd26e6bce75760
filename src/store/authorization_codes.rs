//! Rows of authorization codes. Each buys one grant, by one conditional statement.

use std::sync::LazyLock;

use diesel::prelude::*;

use super::accounts::{self, Account};
use super::dialect::{self, DatabaseTime, database_now};
use super::grants::{self, Grant};
use super::prepared::{Bind, Statement};
use super::schema::{self, authorization_codes};
use super::{Error, Read, Write, browser_sessions, remembered_log_ins};
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, SessionId};
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::pkce::CodeChallenge;
use crate::protocol::resource::{Resource, Resources};
use crate::protocol::scope::Scope;

const TABLE: &str = "authorization_codes";

/// The random name of a code that only its row and the code itself know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeHandle(pub [u8; 16]);

/// A code, and everything that it is bound to.
#[derive(Clone)]
pub struct AuthorizationCode {
    /// Its secret name.
    pub handle: CodeHandle,
    /// The log-in that it came from.
    pub session_id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The version of the credentials that the person logged in with.
    pub credentials_version: i64,
    /// The client that it is for.
    pub client_id: ClientId,
    /// Where it was sent.
    pub redirect_uri: String,
    /// What the verifier must fit.
    pub challenge: Option<CodeChallenge>,
    /// For the ID token.
    pub nonce: Option<String>,
    /// What is granted.
    pub scope: Scope,
    /// The resources that the grant's tokens are for.
    pub audiences: Resources,
    /// How the person logged in (RFC 8176).
    pub amr: Vec<String>,
    /// When the person logged in.
    pub auth_time: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Over then.
    pub expires_at: Timestamp,
    /// How often it came with a verifier that did not fit.
    pub failures: i16,
    /// What it bought.
    pub grant_id: Option<GrantId>,
    /// The key that whoever redeems it must show.
    pub confirmation: Option<Confirmation>,
    /// Claims that were asked for by name.
    pub claims: ClaimsRequest,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = authorization_codes)]
struct Row {
    handle: Vec<u8>,
    session_id: Vec<u8>,
    account_id: Vec<u8>,
    credentials_version: i64,
    client_id: String,
    redirect_uri: String,
    challenge: Option<Vec<u8>>,
    nonce: Option<String>,
    scope: String,
    audiences: String,
    amr: String,
    auth_time: i64,
    created_at: i64,
    expires_at: i64,
    failures: i16,
    grant_id: Option<Vec<u8>>,
    confirmation: Option<String>,
    claims: Option<String>,
}

impl Row {
    fn parse(self) -> Option<AuthorizationCode> {
        let audiences: Vec<String> = serde_json::from_str(&self.audiences).ok()?;
        let challenge = match self.challenge {
            Some(bytes) => Some(CodeChallenge::from_slice(&bytes)?),
            None => None,
        };
        let grant_id = match self.grant_id {
            Some(bytes) => Some(GrantId::from_slice(&bytes).ok()?),
            None => None,
        };
        let confirmation = match &self.confirmation {
            Some(text) => Some(Confirmation::from_stored(text)?),
            None => None,
        };
        let claims =
            self.claims.as_deref().map_or_else(|| Some(ClaimsRequest::default()), ClaimsRequest::from_stored)?;
        Some(AuthorizationCode {
            handle: CodeHandle(self.handle.try_into().ok()?),
            session_id: SessionId::from_slice(&self.session_id).ok()?,
            account_id: AccountId::from_slice(&self.account_id).ok()?,
            credentials_version: self.credentials_version,
            client_id: ClientId::parse(&self.client_id)?,
            redirect_uri: self.redirect_uri,
            challenge,
            nonce: self.nonce,
            scope: Scope::from_stored(&self.scope).ok()?,
            audiences: audiences.iter().map(|text| Resource::parse(text).ok()).collect::<Option<_>>()?,
            amr: serde_json::from_str(&self.amr).ok()?,
            auth_time: Timestamp::from_micros(self.auth_time),
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            failures: self.failures,
            grant_id,
            confirmation,
            claims,
        })
    }
}

const INSERT: &str = "INSERT INTO authorization_codes (handle, session_id, account_id, credentials_version, client_id, \
    redirect_uri, challenge, nonce, scope, audiences, amr, auth_time, created_at, expires_at, confirmation, \
    claims, failures) \
    SELECT ?, browser_sessions.id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0 \
    FROM browser_sessions WHERE browser_sessions.id = ? AND ended_at IS NULL AND database_now() <= ?";

/// Adds a code. `false` when the log-in that it comes from was ended, or when `not_after` has passed.
///
/// # Errors
/// The store's own reasons.
pub fn insert(tx: &mut Write<'_>, code: &AuthorizationCode, not_after: DatabaseTime) -> Result<bool, Error> {
    let corrupt = |_| Error::Corrupt { table: TABLE };
    let audiences: Vec<_> = code.audiences.iter().map(Resource::as_str).collect();
    let audiences = serde_json::to_string(&audiences).map_err(corrupt)?;
    let (scope, amr) = (code.scope.to_string(), serde_json::to_string(&code.amr).map_err(corrupt)?);
    let confirmation = code.confirmation.as_ref().and_then(Confirmation::to_stored);
    let claims = code.claims.to_stored();
    let binds = vec![
        Bind::Bytes(&code.handle.0),
        Bind::Bytes(code.account_id.as_bytes()),
        Bind::Big(code.credentials_version),
        Bind::Text(code.client_id.as_str()),
        Bind::Text(&code.redirect_uri),
        Bind::MaybeBytes(code.challenge.as_ref().map(|challenge| challenge.as_bytes().as_slice())),
        Bind::MaybeText(code.nonce.as_deref()),
        Bind::Text(&scope),
        Bind::Text(&audiences),
        Bind::Text(&amr),
        Bind::Big(code.auth_time.as_micros()),
        Bind::Big(code.created_at.as_micros()),
        Bind::Big(code.expires_at.as_micros()),
        Bind::MaybeText(confirmation.as_deref()),
        Bind::MaybeText(claims.as_deref()),
        Bind::Bytes(code.session_id.as_bytes()),
        Bind::Big(not_after.0),
    ];
    Ok(Statement::new(INSERT, binds).execute(tx.conn())? == 1)
}

/// A code as it was read, with whose it is.
pub struct Found {
    /// The code.
    pub code: AuthorizationCode,
    /// Whose it is, unless that account is gone.
    pub account: Option<Account>,
    /// When it was read.
    pub read_at: DatabaseTime,
}

/// The code of that secret name.
///
/// # Errors
/// [`Error::Corrupt`] when a row cannot be read; the store's own reasons.
pub fn find(tx: &mut Read<'_>, handle: CodeHandle) -> Result<Option<Found>, Error> {
    let found: Option<(Row, Option<accounts::Row>, i64)> = authorization_codes::table
        .left_join(schema::accounts::table)
        .filter(authorization_codes::handle.eq(handle.0.to_vec()))
        .select((Row::as_select(), Option::<accounts::Row>::as_select(), database_now()))
        .get_result(tx.conn())
        .optional()?;
    let Some((row, account, read_at)) = found else { return Ok(None) };
    let code = row.parse().ok_or(Error::Corrupt { table: TABLE })?;
    Ok(Some(Found { code, account: account.map(Account::try_from).transpose()?, read_at: DatabaseTime(read_at) }))
}

const CLAIM: &str =
    "UPDATE authorization_codes SET grant_id = ? WHERE handle = ? AND grant_id IS NULL AND database_now() <= ?";

/// All of [`redeem`]: each part takes place if the one before changed a row, and sees what that row is by then.
static REDEEM: LazyLock<String> = LazyLock::new(|| {
    let keep = remembered_log_ins::KEEP_OF_SESSION.replace("browser_sessions", "seen");
    let insert = grants::INSERT.replace("browser_sessions", "seen");
    format!(
        "WITH used AS ({CLAIM} RETURNING handle), \
         seen AS ({} AND EXISTS (SELECT 1 FROM used) RETURNING id, remembered_id), \
         kept AS ({keep}) \
         {insert} AND EXISTS (SELECT 1 FROM seen)",
        browser_sessions::TOUCH
    )
});

/// Uses a code up, which can be done once, and adds the grant that it buys, of an account whose credentials have that version.
/// `false` when `not_after` had passed before, or it had bought a grant: then nothing was changed. `false`, too, when the log-in
/// that it came from was ended, or the account or the client is not what it was: then it is used up, and there is no grant. Whoever
/// ends that log-in waits for this, or is waited for.
///
/// # Errors
/// The store's own reasons.
pub fn redeem(
    tx: &mut Write<'_>,
    code: &AuthorizationCode,
    grant: &Grant,
    not_after: DatabaseTime,
) -> Result<bool, Error> {
    let (version, now) = (code.credentials_version, grant.created_at.as_micros());
    let mut binds = vec![Bind::Bytes(grant.id.as_bytes()), Bind::Bytes(&code.handle.0), Bind::Big(not_after.0)];
    // What is used up in time buys its grant, however long somebody else held the log-in's row meanwhile.
    let whenever = DatabaseTime(i64::MAX);
    if dialect::changes_several_at_once(tx.conn()) {
        let session = code.session_id.as_bytes();
        binds.extend([Bind::Big(now), Bind::Bytes(session), Bind::Big(now), Bind::Bytes(session)]);
        return grants::insert_by(tx, (&REDEEM, binds), grant, version, whenever);
    }
    // RFC 6749 §4.1.2: once, by one statement.
    Ok(Statement::new(CLAIM, binds).execute(tx.conn())? == 1
        && browser_sessions::touch(tx, code.session_id, grant.created_at)?
        && grants::insert(tx, grant, version, whenever)?)
}

const COUNT_FAILURE: &str =
    "UPDATE authorization_codes SET failures = failures + 1 WHERE handle = ? AND grant_id IS NULL";

/// Counts a verifier that did not fit.
///
/// # Errors
/// The store's own reasons.
pub fn count_failure(tx: &mut Write<'_>, handle: CodeHandle) -> Result<bool, Error> {
    Ok(Statement::new(COUNT_FAILURE, vec![Bind::Bytes(&handle.0)]).execute(tx.conn())? == 1)
}

const REMOVE_EXPIRED: &str = "DELETE FROM authorization_codes WHERE handle IN \
    (SELECT handle FROM authorization_codes WHERE expires_at < ? AND (grant_id IS NULL OR expires_at < ?) \
    ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` codes that were over before `unused` and bought nothing, or before `used`; says how many.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, (unused, used): (Timestamp, Timestamp), limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(unused.as_micros()), Bind::Big(used.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

//! Rows of grants: one row a grant, whatever its age. Every change of a row is one conditional statement.

mod insertion;
pub mod listing;
pub mod rotation;

use countersign_verifier::feed::CutKind;
use diesel::dsl::{AsSelect, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::dialect::{Conn, DatabaseTime, database_now};
use super::prepared::{Bind, Statement};
use super::schema::{accounts, grants};
use super::status_changes::{self, Over};
use super::{Error, Read, Write, logout_notices};
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId, RememberedId, SessionId};
use crate::protocol::claims_request::ClaimsRequest;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::confirmation::Confirmation;
use crate::protocol::resource::{Resource, Resources};
use crate::protocol::scope::Scope;
use crate::secret::Digest;
pub use insertion::insert;
pub(super) use insertion::{INSERT, insert_by};

const TABLE: &str = "grants";

/// The random name of a grant that only its row and its refresh tokens know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle(pub [u8; 16]);

/// Where the rotation of a grant's refresh tokens stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The generation of the live tokens; the first is 1.
    pub generation: u32,
    /// The sibling of the generation before that was used first; 0 while there is none.
    pub winner: u8,
    /// How many live tokens are out.
    pub siblings: u8,
    /// When the generation began.
    pub rotated_at: Timestamp,
    /// The client's key for the refresh that began it.
    pub attempt: Option<Digest>,
}

/// What ended a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// What was spent came back: a refresh token, or the secret by which a browser remembered the log-in.
    Replay,
    /// The client asked (RFC 7009).
    Revocation,
    /// An operator asked.
    Operator,
    /// The password was changed.
    PasswordChange,
    /// The account was disabled.
    AccountDisabled,
    /// The client was disabled.
    ClientDisabled,
    /// The person logged out of the browser session that it came from, or somebody else logged in there.
    LogOut,
    /// The authorization code that it came from was used again.
    CodeReplay,
    /// The person asked, at the account's own page.
    Person,
}

impl EndedBy {
    /// The spelling in the database and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Revocation => "revocation",
            Self::Operator => "operator",
            Self::PasswordChange => "password_change",
            Self::AccountDisabled => "account_disabled",
            Self::ClientDisabled => "client_disabled",
            Self::LogOut => "log_out",
            Self::CodeReplay => "code_replay",
            Self::Person => "person",
        }
    }

    /// Whether the client is told (OpenID Connect Back-Channel Logout §2.5): not of what it did itself, nor of a theft, by
    /// which nobody logged out.
    const fn is_log_out(self) -> bool {
        match self {
            Self::Operator | Self::PasswordChange | Self::AccountDisabled | Self::LogOut | Self::Person => true,
            Self::Replay | Self::Revocation | Self::ClientDisabled | Self::CodeReplay => false,
        }
    }
}

/// A grant.
#[derive(Clone)]
pub struct Grant {
    /// Its public identifier, the `sid` of its tokens.
    pub id: GrantId,
    /// Its secret name.
    pub handle: Handle,
    /// Whose it is.
    pub account_id: AccountId,
    /// The client that it was given to.
    pub client_id: ClientId,
    /// What was granted.
    pub scope: Scope,
    /// The resources that its tokens are for.
    pub audiences: Resources,
    /// How the person logged in (RFC 8176).
    pub amr: Vec<String>,
    /// When the person logged in.
    pub auth_time: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where its rotation stands.
    pub rotation: Rotation,
    /// Over when not used until then.
    pub idle_expires_at: Timestamp,
    /// Over then at the latest.
    pub expires_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// Where it stands in the status lists.
    pub status_position: i64,
    /// The log-in at a browser that it came from.
    pub session_id: Option<SessionId>,
    /// The key that its refresh tokens must be used with.
    pub confirmation: Option<Confirmation>,
    /// Claims that were asked for by name.
    pub claims: ClaimsRequest,
    /// What its client calls the account, if not what everybody does.
    pub subject: Option<String>,
}

impl Grant {
    /// The `sub` of its tokens.
    pub fn subject_text(&self) -> String {
        self.subject.clone().unwrap_or_else(|| self.account_id.to_string())
    }
}

/// A grant with what must be known of its account to honour it.
pub struct GrantOfAccount {
    /// The grant.
    pub grant: Grant,
    /// Whether its account is disabled.
    pub account_disabled: bool,
    /// Whether the account's password was changed, or the account disabled, since it was made.
    pub credentials_changed: bool,
    /// The roles of its account.
    pub roles: Vec<String>,
    /// When it was read.
    pub read_at: DatabaseTime,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = grants)]
struct Row {
    id: Vec<u8>,
    handle: Vec<u8>,
    account_id: Vec<u8>,
    client_id: String,
    scope: String,
    audiences: String,
    amr: String,
    auth_time: i64,
    created_at: i64,
    generation: i32,
    winner: i16,
    siblings: i16,
    rotated_at: i64,
    attempt: Option<Vec<u8>>,
    idle_expires_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
    credentials_version: i64,
    status_position: i64,
    session_id: Option<Vec<u8>>,
    confirmation: Option<String>,
    claims: Option<String>,
    subject: Option<String>,
}

impl Row {
    fn parse(self) -> Option<Grant> {
        let audiences: Vec<String> = serde_json::from_str(&self.audiences).ok()?;
        let attempt = match self.attempt {
            Some(bytes) => Some(Digest::from_slice(&bytes)?),
            None => None,
        };
        let session_id = match self.session_id {
            Some(bytes) => Some(SessionId::from_slice(&bytes).ok()?),
            None => None,
        };
        let confirmation = match &self.confirmation {
            Some(text) => Some(Confirmation::from_stored(text)?),
            None => None,
        };
        let claims =
            self.claims.as_deref().map_or_else(|| Some(ClaimsRequest::default()), ClaimsRequest::from_stored)?;
        Some(Grant {
            id: GrantId::from_slice(&self.id).ok()?,
            handle: Handle(self.handle.try_into().ok()?),
            account_id: AccountId::from_slice(&self.account_id).ok()?,
            client_id: ClientId::parse(&self.client_id)?,
            scope: Scope::from_stored(&self.scope).ok()?,
            audiences: audiences.iter().map(|text| Resource::parse(text).ok()).collect::<Option<_>>()?,
            amr: serde_json::from_str(&self.amr).ok()?,
            auth_time: Timestamp::from_micros(self.auth_time),
            created_at: Timestamp::from_micros(self.created_at),
            rotation: Rotation {
                generation: u32::try_from(self.generation).ok()?,
                winner: u8::try_from(self.winner).ok()?,
                siblings: u8::try_from(self.siblings).ok()?,
                rotated_at: Timestamp::from_micros(self.rotated_at),
                attempt,
            },
            idle_expires_at: Timestamp::from_micros(self.idle_expires_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            ended_at: self.ended_at.map(Timestamp::from_micros),
            status_position: self.status_position,
            session_id,
            confirmation,
            claims,
            subject: self.subject,
        })
    }
}

/// A grant's row with its account's `disabled_at`, `roles` and `credentials_version`, and when they were read.
type Joined = (Row, Option<i64>, String, i64, i64);

fn parse_joined(row: Option<Joined>) -> Result<Option<GrantOfAccount>, Error> {
    let Some((row, disabled_at, roles, credentials_version, read_at)) = row else { return Ok(None) };
    let corrupt = Error::Corrupt { table: TABLE };
    Ok(Some(GrantOfAccount {
        credentials_changed: row.credentials_version != credentials_version,
        grant: row.parse().ok_or_else(|| corrupt.clone())?,
        account_disabled: disabled_at.is_some(),
        roles: serde_json::from_str(&roles).map_err(|_| corrupt)?,
        read_at: DatabaseTime(read_at),
    }))
}

/// Grants with what [`Joined`] holds of their accounts.
#[diesel::dsl::auto_type]
fn with_account() -> _ {
    let row: AsSelect<Row, <Conn as Connection>::Backend> = Row::as_select();
    grants::table.inner_join(accounts::table).select((
        row,
        accounts::disabled_at,
        accounts::roles,
        accounts::credentials_version,
        database_now(),
    ))
}

/// The grant of that secret name.
///
/// # Errors
/// The store's own reasons.
pub fn find_by_handle(tx: &mut Read<'_>, handle: Handle) -> Result<Option<GrantOfAccount>, Error> {
    parse_joined(with_account().filter(grants::handle.eq(handle.0.to_vec())).get_result(tx.conn()).optional()?)
}

/// The grant of that public identifier.
///
/// # Errors
/// The store's own reasons.
pub fn find(tx: &mut Read<'_>, id: GrantId) -> Result<Option<GrantOfAccount>, Error> {
    parse_joined(with_account().filter(grants::id.eq(id.as_bytes())).get_result(tx.conn()).optional()?)
}

/// Ends a grant. `false` when it is over already, or is none.
///
/// # Errors
/// The store's own reasons.
pub fn end(tx: &mut Write<'_>, id: GrantId, by: EndedBy, now: Timestamp) -> Result<bool, Error> {
    if by.is_log_out() {
        logout_notices::insert_of_grant(tx, id, now)?;
    }
    let live = grants::table.filter(grants::id.eq(id.as_bytes())).filter(grants::ended_at.is_null());
    let ended = diesel::update(live)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(by.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    make_known(tx, ended, now).map(|ended| ended == 1)
}

/// What each end in this file comes to: no end is without its bits, in the same transaction.
fn make_known(tx: &mut Write<'_>, positions: Vec<i64>, now: Timestamp) -> Result<usize, Error> {
    let ended = positions.len();
    status_changes::end(tx, &Over { positions, names: Vec::new() }, now)?;
    Ok(ended)
}

/// Ends every grant of an account; says how many that were.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_account(tx: &mut Write<'_>, id: AccountId, by: EndedBy, now: Timestamp) -> Result<usize, Error> {
    if by.is_log_out() {
        logout_notices::insert_of_account(tx, id, now)?;
    }
    let live = grants::table.filter(grants::account_id.eq(id.as_bytes())).filter(grants::ended_at.is_null());
    let ended = diesel::update(live)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(by.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    // Whoever is disabled has nothing that was issued before, whether it is found here or not.
    let disabled = by == EndedBy::AccountDisabled;
    let names = if disabled { vec![(CutKind::Sub, id.to_string())] } else { Vec::new() };
    let count = ended.len();
    status_changes::end(tx, &Over { positions: ended, names }, now)?;
    Ok(count)
}

/// Ends the grants that came from a log-in at a browser, except those that were meant to outlive it; says how many that were.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_session(tx: &mut Write<'_>, id: SessionId, now: Timestamp) -> Result<usize, Error> {
    let of_session = grants::table
        .filter(grants::session_id.eq(id.as_bytes()))
        .filter(grants::ended_at.is_null())
        .filter(sql::<Bool>(ENDS_WITH_LOG_IN));
    let ended = diesel::update(of_session)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(EndedBy::LogOut.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    make_known(tx, ended, now)
}

/// OpenID Connect Back-Channel Logout §2.7: what was issued for offline access outlives the log-in.
const ENDS_WITH_LOG_IN: &str = "(' ' || scope || ' ') NOT LIKE '% offline!_access %' ESCAPE '!'";

/// Ends the grants that came from what a browser remembers, from whichever log-in; those that were meant to outlive it, too, if
/// somebody else had it. Says how many that were.
///
/// # Errors
/// The store's own reasons.
pub(super) fn end_of_remembered(
    tx: &mut Write<'_>,
    id: RememberedId,
    by: EndedBy,
    now: Timestamp,
) -> Result<usize, Error> {
    let all = by == EndedBy::Replay;
    let of_it = grants::table
        .filter(grants::remembered_id.eq(id.as_bytes()))
        .filter(grants::ended_at.is_null())
        .filter(all.into_sql::<Bool>().or(sql::<Bool>(ENDS_WITH_LOG_IN)));
    let ended = diesel::update(of_it)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(by.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    make_known(tx, ended, now)
}

const JOIN: &str = "UPDATE grants SET remembered_id = ? WHERE session_id = ? AND ended_at IS NULL";
const FOLLOW: &str = "UPDATE grants SET remembered_id = ? WHERE remembered_id = ? AND ended_at IS NULL";

/// Has the grants of a log-in belong to what the browser remembers of it from now on.
///
/// # Errors
/// The store's own reasons.
pub(super) fn join_remembered(tx: &mut Write<'_>, id: SessionId, remembered: RememberedId) -> Result<(), Error> {
    let binds = vec![Bind::Bytes(remembered.as_bytes()), Bind::Bytes(id.as_bytes())];
    Statement::new(JOIN, binds).execute(tx.conn())?;
    Ok(())
}

/// Has the grants of what a browser remembered belong to what has taken its place.
///
/// # Errors
/// The store's own reasons.
pub(super) fn follow_remembered(tx: &mut Write<'_>, from: RememberedId, to: RememberedId) -> Result<(), Error> {
    let binds = vec![Bind::Bytes(to.as_bytes()), Bind::Bytes(from.as_bytes())];
    Statement::new(FOLLOW, binds).execute(tx.conn())?;
    Ok(())
}

/// Ends those grants of an account that were made for credentials which it has no more, as one is that was being made while
/// they changed; says how many that were.
///
/// # Errors
/// The store's own reasons.
pub fn end_outdated(tx: &mut Write<'_>, id: AccountId, by: EndedBy, now: Timestamp) -> Result<usize, Error> {
    let version: Option<i64> =
        accounts::table.find(id.as_bytes()).select(accounts::credentials_version).get_result(tx.conn()).optional()?;
    logout_notices::insert_outdated(tx, (id, version.unwrap_or(-1)), now)?;
    let outdated = grants::table
        .filter(grants::account_id.eq(id.as_bytes()))
        .filter(grants::ended_at.is_null())
        .filter(grants::credentials_version.ne(version.unwrap_or(-1)));
    let ended = diesel::update(outdated)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(by.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    make_known(tx, ended, now)
}

/// Looks through at most `limit` grants of a client after `done_to`, in the order of their identifiers, and ends those that
/// were made up to `until`. Returns how far it came, and `None` at the end.
///
/// # Errors
/// The store's own reasons.
pub fn end_of_client(
    tx: &mut Write<'_>,
    (client_id, until): (&str, Timestamp),
    (done_to, limit): (&[u8], i64),
    now: Timestamp,
) -> Result<Option<Vec<u8>>, Error> {
    let ids: Vec<Vec<u8>> = grants::table
        .filter(grants::client_id.eq(client_id).and(grants::id.gt(done_to)))
        .order(grants::id)
        .limit(limit)
        .select(grants::id)
        .load(tx.conn())?;
    let Some(last) = ids.last().cloned() else { return Ok(None) };
    let of_client = grants::table
        .filter(grants::id.gt(done_to).and(grants::id.le(&last)))
        .filter(grants::client_id.eq(client_id).and(grants::created_at.le(until.as_micros())))
        .filter(grants::ended_at.is_null());
    let ended = diesel::update(of_client)
        .set((grants::ended_at.eq(now.as_micros()), grants::ended_by.eq(EndedBy::ClientDisabled.as_str())))
        .returning(grants::status_position)
        .get_results(tx.conn())?;
    make_known(tx, ended, now)?;
    Ok(Some(last))
}

const REMOVE_EXPIRED: &str = "DELETE FROM grants WHERE id IN \
    (SELECT id FROM grants WHERE expires_at < ? ORDER BY expires_at LIMIT ?) AND expires_at < database_now()";

/// Removes at most `limit` grants, ended or not, whose last moment was before `before`; says how many. Until then even an
/// ended one stays, so that a token of it is known for what it is.
///
/// # Errors
/// The store's own reasons.
pub fn remove_expired(tx: &mut Write<'_>, before: Timestamp, limit: i64) -> Result<usize, Error> {
    let binds = vec![Bind::Big(before.as_micros()), Bind::Big(limit)];
    Ok(Statement::new(REMOVE_EXPIRED, binds).execute(tx.conn())?)
}

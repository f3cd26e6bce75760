//! What is remembered. Owns diesel, the pools and the schema; hands out facts and never decides a refusal.
//! Portable SQL only: what differs between SQLite and PostgreSQL stands in `dialect.rs` and nowhere else.

pub mod accounts;
pub mod audit_log;
pub mod authorization_codes;
pub mod authorize_requests;
pub mod browser_sessions;
pub mod clients;
pub mod consents;
pub mod cutoffs;
mod db;
pub mod device_codes;
mod dialect;
pub mod epochs;
#[cfg(debug_assertions)]
pub mod faults;
pub mod grants;
pub mod initial_access_tokens;
pub mod instances;
pub mod login_attempts;
pub mod logout_notices;
pub mod migrate;
pub mod one_time_values;
pub mod outbox;
pub mod pairwise_subjects;
pub mod pushed_requests;
mod prepared;
pub mod remembered_log_ins;
pub mod revoked_tokens;
mod schema;
pub mod signing_keys;
pub mod status_changes;
pub mod status_positions;
pub mod status_receipts;

use std::fmt;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

pub use db::{Db, Read, Write};
pub use dialect::DatabaseTime;

/// What the driver said, for the log.
#[derive(Clone, Debug)]
pub struct Cause(String);

impl Cause {
    /// In one line: drivers speak in several, a log and a terminal want one.
    pub fn new(said: impl fmt::Display) -> Self {
        Self(said.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the store did not do it. Carries no value of any row.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A row with that key exists, or one that it needs does not.
    #[error("the rows conflict: {0}")]
    Conflict(Cause),
    /// Someone else holds the row or the file; trying again may help.
    #[error("the database is busy: {0}")]
    Busy(Cause),
    /// The connection was lost; another may do.
    #[error("the connection to the database was lost: {0}")]
    Disconnected(Cause),
    /// The database is away, full, or refuses.
    #[error("the database is unavailable: {0}")]
    Unavailable(Cause),
    /// The request's deadline passed first; what had been done was undone.
    #[error("the deadline passed before the work was done")]
    Expired,
    /// A row cannot be understood.
    #[error("a row of {table} is corrupt")]
    Corrupt {
        /// The table that it is in.
        table: &'static str,
    },
}

impl Error {
    fn unavailable(cause: impl fmt::Display) -> Self {
        Self::Unavailable(Cause::new(cause))
    }
}

impl From<DieselError> for Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what diesel adds later is a database that refuses")]
    fn from(error: DieselError) -> Self {
        let cause = Cause::new(&error);
        match &error {
            DieselError::DatabaseError(kind, info) => match kind {
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::NotNullViolation => Self::Conflict(cause),
                DatabaseErrorKind::SerializationFailure => Self::Busy(cause),
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    Self::Disconnected(cause)
                }
                _ if dialect::says_busy(info.message()) => Self::Busy(cause),
                _ if dialect::says_disconnected(info.message()) => Self::Disconnected(cause),
                _ => Self::Unavailable(cause),
            },
            DieselError::DeserializationError(_) => Self::Corrupt { table: "(unread)" },
            _ => Self::Unavailable(cause),
        }
    }
}

//! Bringing the schema up to date, beside other instances that do the same, and refusing one that is newer than we are.

use std::time::Duration;

use super::Error;
use super::dialect::{self, Conn};
use crate::settings::DatabaseUrl;

/// How often another instance may get in the way before we give up, and how long we wait for it each time.
const MAX_TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Where a schema stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Versions in the database, oldest first.
    pub applied: Vec<String>,
    /// Versions that the binary has and the database has not, oldest first.
    pub pending: Vec<String>,
    /// Versions that the database has and the binary does not know.
    pub unknown: Vec<String>,
}

/// Why the schema cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrateError {
    /// The store's own reason.
    #[error(transparent)]
    Store(#[from] Error),
    /// A later version of Countersign has been here.
    #[error("the database is newer than this binary: it has migration {0}")]
    NewerThanBinary(String),
}

/// Compares the database with the binary, and makes none that is not there.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn status(url: &DatabaseUrl) -> Result<Status, Error> {
    if matches!(url, DatabaseUrl::Sqlite(path) if !path.exists()) {
        return Ok(Status { applied: Vec::new(), pending: dialect::embedded_versions(url)?, unknown: Vec::new() });
    }
    status_of(&mut dialect::connect(url).map_err(Error::unavailable)?, url)
}

fn status_of(conn: &mut Conn, url: &DatabaseUrl) -> Result<Status, Error> {
    let embedded = dialect::embedded_versions(url)?;
    let applied = dialect::applied_versions(conn)?;
    let pending = embedded.iter().filter(|version| !applied.contains(version)).cloned().collect();
    let unknown = applied.iter().filter(|version| !embedded.contains(version)).cloned().collect();
    Ok(Status { applied, pending, unknown })
}

/// Applies what is pending and says which versions that were. Several instances may do so at once: each migration is
/// one transaction whose last act is to note its version, so the slower one fails, looks again and finds nothing to do.
///
/// # Errors
/// [`MigrateError::NewerThanBinary`], or the store's own reason.
pub fn apply(url: &DatabaseUrl) -> Result<Vec<String>, MigrateError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match dialect::connect(url) {
            Ok(mut conn) => match apply_once(&mut conn, url) {
                Err(MigrateError::Store(_)) if tries < MAX_TRIES => {}
                outcome => return outcome,
            },
            // A file that another instance just makes.
            Err(error) if tries < MAX_TRIES && dialect::says_busy(&error.to_string()) => {}
            Err(error) => return Err(Error::unavailable(error).into()),
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is served before the schema is there")]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn apply_once(conn: &mut Conn, url: &DatabaseUrl) -> Result<Vec<String>, MigrateError> {
    let before = status_of(conn, url)?;
    if let Some(newer) = before.unknown.last() {
        return Err(MigrateError::NewerThanBinary(newer.clone()));
    }
    dialect::apply_pending(conn)?;
    Ok(before.pending)
}

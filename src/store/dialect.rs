//! What differs between SQLite and PostgreSQL: how to connect, how a write transaction begins, where the migrations are,
//! and how each says "busy". (What a PostgreSQL URL gets beside what it says stands with the rules of settings.)

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::migration::MigrationVersion;
use diesel::pg::PgConnection;
use diesel::r2d2::R2D2Connection as _;
use diesel::result::{ConnectionError, Error as DieselError};
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, MultiConnection, RunQueryDsl as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Error;
use super::db::Durability;
use crate::clock::{Clock, Timestamp};
use crate::settings::DatabaseUrl;

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

#[diesel::declare_sql_function]
extern "SQL" {
    /// The database's clock in microseconds since the Unix epoch.
    fn database_now() -> diesel::sql_types::BigInt;
}

/// An instant on the database's own clock, which may differ from ours: it bounds when a statement may still take effect,
/// however long it lay in a queue that we cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseTime(pub(super) i64);

impl DatabaseTime {
    /// This instant moved forward.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(Timestamp::from_micros(self.0).plus(span).as_micros())
    }
}

/// A connection to either database.
#[derive(MultiConnection)]
pub(super) enum Conn {
    /// PostgreSQL, or an engine that speaks its protocol.
    Postgres(PgConnection),
    /// A SQLite file.
    Sqlite(SqliteConnection),
}

/// A connection in a pool; once the server behind it is gone it is not used again.
pub(super) struct Pooled {
    pub(super) conn: Conn,
    pub(super) broken: bool,
}

/// Makes connections for a pool.
#[derive(Debug)]
pub(super) struct Connector {
    url: DatabaseUrl,
    read_only: bool,
}

impl Connector {
    pub(super) fn new(url: &DatabaseUrl, read_only: bool) -> Self {
        Self { url: url.clone(), read_only }
    }
}

impl r2d2::ManageConnection for Connector {
    type Connection = Pooled;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Pooled, ConnectionError> {
        let mut conn = connect(&self.url)?;
        if self.read_only && matches!(conn, Conn::Sqlite(_)) {
            conn.batch_execute("PRAGMA query_only = ON").map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        Ok(Pooled { conn, broken: false })
    }

    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), ConnectionError> {
        pooled.conn.ping().map_err(ConnectionError::CouldntSetupConfiguration)
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        // A panic may have left a transaction open that the driver knows nothing of.
        pooled.broken || std::thread::panicking() || pooled.conn.is_broken()
    }
}

/// Opens one connection with the settings that our promises rest on.
pub(super) fn connect(url: &DatabaseUrl) -> Result<Conn, ConnectionError> {
    let (mut conn, configuration) = match url {
        DatabaseUrl::Sqlite(path) => {
            create_private_file(path)
                .map_err(|error| ConnectionError::BadConnection(format!("{}: {error}", path.display())))?;
            let conn = SqliteConnection::establish(&path.to_string_lossy())?;
            // PostgreSQL has this function from a migration.
            database_now_utils::register_nondeterministic_impl(&conn, || Clock::system().now().as_micros())
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
            // FULL: a commit that was answered survives a power cut; NORMAL may lose the last ones in WAL mode.
            let pragmas = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                           PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF";
            (Conn::Sqlite(conn), pragmas)
        }
        DatabaseUrl::Postgres(url) => {
            // OpenSSL must not tear itself down at the process's exit while another thread still speaks TLS.
            openssl_sys::init();
            let conn = PgConnection::establish(url.expose())?;
            // Three tries for a lock are over within a request's deadline: its repeat must not find it holding a thread.
            let session = "SET client_min_messages = warning; SET statement_timeout = '5s'; SET lock_timeout = '3s'; \
                           SET idle_in_transaction_session_timeout = '15s'; \
                           SET default_transaction_isolation = 'read committed'";
            (Conn::Postgres(conn), session)
        }
    };
    conn.batch_execute(configuration).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// The file holds password hashes: only its owner may read it, from its first moment.
fn create_private_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Copies the log of an embedded database into it.
pub(super) fn checkpoint(conn: &mut Conn) -> Result<(), DieselError> {
    match conn {
        Conn::Sqlite(conn) => conn.batch_execute("PRAGMA wal_checkpoint(PASSIVE)"),
        Conn::Postgres(_) => Ok(()),
    }
}

/// Begins a transaction that will write; on SQLite it takes the write lock at once, so it cannot fail half way.
pub(super) fn begin_write(conn: &mut Conn, durability: Durability) -> Result<(), DieselError> {
    conn.batch_execute(match (&*conn, durability) {
        // SQLite may undo the whole transaction by itself when a statement fails, on a full disk above all, and what comes
        // after would then be committed as if nothing had been lost. The savepoint is gone with it, and tells.
        (Conn::Sqlite(_), Durability::Full) => "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; SAVEPOINT whole",
        (Conn::Sqlite(_), Durability::Relaxed) => "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE; SAVEPOINT whole",
        (Conn::Postgres(_), Durability::Full) => "BEGIN",
        (Conn::Postgres(_), Durability::Relaxed) => "BEGIN; SET LOCAL synchronous_commit = off",
    })
}

/// Has this transaction alone refer to a client until it ends: whoever is about to is waited for. On SQLite there is nobody.
pub(super) fn lock_client(conn: &mut Conn, id: &str) -> Result<(), DieselError> {
    match conn {
        Conn::Sqlite(_) => Ok(()),
        // An UPDATE of ours would not do: what refers to a row is inserted beside it.
        Conn::Postgres(conn) => {
            diesel::sql_query("SELECT 1 FROM clients WHERE id = $1 FOR UPDATE").bind::<Text, _>(id).execute(conn)?;
            Ok(())
        }
    }
}

/// Commits what [`begin_write`] began, if all of it is still there.
pub(super) fn commit(conn: &mut Conn) -> Result<(), DieselError> {
    conn.batch_execute(match conn {
        Conn::Sqlite(_) => "RELEASE whole; COMMIT",
        Conn::Postgres(_) => "COMMIT",
    })
}

/// Whether a driver's message means that trying again may help.
pub(super) fn says_busy(message: &str) -> bool {
    [
        "database is locked",
        "database table is locked",
        "deadlock detected",
        "lock timeout",
        "canceling statement due to lock",
    ]
    .iter()
    .any(|busy| message.contains(busy))
}

/// Whether a driver's message means that the connection is gone.
pub(super) fn says_disconnected(message: &str) -> bool {
    let words = [
        "terminating connection",
        "server closed the connection",
        "no connection to the server",
        "could not receive data",
        "could not send data",
        "SSL connection has been closed",
        "SSL SYSCALL error",
    ];
    words.iter().any(|gone| message.contains(gone))
}

/// Whether the database is a file with a single writer.
pub(super) fn has_single_writer(url: &DatabaseUrl) -> bool {
    matches!(url, DatabaseUrl::Sqlite(_))
}

/// Whether one statement may change several tables (`WITH` in PostgreSQL).
pub(super) fn changes_several_at_once(conn: &Conn) -> bool {
    matches!(conn, Conn::Postgres(_))
}

/// The migrations in the binary, oldest first, by version.
pub(super) fn embedded_versions(url: &DatabaseUrl) -> Result<Vec<String>, Error> {
    fn versions<D: diesel::backend::Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>, Error> {
        let migrations = diesel::migration::MigrationSource::<D>::migrations(source).map_err(Error::unavailable)?;
        let mut versions: Vec<_> = migrations.iter().map(|migration| migration.name().version().to_string()).collect();
        versions.sort_unstable();
        Ok(versions)
    }
    match url {
        DatabaseUrl::Sqlite(_) => versions::<diesel::sqlite::Sqlite>(&SQLITE_MIGRATIONS),
        DatabaseUrl::Postgres(_) => versions::<diesel::pg::Pg>(&POSTGRES_MIGRATIONS),
    }
}

/// The migrations that the database has had, by version.
pub(super) fn applied_versions(conn: &mut Conn) -> Result<Vec<String>, Error> {
    let applied: Vec<MigrationVersion<'static>> = match conn {
        Conn::Sqlite(conn) => conn.applied_migrations(),
        Conn::Postgres(conn) => conn.applied_migrations(),
    }
    .map_err(Error::unavailable)?;
    let mut versions: Vec<_> = applied.iter().map(ToString::to_string).collect();
    versions.sort_unstable();
    Ok(versions)
}

/// Applies what is pending, each migration in a transaction of its own.
pub(super) fn apply_pending(conn: &mut Conn) -> Result<(), Error> {
    match conn {
        Conn::Sqlite(conn) => conn.run_pending_migrations(SQLITE_MIGRATIONS).map(drop),
        Conn::Postgres(conn) => conn.run_pending_migrations(POSTGRES_MIGRATIONS).map(drop),
    }
    .map_err(Error::unavailable)
}

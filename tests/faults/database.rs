//! A row's own database: a file, or a database on the run's PostgreSQL. Reads the `grants` table directly.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{Binary, Integer, Nullable, SmallInt, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection};

use crate::services::Postgres;

/// Which database a row runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A grant's row.
#[derive(Debug, QueryableByName)]
pub struct GrantRow {
    #[diesel(sql_type = Binary)]
    pub handle: Vec<u8>,
    #[diesel(sql_type = Integer)]
    pub generation: i32,
    #[diesel(sql_type = SmallInt)]
    pub siblings: i16,
    #[diesel(sql_type = Nullable<Text>)]
    pub ended_by: Option<String>,
}

/// One text.
#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// A database; dropping it removes it.
pub struct Database {
    place: Place,
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Server { url: String, name: String },
}

enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Conn {
    fn execute(&mut self, sql: &str) {
        match self {
            Self::Sqlite(conn) => conn.batch_execute(sql),
            Self::Postgres(conn) => conn.batch_execute(sql),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

impl Place {
    fn connect(&self) -> Conn {
        match self {
            Self::File(path) => {
                let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
                Conn::Sqlite(conn)
            }
            Self::Server { url, .. } => Conn::Postgres(PgConnection::establish(url).unwrap()),
        }
    }
}

/// Locks that a connection of ours holds; dropping it lets go.
pub struct Held {
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Database {
    /// A SQLite file that does not exist yet.
    pub fn file(path: PathBuf) -> Self {
        Self { place: Place::File(path) }
    }

    /// A new database on the server.
    pub fn on(postgres: &Postgres, name: &str) -> Self {
        postgres.admin(&format!("CREATE DATABASE {name}"));
        Self { place: Place::Server { url: postgres.url_of(name), name: name.to_owned() } }
    }

    /// What `database.url` has to say.
    pub fn url(&self) -> String {
        match &self.place {
            Place::File(path) => format!("sqlite:{}", path.display()),
            Place::Server { url, .. } => url.clone(),
        }
    }

    pub fn backend(&self) -> Backend {
        match self.place {
            Place::File(_) => Backend::Sqlite,
            Place::Server { .. } => Backend::Postgres,
        }
    }

    pub fn execute(&self, sql: &str) {
        self.place.connect().execute(sql);
    }

    /// Every grant.
    pub fn grants(&self) -> Vec<GrantRow> {
        let query = "SELECT handle, generation, siblings, ended_by FROM grants";
        match self.place.connect() {
            Conn::Sqlite(mut conn) => diesel::sql_query(query).load(&mut conn).unwrap(),
            Conn::Postgres(mut conn) => diesel::sql_query(query).load(&mut conn).unwrap(),
        }
    }

    /// The texts that a query of one column called `line` finds.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        let lines: Vec<Line> = match self.place.connect() {
            Conn::Sqlite(mut conn) => diesel::sql_query(sql).load(&mut conn).unwrap(),
            Conn::Postgres(mut conn) => diesel::sql_query(sql).load(&mut conn).unwrap(),
        };
        lines.into_iter().map(|line| line.line).collect()
    }

    /// What the database itself says of its soundness; empty is sound.
    pub fn unsound(&self) -> Vec<String> {
        if self.backend() == Backend::Postgres {
            return Vec::new();
        }
        let said = self.lines("SELECT integrity_check AS line FROM pragma_integrity_check");
        said.into_iter().filter(|line| line != "ok").collect()
    }

    /// A bytes literal, as this database writes it.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        let digits = bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        match self.backend() {
            Backend::Sqlite => format!("X'{digits}'"),
            Backend::Postgres => format!("'\\x{digits}'"),
        }
    }

    /// Holds the rows of these grants (on SQLite, the whole file) until the value is dropped.
    pub fn hold(&self, handles: &[[u8; 16]]) -> Held {
        let list: Vec<_> = handles.iter().map(|handle| self.bytes(handle)).collect();
        self.begin(format!("BEGIN; UPDATE grants SET scope = scope WHERE handle IN ({})", list.join(", ")))
    }

    /// Keeps a transaction open that reads, as a backup does: until it is dropped SQLite's log only grows.
    pub fn hold_snapshot(&self) -> Held {
        self.begin("BEGIN; SELECT COUNT(*) FROM grants".to_owned())
    }

    /// Has whoever comes to this place wait until the value is dropped.
    pub fn hold_place(&self, place: u32) -> Held {
        self.begin(format!("BEGIN; SELECT pg_advisory_xact_lock({place})"))
    }

    /// Whether somebody waits at a place.
    pub fn waits_at_place(&self) -> bool {
        let waits = "SELECT locktype AS line FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
        !self.lines(waits).is_empty()
    }

    fn begin(&self, lock: String) -> Held {
        let (place, (release, released), (holds, held)) = (self.place.clone(), channel::<()>(), channel());
        let thread = thread::spawn(move || {
            let mut conn = place.connect();
            conn.execute(&lock);
            holds.send(()).unwrap();
            let _ = released.recv();
            conn.execute("ROLLBACK");
        });
        held.recv().unwrap();
        Held { release: Some(release), thread: Some(thread) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Place::Server { name, .. } = &self.place {
            Postgres::of_the_run().try_admin(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

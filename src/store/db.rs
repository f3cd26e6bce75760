//! Reading and writing. On PostgreSQL a write is a transaction on a pooled connection, or a single statement; on SQLite
//! one thread owns the only writing connection and commits what waits together, a transaction as a savepoint of its own.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use diesel::connection::SimpleConnection as _;

use super::Error;
use super::dialect::{self, Conn, Connector, Pooled};
use crate::clock::Deadline;
use crate::settings::DatabaseUrl;

/// How long a request waits for a pooled connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often work is tried, the first time included, when the database is busy.
const MAX_TRIES: u32 = 3;
/// The most pieces of work that share one commit.
const MAX_BATCH: usize = 64;
/// The most pieces of work that wait for the writer.
const MAX_WAITING: usize = 1024;

/// A connection that may read.
pub struct Read<'c>(&'c mut Conn);

impl Read<'_> {
    pub(super) fn conn(&mut self) -> &mut Conn {
        self.0
    }
}

/// A connection that may change rows. Only the `Db::write…` functions make one.
pub struct Write<'c>(Read<'c>);

impl<'c> Deref for Write<'c> {
    type Target = Read<'c>;

    fn deref(&self) -> &Read<'c> {
        &self.0
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What a job does once it knows whether its commit is durable.
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// What a job does; it is told why when there is no transaction for it.
type Work = Box<dyn FnOnce(Result<&mut Conn, Error>) -> Reply + Send>;
/// A piece of work for the writer.
struct Job {
    work: Work,
    durability: Durability,
}

/// What a commit is worth when the machine fails right after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It stands.
    Full,
    /// It stands or is undone as a whole.
    Relaxed,
}

/// The database.
pub struct Db {
    pool: r2d2::Pool<Connector>,
    writer: Option<Sender<Job>>,
    #[cfg(debug_assertions)]
    pub(super) faults: super::faults::Faults,
}

impl Db {
    /// Connects, without touching the schema.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be reached.
    pub fn open(url: &DatabaseUrl, connections: u32) -> Result<Self, Error> {
        // The first connection is made here, so that the driver's own words reach the operator.
        let first = dialect::connect(url).map_err(Error::unavailable)?;
        let single_writer = dialect::has_single_writer(url);
        // Readers of an embedded database wait for nothing but a processor, and each has a cache of its own.
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
        let readers = connections.min(u32::try_from(processors).unwrap_or(connections));
        let pool = r2d2::Pool::builder()
            // One more sees to checkpoints.
            .max_size(if single_writer { readers + 1 } else { connections })
            .min_idle(Some(0))
            .connection_timeout(CHECKOUT_TIMEOUT)
            .test_on_check_out(false)
            // Whoever waited in vain is told the cause and says it.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build(Connector::new(url, single_writer))
            .map_err(Error::unavailable)?;
        let writer = single_writer.then(|| start_writer(first, url.clone())).transpose()?;
        Ok(Self {
            pool,
            writer,
            #[cfg(debug_assertions)]
            faults: super::faults::Faults::default(),
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// Whatever `work` returns; [`Error::Unavailable`] when no connection is to be had.
    pub fn read<T>(&self, work: impl Fn(&mut Read<'_>) -> Result<T, Error>) -> Result<T, Error> {
        #[cfg(debug_assertions)]
        if self.faults.watch() {
            return self.faults.around(super::faults::Call::Read, || self.read(work));
        }
        self.pooled(|| true, |conn| work(&mut Read(conn)))
    }

    /// Whether somebody has to see to [`Db::checkpoint`].
    pub fn needs_checkpoints(&self) -> bool {
        self.writer.is_some()
    }

    /// Copies what is committed from the log into the database, as far as nobody holds it up and holding up nobody.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection is to be had.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.pooled(|| true, |conn| Ok(dialect::checkpoint(conn)?))
    }

    /// Writes: all of `work` or nothing. `work` may run more than once, so it must not reach outside the transaction;
    /// a refusal that leaves a mark is a value of `T`, since an error undoes the mark.
    ///
    /// # Errors
    /// Whatever `work` returns; [`Error::Busy`] when the database stayed busy, on PostgreSQL through three tries;
    /// [`Error::Unavailable`] or [`Error::Disconnected`] when it is not known to be durable.
    pub fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.transaction(Durability::Full, work)
    }

    /// Writes like [`Db::write`], but without waiting for the disk: for what may be undone by a failing machine, since it
    /// would be done again.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn write_relaxed<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.transaction(Durability::Relaxed, work)
    }

    fn transaction<T, F>(&self, durability: Durability, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        #[cfg(debug_assertions)]
        if self.faults.watch() {
            return self.faults.around(super::faults::Call::Write, || self.transaction(durability, work));
        }
        let Some(writer) = &self.writer else {
            let begun = Cell::new(false);
            return self.pooled(
                || !begun.get(),
                |conn| {
                    begun.set(false);
                    dialect::begin_write(conn, durability)?;
                    begun.set(true);
                    let outcome = work(&mut Write(Read(conn)));
                    finish(conn, outcome)
                },
            );
        };
        ask(writer, durability, move |conn| in_savepoint(conn, &work))
    }

    /// Makes one conditional statement, which needs no transaction around it: one round trip, and none after `deadline`.
    /// `work` makes that statement and no other; made twice, after a lost connection, it must change nothing more.
    ///
    /// # Errors
    /// [`Error::Expired`], or as [`Db::write`].
    pub fn write_one<T, F>(&self, deadline: &Deadline, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        #[cfg(debug_assertions)]
        if self.faults.watch() {
            return self.faults.around(super::faults::Call::Write, || self.write_one(deadline, work));
        }
        let deadline = deadline.clone();
        let in_time = move |conn: &mut Conn| {
            if deadline.has_passed() { Err(Error::Expired) } else { work(&mut Write(Read(conn))) }
        };
        match &self.writer {
            None => self.pooled(|| true, in_time),
            Some(writer) => ask(writer, Durability::Full, in_time),
        }
    }

    /// Makes one change of several tables: where one statement can, `work` makes that one and no other, without a transaction
    /// around it, in one round trip; elsewhere it has a transaction. Not begun after `deadline`. Made twice, after a lost
    /// connection, it must change nothing more.
    ///
    /// # Errors
    /// [`Error::Expired`], or as [`Db::write`].
    pub fn write_at_once<T, F>(&self, deadline: &Deadline, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        match &self.writer {
            None => self.write_one(deadline, work),
            Some(_) => self.write_before(deadline, work),
        }
    }

    /// Writes like [`Db::write`], but not after `deadline`: whoever waited for a lock or in a queue until then finds
    /// everything as it was.
    ///
    /// # Errors
    /// [`Error::Expired`], or as [`Db::write`].
    pub fn write_before<T, F>(&self, deadline: &Deadline, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        let deadline = deadline.clone();
        self.write(move |tx| {
            if deadline.has_passed() {
                return Err(Error::Expired);
            }
            let value = work(tx)?;
            if deadline.has_passed() { Err(Error::Expired) } else { Ok(value) }
        })
    }

    /// Runs `work` on a pooled connection. A busy database is tried again; so is a connection that turns out to be
    /// dead, if `safe_to_repeat` says so, until a live one is found or none can be made.
    fn pooled<T>(
        &self,
        safe_to_repeat: impl Fn() -> bool,
        work: impl Fn(&mut Conn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (mut busy, mut dead) = (0, 0);
        loop {
            let mut pooled = self.pool.get().map_err(Error::unavailable)?;
            let Pooled { conn, broken } = &mut *pooled;
            match work(conn) {
                Err(Error::Busy(_)) if busy + 1 < MAX_TRIES => busy += 1,
                Err(error @ Error::Disconnected(_)) => {
                    *broken = true;
                    if dead >= self.pool.max_size() || !safe_to_repeat() {
                        return Err(error);
                    }
                    dead += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

/// Has the writer do `work` and waits until its commit is durable.
fn ask<T: Send + 'static>(
    writer: &Sender<Job>,
    durability: Durability,
    work: impl FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, answered) = bounded(1);
    let work: Work = Box::new(move |conn| {
        let outcome = conn.and_then(|conn| survive(|| work(conn)));
        Box::new(move |committed| {
            // The asker may have gone away; the work stands either way.
            let _ = answer.send(outcome.and_then(|value| committed.map(|()| value)));
        })
    });
    let job = Job { work, durability };
    // The answer is missing only when the writer is gone.
    let not_made = || Error::unavailable("the write was not made");
    writer.send(job).map_err(|_| not_made())?;
    answered.recv().map_err(|_| not_made())?
}

/// ASVS 16.5.4: a defect in one piece of work fails that one, and none of those that share its transaction.
fn survive<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::unavailable("a piece of work panicked")))
}

/// Commits or rolls back the transaction that [`dialect::begin_write`] began.
fn finish<T>(conn: &mut Conn, outcome: Result<T, Error>) -> Result<T, Error> {
    match outcome {
        Ok(value) => {
            dialect::commit(conn)?;
            Ok(value)
        }
        Err(error) => {
            conn.batch_execute("ROLLBACK")?;
            Err(error)
        }
    }
}

fn in_savepoint<T>(conn: &mut Conn, work: &impl Fn(&mut Write<'_>) -> Result<T, Error>) -> Result<T, Error> {
    conn.batch_execute("SAVEPOINT work")?;
    let outcome = survive(|| work(&mut Write(Read(conn))));
    conn.batch_execute(if outcome.is_ok() { "RELEASE work" } else { "ROLLBACK TO work; RELEASE work" })?;
    outcome
}

fn start_writer(conn: Conn, url: DatabaseUrl) -> Result<Sender<Job>, Error> {
    let (sender, jobs) = bounded::<Job>(MAX_WAITING);
    std::thread::Builder::new()
        .name("sqlite-writer".to_owned())
        .spawn(move || run_writer(Some(conn), &url, &jobs))
        .map_err(Error::unavailable)?;
    Ok(sender)
}

/// Takes what waits, commits it together, answers. A connection that failed is replaced before the next batch.
fn run_writer(mut conn: Option<Conn>, url: &DatabaseUrl, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut replies = Vec::new();
        let result = match connected(&mut conn, url) {
            Ok(conn) => run_batch(conn, first, jobs, &mut replies),
            Err(error) => {
                replies.push((first.work)(Err(error.clone())));
                Err(error)
            }
        };
        if matches!(result, Err(Error::Unavailable(_) | Error::Disconnected(_))) {
            conn = None;
        }
        for reply in replies {
            reply(result.clone());
        }
    }
}

fn connected<'c>(conn: &'c mut Option<Conn>, url: &DatabaseUrl) -> Result<&'c mut Conn, Error> {
    if conn.is_none() {
        *conn = Some(dialect::connect(url).map_err(Error::unavailable)?);
    }
    conn.as_mut().ok_or_else(|| Error::unavailable("not connected"))
}

fn run_batch(conn: &mut Conn, first: Job, jobs: &Receiver<Job>, replies: &mut Vec<Reply>) -> Result<(), Error> {
    // What shares a commit has one that is durable; what need not be is alone.
    let durability = if jobs.is_empty() { first.durability } else { Durability::Full };
    if let Err(error) = dialect::begin_write(conn, durability).map_err(Error::from) {
        replies.push((first.work)(Err(error.clone())));
        return Err(error);
    }
    replies.push((first.work)(Ok(&mut *conn)));
    while durability == Durability::Full && replies.len() < MAX_BATCH {
        let Ok(job) = jobs.try_recv() else { break };
        replies.push((job.work)(Ok(&mut *conn)));
    }
    finish(conn, Ok(()))
}

#[cfg(test)]
mod tests {
    use diesel::RunQueryDsl as _;

    use super::*;

    #[test]
    fn nothing_is_told_done_when_sqlite_has_undone_the_whole_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("countersign.db"));
        let db = Db::open(&url, 2).unwrap();
        db.write(|tx| Ok(tx.conn().batch_execute("CREATE TABLE kept (id BIGINT PRIMARY KEY NOT NULL)")?)).unwrap();
        let (holds, held) = bounded::<()>(0);
        let (release, released) = bounded::<()>(0);
        let insert =
            |tx: &mut Write<'_>, id| Ok(tx.conn().batch_execute(&format!("INSERT INTO kept VALUES ({id})"))?);
        let results: Vec<_> = std::thread::scope(|scope| {
            let db = &db;
            let first = scope.spawn(move || {
                db.write(move |tx| {
                    insert(tx, 1)?;
                    holds.send(()).map_err(Error::unavailable)?;
                    released.recv().map_err(Error::unavailable)
                })
            });
            held.recv().unwrap();
            // What is left when SQLite could not write a page: all undone, and a transaction open again.
            let undoes = scope.spawn(|| db.write(|tx| Ok(tx.conn().batch_execute("ROLLBACK; BEGIN")?)));
            while db.writer.as_ref().unwrap().is_empty() {
                std::thread::yield_now();
            }
            let last = scope.spawn(|| db.write(move |tx| insert(tx, 3)));
            while db.writer.as_ref().unwrap().len() < 2 {
                std::thread::yield_now();
            }
            release.send(()).unwrap();
            [first, undoes, last].map(|work| work.join().unwrap().is_ok()).into()
        });
        assert_eq!(results, [false, false, false]);
        db.write(move |tx| insert(tx, 4)).unwrap();
    }

    #[test]
    fn a_checkpoint_brings_what_is_committed_into_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.db");
        let db = Db::open(&DatabaseUrl::Sqlite(file.clone()), 2).unwrap();
        let size = || std::fs::metadata(&file).unwrap().len();
        let fill = "CREATE TABLE kept (bytes BLOB NOT NULL); INSERT INTO kept VALUES (zeroblob(100000))";
        db.write(move |tx| Ok(tx.conn().batch_execute(fill)?)).unwrap();
        assert!(db.needs_checkpoints() && size() < 100_000);
        db.checkpoint().unwrap();
        assert!(size() > 100_000);
    }

    #[test]
    fn only_what_says_so_is_committed_without_waiting_for_the_disk() {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            synchronous: i64,
        }
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&DatabaseUrl::Sqlite(folder.path().join("countersign.db")), 2).unwrap();
        let level = |tx: &mut Write<'_>| {
            let rows: Vec<Row> = diesel::sql_query("PRAGMA synchronous").load(tx.conn())?;
            Ok(rows.first().map(|row| row.synchronous))
        };
        let (full, normal) = (Some(2), Some(1));
        assert_eq!(db.write(level).unwrap(), full);
        assert_eq!(db.write_relaxed(level).unwrap(), normal);
        assert_eq!(db.write(level).unwrap(), full);
        assert!(db.write_relaxed(|_| Err::<(), _>(Error::Expired)).is_err());
        assert_eq!(db.write(level).unwrap(), full);
    }
}

//! What was begun in one transaction and is still to be done to many rows, or a moment later: it is in the database until it
//! is done, so that no crash forgets it.

use std::time::Duration;

use diesel::prelude::*;

use super::dialect::database_now;
use super::prepared::{Bind, Statement};
use super::schema::{self, outbox};
use super::{Error, Read, Write, accounts, grants, instances};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::secret::Random;
use crate::store::grants::EndedBy;

/// How many grants one step looks at.
const STEP: i64 = 2000;
/// When it is looked again for what was under way: soon, since most of it is there within a moment, and after the longest
/// time that the database gives a statement and an instance takes to hear of a change.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Ends what was granted to an account for credentials that it has no more.
    EndGrantsOfAccount(AccountId),
    /// Ends what was granted to a client up to an instant.
    EndGrantsOfClient(String, Timestamp),
}

impl Task {
    const fn name(&self) -> &'static str {
        match self {
            Self::EndGrantsOfAccount(_) => "end_grants_of_account",
            Self::EndGrantsOfClient(..) => "end_grants_of_client",
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::EndGrantsOfAccount(id) => id.to_string(),
            // An instant has no space in it, and a client_id neither.
            Self::EndGrantsOfClient(id, until) => format!("{} {id}", until.as_micros()),
        }
    }

    fn parse(name: &str, subject: &str) -> Option<Self> {
        match name {
            "end_grants_of_account" => Some(Self::EndGrantsOfAccount(subject.parse().ok()?)),
            "end_grants_of_client" => {
                let (until, id) = subject.split_once(' ')?;
                Some(Self::EndGrantsOfClient(id.to_owned(), Timestamp::from_micros(until.parse().ok()?)))
            }
            _ => None,
        }
    }
}

/// Puts a task in.
///
/// # Errors
/// The store's own reasons.
pub fn insert(tx: &mut Write<'_>, random: Random, task: &Task) -> Result<(), Error> {
    let now = instances::now(tx)?;
    if let Task::EndGrantsOfClient(..) = task {
        insert_one(tx, random, task, now)?;
    }
    for wait in AGAIN_AFTER {
        let again = match task {
            Task::EndGrantsOfAccount(id) => Task::EndGrantsOfAccount(*id),
            Task::EndGrantsOfClient(id, until) => Task::EndGrantsOfClient(id.clone(), until.plus(wait)),
        };
        insert_one(tx, random, &again, now.plus(wait))?;
    }
    Ok(())
}

fn insert_one(tx: &mut Write<'_>, random: Random, task: &Task, due_at: Timestamp) -> Result<(), Error> {
    diesel::insert_into(outbox::table)
        .values((
            outbox::id.eq(random.bytes::<16>().as_slice()),
            outbox::task.eq(task.name()),
            outbox::subject.eq(task.subject()),
            outbox::due_at.eq(due_at.as_micros()),
            outbox::done_to.eq(Vec::new()),
        ))
        .execute(tx.conn())?;
    Ok(())
}

/// Up to when grants of a client are to be ended: all there are while it is disabled, whatever clock their maker had; of one
/// that was enabled again, none that is later than it was disabled.
fn believable(tx: &mut Read<'_>, client_id: &str, until: Timestamp) -> Result<Timestamp, Error> {
    let row: Option<(Option<i64>, i64)> = schema::clients::table
        .find(client_id)
        .select((schema::clients::disabled_at, schema::clients::not_before))
        .get_result(tx.conn())
        .optional()?;
    Ok(match row {
        Some((None, not_before)) => until.min(Timestamp::from_micros(not_before)),
        Some((Some(_), _)) | None => Timestamp::from_micros(i64::MAX),
    })
}

/// A task that is due: its identifier, itself, how far it has come.
#[derive(Clone)]
pub struct Due {
    id: Vec<u8>,
    task: Task,
    done_to: Vec<u8>,
}

/// The task that has been due longest; those of accounts first, since what they end is looked for by nobody else.
///
/// # Errors
/// [`Error::Corrupt`] when it cannot be read; the store's own reasons.
pub fn find_due(tx: &mut Read<'_>) -> Result<Option<Due>, Error> {
    let row: Option<(Vec<u8>, String, String, Vec<u8>)> = outbox::table
        .filter(outbox::due_at.le(database_now()))
        .order((outbox::task, outbox::due_at, outbox::id))
        .select((outbox::id, outbox::task, outbox::subject, outbox::done_to))
        .first(tx.conn())
        .optional()?;
    let Some((id, name, subject, done_to)) = row else { return Ok(None) };
    let task = Task::parse(&name, &subject).ok_or(Error::Corrupt { table: "outbox" })?;
    Ok(Some(Due { id, task, done_to }))
}

const POSTPONE: &str = "UPDATE outbox SET due_at = database_now() + ? WHERE id = ?";

/// Puts a task that failed off, so that it holds up no other.
///
/// # Errors
/// The store's own reasons.
pub fn postpone(tx: &mut Write<'_>, due: &Due, span: Duration) -> Result<(), Error> {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Statement::new(POSTPONE, vec![Bind::Big(span), Bind::Bytes(&due.id)]).execute(tx.conn())?;
    Ok(())
}

/// Takes one step of a task, and removes it after the last. Two instances that take the same step do it once.
///
/// # Errors
/// The store's own reasons.
pub fn step(tx: &mut Write<'_>, due: &Due, now: Timestamp) -> Result<(), Error> {
    let row = outbox::table.filter(outbox::id.eq(&due.id).and(outbox::done_to.eq(&due.done_to)));
    // Whoever else is at this step waits here, and finds nothing to do.
    if diesel::update(row).set(outbox::due_at.eq(outbox::due_at)).execute(tx.conn())? == 0 {
        return Ok(());
    }
    let next = match &due.task {
        Task::EndGrantsOfAccount(id) => {
            let disabled = accounts::find(tx, *id)?.is_some_and(|account| account.disabled_at.is_some());
            let by = if disabled { EndedBy::AccountDisabled } else { EndedBy::PasswordChange };
            grants::end_outdated(tx, *id, by, now)?;
            None
        }
        Task::EndGrantsOfClient(client_id, until) => {
            let until = believable(tx, client_id, *until)?;
            grants::end_of_client(tx, (client_id, until), (&due.done_to, STEP), now)?
        }
    };
    let row = outbox::table.filter(outbox::id.eq(&due.id));
    match next {
        Some(done_to) => diesel::update(row).set(outbox::done_to.eq(done_to)).execute(tx.conn())?,
        None => diesel::delete(row).execute(tx.conn())?,
    };
    Ok(())
}

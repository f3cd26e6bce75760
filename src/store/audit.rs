//! What operators and the server itself did to things that matter: who, what, to which, in the transaction that did it.

use diesel::prelude::*;
use serde_json::Value;

use super::dialect::database_now;
use super::schema::audit_events;
use super::{Error, Read, Write};
use crate::clock::Timestamp;

const TABLE: &str = "audit_events";

/// Something that was done. Holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Who did it: `system`, or a person's name on this machine.
    pub actor: String,
    /// What: `key_rotated`.
    pub event: &'static str,
    /// To which.
    pub subject: String,
    /// How, as an object.
    pub details: Value,
}

/// An event as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When, on the database's clock.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub event: String,
    /// To which.
    pub subject: String,
    /// How.
    pub details: Value,
}

/// Notes an event.
///
/// # Errors
/// The store's own reasons.
pub fn record(tx: &mut Write<'_>, id: [u8; 16], event: &AuditEvent) -> Result<(), Error> {
    diesel::insert_into(audit_events::table)
        .values((
            audit_events::id.eq(id.as_slice()),
            audit_events::at.eq(database_now()),
            audit_events::actor.eq(&event.actor),
            audit_events::event.eq(event.event),
            audit_events::subject.eq(&event.subject),
            audit_events::details.eq(event.details.to_string()),
        ))
        .execute(tx.conn())?;
    Ok(())
}

/// The last `count` events, the newest first.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn last(tx: &mut Read<'_>, count: u32) -> Result<Vec<Recorded>, Error> {
    let rows: Vec<(i64, String, String, String, String)> = audit_events::table
        .order(audit_events::at.desc())
        .limit(i64::from(count))
        .select((
            audit_events::at,
            audit_events::actor,
            audit_events::event,
            audit_events::subject,
            audit_events::details,
        ))
        .load(tx.conn())?;
    let read = |(at, actor, event, subject, details): (i64, String, String, String, String)| {
        let details = serde_json::from_str(&details).map_err(|_| Error::Corrupt { table: TABLE })?;
        Ok(Recorded { at: Timestamp::from_micros(at), actor, event, subject, details })
    };
    rows.into_iter().map(read).collect()
}

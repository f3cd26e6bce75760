//! What operators and the server itself did to things that matter: who, what, to which, in the transaction that did it.

use diesel::prelude::*;
use serde_json::Value;

use super::dialect::database_now;
use super::schema::audit_events;
use super::{Error, Write};

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

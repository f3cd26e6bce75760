//! Grants, as operators handle them: their end, and where it is in force.

use std::time::Duration;

use serde_json::json;

use super::{AdminError, Trail};
use crate::app::App;
use crate::clock::Timestamp;
use crate::id::{AccountId, GrantId};
use crate::store::grants::{self, EndedBy};
use crate::store::status_receipts::{self, Receipt};
use crate::store::{browser_sessions, instances, status_changes};

/// A verifier that said nothing for this long is not reached: it says something every ten seconds.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Which grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This one, the `sid` of its tokens.
    Grant(GrantId),
    /// All of an account, with its log-ins at browsers.
    Account(AccountId),
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many grants were in force.
    pub grants: usize,
    /// The change in the feed that every verifier has to know for it to be in force there.
    pub seq: i64,
}

/// Ends grants. With `wait` verifiers are asked to say at once that they know.
///
/// # Errors
/// [`AdminError::NotFound`] when there is no such grant; the store's own reasons.
pub fn end(app: &App, whose: Whose, wait: bool, actor: &str) -> Result<Ended, AdminError> {
    if let Whose::Grant(id) = whose {
        app.db.read(|tx| grants::find(tx, id))?.ok_or(AdminError::NotFound("grant"))?;
    }
    let (now, trail) = (app.clock.now(), Trail::of(app, actor));
    let ended = app.db.write(move |tx| {
        let grants = match whose {
            Whose::Grant(id) => usize::from(grants::end(tx, id, EndedBy::Operator, now)?),
            Whose::Account(id) => {
                // Otherwise a log-in at a browser would bring the next grants without a word.
                browser_sessions::end_of_account(tx, id, now)?;
                grants::end_of_account(tx, id, EndedBy::Operator, now)?
            }
        };
        let (subject, what) = match whose {
            Whose::Grant(id) => (id.to_string(), "grant_ended"),
            Whose::Account(id) => (id.to_string(), "grants_of_account_ended"),
        };
        trail.note(tx, what, &subject, json!({ "ended": grants }))?;
        if wait {
            status_changes::ask_for_receipts(tx)?;
        }
        Ok(Ended { grants, seq: status_changes::head(tx)?.seq })
    })?;
    Ok(ended)
}

/// How far a change has come among the verifiers.
#[derive(Debug, Default)]
pub struct InForce {
    /// How many know of it.
    pub at: usize,
    /// Those that have been heard of lately, and do not know of it yet.
    pub lagging: Vec<Receipt>,
    /// Those that have not been heard of lately, and do not know of it.
    pub unreachable: Vec<Receipt>,
}

/// How far a change has come.
///
/// # Errors
/// The store's own reasons.
pub fn in_force(app: &App, seq: i64) -> Result<InForce, AdminError> {
    let (receipts, now) = app.db.read(|tx| Ok((status_receipts::list(tx)?, instances::now(tx)?)))?;
    let is_heard_of = |receipt: &Receipt| heard_of(receipt.at, now);
    let (know, others): (Vec<_>, Vec<_>) = receipts.into_iter().partition(|receipt| receipt.seq >= seq);
    let (lagging, unreachable): (Vec<_>, Vec<_>) = others.into_iter().partition(is_heard_of);
    Ok(InForce { at: know.len(), lagging, unreachable })
}

fn heard_of(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < SILENT_AFTER
}

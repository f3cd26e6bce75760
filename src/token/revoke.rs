//! The end of grants and tokens. Every path that ends a grant by itself comes through here: replay, revocation,
//! operators. What changes an account ends its grants in that change's own transaction. Whatever ends, and however, is made
//! known by [`status_changes::end`] in the transaction that ends it.

use countersign_verifier::feed::CutKind;

use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::id::{AccountId, GrantId};
use crate::store::grants::{self, EndedBy};
use crate::store::status_changes::{self, Over};
use crate::store::{self, Write, revoked_tokens};

/// Ends one grant and with it every token that came from it. `false` when it was over already.
///
/// # Errors
/// The store's own reasons; without an error the end is durable.
pub fn end_grant(app: &App, id: GrantId, by: EndedBy, deadline: &Deadline) -> Result<bool, store::Error> {
    let now = app.clock.now();
    let ended = app.db.write_before(deadline, move |tx| grants::end(tx, id, by, now))?;
    if ended {
        tracing::info!(event = "grant_ended", grant_id = %id, by = by.as_str());
    }
    Ok(ended)
}

/// Ends every grant of an account; says how many that were.
///
/// # Errors
/// The store's own reasons.
pub fn end_grants_of(app: &App, account_id: AccountId, by: EndedBy) -> Result<usize, store::Error> {
    let now = app.clock.now();
    app.db.write(move |tx| grants::end_of_account(tx, account_id, by, now))
}

/// Revokes one access token that has no grant behind it. Revoking it twice is as good as once.
///
/// # Errors
/// The store's own reasons.
pub fn revoke_access_token(
    app: &App,
    jti: &str,
    expires_at: Timestamp,
    deadline: &Deadline,
) -> Result<(), store::Error> {
    let (jti, now) = (jti.to_owned(), app.clock.now());
    let revoke = move |tx: &mut Write<'_>| {
        revoked_tokens::insert(tx, &jti, expires_at)?;
        let names = vec![(CutKind::Jti, jti.clone())];
        status_changes::end(tx, &Over { positions: Vec::new(), names }, now)
    };
    match app.db.write_before(deadline, revoke) {
        Err(store::Error::Conflict(_)) => Ok(()),
        outcome => outcome,
    }
}

//! The end of a grant or a token at a client's word, or because a spent refresh token came back. Operators end grants in
//! `admin`, and what changes an account or a client ends its grants in that change's own transaction. Whatever ends, and
//! however, is made known by [`status_changes::end`] in the transaction that ends it.

use countersign_verifier::Claims;
use countersign_verifier::feed::CutKind;

use crate::app::App;
use crate::clock::{Deadline, Timestamp};
use crate::id::GrantId;
use crate::keys::OwnClaims;
use crate::store::clients::{self, Client};
use crate::store::grants::{self, EndedBy};
use crate::store::status_changes::{self, Over};
use crate::store::{self, Write, cutoffs, revoked_tokens};

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

/// How many tokens are cut off one by one.
const MOST_TOKENS: i64 = 2000;

/// Revokes one access token that has no grant behind it. Revoking it twice is as good as once.
///
/// # Errors
/// The store's own reasons.
pub fn revoke_access_token(
    app: &App,
    client: &Client,
    claims: &Claims<OwnClaims>,
    deadline: &Deadline,
) -> Result<(), store::Error> {
    // All that was issued with its position is over, and verifiers know it.
    let is_over = claims.status_number().is_some_and(|number| app.status.is_over(number));
    let known = client.status_position;
    let is_of_known = claims.status_number() == Some(app.status.place(&app.db, known)?.number());
    let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
    let (jti, now, client_id, random) = (claims.jti.clone(), app.clock.now(), client.id.clone(), app.random);
    let revoke = move |tx: &mut Write<'_>| {
        if !revoked_tokens::insert(tx, &jti, expires_at)? || is_over {
            return Ok(());
        }
        // ASVS 15.2.2: what everyone who follows is told first stays small. Beyond that all that the client has for itself
        // ends together, and it asks for a token anew.
        if is_of_known && cutoffs::count_tokens(tx)? >= MOST_TOKENS {
            let current = clients::find(tx, &client_id)?.map(|client| client.status_position);
            // Or somebody else was first, and it is over.
            return if current == Some(known) { clients::renew_position(tx, &client_id, now, random) } else { Ok(()) };
        }
        let names = vec![(CutKind::Jti, jti.clone())];
        status_changes::end(tx, &Over { positions: Vec::new(), names }, now)
    };
    app.db.write_before(deadline, revoke)
}
